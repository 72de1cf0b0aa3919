"Judges, win rates and the report of a policy, down to the lines that two runs are compared by."
import json
import math

import numpy as np
import pytest
import torch
from models import build
from datasets import Dataset

from ftlib.classify import Classifier
from ftlib.compare import compare_runs, keep_scores, paired_rows, scores_folder
from ftlib.gpt2 import load_model, load_tokenizer
from ftlib.pairs import pair_examples
from ftlib.preferences import Before, exact_reward, pair_rewards, preference_report, replies_to, reply_report
from ftlib.reward_model import as_judge, judged, new_reward_model, reward_batches, reward_step, win_rate
from ftlib.scores import flat_scores, headline_score
from ftlib.tasks import load_task

nan = float("nan")


@pytest.fixture(scope="module")
def tiny(): return load_model("tiny", device="cpu")


@pytest.fixture(scope="module")
def held(): return load_task("ultrafeedback", "test", source="tiny").select(range(8))


# --- the win rate


def test_win_rate_counts():
    assert win_rate([3, 1, 2, 2, 0], [1, 3, 2, nan, -1]) | {"rate_ci": 0} == {"n": 4, "wins": 2, "ties": 1, "losses": 1, "unscored": 1, "rate": .625, "rate_ci": 0}
    for a, b, rate in (([1, 1], [0, 0], 1.), ([0, 0], [1, 1], 0.), ([5, -5], [5, -5], .5)):
        found = win_rate(a, b)
        assert found["rate"] == rate and found["rate_ci"] == [rate, rate]
    a, b = np.random.default_rng(0).normal(size=(2, 300))
    one, other = win_rate(a, b), win_rate(b, a)
    assert one["rate"] == pytest.approx(1 - other["rate"]) and one["wins"] == other["losses"] and one["rate_ci"][0] < .5 < one["rate_ci"][1]
    assert win_rate(a, b, level=.5)["rate_ci"][0] > one["rate_ci"][0] and json.loads(json.dumps(one)) == one


@pytest.mark.parametrize("ours, theirs, words", [([nan], [1.], "the judge scored none of 1 rows"), ([], [], "scored none of 0 rows"), ([nan, 1], [1, nan], "none of 2")])
def test_nothing_to_count(ours, theirs, words):
    with pytest.raises(ValueError, match=words): win_rate(ours, theirs)


def test_what_a_judge_may_say():
    rows, replies = [{"prompt": p} for p in "abc"], {"now": ["x", "y", "z"], "before": ["u", "v", "w"]}
    said = {"a": [1, 0], "b": [None, 2], "c": [nan, 0.5]}
    found = judged(rows, replies, lambda texts, row: said[row["prompt"]])
    assert found["now"].tolist()[0] == 1 and np.isnan(found["now"][1:]).all() and found["before"].tolist() == [0, 2, .5]
    seen = []
    judged(rows, replies, lambda texts, row: seen.append((texts, row["prompt"])) or [0, 0])
    assert seen == [(["x", "u"], "a"), (["y", "v"], "b"), (["z", "w"], "c")]
    for wrong in ([1], [1, 2, 3], []):
        with pytest.raises(ValueError, match=f"the judge gave {len(wrong)} scores for 2 replies to row 0"): judged(rows, replies, lambda texts, row: wrong)
    assert {name: len(x) for name, x in judged([], replies, None).items()} == {"now": 0, "before": 0}


# --- reward models


def test_a_reward_model_starts_at_nothing_and_learns_the_order(any_model):
    "The loss starts at log 2; chosen and rejected are not mixed up, whatever the padding."
    from test_pairs import made_pairs
    pairs, critic = made_pairs(), new_reward_model(any_model)
    (batch,) = reward_batches(pairs, 5, shuffle=False)
    loss, n, more = reward_step(critic, batch)
    assert loss.item() == pytest.approx(5*math.log(2), rel=1e-5) and n == 5 and more["accuracy"] == 0
    loss.backward()
    assert critic.score.weight.grad.abs().max() > 1e-4
    with torch.no_grad(): critic.score.weight.copy_(-critic.score.weight.grad)
    chosen, rejected = ([critic(torch.tensor([e["prompt_ids"] + e[key]]), torch.ones(1, len(e["prompt_ids"] + e[key]), dtype=torch.long)).item() for e in pairs]
                        for key in ("chosen_ids", "rejected_ids"))
    loss, _, more = reward_step(critic, batch)
    assert loss.item() == pytest.approx(sum(math.log1p(math.exp(b - a)) for a, b in zip(chosen, rejected)), rel=1e-4)
    assert more["margin"].item() == pytest.approx(sum(chosen) - sum(rejected), rel=1e-3, abs=1e-4) and more["accuracy"] == sum(a > b for a, b in zip(chosen, rejected))


