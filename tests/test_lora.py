"LoRA's behaviour: zero at birth, merge and back, switching, files, and one sentence for each thing that cannot be."
import copy
import json

import pytest
import torch
from models import MODELS, build, ragged_batch, ragged_pairs

from ftlib.frozen import count_parameters, freeze
from ftlib.gpt2 import GPT2LM
from ftlib.logps import completion_logps, completion_nll, forward
from ftlib.lora import (LoRAConfig, LoRALayer, add_lora, load_lora, lora_disabled, lora_layers, lora_names, merge_lora, save_lora,
                        set_lora, unmerge_lora)

QV = {"gpt2": ["c_attn"], "rest": ["q_proj", "v_proj"]}


def targets(name): return QV["gpt2" if name.startswith("gpt2") else "rest"]


@torch.no_grad()
def noisy(model, seed=2):
    "Every trainable number drawn anew, std 0.2."
    g = torch.Generator().manual_seed(seed)
    for p in model.parameters():
        if p.requires_grad: p.copy_(torch.randn(p.shape, generator=g)*0.2)
    return model


@torch.no_grad()
def logits(model, side="left"):
    ids, mask = ragged_batch(side=side)
    return forward(model, ids, mask).logits[mask.bool()]


def near(a, b, tolerance=1e-5): return (a - b).abs().max() <= tolerance*max(1, b.abs().max())


CONFIGS = [LoRAConfig(), LoRAConfig(r=2, rslora=True), LoRAConfig(r=2, dora=True), LoRAConfig(targets="all-linear", r=3)]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_zero_at_birth_and_what_is_trained(name, config):
    plain = logits(build(name))
    model = add_lora(build(name), config)
    assert near(logits(model), plain, 1e-6)
    assert {n.rsplit(".", 1)[1] for n, p in model.named_parameters() if p.requires_grad} == ({"A", "B", "m"} if config.dora else {"A", "B"})
    assert all(m.training == model.training for m in model.modules())


def test_the_smallest_of_its_kind(): assert count_parameters(add_lora(build("gpt2_ours"), LoRAConfig(r=2)))[0] == 2*2*(32 + 96)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", MODELS)
def test_padding_changes_nothing(name, side):
    model = noisy(add_lora(build(name), LoRAConfig(r=2, targets="all-linear")))
    ids, mask = ragged_batch(side=side)
    whole = forward(model, ids, mask).logits
    for row, keep, got in zip(ids, mask.bool(), whole): assert near(got[keep], model(input_ids=row[keep][None]).logits[0])


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_merge_and_back(name, dora):
    model = noisy(add_lora(build(name), LoRAConfig(r=2, targets="all-linear", dora=dora)))
    before, weights = logits(model), {n: layer.weight.clone() for n, layer in lora_layers(model).items()}
    for _ in range(20):
        merge_lora(model)
        unmerge_lora(model)
    assert max((layer.weight - weights[n]).abs().max() for n, layer in lora_layers(model).items()) < 1e-6
    merge_lora(model)
    assert near(logits(model), before)
    with lora_disabled(model): assert near(logits(model), logits(build(name)))
    assert near(logits(model), before)
    with pytest.raises(ValueError, match="merged already"): merge_lora(model)
    with pytest.raises(ValueError, match="before it is saved"): save_lora(model, "nowhere")
    merged = merge_lora(unmerge_lora(model), unload=True)
    assert not lora_layers(merged) and near(logits(merged), before)


def test_a_merged_model_is_a_plain_checkpoint(tmp_path):
    model = noisy(add_lora(build("gpt2_ours"), LoRAConfig(r=2, slices="qv")))
    with pytest.raises(ValueError, match="save the adapter alone, or merge it first"): model.save_pretrained(tmp_path)
    assert not list(tmp_path.iterdir())
    before = logits(model)
    merge_lora(model, unload=True).save_pretrained(tmp_path)
    from transformers import AutoModelForCausalLM
    assert near(logits(GPT2LM.from_pretrained(tmp_path)), before)
    assert near(logits(AutoModelForCausalLM.from_pretrained(tmp_path).eval()), before)


@pytest.mark.parametrize("target", ["wte", "lm_head"])
@pytest.mark.parametrize("name", ["gpt2_ours", "gpt2_hf"])
def test_tied_heads_stay_tied(name, target):
    model = noisy(add_lora(build(name), LoRAConfig(r=2, targets=[target])))
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    other = "lm_head" if target == "wte" else "transformer.wte"
    with pytest.raises(ValueError, match=f"shares its weight with {other}"): merge_lora(model)
    assert not any(layer.merged for layer in lora_layers(model).values())
    fine = merge_lora(noisy(add_lora(build(name))), unload=True)
    assert fine.get_output_embeddings().weight is fine.get_input_embeddings().weight


