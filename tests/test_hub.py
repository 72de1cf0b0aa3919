"""What comes from the hub is whole and right, and what goes wrong there is told in one sentence.

The hub is tests/hubserver.py on loopback; clients are fresh processes in which only HF_ENDPOINT and HF_HOME differ from a user's, and
FTLIB_MIRROR for the two data sets that no hub holds. Nothing is patched. All faults run side by side, as most of their time is the client's
waiting between tries.
"""
import json
import re
import resource
import subprocess
import sys
import time
import warnings
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import madeup
import pytest
from hubserver import Hub, git_sha1

MODEL, FEVER, LIAR, SONNETS = "someone/small-gpt2", "copenlu/fever_gold_evidence", "ucsbnlp/liar", "public_cs224n_gpt"
TEXT = "The old mill by the river was built in 1871. Anna sold 12 apples and 7 pears. No bird sang; the road was long."
IDS = [[5, 250, 31, 0, 7, 299], [17, 4, 4, 0, 1, 80]]

SAY = """
import json, warnings
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
GET_MODEL = SAY + f"from ftlib.hub import hub_folder\nsay(lambda: sorted(p.name for p in hub_folder('{MODEL}', ['*.json', '*.safetensors']).iterdir()))"


def load_rows(task, split="train"):
    return SAY + f"from ftlib.tasks import load_task\nsay(lambda: [dict(r) for r in load_task('{task}', split='{split}', source='hub')])"


def quick_rows(task, split="train"):
    "The same rows without the seconds that a table takes to import."
    return SAY + f"from ftlib.tasks import find_split, read_files\nfiles = lambda: find_split('{task}', '{split}', 'hub')\n" \
        f"say(lambda: list(read_files((found := files())[0], '{task}', '{split}', 'hub', cut=found[1], options={{}})))"


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
    "A folder with every repository, and the model that one of them holds."
    folder = tmp_path_factory.mktemp("repos")
    model = write_model(folder/"model")
    return folder, model, madeup.repositories(folder)


def serve(hub, repos, **access):
    folder, _, sets = repos
    hub.add(MODEL, folder/"model", **access)
    madeup.serve(hub, sets, **access)


@pytest.fixture
def hub(repos):
    with Hub() as server:
        serve(server, repos)
        yield server


def small_files(): resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))      # a disk on which no file can be longer


def start(hub, home, code, full=False, **env):
    "A client process; with `full` its disk takes no more than 500 bytes of a file."
    home.mkdir(exist_ok=True)
    return subprocess.Popen([sys.executable, "-W", "ignore", "-c", code], env=hub.env(home, **env), cwd=home, stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=small_files if full else None)


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
    codes = [GET_MODEL, load_rows("fever"), *map(quick_rows, ("smoltalk", "sonnets", "propaganda"))]
    with Hub() as hub:
        serve(hub, repos)
        first = [finish(client) for client in [start(hub, tmp_path/f"home{i}", code) for i, code in enumerate(codes)]]
        assert all("value" in said for said in first), first
    assert [finish(client) for client in [start(hub, tmp_path/f"home{i}", code) for i, code in enumerate(codes)]] == first


def test_a_download_cut_once_is_tried_again(hub, repos, tmp_path):
    hub.fail("model.safetensors", cut_at=5000, times=1, methods=("GET",))
    assert "model.safetensors" in ask(hub, tmp_path/"home", GET_MODEL)["value"]
    assert sum(n for path, n in hub.count().items() if path.startswith("/cdn/")) == 2
    got = next((tmp_path/"home").rglob("model.safetensors"))
    assert got.read_bytes() == (repos[0]/"model"/"model.safetensors").read_bytes()


def test_the_hub_itself(hub, repos):
    "Ranges, versions and checksums as the real one has them: asked here, since the client asks for ranges only beyond 10 MB."
    want = (repos[2][FEVER][1]/"train.jsonl").read_bytes()
    url = f"{hub.url}/datasets/{FEVER}/resolve/{madeup.FEVER_REVISION}/train.jsonl"
    with urlopen(Request(url, headers={"Range": "bytes=100-"})) as answer:
        assert answer.status == 206 and answer.read() == want[100:]
        assert answer.headers["Content-Range"] == f"bytes 100-{len(want) - 1}/{len(want)}" and answer.headers["ETag"] == f'"{git_sha1(want)}"'
    with urlopen(Request(url, headers={"Range": "bytes=100-", "If-Range": '"another"'})) as answer: assert answer.status == 200
    with pytest.raises(HTTPError, match="416"): urlopen(Request(url, headers={"Range": f"bytes={len(want)}-"}))
    assert git_sha1(b"") == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"


# --- every task


ALL = SAY + """
warnings.simplefilter("ignore")
from ftlib.tasks import SPLITS, TASKS, load_task
def rows(task, split, **kw):
    try: return [dict(row) for row in load_task(task, split, source="hub", **kw)]
    except FileNotFoundError as error: return str(error)
