"""What rewards teach, over seeds: `python benchmarks/learning_rloo.py [TASK…] [SEED…] [whole]` runs SFT on the embedded word problems, and on the embedded claims
with evidence, then from each start RLOO with the whole model, RLOO with LoRA (not with the word `whole`), and as much time of further SFT. Every model answers the same
held-out rows made by the world's generator: people, numbers and a fifth of the stories that no training row has. Writes
results/learning_rloo.json. Seconds are of the trainings alone, start-up and scores apart; the matrix rate is measured before each."""
import json
import sys
import tempfile
import time
from pathlib import Path

import torch
from common import RESULTS, machine, matrix_rate, save

from ftlib.adapters import adapter_disabled, add_adapter, start_model
from ftlib.completions import score_completions
from ftlib.gpt2 import load_model
from ftlib.jobs import plan_of
from ftlib.reasoning import solve_report
from ftlib.rewards import task_reward
from ftlib.rloo import copied, rloo_step, rollouts
from ftlib.settings import load_settings, set_seed
from ftlib.sft import sft_batches, sft_loss
from ftlib.tasks import load_task
from ftlib.tasks.embedded import twin_files
from ftlib.tasks.world import make_world
from ftlib.train import fit

SEEDS, N = (0, 1, 2), 500
TWINS = {"gsm8k": "gsm8k", "fever_reason": "fever_symmetric"}


def held_out(task, folder):
    "`N` rows of the test split's kind that are not in data/tiny: another seed of the same generator, read by the same reader."
    place = Path(folder)/TWINS[task]
    place.mkdir(parents=True)
    for name, text in twin_files(TWINS[task], make_world(), "test", N, 1).items(): (place/name).write_text(text)
    return load_task(task, "test", folder)


def score(task, model, tokenizer, held, settings, reference=None):
    "Greedy and sampled answers to the held-out rows, and how many of the greedy ones show steps."
    report = solve_report(model, tokenizer, held, task, reference=reference, answers=N, samples=4, max_new_tokens=settings.max_new_tokens)
    said = [row["said"] for row in report.pop("rows")]
    return report | {"with steps": sum(not text.startswith(("####", "Verdict")) for text in said)/len(said)}


def timed(*args, **kw):
    start = time.perf_counter()
    history = fit(*args, **kw)
    return history, time.perf_counter() - start


def sft(task, model, tokenizer, rows, settings, held=None):
    set_seed(settings.seed)
    nats = lambda m: {"held_out_nats": score_completions(m, tokenizer, held, answers=0, max_length=settings.max_length)["nats_per_token"]}
    return timed(model, sft_batches(rows, tokenizer, settings.batch_size, max_length=settings.max_length, seed=settings.seed), sft_loss, settings,
                 probe=nats if held is not None else None)


def reinforce(task, folder, rows, held, seed, adapter):
    "RLOO from the start in `folder`."
    settings = load_settings(f"rloo.{task}", profile="cpu", model=folder, seed=seed, adapter=adapter, device="cpu", log_every=4)
    model, tokenizer = start_model(folder, "cpu")
    reference = adapter_disabled if adapter == "lora" else copied(model)
    add_adapter(model, settings, still=True)
    reward, rate = task_reward(task, settings.reward, max_new_tokens=settings.max_new_tokens), matrix_rate()
    source = rollouts(model, tokenizer, rows, reward, reference=reference, **plan_of(settings))
    set_seed(seed)
    history, seconds = timed(model, source, rloo_step(settings.epsilon, settings.ratio), settings)
    curve = [{k: round(r[k], 4) for k in ("step", "task_reward", "length", "kl", "entropy", "no_signal") if k in r} for r in history if "loss" in r]
    return {"task": task, "what": "rloo", "adapter": adapter, "seed": seed, "seconds": seconds, "matrix_gflops": rate, "steps": settings.max_steps,
            "report": score(task, model, tokenizer, held, settings, reference), "curve": curve}


def one(task, seed, adapters):
    "The start and everything from there, a row each."
    rows = load_task(task, "train", "tiny")
    settings = load_settings(f"sft.{task}", profile="cpu", seed=seed, device="cpu", eval_every=30)
    asks = load_settings(f"rloo.{task}", profile="cpu")
    with tempfile.TemporaryDirectory() as folder:
        held = held_out(task, f"{folder}/rows")
        model, tokenizer = load_model("tiny", "cpu")
        rate = matrix_rate()
        history, seconds = sft(task, model, tokenizer, rows, settings, held)
        model.save_pretrained(f"{folder}/sft")
        tokenizer.save_pretrained(f"{folder}/sft")
        yield {"task": task, "what": "sft", "seed": seed, "seconds": seconds, "matrix_gflops": rate, "steps": history[-1]["step"],
               "report": score(task, model, tokenizer, held, asks), "curve": [r for r in history if "held_out_nats" in r]}
        for adapter in adapters:
            row = reinforce(task, f"{folder}/sft", rows, held, seed, adapter)
            if adapter == "none": spent = row["seconds"]
            yield row
        pace = sum(r["seconds"] for r in history if "loss" in r)/history[-1]["step"]
        more = load_settings(f"sft.{task}", profile="cpu", seed=seed + 100, device="cpu", max_steps=max(1, round(spent/pace)))
        model, _ = load_model(f"{folder}/sft", "cpu")
        history, seconds = sft(task, model, tokenizer, rows, more)
        yield {"task": task, "what": "more sft", "seed": seed, "seconds": seconds, "steps": history[-1]["step"],
               "report": score(task, model, tokenizer, held, asks)}


def keep(row):
    "Put a row into the file, in the place of one that was measured before."
    path = RESULTS/"learning_rloo.json"
    found = json.loads(path.read_text()) if path.is_file() else {"rows": []}
    same = lambda r: [r.get(key) for key in ("task", "what", "adapter", "seed")]
    rows = [r for r in found["rows"] if same(r) != same(row)] + [row]
    save("learning_rloo", {"command": "python benchmarks/learning_rloo.py [TASK…] [SEED…]", "machine": machine(), "n": N,
                           "rows": sorted(rows, key=lambda r: str(same(r)))})


if __name__ == "__main__":
    seeds, tasks = [int(a) for a in sys.argv[1:] if a.isdigit()] or SEEDS, [a for a in sys.argv[1:] if a in TWINS] or list(TWINS)
    adapters = ("none", "lora") if "whole" not in sys.argv[1:] else ("none",)
    for seed in seeds:
        for task in tasks:
            for row in one(task, seed, adapters):
                report = row["report"]
                print(task, seed, row["what"], row.get("adapter", ""), f"right {report['answers']['strict']['right']:.3f} · pass@4 {report['sampled']['pass@k']:.3f}",
                      f"· steps shown {report['with steps']:.2f} · well formed {report['sampled']['well_formed']:.3f}",
                      f"· KL {report['kl']['completion']:.2f}" if "kl" in report else "", f"· {row['seconds']:.0f} s", flush=True)
                keep(row | {"threads": torch.get_num_threads()})
