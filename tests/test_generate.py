"generate: what it refuses, what its outputs promise, and that dropping rows, padding and company change nothing."
import math

import pytest
import torch
from models import VOCAB, gpt2_ours, ragged_batch, random_rows

from ftlib.generate import FIRST, Completions, Sampler, candidates, decode, draw, generate, luck_of, make_cache, penalise, said_so_far
from ftlib.gpt2 import KVCache
from ftlib.logps import PROMPT_MASK, completion_logps

ENDS = list(range(0, VOCAB, 4))          # a quarter of all tokens end a row, so that rows end early and at different times
LENGTHS = (1, 7, 4, 12, 1, 9)


@pytest.fixture
def batch(): return ragged_batch(LENGTHS, side="left")


def scored(model, done, mask, n, temperature):
    "Log-probs of the completions from a fresh pass over the whole sequences."
    prompt = mask.repeat_interleave(n, 0)
    full, only = torch.cat([prompt, done.completion_mask], 1), torch.cat([0*prompt, done.completion_mask], 1)
    with torch.no_grad(): return completion_logps(model, done.sequences, full, only, temperature)[0][:, mask.shape[1]-1:]


# --- what is refused


@pytest.mark.parametrize("change,message", [
    ({"temperature": -.1}, "temperature=-0.1"), ({"top_k": -1}, "top_k=-1"), ({"top_p": 0}, "top_p=0"), ({"top_p": 1.1}, "top_p=1.1"),
    ({"min_p": -.1}, "min_p=-0.1"), ({"min_p": 2}, "min_p=2"), ({"repetition_penalty": 0}, "repetition_penalty=0"),
    ({"temperature": math.nan}, "temperature=nan"), ({"max_new_tokens": 0}, "max_new_tokens=0"),
    ({"num_return_sequences": 0}, "num_return_sequences=0"), ({"max_new_tokens": 54}, "64 positions")])
def test_impossible_options_are_named(batch, change, message):
    with pytest.raises(ValueError, match=message): generate(gpt2_ours(), *batch, **{"max_new_tokens": 4, **change})


def test_prompts_that_cannot_be_continued():
    model = gpt2_ours()
    ids, mask = ragged_batch((3, 5, 2), side="right")
    with pytest.raises(ValueError, match="row 0 ends in padding"): generate(model, ids, mask, 4)
    with pytest.raises(ValueError, match="row 2 ends in padding"): generate(model, ids, torch.tensor([[1]*5, [1]*5, [1]*4 + [0]]).bool(), 4)
    for empty in (torch.zeros(2, 0, dtype=torch.long), torch.zeros(0, 4, dtype=torch.long), torch.zeros(4, dtype=torch.long)):
        with pytest.raises(ValueError, match="input_ids must be"): generate(model, empty, None, 4)
    with pytest.raises(ValueError, match="differ"): generate(model, ids, mask[:, 1:], 4)
    with pytest.raises(ValueError, match="ends in padding"): generate(model, ids, torch.zeros_like(mask), 4)


def test_all_positions_can_be_used():
    model, ids = gpt2_ours(n_positions=16), torch.tensor([random_rows([10])[0]])
    done = generate(model, ids, None, 7, seed=0)                # the seventh is sampled at the last position and never fed
    assert done.sequences.shape == (1, 17)
    with pytest.raises(ValueError, match="10 prompt and 8 new"): generate(model, ids, None, 8)


# --- what comes back


@pytest.mark.parametrize("options", [
    {"temperature": 0}, {}, {"temperature": .7, "top_p": .9}, {"top_k": 5, "repetition_penalty": 1.3}, {"min_p": .1, "temperature": 1.5},
    {"temperature": 0, "repetition_penalty": 1.5}], ids=str)
