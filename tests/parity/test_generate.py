"generate beside transformers: greedy tokens, filters and penalty elementwise, sampled frequencies against exact distributions, log-probs."
import pytest
import torch
import transformers
from models import MODELS, VOCAB, build, gpt2_hf, pad, ragged_batch
from scipy.stats import chisquare

import ftlib.generate as module
from ftlib.generate import candidates, generate, penalise
from ftlib.gpt2 import GPT2LM, GPT2Config

LENGTHS = (9, 1, 5, 12, 1, 2)


def pair(name, seed=0):
    "Our model and transformers' own with the same weights (the same object but for GPT2LM)."
    ours = build(name, seed=seed)
    return ours, gpt2_hf(seed=seed) if name == "gpt2_ours" else ours


# --- greedy


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("ends", [None, 3, list(range(0, VOCAB, 6))], ids=["no end", "one end", "many ends"])
@pytest.mark.parametrize("seed", range(2))
def test_greedy_on_padded_batches(name, ends, seed):
    ours, theirs = pair(name, seed)
    ids, mask = ragged_batch(LENGTHS, side="left", seed=seed)
    want = theirs.generate(ids, attention_mask=mask, max_new_tokens=30, do_sample=False, eos_token_id=ends, pad_token_id=0)
    got = generate(ours, ids, mask, 30, 0, eos_token_id=ends, pad_token_id=0)
    width = want.shape[1]
    assert torch.equal(got.sequences[:, :width], want) and not got.completion_mask[:, width-12:].any()


@pytest.mark.parametrize("name", MODELS)
def test_a_shifted_mask_fails(name):
    ours, theirs = pair(name)
    ids, mask = ragged_batch(LENGTHS, side="left")
    want = theirs.generate(ids, attention_mask=mask, max_new_tokens=20, do_sample=False, pad_token_id=0)
    shifted = torch.cat([mask[:, 1:], mask[:, -1:]], 1)                # one pad of every padded row taken for a token
    assert not torch.equal(generate(ours, ids, shifted, 20, 0).sequences, want)


@pytest.mark.parametrize("name", MODELS)
def test_greedy_with_penalty(name):
    ours, theirs = pair(name)
    for pad_id in (0, 44):                                            # their generate skips left padding since 5.x, as ours does
        ids, mask = ragged_batch(LENGTHS, side="left", pad_id=pad_id)
        want = theirs.generate(ids, attention_mask=mask, max_new_tokens=20, do_sample=False, repetition_penalty=1.3, pad_token_id=pad_id)
        assert torch.equal(generate(ours, ids, mask, 20, 0, repetition_penalty=1.3).sequences, want)
    assert not torch.equal(generate(ours, ids, mask, 20, 0).sequences, want)


# --- filters


def filtered(z, **kw):
    best, ids = candidates(z, **kw)
    return torch.full_like(z, -torch.inf).scatter(-1, ids, best)


def warpers(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0):
    "transformers' own, in the order of its generate."
    chain = transformers.LogitsProcessorList()
    if temperature != 1: chain.append(transformers.TemperatureLogitsWarper(temperature))
    if top_k: chain.append(transformers.TopKLogitsWarper(top_k))
    if top_p < 1: chain.append(transformers.TopPLogitsWarper(top_p))
    if min_p: chain.append(transformers.MinPLogitsWarper(min_p))
    return chain


FILTERS = [{"top_k": 1}, {"top_k": 9}, {"top_p": .1}, {"top_p": .5}, {"top_p": .97}, {"min_p": .01}, {"min_p": .3}, {"top_k": 30, "top_p": .8},
           {"top_p": .9, "min_p": .1}, {"top_k": 12, "top_p": .7, "min_p": .2}]


@pytest.mark.parametrize("vocab", [11, 97, 3000])
@pytest.mark.parametrize("filters", FILTERS, ids=str)
def test_filters_elementwise(vocab, filters):
    z = torch.randn(100, vocab, generator=torch.Generator().manual_seed(0))*torch.linspace(.1, 5, 100)[:, None]
    assert torch.equal(filtered(z, **filters), warpers(**filters)(None, z.clone()))


def test_order_of_the_filters_matters_and_is_theirs():
    z = torch.randn(100, 50, generator=torch.Generator().manual_seed(0))
    backwards = transformers.TopKLogitsWarper(5)(None, transformers.TopPLogitsWarper(.6)(None, z.clone()))
    assert not torch.equal(filtered(z, top_k=5, top_p=.6), backwards)


@pytest.mark.parametrize("theta", [.7, 1.3, 5.])
def test_penalty_elementwise(theta):
    z, said = torch.randn(50, 97, generator=torch.Generator().manual_seed(0)), torch.randint(97, (50, 12), generator=torch.Generator().manual_seed(1))
    assert torch.equal(penalise(z, said, theta), transformers.RepetitionPenaltyLogitsProcessor(theta)(said, z.clone()))


# --- frequencies


V, N, PROMPTS = 8, 30_000, ([1, 5, 2], [3])
CASES = [{}, {"temperature": .6}, {"temperature": 1.8}, {"top_k": 3}, {"top_p": .75}, {"min_p": .25}, {"temperature": 1.3, "top_k": 5, "top_p": .9, "min_p": .1}]


