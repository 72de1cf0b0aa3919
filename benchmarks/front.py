"""The short tables of the front page, each read from what produced it: `python benchmarks/front.py` prints them.

Results come from the saved outputs of the notebooks, differences from the parity tests, speeds from the benchmarks, minutes from the
notebooks' own words.
"""
import json
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))      # the front page runs this file from elsewhere
from tables import MODELS, load

NBS = Path(__file__).resolve().parent.parent/"nbs"
TECHNIQUES = ("classification", "temperature scaling", "LoRA", "ReFT", "SFT", "RLOO", "DPO", "reward model")
PEERS = {"gpt2": ("GPT-2: logits, loss, every gradient, cache", "transformers"), "logps": ("log-probabilities and their gradients", "transformers, trl"),
         "classify": ("classification", "transformers"), "lora": ("LoRA, rsLoRA, DoRA, merged or not", "peft"), "reft": ("ReFT, six kinds", "pyreft"),
         "sft": ("SFT, packed or not", "trl, transformers"), "rloo": ("RLOO: advantages, loss, several updates", "trl"),
         "dpo": ("DPO and its relatives, rewards too", "trl"), "reward_model": ("reward model", "trl")}


def cells(path): return json.loads(path.read_text(encoding="utf-8"))["cells"]


def text(lines): return lines if isinstance(lines, str) else "".join(lines)


def number(x): return f"{x:.1f}" if abs(x) >= 10 else f"{x:.2f}" if abs(x) >= 1 else f"{x:.3f}"


def result_rows(found):
    "The lines of a table of results, the technique linked to the notebook that showed it."
    yield "| technique | task | score | before | after | 95 % interval | n |"
    yield "|---|---|---|--:|--:|--:|--:|"
    for r in found:
        interval = " – ".join(map(number, r["interval"])) if r.get("interval") else ""
        yield (f"| [{r['technique']}]({r['notebook']}) | {r['task']} | {r['score']} | {number(r['before'])} | **{number(r['after'])}** "
               f"| {interval} | {r['n'] or ''} |")


def results(tutorials=False):
    "One line a result that a chapter shows, or that a tutorial does, in the order in which techniques are taught."
    from ftlib.figures import read_results
    found = [r for r in read_results(NBS) if r["notebook"].startswith("tutorials/") is tutorials]
    return result_rows(sorted(found, key=lambda r: TECHNIQUES.index(r["technique"])))


def parity():
    "One line a subject: the largest difference from the reference library over all models, in both precisions."
    rows = load("parity")["rows"]
    yield "| ours | beside | numbers compared | largest difference, float32 | float64 |"
    yield "|---|---|--:|--:|--:|"
    for subject, (what, peer) in PEERS.items():
        mine = [r for r in rows if r["subject"] == subject]
        single, double = ([r for r in mine if (r["tolerance"] <= 1e-9) is high] for high in (False, True))
        worst = lambda some: f"{max(r['largest'] for r in some):.0e}" if some else ""
        yield f"| {what} | {peer} | {sum(r['numbers'] for r in mine):,} | {worst(single)} | {worst(double)} |"


def line(what, peer, faster, memory):
    "A line of the table of speeds: with GPT2LM, and with transformers' own models in our loop where they were measured."
    return f"| {what} | {peer} | " + " | ".join(f"**{x:.2f}**" if x else "" for x in faster) + f" | {memory:.2f} |"


def fastest():
    "One line a kind of work: how many times as fast as the peer at its best, and our share of its peak memory."
    yield "| the same work | beside | GPT2LM | transformers' GPT-2, our loop | Qwen2, our loop | memory of GPT2LM, of theirs |"
    yield "|---|---|--:|--:|--:|--:|"
    for file, case, what in (("train_step", "124M", "a training step, 124M"), ("sampling", "124M, 8x8", "sampling, 124M, 8 prompts × 8 samples")):
        row = load(file)["cases"][case]
        own, theirs = (row["times"][name]["peak_mb"] for name in ("GPT2LM", "transformers GPT-2"))
        yield line(what, "transformers", [row["times_faster"]["GPT2LM"], None, None], own/theirs)
    took = lambda row: row["median"] if "median" in row else 1/row["tokens_per_second"]
    for file, case, what, peer, ours, peers in (
            ("adapters", "LoRA", "a step of LoRA", "peft", ["{}, ours"], ["{}, peft"]), ("adapters", "LoReFT", "a step of LoReFT", "pyreft", ["{}, ours"], ["{}, pyreft"]),
            ("preference", "SFT", "an epoch of SFT", "trl at its best", ["ftlib, {}", "ftlib packed, {}"], ["trl, {}", "trl by length, {}", "trl packed, {}"]),
            ("preference", "DPO, 70 + 45", "a DPO step", "trl", ["ftlib, {}"], ["trl, {}"]), ("rollout", "64 tokens", "an RLOO step, sampling included", "trl", ["ftlib, {}"], ["trl, {}"])):
        times = load(file)["cases"][case]["times"]
        best = lambda names, model: min((times[n.format(model)] for n in names), key=took)
        pairs = [(best(ours, own), best(peers, kind)) for own, kind in MODELS.items() if ours[0].format(own) in times and peers[0].format(kind) in times]
        yield line(what, peer, ([took(theirs)/took(own) for own, theirs in pairs] + [None]*3)[:3], pairs[0][0]["peak_mb"]/pairs[0][1]["peak_mb"])


def minutes(name):
    "(minutes to read, minutes of exercises, how many) as a notebook states them."
    found = [text(c["source"]) for c in cells(NBS/f"{name}.ipynb") if c["cell_type"] == "markdown"]
    read = re.search(r"(\d+) minutes to read", found[0])
    if not read: raise ValueError(f"nbs/{name}.ipynb does not say in its first cell how many 'minutes to read' it takes")
    exercises = [m[1] for t in found if (m := re.search(r"Exercise [\w.]+\b.*?\(≈ ?(\d+) min", t, flags=re.S))]
    return int(read[1]), sum(map(int, exercises)), len(exercises)


def chapters(listed):
    "The map: a line a notebook, from {name: what the reader will be able to do}."
    yield "| | notebook | you will | to read | exercises |"
    yield "|---|---|---|--:|--:|"
    for name, will in listed.items():
        read, exercises, n = minutes(name)
        place, _, short = name.rpartition("/")[2].partition("_") if re.match(r"\d\d_", name) else ("", "", name.rpartition("/")[2])
        yield f"| {place} | [{short}]({name}.ipynb) | {will} | {read} min | {f'{n}, {exercises} min' if n else ''} |"


def title(name):
    "The title of a notebook and its subtitle."
    first = next(text(c["source"]) for c in cells(NBS/f"{name}.ipynb") if c["cell_type"] == "markdown")
    return first.split("\n")[0].lstrip("# "), re.search(r"^> (.*)$", first, flags=re.M)[1]


def pages(names):
    "A line a notebook that is no chapter: its title and what it says of itself."
    yield "| | | to read | exercises |"
    yield "|---|---|--:|--:|"
    for name in names:
        read, exercises, n = minutes(name)
        yield f"| [{title(name)[0]}]({name}.ipynb) | {title(name)[1]} | {read} min | {f'{n}, {exercises} min' if n else ''} |"


if __name__ == "__main__": print("\n".join([*results(), "", *parity(), "", *fastest()]))
