"Any adapter with any objective on any model: trained, saved, opened, resumed bit for bit, and on the command line."
import json

import pytest
import torch
from models import MODELS, build, ragged_batch, ragged_pairs
from test_cli import QUICK, ftlib, one_sentence, scores, small  # noqa: F401  (fixtures)

from ftlib.adapters import (adapter_config, adapter_disabled, adapter_of, add_adapter, load_adapter, merge_adapter, open_model, options,
                            save_adapter, save_model, start_model)
from ftlib.classify import Classifier, classify_step
from ftlib.data import load_tokenizer
from ftlib.frozen import count_parameters
from ftlib.logps import forward
from ftlib.lora import LoRAConfig
from ftlib.reft import ReFTConfig
from ftlib.settings import ADAPTERS, load_settings
from ftlib.sft import sft_loss
from ftlib.train import fit

OPTIONS = {"lora": "r=2 dropout=0.1 targets=all-linear", "reft": "rank=2 dropout=0.1"}


def settings(objective="sft", adapter="none", **kw):
    return load_settings(objective, adapter=adapter, max_steps=kw.pop("steps", 4), log_every=1, lr=1e-2, device="cpu", seed=3,
                         **({adapter: OPTIONS[adapter]} if adapter in OPTIONS else {}), **kw)


def batches(objective):
    "A list of ragged batches, one-token prompts and completions among them."
    out = []
    for i in range(4):
        ids, mask, done = ragged_pairs(seed=i)
        out.append({"input_ids": ids, "attention_mask": mask} | ({"labels": torch.arange(len(ids)) % 3} if objective == "classify" else {"completion_mask": done}))
    return out


def prepared(name, objective, adapter):
    "(model with its adapter, step)."
    torch.manual_seed(0)
    lm = build(name)
    model = Classifier(lm, 3) if objective == "classify" else lm
    return add_adapter(model, settings(objective, adapter)), classify_step if objective == "classify" else sft_loss


def answer(model):
    ids, mask = ragged_batch(side="left")
    with torch.no_grad(): out = model.eval()(ids, mask) if isinstance(model, Classifier) else forward(model.eval(), ids, mask).logits
    return out if isinstance(model, Classifier) else out[mask.bool()]


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("objective", ["classify", "sft"])
@pytest.mark.parametrize("name", MODELS)
def test_every_pair_trains_what_it_should(name, objective, adapter):
    model, step = prepared(name, objective, adapter)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    free = {k for k, p in model.named_parameters() if p.requires_grad}
    history = fit(model, batches(objective), step, settings(objective, adapter))
    moved = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert history.column("loss")[1] and free
    if adapter == "none": assert len(moved) > 10
    else: assert moved and {k.split(".parametrizations")[0] for k in moved} <= {k.split(".parametrizations")[0] for k in free} | {"lm_head.weight"}
    if adapter in ("lora", "reft"): assert all(".updates." in k or "reft." in k or k == "score.weight" for k in moved)


@pytest.mark.parametrize("adapter", ADAPTERS[1:])
@pytest.mark.parametrize("objective", ["classify", "sft"])
def test_resumed_equals_uninterrupted_bit_for_bit(objective, adapter, tmp_path):
    "Dropout is on, so the generator's state counts too."
    def run(steps, out, resume=False):
        model, step = prepared("gpt2_ours", objective, adapter)
        fit(model, batches(objective), step, settings(objective, adapter, steps=6, save_every=1), out=out, resume=resume,
            save=lambda model, folder: save_model(model, folder, load_tokenizer("tiny"), base="x")) if steps == 6 else stopped(model, step, out)
        return model

    def stopped(model, step, out):
        def fails(model, batch):
            fails.n += 1
            if fails.n > 3: raise KeyboardInterrupt
            return step(model, batch)
        fails.n = 0
        with pytest.raises(KeyboardInterrupt):
            fit(model, batches(objective), fails, settings(objective, adapter, steps=6, save_every=1), out=out,
                save=lambda model, folder: save_model(model, folder, load_tokenizer("tiny"), base="x"))
    whole = run(6, tmp_path/"whole")
    run(3, tmp_path/"cut")
    again = run(6, tmp_path/"cut", resume=True)
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), again.state_dict().values()))