def test_masks_and_logps(any_model, batch, options):
    n, new = 3, 10
    done = generate(any_model, *batch, new, num_return_sequences=n, eos_token_id=ENDS, pad_token_id=5, seed=0, **options)
    assert isinstance(done, Completions)
    b, t = batch[0].shape
    assert done.sequences.shape == (b*n, t+new) and done.completion_mask.shape == done.logps.shape == (b*n, new)
    assert torch.equal(done.sequences[:, :t], batch[0].repeat_interleave(n, 0))
    tokens, mask = done.sequences[:, t:], done.completion_mask.bool()
    for row, m in zip(tokens.tolist(), mask.sum(1).tolist()):
        end = next((i for i, x in enumerate(row) if x in ENDS), new - 1)
        assert m == end + 1 and row[m:] == [5]*(new - m)
    assert not (mask[:, 1:] & ~mask[:, :-1]).any() and mask[:, 0].all()
    assert (done.logps[~mask] == 0).all() and (done.logps[mask] < 0).all()
    again = scored(any_model, done, batch[1], n, options.get("temperature") or 1.0)
    assert (done.logps - again).abs().max() <= 1e-5*max(1, again.abs().max())
    assert 1 < mask.sum() < mask.numel()


def test_logps_of_a_shifted_mask_differ(batch):
    model = gpt2_ours()
    done = generate(model, *batch, 10, seed=0)
    wrong = batch[1].clone()
    wrong[:, -3] = 1 - wrong[:, -3]
    assert (done.logps - scored(model, done, wrong, 1, 1.0)).abs().max() > .1


def test_samples_of_a_prompt_are_neighbours(batch):
    model, n = gpt2_ours(), 4
    done = generate(model, *batch, 6, 0, num_return_sequences=n)
    single = generate(model, *batch, 6, 0)
    assert torch.equal(done.sequences, single.sequences.repeat_interleave(n, 0))
    hot = generate(model, *batch, 6, 1.5, num_return_sequences=n, seed=0).sequences.view(len(LENGTHS), n, -1)
    assert all(len({tuple(r) for r in rows.tolist()}) > 1 for rows in hot)


@pytest.mark.parametrize("penalty", [1.0, 1.4])
def test_a_padded_row_equals_itself_alone(any_model, batch, penalty):
    together = generate(any_model, *batch, 12, 0, repetition_penalty=penalty)
    for i, (ids, mask) in enumerate(zip(*batch)):
        alone = generate(any_model, ids[mask.bool()][None], None, 12, 0, repetition_penalty=penalty)
        assert torch.equal(alone.sequences[0, -12:], together.sequences[i, -12:])
        assert (alone.logps[0] - together.logps[i]).abs().max() < 1e-4


def test_masks_of_any_kind(batch):
    model = gpt2_ours()
    want = generate(model, *batch, 5, seed=1)
    for kind in (torch.bool, torch.float32, torch.int32):
        assert torch.equal(generate(model, batch[0], batch[1].to(kind), 5, seed=1).sequences, want.sequences)
    full = torch.ones_like(batch[0])
    assert torch.equal(generate(model, batch[0], full, 5, seed=1).sequences, generate(model, batch[0], None, 5, seed=1).sequences)


# --- the end


def test_end_tokens_of_any_kind(batch):
    model = gpt2_ours()
    free = generate(model, *batch, 8, 0)
    end = int(free.sequences[0, -6])
    one, many, tensor = (generate(model, *batch, 8, 0, eos_token_id=e) for e in (end, [end], torch.tensor(end)))
    assert torch.equal(one.sequences, many.sequences) and torch.equal(one.sequences, tensor.sequences)
    length = int(one.completion_mask[0].sum())
    assert length <= 3 and (one.sequences[0, batch[0].shape[1]+length-1:] == end).all()       # pads are the end token unless said
    assert free.completion_mask.all() and generate(model, *batch, 8, 0, pad_token_id=3).completion_mask.all()


