"Raw files, canonical rows, tokens, masks and batches."
import csv
import io
import json
import random
import re
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest
import torch
from ftlib.data import (COLUMNS, POOL, Batches, DataError, atomic_file, canonical, encode, leaks, load_tokenizer, normalise,
                        pad_rows, plan_batches, read_csv, read_jsonl, read_lines, read_parquet, read_tsv, row_features, split_groups)
from ftlib.files import MANIFEST, alone, read_manifest, write_manifest
from ftlib.hub import Broken, NotOnHub, digest, hub_call, hub_file, retry_after
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def put(folder, data, name="x.txt"):
    (folder/name).write_bytes(data if isinstance(data, bytes) else data.encode())
    return folder/name


# --- lines


def test_lines_are_what_was_written(tmp_path):
    path = put(tmp_path, "\ufeffeins\r\nzw\u2028ei\u0085\r\nd\rei\n\n\n")
    assert list(read_lines(path)) == [(1, "eins"), (2, "zw\u2028ei\u0085"), (3, "d\rei")]
    assert list(read_lines(put(tmp_path, "one"))) == [(1, "one")]


BAD_LINES = {b"": "x.txt: the file is empty", b"\n\n": "x.txt: the file is empty", b"\xef\xbb\xbf": "x.txt: the file is empty",
             b"a\n\nb": "x.txt:2: the line is empty", b"\na": "x.txt:1: the line is empty", b"a\n \t\n\nb": "x.txt:2: the line is empty",
             b"a\nb\xffc": "x.txt:2: byte 2 of the line is not UTF-8", b"a\nb\0": "x.txt:2: a zero byte",
             "text".encode("utf-16"): "x.txt:1: a zero byte"}


@pytest.mark.parametrize("data", BAD_LINES)
def test_bad_lines(tmp_path, data):
    with pytest.raises(DataError) as caught: list(read_lines(put(tmp_path, data)))
    assert str(caught.value).startswith(str(tmp_path)) and BAD_LINES[data] in str(caught.value)


def test_a_line_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr("ftlib.files.MAX_LINE", 100)
    assert len(list(read_lines(put(tmp_path, "a"*99 + "\n" + "b"*100)))) == 2
    with pytest.raises(DataError, match="x.txt:2: the line is longer than 100 bytes"): list(read_lines(put(tmp_path, "a\n" + "b"*101)))


def test_no_file(tmp_path):
    for path in (tmp_path/"none.txt", tmp_path):
        with pytest.raises(FileNotFoundError, match="there is no file"): list(read_lines(path))


# --- tables and objects


def test_quotation_marks_are_characters(tmp_path):
    path = put(tmp_path, 'a\t"b\nc\t"d"\ne\tf"')
    assert list(read_tsv(path, 2)) == [(1, ["a", '"b']), (2, ["c", '"d"']), (3, ["e", 'f"'])]
    with pytest.raises(DataError, match="x.txt:1: 2 tab-separated columns, not 3"): list(read_tsv(path, 3))


BAD_JSON = {"{}\n{": ":2: not a JSON object", "[1]": ":1: not a JSON object but a list", "3": "but a int", '{"a": NaN}': "NaN is no JSON value",
            '{"a": -Infinity}': "no JSON value", '{"a": "\\ud800"}': "not a JSON object", "["*100_000: ":1: not a JSON object"}


@pytest.mark.parametrize("text", BAD_JSON, ids=range(len(BAD_JSON)))
def test_bad_json(tmp_path, text):
    with pytest.raises(DataError, match=re.escape(BAD_JSON[text])): list(read_jsonl(put(tmp_path, text)))


def test_missing_keys(tmp_path):
    path = put(tmp_path, '{"id": 1, "label": 0}\n{"id": 2, "lable": 0}')
    assert len(list(read_jsonl(path))) == 2
    with pytest.raises(DataError, match=r"x.txt:2: the key 'label' is missing \(did you mean 'lable'\?\)"): list(read_jsonl(path, ["id", "label"]))


