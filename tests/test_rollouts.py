"Rollouts: rows that hold a prompt and its completions, log-probs of sampling and of scoring, rewards, advantages by hand, and every way to stop and go on."
import copy
import json
import math
import warnings

import pytest
import torch
from memory import can_measure, in_fresh_process
from models import build, random_rows

from ftlib.adapters import adapter_disabled
from ftlib.data import load_tokenizer
from ftlib.groups import collate_groups, collate_rows, columns, group_logps, may_share, scored
from ftlib.lora import LoRAConfig, add_lora
from ftlib.policy import penalised, rloo_advantages
from ftlib.reft import ReFTConfig, add_reft, still_reft
from ftlib.rewards import BadReward, Weighted
from ftlib.rloo import copied, encoded, rloo_step, rollouts, with_room
from ftlib.rollouts import LocalEngine, Plan, Rollouts, Sampled
from ftlib.runs import read_state, write_state
from ftlib.settings import load_settings
from ftlib.train import fit

COLLATES = [collate_groups, collate_rows]
PROMPTS, K = (1, 6, 3, 1, 9), 3
SAID = (4, 1, 6, 1, 1, 2, 5, 3, 1, 7, 2, 2, 1, 8, 3)
END = 5


def given():
    "Prompts of mixed lengths and three completions of each; one-token ones among both, and ids of every kind, the padding's too."
    return random_rows(PROMPTS, seed=1), random_rows(SAID, seed=2)


def alone(model, prompt, said, temperature=1.0):
    "Log-probs of one completion in a row of its own, with every logit made."
    logits = model(input_ids=torch.tensor([prompt + said])).logits[0]/temperature
    return torch.stack([logits[len(prompt) + j - 1].log_softmax(-1)[t] for j, t in enumerate(said)])


def near(a, b, eps=1e-5): assert a.shape == b.shape and (a - b).abs().max() <= eps*max(1, b.abs().max()), (a - b).abs().max()


# --- groups


def test_columns_of_completions():
    where, mask = columns([2, 5], [3, 1])
    assert where.tolist() == [[2, 3, 4], [5, 0, 0]] and mask.tolist() == [[1, 1, 1], [1, 0, 0]]


