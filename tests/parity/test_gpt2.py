"GPT2LM against transformers' GPT2LMHeadModel: logits, loss and every gradient, however rows are padded, with and without a cache."
import copy
import inspect

import models
import pytest
import torch
from ftlib.gpt2 import GPT2LM, GPT2Config

from .gauge import close, gap

LENGTHS = (1, 7, 4, 12, 1, 9)
TOL = 1e-5


def positions_of(mask): return (mask.cumsum(1) - 1).clamp(min=0)


def labels_of(ids, mask):
    "Every real token but the first of its row: a padding query in front of it predicts nothing."
    return ids.masked_fill((mask == 0) | (mask.cumsum(1) == 1), -100)


def run(model, ids, mask, positions=None, mask_used=None):
    "Logits at real tokens, loss, and the gradient of every parameter by name."
    names, params = zip(*dict(model.named_parameters()).items())
    out = model(input_ids=ids, attention_mask=mask if mask_used is None else mask_used, position_ids=positions, labels=labels_of(ids, mask))
    return out.logits[mask.bool()], out.loss, dict(zip(names, torch.autograd.grad(out.loss, params)))


@pytest.fixture(scope="module", params=[dict(), dict(n_layer=3, n_head=2, n_embd=48), dict(activation_function="gelu"), dict(n_inner=40)],
                ids=["plain", "deeper", "exact-gelu", "narrow-mlp"])
def pair(request, tmp_path_factory):
    "A transformers GPT-2 with wide weights and ours, read from the folder it saved."
    theirs = models.gpt2_hf(**request.param)
    theirs.save_pretrained(folder := tmp_path_factory.mktemp("hf"))
    return GPT2LM.from_pretrained(folder), theirs


BATCHES = {"left": dict(side="left"), "right": dict(side="right"), "unpadded": dict(lengths=(9, 9, 9)), "one token": dict(lengths=(1, 2, 1))}
every_batch = pytest.mark.parametrize("batch", BATCHES)


@every_batch
def test_logits_loss_and_every_gradient(pair, batch):
    ours, theirs = pair
    ids, mask = models.ragged_batch(**{"lengths": LENGTHS} | BATCHES[batch])
    a, b = run(ours, ids, mask), run(theirs, ids, mask, positions_of(mask))
    assert min(p.std() for n, p in theirs.named_parameters()) >= 0.15
    close(a, b)


@every_batch
def test_without_a_mask_when_nothing_is_padded(pair, batch):
    ours, _ = pair
    ids, mask = models.ragged_batch(**{"lengths": LENGTHS} | BATCHES[batch])
    with torch.no_grad():
        padded = ours(ids, mask).logits
        for row, m, logits in zip(ids, mask.bool(), padded): close(logits[m], ours(row[m][None]).logits[0])


@pytest.mark.parametrize("side", ["left", "right"])
def test_what_is_wrong_on_purpose_shows(pair, side):
    ours, theirs = pair
    ids, mask = models.ragged_batch(LENGTHS, side=side)
    right, positions = run(theirs, ids, mask, positions_of(mask)), positions_of(mask)
    moved = mask.roll(1, 1)
    for wrong in (run(ours, ids, mask, positions + 1), run(ours, ids, mask, positions, mask_used=moved), run(ours, ids, mask, mask_used=moved)):
        assert gap(wrong[0], right[0])[0] > 1e-2
        assert max(gap(wrong[2][k], right[2][k])[0] for k in right[2]) > 1e-3


def test_positions_by_column_are_another_model(pair):
    "What transformers does when it is given no positions; equal for right padding, wrong for left."
    ours, theirs = pair
    for side, differs in (("right", False), ("left", True)):
        ids, mask = models.ragged_batch(LENGTHS, side=side)
        with torch.no_grad(): by_column, a = theirs(input_ids=ids, attention_mask=mask).logits, ours(ids, mask).logits
        assert (gap(a[mask.bool()], by_column[mask.bool()])[0] > 1e-2) is differs


@pytest.mark.parametrize("sizes", [(5, 1, 1, 1, 1, 1, 1, 1), (4, 5, 3), (1, 11), (1,)*12, (11, 1)], ids=str)
@pytest.mark.parametrize("capacity", [0, 3, 12])
@pytest.mark.parametrize("padded", [True, False])
@torch.no_grad()
def test_cached_chunks_equal_one_pass(pair, sizes, capacity, padded):
    from ftlib.gpt2 import KVCache
    ours, theirs = pair
    ids, mask = models.ragged_batch(LENGTHS if padded else (12, 12), side="left")
    want = theirs(input_ids=ids, attention_mask=mask, position_ids=positions_of(mask)).logits
    cache, got, end = KVCache(capacity), [], 0
    for n in sizes:
        end += n
        out = ours(ids[:, end - n:end], mask[:, :end] if padded else None, past_key_values=cache, use_cache=True)
        assert out.past_key_values is cache and cache.get_seq_length() == end
        got.append(out.logits)
    close(torch.cat(got, 1)[mask.bool()], want[mask.bool()])