say(lambda: {f"{task} {split}": [rows(task, split), rows(task, split, streaming=True)] for task in TASKS for split in SPLITS})
"""


@pytest.fixture(scope="module")
def rows(repos, tmp_path_factory):
    "{task and split: rows from the hub, the same streamed} and the hub."
    with Hub() as hub:
        serve(hub, repos)
        yield ask(hub, tmp_path_factory.mktemp("rows")/"home", ALL)["value"], hub


def expected(name, repos, tmp_path):
    "The rows of a task's made-up files, read where they lie: {split: rows}; labels are numbers."
    from ftlib.tasks import SPLITS, TASKS, carve
    from ftlib.tasks.sources import find_files
    task, out, cut = TASKS[name], {}, {}
    for split in SPLITS:
        for part in task.parts:
            if part.hub: folder, patterns = repos[2][part.hub][1], [part.hub_files[split]] if split in part.hub_files else []
            else: folder, patterns = tmp_path/part.folder, list(part.files[split])
            if not part.hub_files: patterns = list(part.files[split])
            for file, url in ({} if part.hub else part.raw).items():
                (folder/file).parent.mkdir(exist_ok=True)
                (folder/file).write_bytes(madeup.raw_files()[url.split("://")[1]])
            out.setdefault(split, []).extend(row for path in find_files(folder, patterns) for row in part.read(path))
    if task.group:
        for row in out["train"]: cut.setdefault(carve(task.group(row)), []).append(row)
        out = cut
    for row in [row for found in out.values() for row in found if "label" in row]: row["label"] = task.labels.index(row["label"])
    return out


def task_names():
    from ftlib.tasks import TASKS
    return list(TASKS)


@pytest.mark.parametrize("name", task_names())
def test_every_task_comes_from_the_hub(name, rows, repos, tmp_path):
    from ftlib.tasks import SPLITS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        want = expected(name, repos, tmp_path)
    for split in SPLITS:
        found, streamed = rows[0][f"{name} {split}"]
        assert found == streamed
        if isinstance(found, str): assert not want[split] and f"has no {split} split" in found, found
        else: assert found == want[split] and len(found) >= 1


def test_liar_labels_are_put_in_order(rows):
    by_id = {r["id"]: r["label"] for r in rows[0]["liar validation"][0]}
    assert [by_id[f"validation{i}.json"] for i in range(6)] == [1, 3, 4, 5, 2, 0]


DATASETS = """
import json
from datasets import load_dataset
def rows(name, config, split, revision, streaming):
    return [dict(row) for row in load_dataset(name, config, split=split, revision=revision, streaming=streaming)]
out = {}
for name, config, splits, revision in json.loads(%r):
    for split in splits: out[f"{name} {split}"] = [rows(name, config, split, revision, streaming) for streaming in (False, True)]
