"Log-probs, loss and gradients beside transformers in float64, trl's helpers and a peft-wrapped model."
import pytest
import torch
from models import VOCAB, build, ragged_pairs
from torch.nn import functional as F

from ftlib import logps as L

from .gauge import close

PROMPTS, COMPLETIONS = (1, 5, 3, 8, 1, 6), (4, 1, 6, 2, 9, 7)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch): monkeypatch.setitem(L.CHUNK, "cpu", 16*VOCAB)


def batch(side): return ragged_pairs(PROMPTS, COMPLETIONS, side=side)


def reference(model, ids, mask, completion):
    "Naive log-probs in float64 with positions counted from the mask, the mean loss and its gradients; the model is changed."
    model = model.double()
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    logits = model(input_ids=ids, attention_mask=mask, position_ids=positions).logits
    logps = F.log_softmax(logits[:, :-1], -1).gather(-1, ids[:, 1:, None])[..., 0]*completion[:, 1:]
    loss = -logps.sum()/completion.sum()
    loss.backward()
    return logps.detach(), loss.detach(), {name: p.grad for name, p in model.named_parameters()}


@pytest.mark.parametrize("side", ["left", "right"])
def test_against_transformers_in_float64(any_model, side):
    some = batch(side)
    name = any_model.test_name.replace("ours", "hf")
    logps, loss, grads = reference(build(name), *some)
    got, scored = L.completion_logps(any_model, *some)
    close(got, logps)
    ways = (-got.sum()/scored.sum(), (lambda total, n: total/n)(*L.completion_nll(any_model, *some)))
    for mine in ways:
        any_model.zero_grad()
        mine.backward()
        close(mine, loss)
        for n, p in any_model.named_parameters(): close(p.grad, grads[n])


@pytest.mark.parametrize("temperature", [1.0, .7])
def test_against_trls_selective_log_softmax(temperature):
    from trl.trainer.utils import selective_log_softmax
    for name in ("gpt2_hf", "llama_hf", "qwen2_hf"):
        model, (ids, mask, completion) = build(name), batch("left")
        logits = L.forward(model, ids, mask).logits
        want = selective_log_softmax(logits[:, :-1], ids[:, 1:], temperature)*completion[:, 1:]
        got = L.completion_logps(model, ids, mask, completion, temperature)[0]
        close(got, want.detach().double())
        want.sum().backward()
        theirs = {n: p.grad.double() for n, p in model.named_parameters()}
        model.zero_grad()
        got.sum().backward()
        for n, p in model.named_parameters(): close(p.grad, theirs[n])


def by_trl(name, ids, mask, completion):
    "Per-token log-probs from trl's own fused head, called as its RLOO trainer calls it: ids and mask, no positions."
    from trl.trainer.utils import add_fused_lm_head
    model = build(name)
    add_fused_lm_head(model)
    labels = ids.masked_fill(completion == 0, -100)
    return model(input_ids=ids, attention_mask=mask, labels=labels, fused_lm_head=True).log_probs.detach()


@pytest.mark.parametrize("name", ["gpt2_hf", "llama_hf", "qwen2_hf"])
def test_against_trls_fused_head(name):
    some = batch("right")
    close(L.completion_logps(build(name), *some)[0].detach(), by_trl(name, *some).double())


def test_trls_positions_under_left_padding():
    "An intended divergence: trl numbers GPT-2's columns, so padded rows are off by nats; rotary models and whole rows agree."
    ids, mask, completion = batch("left")
    padded = mask[:, 0] == 0
    want = reference(build("gpt2_hf"), ids, mask, completion)[0]
    theirs, ours = by_trl("gpt2_hf", ids, mask, completion), L.completion_logps(build("gpt2_hf"), ids, mask, completion)[0].detach()
    off = (theirs - want).abs().max(1).values
    assert padded.any() and not padded.all() and off[padded].min() > .1 and off[padded].max() > 1 and off[~padded].max() < 1e-4
    close(ours, want)
    for name in ("llama_hf", "qwen2_hf"): close(L.completion_logps(build(name), ids, mask, completion)[0].detach(), by_trl(name, ids, mask, completion).double(), 2e-5)


@pytest.mark.parametrize("name,targets", [("gpt2_hf", ["c_attn"]), ("qwen2_hf", ["q_proj", "v_proj"]), ("llama_hf", ["q_proj", "lm_head"])])
def test_a_peft_model_goes_through_the_door(name, targets):
    "peft hides the model's parameters behind **kwargs; positions, head and gradients are found all the same."
    from peft import LoraConfig, get_peft_model
    model, (ids, mask, completion) = build(name), batch("left")
    torch.manual_seed(0)
    model = get_peft_model(model, LoraConfig(r=2, target_modules=targets, init_lora_weights=False)).eval()
    assert L.takes_positions(model)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    logits = model(input_ids=ids, attention_mask=mask, position_ids=positions).logits
    want = F.log_softmax(logits[:, :-1], -1).gather(-1, ids[:, 1:, None])[..., 0]*completion[:, 1:]
    trained = [p for p in model.parameters() if p.requires_grad]
    theirs = torch.autograd.grad(want.sum(), trained)
    got = L.completion_logps(model, ids, mask, completion)[0]
    close(got.detach(), want.detach().double())
    for a, b in zip(torch.autograd.grad(got.sum(), trained), theirs): close(a, b.double())
    for a, b in zip(torch.autograd.grad(-L.completion_nll(model, ids, mask, completion)[0], trained), theirs): close(a, b.double())
