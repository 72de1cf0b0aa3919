"The tasks: columns, labels, sources, splits, streams, and what their readers refuse."
import json
import re
import warnings
from itertools import islice
from pathlib import Path

import madeup
import pytest
from damage import damaged, damages
from ftlib.data import COLUMNS as KINDS
from ftlib.data import DataError
from ftlib.tasks import SPLITS, TASKS, carve, default_source, find_split, load_task, marks, places
from ftlib.tasks import factcheck, fever_reason, gsm8k, paraphrase, propaganda, sentiment, smoltalk, sonnets, ultrafeedback
from ftlib.tasks.fever import LABELS as VERDICTS
from ftlib.tasks.fever import read_fever, wiki_sentences
from ftlib.tasks.liar import COLUMNS, HUB_LABELS, metadata, read_liar
from ftlib.tasks.liar import LABELS as DEGREES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
NAMES = {"liar": ["pants-fire", "false", "barely-true", "half-true", "mostly-true", "true"], "fever": ["SUPPORTS", "REFUTES", "NOT ENOUGH INFO"],
         "sentiment": ["very negative", "negative", "neutral", "positive", "very positive"], "paraphrase": ["different", "duplicate"],
         "propaganda": list(propaganda.LABELS)}
REAL = {                                             # rows of ../shared/data; None: there is no such split
    "propaganda": (2234, 172, 344), "liar": (1602, 398, None), "fever": (1580, 400, None), "sentiment": (1609, 391, None), "paraphrase": (1576, 424, None),
    "factcheck": (1666, 373, None), "sonnets": (104, 10, 17), "smoltalk": (256, None, 64), "gsm8k": (1604, None, 396), "fever_reason": (508, 129, None),
    "ultrafeedback": (258, None, 55)}
each_task = pytest.mark.parametrize("name", TASKS)


pytestmark = pytest.mark.filterwarnings("error::UserWarning")      # nothing is left out quietly


def features(rows): return list(rows.features)


def test_the_list():
    assert list(TASKS) == list(REAL), "in the order of the contract"
    for name, task in TASKS.items():
        assert task.kind in KINDS and list(task.labels) == NAMES.get(name, []) and bool(task.labels) == (task.kind == "classify")
        assert task.about and task.licence and task.parts
        for part in task.parts:
            assert {"train"} <= set(part.files) <= set(SPLITS) and set(part.hub_files) <= set(SPLITS) and set(part.rows) <= set(SPLITS)
            assert part.by_hand and all("https://" in part.by_hand[0] for _ in part.by_hand)
            assert part.hub is None or re.fullmatch(r"[\w-]+/[\w.-]+", part.hub)
            assert part.hub or part.raw, "there is an address"
            assert part.revision is None or re.fullmatch(r"[0-9a-f]{40}|refs/convert/parquet", part.revision)
            for url in part.raw.values(): assert re.match(r"https?://[\w.-]+/", url) and ("/master/" not in url and "/main/" not in url)


# --- sources


@each_task
def test_the_embedded_twin(name, tiny_data):
    task = TASKS[name]
    if not all((tiny_data/part.folder).is_dir() for part in task.parts): pytest.skip("no embedded data")
    data = {split: load_task(name, split, source="tiny") for split in SPLITS if any(split in part.files for part in task.parts)}
    for rows in data.values():
        assert features(rows) == list(KINDS[task.kind]) and len(rows) >= 20
        if task.kind == "classify":
            assert rows.features["label"].names == NAMES[name] and set(rows["label"]) == set(range(len(task.labels)))
            assert len(set(rows["id"])) == len(rows) and all(rows["text"])
        for row in islice(rows, 50):
            if "prompt" in row and task.kind != "prefer": assert row["prompt"].endswith("\n") and row["prompt"].strip()
    assert len(data["train"]) > max(len(rows) for split, rows in data.items() if split != "train")
    held = [{mark for row in rows for mark in marks(name, row)} for rows in data.values()]
    for i, one in enumerate(held):
        for other in held[:i]: assert not one & other


@pytest.mark.parametrize("name,split,n", [(name, split, n) for name, counts in REAL.items() for split, n in zip(SPLITS, counts) if n])
def test_the_real_rows(name, split, n, shared_data):
    task = TASKS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = load_task(name, split, source=shared_data)
        assert len(rows) == n and features(rows) == list(KINDS[task.kind])
        if len(task.parts) == 1: assert rows.to_list() == load_task(name, split, source=str(shared_data/task.parts[0].folder)).to_list()
        assert list(load_task(name, split, source=shared_data, streaming=True)) == list(rows)
    if task.labels: assert rows.features["label"].names == NAMES[name] and set(rows["label"]) <= set(range(len(task.labels)))


