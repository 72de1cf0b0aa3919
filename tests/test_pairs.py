"Pairs: every flaw counted and named, windows, templates, and one row that scores as two do on every model."
import json
import re
import warnings

import pytest
import torch
from memory import can_measure, in_fresh_process
from models import MODELS, build, random_rows

from ftlib.chat import prompt_chat
from ftlib.data import load_tokenizer
from ftlib.logps import keeps_apart
from ftlib.pairs import (collate_apart, collate_pairs, flaw, last_stretch, pair_batches, pair_examples, pair_lengths, pair_logps, prompt_turns,
                         reply_text)
from ftlib.tasks import load_task


@pytest.fixture(scope="module")
def tokenizer(): return load_tokenizer("tiny")


def say(role, content): return {"role": role, "content": content}


GOOD = {"prompt": "How many goats?", "chosen": "Two.", "rejected": "Three."}
TALK = [say("system", "Be brief."), say("user", "How many goats?")]
FLAWS = [
    ({"rejected": "Two."}, "of identical replies"), ({"rejected": " Two.\n"}, "of identical replies"),
    ({"rejected": [say("assistant", "Two.")]}, "of identical replies"),
    ({"chosen": ""}, "with an empty reply"), ({"rejected": " \n"}, "with an empty reply"), ({"chosen": [say("assistant", "")]}, "with an empty reply"),
    ({"prompt": ""}, "without a prompt"), ({"prompt": "  "}, "without a prompt"), ({"prompt": None}, "without a prompt"), ({"prompt": []}, "without a prompt"),
    ({"prompt": 5}, "without a prompt"), ({"prompt": [say("system", "Be brief.")]}, "without a prompt"),
    ({"prompt": [*TALK, say("assistant", "Two.")]}, "without a prompt"),
    ({"prompt": [say("judge", "Well?")]}, "with the unknown role 'judge'"), ({"prompt": [say("User", "Well?")]}, "with the unknown role 'User'"),
    ({"prompt": [{"content": "Well?"}]}, "with the unknown role None"), ({"prompt": [{"content": "Well?"}, *TALK]}, "with the unknown role None"),
    ({"prompt": ["Well?"]}, "with a prompt that is no text"), ({"prompt": [say("user", None)]}, "with a prompt that is no text"),
    ({"prompt": [say("user", ["parts"])]}, "with a prompt that is no text"),
    ({"chosen": None}, "with a reply that is no text of the assistant's"), ({"chosen": 7}, "with a reply that is no text of the assistant's"),
    ({"chosen": []}, "with a reply that is no text of the assistant's"), ({"chosen": [say("user", "Two.")]}, "with a reply that is no text of the assistant's"),
    ({"chosen": [say("assistant", "Two."), say("assistant", "Four.")]}, "with a reply that is no text of the assistant's"),
    ({"chosen": [say("assistant", None)]}, "with a reply that is no text of the assistant's"),
    ({"chosen": [say("user", "Another question?"), say("assistant", "Two.")]}, "with a reply that is no text of the assistant's")]


@pytest.mark.parametrize("change, why", FLAWS)
def test_every_flaw_is_named_skipped_and_refused(tokenizer, change, why):
    rows = [GOOD, GOOD | change, GOOD]
    assert flaw(GOOD | change) == why and flaw(GOOD) is None
    with pytest.warns(UserWarning, match=re.escape(f"1 of 3 pairs are left out: 1 {why}; the first is row 1")): kept = pair_examples(rows, tokenizer)
    assert [e["row"] for e in kept] == [0, 2]
    with pytest.raises(ValueError, match=re.escape(f"1 of 3 pairs teach no preference: 1 {why}; the first is row 1; bad_pairs = skip")):
        pair_examples(rows, tokenizer, bad="refuse")


def test_flaws_are_counted_by_reason(tokenizer):
    rows = [GOOD | {"rejected": "Two."}, GOOD, GOOD | {"chosen": ""}, GOOD | {"rejected": "Two."}]
    with pytest.warns(UserWarning, match="3 of 4 pairs are left out: 2 of identical replies, 1 with an empty reply; the first is row 0"): pair_examples(rows, tokenizer)


def test_nothing_to_say_about_good_pairs(tokenizer):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for bad in ("skip", "refuse"): assert len(pair_examples([GOOD]*3, tokenizer, bad=bad)) == 3


@pytest.mark.parametrize("rows, words", [
    ([{"prompt": "?", "chosen": "!"}], "rejected is missing among prompt, chosen"), ([{"prompt": "?"}], "chosen and rejected is missing among prompt"),
    ([{"text": "a", "label": 1}], "prompt and chosen and rejected is missing among text, label"), ([], "there are no pairs to learn from"),
    ([GOOD | {"rejected": "Two."}], "no pair of 1 teaches a preference")])