def test_an_end_in_the_prompt_ends_nothing():
    model, ids = gpt2_ours(), torch.tensor([[5, 7, 5]])
    done = generate(model, ids, None, 6, seed=0, eos_token_id=VOCAB - 1)
    end = next(i for i in range(VOCAB) if i not in done.sequences[0, 3:])
    again = generate(model, torch.tensor([[5, 7, 5]]), None, 6, seed=0, eos_token_id=[5] if 5 not in done.sequences[0, 3:] else end)
    assert torch.equal(done.sequences[done.completion_mask[0].sum() == 6], again.sequences[done.completion_mask[0].sum() == 6])
    assert again.completion_mask.sum() == 6


@pytest.mark.parametrize("options", [{}, {"temperature": 0}, {"top_p": .9, "repetition_penalty": 1.2}], ids=str)
def test_dropping_rows_changes_nothing(any_model, batch, options):
    def run(spare):
        with torch.no_grad():
            return decode(any_model, *batch, Sampler(**options), n=4, new=16, ends=torch.tensor(ENDS), pad=1, seed=0, spare=spare)
    never, usual, eager = map(run, (0, 8, 10**6))
    assert len(set(never.completion_mask.sum(1).tolist())) > 2
    for other in (usual, eager):
        assert torch.equal(other.sequences, never.sequences) and torch.equal(other.completion_mask, never.completion_mask)
        assert (other.logps - never.logps).abs().max() < 1e-4


def test_prompts_are_read_once_and_ended_rows_are_not_fed(batch):
    model, fed, masks = gpt2_ours(), [], []
    def note(m, args, kw):
        fed.append(tuple(kw["input_ids"].shape))
        masks.append(PROMPT_MASK.get())
    model.register_forward_pre_hook(note, with_kwargs=True)
    done = generate(model, *batch, 16, num_return_sequences=5, eos_token_id=ENDS, seed=0)
    b, t = batch[0].shape
    assert fed[0] == (b, t) and fed[1][0] <= 5*b and all(columns == 1 for _, columns in fed[1:])
    alive = [int((done.completion_mask[:, s+1]).sum()) for s in range(15)]
    rows = [r for r, _ in fed[1:]]
    assert len(rows) == sum(a > 0 for a in alive)
    assert all(a <= r and 7*r <= 8*a + 8 for a, r in zip(alive, rows)), (alive, rows)
    assert torch.equal(masks[0], batch[1]) and all(not m.any() and m.shape == f for m, f in zip(masks[1:], fed[1:]))
    assert PROMPT_MASK.get() is None


def test_all_ended_stops_early(batch):
    model, calls = gpt2_ours(), []
    model.register_forward_pre_hook(lambda *a: calls.append(1))
    done = generate(model, *batch, 30, eos_token_id=list(range(VOCAB)), seed=0)
    assert len(calls) == 1 and (done.completion_mask.sum(1) == 1).all() and done.sequences.shape[1] == batch[0].shape[1] + 30


# --- luck


def test_seeds(batch):
    model = gpt2_ours()
    torch.manual_seed(7)
    state = torch.get_rng_state()
    first = generate(model, *batch, 8, seed=3)
    generate(model, *batch, 8, 0)
    assert torch.equal(torch.get_rng_state(), state), "a seed and temperature 0 leave the global generator alone"
    assert torch.equal(generate(model, *batch, 8, seed=3).sequences, first.sequences)
    assert not torch.equal(generate(model, *batch, 8, seed=4).sequences, first.sequences)
    a, b = generate(model, *batch, 8), generate(model, *batch, 8)
    torch.set_rng_state(state)
    assert torch.equal(generate(model, *batch, 8).sequences, a.sequences) and not torch.equal(a.sequences, b.sequences)


def test_a_rows_luck_is_its_own(batch):
    model = gpt2_ours()
    ids, mask = batch
    done = generate(model, ids, mask, 8, seed=3)
    other = ids.clone()
    other[1, -1] = (other[1, -1] + 1) % VOCAB
    changed = generate(model, other, mask, 8, seed=3)
    others = [i for i in range(len(ids)) if i != 1]
    assert torch.equal(changed.sequences[others], done.sequences[others])
    alone = generate(model, ids[0][mask[0].bool()][None], None, 8, seed=3)
    assert torch.equal(alone.sequences[0, -8:], done.sequences[0, -8:]), "row 0 alone draws row 0's luck"
    assert torch.equal(luck_of(3, 8, "cpu", 1), luck_of(5, 8, "cpu", 1)[:3])
    assert luck_of(1000, 100, "cpu", 0).min() > 0 and luck_of(1000, 100, "cpu", 0).max() <= 1