@pytest.mark.parametrize("name,split", [(name, split) for name, counts in REAL.items() for split, n in zip(SPLITS, counts) if n is None])
def test_a_split_that_is_not_there(name, split, shared_data):
    with pytest.raises(FileNotFoundError) as caught: load_task(name, split, source=shared_data)
    assert f"no {split} split" in str(caught.value) and "there is train (" in str(caught.value) and "\n" not in str(caught.value)


def test_the_source_follows_the_profile(monkeypatch, tiny_data, tmp_path):
    monkeypatch.chdir(tmp_path)
    if (tiny_data/"liar").is_dir(): assert load_task("liar", n=2).to_list() == load_task("liar", source="tiny", n=2).to_list()
    assert {default_source(name) for name in TASKS} == {"tiny"}
    monkeypatch.setenv("FTLIB_PROFILE", "cuda")
    assert {default_source(name) for name in TASKS} == {"hub"}
    with pytest.raises(FileNotFoundError, match="from the dataset ucsbnlp/liar"): load_task("liar")
    write(tmp_path/"mine"/"liar"/"train.tsv", MILLER)
    (tmp_path/"settings.ini").write_text("[classify.liar:cuda]\nsource = mine\n")
    assert load_task("liar")["text"] == [MILLER[2]]
    (tmp_path/"settings.ini").write_text("[classify]\nsorce = mine\n")
    with pytest.raises(KeyError, match="sorce"): default_source("sentiment")


@each_task
def test_without_the_hub_it_says_what_to_do(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    from huggingface_hub import constants
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError) as caught: load_task(name, source="hub")
    said, part = str(caught.value), TASKS[name].parts[0]
    assert part.by_hand[0] in said and "give its folder as the source" in said and "\n" not in said
    if part.hub: assert part.hub in said
    if name == "liar": assert "https://www.cs.ucsb.edu/~william/data/liar_dataset.zip" in said


def test_rows_are_drawn_with_a_seed(shared_data):
    everything = load_task("liar", source=shared_data)["id"]
    draw = lambda **kw: load_task("liar", source=shared_data, **kw)["id"]
    some = draw(n=50)
    assert len(some) == 50 and some == draw(n=50, seed=0) != draw(n=50, seed=1)
    assert [i for i in everything if i in set(some)] == some, "in file order"
    assert draw(n=10**6) == everything
    assert [row["id"] for row in load_task("liar", source=shared_data, n=7, streaming=True)] == everything[:7]


@pytest.mark.parametrize("args,kw,says", [
    (["lair"], {}, "unknown task 'lair' (did you mean 'liar'?)"),
    (["liar", "dev"], {}, "unknown split 'dev'; known: train, validation, test"),
    (["liar"], {"count": True}, "unknown option of liar: 'count' (did you mean 'counts'?)"),
    (["fever"], {"counts": True}, "unknown option of fever: 'counts'"),
    (["factcheck"], {"abot": True}, "unknown option of factcheck: 'abot' (did you mean 'about'?)"),
    (["liar"], {"n": 0}, "n = 0 must be at least 1"),
    (["liar"], {"source": "tinny"}, "there is no folder 'tinny' (did you mean 'tiny'?)"),
])
@pytest.mark.parametrize("streaming", [False, True])
def test_a_bad_call_is_told_in_one_sentence(args, kw, says, streaming):
    with pytest.raises((ValueError, KeyError, FileNotFoundError)) as caught: load_task(*args, **{"source": "tiny", "streaming": streaming} | kw)
    assert says in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["liar", "fever"])
def test_every_file_name_is_found(name, tmp_path):
    good = "\t".join(MILLER) + "\n" if name == "liar" else json.dumps(RAW) + "\n"
    for split, names in TASKS[name].parts[0].files.items():
        for file in names:
            if file.endswith(".parquet"): continue
            folder = tmp_path/f"{split}-{file}"
            folder.mkdir()
            (folder/file).write_text(good)
            assert len(load_task(name, split, source=folder)) == 1
            for other in set(SPLITS) - {split}:
                with pytest.raises(FileNotFoundError, match=re.escape(f"there is {split} ({file})")): load_task(name, other, source=folder)
    (tmp_path/"nothing").mkdir()
    with pytest.raises(FileNotFoundError, match="no other split either"): load_task(name, source=tmp_path/"nothing")


# --- two data sets, one file, pieces


