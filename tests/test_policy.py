"Advantages, ratios, clipping and penalties against plain loops in float64, and their expectations over every group of a tiny policy."
import itertools
import math

import pytest
import torch

from ftlib.logps import kl_estimate
from ftlib.policy import RATIOS, clip_share, likelihood_ratios, penalised, rloo_advantages, rloo_loss

nan = math.nan


def numbers(*shape, seed=0): return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
def float64(x): return torch.as_tensor(x, dtype=torch.float64)
def close(a, b, tolerance=1e-12): return torch.allclose(float64(a), float64(b), rtol=0, atol=tolerance)
def apart(a, b): return (a - b).norm() > 0.05*b.norm()


def made(n=12, t=5, seed=0):
    "Log-probs of now and before, advantages and a mask of mixed lengths, one of them full and one a single token."
    now, before = -numbers(n, t, seed=seed).abs(), -numbers(n, t, seed=seed + 1).abs()
    lengths = torch.randint(1, t + 1, (n,), generator=torch.Generator().manual_seed(seed))
    lengths[:2] = torch.tensor([t, 1])
    return now, before, numbers(n, seed=seed + 2), (torch.arange(t) < lengths[:, None]).double()


# --- advantages


def advantages_by_hand(rewards, normalize=False):
    "Lists of rewards -> lists of advantages, a completion at a time."
    out = []
    for group in rewards:
        for i, r in enumerate(group):
            others = [x for j, x in enumerate(group) if j != i and not math.isnan(x)]
            out.append(nan if math.isnan(r) or not others else r - sum(others)/len(others))
    if normalize:
        known = [a for a in out if not math.isnan(a)]
        mean = sum(known)/len(known)
        deviation = math.sqrt(sum((a - mean)**2 for a in known)/(len(known) - 1)) if len(known) > 1 else 0.0
        out = [(a - mean)/(deviation + 1e-4) for a in out]
    k = len(rewards[0])
    return [[0.0 if math.isnan(a) else a for a in out[i:i + k]] for i in range(0, len(out), k)]


def some_missing(b, k, seed=0):
    rewards = numbers(b, k, seed=seed)
    rewards[torch.rand(b, k, generator=torch.Generator().manual_seed(seed)) < 0.3] = nan
    return rewards


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("k", [2, 3, 8])
def test_advantages_are_those_of_a_loop(k, normalize):
    for rewards in (numbers(6, k, seed=k), some_missing(9, k, seed=k)):
        assert close(rloo_advantages(rewards, normalize), advantages_by_hand(rewards.tolist(), normalize))


def test_a_row_of_rewards_or_one_completion_a_prompt_is_refused():
    for shape in ((4, 1), (4,), (2, 3, 4), (3, 0)):
        with pytest.raises(ValueError, match="at least 2 completions a prompt"): rloo_advantages(torch.zeros(shape))


def test_who_has_no_sibling_learns_nothing():
    rewards = torch.tensor([[nan, 3.0, nan, nan], [nan]*4, [1.0, nan, 3.0, nan]])
    assert rloo_advantages(rewards).tolist() == [[0.0]*4, [0.0]*4, [-2.0, 0.0, 2.0, 0.0]]


def test_nothing_scored_at_all_is_no_division_by_zero():
    for normalize in (False, True):
        assert rloo_advantages(torch.full((2, 3), nan), normalize).tolist() == [[0.0]*3]*2
        assert rloo_advantages(torch.tensor([[nan, 3.0], [nan, nan]]), normalize).tolist() == [[0.0]*2]*2


def test_what_is_not_scored_is_nobodys_baseline():
    rewards = some_missing(7, 5)
    longer = torch.cat([rewards, torch.full((7, 2), nan)], 1)
    assert close(rloo_advantages(longer)[:, :5], rloo_advantages(rewards)) and (rloo_advantages(longer)[:, 5:] == 0).all()


def test_equal_rewards_teach_nothing():
    for normalize in (False, True): assert (rloo_advantages(torch.full((3, 4), 0.5), normalize) == 0).all()


