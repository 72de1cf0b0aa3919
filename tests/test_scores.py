"What is scored and how it is named: one list behind every table, file and plot."
import json

import numpy as np
import pandas as pd
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from ftlib.metrics import classification_report, ordinal_report
from ftlib.scores import (SCORES, at, bag_of_words, flat_scores, headline_score, line_scores, report_probs, row_key, score_row,
                          shown_scores, side_by_side, texts_of)
from ftlib.tasks import TASKS, load_task


def rows_of(labels, names, pairs=None):
    features = Features({"id": Value("string"), "text": Value("string"), "text_pair": Value("string"), "label": ClassLabel(names=list(names))})
    n = len(labels)
    return Dataset.from_dict({"id": [f"r{i}" for i in range(n)], "text": [f"text {i}" for i in range(n)],
                              "text_pair": pairs or [None]*n, "label": labels}, features=features)


def sure(said, k, p=.9): return np.full((len(said), k), (1 - p)/(k - 1)) + np.eye(k)[said]*(p - (1 - p)/(k - 1))


def test_a_report_says_everything_and_survives_json():
    names = TASKS["liar"].labels
    truth, said = [0, 1, 2, 3, 4, 5]*4, [1, 1, 2, 4, 4, 0]*4
    report = report_probs(sure(said, 6), rows_of(truth, names), train_labels=[2, 2, 1])
    assert report["accuracy"] == classification_report(truth, said, names)["accuracy"] == .5
    assert report["ordinal"] == ordinal_report(truth, said, names) and report["majority"]["says"] == "barely-true"
    assert report["calibration"]["ece"] == pytest.approx(.4) and report["calibration"]["n"] == 24
    one = report["rows"][5]
    assert one["truth"] == "true" and one["said"] == "pants-fire" and one["right"] == 0 and one["confidence"] == pytest.approx(.9)
    assert json.loads(json.dumps(report)) == report


def test_propaganda_counts_spans():
    "A span that is listed twice gets its two likeliest techniques: one right by accuracy, two by the task's count."
    names = TASKS["propaganda"].labels
    rows = rows_of([3, 5, 1], names)
    rows = rows.remove_columns("id").add_column("id", ["7:0-9:1", "7:0-9:2", "8:1-4:1"])
    probs = np.full((3, 14), .1/11)
    probs[:, [3, 5, 1]] = [[.6, .2, .1], [.6, .2, .1], [.1, .6, .2]]
    report = report_probs(probs, rows)
    assert report["accuracy"] == pytest.approx(1/3) and report["span_f1"] == pytest.approx(2/3)
    assert headline_score(report)["score"] == "span micro-F1" and headline_score(report)["value"] == report["span_f1"]
    assert "ordinal" not in report and "span_f1" not in report_probs(sure([0], 3), rows_of([0], TASKS["fever"].labels))


def test_every_score_is_a_record_with_n_and_an_interval():
    report = report_probs(sure([0, 1, 2, 0]*5, 3), rows_of([0, 1, 2, 2]*5, TASKS["fever"].labels))
    records = flat_scores(report)
    assert all(set(r) == {"score", "value", "low", "high", "n"} and r["n"] > 0 and r["low"] <= r["high"] for r in records)
    found = {r["score"]: r for r in records}
    assert found["accuracy"]["value"] == .75 and found["accuracy"]["n"] == 20 and found["F1 of REFUTES"]["n"] == 5
    for name in ("accuracy", "macro-F1", "macro recall", "NLL", "Brier"): assert found[name]["low"] <= found[name]["value"] <= found[name]["high"], name
    frame = pd.read_json(__import__("io").StringIO(json.dumps(records)))
    assert frame.shape == (len(records), 5) and frame.value.dtype == float


def test_answers_and_texts_are_scores_too():
    report = {"n": 10, "nats_per_token": .5, "nats_ci": [.4, .6], "writing": {"n": 4, "chrf": 50., "chrf_ci": [40, 60], "words": 7., "words_ci": [5, 9]},
              "answers": {"n": 3, "strict": {"right": .3, "ci": [0, 1]}, "commonest": {"says": "7", "right": .1, "ci": [0, .2]}}}
    found = {r["score"]: r for r in flat_scores(report)}
    assert found["nats per token"] == {"score": "nats per token", "value": .5, "low": .4, "high": .6, "n": 10}
    assert found["chrF"]["n"] == 4 and found["right, strict"]["n"] == 3 and "always 7" in found
    assert headline_score(report)["score"] == "right, strict"
    assert list(score_row("m", report))[:3] == ["model", "right, strict", "always 7"]
    assert shown_scores(flat_scores(report))[-2:] == ["chrF", "words"]


def test_side_by_side_leaves_a_cell_empty_and_tells_every_n():
    one, two = ({"score": "accuracy", "value": .5, "low": .4, "high": .6, "n": n} for n in (10, 20))
    lines = side_by_side({"a": [one, one | {"score": "ECE"}], "b": [two]})
    assert lines == [{"score": "accuracy", "a": "0.500 [0.400, 0.600]", "b": "0.500 [0.400, 0.600]", "n": "10, 20"},
                     {"score": "ECE", "a": "0.500 [0.400, 0.600]", "b": "", "n": "10"}]


def test_a_flat_line_becomes_records_again():
    records = [{"score": "chrF", "value": 5., "low": 4., "high": 6., "n": 9}]
    assert line_scores({"run": "x", "n": 20, "chrF": 5., "chrF low": 4., "chrF high": 6., "chrF n": 9}) == records


def test_names_and_paths_are_unique():
    assert len({name for name, _, _ in SCORES}) == len({path for _, path, _ in SCORES}) == len(SCORES)
    assert {better for *_, better in SCORES} == {"+", "-", ""} and at({"a": {"b": 1}}, "a/b") == 1 and at({"a": 1}, "a/b") is None


def test_bag_of_words_reads_what_it_is_told():
    rows = rows_of([0, 1]*30, ["no", "yes"], pairs=["alpha", "beta"]*30)
    assert bag_of_words(rows, rows, "text_pair")["accuracy"] == 1 and texts_of(rows, "both")[0] == "text 0\nalpha"
    with pytest.raises(ValueError, match="column = 'pair' must be one of text, text_pair, both"): texts_of(rows, "pair")


def test_a_label_that_training_lacks_gets_no_probability():
    train, held = rows_of([0, 1]*10, ["a", "b", "c"]), rows_of([2, 0], ["a", "b", "c"])
    assert bag_of_words(train, held)["f1"]["per_class"]["c"] == 0


@pytest.mark.parametrize("task, most", [("propaganda", .6), ("liar", .45), ("fever", .45)])
def test_no_shortcut_by_words(task, most):
    "DESIGN's ceilings for TF-IDF on the twins."
    report = bag_of_words(load_task(task, "train", "tiny", n=1500), load_task(task, "test", "tiny"))
    assert report["accuracy"] <= most


def test_a_key_tells_rows_apart():
    assert row_key({"text": "a", "label": 1}) == row_key({"label": 1, "text": "a"}) != row_key({"text": "a", "label": 2})