def test_two_data_sets_of_one_task(tmp_path):
    (tmp_path/"liar_plus").mkdir()
    for split, name in (("train", "train2"), ("validation", "val2")): (tmp_path/"liar_plus"/f"{name}.jsonl").write_bytes(madeup.liar_plus(split))
    plus = load_task("factcheck", source=tmp_path)
    madeup.liar2(tmp_path/"liar2")
    both, own = load_task("factcheck", source=tmp_path), load_task("factcheck", source=tmp_path/"liar2")
    assert len(plus) == len(own) == 9 and both.to_list() == plus.to_list() + own.to_list()
    assert load_task("factcheck", source=tmp_path/"liar_plus").to_list() == plus.to_list()
    (tmp_path/"liar2").rename(tmp_path/"something")
    assert load_task("factcheck", source=tmp_path/"something").to_list() == own.to_list(), "by its files"
    (tmp_path/"something").rename(tmp_path/"liar2")
    with pytest.warns(UserWarning, match="factcheck: liar_plus has no test split here"): assert len(load_task("factcheck", "test", source=tmp_path)) == 9
    assert [i for i, _ in places("factcheck", tmp_path)] == [0, 1]


def test_options_go_to_the_reader_that_knows_them(tmp_path):
    madeup.liar2(tmp_path/"liar2")
    (tmp_path/"liar_plus").mkdir()
    (tmp_path/"liar_plus"/"train2.jsonl").write_bytes(madeup.liar_plus("train"))
    told = load_task("factcheck", source=tmp_path, about=True)["prompt"]
    assert sum("Ada Miller is a miller." in prompt for prompt in told) == 9


def test_one_file_is_carved(tmp_path):
    madeup.propaganda(tmp_path/"propaganda")
    (tmp_path/"sonnets").mkdir()
    (tmp_path/"sonnets"/"sonnets.txt").write_bytes(madeup.sonnets(200))
    for name, total in (("propaganda", 30), ("sonnets", 200)):
        data, group = {split: load_task(name, split, source=tmp_path) for split in SPLITS}, TASKS[name].group
        groups = [{group(row) for row in rows} for rows in data.values()]
        assert sum(map(len, data.values())) == total and not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]
        assert all(carve(group(row)) == split for split, rows in data.items() for row in rows)
        assert list(load_task(name, source=tmp_path, streaming=True)) == list(data["train"])
    assert 140 <= len(data["train"]) <= 175 and find_split("sonnets", "test", tmp_path)[1]
    (tmp_path/"sonnets"/"TRUE_sonnets_held_out_dev.txt").write_bytes(madeup.sonnets(5).replace(b"song", b"hymn"))
    assert len(load_task("sonnets", source=tmp_path)) == 200 and len(load_task("sonnets", "validation", source=tmp_path)) == 5
    with pytest.raises(FileNotFoundError, match="no test split"): load_task("sonnets", "test", source=tmp_path)


def test_the_cut_is_the_same_everywhere():
    assert [carve(f"article{i}") for i in range(12)] == \
        ["train", "validation", "train", "train", "train", "train", "train", "test", "train", "train", "test", "test"]
    shares = [carve(str(i)) for i in range(5000)]
    assert abs(shares.count("train")/5000 - 0.8) < 0.02 and abs(shares.count("test")/5000 - 0.1) < 0.02


def test_a_claim_of_both_data_sets_is_on_one_side(tmp_path):
    madeup.liar2(tmp_path/"liar2")
    (tmp_path/"liar_plus").mkdir()
    shared = madeup.liar_plus("train").replace(b"They sold the mill of town 0.", b"they closed the MILL of town 60")
    (tmp_path/"liar_plus"/"train2.jsonl").write_bytes(shared)
    (tmp_path/"liar_plus"/"val2.jsonl").write_bytes(madeup.liar_plus("validation"))
    (tmp_path/"liar_plus"/"test2.jsonl").write_bytes(madeup.liar_plus("test"))
    with pytest.warns(UserWarning, match="factcheck: 1 training rows are left out"): assert len(load_task("factcheck", source=tmp_path)) == 17


def test_a_test_part_without_labels_is_said(tmp_path):
    for split, names in paraphrase.FILES.items():
        header = "\tid\tsentence1\tsentence2" + "\tis_duplicate"*(split != "test") + "\n"
        (tmp_path/names[0]).write_text(header + f"0\t{split}\tWho is {split}?\tWhat is {split}?" + "\t1.0"*(split != "test") + "\n")
    with pytest.warns(UserWarning, match="train was not compared with test, which cannot be read"): assert len(load_task("paraphrase", source=tmp_path)) == 1
    (tmp_path/"quora-dev.csv").write_text("broken\n")
    with pytest.raises(DataError, match="quora-dev.csv"): load_task("paraphrase", source=tmp_path)