@torch.no_grad()
def test_rows_of_a_cache_are_repeated_and_selected(pair):
    ours, _ = pair
    ids, mask = models.ragged_batch((6, 3, 1), side="left")
    cache = ours(ids[:, :5], mask[:, :5], use_cache=True).past_key_values
    cache.batch_repeat_interleave(2)
    cache.batch_select_indices(torch.tensor([0, 3, 5]))
    out = ours(ids[:, 5:], mask, past_key_values=cache).logits
    close(out[:, -1], ours(ids, mask).logits[:, -1])


@torch.no_grad()
def test_last_positions_alone(pair):
    ours, _ = pair
    ids, mask = models.ragged_batch(LENGTHS, side="left")
    close(ours(ids, mask, logits_to_keep=2).logits, ours(ids, mask).logits[:, -2:])


def test_float64_to_the_last_digits(pair):
    ours, theirs = (copy.deepcopy(m).double() for m in pair)
    ids, mask = models.ragged_batch(LENGTHS, side="left")
    a, b = run(ours, ids, mask), run(theirs, ids, mask, positions_of(mask))
    close(a[0], b[0], 1e-9)
    logits = theirs(input_ids=ids, attention_mask=mask, position_ids=positions_of(mask)).logits     # their own loss is summed in float32
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels_of(ids, mask)[:, 1:].flatten())
    names, params = zip(*dict(theirs.named_parameters()).items())
    assert a[1].dtype is torch.float64
    close(a[1], loss, 1e-9)
    close(a[2], dict(zip(names, torch.autograd.grad(loss, params))), 1e-9)


def test_a_training_step_leaves_equal_weights(pair):
    "Tied head included: AdamW must see it once."
    ours, theirs = (copy.deepcopy(m) for m in pair)
    ids, mask = models.ragged_batch(LENGTHS, side="right")
    assert len(list(ours.parameters())) == len(list(theirs.parameters()))
    for model in (ours, theirs):
        opt = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(3):
            opt.zero_grad()
            model(input_ids=ids, attention_mask=mask, position_ids=positions_of(mask), labels=labels_of(ids, mask)).loss.backward()
            opt.step()
    after = dict(theirs.named_parameters())
    assert not [n for n, p in ours.named_parameters() if gap(p, after[n])[0] > 1e-4]
    assert ours.lm_head.weight is ours.transformer.wte.weight


def test_the_callers_padding_token_does_not_matter(pair):
    ours, _ = pair
    logits = []
    for pad_id in (0, 5, 96):
        ids, mask = models.ragged_batch(LENGTHS, side="left", pad_id=pad_id)
        logits.append(ours(ids, mask).logits[mask.bool()])
    assert gap(logits[0], logits[1])[0] == gap(logits[0], logits[2])[0] == 0


def test_no_gradient_is_lost_at_padding(pair):
    "A query with nothing to look at would turn every gradient into NaN."
    ours, _ = pair
    ids, mask = models.ragged_batch((1, 12), side="left")
    ours(ids, mask).logits.sum().backward()
    assert all(p.grad.isfinite().all() for p in ours.parameters())
    ours.zero_grad()


def test_dropout_is_on_in_training_only():
    model = GPT2LM(GPT2Config(vocab_size=50, n_positions=16, n_embd=32, n_layer=2, n_head=4, initializer_range=0.2))
    ids = torch.arange(12)[None]
    assert not torch.equal(model.train()(ids).logits, model(ids).logits)
    assert torch.equal(model.eval()(ids).logits, model(ids).logits)


def test_initialisation_is_transformers():
    "Standard deviations by parameter, seen over a model wide enough to measure them."
    from transformers import GPT2Config as TheirConfig, GPT2LMHeadModel
    shape = dict(vocab_size=300, n_positions=64, n_embd=128, n_layer=6, n_head=4, initializer_range=0.03)
    ours, theirs = GPT2LM(GPT2Config(**shape)), GPT2LMHeadModel(TheirConfig(**shape))
    want = dict(theirs.named_parameters())
    for name, p in ours.named_parameters():
        if p.dim() == 2: assert abs(p.std()/want[name].std() - 1) < 0.1, name
        else: assert torch.equal(p, want[name]), name


def test_the_signature_is_transformers():
    from transformers import GPT2LMHeadModel
    ours = set(inspect.signature(GPT2LM.forward).parameters)
    assert ours <= set(inspect.signature(GPT2LMHeadModel.forward).parameters)
