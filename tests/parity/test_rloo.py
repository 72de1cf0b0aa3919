"""RLOO beside trl's RLOOTrainer on the same completions: advantages, loss, gradients, several updates, and where we differ on purpose:

- trl scores rows that are padded on the left without telling GPT-2 their positions; we count them from the mask, so our rows score as if alone.
- trl leaves dropout on while it scores and learns, so its first ratio is not 1; our step is in eval mode.
- trl reads its reference anew by the name in the model's config; ours is the policy as it is when the training starts.
- trl counts ties of groups after the KL penalty, which breaks them; our `no_signal` looks at the rewards.
- trl logs KL per token and subtracts it per completion; we log both.
- trl sums the rewards that are left where one of several gave None; we leave the completion out, as its sum would not compare.
- trl has the KL in the reward only, one ratio a completion only and the estimator k1 only.
"""
import pytest
import torch
from models import MODELS, VOCAB, build, random_rows
from trl_side import RLOOOnIds, gradients, rloo_rollout, rloo_trainer

from ftlib.data import load_tokenizer
from ftlib.policy import clip_share, penalised, rloo_advantages, rloo_loss
from ftlib.rloo import copied, rloo_step
from ftlib.rollouts import Plan, Rollouts, Sampled

from .gauge import close

pytestmark = pytest.mark.filterwarnings("ignore")
END = load_tokenizer("tiny").eos_token_id
PROMPTS, LENGTHS = (1, 5, 3, 8), (4, 1, 6, 2, 1, 7, 3, 5, 2, 8, 1, 4, 6, 3, 2, 5)
EQUAL = (4, 4, 4, 4)


def asked(name): return EQUAL if name.startswith("gpt2") else PROMPTS


def given(name, k, none=False, wide=1.0):
    "{number: (prompt, k completions, their rewards)}; half of the completions end, one-token ones among both, and some hold the end's id inside."
    g = torch.Generator().manual_seed(k)
    prompts, said = random_rows(asked(name), VOCAB, 1), random_rows(LENGTHS[:4*k], VOCAB, 2)
    said = [[*c[:-1], END if i % 2 else 1 + c[-1] % (VOCAB - 1)] for i, c in enumerate(said)]
    rewards = (wide*torch.randn(4*k, generator=g)).tolist()
    if none: rewards = [None if i in (1, *range(k, 2*k), *range(2*k, 3*k - 1)) else r for i, r in enumerate(rewards)]
    return {i: (p, said[i*k:(i + 1)*k], rewards[i*k:(i + 1)*k]) for i, p in enumerate(prompts)}


@torch.no_grad()
def near(name, std=0.03, **kw):
    "The same weights moved a little: a reference that gives a KL of both signs."
    model, g = build(name, **kw), torch.Generator().manual_seed(7)
    for _, p in sorted(model.named_parameters()): p.add_(std*torch.randn(p.shape, generator=g))
    return model


def hf(name): return name.replace("ours", "hf")


class Scripted:
    "An engine that says what it was told to."
    def __init__(self, rows): self.rows = {tuple(p): said for p, said, _ in rows.values()}
    def __call__(self, prompts, k, seeds):
        said = [c for p in prompts for c in self.rows[tuple(p)]]
        return Sampled(said, [c[-1] == END for c in said])


def told(completions, row): return row["rewards"]


def source(model, rows, k, reference=None, **plan):
    "Our rollouts of the given completions, and the order in which they come."
    made = Rollouts(model, [p for p, _, _ in rows.values()], [{"prompt": str(i), "rewards": r} for i, (_, _, r) in rows.items()], told, Scripted(rows),
                    lambda tokens: [" ".join(map(str, t)) for t in tokens], Plan(k=k, prompts=len(rows), rescore=True, **plan),
                    own_reference=False, reference=reference and copied(reference))
    return made, made.chosen()[0][0]


CASES = {                                            # trl's settings, our Plan's, our step's
    "plain": ({}, {}, {}),
    "normalised": ({"normalize_advantages": True}, {"normalize": True}, {}),
    "clipped rewards": ({"reward_clip_range": (-0.5, 0.5)}, {"reward_clip": 0.5}, {}),
    "mask of truncated": ({"mask_truncated_completions": True}, {"mask_truncated": True}, {}),
    "temperature": ({"temperature": 0.6}, {"temperature": 0.6}, {"temperature": 0.6}),
    "None": ({}, {"bad": "skip"}, {}),
    "all at once": ({"normalize_advantages": True, "reward_clip_range": (-1, 1), "mask_truncated_completions": True, "temperature": 1.4},
                    {"normalize": True, "reward_clip": 1.0, "mask_truncated": True, "temperature": 1.4, "bad": "skip"}, {"temperature": 1.4})}


