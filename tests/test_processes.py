"""Two processes equal one: same weights, same history, uneven last group included, in gradients, weights and rows."""
import json
import os
import sys
from pathlib import Path

import pytest
import torch
from launch import in_two_processes, result

HERE = Path(__file__).resolve()
# 11 micro-batches of unequal weight; a step takes accumulation × processes = 4 of them, so the last step of an epoch has 3: the first process
# has two of these and the second one; with 9 micro-batches the second process has none.
CASES = {"uneven": 11, "one process idle": 9}


def batches(n):
    "Micro-batches of different sizes."
    g = torch.Generator().manual_seed(0)
    sizes = [1 + 3*i % 7 for i in range(n)]
    return [{"x": torch.randn(s, 6, generator=g), "attention_mask": torch.ones(s, 6, dtype=torch.long), "id": [f"{i}-{j}" for j in range(s)]}
            for i, s in enumerate(sizes)]


def step(model, batch):
    "The layer `rare` is used by few micro-batches only, `unused` by none."
    out = model["out"](model["norm"](torch.tanh(model["in"](batch["x"]))))
    if len(batch["x"]) > 5: out = out + model["rare"](batch["x"])
    error = (out[:, 0] - batch["x"].sum(1))**2
    return error.sum(), len(error), {"large": (error > 1).sum()}


def train(out, n, accumulation, bad=False):
    "One run; what stops it is written beside its folder."
    from ftlib.settings import Settings
    from ftlib.train import fit
    from torch import nn
    torch.manual_seed(int(os.environ.get("RANK", 0)))       # every process starts elsewhere: the first one's weights count
    model = nn.ModuleDict({"in": nn.Linear(6, 16), "norm": nn.LayerNorm(16), "out": nn.Linear(16, 1), "rare": nn.Linear(6, 1),
                           "unused": nn.Linear(2, 2)})
    settings = Settings(epochs=3, accumulation=accumulation, lr=0.02, weight_decay=0.1, log_every=1, device="cpu", clip=0.5, save_every=4)
    source = batches(n)
    if bad: source[5]["x"][0, 0] = float("nan")
    try: fit(model, source, step, settings, out=out)
    except ValueError as e: Path(f"{out}.error.{os.environ.get('RANK', 0)}").write_text(str(e))


def everything(folder, accumulation):
    torch.set_num_threads(1)
    for name, n in CASES.items(): train(folder/name, n, accumulation)
    train(folder/"bad", 11, accumulation, bad=True)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    "The same runs in two processes, launched once, and in this one."
    two, one = tmp_path_factory.mktemp("two"), tmp_path_factory.mktemp("one")
    in_two_processes(HERE, two)
    everything(one, accumulation=4)
    return one, two


@pytest.mark.parametrize("case", CASES)
def test_two_processes_equal_one(folders, case):
    (one, rows1), (two, rows2) = (result(folder/case) for folder in folders)
    assert torch.equal(one["unused.weight"], two["unused.weight"])
    assert max((one[k] - two[k]).abs().max().item() for k in one) <= 1e-6
    assert len(rows1) == len(rows2) == 9
    for a, b in zip(rows1, rows2):
        assert a.keys() == b.keys()
        assert all(abs(a[k] - b[k]) <= 1e-5*max(1, abs(a[k])) for k in a), (a, b)


def test_two_processes_were_at_work(folders):
    marks = [json.loads((folder/"uneven"/"checkpoint"/"training.json").read_text()) for folder in folders]
    assert [m["same"]["processes"] for m in marks] == [1, 2]


def test_a_bad_batch_stops_every_process_with_the_same_words(folders):
    one, two = folders
    words = {path.read_text() for path in (two/"bad.error.0", two/"bad.error.1", one/"bad.error.0")}
    assert len(words) == 1 and "micro-batch 5 of the epoch (ids 5-0" in words.pop()
    assert not (two/"bad"/"checkpoint").exists()


def test_no_thread_outlives_the_group(folders):
    "One that does may find Python gone, and aborts the process."
    if not Path("/proc/self/task").exists(): pytest.skip("threads are counted in /proc, which this system lacks")
    assert [(folders[1]/f"threads.{rank}").read_text() for rank in (0, 1)] == ["0", "0"]


if __name__ == "__main__":
    from ftlib.optim import join_workers
    everything(Path(sys.argv[1]), accumulation=2)
    join_workers(cpu=True).destroy_process_group()          # what exit does
    left = [p for p in Path("/proc/self/task").glob("*/comm") if "pt_gloo" in p.read_text()]
    (Path(sys.argv[1])/f"threads.{os.environ['RANK']}").write_text(str(len(left)))
