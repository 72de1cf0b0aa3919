"""A DPO step and an epoch of SFT beside trl: `python benchmarks/preference.py` times both in one process, in turns, measures the peak memory
of each in a process of its own, and writes results/preference.json. float32, fused AdamW, no dropout, SDPA, no compile, no checkpointing.

trl's step is what its user runs: DPOTrainer's or SFTTrainer's `training_step` (its collator's batch, its fused head, its metrics) and its
optimizer, without clipping, schedule and logging. Ours is `dpo_step` or `sft_loss` (metrics too) and `make_optimizer`. Batches of pairs are
made before the clock starts, on both sides; an epoch of SFT includes each side's own loader. A share of the ceiling counts what the task
needs: every token of a prompt and of a reply once, the head on scored tokens alone, two products forward and four backward.

`--device cuda` writes results/preference_cuda.json.
"""
import gc
import json
import random
import sys
import tempfile
import warnings
from functools import partial

import torch
from common import (GPT2_124M, SMALL, TINY, alternate, arguments, matrix_rate, measure_all, pair, peak_extra, peak_mb, profile, quartiles, qwen2)

from ftlib.data import Batches
from ftlib.dpo import Reference, dpo_step, with_reference
from ftlib.optim import make_optimizer
from ftlib.pairs import collate_pairs
from ftlib.sft import collate_sft, pack, sft_loss

BETA, WIDTH = 0.1, 256            # WIDTH: tokens of a packed row


def pairs(shape, prompt, reply, rounds, precomputed=False, dtype="float32", **kw):
    "8 pairs whose lengths are spread by ± 40 % around these; the reference is scored in the step unless `precomputed`."
    return {"shape": shape, "prompt": prompt, "reply": reply, "rounds": rounds, "precomputed": precomputed, "dtype": dtype, "pairs": 8} | kw


def texts(shape, rounds, n=256, batch=16, dtype="float32", **kw):
    "`n` texts of 20 to 250 tokens, of which the second half is learnt."
    return {"shape": shape, "rounds": rounds, "n": n, "batch": batch, "dtype": dtype} | kw


def cases(dtype, shape, large, rounds, epochs):
    "The cases of a device; those of the large shape are measured for their memory, not timed."
    of = partial(pairs, dtype=dtype)
    return {"DPO, 70 + 45": of(shape, 70, 45, rounds), "DPO, 70 + 45, precomputed": of(shape, 70, 45, rounds, True),
            "DPO, 200 + 40": of(shape, 200, 40, rounds), "SFT": texts(shape, epochs, dtype=dtype),
            "DPO, 124M": of(large, 70, 45, 0, qwen=False), "DPO, 124M, precomputed": of(large, 70, 45, 0, True, qwen=False)}


CASES = {"cpu": cases("float32", SMALL, GPT2_124M, 25, 7),
         "cuda": {f"{name}, {dtype}": case for dtype in ("float32", "bfloat16") for name, case in cases(dtype, SMALL, GPT2_124M, 41, 7).items()}}


def half(device, dtype): return torch.autocast(device, torch.bfloat16, enabled=dtype == "bfloat16")


def draw(n, low, high, seed): return [random.Random(f"{seed}/{i}").randint(low, high) for i in range(n)]


