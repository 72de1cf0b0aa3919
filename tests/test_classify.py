"What a reader of chapter 07 does not see: orders, modes, refusals, damaged folders, and that it learns."
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from models import MODELS, build, gpt2_ours, llama_hf
from torch.nn import functional as F

from ftlib.classify import (Classifier, class_weights, classify_batches, classify_step, collate_classify, head_only, pad_token, pool, predict)
from ftlib.data import encode
from ftlib.settings import load_settings, set_seed
from ftlib.train import fit


class Letters:
    "A tokenizer of one token a letter, with neither pad nor end."
    pad_token_id = bos_token_id = eos_token_id = None
    def __call__(self, text, **kw): return {"input_ids": [ord(c) % 97 for c in text]}


def rows(n=23, seed=0):
    "Texts of 1 to 14 letters; the label is 0, 1 or 2 for a last letter a, b or c."
    g = torch.Generator().manual_seed(seed)
    texts = ["".join("abc"[i] for i in torch.randint(3, (int(torch.randint(1, 15, (1,), generator=g)),), generator=g)) for _ in range(n)]
    return [{"id": f"row-{i}", "text": t, "text_pair": None, "label": "abc".index(t[-1])} for i, t in enumerate(texts)]


def one_by_one(model, data, **kw):
    with torch.no_grad(): return torch.cat([model(torch.tensor([encode(Letters(), r["text"], **kw)])) for r in data]).softmax(1)


def wide(name="gpt2_ours", **kw):
    set_seed(0)
    model = Classifier(build(name), 3, **kw).eval()
    torch.nn.init.normal_(model.score.weight, std=.3)
    return model


# --- pooling


@pytest.mark.parametrize("dtype", [torch.long, torch.bool, torch.float32])
def test_pool_reads_at_the_mask(dtype):
    h = torch.randn(5, 6, 4)
    mask = torch.tensor([[1]*6, [1, 1, 0, 0, 0, 0], [0, 0, 0, 1, 1, 1], [1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1]])
    assert torch.equal(pool(h, mask.to(dtype)), h[torch.arange(5), torch.tensor([5, 1, 5, 0, 5])])
    means = torch.stack([h[i][m.bool()].mean(0) for i, m in enumerate(mask)])
    assert torch.allclose(pool(h, mask.to(dtype), "mean"), means, atol=1e-6)
    assert torch.equal(pool(h), h[:, 5])


def test_mean_ignores_what_stands_at_pads():
    h, mask = torch.randn(1, 3, 2), torch.tensor([[1, 1, 0]])
    h[0, 2] = float("nan")
    assert torch.allclose(pool(h, mask, "mean"), h[:, :2].mean(1))


# --- construction


@pytest.mark.parametrize("n", [0, -3, 2.0, "3", True, None])
def test_bad_number_of_labels(n):
    with pytest.raises(ValueError, match="num_labels must be ≥ 1"): Classifier(gpt2_ours(), n)


def test_bad_names():
    for labels in (["a", "b"], ["a", "a", "b"], ["a", "b", "c", "d"]):
        with pytest.raises(ValueError, match="num_labels is 3"): Classifier(gpt2_ours(), 3, labels=labels)
    with pytest.raises(ValueError, match="unknown pooling 'lst'"): Classifier(gpt2_ours(), 3, "lst")
    with pytest.raises(ValueError, match="no output head"): Classifier(torch.nn.Linear(3, 3), 3)


def test_head_is_small_at_birth_and_follows_the_seed():
    heads = []
    for _ in range(2):
        set_seed(7)
        heads.append(Classifier(gpt2_ours(n_embd=256), 3).score.weight)
    assert torch.equal(*heads) and abs(heads[0].std().item() - .02) < .002
    assert Classifier(gpt2_ours(), 3).score.bias is None


def test_an_untied_language_head_is_frozen_and_a_tied_one_is_not():
    untied, tied = Classifier(llama_hf(), 3), Classifier(gpt2_ours(), 3)
    assert not untied.model.lm_head.weight.requires_grad
    assert tied.model.lm_head.weight.requires_grad
    assert [k for k, p in untied.named_parameters() if not p.requires_grad] == ["model.lm_head.weight"]


