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
TASKS = {"fever": "FEVER twin, 3 labels", "liar": "LIAR twin, 6 labels"}


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


def learning():
    "One line a task: accuracy before, and the accuracies of the seeds after."
    yield "| task | before | after, seeds 0, 1, 2 | 95 % interval of seed 0 | steps | seconds |"
    yield "|---|--:|--:|--:|--:|--:|"
    for task, what in TASKS.items():
        rows = sorted((r for r in load("learning")["rows"] if r["task"] == task), key=lambda r: r["seed"])
        low, high = rows[0]["accuracy_ci"]
        after = ", ".join(f"{r['accuracy']:.3f}" for r in rows)
        yield (f"| {what} | {rows[0]['before']:.3f} | {after} | {low:.3f} – {high:.3f} "
               f"| {rows[0]['steps']} | {statistics.median(r['seconds'] for r in rows):.0f} |")


if __name__ == "__main__":
    print("\n".join([*speed(), "", *gpu(), "", *learning()]))
