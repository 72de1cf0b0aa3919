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
TASKS = {"propaganda": "propaganda twin, 14 labels", "liar": "LIAR twin, 6 labels", "fever": "FEVER twin, 3 labels",
         "sentiment": "sentiment twin, 5 labels", "paraphrase": "paraphrase twin, 2 labels"}
WAYS = {"none": "whole model", "head": "head", "lora": "LoRA, r = 2", "reft": "LoReFT, rank 4"}
STEPS = {("LoRA", "GPT2LM, ours"): "LoRA on `c_attn`, r = 8", ("LoRA", "GPT-2, ours"): "the same, transformers' GPT-2 in our loop",
         ("LoRA", "Qwen2, ours"): "LoRA on q and v, r = 8, Qwen2 in our loop", ("LoReFT", "GPT2LM, ours"): "LoReFT, rank 4, f1+l1, tied",
         ("LoReFT", "GPT-2, ours"): "the same, transformers' GPT-2 in our loop", ("LoReFT", "Qwen2, ours"): "the same, Qwen2 in our loop"}

PAIRS = {"DPO, 70 + 45": "prompts of 70, replies of 45, reference scored in the step", "DPO, 70 + 45, precomputed": "the same, reference scored before",
         "DPO, 200 + 40": "prompts of 200, replies of 40, reference scored in the step", "DPO, 124M": "124M, 70 + 45, reference scored in the step",
         "DPO, 124M, precomputed": "124M, the same, reference scored before"}
ROLLS = {"64 tokens": "32 completions of 64 tokens", "rows that end": "the same, rows that end on their way"}
MODELS = {"GPT2LM": "GPT-2", "GPT-2": "GPT-2", "Qwen2": "Qwen2"}       # our model, and trl's to compare it with


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


def measured(name): return (RESULTS/f"{name}.json").exists()


def beside_trl(name, cases, heading, rate=False):
    "One line a case and model: a step of ours and of trl's trainer on a model of the same kind; large shapes have their memory alone."
    if not measured(name): return
    yield f"| {heading} | model in ftlib | trl, s | ftlib, s | times faster |{' completions/s |'*rate} share of the ceiling (trl) | peak memory, MB (trl) |"
    yield "|---|---|--:|--:|--:|--:|--:|" + "--:|"*rate
    for case, what in cases.items():
        times = load(name)["cases"][case]["times"]
        for own, kind in MODELS.items():
            if f"ftlib, {own}" not in times: continue
            mine, peer = times[f"ftlib, {own}"], times[f"trl, {kind}"]
            share = "{:.0f} % ({:.0f} %)".format(*(100*row["share_of_ceiling"] for row in (mine, peer))) if "share_of_ceiling" in mine else ""
            took = f"{peer['median']:#.3g} | {mine['median']:#.3g} | {peer['median']/mine['median']:.2f}" if "median" in mine else " | | "
            if rate: took += f" | {mine['completions_per_second']:.1f}" if "median" in mine else " | "
            mb = f"{mine['peak_mb']:.0f} ({peer['peak_mb']:.0f})"
            yield f"| {what} | {called(own)} | {took} | {share} | {mb} |"


def preference(): return beside_trl("preference", PAIRS, "a DPO step of 8 pairs")


def rollout(): return beside_trl("rollout", ROLLS, "an RLOO step: 8 prompts × 4 completions", rate=True)


def called(model): return model if model == "GPT2LM" else f"transformers' {model}"


def epochs():
    "One line a model: tokens a second in an epoch of SFT, trl's three ways of making batches and our two."
    if not measured("preference"): return
    yield "| an epoch of SFT, model in ftlib | trl, tokens/s: as it comes, by length, packed | ftlib: bucketed, packed | times faster than trl's best | peak memory, MB (trl) |"
    yield "|---|--:|--:|--:|--:|"
    row = load("preference")["cases"]["SFT"]
    for own, kind in MODELS.items():
        rate = lambda names: ", ".join(f"{row['times'][name]['tokens_per_second']:,.0f}" for name in names)
        mb = lambda names: ", ".join(f"{row['times'][name]['peak_mb']:.0f}" for name in names)
        mine, theirs = [f"ftlib{way}, {own}" for way in ("", " packed")], [f"trl{way}, {kind}" for way in ("", " by length", " packed")]
        faster = ", ".join(f"{row['times_faster'][name]:.2f}" for name in mine)
        yield f"| {called(own)} | {rate(theirs)} | {rate(mine)} | {faster} | {mb(mine)} ({mb(theirs)}) |"


def seeds(task, way, score):
    "What the rows of a task and way share: scores of the seeds, numbers trained, medians of seconds and MB, and the row of seed 0."
    rows = sorted((r for r in load("learning")["rows"] if (r["task"], r["adapter"]) == (task, way)), key=lambda r: r["seed"])
    middle = lambda key: f"{statistics.median(r[key] for r in rows):.0f}"
    cost = f"{rows[0]['trainable']:,} | {middle('seconds')} | {middle('peak_mb')}"
    return ", ".join(f"{r[score]:.3f}" for r in rows), cost, rows[0]


