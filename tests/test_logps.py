"Log-probs of completions: shifts and masks, positions, gradients, precision, memory, and KL estimators against the exact KL."
import copy
import json

import pytest
import torch
from memory import can_measure, in_fresh_process
from models import VOCAB, build, pad, ragged_pairs, random_rows
from torch import nn
from torch.nn import functional as F

from ftlib import logps as L

PROMPTS, COMPLETIONS = (1, 5, 3, 8, 1, 4), (4, 1, 6, 2, 1, 0)      # one-token prompts and completions, and a row without one


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    "Several chunks and a remainder even in tests: 16 rows at a time."
    monkeypatch.setitem(L.CHUNK, "cpu", 16*VOCAB)


def batch(side="right"):
    "(ids, attention mask, completion mask), 24 or more scored tokens so that there are two chunks."
    prompts, completions = PROMPTS + (2, 3), COMPLETIONS + (9, 7)
    if side != "middle": return ragged_pairs(prompts, completions, side=side)
    rows = random_rows([p + c for p, c in zip(prompts, completions)])
    first, first_mask = pad([row[:p] for row, p in zip(rows, prompts)])
    then, then_mask = pad([row[p:] for row, p in zip(rows, prompts)])
    return torch.cat([first, then], 1), torch.cat([first_mask, then_mask], 1), torch.cat([first_mask*0, then_mask], 1)


def one_by_one(model, ids, mask, completion, temperature=1.0):
    "Every row alone and without padding, every token from the logits of the one before it: list of (n_i,) log-probs."
    out = []
    for row, real, done in zip(ids, mask.bool(), completion.bool()):
        row, done = row[real], done[real]
        logits = model(input_ids=row[None]).logits[0]/temperature
        out.append(torch.stack([logits[j - 1].log_softmax(-1)[row[j]] for j in range(1, len(row)) if done[j]])
                   if done[1:].any() else logits.new_zeros(0))
    return out


def close(got, want, eps=1e-5):
    "Within eps of the largest reference value, or of 1."
    assert got.shape == want.shape
    if want.numel(): assert (got - want).abs().max() <= eps*max(1, want.abs().max().item())


def gradients(model):
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def same_gradients(model, got, want, eps=1e-5):
    "`got` and `want` are scalars with a graph each; the model's gradients of the two agree, and are not nothing."
    found = []
    for loss in (got, want):
        model.zero_grad()
        loss.backward()
        found.append(gradients(model))
    assert found[0].keys() == found[1].keys() and max(g.abs().max() for g in found[1].values()) > 1e-3
    for name, g in found[1].items(): close(found[0][name], g, eps)


# --- the numbers


@pytest.mark.parametrize("side", ["right", "left", "middle"])
@pytest.mark.parametrize("temperature", [1.0, .7])
def test_equals_rows_alone(any_model, side, temperature):
    ids, mask, completion = batch(side)
    want = one_by_one(any_model, ids, mask, completion, temperature)
    logps, scored = L.completion_logps(any_model, ids, mask, completion, temperature)
    assert scored.sum(1).int().tolist() == [len(w) for w in want] == list(COMPLETIONS + (9, 7))
    assert torch.equal(scored != 0, (completion[:, 1:] != 0)) and not logps[scored == 0].any()
    for i, w in enumerate(want): close(logps[i][scored[i] != 0], w)
    weights = [torch.linspace(-1, 2, len(w)) for w in want]
    mine = sum((logps[i][scored[i] != 0]*w).sum() for i, w in enumerate(weights))
    same_gradients(any_model, mine, sum((a*w).sum() for a, w in zip(want, weights)))


@pytest.mark.parametrize("side", ["right", "left", "middle"])
def test_nll_equals_rows_alone(any_model, side):
    ids, mask, completion = batch(side)
    want = -torch.cat(one_by_one(any_model, ids, mask, completion)).sum()
    total, n = L.completion_nll(any_model, ids, mask, completion)
    assert n.item() == sum(COMPLETIONS) + 16
    close(total.detach(), want.detach())
    same_gradients(any_model, total*.3, want*.3)


