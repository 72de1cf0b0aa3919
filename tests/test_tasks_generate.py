"Fact-check explanations and sonnets: columns, real rows, broken files, and what was mended in a text."
import json
import random
import re
import time
import warnings

import pytest
from damage import damaged, damages, rows_or_none
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ftlib.data import COLUMNS, DataError, leaks, normalise
from ftlib.tasks import load_task
from ftlib.tasks.factcheck import (FILES, FILES_LIAR2, FILES_PLUS, HUB_FILES, PARTS, RATINGS, claim_of, rating_of, read_factcheck,
                                   read_liar2, read_liar_plus, unquoted, without_hollow)
from ftlib.tasks.sonnets import FILES as SONNET_FILES
from ftlib.tasks.sonnets import number_of, read_sonnets
from ftlib.tasks.verse import sonnet

quick = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])

MILL = {"id": 0, "json_file_id": "1.json", "label": "half-true", "claim": "The mill never burned.", "topics": ["mills", "fire"], "originator": "ada-miller",
        "title": "Miller", "party": "Nowhere", "justification": "It burned once,  and the wheel\u2028was saved.\n"}
TSV = ["1.json", "half-true", MILL["claim"], "mills,fire", "ada-miller", "Miller", "Nowhere", "mill party", *"10210", "a fair", "It burned once, and the wheel was saved."]
HEADER = ("id,label,statement,date,subject,speaker,speaker_description,state_info,true_counts,mostly_true_counts,half_true_counts,mostly_false_counts,"
          "false_counts,pants_on_fire_counts,context,justification\n")
WHEEL = '7,2,The wheel is of gold.,"May 1, 2001",mills;metals,ada miller,"Ada Miller is a miller.\nShe lives here.",nowhere,0,1,2,4,1,0,a fair,"It is brass.\nBrass shines ""like gold"", she said. We rate this ."\n'
PROMPT = "The mill never burned.\nspeaker ada-miller; job Miller; state Nowhere; subject mills, fire\nRated half-true, because:\n"
FULL = PROMPT.replace("; subject mills, fire", "; party mill party; subject mills, fire; context a fair")
TOLD = "It burned once, and the wheel was saved."
POEMS = [sonnet(random.Random(i), "train") for i in range(4)]


