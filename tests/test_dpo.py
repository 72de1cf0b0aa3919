"Preference losses by hand, references of every kind, the step in the loop, and runs that stop, resume and score the same."
import copy
import json
import math
import shutil
import warnings

import pytest
import torch
from launch import stops_at
from models import build
from test_pairs import made_pairs

from ftlib.adapters import adapter_disabled
from ftlib.data import load_tokenizer
from ftlib.dpo import Reference, check_start, dpo_step, fingerprint, frozen_copy, reference_logps, with_reference
from ftlib.evaluate import evaluate, load_run, train_run
from ftlib.jobs import may_share, reference_kind
from ftlib.losses import LOSSES, PER_TOKEN, REFERENCE_FREE, SMOOTHED, check_kind, dpo_loss, implicit_rewards
from ftlib.lora import LoRAConfig, add_lora
from ftlib.pairs import collate_apart, collate_pairs, pair_batches, pair_logps
from ftlib.reft import ReFTConfig, add_reft, still_reft
from ftlib.runs import read_state, write_state
from ftlib.settings import PREFERENCE_LOSSES, load_settings
from ftlib.train import NotFinite, fit

log, exp = math.log, math.exp
def sig(z): return 1/(1 + exp(-z))
def nls(z): return log(1 + exp(-z)) if z > -30 else -z


# two pairs: log-probs (chosen, rejected), of the reference, lengths; beta = .5, label_smoothing = .1, gamma = .3
PAIRS = [((-4., -9.), (-5., -7.), (2, 3)), ((-6., -2.), (-4., -3.), (4, 1))]
B, E, G = .5, .1, .3


def by_hand(kind, logps, ref, n):
    "The papers' formulas, a pair at a time, in Python's numbers."
    w, l = logps[0] - ref[0], logps[1] - ref[1]
    z = B*(w - l)
    return {"sigmoid": lambda: nls(z), "cdpo": lambda: (1 - E)*nls(z) + E*nls(-z), "robust": lambda: ((1 - E)*nls(z) - E*nls(-z))/(1 - 2*E),
            "hinge": lambda: max(0, 1 - z), "ipo": lambda: (w/n[0] - l/n[1] - 1/(2*B))**2, "sigmoid_norm": lambda: nls(B*(w/n[0] - l/n[1])),
            "simpo": lambda: nls(B*(logps[0]/n[0] - logps[1]/n[1]) - G),
            "exo_pair": lambda: sig(z)*(log(sig(z)) - log(1 - E)) + sig(-z)*(log(sig(-z)) - log(E)),
            "nca_pair": lambda: nls(B*w) + .5*nls(-B*w) + .5*nls(-B*l), "bco_pair": lambda: nls(B*w) + nls(-B*l),
            "sppo_hard": lambda: (w - .5/B)**2 + (l + .5/B)**2, "apo_zero": lambda: 1 - sig(B*w) + sig(B*l), "apo_down": lambda: sig(B*w) + 1 - sig(z),
            "discopop": lambda: nls(z)*(1 - sig(z/.05)) + exp(-z)*sig(z/.05)}[kind]()


def told(kind): return {"label_smoothing": E if kind in SMOOTHED else 0., "gamma": G}


def losses(kind, pairs=PAIRS, dtype=torch.float64, beta=B):
    logps, ref, lens = (torch.tensor([p[i] for p in pairs], dtype=dtype) for i in range(3))
    return dpo_loss(*logps.T, *ref.T, beta, kind, chosen_lens=lens[:, 0], rejected_lens=lens[:, 1], **told(kind))


@pytest.mark.parametrize("kind", [k for k in LOSSES if not k.startswith("aot")])
def test_every_loss_by_hand(kind):
    found = losses(kind)
    assert found.shape == (2,) and found.tolist() == pytest.approx([by_hand(kind, *p) for p in PAIRS], rel=1e-6 if kind == "exo_pair" else 1e-12)
    assert losses(kind, dtype=torch.float32).tolist() == pytest.approx(found.tolist(), rel=1e-5)