@pytest.mark.parametrize("name", MODELS)
def test_head_only(name):
    model = head_only(wide(name))
    assert [k for k, p in model.named_parameters() if p.requires_grad] == ["score.weight"]
    batch = collate_classify(classify_batches(rows(), Letters()).examples)
    loss, weight, _ = classify_step(model, batch)
    (loss/weight).backward()
    assert {k for k, p in model.named_parameters() if p.grad is not None} == {"score.weight"}


def test_a_row_without_tokens():
    model, ids = wide(), torch.ones(3, 4, dtype=torch.long)
    mask = torch.tensor([[1, 1, 1, 1], [1, 0, 0, 0], [0, 0, 0, 0]])
    with pytest.raises(ValueError, match="row 2 of the batch has no real token"): model(ids, mask)


# --- loss and weights


def test_class_weights():
    labels = torch.tensor([0]*6 + [1]*3 + [2])
    assert class_weights(labels, 3).tolist() == pytest.approx([10/18, 10/9, 10/3])
    assert class_weights(labels, 3)[labels].mean().item() == pytest.approx(1)
    assert class_weights([0, 0, 1, 1], 3).tolist() == pytest.approx([2/3, 2/3, 4/3])      # nobody is label 2
    with pytest.raises(ValueError, match="label 3 does not fit in 3 labels"): class_weights([0, 3], 3)


def test_weights_as_in_torch_and_as_scikit_learn_balances():
    from sklearn.utils.class_weight import compute_class_weight
    labels = np.array([r["label"] for r in rows(50)])
    assert class_weights(labels, 3).tolist() == pytest.approx(compute_class_weight("balanced", classes=np.arange(3), y=labels).tolist())


@pytest.mark.parametrize("weights", [None, [.5, 1., 4.], torch.tensor([.5, 1., 4.])])
def test_micro_batches_add_up(weights):
    model, examples = wide(), classify_batches(rows(), Letters()).examples
    batch = collate_classify(examples)
    loss, weight, metrics = classify_step(model, batch, weights)
    w = None if weights is None else torch.as_tensor(weights)
    expected = F.cross_entropy(model(batch["input_ids"], batch["attention_mask"]), batch["labels"], weight=w)
    assert (loss/weight).item() == pytest.approx(expected.item(), rel=1e-5)
    parts = [classify_step(model, collate_classify(examples[i:i+4]), weights) for i in range(0, len(examples), 4)]
    assert (sum(p[0] for p in parts)/sum(p[1] for p in parts)).item() == pytest.approx(expected.item(), rel=1e-5)
    assert sum(p[2]["accuracy"] for p in parts).item() == pytest.approx(metrics["accuracy"].item(), rel=1e-5)


@pytest.mark.parametrize("label", [3, -1, -100])
def test_a_label_without_an_output(label):
    batch = collate_classify(classify_batches(rows(), Letters()).examples)
    batch["labels"][4] = label
    with pytest.raises(ValueError, match="but the head has 3 outputs"): classify_step(wide(), batch)


def test_rows_without_labels_can_be_predicted_and_not_trained_on():
    data = [{"text": r["text"]} for r in rows()]
    assert predict(wide(), data, Letters()).shape == (23, 3)
    with pytest.raises(KeyError, match="no labels"): classify_step(wide(), next(iter(classify_batches(data, Letters()))))


# --- batches


def test_batches_hold_every_row_once():
    batches = classify_batches(rows(), Letters(), 5, seed=3)
    epochs = [list(batches) for _ in range(2)]
    for epoch in epochs:
        assert sorted(i for b in epoch for i in b["row"]) == list(range(23))
        for b in epoch:
            assert b["attention_mask"].sum(1).tolist() == [len(rows()[i]["text"]) for i in b["row"]]
            assert b["labels"].tolist() == [rows()[i]["label"] for i in b["row"]]
            assert b["id"] == [f"row-{i}" for i in b["row"]]
    assert [b["row"] for b in epochs[0]] != [b["row"] for b in epochs[1]]


def test_pair_and_length():
    data = [{"text": "ab", "text_pair": "cc", "label": 1}]
    take = lambda **kw: classify_batches(data, Letters(), **kw).examples[0]["input_ids"]
    assert take() == encode(Letters(), "ab", "cc") and take(pair=False) == encode(Letters(), "ab")
    assert take(max_length=3) == take()[:3]


