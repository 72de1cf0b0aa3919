"""Sampling beside transformers' generate: `python benchmarks/sampling.py` writes results/sampling.json. Temperature 1, no truncation, exactly
64 new tokens on both sides, float32; `8x8` is 8 samples of each of 8 prompts of 64 tokens.

`--device cuda` writes results/sampling_cuda.json: float32 without TF32, and bfloat16 weights.
"""
import json
import sys

import torch
from common import (GPT2_124M, SMALL, alternate, arguments, copy_rate, faster, matrix_rate, measure_all, pair, peak_extra, peak_mb, profile,
                    quartiles, qwen2)

from ftlib.generate import generate

NEW = 64
OURS = ("GPT2LM", "transformers GPT-2, our loop", "transformers Qwen2, our loop")


def case(shape, prompts, length, samples, rounds, dtype="float32"):
    return {"shape": shape, "prompts": prompts, "length": length, "samples": samples, "rounds": rounds, "dtype": dtype,
            "qwen": shape is SMALL}


CASES = {"cpu": {"small, batch 1": case(SMALL, 1, 32, 1, 15), "small, batch 16": case(SMALL, 16, 32, 1, 12),
                 "small, 8x8": case(SMALL, 8, 64, 8, 7), "124M, batch 16": case(GPT2_124M, 16, 32, 1, 4),
                 "124M, 8x8": case(GPT2_124M, 8, 64, 8, 3)},
         "cuda": {"small, batch 16, float32": case(SMALL, 16, 32, 1, 7),
                  "124M, batch 1, bfloat16": case(GPT2_124M, 1, 32, 1, 5, "bfloat16"),
                  "124M, 8x8, float32": case(GPT2_124M, 8, 64, 8, 5), "124M, 8x8, bfloat16": case(GPT2_124M, 8, 64, 8, 5, "bfloat16"),
                  "124M, 64x8, bfloat16": case(GPT2_124M, 64, 64, 8, 5, "bfloat16")}}


def contestants(case, device="cpu", new=NEW):
    shape, n, dtype = case["shape"], case["samples"], getattr(torch, case["dtype"])
    peer, own = (model.to(dtype) for model in pair(shape, device=device))
    ids = torch.randint(1, shape["vocab_size"], (case["prompts"], case["length"]), generator=torch.Generator().manual_seed(1)).to(device)
    mask = torch.ones_like(ids)
    def theirs(model):
        model.eval()
        return lambda: model.generate(ids, attention_mask=mask, max_new_tokens=new, min_new_tokens=new, do_sample=True, top_k=0,
                                      num_return_sequences=n, pad_token_id=0)
    def ours(model):
        model.eval()
        return lambda: generate(model, ids, mask, new, num_return_sequences=n)
    out = {"transformers GPT-2": theirs(peer), "GPT2LM": ours(own), "transformers GPT-2, our loop": ours(peer)}
    if case["qwen"]:
        out |= {"transformers Qwen2": theirs(qwen2(shape, device).to(dtype)),
                "transformers Qwen2, our loop": ours(qwen2(shape, device).to(dtype))}
    return out


def memory(case, name):
    run = contestants(case)[name]
    run()
    print(json.dumps(peak_extra(run)))


def work(case):
    "(operations of the matrix products, bytes of weights, keys and values that must be read) of one call."
    shape, b, t, n = case["shape"], case["prompts"], case["length"], case["samples"]
    weights, wide = shape["n_layer"]*12*shape["n_embd"]**2 + shape["vocab_size"]*shape["n_embd"], getattr(torch, case["dtype"]).itemsize
    cached = 2*shape["n_layer"]*shape["n_embd"]*b*n*(t + NEW/2)
    return 2*weights*(b*t + b*n*(NEW - 1)), NEW*wide*(weights + cached)


def measure(case, device):
    "Times, ratios, shares of the ceilings, memory and profiles of one case; a GPU's profile is of 8 tokens."
    runs, flops, read = contestants(case, device), *work(case)
    times = {name: quartiles(v) for name, v in alternate(runs, case["rounds"], warmup=1, device=device).items()}
    ceiling, copied = matrix_rate(device=device, dtype=getattr(torch, case["dtype"])), copy_rate() if device == "cuda" else None
    for name, row in times.items():
        if "Qwen2" not in name:
            row["share_of_ceiling"] = flops/row["median"]/1e9/ceiling
            if copied: row["share_of_bandwidth"] = read/row["median"]/1e9/copied
        row["peak_mb"] = peak_mb(__file__, case, name, runs[name], device)
    looked_at = runs if device == "cpu" else contestants(case, device, new=8)
    return {"prompts": case["prompts"], "prompt_tokens": case["length"], "samples": case["samples"], "ceiling_gflops": ceiling,
            **({"ceiling_gbs": copied} if copied else {}), "times": times, "times_faster": faster(times, OURS),
            "profile": {name: profile(looked_at[name], device) for name in ("transformers GPT-2", "GPT2LM")}}


if __name__ == "__main__":
    if sys.argv[1:2] == ["memory"]: memory(json.loads(sys.argv[2]), sys.argv[3])
    else:
        device, cases, smoke = arguments(CASES)
        measure_all("sampling", measure, cases, device, smoke, new_tokens=NEW)
