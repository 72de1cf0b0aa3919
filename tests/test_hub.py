"""What comes from the hub is whole and right, and what goes wrong there is told in one sentence.

The hub is tests/hubserver.py on loopback; clients are fresh processes in which only HF_ENDPOINT and HF_HOME differ from a user's.
All faults run side by side, as most of their time is the client's waiting between tries.
"""
import json
import subprocess
import sys
import time
from urllib.request import Request, urlopen

import pytest
from hubserver import Hub

MODEL, FEVER, LIAR = "someone/small-gpt2", "copenlu/fever_gold_evidence", "ucsbnlp/liar"
TEXT = "The old mill by the river was built in 1871. Anna sold 12 apples and 7 pears. No bird sang; the road was long."
IDS = [[5, 250, 31, 0, 7, 299], [17, 4, 4, 0, 1, 80]]

SAY = """
import json
def say(work):
    try: print(json.dumps({"value": work()}))
    except Exception as e: print(json.dumps({"error": type(e).__name__, "bases": [c.__name__ for c in type(e).__mro__], "says": str(e)}))
"""
LOAD_MODEL = SAY + f"""
import torch
from ftlib.gpt2 import load_model
def work():
    model, tokenizer = load_model("{MODEL}", device="cpu")
    with torch.no_grad(): logits = model(torch.tensor({IDS})).logits
    return dict(kind=type(model).__name__, logits=logits.tolist(), ids=tokenizer("{TEXT}")["input_ids"])
say(work)
"""

# the same download without the seconds that torch takes to import
GET_MODEL = SAY + f"from ftlib.data import hub_folder\nsay(lambda: sorted(p.name for p in hub_folder('{MODEL}', ['*.json', '*.safetensors']).iterdir()))"


def load_rows(task, split="train"):
    return SAY + f"from ftlib.tasks import load_task\nsay(lambda: [dict(r) for r in load_task('{task}', split='{split}', source='hub')])"


def claim(i, label, evidence):
    return {"id": i, "verifiable": "VERIFIABLE", "label": label, "claim": f"The mill at place {i} was built in {1800 + i}.",
            "evidence": [[f"Mill_{i}", 0, evidence]] if evidence else [], "original_id": 100 + i}


def write_fever(folder):
    "Gold-evidence files in the layout of the hub's repository; the rows are invented."
    folder.mkdir()
    labels = ["SUPPORTS", "REFUTES", "NOT ENOUGH INFO"]
    for first, split in ((0, "train"), (40, "valid"), (60, "test")):
        rows = [claim(first + i, labels[i % 3], f"Mill {first + i} dates from the year {1800 + first + i}." if i % 3 < 2 else "") for i in range(9)]
        (folder/f"{split}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")


def write_liar(folder):
    "The parquet conversion, whose labels are numbers in no order: 0 false, 1 half-true, 2 mostly-true, 3 true, 4 barely-true, 5 pants-fire."
    import pyarrow as pa
    import pyarrow.parquet as pq
    counts = ["barely_true_counts", "false_counts", "half_true_counts", "mostly_true_counts", "pants_on_fire_counts"]
    for split in ("train", "validation", "test"):
        rows = [{"id": f"{split}{i}.json", "label": i, "statement": f"The bridge of {split} has {i} arches.", "subject": "roads",
                 "speaker": "a-mason", "job_title": "mason", "state_info": "Here", "party_affiliation": "none",
                 **dict.fromkeys(counts, 0.0), "context": "a letter"} for i in range(6)]
        (folder/"default"/split).mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows), folder/"default"/split/"0000.parquet")


def write_model(folder):
    "A GPT-2 as transformers saves it, with a byte-level BPE of 300 tokens."
    import models
    from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
    from tokenizers import models as kinds
    from transformers import PreTrainedTokenizerFast
    bpe = Tokenizer(kinds.BPE())
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator([TEXT], trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, special_tokens=["<|endoftext|>"]))
    PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|endoftext|>", bos_token="<|endoftext|>").save_pretrained(folder)
    model = models.gpt2_hf(vocab=300)
    model.save_pretrained(folder)
    return model


@pytest.fixture(scope="module")
def repos(tmp_path_factory):
    "Three repositories on disk, and the model they hold."
    folder = tmp_path_factory.mktemp("repos")
    model = write_model(folder/"model")
    write_fever(folder/"fever")
    write_liar(folder/"liar")
    return folder, model


