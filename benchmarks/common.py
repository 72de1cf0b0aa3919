"""What the benchmarks share: the machine's ceiling, alternating timings in one process, peak memory of a fresh process, results as JSON.

`--device cuda` runs the GPU's cases, whose memory the GPU's own allocator counts; `--smoke` runs every case once or twice on
tiny shapes, on the GPU if there is one, and writes nothing: it shows that a script works.
"""
import argparse
import ctypes
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
RESULTS = HERE/"results"
SMALL = dict(vocab_size=2048, n_embd=256, n_layer=4, n_head=4)
GPT2_124M = dict(vocab_size=50257, n_embd=768, n_layer=12, n_head=12)
TINY = dict(vocab_size=2048, n_embd=64, n_layer=2, n_head=2)       # of --smoke
KINDS = {"matrix products": ("mm", "addmm", "bmm", "linear"), "attention": ("scaled_dot_product", "flash"), "gelu": ("gelu", "tanh", "pow"),
         "layer norm": ("layer_norm",), "optimiser": ("adamw",), "softmax and log": ("softmax", "logsumexp", "exp", "nll", "cross_entropy")}


def arguments(cases):
    "(device, {name: case}, whether to try only) from the command line; `cases` are those of each device."
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", choices=list(cases), default="cpu")
    parser.add_argument("--smoke", action="store_true", help="two rounds of tiny shapes, nothing is written")
    parser.add_argument("cases", nargs="*", help="which ones; all of the device's if none is named")
    asked = parser.parse_args()
    chosen = {name: cases[asked.device][name] for name in asked.cases or cases[asked.device]}
    torch.set_float32_matmul_precision("highest")     # float32 means float32: no TF32
    device = "cpu" if asked.smoke and not torch.cuda.is_available() else asked.device
    return device, {name: tiny(case) if asked.smoke else case for name, case in chosen.items()}, asked.smoke


def tiny(case): return case | {"shape": TINY, "rounds": 2}


def wait(device):
    "Until the GPU has done what it was told to do; the CPU does so at once."
    if device == "cuda": torch.cuda.synchronize()


def seconds(run, device="cpu"):
    wait(device)
    start = time.perf_counter()
    run()
    wait(device)
    return time.perf_counter() - start


def matrix_rate(n=0, repeats=8, device="cpu", dtype=torch.float32):
    "GFLOP/s of an n × n product: the best of some, as the ceiling of this run."
    n = n or {"cpu": 2048, "cuda": 8192}[device]
    a, b = (torch.rand(n, n, device=device, dtype=dtype) for _ in range(2))
    return 2*n**3/min(seconds(lambda: a @ b, device) for _ in range(repeats))/1e9


def copy_rate(n=2**28, repeats=8):
    "GB/s that the GPU's memory moves while it copies, bytes read and bytes written: the ceiling of what reads each weight once."
    a, b = torch.rand(n, device="cuda"), torch.empty(n, device="cuda")
    return 2*4*n/min(seconds(lambda: b.copy_(a), "cuda") for _ in range(repeats))/1e9


def alternate(contestants, rounds, warmup=2, device="cpu"):
    "{name: seconds of each round}; everybody runs once a round, in an order that turns with each round."
    names, times = list(contestants), {name: [] for name in contestants}
    for i in range(rounds + warmup):
        for name in names[i % len(names):] + names[:i % len(names)]:
            took = seconds(contestants[name], device)
            if i >= warmup: times[name].append(took)
    return times


def quartiles(values):
    low, median, high = statistics.quantiles(values, n=4)
    return {"median": median, "quartiles": [low, high], "rounds": len(values)}


def peak_extra(run):
    "Bytes the process's peak rose by while `run()` ran (Linux, glibc: what earlier work freed is given back to the system first)."
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    status = lambda key: int(next(line for line in open("/proc/self/status") if line.startswith(key)).split()[1])*1024
    before = status("VmRSS")
    run()
    return status("VmHWM") - before


def peak_on_gpu(run):
    "Bytes of tensors beyond those held before, at the peak of `run()`."
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    wait("cuda")
    return torch.cuda.max_memory_allocated() - before


def peak_mb(script, case, name, run, device):
    "MB that `run()` adds at its peak: counted by the GPU's allocator, or `script memory case name` in a process of its own."
    if device == "cuda": return peak_on_gpu(run)/2**20
    return (peak_extra(run) if case["shape"] == TINY else in_fresh_process(script, "memory", json.dumps(case), name))/2**20


