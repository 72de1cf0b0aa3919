"""A run that is killed, ten times, ends in the same bits as one that was left alone.

The killed processes are forked from a server that has imported torch already, so that the kills fall into training and saving and not into
start-up. The model, its checkpoint and the time between saves are chosen so that about half of the run is spent saving.
"""
import json
import multiprocessing
import os
import random
import signal
import time

import pytest
import torch
from ftlib.block import Conv1D
from ftlib.runs import atomic_dir, read_state, recover
from ftlib.settings import Settings
from ftlib.train import fit
from torch import nn

SETTINGS = dict(epochs=9, accumulation=3, lr=1e-2, seed=5, log_every=2, save_every=1, eval_every=4, device="cpu")
ROWS, SIZE = 200, 4


class Shuffled:
    "Batches of a seeded permutation an epoch, with augmentation from three random generators: order and noise must both be resumed."
    def __init__(self): self.epoch, self.at = 0, 0
    def __len__(self): return ROWS//SIZE
    def state_dict(self): return {"epoch": self.epoch, "at": self.at}
    def load_state_dict(self, state): self.epoch, self.at = state["epoch"], state["at"]
    def __iter__(self):
        import numpy as np
        order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(self.epoch))
        X = torch.randn(ROWS, 64, generator=torch.Generator().manual_seed(99))
        for i in range(self.at, len(self)):
            self.epoch, self.at = (self.epoch, i + 1) if i + 1 < len(self) else (self.epoch + 1, 0)
            rows = order[i*SIZE:(i + 1)*SIZE]
            yield {"x": X[rows] + 0.01*random.random() + 0.01*float(np.random.rand()), "y": X[rows].sum(1), "id": rows.tolist()}


def build():
    "A model with dropout, a norm, a buffer that training changes, a tied weight, a weight laid in columns and a frozen layer."
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(64, 256), nn.BatchNorm1d(256), nn.Tanh(), nn.Dropout(0.2), nn.Linear(256, 256), nn.Dropout(0.1),
                          nn.Linear(256, 256), Conv1D(256, 32), nn.Linear(32, 1))
    nn.init.normal_(model[7].weight, std=0.1)
    model[6].weight = model[4].weight
    model[0].weight.requires_grad_(False)
    return model


def step(model, batch):
    error = (model(batch["x"])[:, 0] - batch["y"])**2
    return error.sum(), len(error), {"large": (error > 1).sum()}


def probe(model): return {"noise": torch.rand(1) + model(torch.ones(2, 64)).sum()}      # draws a random number: that must not matter


def train(out, done):
    "What the killed process does."
    torch.set_num_threads(1)
    resume = os.path.exists(out)
    model = build()
    if resume:
        with torch.no_grad():
            for p in model.parameters(): p.add_(p.requires_grad*1.0)        # a resumed run must not lean on how the model came in
    fit(model, Shuffled(), step, Settings(**SETTINGS), probe, out, resume=resume, save=slow_save)
    done.set()


def slow_save(model, folder):
    "Several files, so that a kill can fall between them."
    from safetensors.torch import save_model
    for part in range(4): save_model(model, str(folder/f"model-{part}.safetensors"))
    save_model(model, str(folder/"model.safetensors"))


def files(out):
    "Everything a run left, timings apart."
    rows = [json.loads(line) for line in (out/"metrics.jsonl").read_text().splitlines()]
    for row in rows: row.pop("seconds", None)
    kept = {p.name: p.read_bytes() for p in (out/"checkpoint").iterdir() if p.name != "training.json"}
    return {"rows": rows, "settings": (out/"settings.json").read_text()} | kept


@pytest.fixture(scope="module")
def server():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "torch._dynamo", "numpy", "accelerate.utils", "safetensors.torch", "tqdm", "ftlib.train", "test_crash"])
    return context


def start(server, out):
    done = server.Event()
    process = server.Process(target=train, args=(str(out), done), daemon=True)
    process.start()
    return process, done


