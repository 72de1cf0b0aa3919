"Propaganda, sentiment and paraphrase: their rows, their labels, and what their readers refuse."
import csv
import json
import re
import warnings
from collections import Counter

import pytest
from damage import damaged, damages, rows_or_none
from ftlib.data import DataError, canonical, leaks, normalise
from ftlib.tasks import load_task, paraphrase, propaganda, sentiment
from ftlib.tasks.paraphrase import pair_key, read_paraphrase, unquoted
from ftlib.tasks.propaganda import article_of, find_articles, in_context, read_article, read_propaganda
from ftlib.tasks.sentiment import plain_text, read_sentiment
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
COLUMNS = ["id", "text", "text_pair", "label"]
TECHNIQUES = ["Appeal_to_Authority", "Appeal_to_fear-prejudice", "Bandwagon,Reductio_ad_hitlerum", "Black-and-White_Fallacy",
              "Causal_Oversimplification", "Doubt", "Exaggeration,Minimisation", "Flag-Waving", "Loaded_Language", "Name_Calling,Labeling",
              "Repetition", "Slogans", "Thought-terminating_Cliches", "Whataboutism,Straw_Men,Red_Herring"]
NAMES = {propaganda: TECHNIQUES, paraphrase: ["different", "duplicate"],
         sentiment: ["very negative", "negative", "neutral", "positive", "very positive"]}
TWINS = { # module: (folder, {split: file})
    propaganda: ("propaganda", {"train": "train-task2-TC.labels", "validation": "dev-task2-TC.labels", "test": "test-task2-TC.labels"}),
    sentiment: ("sst", {"train": "ids-sst-train.csv", "validation": "ids-sst-dev.csv", "test": "ids-sst-test-student.csv"}),
    paraphrase: ("quora", {"train": "quora-train.csv", "validation": "quora-dev.csv", "test": "quora-test-student.csv"})}
READ = {propaganda: read_propaganda, sentiment: read_sentiment, paraphrase: read_paraphrase}
each = pytest.mark.parametrize("module", NAMES, ids=lambda module: module.__name__.split(".")[-1])


pytestmark = pytest.mark.filterwarnings("error::UserWarning")      # nothing is left out quietly


def table(module, path, **options): return canonical("classify", READ[module](path, **options), module.LABELS)


def refused(module, path, says, **options):
    "The reader says one sentence, which begins with the file's name."
    with pytest.raises(DataError) as caught: list(READ[module](path, **options))
    assert str(caught.value).startswith(f"{path}{says.rstrip()}") and "\n" not in str(caught.value), str(caught.value)


# --- all three


@each
def test_labels_and_files(module):
    assert list(module.LABELS) == NAMES[module]
    assert set(module.FILES) == {"train", "validation", "test"}
    for split, names in module.FILES.items(): assert names[0] == TWINS[module][1][split]
    assert re.fullmatch(r"[\w-]+/[\w.-]+", module.HUB)
    if module is propaganda: assert module.HUB_FILES == {}, "there is nothing on the hub but a script"
    else: assert set(module.HUB_FILES) == set(module.FILES) and re.fullmatch("[0-9a-f]{40}", module.REVISION)


@each
def test_the_embedded_twin(module, tiny_data):
    folder, files = TWINS[module]
    if not (tiny_data/folder).is_dir(): pytest.skip("no embedded data")
    data = {split: table(module, tiny_data/folder/file) for split, file in files.items()}
    for rows in data.values():
        assert rows.column_names == COLUMNS and rows.features["label"].names == NAMES[module]
        assert len(set(rows["id"])) == len(rows) >= 200 and set(rows["label"]) == set(range(len(NAMES[module])))
        assert all(rows["text"]) and (set(rows["text_pair"]) == {None} if module is sentiment else all(rows["text_pair"]))
    assert len(data["train"]) > max(len(data["validation"]), len(data["test"]))
    sides = [{pair_key(row) if module is paraphrase else normalise(row["text"]) for row in rows} for rows in data.values()]
    for a, b in ((0, 1), (0, 2), (1, 2)): assert not sides[a] & sides[b]


