"""The commands as a user types them: `python benchmarks/commands.py [FOLDER] [TASK…]` trains and evaluates every supervised task from the command line on the
embedded twins and on the real rows in FOLDER (../shared/data if not given; without it the twins alone), with the cpu profile as it is, and writes
results/commands.json: seconds of both commands, and the scores they printed; the rows of tasks that are not named stay. No row of a data set is
kept, only numbers. Then the commands that stand in the tasks' tutorials, and whether they print what the tutorial's saved outputs show."""
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import RESULTS, machine, matrix_rate, save

from ftlib.compare import kept_scores
from ftlib.scores import bag_of_words
from ftlib.tasks import TASKS, load_task

PAGES = Path(__file__).resolve().parents[1]/"nbs"/"tutorials"
TUTORIALS = {"propaganda": "propaganda", "liar": "liar", "fever": "fever", "sentiment": "sentiment_paraphrase", "paraphrase": "sentiment_paraphrase",
             "factcheck": "explanations", "sonnets": "sonnets"}
TASKS_OF = {"classify": ("propaganda", "liar", "fever", "sentiment", "paraphrase"), "sft": ("factcheck", "sonnets")}


def command(*words):
    start = time.perf_counter()
    done = subprocess.run([Path(sys.executable).with_name("ftlib"), *map(str, words)], capture_output=True, text=True)
    if done.returncode: raise SystemExit(f"ftlib {' '.join(map(str, words))}: {done.stderr[-2000:]}")
    return time.perf_counter() - start, done.stdout


def numbers(out): return [line for line in out.splitlines() if line[:1] == "│"]


def both(words, task, split="validation"):
    "`ftlib train` with these words and `ftlib eval`: seconds and output of each, the training's report, and the scores that eval kept."
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)/"run"
        train, evaluate = command("train", *words, "--out", run), command("eval", run, "--split", split)
        report = json.loads((run/"report.json").read_text(encoding="utf-8"))
        scores = {r["score"]: [r["value"], r["low"], r["high"], r["n"]] for r in kept_scores(run)[task, split]["scores"]}
    return train, evaluate, report, scores


def one(objective, task, source, name):
    (trained, shown), (scored, again), report, scores = both((objective, task, "--source", source), task)
    row = {"task": task, "data": name, "train_s": trained, "eval_s": scored, "agree": numbers(shown) == numbers(again),
           "scores": {name: score for name, score in scores.items() if not name.startswith("F1 of")}}
    if "untrained" in report: row["before"] = {k: v for k, v in report["untrained"].items() if k in ("nats_per_token", "writing")}
    if TASKS[task].kind == "classify":
        rows, held = load_task(task, "train", source), load_task(task, "validation", source)
        words = bag_of_words(rows, held)
        row |= {"majority": report["majority"]["accuracy"], "bag of words": [words["accuracy"], *words["accuracy_ci"], words["f1"]["macro"]], "training rows": len(rows)}
    print(f"{task} {name}: train {trained:.0f} s, eval {scored:.0f} s, agree {row['agree']}", flush=True)
    return row


def walked(objective, task):
    "The tutorial's own commands: are the scores that they print those that its cells show?"
    cells = json.loads((PAGES/f"{TUTORIALS[task]}.ipynb").read_text(encoding="utf-8"))["cells"]
    prose = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    outputs = json.dumps([cell.get("outputs", []) for cell in cells])
    words, run = re.search(rf"ftlib train ({objective} {task} [^`\n]*?--set max_steps[^`\n]*?) --out (runs/[\w-]+)", prose).groups()
    split = re.search(rf"ftlib eval {run}(?: --split (\w+))?", prose)[1] or "validation"
    *_, scores = both(words.split(), task, split)
    name, digits = ("accuracy", 3) if objective == "classify" else ("chrF", 1)
    told = "{:.{d}f} [{:.{d}f}, {:.{d}f}]".format(*scores[name][:3], d=digits)
    print(f"{TUTORIALS[task]}: {words}: {name} {told}, on the page: {told in outputs}", flush=True)
    return {"task": task, "command": f"ftlib train {words}", "split": split, "score": name, "printed": told, "on the page": told in outputs}


if __name__ == "__main__":
    named = [word for word in sys.argv[1:] if word in TASKS] or list(TUTORIALS)
    asked = [(objective, task) for objective, tasks in TASKS_OF.items() for task in tasks if task in named]
    folder = Path(next((word for word in sys.argv[1:] if word not in TASKS), Path(__file__).resolve().parents[2]/"shared"/"data"))
    sources = {"tiny": "tiny"} | ({"real": folder} if folder.is_dir() else {})
    path = RESULTS/"commands.json"
    kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    old, pages = ([r for r in kept.get(key, []) if r["task"] not in named] for key in ("rows", "tutorials"))
    rate = matrix_rate()
    new = [one(*case, source, name) | {"matrix_gflops": rate} for case in asked for name, source in sources.items()]
    pages += [walked(*case) for case in asked]
    rows, pages = (sorted(found, key=lambda r: list(TUTORIALS).index(r["task"])) for found in (old + new, pages))
    save("commands", {"command": "python benchmarks/commands.py FOLDER", "machine": machine(), "rows": rows, "tutorials": pages})
