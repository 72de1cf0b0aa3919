"""Conversations as tokens beside the tokenizer alone: `python benchmarks/chat_stream.py` streams 100,000 conversations of SmolTalk's length
from a file through `load_task(…, streaming=True)` and `format_chats`, in batches of 1,000, and writes results/chat_stream.json.

The ceiling is `tokenizer(texts)` on the same texts, which already lie in memory, in the same batches: no reading, no roles, no mask; its
backend alone, called as `format_chats` calls it, is a higher one. All run in turn on each batch, after which the process's memory is
looked at; the peer, `apply_chat_template` with the assistant's mask, gets every tenth batch. A GPT-2 tokenizer of 50,257 tokens is used if ../shared/data has one, else the
embedded one. Texts are sentences of ../shared/data/smoltalk in random order if it is there, else sentences of the embedded twin.
"""
import argparse
import json
import random
import re
import tempfile
from itertools import islice
from pathlib import Path

from common import HERE, machine, matrix_rate, quartiles, save, seconds

CONTESTANTS = ("ftlib, streamed", "tokenizer alone", "its backend alone", "apply_chat_template")
ROWS, BATCH, PEER_EVERY, WARM = 100_000, 1_000, 10, 10_000
SHARED = HERE.parent.parent/"shared"/"data"
MEDIAN, SPREAD, TURNS = 700, 0.55, (1, 1, 2, 3, 3, 3)  # tokens of a conversation, log-normal; exchanges of a user and the assistant
TEMPLATE = ("{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'assistant' %}{% generation %}{{ m.content }}<|endoftext|>"
            "{% endgeneration %}{% else %}{{ m.content }}\n{% endif %}{% endfor %}")           # ftlib's own, for the peer


def sentences():
    "(what the texts are made of, where they are from)."
    real = SHARED/"smoltalk"/"train.jsonl"
    path = real if real.is_file() else HERE.parent/"data"/"tiny"/"smoltalk"/"train.jsonl"
    with open(path, encoding="utf-8") as f: contents = [m["content"] for line in f for m in json.loads(line)["messages"]]
    return [s for text in contents for s in re.split(r"(?<=[.!?\n])\s+", text) if s], "real sentences" if path == real else "embedded sentences"


def conversations(n, tokenizer):
    "Made-up conversations, of which the lengths are SmolTalk's."
    from ftlib.chat import encode_literally
    pool, rng = sentences()[0], random.Random(0)
    sizes = [len(ids) for ids in encode_literally(tokenizer, pool)]
    def say(tokens):
        told = []
        while tokens > 0:
            i = rng.randrange(len(pool))
            told, tokens = [*told, pool[i]], tokens - sizes[i]
        return " ".join(told)
    for _ in range(n):
        tokens, turns = min(rng.lognormvariate(0, SPREAD)*MEDIAN, 8_000), rng.choice(TURNS)
        messages = [{"role": "system", "content": say(20)}]*(rng.random() < 0.2)
        for _ in range(turns):
            share = rng.uniform(0.05, 0.4)*tokens/turns
            messages += [{"role": "user", "content": say(share)}, {"role": "assistant", "content": say(tokens/turns - share)}]
        yield messages


def as_text(messages):
    return "".join(f"<|{m['role']}|>{m['content']}" + ("<|endoftext|>" if m["role"] == "assistant" else "\n") for m in messages)


def resident():
    "MB that the process holds now (Linux)."
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS"))/1024


def measure(folder, tokenizer, n, batch):
    "Times of each batch of each contestant, tokens, memory after each batch."
    from ftlib.chat import format_chats
    from ftlib.tasks import load_task
    stream = load_task("smoltalk", "train", folder, streaming=True).iter(batch)
    with open(folder/"smoltalk"/"train.jsonl", encoding="utf-8") as lines:
        times, tokens, memory, kept = {name: [] for name in CONTESTANTS}, [], [], {}
        for i in range(n//batch):
            messages = [json.loads(line)["messages"] for line in islice(lines, batch)]
            texts = [as_text(m) for m in messages]
            def alone(): kept["alone"] = tokenizer(texts, add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]
            def backend(): kept["backend"] = [e.ids for e in tokenizer.backend_tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
            def ours(): kept["ours"] = format_chats(next(stream)["messages"], tokenizer)
            def peer(): tokenizer.apply_chat_template(messages, chat_template=TEMPLATE, return_dict=True, return_assistant_tokens_mask=True)
            pairs = list(zip(CONTESTANTS, (ours, alone, backend, peer)))
            for name, run in pairs[i % 4:] + pairs[:i % 4]:
                if run is not peer or i % PEER_EVERY == 0: times[name].append(seconds(run))
            tokens.append(sum(len(ids) for ids, _ in kept["ours"]))
            kept.clear()
            memory.append(resident())
    assert next(stream, None) is None
    return times, tokens, memory


def summary(times, tokens, memory, batch):
    "Tokens a second of each contestant, ratios batch by batch, and how memory went on after the first 10,000 rows."
    rows = {name: quartiles([n/s for n, s in zip(tokens[::PEER_EVERY] if name == "apply_chat_template" else tokens, took)])
            for name, took in times.items()}
    ours = times["ftlib, streamed"]
    shares = {name: quartiles([a/b for a, b in zip(times[name], ours)]) for name in CONTESTANTS[1:3]}
    late = memory[WARM//batch - 1:] or memory
    return {"tokens": sum(tokens), "tokens_a_row": sum(tokens)/len(tokens)/batch, "tokens_a_second": rows, "share_of": shares,
            "share_of_tokenizer_whole_run": sum(times["tokenizer alone"])/sum(ours),
            "memory_mb": {"at_10000_rows": late[0], "most_after": max(late), "at_the_end": late[-1]}, "memory_curve_mb": memory[::5]}


def main(n, batch, smoke):
    from ftlib.data import load_tokenizer
    own = SHARED/"gpt2_tokenizer"
    tokenizer = load_tokenizer(own if own.is_dir() else "tiny")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)/"smoltalk"/"train.jsonl"
        path.parent.mkdir()
        with open(path, "w", encoding="utf-8") as f:
            for messages in conversations(n, tokenizer): f.write(json.dumps({"messages": messages}) + "\n")
        found = summary(*measure(Path(folder), tokenizer, n, batch), batch)
    results = {"machine": machine(), "matrix_gflops": matrix_rate(), "rows": n, "batch": batch, "vocabulary": len(tokenizer),
               "texts": sentences()[1], **found}
    medians = {key: {k: round(v["median"], 3) for k, v in found[key].items()} for key in ("tokens_a_second", "share_of")}
    print(*medians.values(), found["memory_mb"])
    if not smoke: save("chat_stream", results)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--smoke", action="store_true", help="2,000 rows in batches of 100, nothing is written")
    asked = parser.parse_args()
    main(*((2_000, 100, True) if asked.smoke else (ROWS, BATCH, False)))