def both(name, case, k, beta, tmp_path, *, updates=1, clip=0.2, shared=True, policy=None, high=None):
    "(model, its batch, step) of ours, and (trainer, its inputs), over the same completions."
    theirs, plan, step = CASES[case]
    rows = given(name, k, none=plan.get("bad") == "skip")
    high = {"epsilon_high": high} if high else {}
    trainer = rloo_trainer(build(hf(name)), rows, tmp_path, near(hf(name)) if beta else None, k=k, beta=beta, epsilon=clip, **theirs, **high)
    mine, order = source(build(name), rows, k, near(name) if beta else None, beta=beta, shared=shared, updates=updates, **plan)
    inputs = rloo_rollout(trainer, order)
    return mine, rloo_step(clip, clip_high=high.get("epsilon_high"), **step), trainer, inputs


def by_step(model, batch, step):
    loss, n, curves = step(model, batch)
    return *gradients(model, loss/n), {key: x.item()/n for key, x in curves.items()}


@pytest.mark.parametrize("beta", [0, 0.05, 0.5])
@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("name", MODELS)
def test_advantages_loss_and_gradients(name, k, beta, tmp_path):
    mine, step, trainer, inputs = both(name, "plain", k, beta, tmp_path)
    batch = next(iter(mine))
    close(batch["old_logps"].sum(1), inputs["old_logps"])
    close(batch["advantages"], inputs["advantages"])
    theirs = gradients(trainer.model, trainer._compute_loss(trainer.model, inputs))
    found = by_step(mine.model, batch, step)
    close(found, theirs)
    assert max(g.abs().max() for g in theirs[1].values()) > 0.01
    logged = {key: x[0] for key, x in trainer._metrics["train"].items()}
    assert found[2]["reward"] == pytest.approx(logged["reward"], rel=1e-5) and found[2]["length"] == pytest.approx(logged["completions/mean_length"])
    assert 1 - found[2]["ended"] == pytest.approx(logged["completions/clipped_ratio"])
    if beta: assert found[2]["kl_token"] == pytest.approx(logged["kl"], rel=1e-4) and abs(logged["kl"]) > 1e-3


@pytest.mark.parametrize("k, beta", [(2, 0.5), (4, 0)])
@pytest.mark.parametrize("case", list(CASES)[1:])
@pytest.mark.parametrize("name", ["gpt2_ours", "qwen2_hf"])
def test_every_setting(name, case, k, beta, tmp_path):
    mine, step, trainer, inputs = both(name, case, k, beta, tmp_path, shared=k == 4)
    batch = next(iter(mine))
    close(batch["advantages"], inputs["advantages"])
    close(by_step(mine.model, batch, step), gradients(trainer.model, trainer._compute_loss(trainer.model, inputs)))
    if "bad" in CASES[case][1]: assert (batch["advantages"] == 0).sum() == 2*k + 1 + (k == 2)     # of one scored reply of a prompt too


@pytest.mark.parametrize("case, beta", [("plain", 0.05), ("all at once", 0.5)])
@pytest.mark.parametrize("name", MODELS)
def test_several_updates_with_clipping(name, case, beta, tmp_path):
    "trl's num_iterations: each update changes the ratios, some leave the narrow range, and the weights stay the same on both sides."
    mine, step, trainer, inputs = both(name, case, 4, beta, tmp_path, updates=4, clip=0.02, high=0.05)
    # AdamW with a wide eps: else the rounding of a gradient that is 0 would become a step of a whole lr
    here, there = (torch.optim.AdamW(m.parameters(), lr=4e-4, eps=1e-2, weight_decay=0.1) for m in (mine.model, trainer.model))
    shares = []
    for batch in mine:
        found, want = by_step(mine.model, batch, step), gradients(trainer.model, trainer._compute_loss(trainer.model, inputs))
        close(found, want)
        share = trainer._metrics["train"]["clip_ratio/region_mean"][-1]
        assert found[2]["clipped"] == pytest.approx(share)
        shares.append(share)
        for optimizer in (here, there): optimizer.step()
        weights = dict(trainer.model.named_parameters())
        for key, p in mine.model.named_parameters(): close(p, weights[key])
    assert len(shares) == 4 and shares[0] == 0 and any(0 < x < 1 for x in shares), shares


@pytest.mark.parametrize("name", MODELS)
def test_a_shifted_mask_fails(name, tmp_path):
    mine, step, trainer, inputs = both(name, "plain", 2, 0.5, tmp_path)
    theirs, batch = gradients(trainer.model, trainer._compute_loss(trainer.model, inputs)), next(iter(mine))
    for key in ("completion_mask", "where", "mask"):
        wrong = batch | {key: batch[key].roll(1, 1) if key != "where" else (batch[key] - 1).clamp(min=0)}
        with pytest.raises(AssertionError): close(by_step(mine.model, wrong, step), theirs)


