"""A training step beside transformers: `python benchmarks/train_step.py` times both in one process, measures the peak memory of each in
a process of its own, and writes results/train_step.json. float32, fused AdamW, no dropout, SDPA, no compile, equal token counts."""
import gc
import json
import sys

import torch
from common import GPT2_124M, SMALL, alternate, in_fresh_process, machine, matrix_rate, pair, peak_extra, profile, quartiles, qwen2, save, train_flops

from ftlib.logps import completion_nll
from ftlib.optim import make_optimizer

CASES = {"small": (SMALL, 16, 128, 41), "124M": (GPT2_124M, 4, 256, 8)}


def theirs(model, ids):
    "transformers' own loss and backward."
    optimizer, mask = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True), torch.ones_like(ids)
    def step():
        model(input_ids=ids, attention_mask=mask, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return step


def ours(model, ids):
    "`completion_nll` and `make_optimizer` on the model: ours, or any transformers model."
    optimizer, mask = make_optimizer(model, 1e-4), torch.ones_like(ids)
    scored = mask.clone()
    scored[:, 0] = 0
    def step():
        total, tokens = completion_nll(model, ids, mask, scored)
        (total/tokens).backward()
        optimizer.step()
        optimizer.zero_grad()
    return step


def contestants(case):
    shape, b, t, _ = CASES[case]
    peer, own = pair(shape)
    twin, _ = pair(shape)
    ids = torch.randint(0, shape["vocab_size"], (b, t), generator=torch.Generator().manual_seed(1))
    out = {"transformers GPT-2": theirs(peer.train(), ids), "GPT2LM": ours(own.train(), ids),
           "transformers GPT-2, our loss": ours(twin.train(), ids)}
    if case == "small":
        out |= {"transformers Qwen2": theirs(qwen2(shape).train(), ids), "transformers Qwen2, our loss": ours(qwen2(shape).train(), ids)}
    return out


def memory(case, name):
    "Peak bytes above the resting process of two steps, weights and optimiser state included in neither."
    step = contestants(case)[name]
    step()
    print(json.dumps(peak_extra(lambda: (step(), step()))))


def main(cases):
    results = {"machine": machine(), "matrix_gflops": matrix_rate(), "cases": {}}
    for case in cases:
        shape, b, t, rounds = CASES[case]
        runs = contestants(case)
        times = {name: quartiles(v) for name, v in alternate(runs, rounds).items()}
        ceiling, flops = matrix_rate(), train_flops(shape, b*t, t)
        for name, row in times.items():
            if "Qwen2" not in name: row["share_of_ceiling"] = flops/row["median"]/1e9/ceiling
            row["peak_mb"] = in_fresh_process(__file__, "memory", case, name)/2**20
        medians = {name: row["median"] for name, row in times.items()}
        ratios = {"GPT2LM": medians["transformers GPT-2"]/medians["GPT2LM"],
                  "transformers GPT-2, our loss": medians["transformers GPT-2"]/medians["transformers GPT-2, our loss"]}
        if case == "small": ratios["transformers Qwen2, our loss"] = medians["transformers Qwen2"]/medians["transformers Qwen2, our loss"]
        results["cases"][case] = {"batch": b, "length": t, "ceiling_gflops": ceiling, "times": times, "times_faster": ratios,
                                  "profile": {name: profile(runs[name]) for name in ("transformers GPT-2", "GPT2LM")}}
        print(case, {k: round(v, 2) for k, v in ratios.items()}, {k: round(v["peak_mb"]) for k, v in times.items()}, flush=True)
        del runs
        gc.collect()
    save("train_step", results)


if __name__ == "__main__":
    if sys.argv[1:2] == ["memory"]: memory(*sys.argv[2:])
    else: main(sys.argv[1:] or list(CASES))