def test_a_judge_reads_replies_behind_their_prompt(tiny, held):
    model, tokenizer = tiny
    critic = new_reward_model(build("gpt2_ours", vocab=len(tokenizer), n_positions=256)).train()
    torch.nn.init.normal_(critic.score.weight)
    reward, texts = as_judge(critic, tokenizer, batch_size=2), ["Yes.", "No, not at all.", "", "Yes."]
    found = reward(texts, held[0])
    assert len(found) == 4 and found[0] == pytest.approx(found[3], rel=1e-4) and len({round(x, 4) for x in found}) == 3 and critic.training
    assert reward(texts[:1], held[0])[0] == pytest.approx(found[0], rel=1e-4) and reward([], held[0]) == []
    assert reward(texts[:1], held[1])[0] != pytest.approx(found[0], rel=1e-4)
    assert reward(texts[:1], {"prompt": [{"role": "user", "content": held[0]["prompt"]}]}) == reward(texts[:1], held[0])
    with pytest.raises(ValueError, match="a reward model has one label; this one has LABEL_0, LABEL_1|a reward model has one label"): as_judge(Classifier(build("gpt2_ours"), 2), tokenizer)
    with pytest.raises(ValueError, match="a reward model has one label; this one has none"): as_judge(model, tokenizer)


def test_the_exact_judge(held):
    for row in held: assert exact_reward([row["chosen"]], row)[0] > exact_reward([row["rejected"]], row)[0]
    assert exact_reward([], held[0]) == []


# --- reports


def test_the_report_of_rewards():
    report = preference_report(torch.tensor([[1., 0.], [2., 3.], [1., 1.], [4., 1.]]))
    assert report["n"] == 4 and report["accuracy"] == .5 and report["margin"] == .75 and report["chosen_reward"] == 2. and report["rejected_reward"] == 1.25
    for key in ("accuracy", "margin", "chosen_reward", "rejected_reward"): assert report[f"{key}_ci"][0] <= report[key] <= report[f"{key}_ci"][1]


def test_rewards_without_a_reference_are_per_token(tiny, held):
    model, tokenizer = tiny
    examples = pair_examples(held, tokenizer)
    lens = torch.tensor([[len(e["chosen_ids"]), len(e["rejected_ids"])] for e in examples])
    zero = torch.zeros(len(examples), 2)
    assert torch.allclose(pair_rewards(model, examples, None, 2.), pair_rewards(model, examples, zero, 2.)/lens)
    assert pair_rewards(model, examples, pair_rewards(model, examples, zero, 1.), .1).abs().max() < 1e-5


def test_replies_are_reported_with_and_without_a_judge(held):
    rows, now, before = held.select(range(4)), ["a b", "a b c", "x", "y"], ["a b", "d", "x y", "z"]
    report, records = reply_report(rows, now, before, None)
    assert list(report) == ["replies", "untrained"] and report["replies"]["unchanged"] == .25 and report["replies"]["words"] == 1.75
    assert set(report["untrained"]) == {"n", "replies"} and report["untrained"]["replies"]["words"] == 1.5 and report["untrained"]["n"] == 4
    assert records == [{"said": a, "said_before": b} for a, b in zip(now, before)]
    scores = iter([[1, 1], [2, 1], [None, 3], [0, 2]])
    report, records = reply_report(rows, now, before, lambda texts, row: next(scores))
    assert report["wins"] | {"rate_ci": 0, "quality_ci": 0} == {"level": .95, "n": 3, "wins": 1, "ties": 1, "losses": 1, "unscored": 1,
                                                                "rate": .5, "rate_ci": 0, "quality": 1., "quality_ci": 0}
    assert report["untrained"]["wins"] | {"quality_ci": 0} == {"level": .95, "n": 4, "quality": 1.75, "quality_ci": 0}
    assert [r.get("won") for r in records] == [.5, 1., None, 0.]
    names = {r["score"]: r for r in flat_scores({"n": 4, **report})}
    assert names["win rate"]["value"] == .5 and names["win rate"]["n"] == 3 and names["reply's words"]["n"] == 4


def test_before_and_after(tiny, held):
    "A policy that is its reference has margin 0 and ties throughout; rows that were left out have no reward, and the rest keep their place."
    model, tokenizer = tiny
    rows = Dataset.from_list([dict(held[0]), dict(held[1]) | {"rejected": held[1]["chosen"]}, *map(dict, held.select([2, 3]))])
    with pytest.warns(UserWarning, match="1 of 4 pairs are left out"): examples = pair_examples(rows, tokenizer)
    before = Before(model, tokenizer, rows, examples, answers=2, max_new_tokens=12)
    report = before.score(model, .1, exact_reward)
    assert report["n"] == 3 and report["preference"]["n"] == 3 and report["preference"]["margin"] == pytest.approx(0, abs=1e-4)
    assert report["wins"]["rate"] == .5 and report["wins"]["ties"] == 2 and report["replies"]["unchanged"] == 1.
    assert [("margin" in r, "said" in r, r["row"]) for r in report["rows"]] == [(True, True, 0), (False, False, 1), (True, True, 2), (True, False, 3)]
    assert json.loads(json.dumps(report)) == report
    quiet = Before(model, tokenizer, rows, examples, answers=0).score(model, .1)
    assert set(quiet) == {"n", "preference", "rows"} and headline_score(quiet)["score"] == "reward accuracy"
    free = Before(model, tokenizer, rows, examples, answers=0, reference_free=True)
    assert free.logps is None and free.score(model, 2.)["preference"]["margin"] != 0
    assert replies_to(model, tokenizer, rows.select([0]), 12) == [report["rows"][0]["said"]]