def test_an_untied_head_merges():
    model = noisy(add_lora(build("llama_hf"), LoRAConfig(r=2, targets=["lm_head", "embed_tokens"])))
    before = logits(model)
    assert near(logits(merge_lora(model)), before)


@pytest.mark.parametrize("target", ["lm_head", "wte"])
def test_log_probs_see_an_adapter_on_the_head(target):
    model = noisy(add_lora(build("gpt2_ours"), LoRAConfig(r=2, targets=[target])))
    ids, mask, done = ragged_pairs()
    got, kept = completion_logps(model, ids, mask, done)
    want = forward(model, ids, mask).logits.log_softmax(-1)[:, :-1].gather(-1, ids[:, 1:, None]).squeeze(-1)
    assert near(got, want*kept)
    completion_nll(model, ids, mask, done)[0].backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters() if p.requires_grad)


def test_several_adapters_and_switching(tmp_path):
    model = build("qwen2_hf")
    plain = logits(model)
    first = logits(noisy(add_lora(model, LoRAConfig(r=2), "first"), 1))
    second = logits(noisy(add_lora(model, LoRAConfig(r=4, targets=["k_proj", "q_proj"]), "second"), 2))
    assert not near(first, second) and lora_names(model) == ["first", "second"]
    trained = lambda: {n.split(".updates.")[1].split(".")[0] for n, p in model.named_parameters() if p.requires_grad}
    assert trained() == {"second"}
    assert near(logits(set_lora(model, "first")), first) and trained() == {"first"}
    with lora_disabled(model): assert near(logits(model), plain)
    save_lora(model, tmp_path/"second", "second")
    assert near(logits(load_lora(build("qwen2_hf"), tmp_path/"second")), second)
    with pytest.raises(KeyError, match="unknown adapter 'frist' \\(did you mean 'first'"): set_lora(model, "frist")
    with pytest.raises(ValueError, match="has an adapter 'second' already"): add_lora(model, name="second")
    merge_lora(model)
    with pytest.raises(ValueError, match="unmerge_lora before you switch"): set_lora(model, "second")
    with pytest.raises(ValueError, match="unmerge_lora first"): add_lora(model, name="third")
    assert near(logits(set_lora(unmerge_lora(model), "second")), second)


def test_disabled_comes_back_after_an_error():
    model = noisy(add_lora(build("gpt2_ours")))
    before = logits(model)
    with pytest.raises(RuntimeError):
        with lora_disabled(model): raise RuntimeError
    assert near(logits(model), before)


def test_a_copy_is_its_own():
    model = noisy(add_lora(build("gpt2_ours")))
    twin = copy.deepcopy(model)
    before = logits(twin)
    noisy(model, 9)
    assert near(logits(twin), before, 0)


def test_dropout_is_on_the_updates_input_alone():
    model = noisy(add_lora(build("gpt2_ours"), LoRAConfig(dropout=0.5))).train()
    assert not near(logits(model), logits(model))
    with lora_disabled(model): assert near(logits(model), logits(model), 0)
    assert near(logits(model.eval()), logits(model), 0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_precisions(dtype):
    model = noisy(add_lora(build("qwen2_hf").to(dtype), LoRAConfig(r=2)))
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.promote_types(dtype, torch.float32)}
    assert logits(model).dtype == dtype
    ids, mask, done = ragged_pairs()
    completion_nll(model, ids, mask, done)[0].backward()
    with torch.autocast("cpu", torch.bfloat16): forward(model.float(), ids, mask)


def test_generate_uses_the_adapter():
    from ftlib.generate import generate
    model = noisy(add_lora(build("gpt2_ours"), LoRAConfig(r=2, slices="qv")))
    ids, mask = ragged_batch(side="left")
    got = generate(model, ids, mask, 8, temperature=0.0).sequences
    merged = generate(merge_lora(model), ids, mask, 8, temperature=0.0).sequences
    assert torch.equal(got, merged)


BAD = {
    lambda: LoRAConfig(r=0): "r = 0 must be a whole number, at least 1",
    lambda: LoRAConfig(dropout=1.0): "dropout = 1.0 must be",
    lambda: LoRAConfig(slices="qx"): "unknown slice 'x'",
    lambda: add_lora(build("gpt2_ours"), LoRAConfig(targets=["q_proj"])): "no layer of this gpt2 is named .*there are c_attn, c_fc, c_proj",
    lambda: add_lora(build("gpt2_ours"), LoRAConfig(targets=["ln_1"])): "ln_1 is a LayerNorm",
    lambda: add_lora(build("llama_hf"), LoRAConfig(slices="qv")): "no target of this llama is one: .*q_proj and v_proj",
    lambda: add_lora(build("gpt2_ours"), name="a.b"): "'a.b' cannot name an adapter",
    lambda: merge_lora(build("gpt2_ours")): "the model has no LoRA adapter",
    lambda: unmerge_lora(add_lora(build("gpt2_ours"))): "no adapter is merged",
    lambda: save_lora(add_lora(build("gpt2_ours")), "nowhere", "other"): "unknown adapter 'other'",
}