@pytest.mark.parametrize("name", ["gpt2_ours", "qwen2_hf"])
def test_float64(name):
    model = build(name).double()
    ids, mask, completion = batch("left")
    want = torch.cat(one_by_one(model, ids, mask, completion))
    logps, scored = L.completion_logps(model, ids, mask, completion)
    assert logps.dtype == torch.float64
    close(logps[scored != 0], want, 1e-9)
    same_gradients(model, (logps*scored).square().sum(), want.square().sum(), 1e-9)
    same_gradients(model, L.completion_nll(model, ids, mask, completion)[0], -torch.cat(one_by_one(model, ids, mask, completion)).sum(), 1e-9)


def test_a_shifted_mask_is_noticed(any_model):
    "These tests can fail: a mask that did not move along gives other numbers, and so do positions that count columns."
    ids, mask, completion = batch("left")
    want = torch.stack([w.sum() for w in one_by_one(any_model, ids, mask, completion)])
    shifted = L.completion_logps(any_model, ids, mask, completion.roll(1, 1)*mask)[0].sum(1)
    assert (shifted - want).abs().max() > .5
    columns = torch.arange(ids.shape[1]).expand_as(ids)
    with torch.no_grad(): logits = L.forward(any_model, ids, mask, position_ids=columns).logits
    off = ((L.token_logps(logits, ids)*completion[:, 1:]).sum(1) - want).abs().max()
    assert off > .5 if "gpt2" in any_model.test_name else off < 1e-3          # rotary positions are relative


def test_token_logps_by_hand():
    logits = torch.tensor([[[.7, .2, .1], [.1, .6, .3], [.3, .3, .4]]]).log() + 3
    close(L.token_logps(logits, torch.tensor([[0, 2, 1]])).exp(), torch.tensor([[.1, .6]]), 1e-6)


# --- masks


@pytest.mark.parametrize("kind", [torch.bool, torch.int32, torch.float32])
def test_masks_of_any_type(kind):
    model, (ids, mask, completion) = build("gpt2_ours"), batch("left")
    want = L.completion_logps(model, ids, mask, completion)
    for m, c in ((mask, completion.to(kind)), (mask.to(kind), completion), (mask.to(kind), completion.to(kind))):
        got = L.completion_logps(model, ids, m, c)
        close(got[0], want[0], 1e-6)
        assert torch.equal(got[1], want[1])


def test_completion_outside_attention_is_not_scored(any_model):
    ids, mask, completion = batch("right")
    want = L.completion_logps(any_model, ids, mask, completion)
    got = L.completion_logps(any_model, ids, mask, completion | (1 - mask))
    assert torch.equal(got[1], want[1])
    close(got[0], want[0], 1e-6)


@pytest.mark.parametrize("side", ["right", "left"])
def test_the_first_real_token_is_never_scored(any_model, side):
    ids, mask, _ = batch(side)
    logps, scored = L.completion_logps(any_model, ids, mask, torch.ones_like(ids))
    assert scored.sum(1).tolist() == (mask.sum(1) - 1).tolist()
    want = one_by_one(any_model, ids, mask, torch.ones_like(ids))
    close(logps.sum(1), torch.stack([w.sum() for w in want]))


def test_prompt_mask_is_attention_without_completion(monkeypatch):
    model, (ids, mask, completion) = build("gpt2_ours"), batch("left")
    seen = []
    model.transformer.register_forward_pre_hook(lambda *_: seen.append(L.PROMPT_MASK.get()))
    L.completion_logps(model, ids, mask, completion)
    assert torch.equal(seen[0], mask*(1 - completion)) and L.PROMPT_MASK.get() is None


@pytest.mark.parametrize("name", ["gpt2_ours", "qwen2_hf"])
def test_nothing_to_score(name):
    model, (ids, mask, completion) = build(name), batch("left")
    total, n = L.completion_nll(model, ids, mask, completion*0)
    logps, scored = L.completion_logps(model, ids, mask, completion*0)
    assert total.item() == n.item() == 0 and not logps.any() and not scored.any() and logps.shape == scored.shape == completion[:, 1:].shape
    (total + logps.sum()).backward()
    assert all(not g.any() for g in gradients(model).values())
    one = torch.ones(2, 1, dtype=torch.long)
    assert L.completion_logps(model, one, one, one)[0].shape == (2, 0)


