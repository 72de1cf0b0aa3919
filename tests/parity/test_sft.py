"SFT's loss and gradients beside TRL's SFTTrainer (completion-only) and transformers' labels of -100, on the same batch."
import pytest
import torch
from models import MODELS, build, random_rows

from ftlib.sft import collate_sft, sft_loss

PROMPTS, COMPLETIONS = (1, 5, 3, 8, 1), (4, 1, 6, 2, 9)


def examples():
    rows = random_rows([p + c for p, c in zip(PROMPTS, COMPLETIONS)])
    return [{"input_ids": ids, "completion_mask": [0]*p + [1]*c} for ids, p, c in zip(rows, PROMPTS, COMPLETIONS)]


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return loss.item(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def close(ours, theirs):
    "Loss and every gradient within 1e-5 · max(1, largest reference value)."
    assert abs(ours[0] - theirs[0]) <= 1e-5*max(1, abs(theirs[0]))
    assert set(ours[1]) == set(theirs[1])
    for name, want in theirs[1].items():
        error = (ours[1][name] - want).abs().max().item()
        assert error <= 1e-5*max(1, want.abs().max().item()), (name, error)


def ours(name, side="right", shift=0):
    model, batch = build(name), collate_sft(examples(), side)
    if shift: batch["completion_mask"] = batch["completion_mask"].roll(shift, 1)
    total, n, _ = sft_loss(model, batch)
    return gradients(model, total/n)


def trl(name, tmp_path):
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from ftlib.data import load_tokenizer
    model = build(name)
    config = SFTConfig(str(tmp_path), use_cpu=True, bf16=False, gradient_checkpointing=False, report_to=[], max_length=None,
                       remove_unused_columns=False, completion_only_loss=True)
    trainer = SFTTrainer(model, config, train_dataset=Dataset.from_list(examples()), processing_class=load_tokenizer("tiny"))
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(len(PROMPTS))])
    assert (batch["labels"] != -100).sum() == sum(COMPLETIONS)
    return gradients(model, trainer.compute_loss(model.train(), dict(batch)))


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
