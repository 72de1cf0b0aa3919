"SmolTalk and UltraFeedback: columns, real rows, both layouts, broken files, and what is left out."
import json
import re

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


@pytest.mark.parametrize("name,kind,split,n", [("smoltalk", "chat", "train", 900), ("smoltalk", "chat", "test", 200), ("ultrafeedback", "prefer", "train", 1200),
                                               ("ultrafeedback", "prefer", "test", 300)])
def test_twins(name, kind, split, n):
    rows = load_task(name, split, source="tiny")
    assert rows.column_names == list(COLUMNS[kind]) and len(rows) == n


@pytest.mark.parametrize("split,n", [("train", 256), ("test", 64)])
def test_real_conversations(shared_data, split, n):
    rows = load_task("smoltalk", split, source=shared_data)
    assert len(rows) == n and all([m["role"] for m in row["messages"]][-1] == "assistant" for row in rows)
    one, = read_smoltalk(shared_data/"smoltalk"/"one_real_row.jsonl")
    assert [list(m) for m in one["messages"]] == [["role", "content"]]*len(one["messages"])


def test_real_pairs(shared_data):
    with pytest.warns(UserWarning, match=r"train.jsonl: pairs are left out: 1 of identical replies"): rows = list(read_ultrafeedback(shared_data/"ultrafeedback"/"train.jsonl", ties=True))
    assert len(rows) == 297
    with pytest.warns(UserWarning, match=r"train.jsonl: pairs are left out: 1 of identical replies, \d+ with equal scores"): fewer = load_task("ultrafeedback", source=shared_data)
    assert 250 < len(fewer) < 297 and fewer.column_names == ["prompt", "chosen", "rejected"]
    longer = sum(len(row["chosen"]) > len(row["rejected"]) for row in fewer)/len(fewer)
    assert longer > 0.5                                                        # the length bias the notebook speaks of


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
                "the user's turn is not the prompt: None": {"chosen": [REPLY]}}


@pytest.mark.parametrize("says", BROKEN_PAIRS)
def test_broken_pairs(tmp_path, says):
    path = lines(tmp_path/"train.jsonl", PAIR, PAIR | BROKEN_PAIRS[says])
    with pytest.raises(DataError) as caught: list(read_ultrafeedback(path))
    assert str(caught.value).startswith(f"{path}:2: {says}")


def test_nothing_is_held(tmp_path):
    "The first row is there before the second line is read."
    path = tmp_path/"train.jsonl"
    path.write_text(json.dumps({"messages": [USER, REPLY]}) + "\n{broken\n")
    rows = read_smoltalk(path)
    assert next(rows) == {"messages": [USER, REPLY]}
    with pytest.raises(DataError, match="train.jsonl:2: not a JSON object"): next(rows)