def test_losses_that_sort_by_hand():
    "Margins 5, -4 of the policy and 2, -1 of the reference, each sorted; ratios 1, -2 of the chosen and -2, 1 of the rejected."
    smooth = lambda z: (1 - E)*nls(z) + E*nls(-z)
    assert losses("aot").tolist() == pytest.approx([smooth(B*(-4 + 1)), smooth(B*(5 - 2))])
    assert losses("aot_unpaired").tolist() == pytest.approx([smooth(B*(-2 + 2)), smooth(B*(1 - 1))])


def test_the_settings_know_the_losses_there_are(): assert set(PREFERENCE_LOSSES) == set(LOSSES)


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("size", [1e2, 1e4, 1e6])
def test_extreme_ratios_are_finite(kind, size):
    "No overflow and no 0 times infinity, in loss and gradient, for either sign; discopop's exp(-z) weighs nothing where it is huge."
    logps = torch.tensor([[-1., -size], [-size, -1.]], requires_grad=True)
    loss = dpo_loss(*logps.T, torch.tensor([-2., -3.]), torch.tensor([-3., -2.]), 1.0, kind, chosen_lens=torch.ones(2), rejected_lens=torch.ones(2), **told(kind))
    loss.sum().backward()
    if kind == "discopop" and size >= 1e2: return           # exp(β|Δ|) itself leaves float32 there, as in the paper's and TRL's form
    assert loss.isfinite().all() and logps.grad.isfinite().all()


def test_a_better_margin_costs_less_and_a_tie_costs_log_2():
    for kind in ("sigmoid", "cdpo", "robust", "sigmoid_norm"):
        lens = dict(chosen_lens=torch.ones(3), rejected_lens=torch.ones(3))
        found = dpo_loss(torch.tensor([-1., 0., 1.]), torch.zeros(3), torch.zeros(3), torch.zeros(3), .1, kind, label_smoothing=0.0, **lens)
        assert found[0] > found[1] > found[2] and found[1].item() == pytest.approx(log(2))


@pytest.mark.parametrize("kw, words", [
    ({"kind": "sigmod"}, "unknown kind 'sigmod' .did you mean 'sigmoid'"), ({"beta": 0.}, "beta = 0.0 must be more than 0"), ({"beta": -1.}, "beta = -1.0 must be"),
    ({"beta": float("nan")}, "beta = nan must be"), ({"kind": "cdpo", "label_smoothing": .5}, "label_smoothing = 0.5 must be at least 0 and less than 0.5"),
    ({"kind": "cdpo", "label_smoothing": -.1}, "label_smoothing = -0.1 must be"),
    ({"label_smoothing": .1}, "kind = sigmoid does not read label_smoothing = 0.1; robust, cdpo"), ({"kind": "exo_pair"}, "exo_pair takes the logarithm of label_smoothing"),
    *(({"kind": kind}, f"kind = {kind} is a mean over tokens: it needs chosen_lens and rejected_lens") for kind in PER_TOKEN)])
def test_refusals(kw, words):
    zero = torch.zeros(2)
    with pytest.raises((ValueError, KeyError), match=words): dpo_loss(zero, zero, zero, zero, **kw)
    if "needs" not in words:
        with pytest.raises((ValueError, KeyError), match=words): check_kind(**{"kind": "sigmoid"} | kw)
        with pytest.raises((ValueError, KeyError), match=words): dpo_step(Reference(free=True), **kw)


def test_rewards_have_no_gradient():
    x = torch.tensor([-1., -2.], requires_grad=True)
    assert implicit_rewards(x, torch.tensor([-2., -2.]), .5).tolist() == [.5, 0.] and not implicit_rewards(x, 0).requires_grad


# --- the reference


def sums(model, pairs):
    with torch.no_grad(): return torch.stack(pair_logps(model, collate_apart(pairs))[:2], 1)


def test_reference_logps_in_the_order_of_the_examples(any_model):
    pairs, want = made_pairs(), None
    any_model.train()
    want = sums(copy.deepcopy(any_model).eval(), pairs)
    for shared in (True, False):
        for size in (1, 2, 5): assert (reference_logps(any_model, pair_batches(pairs, size, shared=shared, seed=1)) - want).abs().max() < 1e-4
    assert any_model.training                                            # left as it was
    assert (reference_logps(any_model, [collate_pairs(pairs[i:i + 2]) for i in (0, 2, 4)]) - want).abs().max() < 1e-4


