"The step of RLOO against a loop over completions, dropout, learning, runs that are killed, and what settings become."
import json
from types import SimpleNamespace

import pytest
import torch
from launch import stops_at
from models import build
from test_rollouts import alone, asked, fill, near, shown, source

from ftlib.adapters import adapter_disabled
from ftlib.evaluate import evaluate, train_run
from ftlib.jobs import Shown, plan_of, reference_of
from ftlib.rewards import BadReward
from ftlib.rloo import copied, rloo_step
from ftlib.settings import load_settings
from ftlib.train import fit


def drifted(name="gpt2_ours", std=0.02, **kw):
    "A policy that has moved since its rollout, and that rollout's first batch, with a KL to another model."
    model = build(name)
    made = source(model, reference=copied(build(name, seed=5)), **{"prompts": 5, "ask": asked(5)} | kw)
    made.own_reference = False
    batch = next(iter(made))
    return fill(model, std), batch


def said(batch):
    "(prompt, completion) of each row of a batch, from its places in the shared rows."
    ids, k = batch["input_ids"], len(batch["where"])//len(batch["input_ids"])
    for i, (where, mask) in enumerate(zip(batch["where"], batch["mask"])):
        row = ids[i//k]
        first = int((~batch["completion_mask"][i//k].bool()).long().argmin()) if batch["completion_mask"][i//k].any() else len(row)
        yield row[:first].tolist(), row[where[:int(mask.sum())]].tolist()


@pytest.mark.parametrize("ratio", ["sequence", "token"])
@pytest.mark.parametrize("kl, beta, temperature", [("k1", 0, 1.0), ("k3", 0.3, 1.0), ("k2", 0.1, 0.7)])
def test_the_step_is_a_loop_over_completions(ratio, kl, beta, temperature):
    "One row a completion, every logit made, and Python's sums; loss and gradients."
    model, batch = drifted(temperature=temperature)
    low, high, total, clipped = 0.1, 0.3, 0.0, 0.0
    for i, (prompt, reply) in enumerate(said(batch)):
        logps, n, a = alone(model, prompt, reply, temperature), len(reply), batch["advantages"][i]
        moved = logps - batch["old_logps"][i, :n]
        rhos = [moved.sum().exp()] if ratio == "sequence" else [x.exp() for x in moved]
        for rho in rhos:
            total = total - min(rho*a, max(1 - low, min(1 + high, rho))*a)
            clipped += float(rho < 1 - low and a < 0 or rho > 1 + high and a > 0)/len(rhos)
        for x, ref in zip(logps, batch["ref_logps"][i]):
            d = ref - x
            total = total + beta*{"k1": -d, "k2": d**2/2, "k3": d.exp() - 1 - d}[kl]
    names, params = zip(*model.named_parameters())
    theirs = torch.autograd.grad(total, params)
    loss, n, curves = rloo_step(low, ratio, clip_high=high, beta=beta, kl=kl, temperature=temperature)(model, batch)
    assert n == 15 and curves["clipped"].item() == pytest.approx(clipped, rel=1e-4) and 0 < clipped < 15
    near(loss, total.detach())
    for name, mine, want in zip(names, torch.autograd.grad(loss, params), theirs): near(mine, want, 3e-5)
    assert curves.keys() == batch["curves"].keys() | {"clipped"} and all(curves[key] == x.sum() for key, x in batch["curves"].items())


def test_token_ratios_are_not_sequence_ratios():
    model, batch = drifted(std=0.01)
    by = {ratio: torch.autograd.grad(rloo_step(ratio=ratio)(model, batch)[0], list(model.parameters())) for ratio in ("sequence", "token")}
    assert max((a - b).abs().max() for a, b in zip(*by.values())) > 0.01
    fresh = next(iter(source(build("gpt2_ours"), prompts=5, ask=asked(5))))   # before the first step all are 1, and the gradients the same
    model = build("gpt2_ours")
    by = {ratio: torch.autograd.grad(rloo_step(ratio=ratio)(model, fresh)[0], list(model.parameters())) for ratio in ("sequence", "token")}
    for a, b in zip(*by.values()): near(a, b, 3e-5)


def test_a_mask_that_misses_the_end_shows():
    model, batch = drifted()
    last = batch["mask"].sum(1, keepdim=True) - 1
    short = batch | {"mask": batch["mask"].scatter(1, last, 0)}
    a, b = (torch.autograd.grad(rloo_step()(model, x)[0], list(model.parameters())) for x in (batch, short))
    assert max((x - y).abs().max() for x, y in zip(a, b)) > 0.01


def test_dropout_is_off_in_the_step_and_on_again_after():
    model = build("gpt2_ours", dropout=0.9).train()
    list(model.modules())[3].eval()
    modes = [m.training for m in model.modules()]
    batch = next(iter(source(model)))
    loss, n, curves = rloo_step(1e-3)(model, batch)
    assert batch["advantages"].abs().max() > 0.1 and curves["clipped"] == 0 and loss.item() == pytest.approx(-batch["advantages"].sum().item(), abs=1e-3)
    assert [m.training for m in model.modules()] == modes and not all(modes) and sum(modes) > 10
    loss.backward()


# --- learning


def liked(completions, row): return [float(int(text.split()[0]) < 20) for text in completions]


def learn(sign=1.0, **kw):
    "Rewards of the first and of the last steps: a reply that begins with one of 20 tokens of 97 is liked."
    model = build("gpt2_ours", seed=1)
    made = source(model, liked, ask=asked(16), new=3, **{"prompts": 8, "k": 4, "beta": 0.0, "reference": None} | kw)
    step = rloo_step()
    settings = load_settings("rloo.gsm8k", profile="cpu", device="cpu", max_steps=40, lr=1e-2, log_every=1, warmup=0.0, schedule="constant")
    rows = fit(model, made, lambda m, batch: step(m, batch | {"advantages": sign*batch["advantages"]}), settings)
    rewards = rows.column("reward")[1]
    return sum(rewards[:2])/2, sum(rewards[-5:])/5


@pytest.mark.parametrize("kw", [{}, {"normalize": True}, {"updates": 2}, {"beta": 0.01, "reference": "copy"}], ids=str)
def test_it_learns_what_is_rewarded(kw):
    before, after = learn(**kw)
    assert before < 0.5 and after >= 0.8, (before, after)


def test_with_the_sign_turned_it_unlearns():
    before, after = learn(-1.0)
    assert after < 0.05 < before < 0.5, (before, after)


# --- runs


SHORT = dict(rows=12, held_out=4, max_steps=5, batch_size=2, k=2, answers=2, samples=2, max_new_tokens=5, save_every=2, log_every=1, eval_every=2, show_every=1)


def quick(task="gsm8k", **kw): return load_settings(f"rloo.{task}", profile="cpu", device="cpu", **SHORT | kw)


def short(completions, row): return [1.0 - n/10 for n in row["n_tokens"]]


def lines(path): return [json.loads(line) for line in (path/"samples.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("kw", [{"updates": 2, "minibatches": 2, "accumulation": 2}, {"adapter": "lora"}, {"adapter": "reft", "kl_in": "loss", "kl": "k3"}],
                         ids=["full", "lora", "reft"])
def test_a_run_that_was_killed_ends_in_the_same_bits(tmp_path, monkeypatch, kw):
    "Weights, history, report, samples; scored again from its folder, the run has the same numbers."
    settings = quick(**kw)
    whole = train_run(settings, tmp_path/"whole", reward=short)
    with monkeypatch.context() as m, pytest.raises(KeyboardInterrupt):
        m.setattr("ftlib.jobs.rloo_step", stops_at(rloo_step, 3*settings.accumulation + 1))
        train_run(settings, tmp_path/"cut", reward=short)
    assert json.loads((tmp_path/"cut"/"metrics.jsonl").read_text().splitlines()[-1])["step"] == 3
    before = lines(tmp_path/"cut")
    resumed = train_run(settings, tmp_path/"cut", resume=True, reward=short)
    for (name, a), (_, b) in zip(whole.model.state_dict().items(), resumed.model.state_dict().items()): assert torch.equal(a, b), name
    assert shown(whole.history) == shown(resumed.history) and resumed.report == whole.report and resumed.rows == whole.rows
    found = lines(tmp_path/"cut")
    assert found == lines(tmp_path/"whole") and found[:len(before)] == before and len(found) > len(before)
    numbers = [r["rollout"] for r in found]
    assert numbers == sorted(numbers) and all(numbers.count(n) == settings.k for n in numbers)
    report = json.loads((tmp_path/"whole"/"report.json").read_text())
    assert evaluate(tmp_path/"whole") == report == whole.report and report["sampled"]["n"] == 2
    assert report["kl"]["n"] == 2 and report["kl"]["completion"] != 0 and bool(report["untrained"]["sampled"]) and "kl" not in report["untrained"]
    assert {"reward", "task_reward", "no_signal", "kl", "kl_token", "entropy", "length", "ended", "clipped", "loss"} <= whole.history[0].keys()
    assert abs(whole.history[0]["kl"]) < 1e-3 and any("held_out_right" in row for row in whole.history)


@pytest.mark.parametrize("bad", ["stop", "skip"])
def test_a_reward_that_fails_in_a_run(tmp_path, bad):
    def broken(completions, row): return [None if i else 1.0 for i, _ in enumerate(completions)]
    if bad == "stop":
        with pytest.raises(BadReward, match="the reward 'broken' gave None, for the completion '.*' of the prompt '"): train_run(quick(max_steps=2), tmp_path/"run", reward=broken)
        return
    with pytest.warns(UserWarning, match="such completions are skipped"): run = train_run(quick(max_steps=2, bad_rewards=bad), None, reward=broken)
    assert run.history.last("reward") == 1.0 and run.history.last("grad_norm") == 0


def test_samples_that_are_shown(tmp_path):
    show = Shown(tmp_path/"samples.jsonl", 3)
    def records(n): return [{"prompt": p, "said": f"{n}{p}{i}"} for p in "ab" for i in range(2)]
    for n in range(8): show(n, records(n))
    want = [{"rollout": n, "prompt": "a", "said": f"{n}a{i}"} for n in (0, 3, 6) for i in range(2)]
    assert lines(tmp_path) == want
    for n in range(2, 7): show(n, records(n))                # killed after 7, and gone on from 2
    assert lines(tmp_path) == want
    show(0, records(0))                                      # begun anew
    assert lines(tmp_path) == want[:2]


def test_settings_become_a_plan(monkeypatch):
    s = quick(minibatches=2, accumulation=3, k=5, beta=0.1, kl="k3", reward_clip=2, top_p=0.9, temperature=0.8, max_length=99, bad_rewards="skip")
    plan = plan_of(s)
    assert (plan["parts"], plan["k"], plan["batch_size"], plan["beta"], plan["kl"], plan["reward_clip"], plan["temperature"]) == (6, 5, 2, 0.1, "k3", 2, 0.8)
    assert plan["how"] == {"top_k": 0, "top_p": 0.9, "min_p": 0} and plan["max_length"] == 99 and plan["bad"] == "skip" and plan["rescore"] is False
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert plan_of(s)["parts"] == 24 and plan_of(quick(dtype="bfloat16"))["rescore"] is True


def test_which_reference():
    model = SimpleNamespace
    for adapter in ("lora", "reft"): assert reference_of(quick(adapter=adapter), model) is adapter_disabled
    model = build("gpt2_ours")
    for s in (quick(), quick(adapter="head"), quick(adapter="lora", reference="copy")):
        with reference_of(s, model)(None) as other: assert other is not model and torch.equal(other.transformer.wte.weight, model.transformer.wte.weight)


@pytest.mark.parametrize("kw, words", [
    ({"reference": "precomputed"}, "reference = precomputed is for dpo: completions that are yet to be sampled have no log-probs; take copy"),
    ({"reference": "adapter"}, "reference = adapter is the model with its adapter off, and adapter = none has none"),
    ({"reward": "strct=1"}, "unknown reward of gsm8k: 'strct' .did you mean 'strict'"), ({"reward": "nowhere.py:f=1"}, "there is no Python file 'nowhere.py'")])
def test_what_cannot_be_is_told_before_a_model_is_loaded(monkeypatch, kw, words):
    monkeypatch.setattr("ftlib.jobs.start_model", lambda *args: pytest.fail("a model was loaded"))
    with pytest.raises((ValueError, OSError), match=words): train_run(quick(**kw), None)


def test_too_few_rows_are_told_before_any_answer(monkeypatch):
    monkeypatch.setattr("ftlib.jobs.solve_report", lambda *args, **kw: pytest.fail("an answer was written"))
    with pytest.raises(ValueError, match="12 prompts are too few for one rollout of 16"): train_run(quick(batch_size=16), None)
    with pytest.raises(ValueError, match="no prompt of 12 leaves room for 5 new tokens within 6"): train_run(quick(max_length=6), None)