def test_a_stream_reads_no_further_than_it_is_asked(tmp_path):
    rows = [{"question": f"How many are {i} and 1?", "answer": f"#### {i + 1}"} for i in range(20)]
    (tmp_path/"train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "broken\n")
    stream = load_task("gsm8k", source=tmp_path, streaming=True)
    assert [row["answer"] for row in islice(stream, 3)] == ["1", "2", "3"]
    with pytest.raises(DataError, match="train.jsonl:21: "): load_task("gsm8k", source=tmp_path)
    with pytest.raises(Exception, match="train.jsonl:21: "): list(stream)
    assert load_task("gsm8k", source=tmp_path, streaming=True).features == load_task("gsm8k", source="tiny", n=1).features


def test_pieces_are_read_in_order(tmp_path):
    madeup.gsm8k(tmp_path)
    whole = tmp_path/"main"/"train-00000-of-00001.parquet"
    for i in range(2): (tmp_path/"main"/f"train-0000{i}-of-00002.parquet").write_bytes(whole.read_bytes())
    whole.unlink()
    assert len(load_task("gsm8k", source=tmp_path)) == 18 and load_task("gsm8k", source=tmp_path, streaming=True).num_shards == 2
    (tmp_path/"main"/"train-00001-of-00002.parquet").unlink()
    with pytest.raises(FileNotFoundError, match="1 of the 2 pieces"): load_task("gsm8k", source=tmp_path)


# --- LIAR


MILLER = ["1.json", "half-true", 'The mill "never" burned.', "mills,fire", "ada-miller", "miller", "Here", "mill party", "1", "0", "2", "1", "0", "a fair"]
NOBODY = ["2.json", "false", "Rain is dry.", "weather", "", "", "", "", "0", "1", "0", "0", "0", ""]


def write(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_liars_order_is_ordinal():
    assert DEGREES == tuple(NAMES["liar"]) and sorted(HUB_LABELS) == sorted(DEGREES)
    assert HUB_LABELS == ("false", "half-true", "mostly-true", "true", "barely-true", "pants-fire")


def test_liars_rows(tmp_path):
    rows = list(read_liar(write(tmp_path/"train.tsv", MILLER, NOBODY)))
    assert rows == [
        {"id": "1.json", "text": 'The mill "never" burned.', "label": "half-true",
         "text_pair": "speaker ada-miller; job miller; state Here; party mill party; subject mills,fire; context a fair"},
        {"id": "2.json", "text": "Rain is dry.", "text_pair": "subject weather", "label": "false"}]
    counted = [row["text_pair"] for row in read_liar(tmp_path/"train.tsv", counts=True)]
    assert counted[0] == rows[0]["text_pair"] + "; barely true 1; false 0; half true 2; mostly true 1; pants on fire 0"
    assert metadata(dict.fromkeys(COLUMNS, "")) is None


def test_liars_quotation_marks(tmp_path):
    texts = ['"We sold it', "Not here.", 'and "there"', '"all of it"']
    rows = read_liar(write(tmp_path/"train.tsv", *([f"{i}", "true", text, *MILLER[3:]] for i, text in enumerate(texts))))
    assert [row["text"] for row in rows] == texts


BROKEN = {
    ":1: 13 tab-separated columns, not 14": [MILLER[:13]],
    ":2: 15 tab-separated columns, not 14": [MILLER, NOBODY + ["x"]],
    ":2: unknown label 'barely true' (did you mean 'barely-true'?)": [MILLER, ["3", "barely true", *NOBODY[2:]]],
    ":1: unknown label 'True' (did you mean 'true'?)": [["3", "True", *NOBODY[2:]]],
    ":1: barely_true_counts is 'mill party' and not a count": [MILLER[:3] + ["x"] + MILLER[3:13]],
    ":1: mostly_true_counts is '-1' and not a count": [MILLER[:11] + ["-1"] + MILLER[12:]],
    ":2: the id or the statement is empty": [MILLER, ["3", "true", " ", *NOBODY[3:]]],
    ":1: the id or the statement is empty": [["", *NOBODY[1:]]],
    ":2: the id 1.json stands above already, with another content": [MILLER, ["1.json", *NOBODY[1:]]],
    ": the file is empty": [],
}


@pytest.mark.parametrize("says", BROKEN)
def test_liars_broken_rows(tmp_path, says):
    with pytest.raises(DataError) as caught: load_task("liar", source=write(tmp_path/"train.tsv", *BROKEN[says]).parent)
    assert str(caught.value).startswith(f"{tmp_path/'train.tsv'}{says}"), str(caught.value)


def test_a_repeated_row_of_liar_is_counted(tmp_path):
    path = write(tmp_path/"train.tsv", MILLER, NOBODY, MILLER)
    with pytest.warns(UserWarning, match="1 rows are repeated"): assert len(list(read_liar(path))) == 2


def write_parquet(path, **changes):
    import pyarrow as pa
    import pyarrow.parquet as pq
    rows = [dict(zip(COLUMNS, NOBODY)) | {f: 0.0 for f in COLUMNS if f.endswith("counts")} | {"id": f"{i}.json", "label": i, "context": None} | changes
            for i in range(6)]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def test_the_hubs_numbers_become_names(tmp_path):
    rows = list(read_liar(write_parquet(tmp_path/"0000.parquet")))
    assert [row["label"] for row in rows] == list(HUB_LABELS) and rows[0]["text_pair"] == "subject weather"


def test_bad_parquet(tmp_path):
    with pytest.raises(DataError, match="row 0 has the label 6, not 0 to 5"): list(read_liar(write_parquet(tmp_path/"a.parquet", label=6)))
    (tmp_path/"b.parquet").write_bytes((tmp_path/"a.parquet").read_bytes()[:200])
    with pytest.raises(DataError, match="b.parquet: no whole parquet file"): list(read_liar(tmp_path/"b.parquet"))
    import pyarrow as pa
    import pyarrow.parquet as pq
    pq.write_table(pa.table({"id": ["1"]}), tmp_path/"c.parquet")
    with pytest.raises(DataError, match="c.parquet: the column 'label' is missing"): list(read_liar(tmp_path/"c.parquet"))


# --- FEVER


RAW = {"id": 1, "verifiable": "VERIFIABLE", "label": "SUPPORTS", "claim": "The Old Mill stands in Selburg.",
       "evidence": [[[10, 11, "Old_Mill", 0], [10, 12, "Sélburg", 2]], [[13, 14, "Mills_-LRB-list-RRB-", 7]]]}
GOLD = {"id": 90001, "label": "SUPPORTS", "claim": "The Old Mill stands in Selburg.", "original_id": 1,
        "evidence": [["Old_Mill", 0, "The Old Mill -LRB- 1871 -RRB- is a mill ."], ["Selburg", "2", "All mills are in Selburg ."]]}


def claims(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read(tmp_path, *rows): return list(read_fever(claims(tmp_path/"train.jsonl", *rows)))


def test_both_layouts(tmp_path):
    row = {"id": "1", "text": "The Old Mill stands in Selburg.", "label": "SUPPORTS"}
    assert read(tmp_path, RAW) == [row | {"text_pair": None}]
    assert read(tmp_path, GOLD) == [row | {"text_pair": "The Old Mill ( 1871 ) is a mill . All mills are in Selburg ."}]
    assert read(tmp_path, RAW | {"label": VERDICTS[2], "evidence": [[[5, None, None, None]]]})[0]["text_pair"] is None
    assert read(tmp_path, GOLD | {"evidence": []})[0]["text_pair"] is None
    assert read(tmp_path, GOLD | {"evidence": GOLD["evidence"]*2})[0]["text_pair"].count("1871") == 1


def test_the_pages_supply_the_text(tmp_path):
    pages = [{"id": "", "text": "", "lines": ""}, {"id": "Old_Mill", "text": "", "lines": "0\tThe Old Mill -LRB- x -RRB- .\ta\tb\n1\t\n3"},
             {"id": "Se\u0301lburg", "text": "", "lines": "1\tNo .\n2\tMills are in Sélburg .\tMill"}]
    claims(tmp_path/"wiki-pages"/"wiki-001.jsonl", *pages)
    assert read(tmp_path, RAW)[0]["text_pair"] == "The Old Mill ( x ) . Mills are in Sélburg ."
    second = RAW | {"evidence": [[[1, 1, "Nowhere", 0]], [[1, 2, "Old_Mill", 0]]]}
    assert read(tmp_path, second)[0]["text_pair"] == "The Old Mill ( x ) .", "the first set whose sentences are all known"
    assert wiki_sentences(tmp_path/"wiki-pages", {("Old_Mill", 1)}) == {("Old_Mill", 1): ""}
    assert read(tmp_path, RAW | {"evidence": [[[1, 2, "Old_Mill", 1]]]})[0]["text_pair"] is None


def test_one_row_a_claim(tmp_path):
    again = GOLD | {"id": 90002, "evidence": [["X", 1, "Another sentence ."]]}
    assert [row["text_pair"][:12] for row in read(tmp_path, GOLD, again)] == ["The Old Mill"]
    assert [row["id"] for row in read(tmp_path, RAW, RAW | {"id": 2, "claim": "the old mill stands in selburg"})] == ["1"]
    assert [row["id"] for row in read(tmp_path, RAW, RAW | {"id": 2, "claim": "Another."})] == ["1", "2"]


def test_a_claim_with_two_verdicts_is_left_out_and_counted(tmp_path):
    with pytest.warns(UserWarning, match="1 claims have more than one verdict"):
        assert [row["id"] for row in read(tmp_path, RAW, RAW | {"id": 2, "label": "REFUTES"}, RAW | {"id": 3, "claim": "Another."})] == ["3"]


def test_training_rows_that_are_all_held_out(tmp_path):
    claims(tmp_path/"train.jsonl", RAW)
    claims(tmp_path/"paper_dev.jsonl", RAW)
    with pytest.raises(DataError, match="^fever: validation or test hold all 1 training rows too: none is left$"):
        load_task("fever", "train", source=tmp_path)


def test_a_claim_is_on_one_side(tmp_path):
    other = [RAW | {"id": i, "claim": f"Claim {i}."} for i in range(10, 14)]
    claims(tmp_path/"train.jsonl", RAW, other[0], other[1] | {"claim": "Reworded."}, other[2] | {"id": 99}, other[3])
    assert len(load_task("fever", "train", source=tmp_path)) == 5
    claims(tmp_path/"paper_dev.jsonl", RAW, other[1])                # one by text and id, one by id
    claims(tmp_path/"test.jsonl", other[2] | {"claim": "claim 12"})  # by text
    with pytest.warns(UserWarning, match="fever: 3 training rows are left out"): train = load_task("fever", "train", source=tmp_path)
    assert train["text"] == ["Claim 10.", "Claim 13."]
    assert len(load_task("fever", "validation", source=tmp_path)) == 2 and len(load_task("fever", "test", source=tmp_path)) == 1


BAD_CLAIMS = {
    ":2: unknown label 'SUPPORTED' (did you mean 'SUPPORTS'?)": [RAW, RAW | {"label": "SUPPORTED"}],
    ":1: unknown label '[]'": [RAW | {"label": []}],
    ":1: the claim is empty": [RAW | {"claim": " "}],
    ":1: the evidence is neither": [RAW | {"evidence": ["Old_Mill"]}],
    ":1: the evidence is neither ": [RAW | {"evidence": [[["a", "b", "Old_Mill", "first"]]]}],
    ":1: the evidence is neither  ": [RAW | {"evidence": "text"}],
    ":1: the evidence is neither   ": [RAW | {"evidence": None}],
    ":1: the key 'label' is missing (did you mean 'lable'?)": [{("lable" if k == "label" else k): v for k, v in RAW.items()}],
    ":2: not a JSON object but a list": [RAW, []],
    ": the file is empty": [],
}


@pytest.mark.parametrize("says", BAD_CLAIMS)
def test_bad_claims(tmp_path, says):
    with pytest.raises(DataError) as caught: load_task("fever", source=claims(tmp_path/"train.jsonl", *BAD_CLAIMS[says]).parent)
    assert str(caught.value).startswith(f"{tmp_path/'train.jsonl'}{says.strip()}"), str(caught.value)


# --- whatever the file


def words_of(text): return set(re.findall(r"\w+", text.casefold()))


def tsv_of(rows): return "".join("\t".join(map(str, row)) + "\n" for row in rows).encode()


def objects(rows): return "".join(json.dumps(row) + "\n" for row in rows).encode()


def file_of(write, name):
    "What a function of tests/madeup.py writes under a name."
    import tempfile
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder)/"made")
        return (Path(folder)/"made"/name).read_bytes()


PLUS_TSV = [[f"{i}.json", DEGREES[i], f"They sold {madeup.place(i)}.", "towns", "ada", "miller", "Here", "none", 0, 0, 0, 0, 0, "a fair", "Nobody sold it."] for i in range(3)]
COURSE = [["", "id", "sentence", "sentiment"], [0, "a1", "a film about a mill", 3], [1, "a2", "no film at all", 0], [2, "a3", "a long film", 2]]
PAIRS = [["", "id", "sentence1", "sentence2", "is_duplicate"], [0, "b1", "How old is it?", "What is its age?", 1.0], [1, "b2", "Who was it?", "Who is it?", 0.0]]
PROBLEMS = [{"question": f"Ada has {i} apples and buys 3. How many has she?", "answer": f"She has {i} + 3 = <<{i}+3={i + 3}>>{i + 3}.\n#### {i + 3}"} for i in range(3)]
CHAINS = [{"id": i, "claim": f"The mill of town {i} burned.", "evidence": f"The mill of town {i} stands.", "gold_label": "REFUTES",
           "reasoning": f"The mill of town {i} stands, so it did not burn.\nVerdict: REFUTES"} for i in range(3)]
PREFERENCES = [{"prompt": f"Where is {madeup.place(i)}?", "chosen": f"Beyond the hill {i}.", "rejected": "I will not say."} for i in range(3)]
WITH_TURNS = [{"prompt": row["prompt"], "score_chosen": 8.0, "score_rejected": 3.5,
               **{side: [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row[side]}] for side in ("chosen", "rejected")}}
              for row in PREFERENCES]