def learning():
    "One line a task and way of training: accuracies of the seeds beside a bag of words, macro-F1, and what it cost."
    plain = load("learning")["baselines"]
    yield "| task | trained | before | bag of words | after, seeds 0, 1, 2 | 95 % interval of seed 0 | macro-F1 of seed 0 | numbers | seconds | MB |"
    yield "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|"
    for task, what in TASKS.items():
        for way, called in WAYS.items():
            after, cost, r = seeds(task, way, "accuracy")
            low, high = r["accuracy_ci"]
            words = plain[task]["bag of words"]["accuracy"]
            yield f"| {what} | {called} | {r['before']:.3f} | {words:.3f} | {after} | {low:.3f} – {high:.3f} | {r['macro_f1']:.3f} | {cost} |"


def texts(task, way, score, digits):
    "A score of what was written: before, and after with each seed."
    rows = sorted((r for r in load("learning")["rows"] if (r["task"], r["adapter"]) == (task, way)), key=lambda r: r["seed"])
    return f"{rows[0]['written before'][score]:.{digits}f} → " + ", ".join(f"{r['writing'][score]:.{digits}f}" for r in rows)


def writing():
    "One line a way of training: nats per token of explanations in the test split, chrF, and the verdict that a reader guesses."
    yield "| fact-check twin, trained | nats per token, before → seeds 0, 1, 2 | chrF | verdict read as stated | numbers | seconds | MB |"
    yield "|---|--:|--:|--:|--:|--:|--:|"
    for way, called in WAYS.items():
        after, cost, r = seeds("factcheck", way, "nats")
        yield f"| {called} | {r['before']:.3f} → {after} | {texts('factcheck', way, 'chrf', 1)} | {texts('factcheck', way, 'verdict', 2)} | {cost} |"


def verse():
    "One line a way of training: the form of sonnets in the test split, whose rhymes no training poem has."
    yield "| sonnets' twin, trained | fourteen lines, before → seeds 0, 1, 2 | syllables away from ten | rhymes kept | chrF | numbers | seconds | MB |"
    yield "|---|--:|--:|--:|--:|--:|--:|--:|"
    for way, called in (WAYS | {"lora": "LoRA, r = 8"}).items():
        _, cost, _ = seeds("sonnets", way, "nats")
        form = " | ".join(texts("sonnets", way, score, digits) for score, digits in (("fourteen", 2), ("metre", 2), ("rhymes", 2), ("chrf", 1)))
        yield f"| {called} | {form} | {cost} |"


def commands():
    "One line a task: what `ftlib train` and `ftlib eval` print for the validation rows, on the embedded twin and on real rows, and their seconds."
    yield "| `ftlib train`, cpu profile | rows | score | before | bag of words | after | 95 % interval | n | train, s | eval, s |"
    yield "|---|---|---|--:|--:|--:|--:|--:|--:|--:|"
    for r in load("commands")["rows"]:
        score = next(name for name in ("chrF", "accuracy") if name in r["scores"])
        value, low, high, n = r["scores"][score]
        digits = 1 if score == "chrF" else 3
        before = r["before"]["writing"]["chrf"] if "before" in r else r["majority"]
        words = f"{r['bag of words'][0]:.3f}" if "bag of words" in r else ""
        show = lambda x: f"{x:.{digits}f}"
        yield (f"| {r['task']} | {'embedded' if r['data'] == 'tiny' else 'real'} | {score} | {show(before)} | {words} | {show(value)} "
               f"| {show(low)} – {show(high)} | {n} | {r['train_s']:.0f} | {r['eval_s']:.0f} |")


def reinforced():
    "One line a task and way: held-out rows that greedy answers solve, before and after, over seeds; what the start's further SFT reaches."
    if not measured("learning_rloo"): return
    rows = load("learning_rloo")["rows"]
    yield ("| twin, trained | right, SFT start → RLOO, seeds 0, 1, 2 | gained | as much time of more SFT | pass@4 | steps shown | well formed "
           "| KL, nats a completion | seconds, SFT + RLOO |")
    yield "|---|--:|--:|--:|--:|--:|--:|--:|--:|"
    for task, what in (("gsm8k", "word problems"), ("fever_reason", "claims with evidence")):
        of = lambda what, adapter="none": sorted((r for r in rows if (r["task"], r["what"]) == (task, what) and r.get("adapter", "none") == adapter), key=lambda r: r["seed"])
        right = lambda r: r["report"]["answers"]["strict"]["right"]
        starts, more = of("sft"), of("more sft")
        for way, called in (("none", "whole model"), ("lora", "LoRA")):
            runs = of("rloo", way)
            if not runs: continue
            both = [(right(a), right(b)) for a, b in zip(starts, runs)]
            middle = lambda values: statistics.median(values)
            change = lambda read, digits=2: f"{middle(read(r) for r in starts):.{digits}f} → {middle(read(r) for r in runs):.{digits}f}"
            yield (f"| {what}, {called} | " + ", ".join(f"{a:.3f} → {b:.3f}" for a, b in both) + f" | {middle(b - a for a, b in both):+.3f} | "
                   + ", ".join(f"{right(r):.3f}" for r in more) + f" | {change(lambda r: r['report']['sampled']['pass@k'])} | {change(lambda r: r['report']['with steps'])} "
                   f"| {change(lambda r: r['report']['sampled']['well_formed'])} | {middle(r['report']['kl']['completion'] for r in runs):.2f} "
                   f"| {middle(r['seconds'] for r in starts):.0f} + {middle(r['seconds'] for r in runs):.0f} |")


