"""The README's tables of figures, made from results/*.json: `python benchmarks/tables.py` prints them."""
import json
import statistics
from pathlib import Path

RESULTS = Path(__file__).resolve().parent/"results"
SPEED = {("train_step", "small"): "training step, small, 16 × 128 tokens", ("train_step", "124M"): "training step, 124M, 4 × 256 tokens",
         ("sampling", "small, batch 1"): "sampling, small, 1 prompt", ("sampling", "small, batch 16"): "sampling, small, 16 prompts",
         ("sampling", "small, 8x8"): "sampling, small, 8 prompts × 8 samples", ("sampling", "124M, batch 16"): "sampling, 124M, 16 prompts",
         ("sampling", "124M, 8x8"): "sampling, 124M, 8 prompts × 8 samples"}
GPU = {("train_step_cuda", f"{size}, {dtype}"): f"training step, {size}, {shape} tokens, {dtype}"
       for size, shape in (("small", "64 × 256"), ("124M", "8 × 1,024")) for dtype in ("float32", "bfloat16")}
GPU |= {("sampling_cuda", case): f"sampling, {what}" for case, what in {
    "small, batch 16, float32": "small, 16 prompts, float32", "124M, batch 1, bfloat16": "124M, 1 prompt, bfloat16",
    "124M, 8x8, float32": "124M, 8 prompts × 8 samples, float32", "124M, 8x8, bfloat16": "124M, 8 prompts × 8 samples, bfloat16",
    "124M, 64x8, bfloat16": "124M, 64 prompts × 8 samples, bfloat16"}.items()}
TASKS = {"propaganda": "propaganda twin, 14 labels", "liar": "LIAR twin, 6 labels", "fever": "FEVER twin, 3 labels"}
WAYS = {"none": "whole model", "head": "head", "lora": "LoRA, r = 2", "reft": "LoReFT, rank 4"}
STEPS = {("LoRA", "GPT2LM, ours"): "LoRA on `c_attn`, r = 8", ("LoRA", "GPT-2, ours"): "the same, transformers' GPT-2 in our loop",
         ("LoRA", "Qwen2, ours"): "LoRA on q and v, r = 8, Qwen2 in our loop", ("LoReFT", "GPT2LM, ours"): "LoReFT, rank 4, f1+l1, tied",
         ("LoReFT", "GPT-2, ours"): "the same, transformers' GPT-2 in our loop", ("LoReFT", "Qwen2, ours"): "the same, Qwen2 in our loop"}


def load(name): return json.loads((RESULTS/f"{name}.json").read_text(encoding="utf-8"))


def speed():
    "One line a case: seconds of both sides, how many times faster, shares of the ceiling, peak memory."
    yield "| what | transformers, s | ftlib, s | times faster | share of the ceiling (transformers) | peak memory, MB (transformers) |"
    yield "|---|--:|--:|--:|--:|--:|"
    for (file, case), what in SPEED.items():
        row = load(file)["cases"][case]
        peer, own = (row["times"][name] for name in ("transformers GPT-2", "GPT2LM"))
        both = lambda key, show: f"{show(own[key])} ({show(peer[key])})"
        yield (f"| {what} | {peer['median']:#.3g} | {own['median']:#.3g} | {row['times_faster']['GPT2LM']:.2f} "
               f"| {both('share_of_ceiling', lambda x: f'{100*x:.0f} %')} | {both('peak_mb', lambda x: f'{x:.0f}')} |")


def gpu():
    "One line a case measured on a GPU, in milliseconds; a sampling's ceiling is the rate at which the GPU's memory is read."
    yield "| what | transformers, ms | ftlib, ms | times faster | share of the ceiling (transformers) | peak memory, MB (transformers) |"
    yield "|---|--:|--:|--:|--:|--:|"
    for (file, case), what in GPU.items():
        if not (row := load(file)["cases"].get(case)): continue    # the card was lent for minutes: not every case had its turn
        peer, own = (row["times"][name] for name in ("transformers GPT-2", "GPT2LM"))
        ms = lambda x: f"{1e3*x['median']:#.3g}".rstrip(".")
        share = lambda x: f"{100*x.get('share_of_bandwidth', x['share_of_ceiling']):.0f} %"
        yield (f"| {what} | {ms(peer)} | {ms(own)} | {row['times_faster']['GPT2LM']:.2f} "
               f"| {share(own)} ({share(peer)}) | {own['peak_mb']:.0f} ({peer['peak_mb']:.0f}) |")


