"""`ftlib download` and `ftlib tasks` against a hub on loopback: whole or not there, whatever breaks, and cheap the second time.

Clients are fresh processes, started side by side. The faults of single files, and those of `load_task`, are in test_hub.py.
"""
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
import warnings

import madeup
import pytest
from ftlib.data import DataError
from ftlib.files import MANIFEST, read_manifest
from ftlib.hub import digest
from ftlib.tasks import TASKS, load_task
from ftlib.tasks.download import chosen, complete, count_rows, examine, known_rows
from ftlib.tasks.sources import Part, find_files, raw_url, unpack
from hubserver import Hub

MAIN = "import sys; from ftlib.cli import main; sys.argv = ['ftlib', *sys.argv[1:]]; main()"
# The made-up repositories have a few rows; the counts that the tasks know are those of the real ones.
SMALL = MAIN.replace("import sys;", "import sys; from ftlib.tasks import TASKS; [part.rows.clear() for task in TASKS.values() for part in task.parts];")


@pytest.fixture(scope="module")
def repos(tmp_path_factory): return madeup.repositories(tmp_path_factory.mktemp("repos"))


@pytest.fixture
def hub(repos):
    with Hub() as server:
        madeup.serve(server, repos)
        yield server


def start(hub, home, *words, code=SMALL, full=0, **env):
    "An `ftlib` process in a folder of its own; with `full` its disk takes no more than so many bytes of a file."
    home.mkdir(exist_ok=True)
    limit = (lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (full, full))) if full else None
    return subprocess.Popen([sys.executable, "-c", code, *words], env=hub.env(home/"cache", **env), cwd=home, stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=limit)


def finish(client):
    "(exit code, what it printed on one line)."
    out, err = client.communicate(timeout=120)
    said = " ".join((out + err).split())
    assert "Traceback" not in said, said[-2000:]
    return client.returncode, said


def run(hub, home, *words, **kw): return finish(start(hub, home, *words, **kw))


def fetched(hub):
    "How many bytes' worth of files were asked for: GETs of files, not of what the hub knows about them."
    return [path for method, path, _ in hub.seen if method == "GET" and not path.startswith("/api/")]


FOLDERS = [part.folder for task in TASKS.values() for part in task.parts]


# --- all of it


@pytest.fixture(scope="module")
def everything(repos, tmp_path_factory):
    "Two runs for all tasks: (home, first, second, what was fetched in each)."
    home = tmp_path_factory.mktemp("all")/"home"
    with Hub() as hub:
        madeup.serve(hub, repos)
        first, one = run(hub, home, "download"), len(fetched(hub))
        second, two = run(hub, home, "download"), len(fetched(hub)) - one
        yield home, first, second, one, two


def test_everything_is_downloaded(everything):
    home, (code, said), *_ = everything
    assert code == 0, said
    assert {p.name for p in (home/"data"/"full").iterdir()} == set(FOLDERS)
    for folder in FOLDERS:
        facts = read_manifest(home/"data"/"full"/folder)
        assert facts and facts["files"] and sum(facts["rows"].values()) > 0 and facts["source"]
        assert re.search(rf"{folder} \(\w+\): downloaded: [\d,]+ ", said), said
    assert not [p for p in (home/"data").rglob("*") if p.suffix in (".incomplete", ".lock", ".etag", ".part")]


def test_the_second_time_costs_nothing(everything):
    home, _, (code, said), one, two = everything
    assert code == 0 and said.count("already there") == len(FOLDERS)
    assert one >= len(FOLDERS) and two == 0


def test_layouts_are_kept_and_readers_read_them(everything, repos):
    home = everything[0]/"data"/"full"
    for task in TASKS.values():
        for part in task.parts:
            if not part.hub: continue
            there = repos[part.hub][1]
            for name in read_manifest(home/part.folder)["files"]: assert (home/part.folder/name).read_bytes() == (there/name).read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in TASKS: assert len(load_task(name, source=home)) > 0


def test_tasks_shows_where_things_are(everything, tmp_path):
    with Hub() as hub:
        _, said = run(hub, everything[0], "tasks", code=MAIN)
        code, elsewhere = run(hub, tmp_path/"home", "tasks", code=MAIN)
    assert code == 0 and "data/full" not in elsewhere.replace("ftlib download", "")
    squeezed = re.sub(r"[\s│]", "", said)
    for name, task in TASKS.items():
        assert name in said and task.kind in said and task.licence.split()[0] in said
        for part in task.parts:
            if part.hub: assert part.hub.split("/")[0][:12] in squeezed
    assert squeezed.count("data/full") == len(TASKS) and squeezed.count("embedded") > len(TASKS)
    assert "7,473" in said and "1,319" in said and "10,269" in said