# --- propaganda: articles and spans


ARTICLE = "Mill burns\n\nOur glorious mill burned down.\nWho would trust the miller?\nNot we. Never.\n"


def spans(folder, *rows, text=ARTICLE, split="train", raw=None):
    "Articles 7 and 8 with the same text, and a file of labels."
    articles = folder/f"{split}-articles"
    articles.mkdir(parents=True, exist_ok=True)
    for number in (7, 8): (articles/f"article{number}.txt").write_bytes(text.encode() if isinstance(text, str) else text)
    path = folder/f"{split}-task2-TC.labels"
    path.write_bytes("".join("\t".join(map(str, row)) + "\n" for row in rows).encode() if raw is None else raw)
    return path


def span(words, technique="Doubt", text=ARTICLE, article=7): return article, technique, text.index(words), text.index(words) + len(words)


def test_rows_of_propaganda(tmp_path):
    path = spans(tmp_path, span("glorious", "Loaded_Language"), span("Our glorious mill", "Name_Calling,Labeling"), span("miller?\nNot we"), span("Never.", article=8))
    assert list(read_propaganda(path)) == [
        {"id": "7:16-24:1", "text": "Our << glorious >> mill burned down.", "text_pair": "glorious", "label": "Loaded_Language"},
        {"id": "7:12-29:1", "text": "<< Our glorious mill >> burned down.", "text_pair": "Our glorious mill", "label": "Name_Calling,Labeling"},
        {"id": "7:63-77:1", "text": "Who would trust the << miller?\nNot we >>. Never.", "text_pair": "miller?\nNot we", "label": "Doubt"},
        {"id": "8:79-85:1", "text": "Not we. << Never. >>", "text_pair": "Never.", "label": "Doubt"}]
    assert [article_of(row) for row in read_propaganda(path)] == ["7", "7", "7", "8"]
    assert list(read_propaganda(path, context="span"))[0] == {"id": "7:16-24:1", "text": "glorious", "text_pair": None, "label": "Loaded_Language"}
    with pytest.raises(ValueError, match=re.escape("unknown context 'lines' (did you mean 'line'?); known: line, span")): list(read_propaganda(path, context="lines"))


ODD = "\ufeffMill burns \U0001f525\r\n\r\nOur glori\u00f6us mill\u2028burned down.\r\nNot we. Ne\u0301ver.\r\nEnd"


@pytest.mark.parametrize("words", ["\ufeffMill", "\U0001f525", "Our", "mill\u2028burned", "we. Ne\u0301ver.", "down.\r\nNot", "End"])
def test_offsets_count_characters_of_the_raw_text(tmp_path, words):
    row, = read_propaganda(spans(tmp_path, span(words, text=ODD), text=ODD))
    assert row["text_pair"] == words
    line = row["text"].replace("<< ", "").replace(" >>", "")
    start = ODD.index(line)
    assert words in line and ODD[start - 1:start] in ("", "\n") and ODD[start + len(line):][:2] in ("", "\r\n"), "whole lines"


@quick
@given(st.text(alphabet="ab \r\n<>\ufeff\u00e9\U0001f525\u2028", min_size=1, max_size=40), st.integers(0, 39), st.integers(1, 40))
def test_without_the_marks_the_lines_are_the_articles(text, start, length):
    start %= len(text)
    end = min(len(text), start + length)
    before = text[text.rfind("\n", 0, start) + 1:start]
    marked = in_context(text, start, end)
    assert marked.startswith(f"{before}<< {text[start:end]} >>")
    after = marked[len(before) + 3 + end - start + 3:]
    assert text[end:].startswith(after) and "\n" not in before + after, "nothing else is changed, and no other line comes in"
    rest = text[end + len(after):]
    assert rest in ("", "\r") or rest.startswith(("\n", "\r\n")) or text[end - 1] == "\n", "up to where a line ends"


