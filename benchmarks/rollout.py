"""A step of RLOO beside trl: `python benchmarks/rollout.py` times both in one process, in turns, measures the peak memory of each in a process
of its own, and writes results/rollout.json. float32, fused AdamW, no dropout, SDPA, no compile, no checkpointing.

A step samples 4 completions of at most 64 tokens for each of 8 prompts of mixed lengths, rewards them by their length, scores them with the
reference, and trains once on them. trl's step is RLOOTrainer's `training_step` (its generation, its scores, its fused head, its metrics) and
its optimizer, without clipping, schedule and logging; ours is `Rollouts`, `rloo_step` (curves too) and `make_optimizer`. Weights are random:
with one token that ends a text nearly all completions have 64 tokens; in the second case one token in sixty ends one, and rows finish early.
A share of the ceiling counts what the task needs: each prompt and each completion's token once a pass, one pass to sample, one of the reference,
one forward and two backward of the update, the head on completions alone.

`--device cuda` writes results/rollout_cuda.json.
"""
import gc
import json
import sys
import tempfile
import warnings
from functools import partial

import torch
from common import GPT2_124M, SMALL, TINY, alternate, arguments, matrix_rate, measure_all, pair, peak_extra, peak_mb, profile, quartiles, qwen2

from ftlib.data import load_tokenizer
from ftlib.optim import make_optimizer
from ftlib.rloo import encoded, rloo_step, rollouts
from ftlib.tasks import load_task

BETA, K, NEW = 0.05, 4, 64


def case(shape, rounds, ends=1, dtype="float32", **kw): return {"shape": shape, "rounds": rounds, "ends": ends, "dtype": dtype, "prompts": 8} | kw


def cases(dtype, rounds): return {"64 tokens": case(SMALL, rounds, dtype=dtype), "rows that end": case(SMALL, rounds, 24, dtype)}


CASES = {"cpu": cases("float32", 15),
         "cuda": {f"{name}, {dtype}": c for dtype in ("float32", "bfloat16")
                  for name, c in (cases(dtype, 21) | {"124M": case(GPT2_124M, 21, dtype=dtype, qwen=False)}).items()}}


def ends_of(case): return [1400 + i for i in range(case["ends"])]


def rows_of(case): return [{"prompt": row["prompt"]} for row in load_task("gsm8k", "train", "tiny").select(range(case["prompts"]))]


def by_length(completions): return [len(text)/100 for text in completions]


def model_of(case, kind, device):
    if kind == "Qwen2": return qwen2(case["shape"], device)
    peer, own = pair(case["shape"], device=device)
    return own if kind == "GPT2LM" else peer


def trl_step(case, kind, device):
    "A step of RLOOTrainer on the case's prompts, each four times as its sampler gives them; the reference is put in by hand."
    from datasets import Dataset, disable_progress_bars
    from trl import RLOOConfig, RLOOTrainer
    from trl.trainer.rloo_trainer import add_fused_lm_head
    disable_progress_bars()
    model, tokenizer, rows = model_of(case, kind, device), load_tokenizer("tiny"), rows_of(case)
    model.generation_config.eos_token_id = ends_of(case)
    with tempfile.TemporaryDirectory() as folder:
        config = RLOOConfig(
            folder, use_cpu=device == "cpu", bf16=case["dtype"] == "bfloat16", gradient_checkpointing=False, report_to=[], disable_tqdm=True,
            logging_strategy="no", save_strategy="no", optim="adamw_torch_fused", learning_rate=1e-4, dataloader_pin_memory=False, beta=0.0,
            num_generations=K, per_device_train_batch_size=K*len(rows), max_completion_length=NEW, disable_dropout=True)
        trainer = RLOOTrainer(model, lambda completions, **kw: by_length(completions), config, train_dataset=Dataset.from_list(rows),
                              processing_class=tokenizer)
    reference = model_of(case, kind, device).requires_grad_(False).eval()
    add_fused_lm_head(reference, temperature=1.0)                   # as the trainer does to a reference that it loads
    trainer.beta, trainer.ref_model = BETA, reference
    trainer.eos_token_ids = trainer.generation_config.eos_token_id = ends_of(case)
    trainer.create_optimizer()
    trainer.current_gradient_accumulation_steps = 1
    given = [row for row in rows for _ in range(K)]
    model.train()
    def step():
        trainer.training_step(model, given, None)
        trainer.optimizer.step()
        trainer.optimizer.zero_grad()
        trainer._metrics["train"].clear()
        trainer._step += 1
    return step