ARTICLE = "Who would trust the mill?\n\nNobody here does, and nobody should.\n"
SPANS = [["7001", "Doubt", 0, 25], ["7001", "Slogans", 27, 33], ["7001", "Flag-Waving", 27, 62]]
READERS = {                                          # what: (name of the file, its bytes, reader, kind)
    "liar": ("train.tsv", tsv_of([MILLER, NOBODY]), read_liar, "classify"),
    "fever": ("train.jsonl", objects([RAW, GOLD | {"original_id": 3, "claim": "Other."}]), read_fever, "classify"),
    "propaganda": ("train-task2-TC.labels", tsv_of(SPANS), propaganda.read_propaganda, "classify"),
    "sentiment of the course": ("ids-sst-train.csv", tsv_of(COURSE), sentiment.read_sentiment, "classify"),
    "sentiment of the hub": ("train.jsonl", file_of(madeup.sentiment, "train.jsonl"), sentiment.read_sentiment, "classify"),
    "paraphrase": ("quora-train.csv", tsv_of(PAIRS), paraphrase.read_paraphrase, "classify"),
    "liar_plus": ("train2.jsonl", madeup.liar_plus("train"), factcheck.read_liar_plus, "generate"),
    "liar_plus as a table": ("train2.tsv", tsv_of(PLUS_TSV), factcheck.read_liar_plus, "generate"),
    "liar2": ("train.csv", file_of(madeup.liar2, "train.csv"), factcheck.read_liar2, "generate"),
    "sonnets": ("sonnets.txt", madeup.sonnets(3), sonnets.read_sonnets, "generate"),
    "gsm8k": ("train.jsonl", objects(PROBLEMS), gsm8k.read_gsm8k, "reason"),
    "fever_reason": ("train.jsonl", objects(CHAINS), fever_reason.read_fever_reason, "reason"),
    "fever_reason of the hub": ("train.jsonl", file_of(madeup.fever, "train.jsonl"), fever_reason.read_fever_reason, "reason"),
    "smoltalk": ("train.jsonl", objects([{"messages": madeup.dialogue(i)} for i in range(3)]), smoltalk.read_smoltalk, "chat"),
    "ultrafeedback": ("train.jsonl", objects(PREFERENCES), ultrafeedback.read_ultrafeedback, "prefer"),
    "ultrafeedback with turns": ("train.jsonl", objects(WITH_TURNS), ultrafeedback.read_ultrafeedback, "prefer"),
}
LABELS_OF = {"liar": DEGREES, "fever": VERDICTS, "propaganda": propaganda.LABELS, "sentiment of the course": sentiment.LABELS,
             "sentiment of the hub": sentiment.LABELS, "paraphrase": paraphrase.LABELS}
