"LoRA beside peft: the same base, the same update, the same batch. Logits, loss, every adapter gradient; files both ways; initial weights."
import math

import pytest
import torch
from models import MODELS, build, random_rows, ragged_pairs

from ftlib.logps import completion_nll, forward
from ftlib.lora import LoRAConfig, add_lora, load_lora, lora_layers, merge_lora, save_lora, unmerge_lora

from .gauge import close

pytestmark = pytest.mark.filterwarnings("ignore")
TARGETS = {"gpt2": {"attention": ["c_attn"], "all": ["c_attn", "c_proj", "c_fc"], "embedding": ["wte", "c_attn"]},
           "rest": {"attention": ["q_proj", "v_proj"], "all": ["q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj", "gate_proj"],
                    "embedding": ["embed_tokens", "q_proj"]}}


def targets(name, which): return TARGETS["gpt2" if name.startswith("gpt2") else "rest"][which]


def peft_model(name, which="attention", r=2, alpha=16, **kw):
    from peft import LoraConfig, get_peft_model
    base = build(name.replace("ours", "hf"))
    return fill(get_peft_model(base, LoraConfig(r=r, lora_alpha=alpha, target_modules=targets(name, which), task_type="CAUSAL_LM", **kw)))


@torch.no_grad()
def fill(model, seed=3):
    "Random adapters of std 0.15, B and magnitudes too."
    g = torch.Generator().manual_seed(seed)
    for n, p in sorted(model.named_parameters()):
        if not p.requires_grad: continue
        noise = torch.randn(p.shape, generator=g)*0.15
        p.copy_(p*(1 + noise) if p.ndim == 1 else noise)
    return model.eval()


def gradients(model): return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def loss_of(model, side, shift=0):
    ids, mask, done = ragged_pairs(side=side)
    total, n = completion_nll(model, ids, mask, done.roll(shift, 1))
    return total/n


def their_loss(model):
    "On the right-padded batch, whose positions transformers gets right by itself; its own loss is float32 at best."
    ids, mask, done = ragged_pairs()
    logits, labels = model(input_ids=ids, attention_mask=mask).logits, ids.masked_fill(done == 0, -100)
    return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())


def paired(name, tmp_path, which="attention", **kw):
    "(ours, peft's) with the same adapter, carried over by peft's own files."
    theirs = peft_model(name, which, **kw)
    theirs.save_pretrained(tmp_path/"peft")
    return load_lora(build(name), tmp_path/"peft").eval(), theirs


def compare(ours, theirs, side, tolerance=1e-5):
    ids, mask, _ = ragged_pairs(side=side)
    position_ids = (mask.cumsum(1) - 1).clamp(min=0)
    with torch.no_grad(): a, b = forward(ours, ids, mask).logits, theirs(input_ids=ids, attention_mask=mask, position_ids=position_ids).logits
    close(a[mask.bool()], b[mask.bool()], tolerance)


def compare_gradients(ours, theirs, side, tolerance=1e-5):
    ours.zero_grad(), theirs.zero_grad()
    mine, other = loss_of(ours, side), their_loss(theirs)
    close(mine, other, tolerance)
    mine.backward(), other.backward()
    names = {"A": "lora_A.default.weight", "B": "lora_B.default.weight", "m": "lora_magnitude_vector.default.weight"}
    emb = {"A": "lora_embedding_A.default", "B": "lora_embedding_B.default", "m": "lora_magnitude_vector.default.weight"}
    grads, n = gradients(theirs), 0
    for layer_name, layer in lora_layers(ours).items():
        for part, p in layer.updates["default"].named_parameters():
            kinds = emb if isinstance(layer.base_layer, torch.nn.Embedding) else names
            close(p.grad, grads[f"base_model.model.{layer_name}.{kinds[part]}"], tolerance)
            n += 1
    assert n == len(grads) and set(gradients(ours)) == {k for k, p in ours.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("which", ["attention", "all", "embedding"])
@pytest.mark.parametrize("r", [1, 2, 8])
@pytest.mark.parametrize("name", MODELS)
def test_the_matrix(name, r, which, side, tmp_path):
    ours, theirs = paired(name, tmp_path, which, r=r, alpha=8*min(r, 2))
    compare(ours, theirs, side)
    compare_gradients(ours, theirs, side)
    if name.startswith("gpt2"):                          # Llama's and Qwen2's norms compute in float32 whatever they are given
        compare(ours.double(), theirs.double(), side, 1e-9)
        compare_gradients(ours, theirs, side, 1e-9)


@pytest.mark.parametrize("kw", [dict(use_rslora=True), dict(use_dora=True), dict(use_dora=True, use_rslora=True)], ids=str)
@pytest.mark.parametrize("which", ["attention", "all", "embedding"])
@pytest.mark.parametrize("name", MODELS)
def test_rslora_and_dora(name, which, kw, tmp_path):
    ours, theirs = paired(name, tmp_path, which, **kw)
    compare(ours, theirs, "left")
    compare_gradients(ours, theirs, "left")


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_merged(name, dora, tmp_path):
    ours, theirs = paired(name, tmp_path, "all", use_dora=dora)
    theirs.merge_adapter()
    merge_lora(ours)
    compare(ours, theirs, "left")
    before = {n: p.clone() for n, p in ours.named_parameters()}
    unmerge_lora(ours)
    fresh = dict(build(name).named_parameters())
    for _ in range(19): unmerge_lora(merge_lora(ours))
    for n, layer in lora_layers(ours).items(): assert (layer.weight - fresh[f"{n}.weight"]).abs().max() < 1e-6
    assert any((p != before[n]).any() for n, p in ours.named_parameters())


@pytest.mark.parametrize("slices", ["q", "v", "qv", "qkv"])
@pytest.mark.parametrize("kw", [{}, dict(rslora=True), dict(dora=True)], ids=str)
@pytest.mark.parametrize("name", ["gpt2_ours", "gpt2_hf"])
def test_slices_open_in_peft(name, kw, slices, tmp_path):
    from peft import PeftModel
    model = fill(add_lora(build(name), LoRAConfig(r=2, targets=["c_attn", "c_fc"], slices=slices, **kw)))
    save_lora(model, tmp_path)
    theirs = PeftModel.from_pretrained(build("gpt2_hf"), tmp_path).eval()
    compare(model, theirs, "left")
    for n, layer in lora_layers(model).items():
        delta = theirs.get_submodule(f"base_model.model.{n}").get_delta_weight("default").T
        close(layer.updates["default"].delta(), delta)
        if n.endswith("c_attn"):
            for part, rows in zip("qkv", delta.split(32)): assert bool(rows.any()) == (part in slices)
            x = torch.randn(5, 32)
            untouched = [i for i, part in enumerate("qkv") if part not in slices]
            for i in untouched: close(layer(x).split(32, 1)[i], layer.base_layer(x).split(32, 1)[i])
    again = load_lora(build(name), tmp_path).eval()
    for a, b in zip(lora_layers(model).values(), lora_layers(again).values()):
        a, b = a.updates["default"], b.updates["default"]
        assert a.slices == b.slices and a.config == b.config
        assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters()))