@pytest.mark.parametrize("adapter", ["lora", "reft"])
@pytest.mark.parametrize("objective", ["classify", "sft"])
@pytest.mark.parametrize("name", ["gpt2_ours", "qwen2_hf"])
def test_a_folder_opens_again(name, objective, adapter, tmp_path):
    model, step = prepared(name, objective, adapter)
    fit(model, batches(objective), step, settings(objective, adapter))
    build(name).save_pretrained(tmp_path/"base")
    load_tokenizer("tiny").save_pretrained(tmp_path/"base")
    save_model(model, tmp_path/"run", load_tokenizer("tiny"), base=str(tmp_path/"base"))
    again, tokenizer = open_model(tmp_path/"run", "cpu")
    assert torch.equal(answer(again), answer(model)) and adapter_of(again) == adapter and len(tokenizer)
    assert sum(p.stat().st_size for p in (tmp_path/"run").glob("*.safetensors")) < (tmp_path/"base"/"model.safetensors").stat().st_size
    if objective == "classify": assert again.labels == model.labels


def test_a_training_starts_from_a_merged_adapter_and_not_from_reft(tmp_path):
    build("gpt2_ours").save_pretrained(tmp_path/"base")
    load_tokenizer("tiny").save_pretrained(tmp_path/"base")
    for adapter in ("lora", "reft"):
        model, step = prepared("gpt2_ours", "sft", adapter)
        fit(model, batches("sft"), step, settings("sft", adapter))
        save_model(model, tmp_path/adapter, load_tokenizer("tiny"), base=str(tmp_path/"base"))
        if adapter == "reft":
            with pytest.raises(ValueError, match="ReFT cannot be merged"): start_model(tmp_path/adapter, "cpu")
        else:
            again, _ = start_model(tmp_path/adapter, "cpu")
            assert (answer(again) - answer(model)).abs().max() < 1e-4 and adapter_of(again) == "none"
            assert all(p.requires_grad for p in again.parameters())
            again.save_pretrained(tmp_path/"merged")


def test_disabled_and_merged():
    for adapter in ("lora", "reft"):
        model, step = prepared("llama_hf", "sft", adapter)
        fit(model, batches("sft"), step, settings("sft", adapter))
        with adapter_disabled(model): assert torch.equal(answer(model), answer(build("llama_hf")))
    with pytest.raises(ValueError, match="no adapter to switch off"), adapter_disabled(build("gpt2_ours")): pass
    plain = build("gpt2_ours")
    assert merge_adapter(plain) is plain
    with pytest.raises(ValueError, match="no adapter to save"): save_adapter(plain, "nowhere")
    with pytest.raises(FileNotFoundError, match="holds no adapter"): load_adapter(plain, "nowhere")


def test_options():
    assert options(LoRAConfig, "r=4 alpha=8 dora=true targets=c_attn,mlp.c_fc") == LoRAConfig(4, 8.0, targets=["c_attn", "mlp.c_fc"], dora=True)
    assert options(LoRAConfig, "targets=all-linear").targets == "all-linear"
    assert options(LoRAConfig, r"targets=.*\.(c_fc|c_attn)").targets == r".*\.(c_fc|c_attn)"
    assert options(ReFTConfig, "kind=noreft tied=yes layers=0,2") == ReFTConfig("noreft", tied=True, layers="0,2")
    assert adapter_config(load_settings("classify.fever", adapter="head")) is None
    for text, says in {"r": "wants int", "r=2.5": "wants int", "ranks=2": "unknown option of LoRAConfig", "dora=perhaps": "wants bool"}.items():
        with pytest.raises((ValueError, KeyError), match=says): options(LoRAConfig, text)


