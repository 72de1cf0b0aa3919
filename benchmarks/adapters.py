"""A LoRA step beside peft and a LoReFT step beside pyreft: `python benchmarks/adapters.py` times them in one process, in turns, measures
the peak memory of each in a process of its own, and writes results/adapters.json. float32, fused AdamW, dropout 0, SDPA, no compile, equal
token counts. 6 layers, 512 wide, 8,192 tokens, batches of 8 × 128: LoRA scores every token; LoReFT (rank 4, all block outputs, f1+l1, tied)
has prompts of 64 and scores the 64 after them. Attaching LoRA is timed on the shape of GPT-2 with 124M parameters.
"""
import gc
import json
import sys
import warnings

import torch
from common import (GPT2_124M, alternate, arguments, machine, matrix_rate, pair, peak_extra, peak_mb, profile, quartiles, qwen2, save,
                    seconds)

from ftlib.logps import completion_nll
from ftlib.lora import LoRAConfig, add_lora
from ftlib.optim import make_optimizer
from ftlib.reft import ReFTConfig, add_reft

SHAPE = dict(vocab_size=8192, n_embd=512, n_layer=6, n_head=8)
CASES = {"cpu": {"LoRA": {"shape": SHAPE, "batch": 8, "length": 128, "rounds": 25},
                 "LoReFT": {"shape": SHAPE, "batch": 8, "length": 128, "rounds": 25}}}
PEERS = {"LoRA": {"GPT2LM, ours": "GPT-2, peft", "GPT-2, ours": "GPT-2, peft", "Qwen2, ours": "Qwen2, peft"},
         "LoReFT": {"GPT2LM, ours": "GPT-2, pyreft", "GPT-2, ours": "GPT-2, pyreft", "Qwen2, ours": "Qwen2, pyreft"}}


def tokens(case):
    g = torch.Generator().manual_seed(1)
    return torch.randint(0, case["shape"]["vocab_size"], (case["batch"], case["length"]), generator=g)


def stepper(params, loss):
    "A step that trains `params` on what `loss()` returns."
    optimizer = torch.optim.AdamW([p for p in params if p.requires_grad], lr=1e-4, fused=True)
    def step():
        loss().backward()
        optimizer.step()
        optimizer.zero_grad()
    return step


def ours(model, case, prompt):
    "`completion_nll` on whatever requires a gradient."
    ids, optimizer = tokens(case), make_optimizer(model, 1e-4)
    mask, done = torch.ones_like(ids), torch.ones_like(ids)
    done[:, :prompt] = 0
    def step():
        total, n = completion_nll(model, ids, mask, done)
        (total/n).backward()
        optimizer.step()
        optimizer.zero_grad()
    return step


def peft_step(model, case):
    from peft import LoraConfig, get_peft_model
    model, ids = get_peft_model(model, LoraConfig(r=8, lora_alpha=16)).train(), tokens(case)
    return stepper(model.parameters(), lambda: model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids).loss)


def pyreft_step(model, case):
    import pyreft
    layers, d = case["shape"]["n_layer"], case["shape"]["n_embd"]
    make = lambda: pyreft.LoreftIntervention(embed_dim=d, low_rank_dimension=4, dtype=torch.float32)
    spots = [{"layer": i, "component": "block_output", "low_rank_dimension": 4, "intervention": make()} for i in range(layers)]
    reft, ids, half = pyreft.get_reft_model(model.train(), pyreft.ReftConfig(representations=spots)), tokens(case), case["length"]//2
    labels = ids.clone()
    labels[:, :half] = -100
    where = {"sources->base": (None, [[[0, half - 1]]*len(ids)]*layers)}
    call = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    return stepper(reft.parameters(), lambda: reft(call, unit_locations=where, labels=labels)[1].loss)


def contestants(name, case):
    "{who: step}: our model, transformers' GPT-2 and Qwen2 driven by us, and the peers."
    shape = case["shape"]
    (peer, own), (twin, _) = pair(shape), pair(shape)
    lora, reft = LoRAConfig(r=8), ReFTConfig(rank=4, tied=True)
    if name == "LoRA": add, prompt, other, label = (lambda m: add_lora(m, lora)), 1, peft_step, "peft"
    else: add, prompt, other, label = (lambda m: add_reft(m, reft)), case["length"]//2, pyreft_step, "pyreft"
    mine = {"GPT2LM, ours": own, "GPT-2, ours": twin, "Qwen2, ours": qwen2(shape)}
    return {f"GPT-2, {label}": other(peer, case), f"Qwen2, {label}": other(qwen2(shape), case),
            **{who: ours(add(model.train()), case, prompt) for who, model in mine.items()}}


def memory(case, name):
    "Peak bytes above the resting process of two steps; `name` is the case and the contestant."
    kind, who = name.split(": ")
    step = contestants(kind, case)[who]
    step()
    print(json.dumps(peak_extra(lambda: (step(), step()))))


def attaching(rounds):
    "Milliseconds to put LoRA on a model of GPT-2's shape, beside peft."
    from peft import LoraConfig, get_peft_model
    out = {"ftlib": [], "peft": []}
    for _ in range(rounds):
        peer, own = pair(GPT2_124M)
        out["ftlib"].append(1e3*seconds(lambda: add_lora(own, LoRAConfig(r=2))))
        out["peft"].append(1e3*seconds(lambda: get_peft_model(peer, LoraConfig(r=2, fan_in_fan_out=True))))
        gc.collect()
    return {who: quartiles(ms) for who, ms in out.items()}


def train_flops(name, case):
    "Multiply-adds times two of a step with frozen weights: two products a weight, causal attention, and a head on the scored tokens."
    shape, b, t = case["shape"], case["batch"], case["length"]
    d, layers, scored = shape["n_embd"], shape["n_layer"], b*(t - 1 if name == "LoRA" else t//2)
    return b*t*(4*12*layers*d*d + 3*layers*4*d*t/2) + 4*scored*shape["vocab_size"]*d


def measure(name, case):
    runs = contestants(name, case)
    times = {who: quartiles(v) for who, v in alternate(runs, case["rounds"]).items()}
    ceiling = matrix_rate()
    for who, row in times.items():
        if "Qwen2" not in who: row["share_of_ceiling"] = train_flops(name, case)/row["median"]/1e9/ceiling
        row["peak_mb"] = peak_mb(__file__, case, f"{name}: {who}", lambda: (runs[who](), runs[who]()), "cpu")
    return {"batch": case["batch"], "length": case["length"], "ceiling_gflops": ceiling, "times": times,
            "times_faster": {who: times[peer]["median"]/times[who]["median"] for who, peer in PEERS[name].items()},
            "profile": {who: profile(runs[who]) for who in list(runs)[:1] + ["GPT2LM, ours"]}}


def main(device, cases, smoke):
    results = {"machine": machine(), "matrix_gflops": matrix_rate(), "cases": {}}
    for name, case in cases.items():
        row = results["cases"][name] = measure(name, case)
        print(name, {k: round(v, 2) for k, v in row["times_faster"].items()}, {k: round(v["peak_mb"]) for k, v in row["times"].items()}, flush=True)
        if not smoke: save("adapters", results)
        gc.collect()
    results["attach_ms"] = attaching(2 if smoke else 7)
    print("attach", {who: round(v["median"], 1) for who, v in results["attach_ms"].items()})
    if not smoke: save("adapters", results)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    if sys.argv[1:2] == ["memory"]: memory(json.loads(sys.argv[2]), sys.argv[3])
    else: main(*arguments(CASES))