def test_several_techniques_on_one_span(tmp_path):
    rows = list(read_propaganda(spans(tmp_path, span("glorious"), span("glorious", "Slogans"), span("glorious", "Slogans", article=8))))
    assert [(row["id"], row["label"]) for row in rows] == [("7:16-24:1", "Doubt"), ("7:16-24:2", "Slogans"), ("8:16-24:1", "Slogans")]
    assert rows[0]["text"] == rows[1]["text"]
    path = spans(tmp_path, span("glorious"), span("glorious", "Slogans"), span("glorious"), span("glorious"))
    with pytest.warns(UserWarning, match=f"{re.escape(str(path))}: 2 lines are repeated word for word and are read once"):
        assert [row["label"] for row in read_propaganda(path)] == ["Doubt", "Slogans"]


BAD_SPANS = {
    ":2: the span ends at 900, and the article has 86 characters": [span("glorious"), (7, "Doubt", 20, 900)],
    ":1: the span ends at 87, and the article has 86 characters": [(7, "Doubt", 20, 87)],
    ":1: the span ends at 12, and starts at 20": [(7, "Doubt", 20, 12)],
    ":1: the span ends at 12, and starts at 12": [(7, "Doubt", 12, 12)],
    ":1: the span from 10 to 12 is white space": [(7, "Doubt", 10, 12)],
    ":2: unknown technique 'Loaded Language' (did you mean 'Loaded_Language'?)": [span("glorious"), span("glorious", "Loaded Language")],
    ":1: unknown technique 'Bandwagon'": [span("glorious", "Bandwagon")],
    ":1: unknown technique '?'": [span("glorious", "?")],
    ":1: '24.0' is no offset": [(7, "Doubt", 16, "24.0")],
    ":1: '-1' is no offset": [(7, "Doubt", -1, 5)],
    ":1: ' 16' is no offset": [(7, "Doubt", " 16", 24)],
    ":1: '\u0661\u0666' is no offset": [(7, "Doubt", "\u0661\u0666", 24)],
    ":1: '9999999999' is no offset": [(7, "Doubt", 16, "9999999999")],
    ":2: there is no train-articles/article9.txt beside it": [span("glorious"), span("glorious", article=9)],
    ":1: '../8' is no id of an article": [span("glorious", article="../8")],
    ":1: '' is no id of an article": [span("glorious", article="")],
    f":1: '{'7'*40}' is no id of an article": [span("glorious", article="7"*300)],
    ":1: 3 tab-separated columns, not 4": [(7, "Doubt", 16)],
    ":1: 5 tab-separated columns, not 4": [(*span("glorious"), "x")],
    ": the file is empty": [],
}


@pytest.mark.parametrize("says", BAD_SPANS)
def test_bad_spans(tmp_path, says): refused(propaganda, spans(tmp_path, *BAD_SPANS[says]), says)


def test_files_of_labels_as_they_come(tmp_path):
    rows = [span("glorious"), span("Never.")]
    wanted = list(read_propaganda(spans(tmp_path, *rows)))
    raw = spans(tmp_path, *rows).read_bytes()
    for same in (raw.replace(b"\n", b"\r\n"), b"\xef\xbb\xbf" + raw, raw.removesuffix(b"\n"), raw + b"\n\n"):
        assert list(read_propaganda(spans(tmp_path, raw=same))) == wanted
    refused(propaganda, spans(tmp_path, raw=raw.replace(b"Doubt", b"Doubt\xff")), ":1: byte 8 of the line is not UTF-8")
    refused(propaganda, spans(tmp_path, raw=b"7\tDoubt\n" + b"x"*20), ":1: 2 tab-separated columns, not 4")
    refused(propaganda, spans(tmp_path, raw=raw.replace(b"\n", b"\n\n", 1)), ":2: the line is empty")