def test_known_rows():
    assert known_rows("gsm8k") == "7,473 / – / 1,319" and known_rows("fever") == "" and known_rows("paraphrase") == "363,846 / 40,430 / ?"


# --- choosing


def test_halves():
    kinds = lambda half: {TASKS[name].kind for name in chosen(half=half)}
    assert kinds("sft") <= {"classify", "generate", "chat"} and kinds("rl") <= {"reason", "prefer"} and len(kinds("sft") | kinds("rl")) >= 3
    assert chosen(["gsm8k", "liar"], "rl") == ["gsm8k"]
    with pytest.raises(KeyError, match="did you mean 'gsm8k'"): chosen(["gsm8"])


@pytest.mark.parametrize("words,code,says", [
    (["download", "lair"], 2, "unknown task 'lair' (did you mean 'liar'?)"),
    (["download", "--sft-only", "--rl-only"], 2, "exclude each other"),
    (["download", "liar", "--rl-only"], 2, "none of liar belongs to the rl half"),
])
def test_wrong_usage(words, code, says, tmp_path, monkeypatch, capsys):
    from ftlib import cli
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["ftlib", *words])
    with pytest.raises(SystemExit) as stop: cli.main()
    assert stop.value.code == code and says in " ".join(capsys.readouterr().err.split())


# --- what goes wrong


CASES = {                                            # name: (words, faults or what is changed, exit code, words that must be said, folders that are whole)
    "half of it": (["--rl-only"], {}, 0, ["gsm8k", "fever_symmetric"], {"gsm8k", "fever_symmetric", "ultrafeedback"}),
    "elsewhere": (["gsm8k", "--out", "there"], {}, 0, ["gsm8k"], {"gsm8k"}),
    "not a file": (["gsm8k", "liar"], {"main/train-00000-of-00001.parquet": dict(status=404)}, 1, ["gsm8k", "404", "no such file"], {"liar"}),
    "out of order": (["gsm8k", "liar"], {"main/train-00000-of-00001.parquet": dict(status=500)}, 1, ["gsm8k", "500"], {"liar"}),
    "out of order once": (["gsm8k", "sonnets"], {"main/train-00000-of-00001.parquet": dict(status=500, times=1), "sonnets.txt": dict(status=503, times=1)}, 0, [],
                          {"gsm8k", "sonnets"}),
    "busy": (["gsm8k", "sonnets"], {"main/train-00000-of-00001.parquet": dict(status=429, retry_after="1", times=2),
                                    "sonnets.txt": dict(status=429, retry_after="1", times=2)}, 0, [], {"gsm8k", "sonnets"}),
    "busy for an hour": (["sonnets", "gsm8k"], {"sonnets.txt": dict(status=429, retry_after="3600")}, 1, ["429", "3600 seconds"], {"gsm8k"}),
    "cut": (["sentiment", "sonnets"], {"train.jsonl": dict(cut_at=200, times=1), "sonnets.txt": dict(cut_at=3000, times=1)}, 0, [], {"sst", "sonnets"}),
    "cut again and again": (["sentiment", "gsm8k"], {"train.jsonl": dict(cut_at=200)}, 1, ["broke off"], {"gsm8k"}),
    "spoiled": (["sentiment", "gsm8k"], {"train.jsonl": dict(spoil=True)}, 1, ["checksum", "thrown away"], {"gsm8k"}),
    "spoiled once": (["sentiment"], {"train.jsonl": dict(spoil=True, times=1)}, 0, [], {"sst"}),
    "private": (["gsm8k"], "token", 1, ["HF_TOKEN"], set()),
    "private, with its token": (["gsm8k", "sonnets"], "right token", 0, [], {"gsm8k", "sonnets"}),
    "gated": (["gsm8k"], "gated", 1, ["gated"], set()),
    "nobody there": (["gsm8k", "sonnets"], "gone", 1, ["cannot be reached"], set()),
    "told to stay offline": (["gsm8k", "sonnets"], "offline", 1, ["HF_HUB_OFFLINE"], set()),
    "a full disk": (["smoltalk", "fever"], "full", 1, ["could not write", "large"], set()),
    "by hand, alone": (["propaganda"], "no propaganda", 1, ["1. register", "propaganda.qcri.org", "2. download datasets-v2.tgz", "zenodo.org/record/3952415", "3. unpack",
                                                           "train-task2-TC.labels", "data/full/propaganda"], set()),
    "by hand, among others": (["propaganda", "gsm8k"], "no propaganda", 0, ["1. register", "3. unpack"], {"gsm8k"}),
    "another home": (["liar"], "no liar", 0, [], {"liar"}),
    "no home": (["gsm8k"], "no gsm8k", 1, ["no such repository", "by hand"], set()),
    "too few rows": (["gsm8k"], "counted", 1, ["gsm8k: train has 9 rows and should have 7473"], set()),
}
WITHOUT = {"no propaganda": "SemEvalWorkshop/sem_eval_2020_task_11", "no liar": "ucsbnlp/liar", "no gsm8k": "openai/gsm8k"}