@pytest.mark.parametrize("which", ["attention", "all", "embedding"])
@pytest.mark.parametrize("kw", [{}, dict(rslora=True), dict(dora=True)], ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_opens_in_peft(name, kw, which, tmp_path):
    from peft import PeftModel
    model = fill(add_lora(build(name), LoRAConfig(r=2, targets=targets(name, which), **kw)))
    save_lora(model, tmp_path, base="somewhere")
    theirs = PeftModel.from_pretrained(build(name.replace("ours", "hf")), tmp_path).eval()
    compare(model, theirs, "right")
    assert theirs.peft_config["default"].base_model_name_or_path == "somewhere"


@pytest.mark.parametrize("name", MODELS)
def test_default_targets(name):
    from peft import LoraConfig, get_peft_model
    theirs = get_peft_model(build(name.replace("ours", "hf")), LoraConfig())
    assert {n for n, m in theirs.get_base_model().named_modules() if hasattr(m, "lora_A")} == set(lora_layers(add_lora(build(name))))
    every = get_peft_model(build(name.replace("ours", "hf")), LoraConfig(target_modules="all-linear"))
    ours = add_lora(build(name), LoRAConfig(targets="all-linear"))
    assert {n for n, m in every.get_base_model().named_modules() if hasattr(m, "lora_A")} == set(lora_layers(ours))


@pytest.mark.parametrize("name", ["gpt2_ours", "qwen2_hf", "llama_hf"])
def test_a_classifier_opens_in_peft(name, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification

    from ftlib.classify import Classifier
    torch.manual_seed(1)
    model = Classifier(build(name), 3, labels=["a", "b", "c"])
    model.save_pretrained(tmp_path/"base")
    fill(add_lora(model, LoRAConfig(r=2, targets="all-linear")))
    save_lora(model, tmp_path/"adapter")
    base = AutoModelForSequenceClassification.from_pretrained(tmp_path/"base").eval()
    base.config.pad_token_id = None                      # else it takes a last token of that id for padding
    base.score.weight.data.zero_()                       # it comes with the adapter
    theirs = PeftModel.from_pretrained(base, tmp_path/"adapter").eval()
    for row in random_rows((1, 5, 9)):
        ids = torch.tensor([row])
        with torch.no_grad(): close(model(ids, torch.ones_like(ids)), theirs(input_ids=ids).logits)
    fresh = load_lora(Classifier(build(name), 3), tmp_path/"adapter")
    assert torch.equal(fresh.score.weight, model.score.weight)


def test_initial_weights_follow_the_same_distribution():
    from peft import LoraConfig, get_peft_model
    torch.manual_seed(0)
    shape = dict(n_embd=256, n_layer=2, vocab=300)
    ours = add_lora(build("gpt2_hf", **shape), LoRAConfig(r=16, targets=["c_attn", "wte"]))
    theirs = get_peft_model(build("gpt2_hf", **shape), LoraConfig(r=16, target_modules=["c_attn", "wte"], fan_in_fan_out=True))
    for n, layer in lora_layers(ours).items():
        update, peer = layer.updates["default"], theirs.get_submodule(f"base_model.model.{n}")
        emb = n.endswith("wte")
        a, b = (peer.lora_embedding_A.default, peer.lora_embedding_B.default) if emb else (peer.lora_A.default.weight, peer.lora_B.default.weight)
        assert update.A.shape == a.shape and update.B.shape == b.shape
        mine, other, zeros = (update.B, b, (update.A, a)) if emb else (update.A, a, (update.B, b))
        assert not any(z.any() for z in zeros)
        q = torch.linspace(0, 1, 21)
        gap = (mine.detach().flatten().quantile(q[1:-1]) - other.detach().flatten().quantile(q[1:-1])).abs().max()
        assert gap < 0.15*other.std(), (n, gap)
        if not emb: assert mine.abs().max() <= 1/math.sqrt(256)