@pytest.mark.parametrize("text,says", [("Mill burns\n\nCaf\u00e9 glorious".encode("latin-1"), ":3: byte 4 of the line is not UTF-8 text"),
                                       ("Mill\nburns".encode("utf-16-le"), ":1: byte 2 of the line is not UTF-8 text"),
                                       ("Mill \U0001f525".encode()[:-1], ":1: byte 6 of the line is not UTF-8 text")])
def test_an_article_that_is_not_utf8(tmp_path, text, says):
    path = spans(tmp_path, (7, "Doubt", 0, 4), text=text)
    with pytest.raises(DataError) as caught: list(read_propaganda(path))
    assert str(caught.value) == f"{tmp_path/'train-articles'/'article7.txt'}{says}"
    with pytest.raises(DataError, match="is not UTF-8"): read_article(tmp_path/"train-articles"/"article7.txt")


def test_without_articles(tmp_path):
    path = spans(tmp_path, span("glorious"))
    refused(propaganda, path.rename(tmp_path/"mine-task2-TC.labels"), ":1: there is no mine-articles/article7.txt beside it")
    with pytest.raises(FileNotFoundError, match="there is no file"): list(read_propaganda(tmp_path/"nothing.labels"))


@pytest.mark.parametrize("folder,name", [("train-labels-task2-technique-classification", "article{}.task2-TC.labels"),
                                         ("train-labels-task-flc-tc", "article{}.task-flc-tc.labels")])
def test_one_file_an_article(tmp_path, folder, name):
    rows = [span("glorious"), span("Never.", article=8)]
    wanted = list(read_propaganda(spans(tmp_path, *rows)))
    (tmp_path/folder).mkdir()
    for row in rows: (tmp_path/folder/name.format(row[0])).write_text("\t".join(map(str, row)) + "\n")
    (tmp_path/folder/name.format(9)).write_text("")                                 # an article without spans
    found = [path for pattern in propaganda.FILES["train"] for path in sorted(tmp_path.glob(pattern)) if path.parent.name == folder]
    assert len(found) == 3 and [row for path in found for row in read_propaganda(path)] == wanted
    assert {find_articles(path) for path in found} == {tmp_path/"train-articles"}


def test_the_real_spans(shared_data):
    folder = shared_data/"propaganda"
    lines = [line.split("\t") for line in (folder/"train-task2-TC.labels").read_text(encoding="utf-8").splitlines()]
    with pytest.warns(UserWarning, match="1 lines are repeated"): rows = table(propaganda, folder/"train-task2-TC.labels")
    assert len(lines) == 2766 and len(rows) == 2765 == len(set(rows["id"])) and rows.column_names == COLUMNS and rows.features["label"].names == TECHNIQUES
    texts = {}
    for article in set(map(article_of, rows)):
        with open(folder/"train-articles"/f"article{article}.txt", newline="", encoding="utf-8") as file: texts[article] = file.read()
    read = []
    for row in rows:
        start, end = row["id"].split(":")[1].split("-")
        text, span = texts[article_of(row)], row["text_pair"]
        assert span == text[int(start):int(end)] == span.strip()
        line = row["text"].replace("<< ", "").replace(" >>", "")
        assert line == "\n".join(text.split("\n")[text.count("\n", 0, int(start)):text.count("\n", 0, int(end)) + 1])
        read.append([article_of(row), TECHNIQUES[row["label"]], start, end])
    assert read == [list(line) for line in dict.fromkeys(map(tuple, lines))]
    counts = Counter(name for _, name, *_ in read)
    assert [counts[name] for name in TECHNIQUES] == [56, 126, 25, 41, 90, 253, 208, 132, 959, 425, 302, 59, 32, 57]
    assert sum("\n" in text for text in rows["text_pair"]) == 111 and Counter(id[-1] for id in rows["id"]) == {"1": 2746, "2": 19}


