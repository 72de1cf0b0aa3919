"Reports of reinforced policies by hand: pass@1 and pass@k, form, KL estimates against the exact KL, and reports of runs whose start is gone."
import itertools
import json
import shutil

import pytest
import torch
from datasets import Dataset
from models import build, random_rows

from ftlib.adapters import adapter_disabled
from ftlib.data import load_tokenizer
from ftlib.evaluate import evaluate, load_run, train_run
from ftlib.lora import LoRAConfig, add_lora
from ftlib.reasoning import kl_per_row, sampled_answers, sampled_report, solve_report
from ftlib.reft import ReFTConfig, add_reft, still_reft
from ftlib.rloo import copied
from ftlib.rollouts import Sampled
from ftlib.settings import load_settings

SAID = ["#### 4", "#### 5", "#### 7", "It is 7.", "#### 1", "#### 2"]           # two answers a row; the third row's are wrong
LENGTHS, ENDED, GOLD = [3, 5, 8, 4, 1, 1], [True, True, False, True, True, True], ["4", "7", "9"]


def sampled(): return Sampled([[1]*n for n in LENGTHS], ENDED)


def test_sampled_answers_by_hand():
    "Row 0 is right once of two, row 1 never (one answer was cut off, as for the reward, and one has no ####), nor row 2; the cut-off one has no form."
    report, rows = sampled_report(SAID, sampled(), GOLD, "gsm8k", 2)
    assert (report["n"], report["k"], report["level"]) == (3, 2, 0.95)
    assert report["pass@1"] == pytest.approx(1/6) and report["pass@k"] == pytest.approx(1/3) and report["well_formed"] == pytest.approx((1 + 0 + 1)/3)
    assert report["tokens"] == pytest.approx((4 + 6 + 1)/3) and rows == [{"pass": 0.5}, {"pass": 0.0}, {"pass": 0.0}]
    for name in ("pass@1", "pass@k", "well_formed", "tokens"): assert report[f"{name}_ci"][0] <= report[name] <= report[f"{name}_ci"][1]
    one, _ = sampled_report(SAID[::2], Sampled(sampled().tokens[::2], ENDED[::2]), GOLD, "gsm8k", 1)
    assert one["pass@1"] == one["pass@k"] == pytest.approx(1/3)


def test_verdicts_by_hand():
    said = ["It burned.\nVerdict: REFUTES", "Verdict: refutes", "Verdict: SUPPORTS", "Verdict: REFUTES"]
    report, rows = sampled_report(said, Sampled([[1]]*4, [True]*4), ["REFUTES", "SUPPORTS"], "fever_reason", 2)
    assert report["pass@1"] == 0.5 and report["pass@k"] == 1.0 and [r["pass"] for r in rows] == [0.5, 0.5]


# --- what is sampled


def prompts(): return random_rows((1, 7, 3, 12, 1, 5), seed=1)


def ids(said): return said.tokens, said.ended


def test_answers_do_not_depend_on_the_batch(any_model):
    tokenizer = load_tokenizer("tiny")
    whole = sampled_answers(any_model, tokenizer, prompts(), 3, max_new_tokens=6)
    assert len(whole.tokens) == len(whole.ended) == len(whole.logps) == 18 and [len(t) for t in whole.tokens] == [len(x) for x in whole.logps]
    assert ids(sampled_answers(any_model, tokenizer, prompts(), 3, max_new_tokens=6, batch_size=1)) == ids(whole)
    assert ids(sampled_answers(any_model, tokenizer, prompts()[:2], 3, max_new_tokens=6)) == (whole.tokens[:6], whole.ended[:6])
    assert ids(sampled_answers(any_model, tokenizer, prompts(), 3, max_new_tokens=6, seed=1)) != ids(whole)


# --- KL


def said_by(model, n=3): return sampled_answers(model, load_tokenizer("tiny"), prompts(), n, max_new_tokens=6)


def test_the_start_is_no_way_from_itself(any_model):
    nats, lengths = kl_per_row(any_model, copied(any_model), prompts(), said_by(any_model), 3)
    assert nats.shape == lengths.shape == (6,) and nats.abs().max() < 1e-5 and 1 <= lengths.min() and lengths.max() <= 6


@pytest.mark.parametrize("adapter", [lambda m: add_lora(m, LoRAConfig(r=2)), lambda m: still_reft(add_reft(m, ReFTConfig(rank=2)))], ids=["lora", "reft"])
def test_a_fresh_adapter_is_no_way_from_its_base(any_model, adapter):
    torch.manual_seed(0)
    policy = adapter(any_model).eval()
    assert kl_per_row(policy, adapter_disabled, prompts(), said_by(policy), 3)[0].abs().max() < 1e-4
    with torch.no_grad():
        for name, p in policy.named_parameters(): p.add_(0.2*(p.requires_grad and "parametrizations" not in name))
    assert kl_per_row(policy, adapter_disabled, prompts(), said_by(policy), 3)[0].abs().max() > 1e-2