@pytest.mark.filterwarnings("ignore:.*pairs are left out")
def test_what_cannot_be_trained_on(tokenizer, rows, words):
    with pytest.raises(ValueError, match=words): pair_examples(rows, tokenizer)


def test_an_unknown_way_with_bad_pairs(tokenizer):
    with pytest.raises(KeyError, match="unknown bad_pairs 'skpi' .did you mean 'skip'"): pair_examples([GOOD], tokenizer, bad="skpi")


def test_all_shapes_are_the_same_pair(tokenizer):
    reply = {key: [say("assistant", GOOD[key])] for key in ("chosen", "rejected")}
    turn = prompt_turns(GOOD["prompt"])
    same = [GOOD, GOOD | reply, GOOD | {"prompt": turn}, {"prompt": turn} | reply, {"prompt": tuple(turn)} | reply,
            {"prompt": turn} | {key: [*turn, *said] for key, said in reply.items()}, GOOD | {"chosen": [*turn, *reply["chosen"]]}]
    told = [{k: v for k, v in e.items() if k != "row"} for e in pair_examples(same, tokenizer)]
    assert all(e == told[0] for e in told)
    longer, = pair_examples([GOOD | {"prompt": [*TALK, say("assistant", "Which?"), say("user", "Mine.")]}], tokenizer)
    assert tokenizer.decode(longer["prompt_ids"]) == "<|system|>Be brief.\n<|user|>How many goats?\n<|assistant|>Which?<|endoftext|><|user|>Mine.\n<|assistant|>"
    assert reply_text(5, []) is None


def test_ids_are_prompt_and_replies_with_their_ends(tokenizer):
    e, = pair_examples([GOOD], tokenizer)
    assert e["prompt_ids"] == prompt_chat(prompt_turns(GOOD["prompt"]), tokenizer) and e["row"] == 0 and not e["cut"]
    for key in ("chosen", "rejected"): assert tokenizer.decode(e[f"{key}_ids"]) == GOOD[key] + "<|endoftext|>"
    forged, = pair_examples([GOOD | {"chosen": "Two.<|endoftext|><|user|>More"}], tokenizer)
    assert forged["chosen_ids"].count(tokenizer.eos_token_id) == 1                       # a text cannot spell the end


def test_replies_that_are_cut_are_counted(tokenizer):
    rows = [GOOD, GOOD | {"chosen": "Two goats and a very old sheep."}]
    n = len(pair_examples(rows[:1], tokenizer)[0]["prompt_ids"])
    most = n + max(len(pair_examples(rows[:1], tokenizer)[0][key]) for key in ("chosen_ids", "rejected_ids"))
    with pytest.warns(UserWarning, match=f"1 of 2 pairs have a reply that loses its end at {most} tokens"): kept = pair_examples(rows, tokenizer, most)
    assert [e["cut"] for e in kept] == [False, True] and len(kept[1]["chosen_ids"]) == most - n and kept[1]["chosen_ids"][-1] != tokenizer.eos_token_id


def test_prompts_that_fill_the_window_and_replies_alike_within_it(tokenizer):
    n, unlike = len(pair_examples([GOOD], tokenizer)[0]["prompt_ids"]), GOOD | {"chosen": "9 goats", "rejected": "7 goats"}
    rows = [unlike, unlike | {"prompt": "How many goats and sheep?"}]
    with pytest.warns(UserWarning) as said: kept = pair_examples(rows, tokenizer, n + 1)
    assert [str(w.message) for w in said] == [f"1 of 2 pairs are left out: 1 whose prompt leaves no room within {n + 1} tokens; the first is row 1",
                                              f"1 of 1 pairs have a reply that loses its end at {n + 1} tokens"]
    assert [len(e["chosen_ids"]) for e in kept] == [1]
    alike = [unlike, unlike | {"rejected": "9 sheep"}]
    with pytest.warns(UserWarning, match=f"1 of 2 pairs are left out: 1 whose replies are the same within {n + 1} tokens; the first is row 1"):
        pair_examples(alike, tokenizer, n + 1)
    with pytest.raises(ValueError, match=f"1 of 2 pairs teach no preference: 1 whose replies are the same within {n + 1} tokens"): pair_examples(alike, tokenizer, n + 1, bad="refuse")


QWEN = ("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")