def test_the_twins_spans_overlap(tiny_data):
    if not (tiny_data/"propaganda").is_dir(): pytest.skip("no embedded data")
    rows = list(read_propaganda(tiny_data/"propaganda"/"train-task2-TC.labels"))
    lines = Counter((article_of(row), row["text"].replace("<< ", "").replace(" >>", "")) for row in rows)
    assert 0.05 < sum(n > 1 for n in lines.values())/len(lines) < 0.15


# --- the course project's files


HEADS = {sentiment: ["", "id", "sentence", "sentiment"], paraphrase: ["", "id", "sentence1", "sentence2", "is_duplicate"]}
FILMS = [["0", "a1", " The Mill is , in short , a film .", "2"], ["1", "b2", " I wo n't -LRB- ever -RRB- sleep .", "0"], ["7", "c3", ' A "film" , they say .', "4"]]
PAIRS = [["0", "a1", "Where is the mill?", "In which town is the mill?", "1.0"], ["1", "b2", "Who owns the mill?", "Who owned the mill?", "0.0"],
         ["7", "c3", 'What is a "mill"?', '"What does a ""mill"" do?"', "0"]]
COURSE = {sentiment: FILMS, paraphrase: PAIRS}


def course(path, module, *rows, head=None):
    "A file as pandas writes it: separated by tabs, quoted where it must be."
    with open(path, "w", newline="", encoding="utf-8") as file: csv.writer(file, delimiter="\t", lineterminator="\n").writerows([head or HEADS[module], *rows])
    return path


each_course = pytest.mark.parametrize("module", COURSE, ids=lambda module: module.__name__.split(".")[-1])


def test_rows_of_sentiment(tmp_path):
    path = course(tmp_path/"ids-sst-train.csv", sentiment, *FILMS)
    assert list(read_sentiment(path)) == [
        {"id": "a1", "text": "The Mill is , in short , a film .", "text_pair": None, "label": "neutral"},
        {"id": "b2", "text": "I wo n't -LRB- ever -RRB- sleep .", "text_pair": None, "label": "very negative"},
        {"id": "c3", "text": 'A "film" , they say .', "text_pair": None, "label": "very positive"}]
    assert [row["text"] for row in read_sentiment(path, plain=True)] == ["The Mill is, in short, a film.", "I won't (ever) sleep.", 'A "film", they say.']


@pytest.mark.parametrize("tokens,text", [
    ("it 's", "it's"), ("I ca n't , I 'd , I 'll , I 've , I 'm , we 're", "I can't, I'd, I'll, I've, I'm, we're"), ("the mills ' owner", "the mills ' owner"),
    ("`` So '' it `` is ''", '"So" it "is"'), ("a -LRB- b -RRB- c -LSB- d -RSB- .", "a (b) c [d]."), ("a -lrb- b -rrb- c", "a (b) c"),
    ("and\\/or 3\\*", "and/or 3*"), ("so ... what ?", "so... what?"), ("-- and 's-Hertogenbosch", "-- and's-Hertogenbosch"), ("plain", "plain")])
def test_treebank_tokens(tokens, text): assert plain_text(tokens) == text


def test_rows_of_paraphrase(tmp_path):
    assert list(read_paraphrase(course(tmp_path/"quora-train.csv", paraphrase, *PAIRS))) == [
        {"id": "a1", "text": "Where is the mill?", "text_pair": "In which town is the mill?", "label": "duplicate"},
        {"id": "b2", "text": "Who owns the mill?", "text_pair": "Who owned the mill?", "label": "different"},
        {"id": "c3", "text": 'What is a "mill"?', "text_pair": 'What does a "mill" do?', "label": "different"}]


@quick
@given(st.text(alphabet='ab" ', max_size=12))
def test_the_second_layer_of_quotes(text):
    "What was quoted comes out as it was; what was not is left alone unless it looks quoted in every respect."
    layer = '"' + text.replace('"', '""') + '"'
    assert unquoted(layer) == (text if '"' in text else layer)
    if unquoted(text) != text: assert re.fullmatch(r'"([^"]|"")*"', text) and '""' in text[1:-1]


