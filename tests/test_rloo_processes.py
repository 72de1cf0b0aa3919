"RLOO in two processes with one micro-batch each equals one process with two: rewards, KL and advantages over all of them, loss and weights."
import json
import os
import sys
from pathlib import Path

import pytest
import torch
from launch import in_two_processes, result

HERE = Path(__file__).resolve()
CASES = {"plain": {}, "normalised": {"normalize": True, "updates": 2}, "masked, in the loss": {"mask_truncated": True, "kl_in": "loss"}}


def run(out, accumulation, **plan):
    "A run whose advantages are written down, a file a process."
    from models import build, random_rows

    from ftlib.groups import may_share
    from ftlib.rloo import copied, rloo_step
    from ftlib.rollouts import LocalEngine, Plan, Rollouts
    from ftlib.settings import load_settings
    from ftlib.train import fit
    model, prompts = build("gpt2_ours"), random_rows([1 + 3*i % 7 for i in range(13)], seed=3)
    def reward(completions, row): return [sum(map(int, text.split())) % 7/7 for text in completions]
    plan = Plan(**{"k": 3, "prompts": 2, "parts": 2, "beta": 0.2, "bad": "stop"} | plan)
    made = Rollouts(model, prompts, [{"prompt": str(i), "id": i} for i in range(13)], reward, LocalEngine(model, list(range(9)), 6),
                    lambda tokens: [" ".join(map(str, t)) for t in tokens], plan, reference=copied(model))
    assert may_share(model)
    step, seen = rloo_step(beta=0.2 if plan.kl_in == "loss" else 0.0), []
    def noting(model, batch):
        seen.append(batch["advantages"].tolist())
        return step(model, batch)
    settings = load_settings("rloo.gsm8k", profile="cpu", device="cpu", max_steps=8, lr=1e-3, accumulation=accumulation, log_every=1)
    fit(model, made, noting, settings, out=out)
    Path(f"{out}.advantages.{os.environ.get('RANK', 0)}").write_text(json.dumps(seen))


def everything(folder, accumulation):
    torch.set_num_threads(1)
    for name, plan in CASES.items(): run(folder/name, accumulation, **plan)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    "The same runs in two processes, launched once, and in this one."
    two, one = tmp_path_factory.mktemp("two"), tmp_path_factory.mktemp("one")
    in_two_processes(HERE, two)
    everything(one, accumulation=2)
    return one, two


def counted(weights):
    "Without the keys' biases: they shift all scores of a query alike, so their gradient is rounding alone, and Adam steps by its sign."
    return {k: torch.cat([w[:32], w[64:]]) if k.endswith("c_attn.bias") else w for k, w in weights.items()}


@pytest.mark.parametrize("case", CASES)
def test_two_processes_equal_one(folders, case):
    (one, rows1), (two, rows2) = (result(folder/case) for folder in folders)
    one, two = counted(one), counted(two)
    assert max((one[k] - two[k]).abs().max().item() for k in one) <= 1e-5 and len(rows1) == len(rows2) == 8
    for a, b in zip(rows1, rows2):
        assert a.keys() == b.keys()
        assert all(abs(a[k] - b[k]) <= 1e-5*max(1, abs(a[k])) for k in a), (a, b)
    assert len({r["reward"] for r in rows1}) > 2 and rows1[-1]["kl"] != 0


@pytest.mark.parametrize("case", CASES)
def test_advantages_are_over_all_processes(folders, case):
    one, two = folders
    whole = json.loads(Path(f"{one/case}.advantages.0").read_text())
    parts = [json.loads(Path(f"{two/case}.advantages.{rank}").read_text()) for rank in (0, 1)]
    assert len(whole) == 16 and [len(p) for p in parts] == [8, 8]
    for i in range(8):                                       # a step's two micro-batches, in whatever order one process took them
        want, found = torch.tensor(sorted(whole[2*i:2*i + 2])), torch.tensor(sorted(p[i] for p in parts))
        assert (want - found).abs().max() <= 1e-6*max(1, want.abs().max()) and want.abs().max() > 1e-3


if __name__ == "__main__":
    from ftlib.optim import join_workers
    everything(Path(sys.argv[1]), accumulation=1)
    join_workers(cpu=True).destroy_process_group()          # what exit does