print(json.dumps(out))
"""
LAYOUTS = [("openai/gsm8k", "main", ["train", "test"]), ("HuggingFaceH4/ultrafeedback_binarized", None, ["train_prefs", "test_prefs"]),
           ("HuggingFaceTB/smoltalk", "all", ["train", "test"]), ("nyu-mll/glue", "qqp", ["train", "validation"]),
           ("copenlu/fever_gold_evidence", None, ["train", "validation", "test"]), ("SetFit/sst5", None, ["train", "validation", "test"]),
           ("chengxuphd/liar2", None, ["train", "validation", "test"]), ("ucsbnlp/liar", None, ["train", "validation", "test"])]
SAME = {                                             # what a row of the hub's becomes, for made-up rows without traps
    "openai/gsm8k": ("gsm8k", lambda r: (r["question"] + "\n", r["answer"].split("#### ")[1]), lambda r: (r["prompt"], r["answer"])),
    "HuggingFaceH4/ultrafeedback_binarized": ("ultrafeedback", lambda r: (r["prompt"], r["chosen"][-1]["content"], r["rejected"][-1]["content"]),
                                              lambda r: (r["prompt"], r["chosen"], r["rejected"])),
    "HuggingFaceTB/smoltalk": ("smoltalk", lambda r: r["messages"], lambda r: r["messages"]),
    "nyu-mll/glue": ("paraphrase", lambda r: (r["question1"], r["question2"], r["label"]), lambda r: (r["text"], r["text_pair"], r["label"])),
    "copenlu/fever_gold_evidence": ("fever", lambda r: (r["claim"], madeup.VERDICTS.index(r["label"])), lambda r: (r["text"], r["label"])),
    "SetFit/sst5": ("sentiment", lambda r: (r["text"], r["label"]), lambda r: (r["text"], r["label"])),
    "chengxuphd/liar2": ("factcheck", lambda r: (r["statement"], " ".join(r["justification"].split())),
                         lambda r: (r["prompt"].split("\n")[0], " ".join(r["completion"].split()))),
    "ucsbnlp/liar": ("liar", lambda r: (r["id"], r["statement"]), lambda r: (r["id"], r["text"])),
}


@pytest.fixture(scope="module")
def loaded(repos, tmp_path_factory):
    "What `datasets.load_dataset` gives for the same repositories: {id and split: rows, the same streamed}."
    with Hub() as hub:
        serve(hub, repos)
        what = json.dumps([(name, config, splits, repos[2][name][0]) for name, config, splits in LAYOUTS])
        yield ask(hub, tmp_path_factory.mktemp("loaded")/"home", DATASETS % what), hub


@pytest.mark.parametrize("name", SAME)
def test_the_real_client_of_data_sets_reads_the_same(name, loaded, rows):
    task, theirs, ours = SAME[name]
    for key, (whole, streamed) in loaded[0].items():
        if not key.startswith(f"{name} "): continue
        split = key.split()[1].removesuffix("_prefs")
        found = [ours(row) for row in rows[0][f"{task} {split}"][0]]
        if task == "factcheck": found = found[-len(whole):]                     # LIAR-PLUS comes first
        assert whole == streamed and [theirs(row) for row in whole] == found


def test_streams_are_read_in_ranges(loaded):
    ranges = [place for method, path, place in loaded[1].seen if method == "GET" and path.startswith("/cdn/") and place]
    assert ranges and all(re.fullmatch(r"bytes=\d+-\d*", place) for place in ranges)


STREAM = SAY + """
import os
from itertools import islice
from pathlib import Path
from ftlib.tasks import load_task
stream = lambda: load_task("smoltalk", source="hub", streaming=True)
def work():
    from datasets.distributed import split_dataset_by_node
    for row in islice(stream(), 3): pass
    early = sorted(p.name for p in Path(os.environ["HF_HOME"]).rglob("train-*.parquet"))
    whole, some = [row["messages"] for row in stream()], stream()
    first = [row["messages"] for row in islice(some, 20)]
    again = stream()
    again.load_state_dict(some.state_dict())
    shares = [[row["messages"] for row in split_dataset_by_node(stream(), rank, 3)] for rank in range(3)]
    return dict(early=early, resumed=first + [row["messages"] for row in again] == whole, pieces=stream().num_shards, n=len(whole),
                taken=[row["messages"] for row in load_task("smoltalk", source="hub", streaming=True, n=4)] == whole[:4],
                shared=sum(shares, []) == whole and all(len(share) == 15 for share in shares))