def ends_well(read, path):
    "The rows of a file, or None where it is refused in one sentence that names the file and, unless it is empty, the line."
    try: return [row for _, row in read(path)]
    except DataError as error:
        assert re.match(re.escape(str(path)) + r"(:\d+: |: the file is empty)", str(error)) and "\n" not in str(error)


@quick
@given(st.one_of(st.binary(max_size=60), st.lists(st.sampled_from([b"a", b"\t", b"\n", b"\r\n", b'"', b"\xef\xbb\xbf", b"\xc3", b"\xc3\xa9", b"\0"])).map(b"".join)))
def test_any_bytes_as_a_table(tmp_path_factory, data):
    path = put(tmp_path_factory.getbasetemp(), data)
    rows = ends_well(lambda p: read_tsv(p, 2), path)
    if rows is None: return
    assert all(len(row) == 2 for row in rows)
    lines = data.decode("utf-8-sig").split("\n")
    assert ["\t".join(row) for row in rows] == [line.removesuffix("\r") for line in lines if line.strip()]


json_values = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=8), lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=4), v, max_size=3), max_leaves=6)


@quick
@given(st.lists(st.dictionaries(st.text(max_size=4), json_values, max_size=3), min_size=1, max_size=4), st.booleans(), st.booleans())
def test_any_objects_come_back(tmp_path_factory, rows, escaped, windows):
    end = "\r\n" if windows else "\n"
    data = "".join(json.dumps(row, ensure_ascii=escaped) + end for row in rows)
    try: data = data.encode()
    except UnicodeEncodeError: return
    assert ends_well(read_jsonl, put(tmp_path_factory.getbasetemp(), data)) == rows


@quick
@given(st.lists(st.sampled_from([b'{"a": 1}', b"{}", b"[", b"]", b"{", b"null", b"\n", b'"\\ud800"', b"\xff", b" "]), max_size=8).map(b"".join))
def test_any_bytes_as_objects(tmp_path_factory, data):
    rows = ends_well(read_jsonl, put(tmp_path_factory.getbasetemp(), data))
    assert rows is None or all(isinstance(row, dict) for row in rows)


# --- tables with a header


def test_quoted_fields_hold_anything(tmp_path):
    path = put(tmp_path, '\ufeffid,text\r\n1,"two\r\n\r\nlines, and ""more"""\r\n2,plain\r\n3,""\r\n\r\n', "x.csv")
    assert list(read_csv(path, ["id"])) == [(2, {"id": "1", "text": 'two\r\n\r\nlines, and "more"'}), (5, {"id": "2", "text": "plain"}), (6, {"id": "3", "text": ""})]


def test_tables_without_quoting(tmp_path):
    path = put(tmp_path, '\tid\ttext\n0\ta\t"so\n1\tb\tthey" said\n')
    assert [row for _, row in read_csv(path, ["id", "text"], "\t", quoting=False)] == [{"": "0", "id": "a", "text": '"so'}, {"": "1", "id": "b", "text": 'they" said'}]


BAD_TABLES = {
    "": "x.txt: the file is empty", "\n\n": "x.txt: the file is empty", "\nid\n1": "x.txt:1: the line is empty",
    "id,id\n1,2\n": "x.txt:1: the header names a column twice", "id,text\n1\n": "x.txt:2: 1 fields, and the header has 2",
    "id,text\n1,a\n2,b,c\n": "x.txt:3: 3 fields, and the header has 2", 'id,text\n1,"a\nb"\n2,"never\nclosed\n': "x.txt:4: the row that starts here is not quoted right",
    'id,text\n1,"a"b\n': "x.txt:2: the row that starts here is not quoted right", "id,text\n1,a\n\n2,b\n": "x.txt:3: the line is empty",
    "id,txet\n1,a\n": "x.txt:1: the column 'text' is missing (did you mean 'txet'?)", "id,text\n1," + "a"*140_000 + "\n": "x.txt:2: the row that starts here is not quoted right",
    "id,text\n1,a\rb\n": "x.txt:2: the row that starts here is not quoted right",
}