@each_course
def test_course_files_as_they_come(tmp_path, module):
    path = course(tmp_path/"train.csv", module, *COURSE[module])
    wanted, raw = list(READ[module](path)), path.read_bytes()
    assert len(wanted) == 3
    for same in (raw.replace(b"\n", b"\r\n"), b"\xef\xbb\xbf" + raw, raw.removesuffix(b"\n")):
        path.write_bytes(same)
        assert list(READ[module](path)) == wanted
    order = list(range(1, len(HEADS[module])))[::-1]                                # columns go by name, and the index is not needed
    assert list(READ[module](course(path, module, *([row[i] for i in order] for row in COURSE[module]), head=[HEADS[module][i] for i in order]))) == wanted


@each_course
def test_the_courses_test_part_has_no_labels(tmp_path, module):
    path = course(tmp_path/"test.csv", module, *(row[:-1] for row in COURSE[module]), head=HEADS[module][:-1])
    refused(module, path, f": no column '{HEADS[module][-1]}': the course's test file has no labels")


@each_course
def test_repeated_rows_of_the_course(tmp_path, module):
    path = course(tmp_path/"train.csv", module, *COURSE[module], *COURSE[module][:2])
    with pytest.warns(UserWarning, match=f"{re.escape(str(path))}: 2 rows are repeated word for word"): assert len(list(READ[module](path))) == 3
    other = COURSE[module][0][:2] + COURSE[module][1][2:]
    refused(module, course(path, module, *COURSE[module], other), ":5: the id a1 stands above already, with another content")


BAD_COURSE = {
    sentiment: {":2: the label is '5', not 0 to 4": ["0", "x", "Ever .", "5"], ":2: the label is '', not 0 to 4": ["0", "x", "Ever .", ""],
                ":2: the label is 'nan', not 0 to 4": ["0", "x", "Ever .", "nan"], ":2: the label is '-1', not 0 to 4": ["0", "x", "Ever .", "-1"],
                ":2: the label is '2.5', not 0 to 4": ["0", "x", "Ever .", "2.5"], ":2: the label is '\u0663', not 0 to 4": ["0", "x", "Ever .", "\u0663"],
                ":2: the id or the sentence is empty": ["0", "x", "  ", "2"], ":2: the id or the sentence is empty ": ["0", "", "Ever .", "2"],
                ":2: ": ["0", "x", "Ever ."], ":2:": ["0", "x", "Ever", "2", "3"]},
    paraphrase: {":2: unknown label '2.0'": ["0", "x", "Who?", "Whose?", "2.0"], ":2: unknown label 'yes'": ["0", "x", "Who?", "Whose?", "yes"],
                 ":2: unknown label '-1'": ["0", "x", "Who?", "Whose?", "-1"], ":2: the id is empty": ["0", "", "Who?", "Whose?", "1.0"],
                 ":2: ": ["0", "x", "Who?", "1.0"], ":2:": ["0", "x", "Who?", "Whose?", "Why?", "1.0"]}}


@pytest.mark.parametrize("module,says", [(module, says) for module, cases in BAD_COURSE.items() for says in cases])
def test_bad_rows_of_the_course(tmp_path, module, says):
    refused(module, course(tmp_path/"train.csv", module, BAD_COURSE[module][says], *COURSE[module]), says)


@each_course
def test_bad_files_of_the_course(tmp_path, module):
    path = course(tmp_path/"train.csv", module, *COURSE[module])
    raw = path.read_bytes()
    for broken, says in ((b"", ""), (raw.replace(b"mill", b"mi\xffll").replace(b"film", b"fi\xfflm"), ":2: "), (raw.replace(b"\tid\t", b"\tname\t"), ""), (raw[:-4] + b'\t"', ":")):
        path.write_bytes(broken)
        refused(module, path, says)
    refused(module, course(path, module), ": ")
    with pytest.raises(FileNotFoundError): list(READ[module](tmp_path/"nothing.csv"))