# Words that readers add: names of fields in frames, labels for numbers.
FRAMES = words_of("Claim Evidence Reasoning Rated because speaker about job state party subject context REFUTES SUPPORTS NOT ENOUGH INFO Verdict"
                  " barely true false half mostly pants fire " + " ".join(factcheck.RATINGS))
PIECES = [b"", b"\t", b"\n", b"\r", b'"', b",", b"\xff", b"\xef\xbb\xbf", b"\0", b"{", b"]", b"null", b"x"*300, b"true", b"[[", b"\\ud800", b"-1", b"99999", b"\xe2\x80\xa8"]
LINES = ["as it is", "crlf", "mark", "empty line", "no last line end", "a field fewer", "a field more", "twice", "huge", "turned round"]


def relined(data, how, at):
    "A file with one of its lines, or all line ends, made otherwise."
    lines = data.split(b"\n")
    i = int(at*(len(lines) - 1))
    cut = b"\t" if b"\t" in lines[i] else b","
    if how == "crlf": return data.replace(b"\n", b"\r\n")
    if how == "mark": return b"\xef\xbb\xbf" + data
    if how == "empty line": lines[i:i] = [b""]
    if how == "no last line end": return data[:-1]
    if how == "a field fewer": lines[i] = cut.join(lines[i].split(cut)[:-1])
    if how == "a field more": lines[i] += cut + b"more"
    if how == "twice": lines[i:i] = [lines[i]]
    if how == "huge": lines[i] = lines[i].replace(b"mill", b"mill" + b"z"*200_000)
    if how == "turned round": lines = lines[:1] + lines[-2:0:-1] + lines[-1:]
    return b"\n".join(lines)