def our_step(case, kind, device):
    "A rollout and its update."
    model, rows = model_of(case, kind, device).train(), rows_of(case)
    tokenizer = load_tokenizer("tiny")
    source = rollouts(model, tokenizer, rows, lambda completions, row: by_length(completions), K, len(rows), max_new_tokens=NEW, beta=BETA,
                      dtype=case["dtype"], rescore=case["dtype"] != "float32")
    source.engine.how["eos_token_id"] = ends_of(case)
    optimizer, step, kind = make_optimizer(model, 1e-4), rloo_step(), torch.device(device).type
    def update():
        for batch in source:
            with torch.autocast(kind, torch.bfloat16, enabled=case["dtype"] == "bfloat16"): total, n, _ = step(model, to(batch, device))
            (total/n).backward()
            optimizer.step()
            optimizer.zero_grad()
    return update


def to(batch, device): return {k: {n: x.to(device) for n, x in v.items()} if isinstance(v, dict) else v.to(device) for k, v in batch.items()}


def contestants(case, device="cpu"):
    kinds = ["GPT-2"] + ["Qwen2"]*case.get("qwen", True)
    return {f"trl, {kind}": partial(trl_step, case, kind, device) for kind in kinds} | \
        {f"ftlib, {kind}": partial(our_step, case, kind, device) for kind in ["GPT2LM", *kinds]}


def memory(case, name):
    "Peak bytes of two steps above the resting process, which holds weights, reference and optimizer state, but no gradient."
    run = contestants(case)[name]()
    run()
    print(json.dumps(peak_extra(lambda: (run(), run()))))


def flops(case, tokens):
    "Multiply-adds times two that a step with so many sampled tokens needs."
    d, layers, vocab = (case["shape"][key] for key in ("n_embd", "n_layer", "vocab_size"))
    lengths = [len(ids) for ids in encoded(rows_of(case), load_tokenizer("tiny"))]
    said = tokens/(K*len(lengths))
    seen = sum(n*n/2 + K*said*(n + said/2) for n in lengths)
    return 5*(2*12*layers*d*d*(sum(lengths) + tokens) + 4*layers*d*seen + 2*vocab*d*tokens)


def sampled_tokens(case):
    "How many tokens a step of ours samples."
    model, rows = model_of(case, "GPT2LM", "cpu"), rows_of(case)
    source = rollouts(model, load_tokenizer("tiny"), rows, lambda completions, row: by_length(completions), K, len(rows), max_new_tokens=NEW)
    source.engine.how["eos_token_id"] = ends_of(case)
    return int(next(iter(source))["mask"].sum())


def measure(case, device):
    times, profiles = {name: {} for name in contestants(case, device)}, {}
    if case["rounds"]:
        runs = {name: make() for name, make in contestants(case, device).items()}
        times = {name: quartiles(v) for name, v in alternate(runs, case["rounds"], device=device).items()}
        profiles = {name: profile(runs[name], device) for name in runs if name.endswith(("trl, GPT-2", "GPT2LM"))}
        del runs
    ceiling, tokens = matrix_rate(device=device, dtype=getattr(torch, case["dtype"])), sampled_tokens(case)
    here = device == "cuda" or case["shape"] == TINY
    gc.collect()
    for name, row in times.items():
        if row: row["completions_per_second"] = K*case["prompts"]/row["median"]
        if row and "Qwen2" not in name: row["share_of_ceiling"] = flops(case, tokens)/row["median"]/1e9/ceiling
        if here: (run := contestants(case, device)[name]())()
        row["peak_mb"] = peak_mb(__file__, case, name, lambda: (run(), run()), device)
        if here: del run
    faster = {name: times[f"trl, {'Qwen2' if 'Qwen2' in name else 'GPT-2'}"]["median"]/times[name]["median"]
              for name in times if name.startswith("ftlib") and times[name].get("median")}
    return {"case": case, "tokens": tokens, "ceiling_gflops": ceiling, "times": times, "profile": profiles, "times_faster": faster}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    if sys.argv[1:2] == ["memory"]: memory(json.loads(sys.argv[2]), sys.argv[3])
    else:
        device, cases, smoke = arguments(CASES)
        measure_all("rollout", measure, cases, device, smoke)