def jsonl(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def text(path, content):
    path.write_text(content, encoding="utf-8")
    return path


def tsv(*rows): return "".join("\t".join(row) + "\n" for row in rows)


def edition(*poems, header="Verse\nby nobody\n1871\n\n\n", numbers=None):
    "Poems as an edition prints them: the couplet is indented."
    blocks = ["\n".join([str(number), "", *poem[:-2], *(f"  {line}" for line in poem[-2:])]) for number, poem in zip(numbers or range(1, 99), poems)]
    return header + "\n\n".join(blocks) + "\n"


# --- all rows


@pytest.mark.parametrize("name", ["factcheck", "sonnets"])
@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_the_twins_through_load_task(name, split):
    data = load_task(name, split, source="tiny")
    assert data.column_names == list(COLUMNS["generate"]) and len(data) >= 20
    check_rows(name, data)
    others = [load_task(name, s, source="tiny") for s in ("train", "validation", "test") if s != split]
    assert not any(leaks(data, other, claim_of if name == "factcheck" else "prompt") for other in others)


def check_rows(name, data):
    for row in data:
        assert set(row) == set(COLUMNS["generate"]) and row["prompt"].endswith("\n") and not row["prompt"].endswith("\n\n")
        assert "  " not in row["prompt"] + row["completion"] and row["completion"] == row["completion"].strip() != ""
        if name == "factcheck":
            assert re.fullmatch(r"[^\n]+\n([^\n]+\n)?Rated [a-z-]+, because:\n", row["prompt"]) and rating_of(row) in RATINGS and "\n" not in row["completion"]
            assert claim_of(row) == " ".join(claim_of(row).split()) != ""
        else:
            lines = (row["prompt"] + row["completion"]).split("\n")
            assert row["prompt"].count("\n") == 3 and 12 <= len(lines) <= 15 and all(line == line.strip() != "" for line in lines)


@pytest.mark.parametrize("part,split", [(part, split) for part in PARTS for split in ("train", "validation")])
def test_real_explanations(part, split, shared_data):
    path = next(shared_data/part/name for name in PARTS[part][split] if (shared_data/part/name).is_file())
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        rows = list(read_factcheck(path))
    wanted = {("liar_plus", "train"): (1045, 3), ("liar_plus", "validation"): (235, 1), ("liar2", "train"): (630, 0), ("liar2", "validation"): (138, 0)}
    n, left = wanted[part, split]
    assert len(rows) == n and {rating_of(row) for row in rows} == set(RATINGS)
    assert [str(w.message) for w in told] == [f"{path}: {left} rows are left out: {left} without a justification"]*bool(left)
    check_rows("factcheck", rows)


def test_the_real_explanations_through_load_task(shared_data):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        train, validation = (load_task("factcheck", split, source=shared_data) for split in ("train", "validation"))
    assert len(train) == 1675 - 9 and len(validation) == 235 + 138 and not leaks(train, validation, claim_of)
    assert any("9 training rows are left out" in str(w.message) for w in told)
    check_rows("factcheck", train)


def test_what_the_notebook_says_of_the_real_explanations(shared_data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = {(part, split): list(read_factcheck(shared_data/part/PARTS[part][split][0])) for part in PARTS for split in ("train", "validation")}
    plus, liar2 = ([row for split in ("train", "validation") for row in rows[part, split]] for part in PARTS)
    claims = {key: {normalise(claim_of(row)) for row in told} for key, told in rows.items()}
    assert len((claims["liar_plus", "train"] | claims["liar_plus", "validation"]) & (claims["liar2", "train"] | claims["liar2", "validation"])) == 37
    assert len((claims["liar_plus", "train"] | claims["liar2", "train"]) & (claims["liar_plus", "validation"] | claims["liar2", "validation"])) == 9
    raw = [json.loads(line) for split in ("train2", "val2") for line in (shared_data/"liar_plus"/f"{split}.jsonl").read_text(encoding="utf-8").splitlines()]
    mended = {key: sum(unquoted(" ".join(row[key].split())) != " ".join(row[key].split()) for row in raw) for key in ("claim", "justification", "title")}
    assert len(raw) == 1284 and mended == {"claim": 63, "justification": 707, "title": 13}
    assert not [row for row in raw for key in mended if '""' in row[key] and unquoted(" ".join(row[key].split())) == " ".join(row[key].split())]
    kept = [row for split in ("train", "valid") for row in read_liar2(shared_data/"liar2"/f"{split}.csv", hollow=True)]
    assert sum(a != b for a, b in zip(kept, liar2, strict=True)) == 586 and sum(bool(re.search(r" [.!,](\s|$)", row["completion"])) for row in liar2) == 324
    names = {"pants-fire": "pants on fire|pants-on-fire|pants-fire", "false": "false", "barely-true": "barely true|mostly false", "half-true": "half true",
             "mostly-true": "mostly true", "true": "true"}
    def said(row, names): return bool(re.search(rf"\b({names})\b".replace(" ", "[ -]"), row["completion"], re.I))
    assert not any(said(row, names[rating_of(row)]) for row in plus) and sum(said(row, "|".join(names.values())) for row in plus) == 7
    assert not any(said(row, "|".join(names.values())) for row in kept)


def test_real_sonnets(shared_data):
    path = shared_data/"sonnets"/"sonnets.txt"
    with pytest.warns(UserWarning, match=r"sonnets.txt: 2 sonnets have another number of lines than 14: 99 \(15\), 126 \(12\)$"): rows = list(read_sonnets(path))
    assert len(rows) == 131 and b"\r\n" in path.read_bytes()
    check_rows("sonnets", rows)
    assert rows[0]["prompt"].startswith("From fairest creatures") and rows[0]["completion"].endswith("\nTo eat the world's due, by the grave and thee.")
    lines = [line for row in rows for line in (row["prompt"] + row["completion"]).split("\n")]
    assert len(set(lines)) == len(lines) - 2 and [i + 1 for i, row in enumerate(rows) if row["completion"].endswith("mine is thy good report.")] == [36, 96]


def test_real_sonnets_are_cut_in_three(shared_data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        splits = [load_task("sonnets", split, source=shared_data) for split in ("train", "validation", "test")]
    assert sum(map(len, splits)) == 131 and min(map(len, splits)) >= 8 and not any(leaks(splits[0], other, "prompt") for other in splits[1:])


# --- explanations


def test_the_three_layouts_of_liar_plus(tmp_path):
    assert list(read_liar_plus(jsonl(tmp_path/"a.jsonl", MILL))) == [{"prompt": PROMPT, "completion": TOLD}]
    for rows in ([TSV], [["0", *TSV]]):
        assert list(read_liar_plus(text(tmp_path/"a.tsv", tsv(*rows)))) == [{"prompt": FULL, "completion": TOLD}]
    assert list(read_factcheck(tmp_path/"a.tsv")) == list(read_liar_plus(tmp_path/"a.tsv"))


def test_liar2(tmp_path):
    path, prompt = text(tmp_path/"train.csv", HEADER + WHEEL), "The wheel is of gold.\nspeaker ada miller; {}state nowhere; subject mills, metals; context a fair\nRated barely-true, because:\n"
    told = 'It is brass. Brass shines "like gold", she said.'
    assert list(read_liar2(path)) == list(read_factcheck(path)) == [{"prompt": prompt.format(""), "completion": told}]
    row, = read_factcheck(path, about=True, hollow=True)
    assert row == {"prompt": prompt.format("about Ada Miller is a miller. She lives here.; "), "completion": f"{told} We rate this ."}


def test_labels_are_degrees(tmp_path):
    rows = [WHEEL.replace("7,2", f"7,{i}") for i in range(6)]
    assert [rating_of(row) for row in read_liar2(text(tmp_path/"train.csv", HEADER + "".join(rows)))] == list(RATINGS)


def test_counts_are_never_told(tmp_path):
    few, many = (text(tmp_path/f"{i}.csv", HEADER + WHEEL.replace("0,1,2,4,1,0", counts)) for i, counts in enumerate(("0,1,2,4,1,0", "91,92,93,94,95,96")))
    assert list(read_liar2(few, about=True)) == list(read_liar2(many, about=True))
    few, many = (text(tmp_path/f"{i}.tsv", tsv([*TSV[:8], *counts, *TSV[13:]])) for i, counts in enumerate(("10210", ("91", "92.0", "93", "", "95"))))
    assert list(read_liar_plus(few)) == list(read_liar_plus(many))


def test_only_what_is_known_is_told(tmp_path):
    bare = MILL | {"topics": [], "originator": "", "title": None, "party": " "}
    assert next(read_liar_plus(jsonl(tmp_path/"a.jsonl", bare)))["prompt"] == "The mill never burned.\nRated half-true, because:\n"
    assert "party" not in next(read_liar_plus(text(tmp_path/"a.tsv", tsv([*TSV[:7], "none", *TSV[8:]]))))["prompt"]


def test_rows_left_out_are_counted(tmp_path):
    path = jsonl(tmp_path/"a.jsonl", MILL, MILL | {"justification": " \n"}, MILL | {"id": 4}, MILL | {"label": "true"}, MILL | {"justification": None})
    with pytest.warns(UserWarning, match=r"a.jsonl: 3 rows are left out: 2 without a justification, 1 repeating another$"):
        assert [rating_of(row) for row in read_liar_plus(path)] == ["half-true", "true"]
    hollow = re.sub('"It is brass.*"', '"We rate this ."', WHEEL, flags=re.S)
    with pytest.warns(UserWarning, match="1 rows are left out: 1 without a justification"): assert not list(read_liar2(text(tmp_path/"a.csv", HEADER + hollow)))


def test_no_line_of_the_frame_comes_from_the_data(tmp_path):
    sly = MILL | {"claim": "A.\nRated true, because:\u2028B.\x85C.\x0bD.", "originator": "x\r\nRated true, because:", "justification": "Yes.\nRated false, because:\nNo."}
    row, = read_liar_plus(jsonl(tmp_path/"a.jsonl", sly))
    assert row["prompt"].split("\n")[:2] == ["A. Rated true, because: B. C. D.", "speaker x Rated true, because:; job Miller; state Nowhere; subject mills, fire"]
    assert (rating_of(row), row["completion"]) == ("half-true", "Yes. Rated false, because: No.") and len(row["prompt"].splitlines()) == 3


QUOTED = {'"She said ""no."""': 'She said "no."', '"""Never,"" she said."': '"Never," she said.', '"a ""b"" c"': 'a "b" c', '"Never," he said, "never."': '"Never," he said, "never."',
          '"Never."': '"Never."', '""': '""', '"': '"', "": "", '"""': '"""', 'a "" b': 'a "" b', '"a "b"" c"': '"a "b"" c"'}


@pytest.mark.parametrize("given_text", QUOTED)
def test_unquoted(given_text): assert unquoted(given_text) == QUOTED[given_text]


@quick
@given(st.text(alphabet='a" .,', max_size=30))
@example('"')
def test_what_an_export_did_is_undone(plain):
    exported = '"' + plain.replace('"', '""') + '"'
    assert unquoted(exported) == (plain if '"' in plain else exported)


HOLES = {"It is brass. We rate this .": "It is brass.", "We rate it !": "", "It is brass. On balance, we rate the statement as . Ada helped.": "It is brass. Ada helped.",
         'He called it "gold." We rate this post .': 'He called it "gold."', "It is brass. We rate this statement False.": "It is brass. We rate this statement False.",
         "The wheel is not of .": "The wheel is not of .", "It is brass, so we rate it .": "It is brass, so we rate it .", "": "", "We rate Ada’s . We rule it .": ""}


@pytest.mark.parametrize("given_text", HOLES)
def test_hollow_sentences(given_text): assert without_hollow(given_text) == HOLES[given_text]


@pytest.mark.parametrize("given_text", ["We rate "*10**5, ". We rate "*10**5, "A, "*10**5, "We rate " + "x "*10**5 + ".", '" '*10**5, " ."*10**5])
def test_long_texts_take_no_long_time(given_text):
    start = time.process_time()
    without_hollow(given_text), unquoted(given_text)
    assert time.process_time() - start < 2


BAD_PLUS = {
    ":2: unknown label 'mostly false' (did you mean 'mostly-true'?)": [MILL, MILL | {"label": "mostly false"}],
    ":1: unknown label ''": [MILL | {"label": None}],
    ":1: the label is no text but a int": [MILL | {"label": 3}],
    ":1: the claim is empty": [MILL | {"claim": " \n"}],
    ":2: the claim is no text but a list": [MILL, MILL | {"claim": ["The mill burned."]}],
    ":1: the subject is no text but a list": [MILL | {"topics": ["mills", 3]}],
    ":1: the justification is no text but a dict": [MILL | {"justification": {}}],
    ":1: the key 'originator' is missing (did you mean 'orginator'?)": [{"orginator" if key == "originator" else key: value for key, value in MILL.items()}],
    ":3: not a JSON object but a list": [MILL, MILL | {"claim": "B."}, []],
    ": the file is empty": [],
}


@pytest.mark.parametrize("says", BAD_PLUS)
def test_bad_json_lines(tmp_path, says):
    path = jsonl(tmp_path/"train2.jsonl", *BAD_PLUS[says])
    with pytest.raises(DataError) as caught: list(read_liar_plus(path))
    assert str(caught.value).startswith(f"{path}{says}"), str(caught.value)


BAD_TSV = {
    ":1: 14 tab-separated columns, not 15 or 16; LIAR's own file": tsv(TSV[:14]),
    ":1: 17 tab-separated columns, not 15 or 16": tsv(["0", "0", *TSV]),
    ":2: 16 tab-separated columns, not 15": tsv(TSV, [*TSV, "x"]),
    ":2: 15 tab-separated columns, not 16": tsv(["0", *TSV], TSV),
    ":1: the count of barely true is 'mill party' and not a number": tsv([*TSV[:4], "x", *TSV[4:13], TSV[14]]),
    ":2: the count of pants on fire is 'a fair' and not a number": tsv(TSV, [*TSV[:8], *"1021", "a fair", "x", TSV[14]]),
    ":1: the count of pants on fire is 'a fair' and not a number": tsv([*TSV, "x"]),
    ":1: unknown label 'The mill never burned.'": tsv([*TSV[:13], "", *TSV[13:]]),
    ":1: the claim is empty": tsv([*TSV[:2], "", *TSV[3:]]),
    ":2: the line is empty": tsv(TSV) + "\n" + tsv(TSV),
    ": the file is empty": "",
}


@pytest.mark.parametrize("says", BAD_TSV)
def test_bad_tsv(tmp_path, says):
    path = text(tmp_path/"train2.tsv", BAD_TSV[says])
    with pytest.raises((DataError, ValueError)) as caught: list(read_liar_plus(path))
    assert str(caught.value).startswith(f"{path}{says}"), str(caught.value)


BAD_CSV = {
    ":5: the label is '6' and not 0 to 5": WHEEL + WHEEL.replace("7,2", "8,6"),
    ":2: the label is 'half-true' and not 0 to 5": WHEEL.replace("7,2", "8,half-true"),
    ":2: the label is '' and not 0 to 5": WHEEL.replace("7,2", "8,"),
    ":2: the label is '2.0' and not 0 to 5": WHEEL.replace("7,2", "8,2.0"),
    ":2: the claim is empty": WHEEL.replace("The wheel is of gold.", " "),
    ":5: 17 fields, and the header has 16": WHEEL + WHEEL.replace("nowhere", "nowhere,else"),
    ":2: 15 fields, and the header has 16": WHEEL.replace("nowhere,", ""),
    ":5: the row that starts here is not quoted right": WHEEL + WHEEL.replace('this ."', "this ."),
}


@pytest.mark.parametrize("says", BAD_CSV)
def test_bad_csv(tmp_path, says):
    path = text(tmp_path/"train.csv", HEADER + BAD_CSV[says])
    with pytest.raises(DataError) as caught: list(read_liar2(path))
    assert str(caught.value).startswith(f"{path}{says}"), str(caught.value)


def test_a_column_that_is_missing(tmp_path):
    path = text(tmp_path/"train.csv", (HEADER + WHEEL).replace("statement", "claim"))
    with pytest.raises(DataError, match="train.csv:1: the column 'statement' is missing"): list(read_liar2(path))


@pytest.mark.parametrize("read,name", [(read_factcheck, "a.jsonl"), (read_factcheck, "a.tsv"), (read_factcheck, "a.csv"), (read_sonnets, "a.txt")])
def test_a_file_that_is_not_there(tmp_path, read, name):
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path/name))): list(read(tmp_path/name))