def test_wrong_shapes_are_named():
    model, (ids, mask, completion) = build("gpt2_ours"), batch()
    with pytest.raises(ValueError, match=r"completion_mask is \(8, 10\), input_ids \(8, 11\)"):
        L.completion_logps(model, ids, mask, completion[:, 1:])
    with pytest.raises(ValueError, match="attention_mask"): L.completion_nll(model, ids, mask[:1], completion)
    for temperature in (0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="above 0"): L.completion_logps(model, ids, mask, completion, temperature)


# --- the graph


def test_two_uses_in_one_graph_and_a_tied_embedding():
    model, a, b = build("gpt2_ours"), batch("left"), batch("right")
    def naive(ids, mask, completion): return -(L.token_logps(L.forward(model, ids, mask).logits, ids)*completion[:, 1:]).sum()
    assert model.lm_head.weight is model.transformer.wte.weight
    got = L.completion_nll(model, *a)[0]*2 + L.completion_nll(model, *b)[0] - L.completion_logps(model, *a)[0].sum()/3
    same_gradients(model, got, naive(*a)*2 + naive(*b) + naive(*a)/3)
    before = gradients(model)
    L.completion_nll(model, *a)[0].backward()                                   # adds to what is there
    assert not torch.equal(before["transformer.wte.weight"], model.transformer.wte.weight.grad)


@pytest.mark.parametrize("name", ["gpt2_ours", "gpt2_hf", "qwen2_hf"])
def test_a_tied_embedding_makes_no_second_table(name, monkeypatch):
    "The rows' gradient is added into the head's, which becomes the parameter's; what the model looks like is as before."
    model, some = build(name), batch("left")
    weight, seen = L.output_head(model).weight, []
    backward = L.TiedRows.backward
    monkeypatch.setattr(L.TiedRows, "backward", staticmethod(lambda ctx, rows, table: seen.append(table.data_ptr()) or backward(ctx, rows, table)))
    for score in (lambda: L.completion_nll(model, *some)[0], lambda: L.completion_logps(model, *some)[0].sum()):
        model.zero_grad()
        loss = score()
        assert L.is_tied(model, L.output_head(model)) and "forward" not in model.get_input_embeddings().__dict__
        loss.backward()
        assert weight.grad.data_ptr() == seen[-1] and not weight.grad.is_sparse
    assert len(seen) == 2
    twice = L.completion_logps(model, *some)[0].sum()
    first, = torch.autograd.grad(twice, weight, retain_graph=True)
    second, = torch.autograd.grad(twice, weight)
    assert torch.equal(first, second)


def test_which_models_are_tied():
    tied = lambda m: L.is_tied(m, L.output_head(m))
    assert tied(build("gpt2_ours")) and not tied(build("llama_hf")) and not tied(torch.compile(build("gpt2_ours"), backend="eager"))
    model = build("gpt2_ours")
    model.lm_head = Adapted(model.lm_head)
    assert not tied(model)
    model = build("qwen2_hf")
    model.model.embed_tokens.padding_idx = 3                         # whose row wants no gradient
    assert not tied(model)


def test_logps_go_backward_twice_and_nll_says_it_cannot():
    model, some = build("gpt2_ours"), batch()
    loss = L.completion_logps(model, *some)[0].sum()
    loss.backward(retain_graph=True)
    once = gradients(model)
    loss.backward()
    for name, g in gradients(model).items(): close(g, 2*once[name])
    total = L.completion_nll(model, *some)[0]
    total.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="backward once"): total.backward()


def test_second_derivatives_are_refused():
    h, w = torch.randn(5, 4, requires_grad=True), torch.randn(VOCAB, 4, requires_grad=True)
    for out in (L.HeadLogps.apply(h, w, None, torch.arange(5), 1.0).sum(), L.HeadNLL.apply(h, w, None, torch.arange(5))):
        g, = torch.autograd.grad(out, h, create_graph=True)
        with pytest.raises(RuntimeError): g.sum().backward()