@pytest.mark.parametrize("attempt,says", BAD.items(), ids=BAD.values())
def test_bad_input(attempt, says):
    with pytest.raises((ValueError, KeyError), match=says): attempt()


def damaged(folder, what):
    "Change one thing about a saved adapter."
    from safetensors import safe_open
    from safetensors.torch import save_file
    config, file = json.loads((folder/"adapter_config.json").read_text()), folder/"adapter_model.safetensors"
    with safe_open(file, "pt") as f: tensors, meta = {k: f.get_tensor(k) for k in f.keys()}, f.metadata()
    if what == "cut": return file.write_bytes(file.read_bytes()[:-100])
    if what == "no tensors": return file.unlink()
    if what == "no json": return (folder/"adapter_config.json").write_text("{")
    if what == "other kind": config["peft_type"] = "IA3"
    if what == "bias": config["bias"] = "all"
    if what == "other layer": tensors = {k.replace("h.1.", "h.7."): t for k, t in tensors.items()}
    if what == "shape": tensors = {k: t[:, :5].contiguous() if "lora_A" in k else t for k, t in tensors.items()}
    if what == "half": tensors = {k: t for k, t in tensors.items() if not ("h.1." in k and "lora_B" in k)}
    if what == "stranger": tensors["base_model.model.transformer.h.0.attn.bias"] = torch.ones(3)
    (folder/"adapter_config.json").write_text(json.dumps(config))
    save_file(tensors, file, meta)


DAMAGES = {"cut": "is cut short or damaged", "no tensors": "there is no adapter_model.safetensors", "no json": "is not valid JSON",
           "other kind": "peft_type 'IA3', not 'LORA'", "bias": "bias = 'all' is not computed here", "other layer": "h.7.attn.c_attn, which this gpt2",
           "shape": "lora_A.weight of transformer.h.0.attn.c_attn is \\(8, 5\\); this model and rank want \\(8, 32\\)",
           "half": "lora_B.weight of transformer.h.1.attn.c_attn is missing", "stranger": "neither an update nor the weight"}


@pytest.mark.parametrize("what", DAMAGES)
def test_what_does_not_fit_is_told_and_changes_nothing(what, tmp_path):
    save_lora(noisy(add_lora(build("gpt2_ours"))), tmp_path)
    damaged(tmp_path, what)
    model = build("gpt2_ours")
    before = logits(model)
    with pytest.raises((ValueError, FileNotFoundError), match=DAMAGES[what]): load_lora(model, tmp_path)
    assert not lora_layers(model) and near(logits(model), before, 0) and all(p.requires_grad for p in model.parameters())


def test_another_base_model_is_told(tmp_path):
    save_lora(noisy(add_lora(build("gpt2_ours"))), tmp_path)
    with pytest.raises(ValueError, match="was trained on another base model: transformer.h.0.attn.c_attn"): load_lora(build("gpt2_ours", seed=1), tmp_path)
    with pytest.raises(ValueError, match="another base model"): load_lora(build("qwen2_hf"), tmp_path)
    assert load_lora(build("gpt2_hf").bfloat16(), tmp_path)             # the same weights, rounded


def test_a_failed_save_leaves_the_earlier_one(tmp_path, monkeypatch):
    import safetensors.torch
    save_lora(noisy(add_lora(build("gpt2_ours")), 1), tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def full(*a, **k): raise OSError(28, "No space left on device")
    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(OSError): save_lora(noisy(add_lora(build("gpt2_ours")), 2), tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_freezing_leaves_other_adapters_trainable():
    from ftlib.reft import ReFTConfig, add_reft, reft_disabled
    model = add_reft(add_lora(build("gpt2_ours"), LoRAConfig(r=2)), ReFTConfig(component="query_output"))
    kinds = {"reft" if "reft." in n else n.rsplit(".", 1)[1] for n, p in model.named_parameters() if p.requires_grad}
    assert kinds == {"reft", "A", "B"}
    with lora_disabled(noisy(model)), reft_disabled(model): assert near(logits(model), logits(build("gpt2_ours")))
    assert isinstance(model.transformer.h[0].attn.c_attn, LoRALayer) and freeze(model) is model