def test_the_names_of_the_files():
    assert set(FILES) == set(HUB_FILES) == set(SONNET_FILES) == {"train", "validation", "test"} and PARTS == {"liar_plus": FILES_PLUS, "liar2": FILES_LIAR2}
    for split, names in FILES.items():
        assert names == FILES_PLUS[split] + FILES_LIAR2[split] and HUB_FILES[split] in names


# --- sonnets


def test_a_poem_in_two_parts(tmp_path):
    path = text(tmp_path/"sonnets.txt", edition(*POEMS))
    for given_lines in (1, 3, 11):
        rows = list(read_sonnets(path, given=given_lines))
        assert [(row["prompt"] + row["completion"]).split("\n") for row in rows] == POEMS
        assert {row["prompt"].count("\n") for row in rows} == {given_lines}
    for wrong in (0, 12, -1):
        with pytest.raises(ValueError, match=f"given = {wrong} lines is out of range: it must be from 1 to 11"): list(read_sonnets(path, given=wrong))


@pytest.mark.parametrize("header", ["", "\n\n", "A line\n\n", "1609\n\nSONNETS\n\nI am no number\n" * 50, "*** START OF THE PROJECT GUTENBERG EBOOK ***\n\n"])
@pytest.mark.parametrize("numbers", [[1, 2, 3, 4], [132, 133, 150, 154], ["I", "IV", "IX", "CLIV"], ["1.", "2.", "3.", "4."], ["  1", "  2", " 3", "\t4 "]])
def test_headers_and_numbers(tmp_path, header, numbers):
    rows = list(read_sonnets(text(tmp_path/"sonnets.txt", edition(*POEMS, header=header, numbers=numbers))))
    assert [(row["prompt"] + row["completion"]).split("\n") for row in rows] == POEMS