def test_a_frozen_head_gets_no_gradient_and_passes_one_on(monkeypatch):
    model, some = build("qwen2_hf"), batch()
    full = [L.completion_nll(model, *some)[0], L.completion_logps(model, *some)[0].sum()*-1]
    full[0].backward()
    want = gradients(model)
    made = []
    init = L.HeadGrads.__init__
    def watched(self, *args):
        init(self, *args)
        made.append(self)
    monkeypatch.setattr(L.HeadGrads, "__init__", watched)
    model.get_output_embeddings().weight.requires_grad_(False)                  # tied: the embedding is frozen too
    for loss in (L.completion_nll(model, *some)[0], -L.completion_logps(model, *some)[0].sum()):
        model.zero_grad()
        loss.backward()
        assert made[-1].dw is None and made[-1].dh is not None
        for name, g in gradients(model).items(): close(g, want[name])


def test_only_the_head_trains():
    h, head = torch.randn(40, 8), nn.Linear(8, VOCAB)
    y = torch.randint(VOCAB, (40,))
    F.cross_entropy(head(h), y, reduction="sum").backward()
    want = [p.grad.clone() for p in head.parameters()]
    for score in (lambda: L.HeadNLL.apply(h, head.weight, head.bias, y), lambda: -L.head_logps(head, h, y).sum()):
        head.zero_grad()
        score().backward()
        for p, g in zip(head.parameters(), want): close(p.grad, g)


def test_no_gradient_is_made_without_grad(monkeypatch):
    model, some = build("gpt2_ours"), batch()
    want = L.completion_nll(model, *some)[0].detach()
    monkeypatch.setattr(L.HeadGrads, "add", lambda *a: pytest.fail("a gradient was made for nobody"))
    for context in (torch.no_grad, torch.inference_mode):
        with context(): close(L.completion_nll(model, *some)[0], want)
    model.requires_grad_(False)
    close(L.completion_nll(model, *some)[0], want)


# --- heads


class Adapted(nn.Module):
    "A linear layer with something beside it, as an adapter makes it."
    def __init__(self, base, rank=2):
        super().__init__()
        self.base, self.drop = base, nn.Dropout(.5)
        self.a, self.b = nn.Parameter(torch.randn(rank, base.in_features)), nn.Parameter(torch.randn(base.out_features, rank)*.3)

    def forward(self, x): return self.base(x) + self.drop(x) @ self.a.T @ self.b.T


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("temperature", [1.0, .5])
def test_any_head(bias, temperature):
    torch.manual_seed(0)
    linear = nn.Linear(8, VOCAB, bias=bias)
    for head in (linear, Adapted(linear).eval()):
        h, y = torch.randn(50, 8, requires_grad=True), torch.randint(VOCAB, (50,))
        leaves, weights = [h, *head.parameters()], torch.linspace(-1, 1, 50)
        want = (head(h)/temperature).log_softmax(-1).gather(-1, y[:, None])[:, 0]
        got = L.head_logps(head, h, y, temperature)
        close(got, want)
        for a, b in zip(*(torch.autograd.grad((x*weights).sum(), leaves) for x in (got, want))): close(a, b)
        assert L.head_logps(head, h[:0], y[:0]).shape == (0,)


@pytest.mark.parametrize("name", ["gpt2_ours", "llama_hf"])
def test_a_wrapped_head_in_a_model(name):
    torch.manual_seed(0)
    model, (ids, mask, completion) = build(name), batch("left")
    model.lm_head = Adapted(model.lm_head).eval()
    want = (L.token_logps(L.forward(model, ids, mask).logits, ids)*completion[:, 1:]).sum()
    same_gradients(model, L.completion_logps(model, ids, mask, completion)[0].sum(), want)
    want = (L.token_logps(L.forward(model, ids, mask).logits, ids)*completion[:, 1:]).sum()
    same_gradients(model, L.completion_nll(model, ids, mask, completion)[0], -want)
    model.lm_head.train()                                            # its dropout is the same in a chunk's two forward passes
    L.completion_logps(model, ids, mask, completion)[0].sum().backward()


def test_a_head_whose_forward_was_replaced_is_called():
    model, some = build("gpt2_ours"), batch()
    plain = model.lm_head.forward
    model.lm_head.forward = lambda h: plain(h)*2                      # what hooks that move weights about do
    ids, mask, completion = some
    want = L.token_logps(L.forward(model, ids, mask).logits, ids)*completion[:, 1:]
    close(L.completion_logps(model, *some)[0], want)
    assert "forward" in model.lm_head.__dict__