def test_a_tokenizers_own_template():
    own = load_tokenizer("tiny")
    own.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    own.chat_template = QWEN
    e, = pair_examples([GOOD], own)
    assert own.decode(e["prompt_ids"]) == "<|im_start|>user\nHow many goats?<|im_end|>\n<|im_start|>assistant\n"
    assert own.decode(e["chosen_ids"]) == "Two.<|im_end|>\n" and own.convert_tokens_to_ids("<|im_end|>") in e["rejected_ids"]
    assert e["prompt_ids"] == prompt_chat(prompt_turns(GOOD["prompt"]), own)
    longer, = pair_examples([GOOD | {"prompt": [*TALK, say("assistant", "Which?"), say("user", "Mine.")]}], own)
    assert own.decode(longer["prompt_ids"]).endswith("Which?<|im_end|>\n<|im_start|>user\nMine.<|im_end|>\n<|im_start|>assistant\n")


def test_the_last_stretch():
    assert last_stretch([1, 2, 3, 4, 5], [0, 1, 0, 1, 1]) == ([1, 2, 3], [4, 5])
    assert last_stretch([1, 2, 3], [0, 1, 0]) == ([1], [2]) and last_stretch([1, 2], [0, 0]) == ([], [])


@pytest.mark.parametrize("split", ["train", "test"])
def test_real_rows(tokenizer, shared_data, split):
    "Real pairs at a window that cuts many: what is kept, left out and cut adds up, and the replies differ."
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        rows = load_task("ultrafeedback", split, source=shared_data)
        kept = pair_examples(rows, tokenizer, 512)
    words = " ".join(str(w.message) for w in said)
    left = int(re.search(r"(\d+) of \d+ pairs are left out: \d+ who", words)[1])
    assert len(kept) + left == len(rows) and f"{sum(e['cut'] for e in kept)} of {len(kept)} pairs have a reply that loses its end at 512 tokens" in words
    for e in kept:
        assert e["chosen_ids"] != e["rejected_ids"] and len(e["prompt_ids"]) + max(len(e["chosen_ids"]), len(e["rejected_ids"])) <= 512
    whole = pair_examples(rows, tokenizer, 100_000)
    assert len(whole) == len(rows) and not any(e["cut"] for e in whole)


# --- one row is two rows


def made_pairs(lengths=((1, 1, 1), (5, 3, 1), (1, 6, 2), (8, 1, 7), (3, 4, 4)), seed=0):
    "Pairs of random tokens: one-token prompts and replies among them; some tokens are 0, the padding's id."
    rows = iter(random_rows([n for pair in lengths for n in pair], seed=seed))
    return [{"prompt_ids": next(rows), "chosen_ids": next(rows), "rejected_ids": next(rows)} for _ in lengths]


def naive(model, pairs):
    "Each reply behind its own prompt, alone, from all logits."
    def score(prompt, reply):
        ids = torch.tensor([prompt + reply])
        return model(input_ids=ids).logits[0].log_softmax(-1)[torch.arange(len(prompt) - 1, ids.shape[1] - 1), ids[0, len(prompt):]].sum()
    return [torch.stack([score(e["prompt_ids"], e[key]) for e in pairs]) for key in ("chosen_ids", "rejected_ids")]


def close(got, want, eps=1e-5): assert (got - want).abs().max() <= eps*max(1, want.abs().max().item())


@pytest.mark.parametrize("name", [*MODELS, "gpt2_eager", "llama_eager"])
def test_one_row_equals_two_equals_each_alone(name):
    kw = {"attn_implementation": "eager"} if name.endswith("eager") else {}
    model, pairs = build(name.replace("eager", "hf"), **kw), made_pairs()
    assert keeps_apart(model)
    ways = {"naive": naive(model, pairs)}
    for way, collate in (("shared", collate_pairs), ("apart", collate_apart)):
        *ways[way], chosen_lens, rejected_lens = pair_logps(model, collate(pairs))
        assert chosen_lens.tolist() == [len(e["chosen_ids"]) for e in pairs] and rejected_lens.tolist() == [len(e["rejected_ids"]) for e in pairs]
    grads = {}
    for way, (chosen, rejected) in ways.items():
        model.zero_grad()
        torch.nn.functional.softplus(.3*(rejected - chosen)).sum().backward()
        grads[way] = {n: p.grad.clone() for n, p in model.named_parameters()}
    assert max(g.abs().max() for g in grads["naive"].values()) > 1e-2
    for way in ("shared", "apart"):
        for got, want in zip(ways[way], ways["naive"]): close(got.detach(), want.detach())
        for key, g in grads["naive"].items(): close(grads[way][key], g, 2e-5)


@pytest.mark.parametrize("name", ["gpt2_ours", "qwen2_hf"])
def test_in_float64(name):
    model, pairs = build(name).double(), made_pairs(seed=4)
    with torch.no_grad():
        for collate in (collate_pairs, collate_apart):
            for got, want in zip(pair_logps(model, collate(pairs)), naive(model, pairs)): close(got, want, 1e-9)


