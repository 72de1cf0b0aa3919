"SmolTalk and UltraFeedback: columns, real rows, both layouts, broken files, and what is left out."
import json
import re
import warnings

import pytest

from ftlib.data import COLUMNS, DataError
from ftlib.tasks import load_task
from ftlib.tasks.smoltalk import read_smoltalk
from ftlib.tasks.ultrafeedback import read_ultrafeedback

USER, REPLY, SYSTEM = ({"role": role, "content": text} for role, text in (("user", "How many?"), ("assistant", "Two."), ("system", "Be brief.")))
PAIR = {"prompt": "How many?", "chosen": [USER, REPLY], "rejected": [USER, REPLY | {"content": "Three."}], "score_chosen": 8.0, "score_rejected": 3.0}


def lines(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def parquet(path, *rows):
    import pyarrow as pa
    import pyarrow.parquet as pq
    pq.write_table(pa.Table.from_pylist(list(rows)), path)
    return path


@pytest.mark.parametrize("name,kind,split,n", [("smoltalk", "chat", "train", 900), ("smoltalk", "chat", "test", 200), ("ultrafeedback", "prefer", "train", 1900),
                                               ("ultrafeedback", "prefer", "test", 300)])
def test_twins(name, kind, split, n):
    rows = load_task(name, split, source="tiny")
    assert rows.column_names == list(COLUMNS[kind]) and len(rows) == n


@pytest.mark.parametrize("split,n", [("train", 256), ("test", 64)])
def test_real_conversations(shared_data, split, n):
    with warnings.catch_warnings():
        warnings.simplefilter("error")                                         # nothing is skipped
        rows = load_task("smoltalk", split, source=shared_data)
    assert len(rows) == n and all([m["role"] for m in row["messages"]][-1] == "assistant" for row in rows)
    one, = read_smoltalk(shared_data/"smoltalk"/"one_real_row.jsonl")
    assert [list(m) for m in one["messages"]] == [["role", "content"]]*len(one["messages"])


@pytest.mark.parametrize("split,kept,ties,same", [("train", 258, 39, 1), ("test", 55, 7, 0)])
def test_real_pairs(shared_data, split, kept, ties, same):
    path = shared_data/"ultrafeedback"/f"{split}.jsonl"
    why = ", ".join([f"{same} of identical replies"]*bool(same) + [f"{ties} with equal scores"])
    with pytest.warns(UserWarning, match=re.escape(f"{path}: pairs are left out: {why}") + "$"): rows = list(read_ultrafeedback(path))
    assert len(rows) == kept and all(list(row) == ["prompt", "chosen", "rejected"] for row in rows)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert len(list(read_ultrafeedback(path, ties=True))) == kept + ties
    assert [str(w.message) for w in caught] == [f"{path}: pairs are left out: {same} of identical replies"]*bool(same)


@pytest.mark.filterwarnings("ignore:.*pairs are left out")
def test_real_pairs_favour_the_longer_reply(shared_data):
    rows = load_task("ultrafeedback", source=shared_data)
    assert len(rows) == 258 and sum(len(row["chosen"]) > len(row["rejected"]) for row in rows) > len(rows)/2


@pytest.mark.parametrize("write,name", [(lines, "train.jsonl"), (parquet, "train-00000-of-00001.parquet")])
def test_both_layouts_give_the_same_rows(tmp_path, write, name):
    messages = [SYSTEM, USER, REPLY]
    swapped = [{"content": m["content"], "role": m["role"]} for m in messages]
    assert list(read_smoltalk(write(tmp_path/name, {"messages": swapped, "source": "x"}))) == [{"messages": messages}]
    assert list(read_smoltalk(tmp_path/name, system=False)) == [{"messages": messages[1:]}]
    assert list(read_ultrafeedback(write(tmp_path/name, PAIR | {"prompt_id": "1", "messages": PAIR["chosen"]}))) == [
        {"prompt": "How many?", "chosen": "Two.", "rejected": "Three."}]


def test_texts_and_lists_give_the_same_pair(tmp_path):
    texts = {"prompt": "How many?", "chosen": "Two.", "rejected": "Three.", "metadata": {"score_chosen": 8.0, "score_rejected": 3.0}}
    assert list(read_ultrafeedback(lines(tmp_path/"train.jsonl", PAIR, texts)))[0] == list(read_ultrafeedback(tmp_path/"train.jsonl"))[1]


def test_several_turns_become_the_prompt(tmp_path):
    before = [SYSTEM, USER, REPLY, USER | {"content": "Sure?"}]
    row = PAIR | {"chosen": [*before, REPLY | {"content": "Yes."}], "rejected": [*before, REPLY | {"content": "No."}]}
    assert list(read_ultrafeedback(lines(tmp_path/"train.jsonl", row))) == [{"prompt": "Be brief.\n\nHow many?\n\nTwo.\n\nSure?", "chosen": "Yes.", "rejected": "No."}]


ODD = {"1 without a reply": [USER], "1 with a last turn that is not the assistant's": [USER, REPLY, USER], "1 with turns that do not alternate": [USER, USER, REPLY],
       "1 with turns that do not alternate ": [REPLY], "1 with an empty turn": [USER, REPLY | {"content": " "}], "1 without a reply ": []}


@pytest.mark.parametrize("why", ODD)
def test_conversations_that_break_off_are_counted(tmp_path, why):
    path = lines(tmp_path/"train.jsonl", {"messages": [USER, REPLY]}, {"messages": ODD[why]})
    with pytest.warns(UserWarning, match=re.escape(f"{path}: conversations are left out: {why.strip()}") + "$"): assert len(list(read_smoltalk(path))) == 1


BROKEN_TALK = {"the key 'messages' is missing": {"message": []}, "messages is no list but 'Hi'": {"messages": "Hi"}, "message 0 has no role and content: 'Hi'": {"messages": ["Hi"]},
               "message 1 has no role and content": {"messages": [USER, {"role": "assistant"}]}, "message 0: unknown role 'bot'": {"messages": [USER | {"role": "bot"}]},
               "message 1 has the content None, which is no text": {"messages": [USER, REPLY | {"content": None}]}}


@pytest.mark.parametrize("says", BROKEN_TALK)
def test_broken_conversations(tmp_path, says):
    path = lines(tmp_path/"train.jsonl", {"messages": [USER, REPLY]}, BROKEN_TALK[says])
    with pytest.raises(DataError) as caught: list(read_smoltalk(path))
    assert str(caught.value).startswith(f"{path}:2: {says}")


DROPPED = {"1 with equal scores": {"score_rejected": 8.0}, "1 of identical replies": {"rejected": PAIR["chosen"]}, "1 with an empty reply": {"rejected": [USER, REPLY | {"content": ""}]},
           "1 whose rejected reply has the higher score": {"score_rejected": 9.0}, "1 without a prompt": {"prompt": " ", "chosen": "Yes.", "rejected": "No."}}


@pytest.mark.parametrize("why", DROPPED)
def test_pairs_that_teach_nothing_are_counted(tmp_path, why):
    path = lines(tmp_path/"train.jsonl", PAIR, PAIR | DROPPED[why])
    with pytest.warns(UserWarning, match=re.escape(f"{path}: pairs are left out: {why}") + "$"): assert len(list(read_ultrafeedback(path))) == 1


BROKEN_PAIRS = {"the prompt is no text but 15": {"prompt": 15}, "a reply is neither a text nor a list of messages: []": {"chosen": []},
                "a reply is neither a text nor a list of messages: None": {"rejected": None}, "the last message is the user's and not the assistant's": {"chosen": [USER]},
                "the user's turn is not the prompt": {"prompt": "What?"}, "message 0 has no role and content that are texts": {"chosen": [{"role": "user"}, REPLY]},
                "the chosen and the rejected reply answer different conversations": {"chosen": [SYSTEM, USER, REPLY]}, "a score is no number but '8'": {"score_chosen": "8"},
                "user and assistant do not take turns: assistant": {"chosen": [REPLY]}, "user and assistant do not take turns: user, bot, assistant": {
                    "chosen": [USER, USER | {"role": "bot"}, REPLY]}, "user and assistant do not take turns: user, user, assistant": {"rejected": [USER, USER, REPLY]},
                "the last message is the system's": {"rejected": [SYSTEM]}, "a score is no number but True": {"score_rejected": True},
                "message 0 has no role and content that are texts: 'Hi'": {"chosen": ["Hi"]}}


@pytest.mark.parametrize("says", BROKEN_PAIRS)
def test_broken_pairs(tmp_path, says):
    path = lines(tmp_path/"train.jsonl", PAIR, PAIR | BROKEN_PAIRS[says])
    with pytest.raises(DataError) as caught: list(read_ultrafeedback(path))
    assert str(caught.value).startswith(f"{path}:2: {says}")


def test_a_pair_the_wrong_way_round_is_no_tie(tmp_path):
    path = lines(tmp_path/"train.jsonl", PAIR, PAIR | {"score_rejected": 8.0}, PAIR | {"score_rejected": 9.0})
    with pytest.warns(UserWarning, match="left out: 1 whose rejected reply has the higher score$"): assert len(list(read_ultrafeedback(path, ties=True))) == 2


def test_reasons_are_said_together(tmp_path):
    path = lines(tmp_path/"train.jsonl", *({"messages": messages} for messages in [[USER], [USER, REPLY], [USER], [SYSTEM, REPLY]]))
    with pytest.warns(UserWarning) as caught: assert len(list(read_smoltalk(path))) == 1
    assert [str(w.message) for w in caught] == [f"{path}: conversations are left out: 1 with turns that do not alternate, 2 without a reply"]


@pytest.mark.parametrize("missing", ["prompt", "chosen", "rejected"])
def test_a_key_that_is_missing(tmp_path, missing):
    path = lines(tmp_path/"train.jsonl", PAIR, {key: value for key, value in PAIR.items() if key != missing})
    with pytest.raises(DataError, match=f"train.jsonl:2: the key '{missing}' is missing"): list(read_ultrafeedback(path))


def test_metadata_that_is_no_object(tmp_path):
    path = lines(tmp_path/"train.jsonl", {"prompt": "How many?", "chosen": "Two.", "rejected": "Three.", "metadata": "8.0"})
    with pytest.raises(DataError, match="train.jsonl:1: metadata is no object but '8.0'"): list(read_ultrafeedback(path))


def test_broken_parquet_rows_are_named(tmp_path):
    with pytest.raises(DataError, match=r"train.parquet: row 1: a score is no number but nan"):
        list(read_ultrafeedback(parquet(tmp_path/"train.parquet", PAIR, PAIR | {"score_chosen": float("nan")})))
    with pytest.raises(DataError, match=r"train.parquet: row 1: message 1 has the content None"):
        list(read_smoltalk(parquet(tmp_path/"train.parquet", {"messages": [USER, REPLY]}, {"messages": [USER, REPLY | {"content": None}]})))
    with pytest.raises(DataError, match=r"train.parquet: row 1: messages is no list but None"):
        list(read_smoltalk(parquet(tmp_path/"train.parquet", {"messages": [USER, REPLY]}, {"messages": None})))
    with pytest.raises(DataError, match="train.parquet: the column 'messages' is missing"): list(read_smoltalk(parquet(tmp_path/"train.parquet", {"text": "Hi"})))


@pytest.mark.parametrize("streaming", [False, True])
def test_the_hubs_layout_in_a_folder(tmp_path, streaming):
    "Pieces are read in order, and conversations and pairs lie where the hub has them."
    talks, pairs = tmp_path/"smoltalk"/"data"/"all", tmp_path/"ultrafeedback"/"data"
    for folder in (talks, pairs): folder.mkdir(parents=True)
    for i in range(2):
        said = [USER, REPLY | {"content": f"Piece {i}."}]
        parquet(talks/f"train-0000{i}-of-00002.parquet", {"messages": said, "source": "made-up"})
        parquet(pairs/f"train_prefs-0000{i}-of-00002.parquet", PAIR | {"prompt_id": str(i), "chosen": said, "messages": said})
    found = {name: list(load_task(name, source=tmp_path, streaming=streaming)) for name in ("smoltalk", "ultrafeedback")}
    assert [row["messages"][1]["content"] for row in found["smoltalk"]] == ["Piece 0.", "Piece 1."]
    assert [row["chosen"] for row in found["ultrafeedback"]] == ["Piece 0.", "Piece 1."]


def test_special_tokens_in_contents_stay_text(tmp_path):
    said = [USER | {"content": "What is <|endoftext|>?"}, REPLY]
    assert list(read_smoltalk(lines(tmp_path/"train.jsonl", {"messages": said}))) == [{"messages": said}]


def test_nothing_is_held(tmp_path):
    "The first row is there before the second line is read."
    path = tmp_path/"train.jsonl"
    path.write_text(json.dumps({"messages": [USER, REPLY]}) + "\n{broken\n")
    rows = read_smoltalk(path)
    assert next(rows) == {"messages": [USER, REPLY]}
    with pytest.raises(DataError, match="train.jsonl:2: not a JSON object"): next(rows)
