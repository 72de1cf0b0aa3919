"""What preferences teach, over seeds: `python benchmarks/learning_preferences.py [SEED…]` runs SFT on the embedded conversations, then DPO on the embedded
pairs from there, with the whole model and with LoRA, and SFT on the chosen replies alone for as many steps; the tiny world's exact judge compares
what the three say to the held-out prompts. Last, the whole model with other weights on the chosen replies' likelihood. Writes
results/learning_preferences.json. Seconds are of the trainings with their scores, start-up apart."""
import sys
import tempfile
import time

from common import machine, matrix_rate, save

from ftlib.preferences import exact_reward, replies_to
from ftlib.reward_model import judged, win_rate
from ftlib.settings import load_settings
from ftlib.evaluate import scoring_split, train_run

SEEDS, WAYS, WEIGHTS = (0, 1, 2), ("none", "lora"), (0.0, 0.05, 0.2, 1.0)


def timed(settings, out=None):
    "A run, scored on the test split, and the seconds that it took."
    start = time.perf_counter()
    return train_run(settings, out, split="test"), time.perf_counter() - start


def one(way, seed):
    "SFT, DPO and SFT on the chosen replies from one start."
    held, rate = scoring_split("ultrafeedback", "tiny", "test")[1], matrix_rate()
    common = {"profile": "cpu", "seed": seed}
    with tempfile.TemporaryDirectory() as folder:
        _, first = timed(load_settings("sft.smoltalk", **common), f"{folder}/sft")
        more = common | {"model": f"{folder}/sft", "adapter": way, "answers": len(held)}
        dpo, second = timed(load_settings("dpo.ultrafeedback", **more))
        steps = dpo.history[-1]["step"]
        chosen, _ = timed(load_settings("sft.ultrafeedback", max_steps=steps, batch_size=dpo.settings["batch_size"], **more))
    said = {"sft": [r["said_before"] for r in dpo.rows], "dpo": [r["said"] for r in dpo.rows],
            "chosen": replies_to(chosen.model, chosen.tokenizer, held, dpo.settings["max_new_tokens"])}
    given = judged(held, said, exact_reward)
    row = {"adapter": way, "seed": seed, "steps": steps, "sft_seconds": first, "dpo_seconds": second, "matrix_gflops": rate,
           "trainable": dpo.report["trainable"], "n": len(held), "preference": dpo.report["preference"], "replies": dpo.report["replies"],
           "judge": {name: float(x.mean()) for name, x in given.items()},
           "words": {name: sum(len(t.split()) for t in texts)/len(texts) for name, texts in said.items()},
           "wins": {f"{a} over {b}": win_rate(given[a], given[b]) for a, b in (("dpo", "sft"), ("chosen", "sft"), ("dpo", "chosen"))},
           "curve": [{k: round(r[k], 4) for k in ("step", "loss", "chosen_reward", "rejected_reward", "accuracy")} for r in dpo.history if "loss" in r]}
    print(way, seed, " · ".join(f"{name} {w['rate']:.3f}" for name, w in row["wins"].items()), f"· accuracy {row['preference']['accuracy']:.3f}",
          f"· {first:.0f} + {second:.0f} s at {rate:.0f} GFLOP/s", row["judge"], flush=True)
    return row


def weights():
    "DPO of the whole model from one start, seed 0, with several weights on the chosen reply's likelihood: who ranks, and who can still speak."
    common = {"profile": "cpu", "seed": 0}
    with tempfile.TemporaryDirectory() as folder:
        train_run(load_settings("sft.smoltalk", **common), f"{folder}/sft")
        for weight in WEIGHTS:
            run = train_run(load_settings("dpo.ultrafeedback", model=f"{folder}/sft", sft_weight=weight, **common), split="test")
            row = {"sft_weight": weight, "steps": run.history[-1]["step"], **{key: run.report[key] for key in ("preference", "replies", "wins")}}
            print("weight", weight, f"· win rate {row['wins']['rate']:.3f} · accuracy {row['preference']['accuracy']:.3f}", flush=True)
            yield row


if __name__ == "__main__":
    found = {"command": "python benchmarks/learning_preferences.py [SEED…]", "machine": machine(), "rows": [], "weights": []}
    for key, made in (("rows", (one(way, seed) for seed in [int(seed) for seed in sys.argv[1:]] or SEEDS for way in WAYS)), ("weights", weights())):
        for row in made:
            found[key].append(row)
            save("learning_preferences", found)