def preferred():
    "One line a way of training: win rates by the exact judge and reward accuracy on the test split, over seeds."
    rows = load("learning_preferences")["rows"]
    seeds = ", ".join(str(seed) for seed in sorted({r["seed"] for r in rows}))
    yield (f"| UltraFeedback twin, trained | DPO over SFT, seed {seeds} | 95 % interval of seed 0 | SFT on the chosen alone over SFT | DPO over that "
           "| reward accuracy | judge's score, SFT → DPO | words | numbers | SFT + DPO, s |")
    yield "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    for way, called in (("none", "whole model"), ("lora", "LoRA")):
        mine = sorted((r for r in rows if r["adapter"] == way), key=lambda r: r["seed"])
        if not mine: continue
        wins = lambda name: ", ".join(f"{r['wins'][name]['rate']:.3f}" for r in mine)
        low, high = mine[0]["wins"]["dpo over sft"]["rate_ci"]
        middle = lambda show: statistics.median(show(r) for r in mine)
        accuracy = ", ".join(f"{r['preference']['accuracy']:.3f}" for r in mine)
        judge, words = ([middle(lambda r: r[key][name]) for name in ("sft", "dpo")] for key in ("judge", "words"))
        yield (f"| {called} | {wins('dpo over sft')} | {low:.3f} – {high:.3f} | {wins('chosen over sft')} | {wins('dpo over chosen')} | {accuracy} "
               f"| {judge[0]:.2f} → {judge[1]:.2f} | {words[0]:.1f} → {words[1]:.1f} | {mine[0]['trainable']:,} "
               f"| {middle(lambda r: r['sft_seconds']):.0f} + {middle(lambda r: r['dpo_seconds']):.0f} |")


def demo():
    "One line a model that the demo trains: a score before and after, beside a bag of words."
    results = load("demo")["results"]
    first, second, texts = results["classify"], results["adapters"], results["write"]
    yield "| `ftlib demo` | before | bag of words | after |"
    yield "|---|--:|--:|--:|"
    for task, what in (("fever", "FEVER twin"), ("liar", "LIAR twin")):
        yield f"| {what}, whole model: accuracy | {first[f'{task} before']:.3f} | {first[f'{task} bag of words']:.3f} | {first[f'{task} after']:.3f} |"
    for way in ("the head alone", "LoRA", "LoReFT"):
        yield f"| LIAR twin, {way}: accuracy | {second['liar before']:.3f} | {first['liar bag of words']:.3f} | {second[f'{way} after']:.3f} |"
    for key, what, digits in (("factcheck chrf", "explanations: chrF", 1), ("factcheck verdict", "explanations: verdict read as stated", 2),
                              ("sonnets fourteen", "sonnets: share with fourteen lines", 2), ("sonnets metre", "sonnets: syllables away from ten", 2),
                              ("sonnets rhymes", "sonnets: rhymes kept", 2)):
        yield f"| {what} | {texts[f'{key} before']:.{digits}f} |  | {texts[f'{key} after']:.{digits}f} |"
    third, fourth = results["preferences"], results.get("reinforce")
    yield f"| DPO after SFT: the exact judge's score, of 3 | {third['judge before']:.2f} |  | {third['judge after']:.2f} |"
    yield f"| DPO: win rate over the SFT model | 0.500 |  | {third['win rate']:.3f} |"
    if fourth is None: return
    yield f"| RLOO after SFT: word problems solved | {fourth['right before']:.3f} |  | {fourth['right after']:.3f} |"
    yield f"| RLOO: answers that show their steps | {fourth['steps shown before']:.2f} |  | {fourth['steps shown after']:.2f} |"


if __name__ == "__main__":
    print("\n".join([*speed(), "", *gpu(), "", *adapters(), "", *preference(), "", *epochs(), "", *learning(), "", *writing(), "", *verse(), "", *preferred(), "", *reinforced(), "", *rollout(), "", *commands(), "", *demo()]))