def test_gaps_in_the_pairs_are_counted(tmp_path):
    gaps = [["3", "d", "", "Who?", "1.0"], ["4", "e", "Who?", " ", "0.0"], ["5", "f", "Who?", "Whose?", ""], ["6", "g", "Who?", "Whose?", "nan"], ["7", "", "", "", ""]]
    path = course(tmp_path/"quora-train.csv", paraphrase, *PAIRS, *gaps)
    with pytest.warns(UserWarning, match=f"^{re.escape(str(path))}: 5 rows lack a question or a label and are left out$"): assert len(list(read_paraphrase(path))) == 3
    refused(paraphrase, course(path, paraphrase, *gaps), ": no row has two questions and a label")
    refused(paraphrase, course(path, paraphrase), ":")


@each_course
def test_the_courses_real_rows(module, shared_data):
    folder, files = TWINS[module]
    wanted = {sentiment: {"train": 1609, "validation": 391}, paraphrase: {"train": 1576, "validation": 424}}[module]
    data = {split: table(module, shared_data/folder/files[split]) for split in wanted}
    assert {split: len(rows) for split, rows in data.items()} == wanted
    for split, rows in data.items():
        assert rows.column_names == COLUMNS and rows.features["label"].names == NAMES[module] and set(rows["label"]) == set(range(len(NAMES[module])))
        lines = (shared_data/folder/files[split]).read_text(encoding="utf-8").split("\n")[1:-1]
        texts = [row["text"] + (row["text_pair"] or "") for row in rows]
        assert rows["id"] == [line.split("\t")[1] for line in lines] and rows["label"] == [int(float(line.split("\t")[-1])) for line in lines]
        assert all(text == text.strip() for text in rows["text"])
        letters = lambda text: re.sub(r'["\s]', "", text)
        assert [letters(text) for text in texts] == [letters("".join(line.split("\t")[2:-1])) for line in lines], "but for quotes and blanks, the file's text"
        assert not [text for text in texts if '""' in text], "no layer of quotes is left"
    assert sum('"' in row["text"] + (row["text_pair"] or "") for row in data["train"]) == {sentiment: 0, paraphrase: 51}[module]


# --- the hub's files


def hub_sentiment(path, *changes):
    rows = [{"text": f"mill number {i} .", "label": i, "label_text": NAMES[sentiment][i]} for i in range(5)] + [{"text": "a mill .", "label": 2} | change for change in changes]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_hubs_sentiment(tmp_path):
    rows = list(read_sentiment(hub_sentiment(tmp_path/"dev.jsonl", {"ternary_label": 1}, {})))
    assert [row["label"] for row in rows] == NAMES[sentiment] + ["neutral"]*2 and rows[0] == {"id": "dev-1", "text": "mill number 0 .", "text_pair": None, "label": "very negative"}
    for change, says in (({"label": 5}, "the label is '5', not 0 to 4"), ({"label": True}, "the label is 'True', not 0 to 4"), ({"label": None}, "the label is 'None', not 0 to 4"),
                         ({"label": [2]}, "the label is '[2]', not 0 to 4"), ({"label_text": "positive"}, "the label is 2 and its name 'positive', not 'neutral'"),
                         ({"text": ""}, "the id or the sentence is empty"), ({"text": None}, "the text is no text but None")):
        refused(sentiment, hub_sentiment(tmp_path/"dev.jsonl", change), f":6: {says}")
    (tmp_path/"dev.jsonl").write_text('{"text": "a mill ."}\n')
    refused(sentiment, tmp_path/"dev.jsonl", ":1: the key 'label' is missing")


