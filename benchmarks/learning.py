"""What is learned, over seeds: `python benchmarks/learning.py [TASK…]` fine-tunes the embedded model on the embedded tasks in four ways (the whole
model, its head, LoRA, LoReFT) and writes results/learning.json with a row for each task, way and seed; the rows of tasks that are not named stay.
Scores are on the test split, never looked at while training; memory is what the training adds to the resting process at its peak. The baselines,
the commonest training label and a bag of words, are of the same test rows."""
import json
import sys
import time

from common import RESULTS, machine, matrix_rate, peak_extra, save

from ftlib.evaluate import new_classifier, score_classifier, scoring_split, train_run
from ftlib.metrics import majority_baseline
from ftlib.scores import bag_of_words
from ftlib.settings import load_settings
from ftlib.tasks import TASKS, load_task

SEEDS, WAYS = (0, 1, 2), ("none", "head", "lora", "reft")
CLASSIFY, GENERATE = ("fever", "liar", "propaganda", "sentiment", "paraphrase"), ("factcheck", "sonnets")
CASES = {task: WAYS for task in (*CLASSIFY, *GENERATE)}


def numbers(report): return {key: report[key] for key in ("accuracy", "accuracy_ci", "n")} | {"macro_f1": report["f1"]["macro"], "macro_f1_ci": report["macro_f1_ci"]}


def baselines(task):
    "What needs no model, on the test rows."
    rows, held = load_task(task, "train", "tiny"), load_task(task, "test", "tiny")
    return {"majority": numbers(majority_baseline(rows["label"], held["label"], list(TASKS[task].labels))), "bag of words": numbers(bag_of_words(rows, held))}


def classified(task, settings):
    "Scores before and after, for a task with labels."
    fresh, tokenizer = new_classifier(settings, list(TASKS[task].labels))
    before = score_classifier(fresh, tokenizer, scoring_split(task, "tiny", "test")[1], max_length=settings.max_length)
    return {"before": before["accuracy"]}, lambda r: numbers(r) | {"ece": r["calibration"]["ece"], "ece_ci": r["calibration"]["ece_ci"]}


def generated(task, settings):
    "Nats per token of the completions before and after, and the scores of what is written."
    texts = lambda r: {"nats": r["nats_per_token"], "nats_ci": r["nats_ci"], "n": r["n"], "writing": r["writing"]}
    return {}, lambda r: {"before": r["untrained"]["nats_per_token"], "written before": r["untrained"]["writing"]} | texts(r)


def one(task, way, seed):
    objective, read = ("classify", classified) if task in CLASSIFY else ("sft", generated)
    settings = load_settings(f"{objective}.{task}", profile="cpu", seed=seed, adapter=way)
    row, scores = read(task, settings)
    start, out = time.perf_counter(), {}
    peak = peak_extra(lambda: out.update(run=train_run(settings, split="test")))
    run, seconds = out["run"], time.perf_counter() - start
    row |= {"task": task, "adapter": way, "seed": seed, **scores(run.report), "trainable": run.report["trainable"],
            "parameters": run.report["parameters"], "steps": run.history[-1]["step"], "seconds": seconds, "peak_mb": peak/2**20,
            "curve": [[r["step"], round(r["loss"], 4)] for r in run.history if "loss" in r]}
    print(task, way, seed, f"{row['before']:.3f} → {row.get('accuracy', row.get('nats')):.3f} in {seconds:.0f} s, {row['trainable']:,} numbers", flush=True)
    return row


def kept(asked):
    "Earlier rows and baselines of the tasks that are not measured again."
    path = RESULTS/"learning.json"
    old = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"rows": []}
    return [r for r in old["rows"] if r["task"] not in asked], {t: b for t, b in old.get("baselines", {}).items() if t not in asked}


if __name__ == "__main__":
    asked = [task for task in CASES if task in sys.argv[1:]] or list(CASES)
    rows, plain = kept(asked)
    for task in asked:
        if task in CLASSIFY: plain[task] = baselines(task)
        rate = matrix_rate()
        rows += [one(task, way, seed) | {"matrix_gflops": rate} for way in CASES[task] for seed in SEEDS]
        save("learning", {"command": "python benchmarks/learning.py [TASK…]", "machine": machine(), "baselines": plain, "rows": rows})
