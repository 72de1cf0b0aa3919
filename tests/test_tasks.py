"The tasks: columns, labels, sources, splits, and what their readers refuse."
import json
import re
import warnings

import pytest
from ftlib.data import DataError, leaks
from ftlib.tasks import SPLITS, TASKS, load_task, task_file
from ftlib.tasks.fever import LABELS as VERDICTS
from ftlib.tasks.fever import read_fever, wiki_sentences
from ftlib.tasks.liar import COLUMNS, HUB_LABELS, metadata, read_liar
from ftlib.tasks.liar import LABELS as DEGREES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
KINDS = {"classify": ["id", "text", "text_pair", "label"]}
NAMES = {"liar": ["pants-fire", "false", "barely-true", "half-true", "mostly-true", "true"], "fever": ["SUPPORTS", "REFUTES", "NOT ENOUGH INFO"]}
REAL = {("liar", "train"): 1602, ("liar", "validation"): 398, ("fever", "train"): 1580, ("fever", "validation"): 400}


@pytest.fixture(autouse=True)
def nothing_is_left_out_quietly():
    "A warning is an error here, unless a test expects it."
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        yield


def test_the_list():
    assert set(NAMES) <= set(TASKS)
    for name, task in TASKS.items():
        assert task.kind in KINDS and list(task.labels) == NAMES[name]
        assert set(task.files) == set(task.hub_files) == set(SPLITS) == {"train", "validation", "test"}
        assert task.about and task.licence and task.by_hand.startswith("https://") and re.fullmatch(r"[\w-]+/[\w.-]+", task.hub)


# --- sources


@pytest.mark.parametrize("name", NAMES)
def test_the_embedded_twin(name, tiny_data):
    if not (tiny_data/name).is_dir(): pytest.skip("no embedded data")
    data = {split: load_task(name, split, source="tiny") for split in SPLITS}
    for rows in data.values():
        assert rows.column_names == KINDS["classify"] and rows.features["label"].names == NAMES[name]
        assert len(set(rows["id"])) == len(rows) >= 300 and set(rows["label"]) == set(range(len(NAMES[name])))
        assert all(rows["text"]) and all(rows["text_pair"])
    assert len(data["train"]) > max(len(data["validation"]), len(data["test"]))
    for a, b in (("train", "validation"), ("train", "test"), ("validation", "test")):
        assert not leaks(data[a], data[b]) and not set(data[a]["id"]) & set(data[b]["id"])


@pytest.mark.parametrize("name,split", REAL)
def test_the_real_rows(name, split, shared_data):
    rows = load_task(name, split, source=shared_data)
    assert len(rows) == REAL[name, split] and rows.column_names == KINDS["classify"] and rows.features["label"].names == NAMES[name]
    assert rows.to_list() == load_task(name, split, source=str(shared_data/name)).to_list()
    first = (shared_data/name/task_file(name, split, shared_data).name).read_text(encoding="utf-8").split("\n")[0]
    assert rows[0]["text"] in (first if name == "liar" else json.loads(first)["claim"])
    if name == "fever": assert set(rows["text_pair"]) == {None}
    else: assert not [text for text in rows["text_pair"] if re.search(r"(pants on fire|half true) \d", text or "")]


@pytest.mark.parametrize("name,missing", [("liar", "test"), ("fever", "test")])
def test_a_split_that_is_not_there(name, missing, shared_data):
    with pytest.raises(FileNotFoundError) as caught: load_task(name, missing, source=shared_data)
    assert f"has no {missing} split" in str(caught.value) and "train (train." in str(caught.value) and "validation (" in str(caught.value)


def test_the_source_follows_the_profile(monkeypatch, tiny_data, tmp_path):
    monkeypatch.chdir(tmp_path)
    if (tiny_data/"liar").is_dir(): assert load_task("liar", n=2).to_list() == load_task("liar", source="tiny", n=2).to_list()
    monkeypatch.setenv("FTLIB_PROFILE", "cuda")
    with pytest.raises(FileNotFoundError, match="from the dataset ucsbnlp/liar"): load_task("liar")
    write(tmp_path/"mine"/"liar"/"train.tsv", MILLER)
    (tmp_path/"settings.ini").write_text("[classify.liar:cuda]\nsource = mine\n")
    assert load_task("liar")["text"] == [MILLER[2]]