def test_the_head_is_put_back(any_model):
    ids, mask, _ = batch()
    before = L.forward(any_model, ids, mask).logits
    head = L.output_head(any_model)
    with pytest.raises(RuntimeError):
        with L.swapped(head, lambda h: h): raise RuntimeError
    states = L.hidden_states(any_model, ids, mask)
    assert "forward" not in head.__dict__ and states.shape == (*ids.shape, 32)
    assert torch.equal(L.forward(any_model, ids, mask).logits, before)
    close(states @ head.weight.T, before)


def test_models_whose_logits_are_more_than_the_head():
    from transformers import Gemma2Config, Gemma2ForCausalLM, GPT2Config, GPT2Model, GraniteConfig, GraniteForCausalLM
    shape = dict(vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, num_key_value_heads=1)
    with pytest.raises(ValueError, match="final_logit_softcapping=30"): L.output_head(Gemma2ForCausalLM(Gemma2Config(**shape, head_dim=8)))
    with pytest.raises(ValueError, match="logits_scaling=4"): L.output_head(GraniteForCausalLM(GraniteConfig(**shape, logits_scaling=4.0)))
    assert L.output_head(GraniteForCausalLM(GraniteConfig(**shape))).out_features == 8
    for m in (GPT2Model(GPT2Config(vocab_size=8, n_embd=8, n_layer=1, n_head=1)), nn.Linear(2, 2)):
        with pytest.raises(ValueError, match="no output head"): L.output_head(m)


# --- precision


@pytest.mark.parametrize("name", ["gpt2_ours", "llama_hf"])
def test_bfloat16_autocast(name):
    model, (ids, mask, completion) = build(name), batch("left")
    exact, scored = L.completion_logps(model, ids, mask, completion)
    seen = []
    chunks = L.head_chunks
    def watched(h, w, *rest):
        seen.append((h.dtype, w.dtype))
        yield from chunks(h, w, *rest)
    L.head_chunks = watched
    try:
        with torch.autocast("cpu", torch.bfloat16):
            logps, _ = L.completion_logps(model, ids, mask, completion)
            total, n = L.completion_nll(model, ids, mask, completion)
            naive = L.token_logps(L.forward(model, ids, mask).logits.float(), ids)*completion[:, 1:]
        (logps.sum() + total).backward()
    finally: L.head_chunks = chunks
    assert set(seen) == {(torch.bfloat16, torch.bfloat16)} and len(seen) == 3
    assert logps.dtype == total.dtype == torch.float32 and all(p.grad.dtype == torch.float32 for p in model.parameters())
    assert (logps - exact).abs().max() < .5 and abs(logps.mean() - naive.mean()) < .02*naive.mean().abs()
    with torch.autocast("cpu", torch.bfloat16): inside = L.completion_nll(model, ids, mask, completion)[0]
    with torch.autocast("cpu", torch.bfloat16): inside.backward()                 # backward within the context as well


def test_backward_within_autocast_changes_nothing_in_float32():
    model, some = build("gpt2_ours"), batch()
    L.completion_logps(model, *some)[0].sum().backward()
    h, w = torch.randn(40, 8, requires_grad=True), torch.randn(VOCAB, 8, requires_grad=True)
    out = L.HeadLogps.apply(h, w, None, torch.arange(40), 1.0).sum()
    want = torch.autograd.grad(out, (h, w), retain_graph=True)
    with torch.autocast("cpu", torch.bfloat16): got = torch.autograd.grad(out, (h, w))
    for a, b in zip(got, want): assert torch.equal(a, b)


def test_a_bfloat16_model():
    model, some = build("gpt2_ours").bfloat16(), batch()
    logps, _ = L.completion_logps(model, *some)
    assert logps.dtype == torch.float32
    (logps.sum() + L.completion_nll(model, *some)[0]).backward()
    assert model.transformer.wte.weight.grad.dtype == torch.bfloat16


def test_large_logits():
    h, w = torch.full((20, 4), 100.0, requires_grad=True), (torch.randn(VOCAB, 4)*10).requires_grad_()
    y = torch.arange(20)
    want = (h @ w.T).log_softmax(-1).gather(-1, y[:, None])[:, 0]
    close(L.HeadLogps.apply(h, w, None, y, 1.0), want)
    close(L.HeadNLL.apply(h, w, None, y), -want.sum())


