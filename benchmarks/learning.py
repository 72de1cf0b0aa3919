"""What is learned, over seeds: `python benchmarks/learning.py` fine-tunes the embedded model on the embedded tasks and writes
results/learning.json with a row for each seed. Scores are on the test split, never looked at while training."""
import sys
import time

from common import machine, matrix_rate, save

from ftlib.evaluate import new_classifier, score_classifier, scoring_split, train_run
from ftlib.settings import load_settings
from ftlib.tasks import TASKS

SEEDS, TASK_NAMES = (0, 1, 2), ("fever", "liar", "propaganda")


def one(task, seed):
    settings = load_settings(f"classify.{task}", profile="cpu", seed=seed)
    fresh, tokenizer = new_classifier(settings, list(TASKS[task].labels))
    before = score_classifier(fresh, tokenizer, scoring_split(task, "tiny", "test")[1], max_length=settings.max_length)
    start = time.perf_counter()
    run = train_run(settings, split="test")
    row = {"task": task, "seed": seed, "before": before["accuracy"], "accuracy": run.report["accuracy"], "accuracy_ci": run.report["accuracy_ci"],
           "macro_f1": run.report["f1"]["macro"], "n": run.report["n"], "steps": run.history[-1]["step"], "seconds": time.perf_counter() - start,
           "curve": [[r["step"], round(r["loss"], 4)] for r in run.history if "loss" in r]}
    print(row["task"], seed, f"{row['before']:.3f} → {row['accuracy']:.3f} in {row['seconds']:.0f} s", flush=True)
    return row


if __name__ == "__main__":
    rows = [one(task, seed) for task in TASK_NAMES for seed in SEEDS]
    save("learning", {"command": " ".join(["python", "benchmarks/learning.py", *sys.argv[1:]]), "machine": machine(),
                      "matrix_gflops": matrix_rate(), "rows": rows})