@pytest.mark.parametrize("vocab", [5, 97, 5000])
def test_draw_takes_only_what_has_probability(vocab):
    probs = torch.rand(64, vocab, generator=torch.Generator().manual_seed(0))
    probs[:, ::2] = 0
    probs[:, -1] = 0
    probs /= probs.sum(-1, keepdim=True)
    for u in (1e-40, 2**-24, .5, 1 - 2**-24, 1.):
        assert (probs.gather(-1, draw(probs, torch.full((64, 1), u))) > 0).all(), u


# --- the filters


def by_sorting(z, top_k=0, top_p=1.0, min_p=0.0):
    "The kept set of one row, from the definitions, in float64."
    order = z.argsort(descending=True)
    order = order[:top_k] if top_k else order
    p = z[order].double().softmax(-1)
    if top_p < 1: order = order[:int((p.cumsum(0) < top_p).sum()) + 1]
    p = z[order].double().softmax(-1)
    return set(order[p >= min_p*p[0]].tolist())


def within_rounding(kept, z, filters):
    "Whether a kept set lies between those of a slightly smaller and a slightly larger top_p."
    few, many = (by_sorting(z, **filters | {"top_p": p}) for p in (filters["top_p"] - 2e-6, min(1, filters["top_p"] + 2e-6)))
    return few <= kept <= many


@pytest.mark.parametrize("vocab", [3, 97, FIRST, FIRST + 1, 9*FIRST])
@pytest.mark.parametrize("filters", [{"top_k": 1}, {"top_k": 7}, {"top_p": .3}, {"top_p": .95}, {"top_p": .9999}, {"min_p": .02}, {"min_p": 1.},
                                     {"top_k": 20, "top_p": .8}, {"top_p": .9, "min_p": .05}, {"top_k": 300, "top_p": .99, "min_p": .001}], ids=str)
def test_candidates_follow_the_definitions(vocab, filters):
    g = torch.Generator().manual_seed(vocab)
    z = torch.randn(12, vocab, generator=g)*torch.tensor([.05, .5, 2., 6.]*3)[:, None]      # from nearly flat to nearly certain
    best, ids = candidates(z, **filters)
    for row in range(len(z)):
        alive = best[row] > -torch.inf
        kept = set(ids[row][alive].tolist())
        if "top_p" in filters: assert within_rounding(kept, z[row], filters)
        else: assert kept == by_sorting(z[row], **filters)
        assert torch.equal(best[row][alive], z[row][ids[row][alive]]) and (best[row].diff()[alive[1:]] <= 0).all()
        assert not (alive[1:] & ~alive[:-1]).any(), "what is kept is a prefix"


def test_nothing_is_ranked_twice_without_need(monkeypatch):
    sizes, topk = [], torch.Tensor.topk
    monkeypatch.setattr(torch.Tensor, "topk", lambda self, k, *a: sizes.append(k) or topk(self, k, *a))
    z = torch.randn(2, 9*FIRST, generator=torch.Generator().manual_seed(0))
    candidates(20*z, top_p=.9)
    assert sizes == [FIRST]
    candidates(torch.cat([20*z, .01*z]), top_p=.9)
    assert sizes == [FIRST, FIRST, 8*FIRST, 9*FIRST]


def test_penalty_lowers_what_was_said_and_nothing_else():
    z, said = torch.randn(6, 40, generator=torch.Generator().manual_seed(0)), torch.randint(40, (6, 9), generator=torch.Generator().manual_seed(1))
    low = penalise(z, said, 1.7)
    hit = torch.zeros(6, 40).scatter_(1, said, 1).bool()
    assert torch.equal(low[~hit], z[~hit]) and (low[hit] < z[hit]).all()
    assert torch.equal(penalise(z, said, 1.0), z)