@pytest.fixture(scope="module")
def ended(repos, tmp_path_factory):
    "How each case ended: {name: (exit code, what was said, home, hub)}. They run side by side."
    homes, running = tmp_path_factory.mktemp("cases"), {}
    for name, (words, how, *_) in sorted(CASES.items(), key=lambda case: "out of order" not in case[0]):
        hub, home = Hub().__enter__(), homes/re.sub(r"\W+", "-", name)
        access = {"token": "the-right-one"} if how in ("token", "right token") else {"gated": True} if how == "gated" else {}
        madeup.serve(hub, repos, without=[WITHOUT.get(how)] if isinstance(how, str) else (), **access)
        if isinstance(how, dict):
            for path, fault in how.items(): hub.fail(path, methods=("GET",), **fault)
        if how == "gone": hub.__exit__()
        env = {"HF_TOKEN": "the-right-one"} if how == "right token" else {"HF_HUB_OFFLINE": "1"} if how == "offline" else {}
        client = start(hub, home, "download", *words, code=MAIN if how == "counted" else SMALL, full=800 if how == "full" else 0, **env)
        running[name] = client, home, hub
        while sum(c.poll() is None for c, *_ in running.values()) >= 6: time.sleep(0.05)
    yield {name: (*finish(client), home, hub) for name, (client, home, hub) in running.items()}
    for name, (_, _, hub) in running.items():
        if name != "nobody there": hub.__exit__()


def sources(home): return home/("there" if (home/"there").is_dir() else "data/full")


@pytest.mark.parametrize("name", CASES)
def test_how_a_download_ends(name, ended):
    words, _, wanted, says, whole = CASES[name]
    code, said, home, hub = ended[name]
    assert code == wanted, said
    for word in says: assert word in said, said
    there = {p.parent.name for p in home.rglob(MANIFEST) if "cache" not in p.parts}
    assert there == whole & set(FOLDERS), said
    for folder in there: assert read_manifest(sources(home)/folder)
    if code == 0 and name != "half of it": assert said.count("downloaded: ") == len(there)


@pytest.mark.parametrize("name", CASES)
def test_no_file_is_less_than_whole(name, ended, repos):
    "Whatever has the name of a file has its bytes; parts have names of their own."
    _, _, home, _ = ended[name]
    right = {p.read_bytes() for _, folder in repos.values() for p in folder.rglob("*") if p.is_file()} | set(madeup.raw_files().values())
    right |= {madeup.liar_tsv(split) for split in madeup.FIRST}
    for path in home.rglob("*"):
        if path.is_file() and "cache" not in path.parts and path.name != MANIFEST and path.suffix not in (".incomplete", ".etag", ".lock"):
            assert path.read_bytes() in right, path


def test_a_cut_file_was_gone_on_with(ended):
    seen = ended["cut"][3].seen
    assert [place for method, path, place in seen if method == "GET" and path.endswith("/train.jsonl")] == [None, "bytes=200-"]
    assert [place for method, path, place in seen if path.endswith("sonnets.txt")] == [None, "bytes=3000-"]


def test_a_token_stays_with_the_hub(ended): assert not ended["private, with its token"][3].tokens