# --- the door


def test_positions_come_from_the_mask(any_model):
    ids, mask, _ = batch("left")
    alone = [any_model(input_ids=row[real][None]).logits[0] for row, real in zip(ids, mask.bool())]
    logits = L.forward(any_model, ids, mask).logits
    for found, real, want in zip(logits, mask.bool(), alone): close(found[real], want)


@pytest.mark.parametrize("name", ["gpt2_ours", "gpt2_hf", "qwen2_hf"])
@torch.no_grad()
def test_positions_with_a_cache(name):
    model, (ids, mask, _) = build(name), batch("left")
    full, past = L.forward(model, ids, mask).logits, None
    for start, end in ((0, 5), (5, 6), (6, ids.shape[1])):
        out = L.forward(model, ids[:, start:end], mask[:, :end], past_key_values=past, use_cache=True)
        past = out.past_key_values
        real = mask[:, start:end].bool()
        close(out.logits[real], full[:, start:end][real])


def test_a_model_without_positions_gets_none():
    class Plain(nn.Module):
        def forward(self, input_ids, attention_mask=None): return L.PROMPT_MASK.get()
    assert not L.takes_positions(Plain()) and L.forward(Plain(), torch.ones(1, 2), torch.ones(1, 2), "here") == "here"


def test_prompt_mask_is_reset_after_an_error():
    class Broken(nn.Module):
        def forward(self, input_ids, attention_mask=None): raise RuntimeError(L.PROMPT_MASK.get())
    with pytest.raises(RuntimeError, match="here"): L.forward(Broken(), None, None, "here")
    assert L.PROMPT_MASK.get() is None


def test_wrapped_models(any_model):
    class Wrapper(nn.Module):                                     # what data-parallel training and torch.compile look like
        def __init__(self, model, name):
            super().__init__()
            setattr(self, name, model)
            self.inner = [model]
        def forward(self, *args, **kw): return self.inner[0](*args, **kw)
    ids, mask, completion = batch("left")
    want = L.completion_logps(any_model, ids, mask, completion)[0]
    wrapped = Wrapper(Wrapper(any_model, "_orig_mod"), "module")
    assert L.unwrap(wrapped) is any_model and L.takes_positions(wrapped)
    assert torch.equal(L.completion_logps(wrapped, ids, mask, completion)[0], want)


def test_scoring_caches_nothing(any_model):
    ids, mask, _ = batch()
    seen = []
    forward = type(any_model).forward
    def watched(self, *args, **kw):
        seen.append(kw.get("use_cache"))
        return forward(self, *args, **kw)
    watched.__signature__ = __import__("inspect").signature(forward)
    any_model.__class__ = type("Watched", (type(any_model),), {"forward": watched})
    L.hidden_states(any_model, ids, mask)
    L.hidden_states(any_model, ids, mask, use_cache=True)
    assert seen == [False, True]


def test_a_compiled_model():
    model, some = build("gpt2_ours"), batch("left")
    ids, mask, completion = some
    compiled = torch.compile(model, backend="eager")
    want = (L.token_logps(model(ids, mask).logits, ids)*completion[:, 1:]).detach()
    for _ in range(2):                                            # headless and whole in turn: the swap must be noticed
        close(L.completion_logps(compiled, *some)[0], want)
        close(L.token_logps(L.forward(compiled, ids, mask).logits, ids)*completion[:, 1:], want)
    got = L.completion_nll(compiled, *some)[0]
    same_gradients(model, got, -(L.token_logps(model(ids, mask).logits, ids)*completion[:, 1:]).sum())


# --- chunks and memory


@pytest.mark.parametrize("n,vocab", [(0, 10), (1, 10), (16, 10**9), (1000, 97), (1000, 50257)])
def test_chunks_cover_every_row_once(n, vocab):
    parts = L.chunks(n, vocab, "cpu")
    assert [i for s in parts for i in range(s.start, s.stop)] == list(range(n)) and parts
    assert all((s.stop - s.start)*vocab <= max(L.CHUNK["cpu"], 16*vocab) for s in parts)
    assert L.chunks(10, 10, torch.device("meta"))