# --- the formulas alone, in double precision


class InDouble:
    "Mixed in before trl's trainer: its log-probs and rewards are given ones in float64, everything after them is its own."
    def _get_per_token_logps_and_entropies(self, model, ids, mask, keep, *args, compute_entropy=False, **kw):
        what = "ref" if model is self.ref_model else "now" if compute_entropy else "old"
        return self.numbers[what], torch.zeros_like(self.numbers["now"]), None

    def _calculate_rewards(self, *args): return self.numbers["rewards"][:, None]


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("k, beta", [(2, 0), (2, 0.5), (4, 0.05)])
def test_formulas_in_float64(k, beta, normalise, tmp_path):
    rows = given("qwen2_hf", k)
    made = type("Trainer", (InDouble, RLOOOnIds), {})
    trainer = rloo_trainer(build("qwen2_hf"), rows, tmp_path, near("qwen2_hf"), k=k, beta=beta, made=made, epsilon=0.1, epsilon_high=0.3,
                           normalize_advantages=normalise, reward_clip_range=(-1, 1))
    g, n = torch.Generator().manual_seed(0), 4*k
    draw = lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float64)
    old = -draw(n, max(LENGTHS[:n])).abs()
    rewards = draw(n)
    rewards[[1, 2]] = torch.nan
    trainer.numbers = {"old": old, "ref": old + 0.3*draw(*old.shape), "now": (old + 0.1*draw(*old.shape)).requires_grad_(), "rewards": rewards}
    torch.set_default_dtype(torch.float64)                           # trl's standard deviation divides two counts, which would give a float32
    try: inputs = rloo_rollout(trainer, rows)
    finally: torch.set_default_dtype(torch.float32)
    theirs, mask = trainer._compute_loss(trainer.model, inputs), inputs["completion_mask"]
    after = penalised(rewards, old, trainer.numbers["ref"], mask, beta, clip=1.0)
    advantages = rloo_advantages(after.view(-1, k), normalise).flatten()
    mine = rloo_loss(trainer.numbers["now"], old, advantages, mask, 0.1, clip_high=0.3).mean()
    assert mine.dtype == theirs.dtype == torch.float64 and advantages.dtype == torch.float64
    close(advantages, inputs["advantages"], 1e-9)
    close(mine, theirs, 1e-9)
    close(*(torch.autograd.grad(x, trainer.numbers["now"])[0] for x in (mine, theirs)), 1e-9)
    share = clip_share(trainer.numbers["now"], old, advantages, mask, 0.1, clip_high=0.3).mean().item()
    assert share == pytest.approx(trainer._metrics["train"]["clip_ratio/region_mean"][0]) and 0 < share < 1


# --- where we differ on purpose


def alone(model, prompt, said):
    "The log-prob of a completion whose row holds nothing else."
    ids = torch.tensor([prompt + said])
    with torch.no_grad(): logps = model(input_ids=ids).logits.log_softmax(-1)
    return sum(logps[0, len(prompt) + j - 1, t].item() for j, t in enumerate(said))


@pytest.mark.parametrize("name, right", [("gpt2_ours", False), ("qwen2_hf", True), ("llama_hf", True)])
def test_trls_gpt2_reads_padded_prompts_at_wrong_positions(name, right, tmp_path):
    rows = given("qwen2_hf", 2)                                        # prompts of mixed lengths
    trainer = rloo_trainer(build(hf(name)), rows, tmp_path, k=2)
    mine, order = source(build(name), rows, 2)
    theirs, ours = rloo_rollout(trainer, order)["old_logps"], next(iter(mine))["old_logps"].sum(1)
    want = torch.tensor([alone(build(name), rows[i][0], said) for i in order for said in rows[i][1]])
    close(ours, want)
    off = (theirs - want).abs()
    longest = torch.tensor([len(rows[i][0]) == max(PROMPTS) for i in order for _ in range(2)])
    assert off[longest].max() < 1e-3 and (off.max() < 1e-3 if right else off[~longest].max() > 1), off


def test_trl_leaves_dropout_on(tmp_path):
    "On the first step, nothing has changed since the sampling: the ratio is 1, unless neurons are dropped."
    rows = given("gpt2_ours", 4)
    trainer = rloo_trainer(build("gpt2_hf", dropout=0.3), rows, tmp_path, k=4)
    mine, order = source(build("gpt2_ours", dropout=0.3), rows, 4)
    inputs = rloo_rollout(trainer, order)
    trainer._compute_loss(trainer.model, inputs)
    assert trainer._metrics["train"]["clip_ratio/region_mean"][0] > 0
    mine.model.train()
    batch = next(iter(mine))
    close(batch["old_logps"].sum(1), torch.tensor([alone(build("gpt2_ours"), rows[i][0], said) for i in order for said in rows[i][1]]))
    curves = by_step(mine.model, batch, rloo_step(1e-4))[2]
    assert curves["clipped"] == 0 and mine.model.training