def test_padding_and_future_are_not_said(batch):
    said = said_so_far(*batch, 2, 5)
    assert said.shape == (2*len(LENGTHS), batch[0].shape[1] + 5)
    for i, (ids, mask) in enumerate(zip(*batch)):
        for row in said[2*i:2*i+2]: assert set(row.tolist()) == set(ids[mask.bool()].tolist())


# --- the model and its cache


def test_every_modules_mode_is_restored(batch):
    model = gpt2_ours(dropout=.5).train()
    model.transformer.h[1].eval()
    before = [m.training for m in model.modules()]
    a, b = (generate(model, *batch, 6, seed=0).sequences for _ in range(2))
    assert torch.equal(a, b), "dropout is off while sampling"
    assert [m.training for m in model.modules()] == before
    with pytest.raises(IndexError): generate(model, batch[0] + 10*VOCAB, batch[1], 2)
    assert [m.training for m in model.modules()] == before


def test_wrapped_models_and_no_gradients(batch):
    model = gpt2_ours()
    class Wrapped(torch.nn.Module):
        def __init__(self): super().__init__(); self.module = model
        def forward(self, *args, **kw): return self.module(*args, **kw)
    done = generate(Wrapped(), *batch, 5, seed=0)
    assert torch.equal(done.sequences, generate(model, *batch, 5, seed=0).sequences) and not done.logps.requires_grad


def test_bfloat16(batch):
    done = generate(gpt2_ours().to(torch.bfloat16), *batch, 5, seed=0, eos_token_id=ENDS)
    assert done.logps.dtype == torch.float32 and done.logps.isfinite().all()


def test_buffered_cache_grows_and_selects(any_model):
    ids = torch.tensor(random_rows([9], seed=3)*2)
    with torch.no_grad():
        want = any_model(input_ids=ids).logits
        for capacity in (1, 5, 9, 30):
            cache = make_cache(any_model, capacity)
            parts = [any_model(input_ids=x, past_key_values=cache, use_cache=True).logits for x in ids.split([4, 1, 1, 3], 1)]
            assert (torch.cat(parts, 1) - want).abs().max() < 1e-4
        cache = make_cache(any_model, 9)
        any_model(input_ids=ids[:, :6], past_key_values=cache, use_cache=True)
        cache.batch_repeat_interleave(2)
        any_model(input_ids=ids.repeat_interleave(2, 0)[:, 6:7], past_key_values=cache, use_cache=True)
        cache.batch_select_indices(torch.tensor([3]))
        last = any_model(input_ids=ids[1:, 7:8], past_key_values=cache, use_cache=True).logits
        assert (last[:, 0] - want[1:, 7]).abs().max() < 1e-4


def test_caches_are_preallocated(any_model):
    cache = make_cache(any_model, 40)
    with torch.no_grad():
        any_model(input_ids=torch.zeros(1, 3, dtype=torch.long), past_key_values=cache, use_cache=True)
        def place(): return cache.layers[0].data_ptr() if isinstance(cache, KVCache) else cache.layers[0].keys.data_ptr()
        before = place()
        for _ in range(20): any_model(input_ids=torch.zeros(1, 1, dtype=torch.long), past_key_values=cache, use_cache=True)
    assert place() == before and cache.get_seq_length() == 23


def test_layers_with_their_own_cache_keep_it():
    from transformers import MistralConfig, MistralForCausalLM
    config = MistralConfig(vocab_size=VOCAB, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
                           num_key_value_heads=2, sliding_window=4, initializer_range=.2, pad_token_id=None, bos_token_id=None, eos_token_id=None)
    torch.manual_seed(0)
    model = MistralForCausalLM(config).eval()
    assert make_cache(model, 10) is None
    ids = torch.tensor(random_rows([9, 9], seed=1))
    want = model.generate(ids, max_new_tokens=8, do_sample=False)
    assert torch.equal(generate(model, ids, None, 8, 0).sequences, want)