def test_a_mask_that_leaks_and_one_that_is_shifted_are_noticed(any_model):
    pairs = made_pairs()
    batch, want = collate_pairs(pairs), naive(any_model, pairs)
    seen = batch["attention_mask"]
    causal = torch.ones_like(seen).tril() & seen.diagonal(dim1=1, dim2=2)[:, None]
    with torch.no_grad():
        assert (pair_logps(any_model, batch | {"attention_mask": causal})[1] - want[1]).abs().max() > .5
        assert (pair_logps(any_model, batch | {"chosen_mask": batch["chosen_mask"].roll(1, 1)})[0] - want[0]).abs().max() > .5


def test_batches(any_model):
    "Every pair once an epoch; the known reference travels with its pair; both layouts in the same order."
    pairs = [e | {"ref_logps": [float(i), -float(i)]} for i, e in enumerate(made_pairs())]
    assert pair_lengths(pairs) == [sum(map(len, (e["prompt_ids"], e["chosen_ids"], e["rejected_ids"]))) for e in pairs]
    for shared in (True, False):
        batches = list(pair_batches(pairs, 2, shared=shared, seed=3))
        refs = torch.cat([b["ref_logps"] for b in batches])
        assert sorted(refs[:, 0].tolist()) == [0., 1., 2., 3., 4.] and torch.equal(refs[:, 0], -refs[:, 1])
        with torch.no_grad(): found = torch.cat([pair_logps(any_model, b)[0] for b in batches])
        close(found, naive(any_model, pairs)[0].detach()[refs[:, 0].long()])
        assert [len(b["input_ids"]) for b in batches] == [len(b["ref_logps"])*(1 if shared else 2) for b in batches]
    assert "ref_logps" not in collate_pairs(made_pairs())


MEASURE = """
import json, torch
from memory import peak_of
from ftlib.gpt2 import GPT2LM, GPT2Config
from ftlib.logps import token_logps
from ftlib.pairs import collate_apart, collate_pairs, pair_logps
def peak(way, vocab):
    torch.manual_seed(0)
    model = GPT2LM(GPT2Config(vocab_size=vocab, n_positions=192, n_embd=96, n_layer=2, n_head=2)).eval()
    draw = lambda n: torch.randint(vocab, (n,)).tolist()
    batch = (collate_pairs if way == "shared" else collate_apart)([{"prompt_ids": draw(60), "chosen_ids": draw(50), "rejected_ids": draw(50)} for _ in range(4)])
    def score():
        if way != "naive": return pair_logps(model, batch)[:2]
        logps = token_logps(model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits, batch["input_ids"])
        return (logps*(batch["chosen_mask"] + batch["rejected_mask"])[:, 1:]).sum(1).chunk(2)
    def work():
        chosen, rejected = score()
        (rejected - chosen).sum().backward()
    return peak_of(work) - sum(p.numel() for p in model.parameters())*4/2**20
for way in ("naive", "shared", "apart"): peak(way, 1000)
print(json.dumps({way: [peak(way, v) for v in (50257, 100514)] for way in ("shared", "apart")} | {"naive": peak("naive", 50257)}))
"""


@pytest.mark.skipif(not can_measure(), reason="this system does not tell how much memory was held at most")
def test_peak_memory_does_not_grow_with_the_vocabulary():
    "Forward and backward at 50,257 tokens and at twice as many, beyond weights and their gradients."
    peaks = json.loads(in_fresh_process(MEASURE, MALLOC_MMAP_THRESHOLD_="65536"))
    for way in ("shared", "apart"):
        assert peaks[way][1] < 1.15*peaks[way][0], peaks
        assert peaks[way][0] < peaks["naive"]/2.5, peaks


@pytest.mark.parametrize("name", MODELS)
def test_a_window_holds_one_reply_and_not_both(name):
    "Positions are those of each text: a prompt and a reply fill the window, and the row that holds both replies is longer than it."
    model, g = build(name, n_positions=24), torch.Generator().manual_seed(0)
    draw = lambda n: torch.randint(1, 97, (n,), generator=g).tolist()
    examples = [{"prompt_ids": draw(10), "chosen_ids": draw(14), "rejected_ids": draw(13)}, {"prompt_ids": draw(3), "chosen_ids": draw(2), "rejected_ids": draw(9)}]
    batch = collate_pairs(examples)
    assert batch["input_ids"].shape[1] > 24
    with torch.no_grad():
        for one, two in zip(pair_logps(model, batch)[:2], pair_logps(model, collate_apart(examples))[:2]): assert (one - two).abs().max() < 1e-4
    if name != "gpt2_ours": return
    examples[0]["chosen_ids"] += draw(1)
    for collate in (collate_pairs, collate_apart):
        with pytest.raises(ValueError, match="25 tokens do not fit in the 24 positions of this model"): pair_logps(model, collate(examples))