def faster(times, ours):
    "How many times faster each of `ours` is than transformers' own way with a model of its kind."
    theirs = {name: "transformers Qwen2" if "Qwen2" in name else "transformers GPT-2" for name in ours}
    return {name: times[theirs[name]]["median"]/times[name]["median"] for name in ours if name in times}


def show(name, row):
    peaks = {k: round(v["peak_mb"]) for k, v in row["times"].items()}
    shares = {k: round(v["share_of_ceiling"], 3) for k, v in row["times"].items() if "share_of_ceiling" in v}
    print(name, {k: round(v, 2) for k, v in row["times_faster"].items()}, peaks, shares, flush=True)


def profile(run, device="cpu"):
    "Share of the time of `run()` by kind of work; on a GPU of its own time, and how much of the whole that is."
    from torch.profiler import ProfilerActivity as Of
    from torch.profiler import profile as record
    whole = min(seconds(run, device) for _ in range(1 if device == "cpu" else 3))
    with record(activities=[Of.CPU] if device == "cpu" else [Of.CPU, Of.CUDA]) as events: seconds(run, device)
    took = "self_cpu_time_total" if device == "cpu" else "self_device_time_total"
    rows = [(e.key.lower(), getattr(e, took)) for e in events.key_averages() if e.device_type.name == "CPU"]
    total, left = sum(us for _, us in rows) or 1, rows              # or 1: a GPU whose profiler sees nothing
    shares = {}
    for kind, words in KINDS.items():
        mine = [(k, us) for k, us in left if any(w in k for w in words)]
        left = [r for r in left if r not in mine]
        shares[kind] = sum(us for _, us in mine)/total
    shares["copies, sums, everything else"] = sum(us for _, us in left)/total
    return shares if device == "cpu" else shares | {"busy": total/1e6/whole}


def in_fresh_process(script, *args):
    "The JSON that `script args` prints as its last line, run alone: memory of one contestant is not another's."
    done = subprocess.run([sys.executable, str(script), *args], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def train_flops(shape, tokens, length):
    "Multiply-adds of a training step, times two: three matrix products a weight, and causal attention."
    d, layers = shape["n_embd"], shape["n_layer"]
    weights = layers*12*d*d + shape["vocab_size"]*d
    return tokens*(6*weights + 3*layers*4*d*length/2)


def machine(device="cpu"):
    import transformers
    here = {"torch": torch.__version__, "transformers": transformers.__version__, "python": platform.python_version(),
            "threads": torch.get_num_threads(), "cores": os.cpu_count(), "device": device}
    if device == "cpu": return here
    return here | {"device": torch.cuda.get_device_name(), "cuda": torch.version.cuda, "tf32": torch.backends.cuda.matmul.allow_tf32}


def save(name, results, device="cpu"):
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS/(f"{name}.json" if device == "cpu" else f"{name}_{device}.json")
    path.write_text(json.dumps(results, indent=1) + "\n")
    print(f"written: {path.relative_to(HERE.parent)}")


def measure_all(name, measure, cases, device, smoke, **more):
    "Measure every case, show it, and save what there is after each: a run that is cut short leaves what it measured."
    results = {"machine": machine(device), "matrix_gflops": matrix_rate(device=device), **more, "cases": {}}
    for case, given in cases.items():
        show(case, results["cases"].setdefault(case, measure(given, device)))
        if not smoke: save(name, results, device)
        gc.collect()
        wait(device)


def pair(shape, seed=0, device="cpu"):
    "(transformers' GPT-2, ours) with the same weights and no dropout."
    from transformers import GPT2Config as PeerConfig
    from transformers import GPT2LMHeadModel

    from ftlib.gpt2 import GPT2LM, GPT2Config
    torch.manual_seed(seed)
    off = dict(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    peer = GPT2LMHeadModel(PeerConfig(**shape, **off, bos_token_id=0, eos_token_id=0, attn_implementation="sdpa"))
    ours = GPT2LM(GPT2Config(**shape, **off))
    ours.load_state_dict(peer.state_dict())
    return peer.to(device), ours.to(device)


def qwen2(shape, device="cpu"):
    "A transformers Qwen2 of about this shape."
    from transformers import Qwen2Config, Qwen2ForCausalLM
    torch.manual_seed(0)
    return Qwen2ForCausalLM(Qwen2Config(
        vocab_size=shape["vocab_size"], hidden_size=shape["n_embd"], intermediate_size=4*shape["n_embd"],
        num_hidden_layers=shape["n_layer"], num_attention_heads=shape["n_head"], num_key_value_heads=max(1, shape["n_head"]//2),
        tie_word_embeddings=True, bos_token_id=0, eos_token_id=0, attn_implementation="sdpa")).to(device)