def test_kl_is_a_mean_over_samples_of_sums_over_tokens():
    model, other = build("gpt2_ours"), build("gpt2_ours", seed=5)
    said, asked = said_by(model), prompts()
    def total(m, i):
        with torch.no_grad(): logps = m(input_ids=torch.tensor([asked[i//3] + said.tokens[i]])).logits[0].log_softmax(-1)
        return sum(logps[len(asked[i//3]) + j - 1, t].item() for j, t in enumerate(said.tokens[i]))
    want = [sum(total(model, i) - total(other, i) for i in range(3*r, 3*r + 3))/3 for r in range(6)]
    for size in (1, 4, 32):
        nats, lengths = kl_per_row(model, copied(other), asked, said, 3, batch_size=size)
        assert nats.tolist() == pytest.approx(want, rel=1e-4, abs=1e-4) and lengths.tolist() == pytest.approx([sum(map(len, said.tokens[3*r:3*r + 3]))/3 for r in range(6)])


def test_the_estimate_finds_the_exact_kl():
    "A toy whose every completion can be listed: token 0 ends, two tokens at most, six in all."
    (model, other), prompt = (build("gpt2_ours", vocab=6, seed=s) for s in (0, 1)), [1, 2]
    every = [[0], *([a, b] for a, b in itertools.product(range(1, 6), range(6)))]
    @torch.no_grad()
    def logp(m, said):
        logps = m(input_ids=torch.tensor([prompt + said])).logits[0].log_softmax(-1)
        return sum(logps[1 + j, t].double() for j, t in enumerate(said))
    p, q = (torch.stack([logp(m, said) for said in every]) for m in (model, other))
    assert p.exp().sum().item() == pytest.approx(1, abs=1e-5)
    exact, n = (p.exp()*(p - q)).sum().item(), 3000
    spread = ((p.exp()*(p - q)**2).sum() - exact**2).sqrt().item()
    tokenizer = load_tokenizer("tiny")
    assert tokenizer.eos_token_id == 0
    said = sampled_answers(model, tokenizer, [prompt]*10, n//10, max_new_tokens=2)
    nats, _ = kl_per_row(model, copied(other), [prompt]*10, said, n//10)
    assert abs(nats.mean().item() - exact) < 4*spread/n**0.5 and exact > 8*spread/n**0.5


# --- the whole report


class Told:
    "Answers instead of a model's."
    def __init__(self, monkeypatch):
        self.calls = []
        monkeypatch.setattr("ftlib.reasoning.respond", self.greedy)
        monkeypatch.setattr("ftlib.reasoning.sampled_answers", self.sampled)
    def greedy(self, model, tokenizer, prompts, max_new_tokens):
        self.calls.append(("greedy", len(prompts), max_new_tokens))
        return ["#### 4", "7", "#### 8"][:len(prompts)]
    def sampled(self, model, tokenizer, prompts, samples, *, max_new_tokens):
        self.calls.append(("sampled", len(prompts), max_new_tokens))
        n = len(prompts)*samples
        return Sampled([tokenizer.encode(t) for t in SAID[:n]], ENDED[:n])


def rows(): return Dataset.from_list([{"prompt": f"How many {w}?\n", "answer": a, "solution": f"#### {a}"} for w, a in zip(("hats", "cats", "mice"), GOLD)])


def test_a_report_by_hand(monkeypatch):
    told, tokenizer = Told(monkeypatch), load_tokenizer("tiny")
    model = build("gpt2_ours", vocab=len(tokenizer))
    report = solve_report(model, tokenizer, rows(), "gsm8k", reference=copied(model), known=["4", "4", "5"], samples=2, max_new_tokens=9)
    assert told.calls == [("greedy", 3, 9), ("sampled", 3, 9)]
    assert report["n"] == report["answers"]["n"] == report["sampled"]["n"] == report["kl"]["n"] == 3
    assert report["answers"]["strict"]["right"] == pytest.approx(1/3) and report["answers"]["lenient"]["right"] == pytest.approx(2/3)
    assert (report["answers"]["commonest"]["says"], report["answers"]["commonest"]["right"]) == ("4", pytest.approx(1/3))
    assert report["sampled"]["pass@1"] == pytest.approx(1/6) and report["kl"]["completion"] == pytest.approx(0, abs=1e-5) and report["kl"]["token"] == pytest.approx(0, abs=1e-5)
    assert [r["row"] for r in report["rows"]] == [0, 1, 2] and [r["pass"] for r in report["rows"]] == [0.5, 0, 0] and [r["said"] for r in report["rows"]] == ["#### 4", "7", "#### 8"]
    assert all({"key", "kl", "right_strict"} <= r.keys() for r in report["rows"]) and json.dumps(report)


def test_parts_of_a_report(monkeypatch):
    told, tokenizer = Told(monkeypatch), load_tokenizer("tiny")
    model = build("gpt2_ours", vocab=len(tokenizer))
    greedy = solve_report(model, tokenizer, rows(), "gsm8k", samples=0, max_new_tokens=9)
    assert told.calls == [("greedy", 3, 9)] and not {"sampled", "kl"} & greedy.keys() and "commonest" not in greedy["answers"]
    some = solve_report(model, tokenizer, rows(), "gsm8k", answers=2, samples=2, max_new_tokens=9)
    assert some["n"] == 3 and some["answers"]["n"] == some["sampled"]["n"] == 2 and "kl" not in some and [len(r) > 2 for r in some["rows"]] == [True, True, False]
    none = solve_report(model, tokenizer, rows(), "gsm8k", answers=0)
    assert none.keys() == {"n", "rows"} and len(none["rows"]) == 3


def test_a_prompt_without_room_is_left_out_and_it_is_said(monkeypatch):
    "The record of its row stays, without numbers; those behind it keep theirs."
    told, tokenizer = Told(monkeypatch), load_tokenizer("tiny")
    model, kept = build("gpt2_ours", vocab=len(tokenizer)), list(rows())
    long = kept[:1] + [kept[1] | {"prompt": "How many hats and cats? "*9}] + kept[2:]
    with pytest.warns(UserWarning, match="1 of 3 prompts are left out: they leave no room for 9 new tokens within 64"):
        report = solve_report(model, tokenizer, Dataset.from_list(long), "gsm8k", samples=2, max_new_tokens=9)
    assert told.calls == [("greedy", 2, 9), ("sampled", 2, 9)] and (report["n"], report["answers"]["n"], report["sampled"]["n"]) == (3, 2, 2)
    assert [r["row"] for r in report["rows"]] == [0, 1, 2] and ["said" in r for r in report["rows"]] == [True, False, True]
    with pytest.raises(ValueError, match="no prompt of 3 leaves room for 64 new tokens within 64"): solve_report(model, tokenizer, rows(), "gsm8k", max_new_tokens=64)


def test_the_kl_of_a_report_per_token_and_per_completion(monkeypatch):
    "Per token it is the mean of nats over the mean of tokens, not a mean of ratios."
    Told(monkeypatch)
    tokenizer = load_tokenizer("tiny")
    model, other = (build("gpt2_ours", vocab=len(tokenizer), seed=s) for s in (0, 1))
    report = solve_report(model, tokenizer, rows(), "gsm8k", reference=copied(other), samples=2, max_new_tokens=9)
    tokens = [len(tokenizer.encode(t)) for t in SAID]
    assert report["kl"]["token"] == pytest.approx(report["kl"]["completion"]/(sum(tokens)/6)) and abs(report["kl"]["completion"]) > 0.1
    assert sum(r["kl"] for r in report["rows"])/3 == pytest.approx(report["kl"]["completion"])


# --- runs


def quick(task, **kw):
    short = dict(rows=8, held_out=3, max_steps=2, batch_size=2, k=2, answers=2, samples=2, max_new_tokens=5)
    return load_settings(f"rloo.{task}", profile="cpu", device="cpu", **short | kw)


@pytest.mark.parametrize("task", ["gsm8k", "fever_reason"])
def test_a_run_scores_the_same_from_its_folder(tmp_path, task):
    run = train_run(quick(task), tmp_path/"run")
    assert evaluate(tmp_path/"run") == run.report and run.report["kl"]["n"] == run.report["untrained"]["sampled"]["n"] == 2
    assert evaluate(tmp_path/"run", n=1)["n"] == 1 and (tmp_path/"run"/"samples.jsonl").is_file()


def test_the_start_may_be_gone(tmp_path):
    "Without it there is no KL and no score of before, and a sentence says so."
    model, tokenizer = load_run("tiny", "cpu").model, load_tokenizer("tiny")
    model.save_pretrained(tmp_path/"start")
    tokenizer.save_pretrained(tmp_path/"start")
    run = train_run(quick("gsm8k", model=str(tmp_path/"start")), tmp_path/"run")
    shutil.move(tmp_path/"start", tmp_path/"elsewhere")
    with pytest.warns(UserWarning, match="the scores before the training, and the KL from there, are left out: .*start"): report = evaluate(tmp_path/"run")
    assert report.keys() == run.report.keys() - {"kl", "untrained"} and report["answers"] == run.report["answers"] and report["sampled"] == run.report["sampled"]