def test_ten_kills_change_nothing(server, tmp_path):
    process, done = start(server, tmp_path/"whole")
    process.join()
    assert done.is_set()
    rng, kills, in_a_save, out, steps = random.Random(0), 0, 0, tmp_path/"killed", []
    while not done.is_set() or kills == 0:
        process, done = start(server, out)
        if kills < 10:
            before = progress(out)
            until = before + rng.choice([1, 2, 3])                          # let it get somewhere, then strike at any moment
            while process.is_alive() and progress(out) < until: time.sleep(0.001)
            time.sleep(rng.random()*0.06)
            if process.is_alive():
                os.kill(process.pid, signal.SIGKILL)
                kills += 1
                process.join()
                in_a_save += any((out/f"checkpoint{end}").exists() for end in (".tmp", ".new", ".old"))
                steps.append(progress(out))
        process.join()
    assert kills == 10, f"only {kills} kills struck"
    assert in_a_save >= 1, f"no kill fell into a save (steps {steps})"
    whole, killed = files(tmp_path/"whole"), files(out)
    assert whole.keys() == killed.keys()
    for name in whole: assert whole[name] == killed[name], f"{name} differs"


def progress(out):
    "Rows that the run has written."
    try: return (out/"metrics.jsonl").read_bytes().count(b"\n")
    except OSError: return 0


@pytest.fixture(autouse=True)
def one_thread():
    "The models here are too small to share between cores."
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# --- every moment of the swap, one by one


@pytest.mark.parametrize("there,keeps", [
    ({"": "a"}, "a"), ({"": "a", ".tmp": "b"}, "a"), ({"": "a", ".new": "b"}, "b"), ({".old": "a", ".new": "b"}, "b"),
    ({"": "b", ".old": "a"}, "b"), ({".old": "a"}, "a"), ({"": "a", ".new": "b", ".old": "z"}, "b"), ({".tmp": "b"}, None), ({}, None)])
def test_recover_at_every_moment(tmp_path, there, keeps):
    for end, text in there.items():
        (tmp_path/f"checkpoint{end}").mkdir()
        (tmp_path/f"checkpoint{end}"/"f").write_text(text)
    recover(tmp_path/"checkpoint")
    assert (tmp_path/"checkpoint"/"f").read_text() == keeps if keeps else not (tmp_path/"checkpoint").exists()
    assert [p.name for p in tmp_path.iterdir()] == (["checkpoint"] if keeps else [])


def test_the_new_folder_counts_only_when_it_is_complete(tmp_path):
    with atomic_dir(tmp_path/"c") as folder: (folder/"f").write_text("a")
    with pytest.raises(KeyboardInterrupt):
        with atomic_dir(tmp_path/"c") as folder:
            (folder/"f").write_text("half")
            raise KeyboardInterrupt
    assert (tmp_path/"c"/"f").read_text() == "a" and len(list(tmp_path.iterdir())) == 1


def test_a_cut_checkpoint_names_its_file(tmp_path):
    class Stop(Exception): pass

    def stops(model, batch):
        if len(seen) == 20: raise Stop
        seen.append(1)
        return step(model, batch)
    seen = []
    with pytest.raises(Stop): fit(build(), Shuffled(), stops, Settings(**SETTINGS), out=tmp_path/"run")
    path = tmp_path/"run"/"checkpoint"/"training.safetensors"
    good = path.read_bytes()
    assert read_state(path)["step"] == 6
    for bad in (b"", good[:5], good[:300], good[:-1], b"x"*len(good), good[:200] + b"\xff"*50 + good[250:]):
        path.write_bytes(bad)
        with pytest.raises(ValueError, match="training.safetensors is cut short or damaged"):
            fit(build(), Shuffled(), step, Settings(**SETTINGS), out=tmp_path/"run", resume=True)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="training.safetensors is missing"):
        fit(build(), Shuffled(), step, Settings(**SETTINGS), out=tmp_path/"run", resume=True)