def test_what_stands_behind_the_last_poem(tmp_path):
    for end in ("*** END OF THE PROJECT GUTENBERG EBOOK THE SONNETS ***", "End of Project Gutenberg's Sonnets", "End of the Project Gutenberg EBook"):
        assert len(list(read_sonnets(text(tmp_path/"a.txt", edition(*POEMS) + f"\n\n{end}\n\n1\n\nThree hundred lines on terms.\n")))) == 4


@pytest.mark.parametrize("numeral,value", [("I", 1), ("IV", 4), ("XIX", 19), ("XL", 40), ("XCIX", 99), ("CXXVI", 126), ("CLIV", 154), ("154.", 154), ("0", 0),
                                           ("IIII", None), ("VX", None), ("1609", None), ("Mix", None), ("i", None), (".", None), ("", None), ("٣", None), ("12 a", None)])
def test_numbers(numeral, value): assert number_of(numeral) == value


@given(st.integers(1, 154))
def test_roman_numerals_come_back(n):
    parts = [(100, "C"), (90, "XC"), (50, "L"), (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I")]
    rest, numeral = n, ""
    for value, letters in parts:
        while rest >= value: rest, numeral = rest - value, numeral + letters
    assert number_of(numeral) == number_of(str(n)) == n


def test_stanzas_and_odd_lengths(tmp_path):
    spaced = [line for i, line in enumerate(POEMS[0]) for line in ([line, ""] if i in (3, 7, 11) else [line])]
    assert (row := next(read_sonnets(text(tmp_path/"a.txt", edition(spaced))))) and (row["prompt"] + row["completion"]).split("\n") == POEMS[0]
    path = text(tmp_path/"odd.txt", edition(POEMS[0], POEMS[1][:12], POEMS[2] + ["And one more line."]))
    with pytest.warns(UserWarning, match=r"odd.txt: 2 sonnets have another number of lines than 14: 2 \(12\), 3 \(15\)$"): rows = list(read_sonnets(path))
    assert [row["completion"].count("\n") + 1 for row in rows] == [11, 9, 12]


BAD_POEMS = {
    ":6: sonnet 1 has 3 lines and nothing to write; TRUE_… files hold the whole poems": edition(POEMS[0][:3], POEMS[1][:3]),
    ":6: sonnet 1 has 28 lines and not 14; is the number of the next one missing?": edition(POEMS[0] + POEMS[1], POEMS[2]),
    ":6: sonnet 1 has 11 lines and not 14": edition(POEMS[0][:11], POEMS[2]),
    ":23: the number 7 after 7, and they must rise": edition(*POEMS[:2], numbers=[7, 7]),
    ":23: the number 3 after 4, and they must rise": edition(*POEMS[:2], numbers=["IV", 3]),
    ":6: there is no line under the number 1": edition([], POEMS[0]),
    ":23: there is no line under the number 2": edition(POEMS[0], []),
    ": no line holds a number alone, so there is no poem": edition(POEMS[0], numbers=["One"]),
    ": no line holds a number alone, so there is no poem\0": "",
}


@pytest.mark.parametrize("says", BAD_POEMS)
def test_bad_poems(tmp_path, says):
    path = text(tmp_path/"sonnets.txt", BAD_POEMS[says])
    with pytest.raises(DataError) as caught: list(read_sonnets(path))
    assert str(caught.value).startswith(f"{path}{says.strip(chr(0))}"), str(caught.value)


def test_bytes_that_are_no_text(tmp_path):
    whole = edition(*POEMS).encode().split(b"\n")
    for bad, says in ((b"caf\xe9", "byte 4 of the line is not UTF-8"), (b"a\0b", "a zero byte")):
        (tmp_path/"a.txt").write_bytes(b"\n".join([*whole[:9], bad, *whole[10:]]))
        with pytest.raises(DataError, match=re.escape(f"{tmp_path/'a.txt'}:10: {says}")): list(read_sonnets(tmp_path/"a.txt"))


# --- whatever the file


FORMS = {"a.jsonl": (read_factcheck, "".join(json.dumps(row) + "\n" for row in (MILL, MILL | {"claim": "B.", "label": "true"}))),
         "first.tsv": (read_factcheck, tsv(TSV, [*TSV[:2], "B.", *TSV[3:]])), "second.tsv": (read_factcheck, tsv(["0", *TSV], ["1", *TSV[:2], "B.", *TSV[3:]])),
         "a.csv": (read_factcheck, HEADER + WHEEL + WHEEL.replace("wheel", "roof")), "a.txt": (read_sonnets, edition(*POEMS[:3]))}
PIECES = [b"", b"\t", b"\n", b"\n\n", b"\r", b'"', b'""', b",", b";", b"\xff", b"\xef\xbb\xbf", b"\0", b"{", b"]", b"null", b"x"*300, b"12", b"\n2\n", b"XII\n", b"false", b"\\ud800"]


@pytest.mark.parametrize("name", FORMS)
@quick
@given(damages(PIECES, 40, min_size=1))
def test_a_damaged_file_is_refused_or_read_right(tmp_path_factory, name, damage):
    "Cut out bytes and put others in: what comes out is an error that names the file and the place, or rows with nothing impossible in them."
    (read, content), path = FORMS[name], tmp_path_factory.getbasetemp()/name
    data = content.encode()
    data = damaged(data, damage)
    path.write_bytes(data)
    if (rows := rows_or_none(read, path, r"(:\d+: |: the file is empty|: no line holds a number)")) is None: return
    check_rows("sonnets" if name == "a.txt" else "factcheck", rows)


@pytest.mark.parametrize("name", FORMS)
def test_byte_order_mark_and_carriage_returns(tmp_path, name):
    read, content = FORMS[name]
    (tmp_path/name).write_bytes(content.encode())
    expected = list(read(tmp_path/name))
    (tmp_path/name).write_bytes(b"\xef\xbb\xbf" + content.encode().replace(b"\n", b"\r\n"))
    assert list(read(tmp_path/name)) == expected and len(expected) >= 2


def test_a_huge_field_is_read_or_refused(tmp_path):
    long = "word "*10**5
    row, = read_liar_plus(jsonl(tmp_path/"a.jsonl", MILL | {"justification": long}))
    assert row["completion"] == long.strip()
    with pytest.raises(DataError, match="a.csv:2: .*larger than field limit"): list(read_liar2(text(tmp_path/"a.csv", HEADER + WHEEL.replace("It is brass.", long))))