def hub_pairs(path, *changes):
    import pyarrow as pa
    import pyarrow.parquet as pq
    rows = [{"question1": f"Who owns mill {i}?", "question2": f"Whose is mill {i}?", "label": i % 2, "idx": i} for i in range(4)]
    rows += [rows[0] | {"idx": 9} | change for change in changes]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def test_the_hubs_pairs(tmp_path):
    path = hub_pairs(tmp_path/"validation-00000-of-00001.parquet")
    rows = list(read_paraphrase(path))
    assert [row["label"] for row in rows] == ["different", "duplicate"]*2
    assert rows[1] == {"id": "validation-1", "text": "Who owns mill 1?", "text_pair": "Whose is mill 1?", "label": "duplicate"}
    with pytest.warns(UserWarning, match="2 rows lack a question or a label and are left out"):
        assert len(list(read_paraphrase(hub_pairs(path, {"question1": ""}, {"question2": None})))) == 4
    refused(paraphrase, hub_pairs(path, {"label": -1}), ": row 4 has the label -1: GLUE's test part has no labels")
    refused(paraphrase, hub_pairs(path, {"label": 3}), ": row 4: unknown label '3'")
    refused(paraphrase, hub_pairs(path, {"idx": 0, "label": 1}), ": row 4: the id validation-0 stands above already, with another content")
    path.write_bytes(path.read_bytes()[:300])
    refused(paraphrase, path, ": ")


# --- pairs have no order


def test_a_pair_has_no_order():
    a, b = {"text": "Where is the mill?", "text_pair": "Who owns it?"}, {"text": "who owns it", "text_pair": "Where is the MILL"}
    assert pair_key(a) == pair_key(b) != pair_key(a | {"text": "Where is it?"})
    assert leaks([a], [b], pair_key) == [(0, 0)] and leaks([a], [b]) == []


# --- whatever the file


PIECES = [b"", b"\t", b"\n", b"\r", b'"', b'""', b"\xff", b"\xef\xbb\xbf", b"\0", b"0", b"9", b"x"*300, b"Doubt", b"nan", b" "]


@each
@quick
@given(damage=damages(PIECES, min_size=1))
def test_a_damaged_file_is_refused_or_read_right(tmp_path_factory, module, damage):
    "Cut out bytes and put others in: what comes out is an error that names the file and the place, or rows with nothing impossible in them."
    folder = tmp_path_factory.getbasetemp()
    if module is propaganda: path = spans(folder, span("glorious"), span("Never.", "Slogans"), span("miller?\nNot we", article=8))
    else: path = course(folder/"train.csv", module, *COURSE[module])
    data = path.read_bytes()
    data = damaged(data, damage)
    path.write_bytes(data)
    if (rows := rows_or_none(READ[module], path, r"(:\d+: |: )")) is None: return
    text = data.decode("utf-8-sig")
    for row in rows:
        assert list(row) == COLUMNS and row["label"] in NAMES[module] and row["id"] and row["text"].strip()
        if module is propaganda: assert row["text_pair"] in ARTICLE and row["text"].replace("<< ", "").replace(" >>", "") in ARTICLE
        else: assert row["id"] in text and row["text"].replace('"', "") in text.replace('"', "")


# --- through load_task


def test_the_articles_are_carved_where_there_is_one_file(shared_data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")                                             # a repeated line, and lines that stand in several articles
        data = {split: load_task("propaganda", split, source=shared_data) for split in ("train", "validation", "test")}
    articles = [{article_of(row) for row in rows} for rows in data.values()]
    assert sum(map(len, articles)) == 163 and not articles[0] & articles[1] | articles[0] & articles[2] | articles[1] & articles[2]
    assert len(data["train"]) > 1800 and min(len(data["validation"]), len(data["test"])) > 100
    for split in ("validation", "test"): assert not leaks(data["train"], data[split])


@pytest.mark.parametrize("name,column", [("propaganda", "text"), ("sentiment", "text"), ("paraphrase", pair_key)])
def test_load_task_reads_the_twins(name, column):
    data = {split: load_task(name, split, source="tiny") for split in ("train", "validation", "test")}
    assert all(rows.column_names == COLUMNS and len(rows) >= 200 for rows in data.values())
    assert not leaks(data["train"], data["validation"], column) and not leaks(data["train"], data["test"], column)