def test_advantages_forget_levels_keep_order_and_sum_to_zero():
    rewards = some_missing(8, 6)
    a = rloo_advantages(rewards)
    levels, order = 5*numbers(8, 1, seed=3), torch.randperm(6, generator=torch.Generator().manual_seed(1))
    assert close(rloo_advantages(rewards + levels), a) and close(rloo_advantages(3*rewards), 3*a)
    assert close(rloo_advantages(rewards[:, order]), a[:, order]) and close(rloo_advantages(rewards.flip(0)), a.flip(0))
    assert close(a.sum(1), torch.zeros(8))


@pytest.mark.parametrize("k", [2, 5])
def test_the_groups_own_mean_is_too_small_by_k_minus_1_over_k(k):
    rewards = numbers(6, k)
    assert close(k/(k - 1)*(rewards - rewards.mean(1, keepdim=True)), rloo_advantages(rewards))


def test_normalised_advantages_have_deviation_one_over_what_was_scored():
    rewards = 7*some_missing(20, 6)
    a, known = rloo_advantages(rewards, normalize=True), ~rewards.isnan()
    assert abs(a[known].mean()) < 1e-12 and abs(a[known].std() - 1) < 1e-4
    assert (a[~known] == 0).all()
    by_tens = torch.cat([rloo_advantages(part, normalize=True) for part in rewards.split(10)])
    assert not close(a, by_tens, 1e-3)                                       # over all prompts together, not over each heap


# --- the loss


def loss_by_hand(now, before, advantages, mask, low, high, ratio):
    out = []
    for n, o, a, m in zip(now.tolist(), before.tolist(), advantages.tolist(), mask.tolist()):
        logs = [x - y for x, y, u in zip(n, o, m) if u]
        rhos = [math.exp(sum(logs))] if ratio == "sequence" else list(map(math.exp, logs))
        out.append(-sum(min(rho*a, min(max(rho, 1 - low), 1 + high)*a) for rho in rhos))
    return out


@pytest.mark.parametrize("ratio", RATIOS)
def test_losses_are_those_of_a_loop(ratio):
    for seed in range(3):
        about = made(seed=seed)
        assert close(rloo_loss(*about, 0.2, ratio), loss_by_hand(*about, 0.2, 0.2, ratio))
        assert close(rloo_loss(*about, 0.1, ratio, clip_high=0.5), loss_by_hand(*about, 0.1, 0.5, ratio))


def test_padding_is_not_read():
    now, before, a, mask = made()
    for ratio in RATIOS:
        other = rloo_loss(now + 9*(1 - mask), before - 3*(1 - mask), a, mask, ratio=ratio)
        assert close(other, rloo_loss(now, before, a, mask, ratio=ratio))
        assert (likelihood_ratios(now, before, 0*mask, ratio) == 1).all()


def gradients(ratio, now, before, a, mask, **kw):
    x = now.clone().requires_grad_()
    return torch.autograd.grad(rloo_loss(x, before, a, mask, ratio=ratio, **kw).sum(), x)[0]


def test_on_policy_every_token_is_pushed_by_the_advantage():
    now, _, a, mask = made()
    for ratio in RATIOS: assert close(gradients(ratio, now, now, a, mask), -a[:, None]*mask)


def test_off_policy_the_two_ratios_differ():
    now, before, a, mask = made()
    before = now + 0.01*(before - now)
    sequence, token = (gradients(ratio, now, before, a, mask, clip=9.0) for ratio in RATIOS)
    rho = ((now - before)*mask)
    assert close(sequence, -a[:, None]*rho.sum(1, keepdim=True).exp()*mask) and close(token, -a[:, None]*rho.exp()*mask)
    assert not close(sequence, token, 1e-4)