def test_a_pair_that_is_not_finite_is_named():
    model = build("gpt2_ours")
    pairs = [{key: [6 if t == 5 else t for t in ids] for key, ids in e.items()} for e in made_pairs()]
    pairs[3]["chosen_ids"] = [7, 5, 7]
    with torch.no_grad(): model.get_input_embeddings().weight[5, 0] = float("inf")
    with pytest.raises(ValueError, match=r"the reference gives pair \d the log-probs \[.*nan.*\]: its weights or the pair are broken"): reference_logps(model, pair_batches(pairs, 2))


def test_the_fingerprint_is_of_weights_and_pairs():
    model, pairs = build("gpt2_ours"), made_pairs()
    mark = fingerprint(model, pairs)
    assert mark == fingerprint(build("gpt2_ours"), made_pairs()) == fingerprint(model, [e | {"row": 3} for e in pairs])
    assert len({mark, fingerprint(model, pairs[::-1]), fingerprint(model, pairs[:-1]), fingerprint(build("gpt2_ours", seed=1), pairs)}) == 4
    with torch.no_grad(): next(model.parameters()).view(-1)[0] += 1e-6
    assert fingerprint(model, pairs) != mark
    assert len(fingerprint(build("llama_hf").bfloat16(), pairs)) == 32


def test_a_file_of_log_probs_is_used_where_it_fits(tmp_path, monkeypatch):
    model, pairs, path, calls = build("gpt2_ours"), made_pairs(), tmp_path/"deep"/"reference.safetensors", []
    plain = reference_logps
    monkeypatch.setattr("ftlib.dpo.reference_logps", lambda *a, **kw: calls.append(1) or plain(*a, **kw))
    first = with_reference(model, pairs, path)
    assert calls == [1] and all("ref_logps" not in e for e in pairs)
    assert (torch.tensor([e["ref_logps"] for e in first]) - sums(model, pairs)).abs().max() < 1e-4
    assert with_reference(model, pairs, path) == first and calls == [1]
    with_reference(model, pairs[:-1], path)                                  # other pairs
    with torch.no_grad(): model.get_input_embeddings().weight.mul_(1.01)
    other = with_reference(model, pairs, path)                               # other weights
    assert calls == [1]*3 and other != first and with_reference(model, pairs, path) == other and calls == [1]*3
    assert with_reference(model, pairs) == other                             # without a file
    state = read_state(path)
    write_state(path, {"logps": state["logps"]})                             # a file of something else
    assert with_reference(model, pairs, path) == other


@pytest.mark.parametrize("change", [lambda b: b[:-3], lambda b: b[:5], lambda b: b"", lambda b: b"x"*len(b)])
def test_a_damaged_file_is_made_again(tmp_path, change):
    model, pairs, path = build("gpt2_ours"), made_pairs(), tmp_path/"reference.safetensors"
    good = with_reference(model, pairs, path)
    path.write_bytes(change(path.read_bytes()))
    assert with_reference(model, pairs, path) == good and [p.name for p in tmp_path.iterdir()] == [path.name]


def references(model, policy, pairs):
    "Every source of the reference's log-probs for one policy: (reference, pairs with what they bring)."
    yield "copy", Reference(model), pairs
    yield "precomputed", Reference(), with_reference(model, pairs)
    yield "adapter", Reference(disabled=adapter_disabled), pairs


@pytest.mark.parametrize("adapter", ["lora", "reft"])
def test_every_reference_is_the_same(any_model, adapter):
    "And the policy, moved away from it, gets the same loss and gradients with each."
    torch.manual_seed(0)
    pairs, base = made_pairs(), frozen_copy(any_model)
    policy = add_lora(any_model, LoRAConfig(r=2)) if adapter == "lora" else still_reft(add_reft(any_model, ReFTConfig(rank=2)))
    for _, reference, rows in references(base, policy, pairs): check_start(policy, reference, collate_pairs(rows))
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in policy.parameters():
            if p.requires_grad: p.add_(torch.randn(p.shape, generator=g)*.3)
    found = []
    for name, reference, rows in references(base, policy, pairs):
        for collate in (collate_pairs, collate_apart):
            policy.zero_grad()
            loss, n, curves = dpo_step(reference)(policy, collate(rows))
            loss.backward()
            grads = torch.cat([p.grad.flatten() for p in policy.parameters() if p.requires_grad])
            found.append((loss.detach(), grads, curves["margin"]))
            assert n == 5 and all(p.grad is None for p in base.parameters())
    assert abs(found[0][2]) > 1e-3
    for other in found[1:]:
        for a, b in zip(found[0], other): assert (a - b).abs().max() <= 5e-5*max(1, a.abs().max())
    with pytest.raises(ValueError, match="the reference differs from the policy before the first step, by .* of the largest log-prob"): check_start(policy, Reference(base), collate_pairs(pairs))