def test_settings_of_an_adapter_are_laid_over_those_of_a_task(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path/"settings.ini").write_text("[classify.liar]\nlr = 1\n[classify:lora]\nlr = 2\nclip = 2\n[classify.liar:lora]\nlr = 3\n"
                                         "[classify:lora:cuda]\nclip = 4\n[classify:reft]\nlr = 5\n")
    lr = lambda profile="cpu", **kw: (lambda s: (s.lr, s.clip))(load_settings("classify.liar", profile, **kw))
    assert lr() == (1, 1) and lr(adapter="lora") == (3, 2) and lr("cuda", adapter="lora") == (3, 4)
    assert lr(adapter="reft") == (5, 1) and lr(adapter="lora", lr=9) == (9, 2)
    (tmp_path/"settings.ini").write_text("[classify]\nadapter = lora\n[classify:lora]\nlr = 7\n")
    assert lr()[0] == 7
    (tmp_path/"settings.ini").write_text("[classify:lorra]\nlr = 7\n")
    with pytest.raises(KeyError, match="unknown overlay 'lorra'"): lr()


@pytest.mark.parametrize("adapter", ADAPTERS[1:])
def test_classify_from_the_shell(ftlib, small, tmp_path, adapter):  # noqa: F811
    code, trained, err = ftlib("train", "classify", "fever", "--adapter", adapter, "--source", small, "--out", tmp_path/"run", *QUICK)
    assert code == 0, err
    code, scored, err = ftlib("eval", tmp_path/"run")
    assert code == 0 and scores(scored) == scores(trained), err
    report = json.loads((tmp_path/"run"/"report.json").read_text())
    assert 0 < report["trainable"] < 0.02*report["parameters"]
    if adapter != "head": assert sum(p.stat().st_size for p in (tmp_path/"run"/"checkpoint").glob("*.safetensors")) < 100_000


@pytest.mark.parametrize("adapter", ADAPTERS[1:])
def test_sft_from_the_shell(ftlib, tmp_path, adapter):  # noqa: F811
    words = ["train", "sft", "factcheck", "--adapter", adapter, "--out", tmp_path/"run", "--set", "max_steps=2", "--set", "batch_size=4", "--set", "answers=0"]
    code, trained, err = ftlib(*words)
    assert code == 0, err
    code, scored, err = ftlib("eval", tmp_path/"run")
    assert code == 0 and scores(scored) == scores(trained), err
    code, text, err = ftlib("generate", tmp_path/"run", "Olga Linnard", "--max-new-tokens", "4")
    assert code == 0 and text.startswith("Olga Linnard"), err
    code, _, err = ftlib("train", "classify", "fever", "--model", tmp_path/"run", "--out", tmp_path/"next", *QUICK)
    if adapter == "reft": assert code == 1 and "ReFT cannot be merged" in one_sentence(err)
    else: assert code == 0, err


@pytest.mark.parametrize("name", MODELS)
def test_few_numbers(name):
    sizes = {adapter: count_parameters(prepared(name, "classify", adapter)[0])[0] for adapter in ADAPTERS}
    assert sizes["head"] < sizes["lora"] < sizes["none"] and sizes["head"] < sizes["reft"] < sizes["none"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("adapter", ["lora", "reft"])
@pytest.mark.parametrize("name", ["gpt2_hf", "qwen2_hf"])
def test_gradient_checkpointing_changes_no_gradient(name, adapter):
    "transformers runs each block again in the backward pass: the edits have to fall on the same rows."
    grads = []
    for again in (False, True):
        torch.manual_seed(0)
        model = add_adapter(build(name), load_settings("sft", adapter=adapter, lora="r=2", reft="rank=2")).train()
        if again: model.gradient_checkpointing_enable({"use_reentrant": False})
        total, n, _ = sft_loss(model, batches("sft")[0])
        (total/n).backward()
        grads.append([p.grad for p in model.parameters() if p.requires_grad])
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*grads)) and all(a is not None for a in grads[0])


def test_others_may_read_what_the_umask_lets_them(tmp_path):
    model = add_adapter(build("gpt2_ours"), load_settings("sft", adapter="lora"))
    save_adapter(model, tmp_path/"lora")
    (tmp_path/"plain").write_text("")
    assert {p.stat().st_mode for p in (tmp_path/"lora").iterdir()} == {(tmp_path/"plain").stat().st_mode}
