"SFT's loss and gradients beside trl's SFTTrainer (completion-only, assistant-only) and transformers' labels of -100, on the same batch."
import pytest
import torch
from models import MODELS, build, random_rows
from trl_side import gradients, sft_trainer, whole_batch

from ftlib.data import load_tokenizer
from ftlib.sft import collate_sft, pack, sft_examples, sft_loss

from .gauge import close

PROMPTS, COMPLETIONS = (1, 5, 3, 8, 1), (4, 1, 6, 2, 9)


def examples():
    rows = random_rows([p + c for p, c in zip(PROMPTS, COMPLETIONS)])
    return [{"input_ids": ids, "completion_mask": [0]*p + [1]*c} for ids, p, c in zip(rows, PROMPTS, COMPLETIONS)]


def ours(name, side="right", shift=0):
    model, batch = build(name), collate_sft(examples(), side)
    if shift: batch["completion_mask"] = batch["completion_mask"].roll(shift, 1)
    total, n, _ = sft_loss(model, batch)
    return gradients(model, total/n)


def trl(name, tmp_path):
    trainer = sft_trainer(build(name), examples(), tmp_path, completion_only_loss=True)
    batch = whole_batch(trainer)
    assert (batch["labels"] != -100).sum() == sum(COMPLETIONS)
    return gradients(trainer.model, trainer.compute_loss(trainer.model.train(), batch))


@pytest.mark.parametrize("name", MODELS)
def test_against_trl(name, tmp_path):
    theirs = trl(name.replace("ours", "hf"), tmp_path)
    close(ours(name), theirs)
    with pytest.raises(AssertionError): close(ours(name, shift=-1), theirs)          # a mask shifted on purpose must fail


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", MODELS)
def test_against_labels(name, side):
    model, batch = build(name.replace("ours", "hf")), collate_sft(examples())
    labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
    want = gradients(model, model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels).loss)
    close(ours(name, side), want)


@pytest.mark.parametrize("name", MODELS)
def test_padding_changes_nothing(name):
    model = build(name)
    with torch.no_grad():
        alone = sum(sft_loss(model, collate_sft([e]))[0].item() for e in examples())
        for side in ("left", "right"): assert abs(sft_loss(model, collate_sft(examples(), side))[0].item() - alone) <= 1e-4*max(1, alone)


# --- conversations: what the assistant says


TEMPLATE = ("{% for m in messages %}[{{ m.role }}]\n{% if m.role == 'assistant' %}{% generation %}{{ m.content }}<|endoftext|>{% endgeneration %}"
            "{% else %}{{ m.content }}\n{% endif %}{% endfor %}{% if add_generation_prompt %}[assistant]\n{% endif %}")
CHATS = [{"messages": [{"role": role, "content": text} for role, text in zip(("user", "assistant")*2, texts)]} for texts in (
    ("Where is the lamp?", "On the table.", "And the book?", "I do not know."), ("1 + 2?", "3"),
    ("Name three towns on the coast, and say what each is known for.", "No."))]


@pytest.mark.parametrize("name", MODELS)
def test_assistant_only(name, tmp_path):
    "The tokens that trl's trainer scores in a conversation, the loss over them and its gradients."
    tokenizer = load_tokenizer("tiny")
    tokenizer.chat_template = TEMPLATE
    examples = sft_examples(CHATS, tokenizer)
    make = lambda name: build(name, vocab=len(tokenizer), n_positions=128)
    trainer = sft_trainer(make(name.replace("ours", "hf")), CHATS, tmp_path, tokenizer, assistant_only_loss=True)
    batch, mine = whole_batch(trainer), collate_sft(examples)
    for row, ids, labels in zip(examples, batch["input_ids"], batch["labels"]):
        n = len(row["input_ids"])
        assert row["input_ids"] == ids[:n].tolist() and row["completion_mask"] == (labels[:n] != -100).long().tolist()
    want = gradients(trainer.model, trainer.compute_loss(trainer.model.train(), batch))
    model = make(name)
    total, tokens, _ = sft_loss(model, mine)
    close(gradients(model, total/tokens), want)
    mine["completion_mask"] = mine["completion_mask"].roll(-1, 1)
    total, tokens, _ = sft_loss(model, mine)
    with pytest.raises(AssertionError): close(gradients(model, total/tokens), want)


# --- several texts in a row


def packed_examples(): return [*examples(), *examples()[::-1]]


@pytest.mark.parametrize("name", MODELS)
def test_packed(name, tmp_path):
    "Packed rows, padded rows and trl's padded rows: one loss, and one gradient."
    trainer = sft_trainer(build(name.replace("ours", "hf")), packed_examples(), tmp_path, completion_only_loss=True)
    want = gradients(trainer.model, trainer.compute_loss(trainer.model.train(), whole_batch(trainer)))
    packed = collate_sft(pack(packed_examples(), 24))
    assert packed["input_ids"].shape[0] < len(packed_examples()) and packed["input_ids"].shape[1] <= 24
    assert packed["completion_mask"].sum() == 2*sum(COMPLETIONS)
    for batch in (packed, collate_sft(packed_examples())):
        model = build(name)
        total, n, _ = sft_loss(model, batch)
        close(gradients(model, total/n), want)


@pytest.mark.parametrize("name", ["gpt2_hf", "llama_hf", "qwen2_hf"])
def test_packed_by_trl(name, tmp_path):
    "trl's packing keeps texts apart too where transformers makes the mask from positions; a causal mask alone does not."
    trainer = sft_trainer(build(name), packed_examples(), tmp_path, completion_only_loss=True, packing=True, max_length=24)
    want = gradients(trainer.model, trainer.compute_loss(trainer.model.train(), whole_batch(trainer)))
    packed, model = collate_sft(pack(packed_examples(), 24)), build(name)
    total, n, _ = sft_loss(model, packed)
    close(gradients(model, total/n), want)
    naive = {**packed, "attention_mask": packed["attention_mask"].diagonal(dim1=1, dim2=2).long()}
    total, n, _ = sft_loss(model, naive)
    with pytest.raises(AssertionError): close(gradients(model, total/n), want)
