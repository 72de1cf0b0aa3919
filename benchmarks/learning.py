"""What is learned, over seeds: `python benchmarks/learning.py` fine-tunes the embedded model on the embedded tasks in four ways (the whole
model, its head, LoRA, LoReFT) and writes results/learning.json with a row for each task, way and seed. Scores are on the test split, never
looked at while training; memory is what the training adds to the resting process at its peak."""
import sys
import time

from common import machine, matrix_rate, peak_extra, save

from ftlib.evaluate import new_classifier, score_classifier, scoring_split, train_run
from ftlib.settings import load_settings
from ftlib.tasks import TASKS

SEEDS, WAYS = (0, 1, 2), ("none", "head", "lora", "reft")
CLASSIFY, GENERATE = ("fever", "liar", "propaganda"), ("factcheck",)


def classified(task, settings):
    "Scores before and after, for a task with labels."
    fresh, tokenizer = new_classifier(settings, list(TASKS[task].labels))
    before = score_classifier(fresh, tokenizer, scoring_split(task, "tiny", "test")[1], max_length=settings.max_length)
    return {"before": before["accuracy"]}, lambda r: {"accuracy": r["accuracy"], "accuracy_ci": r["accuracy_ci"], "macro_f1": r["f1"]["macro"],
                                                      "macro_f1_ci": r["macro_f1_ci"]}


def generated(task, settings):
    "Nats per token of the completions before and after."
    return {}, lambda r: {"before": r["untrained"]["nats_per_token"], "nats": r["nats_per_token"], "nats_ci": r["nats_ci"]}


def one(task, way, seed):
    objective, read = ("classify", classified) if task in CLASSIFY else ("sft", generated)
    settings = load_settings(f"{objective}.{task}", profile="cpu", seed=seed, adapter=way)
    row, scores = read(task, settings)
    start, out = time.perf_counter(), {}
    peak = peak_extra(lambda: out.update(run=train_run(settings, split="test")))
    run, seconds = out["run"], time.perf_counter() - start
    row |= {"task": task, "adapter": way, "seed": seed, **scores(run.report), "n": run.report["n"], "trainable": run.report["trainable"],
            "parameters": run.report["parameters"], "steps": run.history[-1]["step"], "seconds": seconds, "peak_mb": peak/2**20,
            "curve": [[r["step"], round(r["loss"], 4)] for r in run.history if "loss" in r]}
    print(task, way, seed, f"{row['before']:.3f} → {row.get('accuracy', row.get('nats')):.3f} in {seconds:.0f} s, {row['trainable']:,} numbers", flush=True)
    return row


if __name__ == "__main__":
    asked = [task for task in (*CLASSIFY, *GENERATE) if task in sys.argv[1:]] or (*CLASSIFY, *GENERATE)
    rows = [one(task, way, seed) for task in asked for way in WAYS for seed in SEEDS]
    save("learning", {"command": " ".join(["python", "benchmarks/learning.py", *sys.argv[1:]]), "machine": machine(),
                      "matrix_gflops": matrix_rate(), "rows": rows})