def test_simpo_needs_no_reference():
    model, pairs = build("gpt2_ours"), made_pairs()
    loss, n, curves = dpo_step(Reference(free=True), 2., "simpo", gamma=.3)(model, collate_pairs(pairs))
    logps, lens = sums(model, pairs), torch.tensor([[len(e["chosen_ids"]), len(e["rejected_ids"])] for e in pairs])
    mean = 2*logps/lens
    assert loss.item() == pytest.approx(-torch.nn.functional.logsigmoid(mean[:, 0] - mean[:, 1] - .3).sum().item(), rel=1e-4)
    assert curves["margin"].item() == pytest.approx((mean[:, 0] - mean[:, 1]).sum().item(), rel=1e-4) and "simpo" in REFERENCE_FREE
    check_start(model, Reference(free=True), collate_pairs(pairs))


def test_the_numbers_of_a_step():
    model, pairs = build("gpt2_ours"), made_pairs()
    other = build("gpt2_ours", seed=5)
    now, before = sums(model, pairs), sums(other, pairs)
    loss, n, curves = dpo_step(Reference(frozen_copy(other)), .2, sft_weight=.5)(model, collate_pairs(pairs))
    rewards, lens = .2*(now - before), torch.tensor([len(e["chosen_ids"]) for e in pairs])
    want = {"chosen_reward": rewards[:, 0], "rejected_reward": rewards[:, 1], "margin": rewards[:, 0] - rewards[:, 1],
            "accuracy": (rewards[:, 0] > rewards[:, 1]).float(), "chosen_nats": -now[:, 0]/lens}
    assert curves.keys() == want.keys()
    for key, x in want.items(): assert curves[key].item() == pytest.approx(x.sum().item(), rel=1e-4, abs=1e-4), key
    plain = torch.nn.functional.softplus(rewards[:, 1] - rewards[:, 0]) + .5*want["chosen_nats"]
    assert loss.item() == pytest.approx(plain.sum().item(), rel=1e-5) and n == 5
    tie = dpo_step(Reference(frozen_copy(model)))(model, collate_pairs(pairs))
    assert tie[2]["accuracy"] == 0 and tie[0].item() == pytest.approx(5*log(2), rel=1e-4)      # a tie ranks nothing


def test_the_start_is_checked():
    model, pairs = build("gpt2_ours"), made_pairs()
    check_start(model, Reference(frozen_copy(model)), collate_pairs(pairs))
    broken = frozen_copy(model)
    with torch.no_grad(): next(broken.parameters()).fill_(float("nan"))
    with pytest.raises(ValueError, match="the reference gives a reply the log-prob nan: its weights are broken"): check_start(model, Reference(broken), collate_pairs(pairs))
    with pytest.raises(ValueError, match="the policy gives a reply the log-prob nan: its weights are broken"): check_start(broken, Reference(model), collate_pairs(pairs))


@pytest.mark.parametrize("kind, act", [("consreft", None), ("loreft", "relu"), ("noreft", "relu"), ("direft", "sigmoid")])
def test_an_edit_that_cannot_start_as_nothing_is_refused(kind, act):
    model = add_reft(build("gpt2_ours"), ReFTConfig(kind=kind, rank=2, act=act))
    with pytest.raises(ValueError, match="changes the output from the start"): still_reft(model)


@pytest.mark.parametrize("kind", ["loreft", "noreft", "direft", "nodireft", "lobireft"])
def test_an_edit_that_starts_as_nothing_learns(any_model, kind):
    pairs, base = made_pairs(), frozen_copy(any_model)
    policy = still_reft(add_reft(any_model, ReFTConfig(kind=kind, rank=2)))
    assert (sums(policy, pairs) - sums(base, pairs)).abs().max() < 1e-3
    dpo_step(Reference(disabled=adapter_disabled))(policy, collate_pairs(pairs))[0].backward()
    assert max(p.grad.abs().max() for p in policy.parameters() if p.grad is not None) > 1e-4