def serve(hub, folder, **access):
    hub.add(MODEL, folder/"model", **access)
    hub.add(FEVER, folder/"fever", kind="dataset", **access)
    hub.add(LIAR, folder/"liar", kind="dataset", revision="refs/convert/parquet", **access)


@pytest.fixture
def hub(repos):
    with Hub() as server:
        serve(server, repos[0])
        yield server


def start(hub, home, code, **env):
    "A client process."
    home.mkdir(exist_ok=True)
    return subprocess.Popen([sys.executable, "-c", code], env=hub.env(home, **env), cwd=home, stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(client):
    "What a client said, as a dict."
    out, err = client.communicate(timeout=180)
    assert client.returncode == 0, f"{out[-1000:]}\n{err[-3000:]}"
    return json.loads(out.strip().split("\n")[-1])


def ask(hub, home, code, **env): return finish(start(hub, home, code, **env))


# --- what works


def test_a_checkpoint_gives_transformers_logits(hub, repos, tmp_path):
    import torch
    said = ask(hub, tmp_path/"home", LOAD_MODEL)
    assert "value" in said, said
    with torch.no_grad(): theirs = repos[1](torch.tensor(IDS)).logits
    ours = torch.tensor(said["value"]["logits"])
    assert said["value"]["kind"] == "GPT2LM"
    assert (ours - theirs).abs().max() <= 1e-5*max(1, theirs.abs().max())
    assert hub.count()["/someone/small-gpt2/resolve/main/model.safetensors"] == 0, "large files come by the redirect"


def test_what_was_downloaded_once_needs_no_network(repos, tmp_path):
    with Hub() as hub:
        serve(hub, repos[0])
        first = ask(hub, tmp_path/"home", GET_MODEL), ask(hub, tmp_path/"home", load_rows("fever"))
        assert all("value" in said for said in first), first
    second = start(hub, tmp_path/"home", GET_MODEL), start(hub, tmp_path/"home", load_rows("fever"))
    assert tuple(map(finish, second)) == first


def test_a_download_cut_once_is_tried_again(hub, repos, tmp_path):
    hub.fail("model.safetensors", cut_at=5000, times=1, methods=("GET",))
    assert "model.safetensors" in ask(hub, tmp_path/"home", GET_MODEL)["value"]
    assert sum(n for path, n in hub.count().items() if path.startswith("/cdn/")) == 2
    got = next((tmp_path/"home").rglob("model.safetensors"))
    assert got.read_bytes() == (repos[0]/"model"/"model.safetensors").read_bytes()


def test_the_hub_itself_serves_ranges(hub, repos):
    "The client asks for ranges only beyond its chunk of 10 MB, so this is asked here."
    want = (repos[0]/"fever"/"train.jsonl").read_bytes()
    url = f"{hub.url}/datasets/{FEVER}/resolve/main/train.jsonl"
    with urlopen(Request(url, headers={"Range": "bytes=100-"})) as answer:
        assert answer.status == 206 and answer.read() == want[100:]
        assert answer.headers["Content-Range"] == f"bytes 100-{len(want) - 1}/{len(want)}"


ALL_ROWS = SAY + """
from ftlib.tasks import load_task
say(lambda: {f"{task} {split}": [dict(r) for r in load_task(task, split=split, source="hub")]
             for task, split in (("fever", "train"), ("fever", "validation"), ("fever", "test"), ("liar", "validation"))})
"""


@pytest.fixture(scope="module")
def rows(repos, tmp_path_factory):
    with Hub() as hub:
        serve(hub, repos[0])
        yield ask(hub, tmp_path_factory.mktemp("rows")/"home", ALL_ROWS)["value"]


@pytest.mark.parametrize("split,first", [("train", 0), ("validation", 40), ("test", 60)])
def test_fever_rows(rows, split, first):
    found = rows[f"fever {split}"]
    assert [r["label"] for r in found] == [0, 1, 2]*3
    assert found[1]["text"] == f"The mill at place {first + 1} was built in {1800 + first + 1}."
    assert found[1]["text_pair"] == f"Mill {first + 1} dates from the year {1800 + first + 1}." and not found[2]["text_pair"]


def test_liar_labels_are_put_in_order(rows):
    by_id = {r["id"]: r["label"] for r in rows["liar validation"]}
    assert [by_id[f"validation{i}.json"] for i in range(6)] == [1, 3, 4, 5, 2, 0]


def test_a_token_opens_a_private_repository(repos, tmp_path):
    with Hub() as hub:
        serve(hub, repos[0], token="the-right-one")
        right = start(hub, tmp_path/"right", GET_MODEL, HF_TOKEN="the-right-one")
        wrong = start(hub, tmp_path/"wrong", GET_MODEL, HF_TOKEN="another")
        said, refused = finish(right), finish(wrong)
    assert "model.safetensors" in said["value"]
    assert "another" not in refused["says"]


# --- what goes wrong


FAULTS = {                                           # name -> (how the hub behaves, words of which one must be in the sentence)
    "no repository": ("empty", ("repository", "name")),
    "gated": ("gated", ("gated", "access", "HF_TOKEN")),
    "no file": (dict(status=404), ("no such file", "lacks", "has no")),
    "not allowed": (dict(status=401), ("401", "HF_TOKEN", "token")),
    "out of order": (dict(status=500), ("500", "reached", "hub")),
    "cut": (dict(cut_at=200, methods=("GET",)), ("connection", "broke", "cut", "closed", "reached", "complete")),
    "gone": ("gone", ("reached", "network", "connection")),
}
CLIENTS = {"model": (GET_MODEL, "model.safetensors", MODEL), "fever": (load_rows("fever"), "train.jsonl", FEVER)}


@pytest.fixture(scope="module")
def told(repos, tmp_path_factory):
    "What each client says to each fault: {(client, fault): (what it said, its home, the hub)}."
    homes, running, hubs = tmp_path_factory.mktemp("faults"), {}, []
    for what, (code, file, _) in CLIENTS.items():
        for name, (fault, _) in FAULTS.items():
            hub = Hub().__enter__()
            if fault != "empty": serve(hub, repos[0], gated=fault == "gated")
            if isinstance(fault, dict): hub.fail(file, **fault)
            if fault == "gone": hub.__exit__()
            else: hubs.append(hub)
            running[what, name] = start(hub, homes/f"{what}-{name}".replace(" ", "-"), code), homes/f"{what}-{name}".replace(" ", "-"), hub
            while sum(client.poll() is None for client, *_ in running.values()) >= 8: time.sleep(0.1)
    yield {key: (finish(client), home, hub) for key, (client, home, hub) in running.items()}
    for hub in hubs: hub.__exit__()


every_fault = pytest.mark.parametrize("what,name", [(w, n) for w in CLIENTS for n in FAULTS])


@every_fault
def test_a_fault_is_told_in_one_sentence(told, what, name):
    said, _, hub = told[what, name]
    assert "error" in said, f"it went on: {str(said)[:300]}"
    assert {"ValueError", "KeyError", "FileNotFoundError", "ConnectionError"} & set(said["bases"]), said
    assert "\n" not in said["says"] and 20 < len(said["says"]) < 500, said["says"]
    assert CLIENTS[what][2] in said["says"], f"the sentence must name what was wanted: {said['says']}"
    assert any(word in said["says"] for word in FAULTS[name][1]), said["says"]


@every_fault
def test_nothing_half_stays_behind(told, repos, what, name):
    _, home, _ = told[what, name]
    whole = {p.read_bytes() for p in repos[0].rglob("*") if p.is_file()}
    for p in home.rglob("*"):
        assert not p.name.endswith(".incomplete")
        if p.is_file() and {"blobs", "snapshots"} & set(p.parts): assert p.read_bytes() in whole, f"{p.name} is not whole"


@pytest.mark.parametrize("what", CLIENTS)
def test_the_next_try_succeeds(told, repos, what):
    _, home, hub = told[what, "cut"]
    hub.faults.clear()
    assert "value" in ask(hub, home, CLIENTS[what][0])


def test_a_split_that_cannot_be_read_is_not_passed_over(hub, tmp_path):
    "FEVER's training rows are compared with the other splits; not to get them must not mean not to compare."
    hub.fail("valid.jsonl", status=404)
    assert "valid.jsonl" in ask(hub, tmp_path/"home", load_rows("fever")).get("says", "")


def test_the_command_line_says_so_too(repos, tmp_path):
    with Hub() as hub: pass                          # a hub that is gone
    code = "import sys; from ftlib.cli import main; sys.argv = ['ftlib', *sys.argv[1:]]; main()"
    done = subprocess.run([sys.executable, "-c", code, "train", "classify", "fever", "--source", "hub", "--out", "run"], env=hub.env(tmp_path/"home"),
                          cwd=tmp_path, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=180)
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 1, said[-2000:]
    assert "Traceback" not in said and FEVER in said
    assert not list((tmp_path/"run").rglob("*.safetensors"))