@pytest.mark.parametrize("ratio", RATIOS)
def test_gradients_are_the_slopes_of_the_loss(ratio):
    "Central differences; torch.autograd.gradcheck says the same and loads a compiler first."
    now, before, a, mask = made(n=6)
    before, step = now + 0.3*(before - now), 1e-6
    got, slopes = gradients(ratio, now, before, a, mask, clip_high=0.3), torch.zeros_like(now)
    for i in range(now.numel()):
        nudge = torch.zeros_like(now)
        nudge.view(-1)[i] = step
        up, down = (rloo_loss(now + d, before, a, mask, ratio=ratio, clip_high=0.3).sum() for d in (nudge, -nudge))
        slopes.view(-1)[i] = (up - down)/(2*step)
    assert close(got, slopes, 1e-7) and (got != 0).sum() > 3 and ((got == 0) & (mask == 1)).any()


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("a,rho,silent", [(1.0, 1.19, False), (1.0, 1.21, True), (1.0, 0.5, False), (-1.0, 0.81, False), (-1.0, 0.79, True),
                                          (-1.0, 2.0, False), (0.0, 2.0, False)])
def test_where_clipping_silences(ratio, a, rho, silent):
    about = torch.tensor([[math.log(rho)]]), torch.zeros(1, 1), torch.tensor([a]), torch.ones(1, 1)
    assert (gradients(ratio, *about) == 0).item() == (silent or a == 0)
    assert clip_share(*about, ratio=ratio).item() == silent


def test_clip_high_gives_room_above_only():
    def silent(rho, a, **kw): return clip_share(torch.tensor([[math.log(rho)]]), torch.zeros(1, 1), torch.tensor([a]), torch.ones(1, 1), **kw).item()
    assert silent(1.25, 1.0) == 1 and silent(1.25, 1.0, clip_high=0.3) == 0 and silent(1.35, 1.0, clip_high=0.3) == 1
    assert silent(0.75, -1.0, clip_high=0.3) == 1
    about = torch.tensor([[math.log(1.25)]]), torch.zeros(1, 1), torch.ones(1), torch.ones(1, 1)
    assert rloo_loss(*about).item() == pytest.approx(-1.2) and rloo_loss(*about, clip_high=0.3).item() == pytest.approx(-1.25)


def test_the_share_of_silent_tokens():
    now = torch.tensor([[1.0, 0.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0], [0.0]*4])
    mask, a = torch.tensor([[1.0, 1, 1, 0], [1, 0, 0, 0], [0.0]*4]), torch.tensor([1.0, 1.0, 1.0])
    assert clip_share(now, 0*now, a, mask, ratio="token").tolist() == pytest.approx([2/3, 1, 0])
    assert clip_share(now, 0*now, a, mask).tolist() == [1, 1, 0]


def test_a_masked_completion_teaches_nothing():
    now, before, a, mask = made()
    mask[3] = 0
    for ratio in RATIOS: assert (gradients(ratio, now, before, a, mask)[3] == 0).all()


def test_what_the_loss_refuses():
    now, before, a, mask = made()
    with pytest.raises(KeyError, match="sentence.*sequence, token"): rloo_loss(now, before, a, mask, ratio="sentence")
    for bad in (a[:, None], a[:6], a.view(6, 2)):
        with pytest.raises(ValueError, match=r"must be \(12,\): one for each completion"): rloo_loss(now, before, bad, mask)


# --- the penalty


def test_the_penalty_is_a_sum_over_tokens():
    now, ref, _, mask = made()
    rewards = numbers(12, seed=9)
    rewards[4] = nan
    for kind in ("k1", "k2", "k3"):
        want = [r - 0.3*sum(kl_estimate(x, y, kind).item() for x, y, m in zip(n, f, u) if m) for r, n, f, u in zip(rewards, now, ref, mask)]
        got = penalised(rewards, now, ref, mask, 0.3, kind)
        assert got.isnan().tolist() == [i == 4 for i in range(12)] and close(got.nan_to_num(), torch.stack(want).nan_to_num())
    assert close(penalised(rewards, now, ref, mask, 0.0).nan_to_num(), rewards.nan_to_num())


