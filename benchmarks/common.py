"""What the benchmarks share: the machine's ceiling, alternating timings in one process, peak memory of a fresh process, results as JSON."""
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
KINDS = {"matrix products": ("mm", "addmm", "bmm", "linear"), "attention": ("scaled_dot_product", "flash"), "gelu": ("gelu", "tanh", "pow"),
         "layer norm": ("layer_norm",), "optimiser": ("adamw",), "softmax and log": ("softmax", "logsumexp", "exp", "nll", "cross_entropy")}


def matrix_rate(n=2048, repeats=8):
    "float32 GFLOP/s of an n × n product: the best of some, as the ceiling of this run."
    a, b, best = torch.rand(n, n), torch.rand(n, n), float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - start)
    return 2*n**3/best/1e9


def alternate(contestants, rounds, warmup=2):
    "{name: seconds of each round}; everybody runs once a round, in an order that turns with each round."
    names, times = list(contestants), {name: [] for name in contestants}
    for i in range(rounds + warmup):
        for name in names[i % len(names):] + names[:i % len(names)]:
            start = time.perf_counter()
            contestants[name]()
            if i >= warmup: times[name].append(time.perf_counter() - start)
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


def profile(run):
    "Share of the time of `run()` by kind of work."
    from torch.profiler import profile as record
    run()
    with record() as events: run()
    rows = [(e.key.lower(), e.self_cpu_time_total) for e in events.key_averages()]
    total, left = sum(us for _, us in rows), rows
    shares = {}
    for kind, words in KINDS.items():
        mine = [(k, us) for k, us in left if any(w in k for w in words)]
        left = [r for r in left if r not in mine]
        shares[kind] = sum(us for _, us in mine)/total
    return shares | {"copies, sums, everything else": sum(us for _, us in left)/total}


def in_fresh_process(script, *args):
    "The JSON that `script args` prints as its last line, run alone: memory of one contestant is not another's."
    done = subprocess.run([sys.executable, str(script), *args], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def train_flops(shape, tokens, length):
    "Multiply-adds of a training step, times two: three matrix products a weight, and causal attention."
    d, layers = shape["n_embd"], shape["n_layer"]
    weights = layers*12*d*d + shape["vocab_size"]*d
    return tokens*(6*weights + 3*layers*4*d*length/2)


def machine():
    import transformers
    return {"torch": torch.__version__, "transformers": transformers.__version__, "python": platform.python_version(),
            "threads": torch.get_num_threads(), "cores": os.cpu_count(), "device": "cpu"}


def save(name, results):
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS/f"{name}.json"
    path.write_text(json.dumps(results, indent=1) + "\n")
    print(f"written: {path.relative_to(HERE.parent)}")


def pair(shape, seed=0):
    "(transformers' GPT-2, ours) with the same weights and no dropout."
    from transformers import GPT2Config as PeerConfig
    from transformers import GPT2LMHeadModel

    from ftlib.gpt2 import GPT2LM, GPT2Config
    torch.manual_seed(seed)
    off = dict(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    peer = GPT2LMHeadModel(PeerConfig(**shape, **off, bos_token_id=0, eos_token_id=0, attn_implementation="sdpa"))
    ours = GPT2LM(GPT2Config(**shape, **off))
    ours.load_state_dict(peer.state_dict())
    return peer, ours


def qwen2(shape):
    "A transformers Qwen2 of about this shape."
    from transformers import Qwen2Config, Qwen2ForCausalLM
    torch.manual_seed(0)
    return Qwen2ForCausalLM(Qwen2Config(
        vocab_size=shape["vocab_size"], hidden_size=shape["n_embd"], intermediate_size=4*shape["n_embd"],
        num_hidden_layers=shape["n_layer"], num_attention_heads=shape["n_head"], num_key_value_heads=max(1, shape["n_head"]//2),
        tie_word_embeddings=True, bos_token_id=0, eos_token_id=0, attn_implementation="sdpa"))