def test_missing_text():
    with pytest.raises(ValueError, match="row 0 has no column `text`, only prompt"): classify_batches([{"prompt": "x"}], Letters())


def test_pad_token():
    class Has: pad_token_id, eos_token_id = 0, 3
    class Lists: pad_token_id, eos_token_id = None, [9, 8]
    class Outside: pad_token_id, eos_token_id, vocab_size = 50, 7, 50
    assert [pad_token(x) for x in (Has, Lists, Outside, Letters())] == [0, 9, 7, 0]


# --- predictions


@pytest.mark.parametrize("pooling", ["last", "mean"])
@pytest.mark.parametrize("name", MODELS)
def test_predictions_come_in_the_order_of_the_rows(name, pooling):
    model, data = wide(name, pooling=pooling), rows()
    expected = one_by_one(model, data)
    for size in (1, 4, 64): assert torch.allclose(predict(model, data, Letters(), size), expected, atol=1e-5)
    assert torch.allclose(predict(model, classify_batches(data, Letters(), 4, seed=5)), expected, atol=1e-5)


def test_predict_leaves_modes_gradients_and_order_alone():
    model, batches = wide(), classify_batches(rows(), Letters(), 4)
    model.train()
    model.model.transformer.h[0].eval()
    modes = [m.training for m in model.modules()]
    stream = iter(batches)
    next(stream)
    state = batches.state_dict()
    probs = predict(model, batches)
    assert not probs.requires_grad and [m.training for m in model.modules()] == modes and batches.state_dict() == state
    with pytest.raises(ValueError, match="needs a tokenizer"): predict(model, rows())
    def fail(*args): raise RuntimeError("stop")
    model.score.register_forward_hook(fail)
    with pytest.raises(RuntimeError): predict(model, batches)
    assert [m.training for m in model.modules()] == modes


def test_predict_switches_dropout_off():
    set_seed(0)
    model = Classifier(gpt2_ours(dropout=.5), 3).train()
    assert torch.equal(predict(model, rows(), Letters()), predict(model, rows(), Letters()))


# --- folders


@pytest.fixture
def saved(tmp_path):
    wide(labels=["x", "y", "z"]).save_pretrained(tmp_path/"c")
    return tmp_path/"c"