def test_prompts_without_room_are_not_answered(held):
    "A reply has to fit into the positions behind its prompt; pairs are ranked all the same, and it is said how many have no reply."
    tokenizer = load_tokenizer("tiny")
    model = build("gpt2_ours", vocab=len(tokenizer), n_positions=160)
    long = dict(held[0]) | {"prompt": "Good morning. "*35 + held[0]["prompt"]}
    rows = Dataset.from_list([long, dict(held[1]), dict(held[2]), long])
    examples = pair_examples(rows, tokenizer, 160)
    assert 150 > len(examples[0]["prompt_ids"]) > 120
    with pytest.warns(UserWarning, match="2 held-out prompts are answered: 2 of 4 leave no room for 40 new tokens within the model's 160 positions"):
        before = Before(model, tokenizer, rows, examples, answers=3, max_new_tokens=40)
    report = before.score(model, .1, exact_reward)
    assert before.asked == [1, 2] and ["said" in r for r in report["rows"]] == [False, True, True, False] and all("margin" in r for r in report["rows"])
    assert report["wins"]["n"] == 2 == report["replies"]["n"] and report["untrained"]["n"] == 2 and report["preference"]["n"] == 4
    with pytest.warns(UserWarning, match="^0 held-out prompts"): none = Before(model, tokenizer, rows, examples, answers=3, max_new_tokens=160)
    assert set(none.score(model, .1, exact_reward)) == {"n", "preference", "rows"}
    rotary = build("qwen2_hf", vocab=len(tokenizer))
    assert Before(rotary, tokenizer, rows, examples, answers=4, max_new_tokens=8).asked == [0, 1, 2, 3]


def test_every_number_of_a_report_is_a_score_with_its_interval(tiny, held):
    model, tokenizer = tiny
    report = Before(model, tokenizer, held, pair_examples(held, tokenizer), answers=3, max_new_tokens=8).score(build("gpt2_ours", vocab=len(tokenizer), n_positions=512), .1, exact_reward)
    found = {r["score"]: r for r in flat_scores(report)}
    assert {"win rate", "reward accuracy", "judge's score", "reward margin", "chosen reward", "rejected reward", "reply's words"} <= set(found)
    for r in found.values(): assert r["low"] <= r["value"] <= r["high"] and r["n"] in (3, 8)
    assert found["reward accuracy"]["value"] == report["preference"]["accuracy"] and found["reward accuracy"]["n"] == 8
    assert headline_score(report)["score"] == "win rate"
    start = {r["score"]: r for r in flat_scores(report["untrained"])}
    assert set(start) == {"judge's score", "reply's words"} and all(r["n"] == 3 and r["low"] <= r["value"] <= r["high"] for r in start.values())


def test_two_runs_are_tested_on_the_same_pairs(tmp_path, monkeypatch, tiny, held):
    model, tokenizer = tiny
    monkeypatch.chdir(tmp_path)
    before = Before(model, tokenizer, held, pair_examples(held, tokenizer), answers=4, max_new_tokens=8)
    for name, seed in (("a", 1), ("b", 2)):
        report = before.score(build("gpt2_ours", vocab=len(tokenizer), n_positions=512, seed=seed), .1, exact_reward)
        (tmp_path/name).mkdir()
        (tmp_path/name/"settings.json").write_text("{}")
        rows = report.pop("rows")
        keep_scores(scores_folder(name), {"task": "ultrafeedback", "split": "test", "source": "tiny"} | report, rows)
    found = compare_runs(["a", "b"])["ultrafeedback", "test"]
    tests = {t["score"]: t["n"] for t in found["paired"]}
    assert tests["reward accuracy"] == 8 and tests["judge's score"] == 4 and "reward margin" in tests, tests


def test_a_first_row_without_numbers_hides_no_test():
    rows = [{"row": 0, "key": ""}, *({"row": i, "key": "", "ranked": float(i % 2), "margin": float(i)} for i in (1, 2, 3))]
    assert [(t["score"], t["n"], t["difference"]) for t in paired_rows(rows, rows)] == [("reward accuracy", 3, 0), ("reward margin", 3, 0)]
