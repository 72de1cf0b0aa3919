"""A training step beside transformers: `python benchmarks/train_step.py` times both in one process, measures the peak memory of each in
a process of its own, and writes results/train_step.json. float32, fused AdamW, no dropout, SDPA, no compile, equal token counts.

`--device cuda` writes results/train_step_cuda.json: float32 without TF32, and bfloat16, by which both sides compute under autocast on
float32 weights, as `fit` does.
"""
import json
import sys

import torch
from common import (GPT2_124M, SMALL, alternate, arguments, faster, matrix_rate, measure_all, pair, peak_extra, peak_mb, profile, quartiles,
                    qwen2, train_flops)

from ftlib.logps import completion_nll
from ftlib.optim import make_optimizer


def case(shape, batch, length, rounds, dtype="float32", qwen=True):
    return {"shape": shape, "batch": batch, "length": length, "rounds": rounds, "dtype": dtype, "qwen": qwen}


CASES = {"cpu": {"small": case(SMALL, 16, 128, 41), "124M": case(GPT2_124M, 4, 256, 8, qwen=False)},
         "cuda": {f"{name}, {dtype}": case(shape, batch, length, rounds, dtype) for dtype in ("float32", "bfloat16")
                  for name, shape, batch, length, rounds in (("small", SMALL, 64, 256, 41), ("124M", GPT2_124M, 8, 1024, 15))}}
OURS = ("GPT2LM", "transformers GPT-2, our loss", "transformers Qwen2, our loss")


def half(ids, dtype): return torch.autocast(ids.device.type, torch.bfloat16, enabled=dtype == "bfloat16")


def theirs(model, ids, dtype):
    "transformers' own loss and backward."
    optimizer, mask = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True), torch.ones_like(ids)
    def step():
        with half(ids, dtype): loss = model(input_ids=ids, attention_mask=mask, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return step


def ours(model, ids, dtype):
    "`completion_nll` and `make_optimizer` on the model: ours, or any transformers model."
    optimizer, mask = make_optimizer(model, 1e-4), torch.ones_like(ids)
    scored = mask.clone()
    scored[:, 0] = 0
    def step():
        with half(ids, dtype): total, tokens = completion_nll(model, ids, mask, scored)
        (total/tokens).backward()
        optimizer.step()
        optimizer.zero_grad()
    return step


def contestants(case, device="cpu"):
    shape, dtype = case["shape"], case["dtype"]
    peer, own = pair(shape, device=device)
    twin, _ = pair(shape, device=device)
    ids = torch.randint(0, shape["vocab_size"], (case["batch"], case["length"]), generator=torch.Generator().manual_seed(1)).to(device)
    out = {"transformers GPT-2": theirs(peer.train(), ids, dtype), "GPT2LM": ours(own.train(), ids, dtype),
           "transformers GPT-2, our loss": ours(twin.train(), ids, dtype)}
    if case["qwen"]:
        out |= {"transformers Qwen2": theirs(qwen2(shape, device).train(), ids, dtype),
                "transformers Qwen2, our loss": ours(qwen2(shape, device).train(), ids, dtype)}
    return out


def memory(case, name):
    "Peak bytes above the resting process of two steps, weights and optimiser state included in neither."
    step = contestants(case)[name]
    step()
    print(json.dumps(peak_extra(lambda: (step(), step()))))


def measure(case, device):
    "Times, ratios, shares of the ceiling, memory and profiles of one case."
    runs, b, t = contestants(case, device), case["batch"], case["length"]
    times = {name: quartiles(v) for name, v in alternate(runs, case["rounds"], device=device).items()}
    ceiling, flops = matrix_rate(device=device, dtype=getattr(torch, case["dtype"])), train_flops(case["shape"], b*t, t)
    for name, row in times.items():
        if "Qwen2" not in name: row["share_of_ceiling"] = flops/row["median"]/1e9/ceiling
        row["peak_mb"] = peak_mb(__file__, case, name, lambda: (runs[name](), runs[name]()), device)
    return {"batch": b, "length": t, "ceiling_gflops": ceiling, "times": times, "times_faster": faster(times, OURS),
            "profile": {name: profile(runs[name], device) for name in ("transformers GPT-2", "GPT2LM")}}


if __name__ == "__main__":
    if sys.argv[1:2] == ["memory"]: memory(json.loads(sys.argv[2]), sys.argv[3])
    else:
        device, cases, smoke = arguments(CASES)
        measure_all("train_step", measure, cases, device, smoke)