def test_config_says_what_transformers_needs(saved):
    config = json.loads((saved/"config.json").read_text())
    assert config["architectures"] == ["GPT2ForSequenceClassification"] and config["dtype"] == "float32"
    assert config["id2label"] == {"0": "x", "1": "y", "2": "z"} and config["label2id"] == {"x": 0, "y": 1, "z": 2}
    assert config["ftlib_pooling"] == "last" and config["pad_token_id"] is not None
    assert sorted(p.name for p in saved.iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize("name", MODELS)
def test_config_names_no_machine(name, tmp_path):
    model = build(name)
    model.config._name_or_path = "/somewhere/private"
    Classifier(model, 3).save_pretrained(tmp_path)
    assert "private" not in (tmp_path/"config.json").read_text()


def test_saving_twice_and_in_half_precision(saved):
    again = Classifier.from_pretrained(saved, device="cpu", dtype=torch.bfloat16)
    assert {p.dtype for p in again.parameters()} == {torch.bfloat16}
    again.save_pretrained(saved)
    assert json.loads((saved/"config.json").read_text())["dtype"] == "bfloat16"
    assert Classifier.from_pretrained(saved, device="cpu").score.weight.dtype == torch.float32


@pytest.mark.parametrize("share", [0, .3, .99])
def test_a_checkpoint_cut_short(saved, share):
    path = saved/"model.safetensors"
    path.write_bytes(path.read_bytes()[:int(share*path.stat().st_size)])
    with pytest.raises(ValueError, match="damaged or cut short") as error: Classifier.from_pretrained(saved)
    assert "\n" not in str(error.value)


def rewrite(folder, change):
    from safetensors.torch import load_file, save_file
    state = load_file(folder/"model.safetensors")
    change(state)
    save_file(state, folder/"model.safetensors")


@pytest.mark.parametrize("name,base", [("gpt2_ours", "transformer.h.1.mlp.c_fc.weight"), ("llama_hf", "model.layers.1.mlp.up_proj.weight")])
def test_a_tensor_is_missing_or_does_not_fit(name, base, tmp_path):
    wide(name).save_pretrained(tmp_path)
    whole = (tmp_path/"model.safetensors").read_bytes()
    for change in (lambda s: s.pop(base), lambda s: s.update({base: torch.zeros(3, 3)}), lambda s: s.update(strange=torch.zeros(1))):
        (tmp_path/"model.safetensors").write_bytes(whole)
        rewrite(tmp_path, change)
        with pytest.raises(ValueError, match=f"{base}|strange") as error: Classifier.from_pretrained(tmp_path)
        assert "\n" not in str(error.value)


def test_not_a_classifiers_folder(saved, tmp_path):
    gpt2_ours().save_pretrained(tmp_path/"lm")
    with pytest.raises(ValueError, match="holds no classifier"): Classifier.from_pretrained(tmp_path/"lm")
    with pytest.raises(FileNotFoundError): Classifier.from_pretrained(tmp_path/"nowhere"/"at"/"all")
    config = json.loads((saved/"config.json").read_text())
    config["id2label"]["3"] = "w"
    (saved/"config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="does not fit 4 labels"): Classifier.from_pretrained(saved)


def test_an_adapter_is_not_saved_as_if_it_were_the_model(tmp_path):
    model = wide()
    model.model.transformer.h[0].mlp.register_parameter("lora_A", torch.nn.Parameter(torch.zeros(2)))
    with pytest.raises(ValueError, match="would not read transformer.h.0.mlp.lora_A"): model.save_pretrained(tmp_path/"c")
    assert not (tmp_path/"c").exists()


def test_a_failed_save_leaves_the_earlier_one(saved, monkeypatch):
    import safetensors.torch
    before = {p.name: p.read_bytes() for p in saved.iterdir()}
    def full(*args, **kw): raise OSError(28, "No space left on device")
    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(OSError): wide(labels=["p", "q", "r"]).save_pretrained(saved)
    assert {p.name: p.read_bytes() for p in saved.iterdir()} == before


# --- it learns, and resumes


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_it_learns(pooling):
    "The last letter decides, or for the mean the letter that the text repeats. Untrained, the bound is missed."
    set_seed(0)
    model, data, held = Classifier(gpt2_ours(seed=1), 3, pooling), rows(240), rows(120, seed=9)
    if pooling == "mean": data, held = ([r | {"text": r["text"][-1]*len(r["text"])} for r in part] for part in (data, held))
    labels = torch.tensor([r["label"] for r in held])
    score = lambda: (predict(model, held, Letters()).argmax(1) == labels).float().mean().item()
    before = score()
    settings = load_settings("classify", device="cpu", batch_size=24, epochs=8, lr=5e-3)
    history = fit(model, classify_batches(data, Letters(), 24), classify_step, settings)
    assert before < .7 and score() > .9 and history[-1]["loss"] < .3


def test_a_run_saves_a_folder_that_opens(tmp_path):
    set_seed(0)
    model = Classifier(gpt2_ours(seed=1), 3, labels=["a", "b", "c"])
    settings = load_settings("classify", device="cpu", batch_size=24, max_steps=3)
    fit(model, classify_batches(rows(72), Letters(), 24), classify_step, settings, out=tmp_path/"run")
    again = Classifier.from_pretrained(tmp_path/"run"/"checkpoint", device="cpu")
    assert torch.equal(predict(again, rows(), Letters()), predict(model, rows(), Letters())) and again.labels == ["a", "b", "c"]


def test_a_nan_names_the_rows(tmp_path):
    model = wide()
    with torch.no_grad(): model.score.weight[0, 0] = float("nan")
    settings = load_settings("classify", device="cpu", max_steps=2)
    with pytest.raises(ValueError, match="row-"): fit(model, classify_batches(rows(), Letters(), 4), classify_step, settings)


def test_import_is_light():
    code = "import ftlib.classify, sys; print([m for m in ('transformers', 'datasets', 'sklearn', 'matplotlib', 'accelerate') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