# --- in the loop


def quick(**kw): return load_settings("dpo.ultrafeedback", profile="cpu", device="cpu", **{"max_steps": 3, "log_every": 1} | kw)


@pytest.mark.parametrize("shared", [True, False])
def test_two_micro_batches_are_one_batch(shared):
    pairs, ends = made_pairs([(3, 4, 2), (3, 2, 4), (2, 5, 3), (2, 3, 5)]*2), []
    for size, accumulation in ((4, 1), (2, 2), (1, 4)):
        model = build("gpt2_ours")
        whole = [pairs[:4], pairs[4:]]
        batches = [(collate_pairs if shared else collate_apart)(part[i:i + size]) for part in whole for i in range(0, 4, size)]
        history = fit(model, batches, dpo_step(Reference(frozen_copy(model))), quick(accumulation=accumulation, max_steps=4, lr=1e-2))
        ends.append((model, history))
    for model, history in ends[1:]:
        assert (sums(ends[0][0], pairs) - sums(model, pairs)).abs().max() < 2e-3        # not weights: Adam blows up the rounding of a gradient that is 0
        for a, b in zip(ends[0][1], history):
            for key in ("loss", "margin", "accuracy", "chosen_reward", "chosen_nats", "weight"): assert a[key] == pytest.approx(b[key], rel=1e-4, abs=1e-5), key
    assert ends[0][1][0]["loss"] == pytest.approx(log(2), rel=1e-4) and ends[0][1][-1]["margin"] > .1


@pytest.mark.parametrize("kind", LOSSES)
def test_every_loss_trains(kind):
    "Its own loss goes down on a few pairs, and the margin up; discopop has a hill at Δ = 0 and may go down on its other side."
    model, pairs = build("gpt2_ours"), made_pairs([(4, 5, 5)]*4)
    smoothing = {"label_smoothing": .1} if kind in SMOOTHED else {}
    step = dpo_step(Reference(free=True) if kind in REFERENCE_FREE else Reference(frozen_copy(model)), .1, kind, **smoothing)
    history = fit(model, [collate_pairs(pairs)], step, quick(max_steps=12, lr=3e-3, warmup=0))
    assert history[-1]["loss"] < history[0]["loss"] and (history[-1]["margin"] > history[0]["margin"] or kind == "discopop")


def test_a_loss_that_is_nan_stops_and_the_checkpoint_stays_whole(tmp_path):
    "In the fourth step a pair's known log-probs are broken."
    pairs = with_reference(build("gpt2_ours"), made_pairs()*4)
    batches = [collate_pairs(pairs[i:i + 2]) for i in range(0, 20, 2)]
    batches[3]["ref_logps"][1, 0] = float("nan")
    settings = quick(max_steps=8, save_every=1)
    with pytest.raises(NotFinite, match="step 4: the loss is nan in micro-batch 3 of the epoch.*stopped before this step changed"):
        fit(build("gpt2_ours"), batches, dpo_step(Reference()), settings, out=tmp_path/"run")
    state = read_state(tmp_path/"run"/"checkpoint"/"training.safetensors")
    assert state["step"] == 3 and all(x.isfinite().all() for x in state["model"].values())
    batches[3]["ref_logps"][1, 0] = -4.0
    assert fit(build("gpt2_ours"), batches, dpo_step(Reference()), settings, out=tmp_path/"run", resume=True)[-1]["step"] == 8


# --- runs


SHORT = dict(rows=24, held_out=6, max_steps=5, batch_size=4, max_length=96, answers=2, max_new_tokens=6, save_every=2)