def test_a_group_by_hand():
    "Two prompts, two completions each: the second completion of a prompt does not see the first, and starts where that one starts."
    batch = collate_groups([[7], [8, 9]], [[1, 2], [3], [4], [5, 6]], 2)
    assert batch["input_ids"].tolist() == [[7, 1, 2, 3, 0], [8, 9, 4, 5, 6]] and batch["completion_mask"].tolist() == [[0, 1, 1, 1, 0], [0, 0, 1, 1, 1]]
    assert batch["where"].tolist() == [[1, 2], [3, 0], [2, 0], [3, 4]] and batch["mask"].tolist() == [[1, 1], [1, 0], [1, 0], [1, 1]]
    seen = batch["attention_mask"].int()
    assert seen[0].tolist() == [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 0, 0, 1, 0], [0]*5]
    assert seen[1].tolist() == [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 0, 1, 0], [1, 1, 0, 1, 1]]
    rows = collate_rows([[7], [8, 9]], [[1, 2], [3], [4], [5, 6]], 2)
    assert rows["input_ids"].tolist() == [[7, 1, 2, 0], [7, 3, 0, 0], [8, 9, 4, 0], [8, 9, 5, 6]] and rows["attention_mask"].sum(1).tolist() == [3, 2, 3, 4]
    assert rows["where"].tolist() == [[1, 2], [1, 0], [2, 0], [2, 3]] and torch.equal(rows["mask"], batch["mask"])


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("collate", COLLATES)
def test_every_completion_scores_as_if_alone(any_model, collate, temperature):
    "Values and gradients."
    (prompts, said), g = given(), torch.Generator().manual_seed(0)
    weights = torch.randn(len(said), max(SAID), generator=g)
    want = [alone(any_model, prompts[i//K], c, temperature) for i, c in enumerate(said)]
    loss = sum((w[:len(x)]*x).sum() for w, x in zip(weights, want))
    names, params = zip(*any_model.named_parameters())
    theirs = torch.autograd.grad(loss, params, allow_unused=True)
    batch = collate(prompts, said, K)
    logps = group_logps(any_model, batch, temperature)
    assert logps.shape == batch["mask"].shape == (15, 8) and batch["mask"].sum(1).tolist() == list(SAID)
    for row, mask, x in zip(logps, batch["mask"], want):
        near(row[:len(x)], x)
        assert (row[len(x):] == 0).all() and mask.tolist() == [1]*len(x) + [0]*(8 - len(x))
    for name, mine, other in zip(names, torch.autograd.grad((weights*logps).sum(), params, allow_unused=True), theirs):
        if other is not None: near(mine, other, 2e-5)


def test_a_place_off_by_one_shows():
    model, (prompts, said) = build("gpt2_ours"), given()
    batch = collate_groups(prompts, said, K)
    right = group_logps(model, batch)
    assert (group_logps(model, batch | {"where": (batch["where"] - 1).clamp(min=0)}) - right).abs().max() > 1


def test_scores_have_no_gradient_and_leave_the_modes():
    model, (prompts, said) = build("gpt2_ours", dropout=0.5).train(), given()
    list(model.modules())[-1].eval()
    modes, batch = [m.training for m in model.modules()], collate_groups(prompts, said, K)
    one, two = scored(model, batch), scored(model, batch)
    assert torch.equal(one, two) and not one.requires_grad and [m.training for m in model.modules()] == modes and any(modes)
    assert scored(model.bfloat16(), batch).dtype == torch.float32


def test_a_model_that_cannot_share_reads_prompts_for_each():
    model = build("gpt2_hf")
    assert may_share(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for adapter in ADAPTERS.values(): assert may_share(fill(adapter(build("gpt2_ours"))))
    model.config._attn_implementation_internal = "flash_attention_2"
    with pytest.warns(UserWarning, match="prompts are read for each reply: rows that hold several texts need attention by sdpa or eager"): assert not may_share(model)


MEASURE = """
import json, torch
from memory import peak_of
from ftlib.gpt2 import GPT2LM, GPT2Config
from ftlib.groups import collate_groups, group_logps, scored
def peak(way, vocab):
    torch.manual_seed(0)
    model = GPT2LM(GPT2Config(vocab_size=vocab, n_positions=64, n_embd=32, n_layer=1, n_head=2)).eval()
    prompts, said = [[1]*16]*4, [[2]*32]*16
    batch = collate_groups(prompts, said, 4)
    naive = lambda: model(input_ids=torch.ones(16, 48, dtype=torch.long)).logits.log_softmax(-1)
    with torch.no_grad(): return peak_of(naive if way == "naive" else lambda: scored(model, batch))
for way in ("naive", "scored"): peak(way, 1000)
print(json.dumps({way: [peak(way, v) for v in (50257, 100514)] for way in ("scored", "naive")}))
"""


@pytest.mark.skipif(not can_measure(), reason="this system does not tell how much memory was held at most")
def test_scoring_never_holds_all_logits():
    peaks = json.loads(in_fresh_process(MEASURE, MALLOC_MMAP_THRESHOLD_="65536"))
    assert peaks["naive"][1] > 1.8*peaks["naive"][0] > 300 and peaks["scored"][1] < 1.15*peaks["scored"][0] + 5 and peaks["scored"][0] < peaks["naive"][0]/2.5, peaks


# --- rollouts of a live policy


def texts(tokens): return [" ".join(map(str, t)) for t in tokens]
def spread(completions, row): return [sum(map(int, text.split())) % 11/11 for text in completions]


def asked(n=6): return random_rows([PROMPTS[i % 5] for i in range(n)], seed=3)


def source(model, reward=spread, ask=None, engine=None, reference="copy", new=8, look=None, how=(), **plan):
    "Rollouts of a tiny model whose completions end at the token 5."
    prompts = asked() if ask is None else ask
    plan = Plan(**{"k": K, "prompts": 2, "seed": 1} | plan)
    engine = engine or LocalEngine(model, [END], new, temperature=plan.temperature, **dict(how))
    return Rollouts(model, prompts, [{"prompt": f"p{i}", "id": i} for i in range(len(prompts))], reward, engine, texts, plan,
                    reference=copied(model) if reference == "copy" else reference, look=look)


def plain(batch): return {key: x for key, x in batch.items() if key != "curves"} | batch["curves"]


def same(a, b):
    a, b = plain(a), plain(b)
    assert a.keys() == b.keys()
    return all(a[key].shape == b[key].shape and torch.equal(a[key], b[key]) for key in a)


def fill(model, std=0.1):
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.requires_grad and "parametrizations" not in name: p.add_(std*torch.randn(p.shape, generator=g))
    return model


ADAPTERS = {"none": lambda m: m, "lora": lambda m: add_lora(m, LoRAConfig(r=2, dropout=0.5)), "reft": lambda m: still_reft(add_reft(m, ReFTConfig(rank=2, positions="f1+l1")))}


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_the_sampler_and_the_scorer_are_one_policy(any_model, adapter, shared):
    "Log-probs that came with the samples equal those of a forward pass, for prompts padded on the left and adapters that are not nothing: ratios of 1."
    torch.manual_seed(0)
    policy = fill(ADAPTERS[adapter](any_model)).train()
    for how in ({}, {"temperature": 0.7, "how": {"top_k": 20, "top_p": 0.9}}):
        for batch in source(policy, shared=shared, ask=asked(5), parts=2, beta=0.0, reference=None, **how):
            now = scored(policy, batch, how.get("temperature", 1.0))
            near(batch["old_logps"], now)
            assert ((now - batch["old_logps"])*batch["mask"]).sum(1).exp().sub(1).abs().max() < 1e-3 and now.abs().max() > 0.5
            _, n, curves = rloo_step(1e-3, temperature=how.get("temperature", 1.0))(policy, batch)
            assert curves["clipped"] == 0 and n == 6 and (batch["advantages"] != 0).any()


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_the_first_kl_is_nothing(any_model, adapter):
    "The reference is what the policy was: a copy of it, or the model with a fresh adapter off."
    torch.manual_seed(0)
    policy = ADAPTERS[adapter](any_model).train()
    first = next(iter(source(policy, reference=adapter_disabled if adapter != "none" else "copy", kl_in="loss")))
    assert first["curves"]["kl"].abs().max() < 1e-4 and (first["ref_logps"] - first["old_logps"]).abs().max() < 1e-4
    loss = rloo_step(beta=1.0)(policy, first)[0]
    assert abs(loss.item() + first["advantages"].sum().item()) < 1e-3 and (first["advantages"] != 0).any()
    fill(policy)
    if adapter != "none": assert next(iter(moved(policy)))["curves"]["kl"].abs().max() > 0.01


def moved(policy):
    "Rollouts of an adapter that has learned something."
    made = source(policy, reference=adapter_disabled)
    made.own_reference = False
    return made


def test_dropout_is_off_where_it_would_bias():
    policy = build("gpt2_ours", dropout=0.5).train()
    batch = next(iter(source(policy)))
    near(batch["old_logps"], scored(build("gpt2_ours"), batch))
    near(batch["ref_logps"], batch["old_logps"])
    assert all(m.training for m in policy.modules())


def test_luck_is_a_prompts_own(any_model):
    "Whoever else is sampled with it, and in whatever order."
    engine, prompts = LocalEngine(any_model, [END], 8), asked(5)
    every = engine(prompts, K, [11, 12, 13, 14, 15])
    for some in ([2], [4, 0], [1, 3, 2]):
        found = engine([prompts[i] for i in some], K, [11 + i for i in some])
        want = [every.tokens[i*K + j] for i in some for j in range(K)]
        assert found.tokens == want and found.ended == [t[-1] == END for t in want]
    assert engine(prompts[:1], K, [99]).tokens != every.tokens[:K] and len({tuple(t) for t in every.tokens}) > 8


def test_seeds_and_epochs():
    model = build("gpt2_ours")
    def two(**kw):
        made = source(model, **kw)
        return [list(made) for _ in range(2)]
    one, again, other = two(), two(), two(seed=2)
    assert all(same(a, b) for x, y in zip(one, again) for a, b in zip(x, y))
    assert not any(same(a, b) for a, b in zip(one[0], one[1])) and not any(same(a, b) for a, b in zip(one[0], other[0]))
    assert len(source(model)) == len(one[0]) == 3
    torch.manual_seed(123)
    torch.rand(7)
    assert same(next(iter(source(model))), one[0][0])                        # no global generator is asked
    state = torch.get_rng_state()
    list(source(model))
    assert torch.equal(state, torch.get_rng_state())


def test_the_end_is_a_token_like_any_other():
    model = build("gpt2_ours")
    made = source(model, new=12)
    ends = []
    for batch in made:
        ids = batch["input_ids"].repeat_interleave(K, 0).gather(1, batch["where"])
        for row, mask, done, n in zip(ids, batch["mask"], batch["curves"]["ended"], batch["curves"]["length"]):
            assert mask.sum() == n and (row[:int(n)][-1] == END) == bool(done) and (bool(done) or n == 12) and END not in row[:int(n) - 1]
        now = scored(model, batch)
        last = batch["mask"].sum(1, keepdim=True) - 1
        near(batch["old_logps"].gather(1, last), now.gather(1, last))
        assert (now.gather(1, last) < -1e-3).any()
        ends += batch["curves"]["ended"].tolist()
    assert 0 < sum(ends) < len(ends)


def test_completions_that_were_cut_off_teach_nothing():
    model = build("gpt2_ours")
    batch = next(iter(source(model, engine=LocalEngine(model, list(range(2, 9)), 8), prompts=6, mask_truncated=True, beta=0.5)))
    cut = batch["curves"]["ended"] == 0
    assert cut.any() and not cut.all() and (batch["mask"][cut] == 0).all() and (batch["mask"][~cut].sum(1) == batch["curves"]["length"][~cut]).all()
    assert (batch["old_logps"][cut] == 0).all() and (batch["ref_logps"]*batch["mask"])[cut].eq(0).all()
    model.zero_grad()
    rloo_step()(model, batch)[0].backward()
    whole = {n: p.grad.clone() for n, p in model.named_parameters()}
    model.zero_grad()
    rloo_step()(model, batch | {"advantages": batch["advantages"].masked_fill(cut, 0)})[0].backward()
    for n, p in model.named_parameters(): assert torch.equal(p.grad, whole[n])
    assert (batch["advantages"][cut] != 0).any()                             # their rewards stay in the baselines of the others
    per_token = batch["curves"]["entropy"].mean()
    assert per_token.item() == pytest.approx(-batch["old_logps"].sum().item()/batch["mask"].sum().item(), rel=1e-5)


def test_rescoring_asks_the_policy_again():
    model = build("gpt2_ours")
    class Liar(LocalEngine):
        def __call__(self, *args):
            done = super().__call__(*args)
            return Sampled(done.tokens, done.ended, [[x - 1 for x in row] for row in done.logps])
    liar = Liar(model, [END], 8)
    batch = next(iter(source(model, engine=liar, rescore=True)))
    assert torch.equal(batch["old_logps"], scored(model, batch))
    with pytest.raises(ValueError, match="before the first step the sampler gives a token a log-prob that is 1 off the policy's"): next(iter(source(model, engine=liar)))


def test_a_sampler_or_a_reference_from_elsewhere_is_refused():
    model, other = build("gpt2_ours"), build("gpt2_ours", seed=5)
    with pytest.raises(ValueError, match="the sampler gives .* it has to be the model that the training starts from"): next(iter(source(model, engine=LocalEngine(other, [END], 8))))
    with pytest.raises(ValueError, match="the reference gives .* off the policy's"): next(iter(source(model, reference=copied(other))))
    broken = copy.deepcopy(model)
    with torch.no_grad(): next(broken.parameters()).fill_(math.nan)
    with pytest.raises(ValueError, match="the reference gives a token a log-prob that is nan off"): next(iter(source(model, reference=copied(broken))))
    half = source(model, dtype="bfloat16", rescore=True)
    assert next(iter(half))["curves"]["kl"].abs().max() < 1e-6


def test_the_engine_hears_of_each_rollout():
    model = build("gpt2_ours")
    class Remote(LocalEngine):
        heard = ()
        def update(self, policy): self.heard += (policy is model, sum(p.double().sum().item() for p in policy.parameters()))
        def __call__(self, *args):
            self.heard += ("asked",)
            return super().__call__(*args)
    engine, seen = Remote(model, [END], 8), []
    for batch in source(model, engine=engine, updates=2):
        fill(model, 0.01)
        seen.append(batch)
    assert engine.heard[2::3] == ("asked",)*3 and engine.heard[::3] == (True,)*3 and len(set(engine.heard[1::3])) == 3 and len(seen) == 6


# --- rewards, advantages and curves by hand


def by_hand(rewards, logps=None, refs=None, masks=None, said=None, more=None, **plan):
    "Two prompts of two completions: what `weigh` makes of them."
    made = source(build("gpt2_ours"), **{"k": 2, "prompts": 2, "beta": 0.5} | plan)
    old, ref, mask = (torch.tensor(x, dtype=torch.float32) for x in (logps or [[-1., -2.]]*4, refs or [[-1., -2.]]*4, masks or [[1, 1]]*4))
    batches = [{"old_logps": old, "ref_logps": ref, "mask": mask}]
    said = Sampled([[1]*int(m.sum()) for m in mask], [True, True, False, True])
    judged = {"reward": torch.tensor(rewards), "reward_strict": torch.tensor(rewards)} | {name: torch.tensor(x) for name, x in (more or {}).items()}
    return made.weigh(batches, judged, said)[0].tolist(), {name: x.tolist() for name, x in batches[0]["curves"].items()}


REFS = [[-2., -2.], [-1., -4.], [-1., -1.], [-1., -2.]]      # KL per token: 1 0 | 0 2 | 0 -1 | 0 0


def test_a_rollout_by_hand():
    found, curves = by_hand([1., 0., 1., 1.], refs=REFS)
    # R - β KL = 0.5, -1, 1.5, 1; each minus its one sibling
    assert found == [1.5, -1.5, 0.5, -0.5]
    assert curves["reward"] == curves["task_reward"] == [1, 0, 1, 1] and curves["no_signal"] == [0, 0, 1, 1] and curves["ended"] == [1, 1, 0, 1]
    assert curves["kl"] == [1, 2, -1, 0] and curves["kl_token"] == [0.5, 1, -0.5, 0] and curves["entropy"] == [1.5]*4 and curves["length"] == [2]*4
    assert by_hand([1., 0., 1., 1.], refs=REFS, kl_in="loss")[0] == [1, -1, 0, 0] == by_hand([1., 0., 1., 1.], refs=REFS, beta=0.0)[0]


@pytest.mark.parametrize("kl, costs", [("k2", [.5, 2., .5, 0.]), ("k3", [math.exp(-1), math.exp(-2) + 1, math.e - 2, 0.])])
def test_other_estimators(kl, costs):
    after = [r - .5*c for r, c in zip([1., 0., 1., 1.], costs)]
    assert by_hand([1., 0., 1., 1.], refs=REFS, kl=kl)[0] == pytest.approx([after[0] - after[1], after[1] - after[0], after[2] - after[3], after[3] - after[2]])


def test_rewards_are_cut_before_the_kl():
    "9 and -9 become 1 and -1, and a KL of 2 then costs its whole β."
    found, curves = by_hand([9., -9., 9., 9.], refs=REFS, reward_clip=1.0)
    assert found == [0.5 + 2, -2.5, 0.5, -0.5] and curves["reward"] == [9, -9, 9, 9]


def test_tokens_that_do_not_count_cost_nothing():
    found, curves = by_hand([1., 0., 1., 1.], refs=REFS, masks=[[1, 0], [1, 0], [1, 1], [1, 1]])
    assert found == [0.5, -0.5, 0.5, -0.5] and curves["kl"] == [1, 0, -1, 0] and curves["kl_token"] == pytest.approx([1/1.5, 0, -1/1.5, 0])


def test_normalised_advantages():
    found = torch.tensor(by_hand([1., 0., 1., 1.], refs=REFS, normalize=True)[0])
    want = torch.tensor([1.5, -1.5, 0.5, -0.5])
    near(found, want/(want.std() + 1e-4))


def test_completions_without_a_reward():
    "They move nothing, and curves are means over the others."
    nan = math.nan
    found, curves = by_hand([1., nan, 0., 0.5], more={"reward_form": [nan, 1., 0., 0.]}, beta=0.0)
    assert found == [0, 0, -0.5, 0.5] and sum(curves["reward"])/4 == pytest.approx(0.5) and sum(curves["reward_form"])/4 == pytest.approx(1/3)
    assert curves["no_signal"] == [1, 1, 0, 0] and by_hand([nan]*4, beta=0.0)[0] == [0]*4 and by_hand([nan]*4)[1]["reward"] == [0]*4


def test_the_plan_of_advantages_is_the_formula():
    "The same through the whole rollout of a live policy with another reference."
    model, other = build("gpt2_ours"), build("gpt2_ours", seed=5)
    made = source(model, reference=copied(other), beta=0.3, parts=2, prompts=3, normalize=True)
    made.own_reference = False
    batches = list(made)
    after = torch.cat([penalised(b["curves"]["reward"], b["old_logps"], scored(other, b), b["mask"], 0.3) for b in batches])
    near(torch.cat([b["advantages"] for b in batches]), rloo_advantages(after.view(-1, K), True).flatten())
    alone_ = torch.cat([rloo_advantages(after[i:i + 9].view(-1, K), True).flatten() for i in (0, 9)])
    assert (alone_ - torch.cat([b["advantages"] for b in batches])).abs().max() > 1e-4       # over the rollout, not over a micro-batch


def nan_for_long(completions, row): return [math.nan if n > 2 else 1.0 for n in row["n_tokens"]]
def none_for_long(completions, row): return [None if n > 2 else 1.0 for n in row["n_tokens"]]
def wrong_count(completions, row): return [1.0]
def raises(completions, row): raise ZeroDivisionError("no")


@pytest.mark.parametrize("reward, says", [(nan_for_long, "nan_for_long' gave nan, for the completion '"), (none_for_long, "gave None, for the completion '"),
                                          (wrong_count, "gave 1 values for 3 completions"), (raises, "raised ZeroDivisionError: no")])
def test_a_reward_that_fails(reward, says):
    model = build("gpt2_ours")
    with pytest.raises(BadReward) as caught: list(source(model, reward))
    assert says in str(caught.value) and "of the prompt 'p" in str(caught.value) and "\n" not in str(caught.value)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        batches = list(source(model, reward, bad="skip", beta=0.0))
    assert len(heard) == 1 and says in str(heard[0].message)
    for b in batches:
        out = b["curves"]["length"] > 2 if "long" in reward.__name__ else torch.ones(6) > 0
        assert (b["advantages"][out] == 0).all() and b["advantages"].isfinite().all() and all(x.isfinite().all() for x in b["curves"].values())


def test_what_a_reward_is_told():
    heard = []
    def reward(completions, row):
        heard.append((completions, row))
        return [float(row["id"])]*len(completions)
    batch = next(iter(source(build("gpt2_ours"), reward)))
    assert len(heard) == 2 and batch["curves"]["reward"].tolist() == [float(row["id"]) for _, row in heard for _ in range(K)] == batch["curves"]["task_reward"].tolist()
    for (said, row), n, done in zip(heard, batch["curves"]["length"].view(2, K).tolist(), batch["curves"]["ended"].view(2, K).tolist()):
        assert row["prompt"] == f"p{row['id']}" and row["n_tokens"] == n == [len(t.split()) for t in said] and row["ended"] == done


def test_any_name_is_a_name_for_a_reward():
    "A part called reward is not its own sum."
    one, half = (lambda c, row: [1.0, 0.0, 0.0]), (lambda c, row: [0.5, 0.5, 1.5])
    for names in (("reward", "kl"), ("task_reward", "reward"), ("length", "advantage")):
        seen = []
        made = source(build("gpt2_ours"), Weighted({names[0]: (1.0, one), names[1]: (2.0, half)}), look=lambda n, records: seen.extend(records), beta=0.0)
        curves = next(iter(made))["curves"]
        assert curves["reward"].tolist() == [2, 1, 3]*2 and curves["task_reward"].tolist() == [1, 0, 0]*2 and curves[f"reward_{names[1]}"].tolist() == [.5, .5, 1.5]*2
        assert curves["length"].max() > 1.5 and seen[0]["reward"] == 2 and seen[0][f"reward_{names[0]}"] == 1 and seen[0]["length"] == curves["length"][0]


def test_what_there_is_to_look_at():
    seen = {}
    made = source(build("gpt2_ours"), look=lambda number, records: seen.setdefault(number, records))
    batches = [list(made) for _ in range(2)]
    assert list(seen) == list(range(6))
    for records, batch in zip(seen.values(), sum(batches, [])):
        assert [r["advantage"] for r in records] == pytest.approx(batch["advantages"].tolist(), abs=1e-4) and len(records) == 6
        assert [r["length"] for r in records] == [len(r["said"].split()) for r in records] == batch["curves"]["length"].tolist()
        assert records[0].keys() == {"prompt", "said", "reward", "reward_spread", "advantage", "kl", "length", "ended"} and json.dumps(records)
    with warnings.catch_warnings(record=True): list(source(build("gpt2_ours"), none_for_long, engine=Counting(), rescore=True, bad="skip", look=lambda n, r: seen.update(last=r)))
    assert {r["reward"] for r in seen["last"]} == {None, 1.0}


# --- the order of prompts, and going on


class Counting:
    "An engine that remembers what it was asked, and says the same to all."
    def __init__(self): self.asked = []
    def __call__(self, prompts, k, seeds):
        self.asked.append([tuple(p) for p in prompts])
        return Sampled([[1, 2, END][:1 + j % 3] for p in prompts for j in range(k)], [j % 3 == 2 for p in prompts for j in range(k)])


@pytest.mark.parametrize("n, parts, updates", [(6, 1, 1), (12, 3, 2), (13, 2, 3)])
def test_every_prompt_once_an_epoch(n, parts, updates):
    "What does not fill a rollout waits for another epoch, in another order."
    engine, prompts = Counting(), random_rows(range(2, n + 2), seed=3)
    made = source(build("gpt2_ours"), ask=prompts, engine=engine, parts=parts, updates=updates)
    epochs = []
    for epoch in range(3):
        before = len(engine.asked)
        batches = list(made)
        assert len(batches) == len(made) == n//(2*parts)*parts*updates
        asked_ = sum(engine.asked[before:], [])
        assert len(set(asked_)) == len(asked_) == n//(2*parts)*2*parts
        epochs.append(asked_)
        for i in range(0, len(batches), parts*updates):                     # a rollout: every micro-batch `updates` times, each pass whole
            part = [id(b) for b in batches[i:i + parts*updates]]
            for u in range(updates): assert set(part[u*parts:(u + 1)*parts]) == set(part) and len(set(part)) == parts
    assert epochs[0] != epochs[1] != epochs[2]


def test_too_few_prompts():
    with pytest.raises(ValueError, match="6 prompts are too few for one rollout of 8"): source(build("gpt2_ours"), ask=asked(6), parts=4)


def through_a_file(state, path):
    write_state(path, state)
    return read_state(path)


@pytest.mark.parametrize("parts, updates", [(1, 1), (2, 2), (3, 1), (1, 3)])
@pytest.mark.parametrize("stop", [1, 2, 3, 5, 6, 7, 12])
def test_rollouts_go_on_where_they_stood(tmp_path, parts, updates, stop):
    "The policy changes with each micro-batch, as in training; what was sampled before the stop is not sampled again."
    def drive(stop, state=None, weights=None):
        model, out = build("gpt2_ours"), []
        if weights: model.load_state_dict(weights)
        made = source(model, parts=parts, updates=updates, reference=copied(build("gpt2_ours")), new=4)
        if state: made.load_state_dict(state)
        stream = iter(made)
        while len(out) < stop:
            batch = next(stream, None)
            if batch is None: stream = iter(made); continue
            out.append(batch)
            fill(model, 1e-3)
        return out, made, model
    whole = drive(14)[0]
    first, made, model = drive(stop)
    rest, *_ = drive(14 - stop, through_a_file(made.state_dict(), tmp_path/"state"), model.state_dict())
    assert all(same(a, b) for a, b in zip(whole, first + rest)) and len(first + rest) == 14


def quick(**kw): return load_settings("rloo.gsm8k", profile="cpu", device="cpu", **{"max_steps": 7, "log_every": 1, "lr": 1e-3, "save_every": 2} | kw)


def shown(rows): return [{k: v for k, v in r.items() if k != "seconds"} for r in rows]


@pytest.mark.parametrize("parts, updates, accumulation, adapter", [(1, 1, 1, "none"), (2, 2, 1, "none"), (2, 2, 2, "lora"), (3, 2, 3, "none")])
def test_a_run_that_was_killed_ends_in_the_same_bits(tmp_path, parts, updates, accumulation, adapter):
    class Stop(Exception): pass

    def run(out, calls=None, resume=False):
        torch.manual_seed(0)
        model, seen = ADAPTERS[adapter](build("gpt2_ours", dropout=0.1)), {}
        made = source(model, parts=parts, updates=updates, reference=adapter_disabled if adapter == "lora" else "copy", new=5,
                      look=lambda number, records: seen.update({number: records}))
        step = rloo_step()
        def stopping(model, batch):
            nonlocal calls
            if calls is not None:
                if calls == 0: raise Stop
                calls -= 1
            return step(model, batch)
        try: history = fit(model, made, stopping, quick(accumulation=accumulation), out=out, resume=resume, save=lambda model, folder: None)
        except Stop: history = None
        return model.state_dict(), history, seen
    weights, history, seen = run(tmp_path/"whole")
    for killed in (2, 3, 5):                                # steps that were done: before, at and behind a checkpoint
        out = tmp_path/f"{killed}"
        assert run(out, killed*accumulation)[1] is None
        again, rows, more = run(out, resume=True)
        for name in weights: assert torch.equal(weights[name], again[name]), name
        assert shown(rows) == shown(history) and all(seen[number] == records for number, records in more.items()) and more
        assert (out/"metrics.jsonl").read_text().count("\n") == len(history)


# --- between a policy and its loss


def test_prompts_of_every_kind():
    tokenizer = load_tokenizer("tiny")
    assert [tokenizer.decode(ids) for ids in encoded([{"prompt": "How many?\n"}, {"prompt": "Who?\n"}], tokenizer)] == ["How many?\n", "Who?\n"]
    chat = encoded([{"prompt": [{"role": "user", "content": "How many?"}]}], tokenizer)
    assert "How many?" in tokenizer.decode(chat[0]) and len(chat[0]) > len(encoded([{"prompt": "How many?"}], tokenizer)[0])


def test_prompts_without_room_are_left_out():
    model, prompts = build("gpt2_ours"), [[1]*n for n in (3, 56, 57, 60, 10)]
    with pytest.warns(UserWarning, match="2 of 5 prompts are left out: they leave no room for 8 new tokens within 64"): assert with_room(model, prompts, 8) == [0, 1, 4]
    with pytest.warns(UserWarning, match="3 of 5 .* within 20"): assert with_room(model, prompts, 8, 20) == [0, 4]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert with_room(build("qwen2_hf"), prompts, 8) == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="no prompt of 5 leaves room for 64 new tokens within 64"): with_room(model, prompts, 64)


def test_rollouts_from_rows():
    tokenizer = load_tokenizer("tiny")
    model, seen = build("gpt2_ours", vocab=len(tokenizer)), []
    rows = [{"prompt": "Who? "*n, "answer": str(n)} for n in (1, 2, 40, 3, 4)]
    def told(completions, row):
        seen.append(row)
        return [float(len(c)) for c in completions]
    with pytest.warns(UserWarning, match="1 of 5 prompts are left out"): made = rollouts(model, tokenizer, rows, told, 3, 2, max_new_tokens=6, how={"top_k": 5}, parts=2, temperature=0.5, seed=4)
    batches = list(made)
    assert len(batches) == 2 and all(len(b["advantages"]) == 6 for b in batches) and sorted(row["answer"] for row in seen) == ["1", "2", "3", "4"]
    assert made.plan.shared and made.plan.temperature == 0.5 == made.engine.how["temperature"] and made.engine.how["top_k"] == 5 and made.engine.how["eos_token_id"] == [tokenizer.eos_token_id]
    assert "ref_logps" in batches[0] and "ref_logps" not in next(iter(rollouts(model, tokenizer, rows[:2], told, 2, 2, max_new_tokens=4, reference=None)))
    with pytest.raises(TypeError, match="tau"): rollouts(model, tokenizer, rows, told, max_new_tokens=4, tau=1)