@pytest.mark.parametrize("name", NAMES)
def test_without_the_hub_it_says_what_to_do(name):
    with pytest.raises(FileNotFoundError) as caught: load_task(name, source="hub")
    said = str(caught.value)
    assert TASKS[name].hub in said and TASKS[name].by_hand in said and "give its folder as the source" in said and "\n" not in said
    if name == "liar": assert "https://www.cs.ucsb.edu/~william/data/liar_dataset.zip" in said


def test_rows_are_drawn_with_a_seed(shared_data):
    everything = load_task("liar", source=shared_data)["id"]
    draw = lambda **kw: load_task("liar", source=shared_data, **kw)["id"]
    some = draw(n=50)
    assert len(some) == 50 and some == draw(n=50, seed=0) != draw(n=50, seed=1)
    assert [i for i in everything if i in set(some)] == some, "in file order"
    assert draw(n=10**6) == everything


@pytest.mark.parametrize("args,kw,says", [
    (["lair"], {}, "unknown task 'lair' (did you mean 'liar'?)"),
    (["liar", "dev"], {}, "unknown split 'dev'; known: train, validation, test"),
    (["liar"], {"count": True}, "unknown option of liar: 'count' (did you mean 'counts'?)"),
    (["fever"], {"counts": True}, "unknown option of fever: 'counts'"),
    (["liar"], {"n": 0}, "n = 0 must be at least 1"),
    (["liar"], {"source": "tinny"}, "there is no folder 'tinny' (did you mean 'tiny'?)"),
])
def test_a_bad_call_is_told_in_one_sentence(args, kw, says):
    with pytest.raises((ValueError, KeyError, FileNotFoundError)) as caught: load_task(*args, **{"source": "tiny"} | kw)
    assert says in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_every_file_name_is_found(name, tmp_path):
    good = "\t".join(MILLER) + "\n" if name == "liar" else json.dumps(RAW) + "\n"
    for split, names in TASKS[name].files.items():
        for file in names:
            folder = tmp_path/f"{split}-{file}"
            folder.mkdir()
            (folder/file).write_text(good)
            assert len(load_task(name, split, source=folder)) == 1
            for other in set(SPLITS) - {split}:
                with pytest.raises(FileNotFoundError, match=re.escape(f"it holds {split} ({file})")): load_task(name, other, source=folder)
    (tmp_path/"nothing").mkdir()
    with pytest.raises(FileNotFoundError, match="no other split either"): load_task(name, source=tmp_path/"nothing")


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
    with pytest.raises(DataError, match="b.parquet: not LIAR's parquet file"): list(read_liar(tmp_path/"b.parquet"))
    import pyarrow as pa
    import pyarrow.parquet as pq
    pq.write_table(pa.table({"id": ["1"]}), tmp_path/"c.parquet")
    with pytest.raises(DataError, match="c.parquet: not LIAR's parquet file"): list(read_liar(tmp_path/"c.parquet"))


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


GOOD = {"liar": ("train.tsv", "".join("\t".join(row) + "\n" for row in (MILLER, NOBODY)).encode(), read_liar, DEGREES),
        "fever": ("train.jsonl", "".join(json.dumps(row) + "\n" for row in (RAW, GOLD | {"original_id": 3, "claim": "Other."})).encode(), read_fever, VERDICTS)}
PIECES = [b"", b"\t", b"\n", b"\r", b'"', b"\xff", b"\xef\xbb\xbf", b"\0", b"{", b"]", b"null", b"x"*300, b"true", b"[[", b"\\ud800"]


@pytest.mark.parametrize("name", GOOD)
@quick
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 12), st.sampled_from(PIECES)), min_size=1, max_size=3))
def test_a_damaged_file_is_refused_or_read_right(tmp_path_factory, name, damage):
    "Cut out bytes and put others in: what comes out is an error that names the file and the place, or rows with nothing impossible in them."
    file, data, reader, labels = GOOD[name]
    for where, length, piece in damage:
        at = int(where*len(data))
        data = data[:at] + piece + data[at + length:]
    path = tmp_path_factory.getbasetemp()/file
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try: rows = list(reader(path))
        except DataError as error:
            assert re.match(re.escape(str(path)) + r"(:\d+: |: the file is empty)", str(error)) and "\n" not in str(error)
            return
    text = data.decode("utf-8-sig")
    for row in rows:
        assert set(row) == set(KINDS["classify"]) and row["label"] in labels and row["id"] and row["text"].strip()
        if name == "liar": assert row["text"] in text and row["id"] in text