@pytest.mark.parametrize("kw", [{}, {"adapter": "lora"}, {"reference": "precomputed"}, {"adapter": "reft", "dropout": ".1"}], ids=lambda kw: "-".join(kw.values()) or "full")
def test_a_run_that_was_cut_resumes_to_the_same_bits(tmp_path, monkeypatch, kw):
    settings = quick(**SHORT, **kw)
    whole = train_run(settings, tmp_path/"whole")
    assert evaluate(tmp_path/"whole") == whole.report == json.loads((tmp_path/"whole"/"report.json").read_text())
    with monkeypatch.context() as m, pytest.raises(KeyboardInterrupt):
        m.setattr("ftlib.jobs.dpo_step", stops_at(dpo_step, 4))
        train_run(settings, tmp_path/"cut")
    resumed = train_run(settings, tmp_path/"cut", resume=True)
    for (name, a), (_, b) in zip(whole.model.state_dict().items(), resumed.model.state_dict().items()): assert torch.equal(a, b), name
    assert resumed.report == whole.report and resumed.rows == whole.rows
    assert (tmp_path/"cut"/"reference.safetensors").is_file() == (kw.get("reference") == "precomputed")


def test_references_of_a_run_agree(tmp_path):
    "The same settings with each source of the reference end in the same report, up to rounding."
    reports = [train_run(quick(**SHORT, adapter="lora", reference=reference), None).report["preference"] for reference in ("copy", "adapter", "precomputed")]
    for report in reports[1:]: assert report["margin"] == pytest.approx(reports[0]["margin"], abs=1e-4) and report["accuracy"] == reports[0]["accuracy"]


def test_a_precomputed_reference_rounds_as_the_step_does():
    "In bfloat16 both sides are rounded alike: the first step sees no margin, where float32 log-probs would show one."
    first = lambda **kw: abs(train_run(quick(**SHORT | {"max_steps": 1, "log_every": 1, "dtype": "bfloat16", "dropout": 0.0}, **kw), None).history[0]["margin"])
    assert first(reference="copy") < 1e-6 and first(reference="precomputed") < 2e-4
    model, pairs = build("gpt2_ours"), made_pairs()
    with torch.autocast("cpu", torch.bfloat16): rounded = fingerprint(model, pairs)
    assert fingerprint(model, pairs) != rounded


def test_which_reference():
    kinds = {(adapter, reference): reference_kind(quick(adapter=adapter, reference=reference)) for adapter in ("none", "head", "lora", "reft")
             for reference in ("auto", "copy", "precomputed")}
    assert {kinds[a, "auto"] for a in ("lora", "reft")} == {"adapter"} and {kinds[a, "auto"] for a in ("none", "head")} == {"copy"}
    assert reference_kind(quick(kind="simpo", reference="copy")) == "none" and reference_kind(quick(adapter="lora", reference="adapter")) == "adapter"
    for adapter in ("none", "head"):
        with pytest.raises(ValueError, match=f"reference = adapter is the model with its adapter off, and adapter = {adapter} has none"): train_run(quick(adapter=adapter, reference="adapter"))


def test_broken_weights_stop_a_run_before_it_starts(tmp_path):
    model, tokenizer = load_run("tiny", "cpu").model, load_tokenizer("tiny")
    with torch.no_grad(): next(model.parameters())[7] = float("nan")
    model.save_pretrained(tmp_path/"broken")
    tokenizer.save_pretrained(tmp_path/"broken")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match="log-prob.* broken"): train_run(quick(**SHORT, model=str(tmp_path/"broken")), tmp_path/"run")
    assert not (tmp_path/"run"/"checkpoint").exists()


def test_the_start_may_be_gone(tmp_path):
    "Rewards are against the model that a run started from; without it there is one sentence."
    model, tokenizer = load_run("tiny", "cpu").model, load_tokenizer("tiny")
    model.save_pretrained(tmp_path/"start")
    tokenizer.save_pretrained(tmp_path/"start")
    train_run(quick(**SHORT, model=str(tmp_path/"start")), tmp_path/"run")
    shutil.move(tmp_path/"start", tmp_path/"elsewhere")
    with pytest.raises(FileNotFoundError, match="is scored against .*start, which it was trained from"): evaluate(tmp_path/"run")


def test_a_model_that_cannot_share_a_row_reads_prompts_twice():
    model = build("gpt2_hf")
    assert may_share(model)
    model.config._attn_implementation_internal = "flash_attention_2"
    with pytest.warns(UserWarning, match="prompts are read for each reply: rows that hold several texts need attention by sdpa or eager"): assert not may_share(model)