def texts_of(row):
    "All texts of a row, labels and ids left out."
    for key, value in row.items():
        if key == "messages": yield from (turn["content"] for turn in value)
        elif key not in ("id", "label") and value is not None: yield value


def check_rows(what, rows, kind, data):
    "Nothing impossible is in the rows: their columns, their labels, and no word that the file does not hold."
    text = data.decode("utf-8-sig").replace("\\n", " ")
    said = words_of(text) | words_of(re.sub(r"\\u([0-9a-fA-F]{4})", lambda m: chr(int(m[1], 16)), text))
    said |= words_of(re.sub("<<[^<>]*>>", "", text)) | FRAMES             # a calculator mark is taken out of a word
    said |= words_of(data.decode("utf-8-sig"))                            # a backslash before an n is two characters outside JSON
    if what == "propaganda": said |= words_of(ARTICLE)
    for row in rows:
        assert set(row) == set(KINDS[kind])
        if what in LABELS_OF: assert row["label"] in LABELS_OF[what] and row["id"] and row["text"].strip()
        if what == "propaganda": assert row["text_pair"] in ARTICLE and f"<< {row['text_pair']} >>" in row["text"]
        if kind == "chat": assert row["messages"] and all(set(turn) == {"role", "content"} and turn["content"].strip() for turn in row["messages"])
        if kind == "generate": assert row["completion"].strip()
        if kind == "reason": assert row["answer"].strip()
        if kind == "prefer": assert row["chosen"] != row["rejected"] and row["chosen"].strip()
        if "prompt" in row: assert row["prompt"].strip() and (kind == "prefer" or row["prompt"].endswith("\n"))
        for text in texts_of(row):
            strange = {word for word in words_of(text) - said if not any(word in other for other in said)}
            assert not strange, f"{what}: {strange}"