@pytest.mark.parametrize("text", BAD_TABLES, ids=range(len(BAD_TABLES)))
def test_bad_tables(tmp_path, text):
    with pytest.raises(DataError) as caught: list(read_csv(put(tmp_path, text), ["id", "text"] if "id,id" not in text else []))
    assert str(caught.value).startswith(f"{tmp_path}/{BAD_TABLES[text]}") and "\n" not in str(caught.value)


def test_bad_bytes_in_a_table(tmp_path):
    for data, says in ((b"id,text\n1,na\xefve\n", ":2: byte 5 of the line is not UTF-8"), (b'id,text\n1,"a\n\0"\n', ":3: a zero byte")):
        with pytest.raises(DataError, match=re.escape(says)): list(read_csv(put(tmp_path, data)))


@quick
@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8), min_size=2, max_size=2), min_size=1, max_size=5),
       st.sampled_from([",", "\t", ";"]), st.sampled_from(["\n", "\r\n"]))
def test_any_table_comes_back(tmp_path_factory, rows, delimiter, end):
    text = io.StringIO(newline="")
    table = csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL)
    table.writerows([["a", "b"], *rows])
    path = put(tmp_path_factory.getbasetemp(), text.getvalue())
    found = list(read_csv(path, ["a", "b"], delimiter))
    assert [[row["a"], row["b"]] for _, row in found] == rows
    lines = text.getvalue().split("\n")
    assert [lines[number - 1].startswith('"') for number, _ in found] == [True]*len(rows)


@quick
@given(st.lists(st.sampled_from([b"a", b",", b'"', b'""', b"\n", b"\r\n", b"\r", b"\xef\xbb\xbf", b"\xc3", b"\0", b" "])).map(b"".join), st.booleans())
def test_any_bytes_as_a_table_with_a_header(tmp_path_factory, data, quoting):
    rows = ends_well(lambda p: read_csv(p, quoting=quoting), put(tmp_path_factory.getbasetemp(), b"x,y\n" + data))
    assert rows is None or all(list(row) == ["x", "y"] for row in rows)


# --- parquet