say(work)
"""


def test_a_stream_fetches_what_it_reaches(hub, tmp_path):
    said = ask(hub, tmp_path/"home", STREAM)["value"]
    assert said == dict(early=["train-00000-of-00003.parquet"], resumed=True, pieces=3, n=45, taken=True, shared=True)


# --- other places


def test_a_token_opens_a_private_repository(repos, tmp_path):
    with Hub() as hub:
        serve(hub, repos, token="the-right-one")
        right = [start(hub, tmp_path/f"right{i}", code, HF_TOKEN="the-right-one") for i, code in enumerate((GET_MODEL, quick_rows("gsm8k"), quick_rows("sonnets")))]
        wrong = start(hub, tmp_path/"wrong", GET_MODEL, HF_TOKEN="another")
        said, refused = [finish(client) for client in right], finish(wrong)
    assert all("value" in answer for answer in said)
    assert "another" not in refused["says"] and "the-right-one" not in refused["says"]
    assert not hub.tokens, "no token goes to the hosts of large and of raw files"


def test_liar_has_a_second_home(repos, tmp_path):
    with Hub() as hub:
        hub.raw |= madeup.raw_files()
        said = ask(hub, tmp_path/"home", quick_rows("liar", "test"))
    assert [(row["text"], row["label"]) for row in said["value"]] == [(f"Claim {i} of test.", madeup.RATINGS[i]) for i in range(6)]


def test_what_needs_a_person_says_how(repos, tmp_path):
    "The repository holds a script, as the real one does."
    script = tmp_path/"script"
    script.mkdir()
    (script/"sem_eval_2020_task_11.py").write_text("# no data\n")
    with Hub() as hub:
        hub.add("SemEvalWorkshop/sem_eval_2020_task_11", script, kind="dataset")
        said = ask(hub, tmp_path/"home", load_rows("propaganda"))
    assert "FileNotFoundError" in said["bases"] and "\n" not in said["says"]
    for word in ("SemEvalWorkshop/sem_eval_2020_task_11", "propaganda.qcri.org", "zenodo.org/record/3952415", "data/full/propaganda", "train-articles"):
        assert word in said["says"]


def test_what_was_downloaded_into_data_full_is_used(repos, tmp_path):
    home = tmp_path/"home"
    madeup.gsm8k(home/"data"/"full"/"gsm8k")
    from ftlib.files import write_manifest
    with Hub() as hub: pass                          # a hub that is gone
    before = ask(hub, home, quick_rows("gsm8k"))
    write_manifest(home/"data"/"full"/"gsm8k", (home/"data"/"full"/"gsm8k").rglob("*.parquet"), source=f"openai/gsm8k@{repos[2]['openai/gsm8k'][0]}")
    (home/"below").mkdir()
    after = ask(hub, home, quick_rows("gsm8k")), ask(hub, home, "import os; os.chdir('below')\n" + quick_rows("gsm8k"))
    assert "error" in before and all(len(said["value"]) == 9 for said in after)
    (home/"data"/"full"/"gsm8k"/"main"/"test-00000-of-00001.parquet").write_bytes(b"short")
    assert "error" in ask(hub, home, quick_rows("gsm8k")), "a folder that is not whole any more is not used"


# --- what goes wrong


FAULTS = {                                           # name -> (how the hub behaves, words of which one must be in the sentence)
    "no repository": ("empty", ("repository", "name", "no such file")),
    "gated": ("gated", ("gated", "access", "HF_TOKEN")),
    "no file": (dict(status=404), ("no such file", "lacks", "has no")),
    "not allowed": (dict(status=401), ("401", "HF_TOKEN", "token")),
    "out of order": (dict(status=500), ("500", "reached", "hub")),
    "busy": (dict(status=429, retry_after="3600"), ("429", "3600", "reached")),
    "cut": (dict(cut_at=200, methods=("GET",)), ("connection", "broke", "cut", "closed", "reached", "complete")),
    "spoiled": (dict(spoil=True, methods=("GET",)), ("checksum",)),
    "disk full": ("full", ("too large", "space", "disk", "write")),
    "gone": ("gone", ("reached", "network", "connection")),
}
CLIENTS = {"model": (GET_MODEL, "model.safetensors", MODEL), "fever": (load_rows("fever"), "train.jsonl", FEVER),
           "sonnets": (load_rows("sonnets"), "sonnets.txt", SONNETS)}
QUICK = {"model": GET_MODEL, "fever": quick_rows("fever"), "sonnets": quick_rows("sonnets")}
UNFIT = {("sonnets", "gated"), ("sonnets", "spoiled"), ("model", "busy"), ("fever", "busy")}
# A raw file has neither gates nor a checksum; the client of the hub itself waits for as long as it is asked to.


@pytest.fixture(scope="module")
def told(repos, tmp_path_factory):
    "What each client says to each fault: {(client, fault): (what it said, its home, the hub)}."
    homes, running, hubs = tmp_path_factory.mktemp("faults"), {}, []
    for name, (fault, _) in sorted(FAULTS.items(), key=lambda item: item[0] != "out of order"):       # the longest first
        for what, (code, file, _) in CLIENTS.items():
            if (what, name) in UNFIT: continue
            hub, home = Hub().__enter__(), homes/f"{what}-{name}".replace(" ", "-")
            if fault != "empty": serve(hub, repos, gated=fault == "gated")
            if isinstance(fault, dict): hub.fail(file, **fault)
            if fault == "gone": hub.__exit__()
            else: hubs.append(hub)
            running[what, name] = start(hub, home, code, full=fault == "full"), home, hub
            while sum(client.poll() is None for client, *_ in running.values()) >= 8: time.sleep(0.1)
    yield {key: (finish(client), home, hub) for key, (client, home, hub) in running.items()}
    for hub in hubs: hub.__exit__()


every_fault = pytest.mark.parametrize("what,name", [(w, n) for w in CLIENTS for n in FAULTS if (w, n) not in UNFIT])


@every_fault
def test_a_fault_is_told_in_one_sentence(told, what, name):
    said, _, hub = told[what, name]
    assert "error" in said, f"it went on: {str(said)[:300]}"
    assert {"ValueError", "KeyError", "FileNotFoundError", "ConnectionError", "OSError"} & set(said["bases"]), said
    assert "\n" not in said["says"] and 20 < len(said["says"]) < 600, said["says"]
    assert CLIENTS[what][2] in said["says"] or "sonnets.txt" in said["says"], f"the sentence must name what was wanted: {said['says']}"
    assert any(word in said["says"] for word in FAULTS[name][1]), said["says"]


@every_fault
def test_nothing_half_stays_behind(told, repos, what, name):
    _, home, _ = told[what, name]
    whole = {p.read_bytes() for p in repos[0].rglob("*") if p.is_file()} | set(madeup.raw_files().values())
    for p in home.rglob("*"):
        ours = "ftlib" in p.parts                    # our own parts are kept, and gone on with
        assert ours or not p.name.endswith(".incomplete")
        if p.is_file() and {"blobs", "snapshots"} & set(p.parts): assert p.read_bytes() in whole, f"{p.name} is not whole"
        if p.name == "sonnets.txt": assert p.read_bytes() in whole
        assert p.name != "manifest.json"


@pytest.mark.parametrize("what,name", [("model", "cut"), ("fever", "cut"), ("sonnets", "cut"), ("model", "spoiled"), ("fever", "spoiled"),
                                       ("fever", "disk full"), ("sonnets", "disk full")])
def test_the_next_try_succeeds(told, what, name):
    _, home, hub = told[what, name]
    hub.faults.clear()
    assert "value" in ask(hub, home, QUICK[what])


@pytest.mark.parametrize("what,times", [("fever", 3), ("sonnets", 1)])
def test_a_busy_hub_is_waited_for(hub, tmp_path, what, times):
    "The hub's client asks for FEVER's file, and so do we to see whether there is a hub, before it begins to wait."
    hub.fail(CLIENTS[what][1], status=429, retry_after="1", times=times)
    begun = time.monotonic()
    assert "value" in ask(hub, tmp_path/"home", QUICK[what])
    assert time.monotonic() - begun >= 1


def test_a_raw_file_goes_on_where_it_was_cut(hub, tmp_path):
    hub.fail("sonnets.txt", cut_at=3000, times=1)
    assert "value" in ask(hub, tmp_path/"home", quick_rows("sonnets"))
    assert [place for _, path, place in hub.seen if path.endswith("sonnets.txt")] == [None, "bytes=3000-"]


def test_a_split_that_cannot_be_read_is_not_passed_over(hub, tmp_path):
    "FEVER's training rows are compared with the other splits; not to get them must not mean not to compare."
    hub.fail("valid.jsonl", status=404)
    assert "valid.jsonl" in ask(hub, tmp_path/"home", quick_rows("fever")).get("says", "")


def test_the_command_line_says_so_too(repos, tmp_path):
    with Hub() as hub: pass                          # a hub that is gone
    code = "import sys; from ftlib.cli import main; sys.argv = ['ftlib', *sys.argv[1:]]; main()"
    done = subprocess.run([sys.executable, "-c", code, "train", "classify", "fever", "--source", "hub", "--out", "run"], env=hub.env(tmp_path/"home"),
                          cwd=tmp_path, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=180)
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 1, said[-2000:]
    assert "Traceback" not in said and FEVER in said
    assert not list((tmp_path/"run").rglob("*.safetensors"))