MEASURE = """
import json, torch
from memory import peak_of
from ftlib.gpt2 import GPT2LM, GPT2Config
from ftlib.logps import completion_logps, completion_nll, forward, token_logps
def peak(way, vocab):
    torch.manual_seed(0)
    model = GPT2LM(GPT2Config(vocab_size=vocab, n_positions=128, n_embd=96, n_layer=2, n_head=2)).eval()
    ids = torch.randint(vocab, (4, 128)); mask = torch.ones_like(ids)
    loss = {"naive": lambda: -token_logps(forward(model, ids, mask).logits, ids).sum(),
            "logps": lambda: -completion_logps(model, ids, mask, mask)[0].sum(),
            "nll": lambda: completion_nll(model, ids, mask, mask)[0]}[way]
    return peak_of(lambda: loss().backward()) - sum(p.numel() for p in model.parameters())*4/2**20
for way in ("naive", "logps", "nll"): peak(way, 1000)
print(json.dumps({way: [peak(way, v) for v in (50257, 100514)] for way in ("logps", "nll", "naive")}))
"""


@pytest.mark.skipif(not can_measure(), reason="this system does not tell how much memory was held at most")
@pytest.mark.parametrize("malloc", ["as it comes", "exact"])
def test_peak_memory_does_not_grow_with_the_vocabulary(malloc):
    "Forward and backward of a whole model at 50,257 tokens and at twice as many, beyond weights and their gradients."
    peaks = json.loads(in_fresh_process(MEASURE, **{"MALLOC_MMAP_THRESHOLD_": "65536"} if malloc == "exact" else {}))
    assert peaks["naive"][1] > 1.8*peaks["naive"][0] and peaks["naive"][0] > 250
    for way in ("logps", "nll"):
        assert peaks[way][1] < 1.1*peaks[way][0], peaks
        assert peaks[way][0] < peaks["naive"][0]/2.5, peaks


# --- KL


@pytest.mark.parametrize("seed", range(4))
def test_kl_estimators_against_the_exact_kl(seed):
    g = torch.Generator().manual_seed(seed)
    p, q = (torch.randn(7, generator=g, dtype=torch.float64).log_softmax(-1) for _ in range(2))
    kl = (p.exp()*(p - q)).sum()
    mean = {kind: (p.exp()*L.kl_estimate(p, q, kind)).sum() for kind in ("k1", "k2", "k3")}
    assert kl > .05
    close(mean["k1"], kl, 1e-12)
    close(mean["k3"], kl, 1e-12)
    close(mean["k2"], (p.exp()*(p - q)**2).sum()/2, 1e-12)
    assert (L.kl_estimate(p, q, "k3") >= 0).all() and (L.kl_estimate(p, q, "k2") >= 0).all() and (L.kl_estimate(p, q) < 0).any()
    assert abs((p.exp()*L.kl_estimate(q, p, "k3")).sum() - kl) > 1e-3          # the wrong way round is another number


def test_kl_of_samples_and_of_nothing():
    torch.manual_seed(0)
    p, q = torch.randn(5).log_softmax(-1), torch.randn(5).log_softmax(-1)
    ids = torch.multinomial(p.exp(), 200_000, replacement=True)
    kl = (p.exp()*(p - q)).sum()
    for kind in ("k1", "k3"):
        k = L.kl_estimate(p[ids], q[ids], kind)
        assert abs(k.mean() - kl) < 4*k.std()/len(ids)**.5
    for kind in ("k1", "k2", "k3"): assert not L.kl_estimate(p, p, kind).any()
    with pytest.raises(ValueError, match="k1, k2, k3"): L.kl_estimate(p, q, "k4")


@pytest.mark.parametrize("name", ["gpt2_ours", "llama_hf"])
def test_a_snapshot_is_scored_alike(name):
    "A copied model, as a reference for KL is, scores with its own weights."
    model, some = build(name), batch("left")
    L.completion_logps(model, *some)
    ref = copy.deepcopy(model)
    with torch.no_grad():
        for p in model.parameters(): p.mul_(1.1)
    mine, theirs = L.completion_logps(model, *some), L.completion_logps(ref, *some)
    assert (mine[0] - theirs[0]).abs().max() > .01
    close(theirs[0].sum(1), torch.stack([w.sum() for w in one_by_one(ref, *some)]))