def adapters():
    "One line a model and adapter: a step of ours and of peft or pyreft on a model of the same kind."
    yield "| a step of | peft or pyreft, s | ftlib, s | times faster | peak memory, MB (theirs) |"
    yield "|---|--:|--:|--:|--:|"
    for (case, who), what in STEPS.items():
        times = load("adapters")["cases"][case]["times"]
        own, peer = times[who], times[("Qwen2" if "Qwen2" in who else "GPT-2") + (", peft" if case == "LoRA" else ", pyreft")]
        yield (f"| {what} | {peer['median']:#.3g} | {own['median']:#.3g} | {peer['median']/own['median']:.2f} "
               f"| {own['peak_mb']:.0f} ({peer['peak_mb']:.0f}) |")


def seeds(task, way, score):
    "What the rows of a task and way share: scores of the seeds, numbers trained, medians of seconds and MB, and the row of seed 0."
    rows = sorted((r for r in load("learning")["rows"] if (r["task"], r["adapter"]) == (task, way)), key=lambda r: r["seed"])
    middle = lambda key: f"{statistics.median(r[key] for r in rows):.0f}"
    cost = f"{rows[0]['trainable']:,} | {middle('seconds')} | {middle('peak_mb')}"
    return ", ".join(f"{r[score]:.3f}" for r in rows), cost, rows[0]


def learning():
    "One line a task and way of training: accuracies of the seeds, macro-F1, and what it cost."
    yield "| task | trained | before | after, seeds 0, 1, 2 | 95 % interval of seed 0 | macro-F1 of seed 0 | numbers | seconds | MB |"
    yield "|---|---|--:|--:|--:|--:|--:|--:|--:|"
    for task, what in TASKS.items():
        for way, called in WAYS.items():
            after, cost, r = seeds(task, way, "accuracy")
            low, high = r["accuracy_ci"]
            yield f"| {what} | {called} | {r['before']:.3f} | {after} | {low:.3f} – {high:.3f} | {r['macro_f1']:.3f} | {cost} |"


def writing():
    "One line a way of training: nats per token of explanations in the test split."
    yield "| fact-check twin, trained | nats per token before | after, seeds 0, 1, 2 | 95 % interval of seed 0 | numbers | seconds | MB |"
    yield "|---|--:|--:|--:|--:|--:|--:|"
    for way, called in WAYS.items():
        after, cost, r = seeds("factcheck", way, "nats")
        yield f"| {called} | {r['before']:.3f} | {after} | {r['nats_ci'][0]:.3f} – {r['nats_ci'][1]:.3f} | {cost} |"


def demo():
    "One line a model that the demo trains: accuracy before and after, beside a bag of words."
    results = load("demo")["results"]
    first, second = results["classify"], results["adapters"]
    yield "| `ftlib demo` | before | bag of words | after |"
    yield "|---|--:|--:|--:|"
    for task, what in (("fever", "FEVER twin"), ("liar", "LIAR twin")):
        yield f"| {what}, whole model | {first[f'{task} before']:.3f} | {first[f'{task} bag of words']:.3f} | {first[f'{task} after']:.3f} |"
    for way in ("the head alone", "LoRA", "LoReFT"):
        yield f"| LIAR twin, {way} | {second['liar before']:.3f} | {first['liar bag of words']:.3f} | {second[f'{way} after']:.3f} |"


if __name__ == "__main__":
    print("\n".join([*speed(), "", *gpu(), "", *adapters(), "", *learning(), "", *writing(), "", *demo()]))