@pytest.mark.parametrize("name", ["out of order", "cut again and again", "spoiled", "a full disk"])
def test_the_next_run_completes_it(name, ended):
    code, said, home, hub = ended[name]
    hub.faults.clear()
    assert run(hub, home, "download", *CASES[name][0])[0] == 0
    for task in CASES[name][0]:
        for part in TASKS[task].parts: assert read_manifest(home/"data"/"full"/part.folder)
    assert not list((home/"data").rglob("*.incomplete"))


# --- killed


def test_killed_at_any_moment(repos, tmp_path):
    "The hub is slow; the process is killed at one moment after another, and the last run completes what they began, asking for no byte twice."
    with Hub() as hub:
        madeup.serve(hub, repos)
        big = b"".join(b"Line %d\n" % i for i in range(9000)) + b"\n1\n\n" + b"\n".join(b"Line %d of a song" % i for i in range(14)) + b"\n"
        place = next(p for p in hub.raw if p.endswith("sonnets.txt"))
        hub.raw[place] = big
        hub.fail("sonnets.txt", pause=0.06, times=4)
        home, target = tmp_path/"home", tmp_path/"home"/"data"/"full"/"sonnets"
        part = target/"sonnets.txt.incomplete"
        for share in (0.05, 0.3, 0.6):
            client, begun = start(hub, home, "download", "sonnets"), time.monotonic()
            while not (part.is_file() and part.stat().st_size >= share*len(big)):
                assert client.poll() is None and time.monotonic() - begun < 60, finish(client)
                time.sleep(0.01)
            os.kill(client.pid, signal.SIGKILL)
            client.communicate()
            assert not (target/"sonnets.txt").exists() and read_manifest(target) is None
            with pytest.raises(FileNotFoundError): load_task("sonnets", source=home/"data"/"full")
        kept = part.stat().st_size
        code, said = run(hub, home, "download", "sonnets")
        assert code == 0, said
        assert (target/"sonnets.txt").read_bytes() == big and read_manifest(target)["rows"] == {"train": 1}
        starts = [int(place[6:-1]) if place else 0 for _, path, place in hub.seen if path.endswith("sonnets.txt")]
        assert starts == sorted(starts) and starts[-1] == kept > 0.6*len(big)


def test_interrupted_from_the_keyboard(repos, tmp_path):
    with Hub() as hub:
        madeup.serve(hub, repos)
        hub.fail("sonnets.txt", pause=4)
        client = start(hub, tmp_path/"home", "download", "sonnets")
        part = tmp_path/"home"/"data"/"full"/"sonnets"/"sonnets.txt.incomplete"
        while not part.is_file() and client.poll() is None: time.sleep(0.01)
        client.send_signal(signal.SIGINT)
        code, said = finish(client)
    assert code == 130 and "the same command goes on" in said, said


def test_two_at_once(repos, tmp_path):
    "Two processes that want the same raw file share it."
    with Hub() as hub:
        madeup.serve(hub, repos)
        hub.fail("sonnets.txt", pause=0.2)
        both = [start(hub, tmp_path/"home", "download", "sonnets") for _ in range(2)]
        ended = [finish(client) for client in both]
        assert [code for code, _ in ended] == [0, 0], ended
        assert fetched(hub).count(next(f"/raw/{p}" for p in hub.raw if p.endswith("sonnets.txt"))) == 1
    assert (tmp_path/"home"/"data"/"full"/"sonnets"/"sonnets.txt").read_bytes() == madeup.sonnets()


# --- its pieces


def test_what_somebody_put_there_by_hand(repos, tmp_path):
    madeup.propaganda(tmp_path/"data"/"full"/"propaganda")
    with Hub() as hub:                               # a hub that holds nothing
        code, said = run(hub, tmp_path, "download", "propaganda")
        assert code == 0 and "downloaded: 30 train" in said, said
        assert "already there" in run(hub, tmp_path, "download", "propaganda")[1]
    facts = read_manifest(tmp_path/"data"/"full"/"propaganda")
    assert facts["source"] == "by hand" and len(facts["files"]) == 31


def toy(**more):
    def read(path):
        for line in path.read_text().splitlines():
            if line == "bad": raise DataError(f"{path}:1: bad")
            if line == "odd": warnings.warn(f"{path}: 1 rows are odd")
            else: yield {"prompt": line}
    return Part(folder="toy", files={"train": ("train.txt",), "test": ("test.txt",)}, read=read, by_hand=("ask",), **more)