def test_rewards_are_cut_before_the_penalty():
    now, ref = torch.full((3, 2), -1.0), torch.full((3, 2), -3.0)          # 4 nats away
    got = penalised(torch.tensor([9.0, -9.0, 0.5]), now, ref, torch.ones(3, 2), 1.0, clip=1.0)
    assert got.tolist() == [-3.0, -5.0, -3.5]


def test_an_unknown_estimate_is_refused():
    with pytest.raises(ValueError, match="k4"): penalised(torch.zeros(1), torch.zeros(1, 2), torch.zeros(1, 2), torch.ones(1, 2), kind="k4")


# --- expectations: a policy with two letters, an end, and at most two tokens; everything is enumerated


TEXTS = [".", "a.", "b.", "aa", "ab", "ba", "bb"]
WHERE = torch.tensor([[["", "a", "b"].index(t[:i]) if i < len(t) else 0 for i in range(2)] for t in TEXTS])
TOKEN = torch.tensor([["ab.".index(t[i]) if i < len(t) else 0 for i in range(2)] for t in TEXTS])
MASK = torch.tensor([[i < len(t) for i in range(2)] for t in TEXTS]).double()
REWARDS = torch.tensor([0.2, 1.0, 0.0, 0.5, 0.0, 0.3, 0.0], dtype=torch.float64)


def said(z): return z.log_softmax(-1)[WHERE, TOKEN]*MASK               # (3, 3) logits -> (7, 2) log-probs
def probs(z): return said(z).sum(1).exp()


def grad(f, z):
    x = z.clone().requires_grad_()
    return torch.autograd.grad(f(x), x)[0]


Z, REF = numbers(3, 3, seed=4), numbers(3, 3, seed=5)
TRUE = grad(lambda z: (probs(z)*REWARDS).sum(), Z)


def expected(k, advantages, mask=MASK):
    "The mean gradient of the loss over every group of k, times -1."
    p, groups = probs(Z), torch.tensor(list(itertools.product(range(7), repeat=k)))
    a = advantages(REWARDS[groups])
    weight = p[groups].prod(1)[:, None].expand(-1, k).flatten()
    flat = groups.flatten()
    return -grad(lambda z: (weight*rloo_loss(said(z)[flat], said(Z)[flat], a.flatten(), mask[flat])).sum()/k, Z)


@pytest.mark.parametrize("k", [2, 3, 4])
def test_leave_one_out_is_unbiased(k): assert close(expected(k, rloo_advantages), TRUE)


def test_what_is_biased_by_how_much():
    assert close(expected(3, lambda r: r - r.mean(1, keepdim=True)), 2/3*TRUE)
    assert apart(expected(3, lambda r: rloo_advantages(r)/(rloo_advantages(r).std(1, keepdim=True) + 1e-4)), TRUE)
    assert apart(expected(3, rloo_advantages, MASK*(TOKEN != 2)), TRUE)                           # the end left out


def test_a_sequence_ratio_is_exact_off_the_policy_and_a_token_ratio_is_not():
    p, new = probs(Z), Z + 0.3*numbers(3, 3, seed=6)
    true = grad(lambda z: (probs(z)*REWARDS).sum(), new)
    got = {ratio: -grad(lambda z: (p*rloo_loss(said(z), said(Z), REWARDS - 0.3, MASK, 1e9, ratio)).sum(), new) for ratio in RATIOS}
    assert close(got["sequence"], true) and apart(got["token"], true)


@pytest.mark.parametrize("kind,right", [("k1", True), ("k2", False), ("k3", False)])
def test_k1_in_the_reward_is_the_gradient_of_the_penalised_objective(kind, right):
    def kl(z): return (probs(z)*(said(z) - said(REF)).sum(1)).sum()
    true = grad(lambda z: (probs(z)*REWARDS).sum() - 0.4*kl(z), Z)
    paid = penalised(REWARDS, said(Z), said(REF), MASK, 0.4, kind)
    got = -grad(lambda z: (probs(Z)*rloo_loss(said(z), said(Z), paid, MASK)).sum(), Z)
    assert close(got, true) == right