@pytest.mark.parametrize("what", READERS)
@quick
@given(damages(PIECES), st.sampled_from(LINES), st.floats(0, 1))
def test_a_damaged_file_is_refused_or_read_right(tmp_path_factory, what, damage, how, at):
    "Lines are changed, bytes are cut out and others put in: what comes out is an error that names the file and the place, or rows with nothing impossible."
    file, data, reader, kind = READERS[what]
    data = damaged(relined(data, how, at), damage)
    folder = tmp_path_factory.getbasetemp()/what.replace(" ", "-")
    (folder/"train-articles").mkdir(parents=True, exist_ok=True)
    (folder/"train-articles"/"article7001.txt").write_bytes(ARTICLE.encode())
    (folder/file).write_bytes(data)
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always")
        try: rows = list(reader(folder/file))
        except DataError as error:
            assert re.match(re.escape(str(folder)) + r"/\S+?(:\d+: |: )", str(error)) and "\n" not in str(error), str(error)
            return
    for note in noted: assert re.search(r"\b\d+ ", str(note.message)) and str(note.message).startswith(str(folder))
    check_rows(what, rows, kind, data)


@pytest.mark.parametrize("what", READERS)
def test_a_good_file_is_read(what, tmp_path):
    file, data, reader, kind = READERS[what]
    (tmp_path/"train-articles").mkdir()
    (tmp_path/"train-articles"/"article7001.txt").write_bytes(ARTICLE.encode())
    (tmp_path/file).write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = list(reader(tmp_path/file))
    assert len(rows) >= 2
    check_rows(what, rows, kind, data)


PARQUET = {"liar": (madeup.liar, "default/train/0000.parquet"), "paraphrase": (madeup.paraphrase, "qqp/train-00000-of-00001.parquet"),
           "gsm8k": (madeup.gsm8k, "main/train-00000-of-00001.parquet"), "smoltalk": (madeup.smoltalk, "data/all/test-00000-of-00001.parquet"),
           "ultrafeedback": (madeup.ultrafeedback, "data/train_prefs-00000-of-00001.parquet")}


@pytest.mark.parametrize("name", PARQUET)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0, 0.999), st.sampled_from(["cut", "other columns", "no rows", "nothing in it"]))
def test_a_parquet_file_that_is_not_whole_is_refused(tmp_path_factory, name, share, how):
    "A byte inside a page has no checksum in these files, so only their ends and their columns are damaged here; the download compares the whole."
    import pyarrow as pa
    import pyarrow.parquet as pq
    folder = tmp_path_factory.mktemp(name)
    write, file = PARQUET[name]
    write(folder)
    path = folder/file
    if how == "cut": path.write_bytes(path.read_bytes()[:int(share*path.stat().st_size)])
    else:
        table = pq.read_table(path)
        if how == "other columns": table = table.rename_columns([f"{c}_" for c in table.column_names])
        if how == "no rows": table = table.slice(0, 0)
        if how == "nothing in it": table = pa.table({c: pa.nulls(len(table)) for c in table.column_names})
        pq.write_table(table, path)
    with pytest.raises(DataError) as caught: list(TASKS[name].parts[0].read(path))
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)