@pytest.fixture(scope="module")
def models():
    theirs = gpt2_hf(vocab=V, n_embd=16, n_layer=1, n_head=2, n_positions=8, seed=6)
    ours = GPT2LM(GPT2Config(vocab_size=V, n_embd=16, n_layer=1, n_head=2, n_positions=8)).eval()
    ours.load_state_dict(theirs.state_dict())
    assert min(exact(theirs, prompt, {}).sum(axis).min() for prompt in PROMPTS for axis in (0, 1)) > .005, "no case may be trivial"
    return ours, theirs


def exact(theirs, prompt, options):
    "(V, V): the probability of the first two tokens after an unpadded prompt, from transformers alone; filters and penalty included."
    options = dict(options)
    theta = options.pop("repetition_penalty", 1.0)
    def probs(ids):
        with torch.no_grad(): z = theirs(ids).logits[:, -1]
        if theta != 1: z = transformers.RepetitionPenaltyLogitsProcessor(theta)(ids, z)
        return warpers(**options)(None, z).double().softmax(-1)
    ids = torch.tensor([prompt])
    return probs(ids)[0][:, None]*probs(torch.cat([ids.expand(V, -1), torch.arange(V)[:, None]], 1))


def p_value(tokens, p):
    "Chi-square p-value of the counts of `tokens`, whose exact probabilities are `p`; the rare ones are counted together. 0 if impossible."
    got, expected = tokens.bincount(minlength=len(p)).double(), p/p.sum()*len(tokens)
    if got[expected == 0].any(): return 0.0
    common = expected >= 5
    if expected[~common].sum() > 0:
        got, expected = (torch.cat([x[common], x[~common].sum()[None]]) for x in (got, expected))
    else: got, expected = got[common], expected[common]
    return chisquare(got.numpy(), expected.numpy()).pvalue if len(got) > 1 else 1.0


def frequencies(model, theirs, options, **kw):
    "p-values for each prompt of a padded batch: of the first token, of the second, of both together."
    ids, mask = pad(PROMPTS, "left")
    done = generate(model, ids, mask, 2, num_return_sequences=N, seed=11, **{**options, **kw}).sequences[:, -2:].view(len(PROMPTS), N, 2)
    out = []
    for two, prompt in zip(done, PROMPTS):
        p = exact(theirs, prompt, options)
        out += [p_value(two[:, 0], p.sum(1)), p_value(two[:, 1], p.sum(0)), p_value(two[:, 0]*V + two[:, 1], p.flatten())]
    return out


@pytest.mark.parametrize("options", [*CASES, {"repetition_penalty": 1.5}], ids=str)
def test_sampled_frequencies_are_exact(models, options):
    assert min(frequencies(*models, options)) > 1e-3


@pytest.mark.parametrize("wrong", [{"temperature": .93}, {"top_p": .97}, {"min_p": .3}, {"repetition_penalty": 1.1}], ids=str)
def test_a_wrong_option_is_noticed(models, wrong): assert min(frequencies(*models, {}, **wrong)) < 1e-6


def test_a_nucleus_without_its_crossing_token_is_noticed(models, monkeypatch):
    def short(best, total, top_p, min_p):
        keep = (best - total).exp().cumsum(-1) <= top_p
        keep[:, 0] = True
        return keep
    monkeypatch.setattr(module, "kept", short)
    assert min(frequencies(*models, {"top_p": .75})) < 1e-6


@pytest.mark.parametrize("bug", ["next", "multinomial of logps"])
def test_a_wrong_draw_is_noticed(models, monkeypatch, bug):
    right = module.draw
    def wrong(probs, u): return (right(probs, u) + 1) % probs.shape[-1] if bug == "next" else right((probs + .01)/(1 + .01*V), u)
    monkeypatch.setattr(module, "draw", wrong)
    assert min(frequencies(*models, {})) < 1e-6


def test_luck_of_neighbours_is_independent(models):
    "Pairs of samples in neighbouring rows, and the two tokens of one row through a model that forgets: no correlation."
    ours, theirs = models
    ids = torch.tensor([PROMPTS[0]])
    first = generate(ours, ids, None, 1, num_return_sequences=2*N, seed=2).sequences[:, -1].view(N, 2)
    p = exact(theirs, PROMPTS[0], {}).sum(1)
    assert p_value(first[:, 0]*V + first[:, 1], (p[:, None]*p).flatten()) > 1e-3


# --- log-probs


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("temperature", [.5, 1., 1.7])
def test_logps_are_theirs(name, temperature):
    ours, theirs = pair(name)
    ids, mask = ragged_batch(LENGTHS, side="left")
    done = generate(ours, ids, mask, 15, temperature, top_k=30, repetition_penalty=1.2, num_return_sequences=3, eos_token_id=list(range(9)), seed=0)
    full = torch.cat([mask.repeat_interleave(3, 0), done.completion_mask], 1)
    with torch.no_grad(): z = theirs(input_ids=done.sequences, attention_mask=full, position_ids=(full.cumsum(1) - 1).clamp(min=0)).logits
    t = ids.shape[1]
    want = (z[:, t-1:-1]/temperature).log_softmax(-1).gather(-1, done.sequences[:, t:, None])[..., 0]*done.completion_mask
    assert (done.logps - want).abs().max() <= 1e-5*max(1, want.abs().max())
