"""Runs and their scores: which split, the same numbers again, what is refused."""
import json
import math

import pytest
import torch

from ftlib.evaluate import evaluate, load_run, new_classifier, pairs_of, scoring_split, train_run
from ftlib.metrics import confusion
from ftlib.settings import load_settings
from ftlib.tasks import TASKS


def quick(task="fever", **kw):
    return load_settings(f"classify.{task}", profile="cpu", device="cpu", **{"max_steps": 2, "batch_size": 4, "max_length": 32, **kw})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("run")/"fever"
    return out, train_run(quick(), out)


def test_evaluate_repeats_the_training_report(run):
    out, trained = run
    assert evaluate(out) == trained.report == json.loads((out/"report.json").read_text())
    assert trained.report["split"] == "validation" and trained.report["majority"]["n"] == trained.report["n"]


@pytest.mark.parametrize("experiment", ["classify.fever", "sft.smoltalk", "dpo.ultrafeedback"])
@pytest.mark.parametrize("adapter", ["none", "lora"])
def test_resuming_a_finished_run_gives_its_scores_again(tmp_path, experiment, adapter):
    "And not those of the model that it started from."
    small = {} if experiment.startswith("classify") else {"answers": 1, "max_new_tokens": 4}
    settings = load_settings(experiment, profile="cpu", device="cpu", adapter=adapter, rows=16, held_out=6, max_steps=3, lr=1e-2, batch_size=4, max_length=96, **small)
    first = train_run(settings, tmp_path/"run")
    kept = {name: (tmp_path/"run"/name).read_bytes() for name in ("report.json", "metrics.jsonl", "checkpoint/training.json")}
    again = train_run(settings, tmp_path/"run", resume=True)
    assert again.report == first.report and again.rows == first.rows and again.history == first.history
    for name, text in kept.items(): assert (tmp_path/"run"/name).read_bytes() == text, name


def test_the_split_is_said(run):
    assert evaluate(run[0], split="test", n=20)["split"] == "test" and evaluate(run[0], split="test", n=20)["n"] == 20


def test_test_split_stands_in_for_a_missing_validation(tmp_path, tiny_data):
    (tmp_path/"fever").mkdir()
    (tmp_path/"fever"/"test.jsonl").write_text((tiny_data/"fever"/"test.jsonl").read_text())
    assert scoring_split("fever", tmp_path)[0] == "test"
    with pytest.raises(FileNotFoundError, match="train"): train_run(quick(source=str(tmp_path)))


def test_no_training_split_no_baseline(run, tmp_path, tiny_data):
    (tmp_path/"fever").mkdir()
    (tmp_path/"fever"/"test.jsonl").write_text((tiny_data/"fever"/"test.jsonl").read_text())
    assert "majority" not in evaluate(run[0], source=str(tmp_path), n=10)


def test_refusals(run, tmp_path):
    with pytest.raises(ValueError, match="knows the labels"): evaluate(run[0], task="liar")
    with pytest.raises(KeyError, match="did you mean"): evaluate(run[0], task="fevr")
    with pytest.raises(ValueError, match="classification head"): evaluate("tiny", task="fever")
    with pytest.raises(FileNotFoundError, match="nowhere"): load_run(tmp_path/"nowhere")
    (tmp_path/"empty").mkdir()
    (tmp_path/"empty"/"settings.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match="--resume"): load_run(tmp_path/"empty")


def test_head_of_zeros_says_nothing_and_learns():
    "The first loss is log k, and the first gradient of the head is not zero."
    from ftlib.classify import classify_step
    model, tokenizer = new_classifier(quick(seed=1), list(TASKS["fever"].labels))
    ids = torch.tensor([tokenizer.encode(t) for t in ("Ada has a red door.", "Ben has a blue door.")])
    loss, n, _ = classify_step(model, {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.tensor([0, 2])})
    assert loss.item()/n.item() == pytest.approx(math.log(3), abs=1e-6)
    loss.backward()
    assert model.score.weight.grad.abs().max() > 1e-3


def test_dropout_is_set_for_training():
    model, _ = new_classifier(quick(dropout=0.5), list(TASKS["fever"].labels))
    ids = torch.arange(12)[None]
    mask = torch.ones_like(ids)
    torch.nn.init.normal_(model.score.weight)
    model.train()
    assert not torch.equal(model(ids, mask), model(ids, mask))
    model.eval()
    assert torch.equal(model(ids, mask), model(ids, mask))


def test_head_only_freezes_the_rest():
    model, _ = new_classifier(quick(adapter="head"), list(TASKS["fever"].labels))
    assert [n for n, p in model.named_parameters() if p.requires_grad] == ["score.weight"]


def test_pairs_of_a_table_count_to_the_table():
    true, pred = pairs_of([[3, 1], [0, 2]])
    assert confusion(true.tolist(), pred.tolist(), ["a", "b"]).tolist() == [[3, 1], [0, 2]]


def test_embedded_fever_is_learned():
    "A real, short fine-tune: after 60 steps the training loss has left log 3 clearly, which an untrained or unplugged model does not."
    from ftlib.classify import classify_batches, classify_step
    from ftlib.tasks import load_task
    from ftlib.train import fit
    settings = quick(max_steps=60, batch_size=32, max_length=96, log_every=10)
    model, tokenizer = new_classifier(settings, list(TASKS["fever"].labels))
    rows = load_task("fever", "train", "tiny", n=64)
    history = fit(model, classify_batches(rows, tokenizer, 32, max_length=96), classify_step, settings)
    assert history[-1]["loss"] < 0.9