def write_parquet(path, n=1000, **more):
    import pyarrow as pa
    import pyarrow.parquet as pq
    pq.write_table(pa.table({"id": range(n), "text": [f"row {i}" for i in range(n)], **more}), path, row_group_size=max(300, n//2))
    return path


def test_parquet_rows(tmp_path):
    rows = list(read_parquet(write_parquet(tmp_path/"x.parquet", nested=[[{"role": "user"}]]*1000), ["id", "text"]))
    assert [number for number, _ in rows] == list(range(1000)) and rows[700] == (700, {"id": 700, "text": "row 700", "nested": [{"role": "user"}]})


def test_parquet_is_read_in_small_batches(tmp_path):
    import pyarrow as pa
    path = write_parquet(tmp_path/"x.parquet", 400_000, long=["many words "*20]*400_000)
    rows, before = read_parquet(path), pa.total_allocated_bytes()
    for _ in zip(range(1000), rows): pass
    assert pa.total_allocated_bytes() - before < 3e7 < 400_000*200


def test_bad_parquet(tmp_path):
    path = write_parquet(tmp_path/"x.parquet")
    with pytest.raises(DataError, match=r"x.parquet: the column 'txt' is missing \(did you mean 'text'\?\)"): list(read_parquet(path, ["txt"]))
    data = path.read_bytes()
    for wrong in (b"", b"PAR1", data[:-20], data[:100], data[100:]):
        path.write_bytes(wrong)
        with pytest.raises(DataError, match=r"x.parquet: no whole parquet file, from row 0 on \("): list(read_parquet(path))
    with pytest.raises(DataError, match="x.parquet: the file has no rows"): list(read_parquet(write_parquet(path, 0)))
    with pytest.raises(FileNotFoundError, match="there is no file"): list(read_parquet(tmp_path/"none.parquet"))


# --- folders that are whole, and files that somebody else makes


def test_a_manifest_is_true_or_nothing(tmp_path):
    for name in ("a.txt", "b/c.txt"):
        (tmp_path/name).parent.mkdir(exist_ok=True)
        put((tmp_path/name).parent, "abc", (tmp_path/name).name)
    assert read_manifest(tmp_path) is None
    write_manifest(tmp_path, [tmp_path/"a.txt", tmp_path/"b"/"c.txt"], source="s")
    assert read_manifest(tmp_path) == {"source": "s", "files": {"a.txt": 3, "b/c.txt": 3}}
    for spoil in (lambda: (tmp_path/"a.txt").write_text("abcd"), lambda: (tmp_path/"b"/"c.txt").unlink()):
        write_manifest(tmp_path, [p for p in tmp_path.rglob("*.txt")], source="s")
        spoil()
        assert read_manifest(tmp_path) is None
    for text in ("", "{", "[]", '{"files": [1]}', '{"source": 1}', "\xff"):
        (tmp_path/MANIFEST).write_text(text, encoding="latin1")
        assert read_manifest(tmp_path) is None


def test_one_makes_a_file_and_the_others_find_it(tmp_path):
    made, seen = tmp_path/"below"/"x.txt", []
    def want():
        with alone(made) as there:
            seen.append(there)
            if not there:
                time.sleep(0.1)
                made.write_text("x")
    threads = [threading.Thread(target=want) for _ in range(4)]
    for t in threads: t.start()
    for t in threads: t.join()
    assert sorted(seen) == [False, True, True, True] and [p.name for p in made.parent.iterdir()] == ["x.txt"]
    with pytest.raises(OSError):
        with alone(tmp_path/"y.txt"): raise OSError("full")
    with alone(tmp_path/"y.txt") as there: assert there is False


# --- rows


ROW = {"id": "1", "text": "a", "text_pair": None, "label": "no"}


def test_canonical_rows():
    data = canonical("classify", [ROW, ROW | {"label": "yes", "text_pair": "b"}], ["no", "yes"])
    assert data.column_names == ["id", "text", "text_pair", "label"] and data.features["label"].names == ["no", "yes"]
    assert data["label"] == [0, 1] and data["text_pair"] == [None, "b"]
    assert canonical("prefer", [{"prompt": "p", "chosen": "a", "rejected": "b"}]).column_names == ["prompt", "chosen", "rejected"]
    assert canonical("generate", [{"completion": "c", "prompt": "p"}]).column_names == ["prompt", "completion"]


def test_columns_have_types_even_when_they_are_empty():
    data = canonical("reason", [{"prompt": "p", "answer": "a", "solution": None}])
    assert data.features["solution"].dtype == "string" and data.features == row_features("reason")
    chat = canonical("chat", [{"messages": [{"content": "c", "role": "user"}]}])
    assert chat[0] == {"messages": [{"role": "user", "content": "c"}]} and {kind: list(row_features(kind, ["x"])) for kind in COLUMNS} == {k: list(v) for k, v in COLUMNS.items()}


@pytest.mark.parametrize("kind,rows,says", [
    ("clasify", [ROW], "unknown kind of task 'clasify' (did you mean 'classify'?)"),
    ("classify", [ROW, ROW | {"label": "noo"}], "row 1: unknown label 'noo' (did you mean 'no'?); known: no, yes"),
    ("classify", [ROW | {"extra": 1}], "row 0 has the columns"),
    ("prefer", [{"prompt": "p", "chosen": "a"}], "prefer wants"),
])
def test_bad_rows(kind, rows, says):
    with pytest.raises((DataError, KeyError)) as caught: canonical(kind, rows, ["no", "yes"] if kind != "prefer" else None)
    assert says in str(caught.value)


@quick
@given(st.lists(st.integers(0, 12), min_size=1, max_size=60), st.floats(0.05, 0.95), st.integers(0, 5))
def test_groups_stay_together(groups, share, seed):
    first, second = split_groups(groups, share, seed)
    assert sorted(first + second) == list(range(len(groups)))
    assert not {groups[i] for i in first} & {groups[i] for i in second}
    assert len(second) <= round(share*len(groups)) and (first, second) == split_groups(groups, share, seed)


def test_groups_of_one_are_cut_exactly():
    first, second = split_groups(range(100), 0.25)
    assert len(second) == 25 and second != split_groups(range(100), 0.25, seed=1)[1]
    for share in (0, 1, -1):
        with pytest.raises(ValueError, match="share"): split_groups([1, 2], share)


def test_leaks():
    rows = [{"text": t} for t in ("One, two!", "three", "ONE TWO", "…")]
    assert leaks(rows, [{"text": "one two"}, {"text": "four"}, {"text": "…"}, {"text": "!"}]) == [(0, 0), (3, 2)]
    assert leaks([{"prompt": "a"}], [{"prompt": "A"}], column="prompt") == [(0, 0)]
    assert leaks([{"a": 1, "b": 2}], [{"a": 2, "b": 1}], column=lambda row: str(sorted(row.values()))) == [(0, 0)]
    assert normalise("Ｆull  Width-É") == normalise("full width e\u0301")


def test_files_are_whole_or_not_there(tmp_path):
    path = put(tmp_path, "old")
    for fault in (OSError(28, "No space left on device"), KeyboardInterrupt()):
        with pytest.raises(type(fault)):
            with atomic_file(path) as part:
                part.write_text("ne")
                raise fault
        assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["x.txt"]
    with atomic_file(path) as part: part.write_text("new")
    assert path.read_text() == "new" and [p.name for p in tmp_path.iterdir()] == ["x.txt"]


def test_processes_that_write_one_file_do_not_meet(tmp_path):
    "Each writes a name of its own beside the file, so none takes away what another is about to rename."
    work = "import sys\nfrom ftlib.files import write_manifest\nfor i in range(150): write_manifest(sys.argv[1], [], turn=i)"
    both = [subprocess.Popen([sys.executable, "-c", work, str(tmp_path)], stderr=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate()[1] for process in both] == [""]*3
    assert read_manifest(tmp_path)["turn"] == 149 and [p.name for p in tmp_path.iterdir()] == [MANIFEST]


def test_nothing_written_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        with atomic_file(tmp_path/"x"): pass


# --- the hub (the real client against a loopback server is in test_hub.py)


def test_without_a_network_one_sentence():
    with pytest.raises(FileNotFoundError) as caught: hub_file("someone/nothing", "x.jsonl")
    assert re.fullmatch("could not get x.jsonl from the dataset someone/nothing: the hub cannot be reached.*", str(caught.value))


def test_faults_of_the_hub():
    from huggingface_hub import errors
    def fails(error):
        def call(repo_id, **kw): raise error
        with pytest.raises(FileNotFoundError) as caught: hub_call("x", False, call, "a/b", repo_type="model", revision="v9")
        return str(caught.value)
    assert fails(errors.EntryNotFoundError("404\n\nlong")).endswith("the repository has no such file")
    assert fails(errors.LocalEntryNotFoundError("…")).endswith("no copy in the cache; there is no folder a/b either")
    assert fails(OSError(28, "No space left on device")).endswith("No space left on device")
    assert "\n" not in fails(ValueError("first\nsecond"))


def test_what_may_be_tried_elsewhere():
    "Only what the hub itself says is not there; not a network that is down."
    from huggingface_hub import errors
    def kind(error):
        def call(repo_id, **kw): raise error
        with pytest.raises(FileNotFoundError) as caught: hub_call("x", False, call, "a/b", repo_type="dataset", revision=None)
        return caught.type
    assert kind(errors.EntryNotFoundError("404")) is NotOnHub and kind(errors.LocalEntryNotFoundError("…")) is FileNotFoundError
    assert kind(OSError(28, "full")) is FileNotFoundError and kind(errors.OfflineModeIsEnabled("off")) is FileNotFoundError


def test_checksums(tmp_path):
    path = put(tmp_path, b"hello world\n")
    assert digest(path, "0"*40) == "3b18e512dba79e4c8300dd08aeb37f8e728b8dad"
    assert digest(path, "0"*64) == "a948904f2f0f479b8f8197694b30184b0d2ed1c1cd2a1ec0fb85d299a192a447"
    with pytest.raises(ValueError, match="no checksum of 40 or 64 digits"): digest(path, "md5")


def test_waiting():
    assert [retry_after(v) for v in ("0", " 7 ", "", None, "-1", "1e9", "9"*20, "Thu, 01 Jan 1970 00:00:00 GMT")] == [0, 7, None, None, None, None, None, 0]
    assert (Broken("why").wait, Broken("why", 3).wait, str(Broken("why"))) == (None, 3, "why")


# --- tokens


@pytest.fixture(scope="module")
def tokenizer(request):
    if not (request.config.rootpath/"data"/"tiny"/"model"/"tokenizer.json").is_file(): pytest.skip("the embedded model is not here")
    return load_tokenizer("tiny")


def test_encoding(tokenizer):
    ids = encode(tokenizer, "A mill.", "A hill.")
    assert tokenizer.decode(ids) == "A mill.\nA hill." and tokenizer.eos_token_id not in ids
    assert encode(tokenizer, "A mill.", "A hill.", max_length=3) == ids[:3]
    assert encode(tokenizer, "A mill.") == encode(tokenizer, "A mill.", None) == ids[:len(encode(tokenizer, "A mill."))]
    assert len(encode(tokenizer, "")) == 1
    with pytest.raises(ValueError, match="max_length = 0"): encode(tokenizer, "x", max_length=0)


def test_long_texts_bring_no_warning(tokenizer, caplog):
    assert len(encode(tokenizer, "long "*5000)) > 5000 and not caplog.records


def test_an_empty_text_without_special_tokens():
    class Bare:
        bos_token_id = eos_token_id = None
        def __call__(self, text, **kw): return {"input_ids": []}
    with pytest.raises(ValueError, match="an empty text has no tokens"): encode(Bare(), "")


def test_gpt2s_own_tokenizer(shared_data):
    gpt2 = load_tokenizer(shared_data/"gpt2_tokenizer")
    assert gpt2.pad_token is None and encode(gpt2, "Hello world", "again") == [15496, 995, 198, 17776]
    assert encode(gpt2, "") == [50256]


def test_bad_tokenizers(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no tokenizer.json"): load_tokenizer(tmp_path)
    put(tmp_path, '{"version": "1.0", "mod', "tokenizer.json")
    put(tmp_path, "{}", "tokenizer_config.json")
    with pytest.raises(ValueError, match="cannot be read") as caught: load_tokenizer(tmp_path)
    assert "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError, match="could not get the files from the model someone/nothing"): load_tokenizer("someone/nothing")


# --- masks


@quick
@given(st.lists(st.lists(st.integers(0, 50), min_size=1, max_size=9), min_size=1, max_size=6), st.integers(0, 50), st.sampled_from(["left", "right"]))
def test_masks_come_from_lengths(seqs, pad_id, side):
    ids, mask = pad_rows(seqs, pad_id, side)
    assert ids.dtype == mask.dtype == torch.int64 and ids.shape == mask.shape == (len(seqs), max(map(len, seqs)))
    assert [row[m.bool()].tolist() for row, m in zip(ids, mask)] == seqs
    assert (ids[mask == 0] == pad_id).all()
    edge = mask.flip(1) if side == "left" else mask
    assert (edge.diff(dim=1) <= 0).all() and edge[:, 0].all()


def test_bad_rows_to_pad():
    for seqs in ([], [[1], []]):
        with pytest.raises(ValueError, match="no rows to pad"): pad_rows(seqs)
    with pytest.raises((ValueError, KeyError), match="unknown side 'rigth'"): pad_rows([[1]], side="rigth")


# --- batches


LENGTHS = [random.Random(0).randint(1, 60) for _ in range(103)]


def make(n=103, size=8, **kw): return Batches([[i]*LENGTHS[i] for i in range(n)], size, lambda rows: [row[0] for row in rows], **kw)


def test_an_epoch_is_every_row_once_in_a_new_order():
    batches = make()
    epochs = [list(batches) for _ in range(4)]
    for epoch in epochs:
        assert len(epoch) == len(batches) == 13 and sorted(sum(epoch, [])) == list(range(103))
        assert Counter(map(len, epoch)) == {8: 12, 7: 1}
    assert len({json.dumps(epoch) for epoch in epochs}) == 4


def test_the_same_seed_gives_the_same_order():
    one, two, other = make(), make(), make(seed=1)
    for _ in range(3):
        first = list(one)
        assert first == list(two) != list(other)


def test_the_global_random_state_is_left_alone():
    random.seed(3)
    before = random.getstate(), torch.get_rng_state()
    list(make())
    assert random.getstate() == before[0] and torch.equal(torch.get_rng_state(), before[1])


def test_neighbours_in_length_and_the_longest_first():
    lengths = [random.Random(1).randint(1, 200) for _ in range(2000)]
    plan = plan_batches(lengths, 16, "0/0")
    padded = sum(len(rows)*max(lengths[i] for i in rows) for rows in plan)
    assert 1 - sum(lengths)/padded < 0.12
    lengths[1234] = 500
    assert all(1234 in plan_batches(lengths, 16, f"0/{epoch}")[0] for epoch in range(4))
    assert sorted(i for rows in plan for i in rows) == list(range(2000)) and POOL*16 < 2000


@pytest.mark.parametrize("stop", range(0, 30))
def test_resumed_at_any_batch(stop):
    "13 batches an epoch: stop before, in, at the end of and after epochs; the continuation is that of a run that went on."
    whole = make()
    expected = [batch for _ in range(4) for batch in whole]
    run, seen = make(), []
    while len(seen) < stop:
        for batch in run:
            seen.append(batch)
            if len(seen) == stop: break
    state = json.loads(json.dumps(run.state_dict()))
    again = make()
    again.load_state_dict(state)
    rest = [batch for _ in range(4) for batch in again]
    assert (seen + rest)[:len(expected)] == expected


def test_an_epoch_left_early_is_not_gone_on_with():
    batches, whole = make(), make()
    list(whole)
    next(iter(batches))
    assert list(batches) == list(whole)


def test_a_state_of_other_batches_is_refused():
    state = make().state_dict()
    for other in (make(size=9), make(n=102), make(seed=1), make(shuffle=False), make(lengths=[1]*103)):
        with pytest.raises(ValueError, match="other rows, size or seed"): other.load_state_dict(state)


def test_rows_as_they_come():
    batches = make(n=10, size=4, shuffle=False)
    assert list(batches) == list(batches) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_lengths_are_counted():
    dicts = [{"input_ids": [1]*n} for n in (5, 1, 3)]
    assert Batches(dicts, 2, list).lengths == [5, 1, 3] and Batches(["ab", "c"], 2, list, lengths=[7, 8]).lengths == [7, 8]


@pytest.mark.parametrize("call,says", [(lambda: Batches([], 2, list), "there are no examples"), (lambda: make(size=0), "batch_size = 0"),
                                       (lambda: make(lengths=[1]), "1 lengths for 103 examples")])
def test_bad_batches(call, says):
    with pytest.raises(ValueError, match=says): call()