def test_examining(tmp_path):
    (tmp_path/"train.txt").write_text("a\nodd\nb\n")
    assert examine(toy(), tmp_path) == ({"train": 2}, ["train.txt: 1 rows are odd"])
    assert examine(toy(rows={"train": 3}), tmp_path)[0] == {"train": 2}
    with pytest.raises(DataError, match="train has 3 rows and should have 4"): examine(toy(rows={"train": 4}), tmp_path)
    (tmp_path/"train.txt").write_text("a\nbad\n")
    with pytest.raises(DataError, match="train.txt:1: bad"): examine(toy(), tmp_path)
    with pytest.raises(DataError, match="has no file of toy"): examine(toy(), tmp_path/"none")


def test_a_bad_raw_file_is_removed(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    from huggingface_hub import constants
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with Hub() as hub:
        hub.raw["host/train.txt"] = b"a\nbad\n"
        monkeypatch.setenv("FTLIB_MIRROR", f"{hub.url}/raw")
        part = toy(raw={"train.txt": "https://host/train.txt"})
        with pytest.raises(DataError, match="bad"): complete(part, tmp_path)
        assert not list((tmp_path/"toy").glob("*.txt")) and read_manifest(tmp_path/"toy") is None
        hub.raw["host/train.txt"] = b"a\nb\n"
        assert complete(part, tmp_path)["rows"] == {"train": 2} and complete(part, tmp_path) is None
        (tmp_path/"toy"/"train.txt").write_text("a\n")
        assert complete(part, tmp_path)["rows"] == {"train": 1}, "a file that changed its size is looked at again"


def test_raw_addresses(monkeypatch):
    monkeypatch.delenv("FTLIB_MIRROR", raising=False)
    assert raw_url("https://host/a/b.txt") == "https://host/a/b.txt"
    monkeypatch.setenv("FTLIB_MIRROR", "http://mine:8000/raw/")
    assert raw_url("https://host/a/b.txt") == "http://mine:8000/raw/host/a/b.txt"


def test_archives(tmp_path):
    (tmp_path/"a.zip").write_bytes(madeup.liar_zip())
    assert sorted(p.name for p in unpack(tmp_path/"a.zip", ["*.tsv"])) == ["test.tsv", "train.tsv", "valid.tsv"]
    assert (tmp_path/"train.tsv").read_bytes() == madeup.liar_tsv("train") and not (tmp_path/"README").exists()
    data = bytearray(madeup.liar_zip())
    data[data.index(b"train.tsv") + 60] ^= 255
    for broken in (bytes(data), madeup.liar_zip()[:300]):
        (tmp_path/"b.zip").write_bytes(broken)
        with pytest.raises(DataError, match="no whole zip archive"): unpack(tmp_path/"b.zip", ["*.tsv"])
        assert not (tmp_path/"b.zip").exists()


def test_pieces_have_to_be_complete(tmp_path):
    for i in range(3): (tmp_path/f"train-0000{i}-of-00003.parquet").touch()
    assert len(find_files(tmp_path, ["train.jsonl", "train-*.parquet"])) == 3
    (tmp_path/"train-00001-of-00003.parquet").unlink()
    with pytest.raises(FileNotFoundError, match="2 of the 3 pieces"): find_files(tmp_path, ["train-*.parquet"])
    (tmp_path/"train.jsonl").touch()
    assert [p.name for p in find_files(tmp_path, ["train.jsonl", "train-*.parquet"])] == ["train.jsonl"]


def test_counting(repos, tmp_path):
    assert count_rows(repos["chengxuphd/liar2"][1]/"train.csv") == 9, "fields hold line breaks"
    assert count_rows(repos["openai/gsm8k"][1]/"main"/"train-00000-of-00001.parquet") == 9
    (tmp_path/"x.tsv").write_bytes(madeup.liar_tsv("train"))
    assert count_rows(tmp_path/"x.tsv") == 6


def test_manifests_hold_what_they_say(everything):
    folder = everything[0]/"data"/"full"/"gsm8k"
    facts = json.loads((folder/MANIFEST).read_text())
    assert facts["source"] == f"openai/gsm8k@{TASKS['gsm8k'].parts[0].revision}" and facts["rows"] == {"train": 9, "test": 9}
    assert {name: (folder/name).stat().st_size for name in facts["files"]} == facts["files"]
    assert digest(folder/"main"/"train-00000-of-00001.parquet", "0"*64)