def test_trl_reloads_its_reference_by_name(tmp_path):
    "A policy that was trained in memory is compared with the file that it once came from: a KL before any step."
    from transformers import GPT2LMHeadModel
    from trl import RLOOConfig, RLOOTrainer
    from trl_side import PLAIN, Dataset
    build("gpt2_hf").save_pretrained(tmp_path/"base")
    policy = GPT2LMHeadModel.from_pretrained(tmp_path/"base")
    policy.load_state_dict(near("gpt2_hf").state_dict())
    rows = given("gpt2_hf", 2)
    trainer = RLOOTrainer(policy, [lambda completions, **kw: [0.0]*len(completions)], RLOOConfig(str(tmp_path), num_generations=2, beta=0.05, **PLAIN),
                          train_dataset=Dataset.from_list([{"prompt": "1"}]*8), processing_class=load_tokenizer("tiny"))
    assert torch.equal(trainer.ref_model.transformer.wte.weight, build("gpt2_hf").transformer.wte.weight)
    assert not torch.equal(trainer.ref_model.transformer.wte.weight, trainer.model.transformer.wte.weight)
    policy = near("gpt2_ours")
    batch = next(iter(source(policy, rows, 2, policy, beta=0.05)[0]))
    assert batch["curves"]["kl"].abs().max() < 1e-5


def test_ties_are_counted_before_the_kl(tmp_path):
    "Rewards that tie in every group: trl's share of groups without a spread is 0, as the KL spreads them, and our `no_signal` is 1."
    rows = {i: (p, said, [1.0, 1.0]) for i, (p, said, _) in given("qwen2_hf", 2).items()}
    trainer = rloo_trainer(build("qwen2_hf"), rows, tmp_path, near("qwen2_hf"), k=2, beta=0.05)
    mine, order = source(build("qwen2_hf"), rows, 2, near("qwen2_hf"), beta=0.05)
    inputs, batch = rloo_rollout(trainer, order), next(iter(mine))
    assert trainer._metrics["train"]["frac_reward_zero_std"] == [0] and batch["curves"]["no_signal"].eq(1).all()
    close(batch["advantages"], inputs["advantages"])
    assert batch["advantages"].abs().min() > 1e-3


def test_the_kl_curve_and_the_kl_penalty(tmp_path):
    "What trl subtracts is β times a sum over a completion; what it logs is a mean over tokens. Ours has a curve of each."
    rows = {i: (p, said, [0.0, 0.0]) for i, (p, said, _) in given("qwen2_hf", 2).items()}
    trainer = rloo_trainer(build("qwen2_hf"), rows, tmp_path, near("qwen2_hf"), k=2, beta=1.0)
    mine, order = source(build("qwen2_hf"), rows, 2, near("qwen2_hf"), beta=1.0)
    inputs, batch = rloo_rollout(trainer, order), next(iter(mine))
    kl = batch["curves"]["kl"]
    close(inputs["advantages"], rloo_advantages(-kl.view(-1, 2)).flatten())
    assert trainer._metrics["train"]["kl"][0] == pytest.approx(kl.mean().item()/(sum(LENGTHS[:8])/8), rel=1e-4)


def test_a_reward_that_is_missing_in_part(tmp_path):
    "Two rewards of weight 1, and one gives None once: trl adds up what is left; ours leaves that completion out."
    from ftlib.rewards import Weighted
    rows = {i: (p, said, [(1.0, None if i == 0 else 1.0), (0.5, 0.25)]) for i, (p, said, _) in given("qwen2_hf", 2).items()}
    trainer = rloo_trainer(build("qwen2_hf"), rows, tmp_path, k=2, rewards=2)
    mine, order = source(build("qwen2_hf"), rows, 2, bad="skip", beta=0)
    part = lambda i: lambda completions, row: [x[i] for x in row["rewards"]]
    mine.reward = Weighted({"a": (1.0, part(0)), "b": (1.0, part(1))})
    theirs, ours = rloo_rollout(trainer, order)["advantages"].view(-1, 2), next(iter(mine))["advantages"].view(-1, 2)
    at = order.index(0)
    assert theirs[at].tolist() == [0.25, -0.25] and ours[at].tolist() == [0, 0]
    others = [i for i in range(4) if i != at]
    assert ours[others].tolist() == theirs[others].tolist() == [[1.25, -1.25]]*3
