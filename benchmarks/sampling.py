"""Sampling beside transformers' generate: `python benchmarks/sampling.py` writes results/sampling.json. Temperature 1, no truncation, exactly
64 new tokens on both sides, float32; `8x8` is 8 samples of each of 8 prompts of 64 tokens."""
import json
import sys

import torch
from common import GPT2_124M, SMALL, alternate, in_fresh_process, machine, matrix_rate, pair, peak_extra, profile, quartiles, qwen2, save

from ftlib.generate import generate

NEW = 64
CASES = {"small, batch 1": (SMALL, 1, 32, 1, 15), "small, batch 16": (SMALL, 16, 32, 1, 12), "small, 8x8": (SMALL, 8, 64, 8, 7),
         "124M, batch 16": (GPT2_124M, 16, 32, 1, 4), "124M, 8x8": (GPT2_124M, 8, 64, 8, 3)}


def contestants(case):
    shape, b, t, n, _ = CASES[case]
    peer, own = pair(shape)
    ids = torch.randint(1, shape["vocab_size"], (b, t), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    def theirs(model):
        model.eval()
        return lambda: model.generate(ids, attention_mask=mask, max_new_tokens=NEW, min_new_tokens=NEW, do_sample=True, top_k=0,
                                      num_return_sequences=n, pad_token_id=0)
    def ours(model):
        model.eval()
        return lambda: generate(model, ids, mask, NEW, num_return_sequences=n)
    out = {"transformers GPT-2": theirs(peer), "GPT2LM": ours(own), "transformers GPT-2, our loop": ours(peer)}
    if shape is SMALL: out |= {"transformers Qwen2": theirs(qwen2(shape)), "transformers Qwen2, our loop": ours(qwen2(shape))}
    return out


def memory(case, name):
    run = contestants(case)[name]
    run()
    print(json.dumps(peak_extra(run)))


def main(cases):
    results = {"machine": machine(), "matrix_gflops": matrix_rate(), "new_tokens": NEW, "cases": {}}
    for case in cases:
        shape, b, t, n, rounds = CASES[case]
        runs = contestants(case)
        times = {name: quartiles(v) for name, v in alternate(runs, rounds, warmup=1).items()}
        ceiling, weights = matrix_rate(), shape["n_layer"]*12*shape["n_embd"]**2 + shape["vocab_size"]*shape["n_embd"]
        flops = 2*weights*(b*t + b*n*(NEW - 1))
        for name, row in times.items():
            if "Qwen2" not in name: row["share_of_ceiling"] = flops/row["median"]/1e9/ceiling
            row["peak_mb"] = in_fresh_process(__file__, "memory", case, name)/2**20
        medians = {name: row["median"] for name, row in times.items()}
        ratios = {"GPT2LM": medians["transformers GPT-2"]/medians["GPT2LM"],
                  "transformers GPT-2, our loop": medians["transformers GPT-2"]/medians["transformers GPT-2, our loop"]}
        if shape is SMALL: ratios["transformers Qwen2, our loop"] = medians["transformers Qwen2"]/medians["transformers Qwen2, our loop"]
        results["cases"][case] = {"prompts": b, "prompt_tokens": t, "samples": n, "ceiling_gflops": ceiling, "times": times, "times_faster": ratios,
                                  "profile": {name: profile(runs[name]) for name in ("transformers GPT-2", "GPT2LM")}}
        print(case, {k: round(v, 2) for k, v in ratios.items()}, {k: round(v["peak_mb"]) for k, v in times.items()}, flush=True)
    save("sampling", results)


if __name__ == "__main__":
    if sys.argv[1:2] == ["memory"]: memory(*sys.argv[2:])
    else: main(sys.argv[1:] or list(CASES))