def rows_of(case):
    "Token ids of the case's pairs or texts, by seed."
    g, vocab = torch.Generator().manual_seed(1), case["shape"]["vocab_size"]
    ids = lambda n: torch.randint(2, vocab, (n,), generator=g).tolist()
    if "pairs" not in case:
        n = 2*case["batch"] if case["shape"] == TINY else case["n"]
        return [{"input_ids": ids(n), "completion_mask": [0]*(n//2) + [1]*(n - n//2)} for n in draw(n, 20, 250, "texts")]
    lengths = [draw(case["pairs"], round(.6*n), round(1.4*n), key) for key, n in
               (("prompt", case["prompt"]), ("chosen", case["reply"]), ("rejected", case["reply"]))]
    return [{"prompt_ids": ids(p), "chosen_ids": ids(c), "rejected_ids": ids(r)} for p, c, r in zip(*lengths)]


# --- the models, twice: a policy and its reference with the same weights


def model_of(case, kind, device):
    if kind == "Qwen2": return qwen2(case["shape"], device)
    peer, own = pair(case["shape"], device=device)
    return own if kind == "GPT2LM" else peer


# --- trl


def settings(case, device, folder, **kw):
    return dict(output_dir=folder, use_cpu=device == "cpu", bf16=case["dtype"] == "bfloat16", gradient_checkpointing=False, report_to=[],
                disable_tqdm=True, logging_strategy="no", save_strategy="no", optim="adamw_torch_fused", learning_rate=1e-4,
                dataloader_pin_memory=False, **kw)


def trl_trainer(case, model, device, ref_model=None, **kw):
    "DPOTrainer or SFTTrainer on the case's token ids, with its optimizer."
    from datasets import Dataset, disable_progress_bars
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

    from ftlib.data import load_tokenizer
    disable_progress_bars()
    class OnIds(DPOTrainer):
        def _prepare_dataset(self, dataset, *args): return dataset
    rows, tokenizer = Dataset.from_list(rows_of(case)), load_tokenizer("tiny")
    with tempfile.TemporaryDirectory() as folder:
        same = settings(case, device, folder, **{"max_length": None} | kw)
        if "pairs" not in case:
            trainer = SFTTrainer(model, SFTConfig(**same, completion_only_loss=True), train_dataset=rows, processing_class=tokenizer)
        else:
            config = DPOConfig(**same, beta=BETA, precompute_ref_log_probs=case["precomputed"])
            trainer = OnIds(model, ref_model, config, train_dataset=rows, processing_class=tokenizer)
    trainer.create_optimizer()
    assert trainer.optimizer.defaults["fused"]
    trainer.current_gradient_accumulation_steps = 1
    return trainer


def trl_update(trainer, batch):
    trainer.training_step(trainer.model, batch)
    trainer.optimizer.step()
    trainer.optimizer.zero_grad()
    trainer._metrics["train"].clear()        # as logging would


def trl_dpo(case, kind, device):
    "A step of DPOTrainer; precomputed log-probs come from the policy before its training, and no reference is kept."
    reference = None if case["precomputed"] else model_of(case, kind, device)
    trainer = trl_trainer(case, model_of(case, kind, device), device, reference, per_device_train_batch_size=case["pairs"])
    batch = trainer._prepare_inputs(trainer.data_collator(list(trainer.train_dataset)))
    return lambda: trl_update(trainer, dict(batch))


def trl_sft(case, kind, device, **kw):
    "An epoch of SFTTrainer, its loader included."
    trainer = trl_trainer(case, model_of(case, kind, device), device, **{"per_device_train_batch_size": case["batch"]} | kw)
    loader = trainer.get_train_dataloader()
    def epoch():
        for batch in loader: trl_update(trainer, batch)
    return epoch


# --- ours


def update(model, optimizer, step, batch, dtype):
    with half(next(model.parameters()).device.type, dtype): total, n, _ = step(model, batch)
    (total/n).backward()
    optimizer.step()
    optimizer.zero_grad()


def to(batch, device): return {k: v.to(device) if torch.is_tensor(v) else v for k, v in batch.items()}


def our_dpo(case, kind, device):
    "A step on the same pairs, by `dpo_step`."
    model, examples = model_of(case, kind, device).train(), rows_of(case)
    reference = Reference() if case["precomputed"] else Reference(model_of(case, kind, device).requires_grad_(False))
    if case["precomputed"]: examples = with_reference(model, examples)
    batch, optimizer, step = to(collate_pairs(examples), device), make_optimizer(model, 1e-4), dpo_step(reference, BETA, "sigmoid")
    return lambda: update(model, optimizer, step, batch, case["dtype"])


def our_sft(case, kind, device, packed=False):
    "An epoch of length-bucketed batches, or of rows packed to `WIDTH` tokens; about as many tokens a batch."
    model, rows = model_of(case, kind, device).train(), rows_of(case)
    optimizer = make_optimizer(model, 1e-4)
    batches = Batches(pack(rows, WIDTH), case["batch"]//2, collate_sft) if packed else Batches(rows, case["batch"], collate_sft)
    def epoch():
        for batch in batches: update(model, optimizer, sft_loss, to(batch, device), case["dtype"])
    return epoch


# --- measuring


def contestants(case, device="cpu"):
    "{who: makes its run}: each is made when it is wanted, so that a process that measures memory holds one alone."
    make, kinds = (lambda f, kind, **kw: partial(f, case, kind, device, **kw)), ["GPT-2"] + ["Qwen2"]*case.get("qwen", True)
    if "pairs" in case:
        own = {f"ftlib, {kind}": make(our_dpo, kind) for kind in ["GPT2LM", *kinds]}
        return {f"trl, {kind}": make(trl_dpo, kind) for kind in kinds} | own
    out = {}
    for kind in kinds:
        out |= {f"trl, {kind}": make(trl_sft, kind), f"trl by length, {kind}": make(trl_sft, kind, train_sampling_strategy="group_by_length")}
        out[f"trl packed, {kind}"] = make(trl_sft, kind, packing=True, max_length=WIDTH, per_device_train_batch_size=case["batch"]//2)
    for kind in ("GPT2LM", *kinds):
        out |= {f"ftlib, {kind}": make(our_sft, kind), f"ftlib packed, {kind}": make(our_sft, kind, packed=True)}
    return out


def peer_of(who, times):
    "The fastest of trl's ways with a model of this kind."
    kind = "Qwen2" if "Qwen2" in who else "GPT-2"
    return min((name for name in times if name.startswith("trl") and name.endswith(kind)), key=lambda name: times[name]["median"])


def memory(case, name):
    "Peak bytes of two runs above the resting process, which holds weights, reference and optimizer state, but no gradient."
    run = contestants(case)[name]()
    run()
    print(json.dumps(peak_extra(lambda: (run(), run()))))


def gradient_mb(case):
    "What the gradients take of a peak."
    return sum(p.numel()*4 for p in pair(case["shape"])[1].parameters())/2**20


def seen(p, *replies): return p*p/2 + sum(n*(p + n/2) for n in replies)


def flops(case):
    "Multiply-adds times two that a step or an epoch needs."
    d, layers, vocab = (case["shape"][key] for key in ("n_embd", "n_layer", "vocab_size"))
    if "pairs" in case:
        lengths = [[len(row[key]) for key in ("prompt_ids", "chosen_ids", "rejected_ids")] for row in rows_of(case)]
        passes = 3 + (not case["precomputed"])
    else: lengths, passes = [(len(row["input_ids"]) - sum(row["completion_mask"]), sum(row["completion_mask"])) for row in rows_of(case)], 3
    tokens, scored = sum(map(sum, lengths)), sum(sum(row[1:]) for row in lengths)
    return passes*(2*12*layers*d*d*tokens + 4*layers*d*sum(seen(*row) for row in lengths) + 2*vocab*d*scored)


def counts(case):
    "How many tokens there are: real ones, each once, and what trl's batch of pairs holds."
    rows = rows_of(case)
    if "pairs" not in case: return {"tokens": sum(len(row["input_ids"]) for row in rows)}
    once = sum(len(ids) for row in rows for ids in row.values())
    longest = max(len(row["prompt_ids"]) + len(row[key]) for row in rows for key in ("chosen_ids", "rejected_ids"))
    ours = collate_pairs(rows)["input_ids"].numel()
    return {"tokens": once, "computed by trl": 2*len(rows)*longest, "computed by ftlib": ours}


def timed(case, device):
    "Times of the contestants, in turns; none for a case without rounds."
    if not case["rounds"]: return {name: {} for name in contestants(case, device)}, {}
    runs = {name: make() for name, make in contestants(case, device).items()}
    times = {name: quartiles(v) for name, v in alternate(runs, case["rounds"], device=device).items()}
    return times, {name: profile(runs[name], device) for name in runs if name.endswith(("trl, GPT-2", "GPT2LM"))}


def measure(case, device):
    "Times, ratios, shares of the ceiling, memory and profiles of one case."
    times, profiles = timed(case, device)
    ceiling, work, held = matrix_rate(device=device, dtype=getattr(torch, case["dtype"])), flops(case), gradient_mb(case)
    here = device == "cuda" or case["shape"] == TINY                     # else a process of its own makes what it measures
    gc.collect()
    for name, row in times.items():
        if row and "Qwen2" not in name: row["share_of_ceiling"] = work/row["median"]/1e9/ceiling
        if row and "pairs" not in case: row["tokens_per_second"] = counts(case)["tokens"]/row["median"]
        if here: (run := contestants(case, device)[name]())()
        row["peak_mb"] = peak_mb(__file__, case, name, lambda: (run(), run()), device)
        if "Qwen2" not in name: row["peak_above_gradients_mb"] = row["peak_mb"] - held
        if here: del run
    own = [name for name in times if name.startswith("ftlib") and times[name].get("median")]
    return {"case": case, **counts(case), "ceiling_gflops": ceiling, "times": times, "profile": profiles,
            "times_faster": {name: times[peer_of(name, times)]["median"]/times[name]["median"] for name in own}}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    if sys.argv[1:2] == ["memory"]: memory(json.loads(sys.argv[2]), sys.argv[3])
    else:
        device, cases, smoke = arguments(CASES)
        measure_all("preference", measure, cases, device, smoke)
