"Scores against scikit-learn and by hand, intervals against loops over rows, and every refusal."
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from ftlib.metrics import (bootstrap_ci, class_ids, class_scores, classification_ci, classification_report, confusion, format_report,
                           macro_f1, majority_baseline, ordinal_report, pass_at_k, plot_confusion, quadratic_kappa, report_rows)

NAMES = ["a", "b", "c", "d"]
SCORES = {"precision": "precision", "recall": "recall", "f1": "f1-score"}


@st.composite
def columns(draw):
    k = draw(st.integers(2, 6))
    n = draw(st.integers(1, 40))
    ids = st.lists(st.integers(0, k - 1), min_size=n, max_size=n)
    return k, draw(ids), draw(ids)


@settings(max_examples=25, deadline=None)
@given(columns())
def test_report_is_scikit_learns(case):
    k, true, pred = case
    names = [f"label {i}" for i in range(k)]
    ours = classification_report(true, pred, names)
    theirs = sk.classification_report(true, pred, labels=range(k), target_names=names, output_dict=True, zero_division=0)
    for score, key in SCORES.items():
        assert ours[score]["macro"] == pytest.approx(theirs["macro avg"][key], abs=1e-12)
        for name in names: assert ours[score]["per_class"][name] == pytest.approx(theirs[name][key], abs=1e-12)
    assert ours["accuracy"] == pytest.approx(sk.accuracy_score(true, pred), abs=1e-12)
    for score in SCORES: assert ours[score]["micro"] == pytest.approx(ours["accuracy"], abs=1e-12)
    assert macro_f1(confusion(true, pred, names)) == pytest.approx(ours["f1"]["macro"], abs=1e-12)
    assert sum(ours["support"].values()) == ours["n"] == len(true)
    low, high = ours["accuracy_ci"]
    assert 0 <= low <= ours["accuracy"] <= high <= 1


def test_report_by_hand():
    r = classification_report([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 0, 0], NAMES)
    assert r["confusion"] == [[2, 1, 0, 0], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert r["precision"]["per_class"] == {"a": .5, "b": .5, "c": 0, "d": 0}
    assert r["recall"]["per_class"] == pytest.approx({"a": 2/3, "b": .5, "c": 0, "d": 0})
    assert r["f1"]["macro"] == pytest.approx((4/7 + 1/2)/4)
    assert r["undefined"] == {"precision": ["c", "d"], "recall": ["d"]}
    assert r["support"] == {"a": 3, "b": 2, "c": 1, "d": 0} and r["n"] == 6


def test_names_ids_arrays_and_tensors_are_one():
    ids = [0, 3, 1, 1]
    for y in (np.array(ids), torch.tensor(ids), [NAMES[i] for i in ids], np.array([NAMES[i] for i in ids])):
        assert class_ids(y, NAMES).tolist() == ids
    assert class_ids([5, 7], [7, 5]).tolist() == [1, 0]                # labels that are numbers are values, not places


def test_report_survives_json_and_is_the_same_again():
    rng = np.random.default_rng(0)
    columns = rng.integers(4, size=50), rng.integers(4, size=50)
    report = classification_report(*columns, NAMES)
    assert json.loads(json.dumps(report)) == report == classification_report(*columns, NAMES)
    assert classification_report(*columns, NAMES, seed=1)["macro_f1_ci"] != report["macro_f1_ci"]


def rows_of(table): return np.repeat(np.indices(table.shape).reshape(2, -1), table.ravel(), axis=1)


def test_multinomial_is_the_row_bootstrap():
    rng, table = np.random.default_rng(0), np.array([[30, 5, 0], [8, 12, 2], [0, 1, 3]])
    true, pred = rows_of(table)
    n, scores = len(true), []
    for _ in range(3000):
        i = rng.integers(n, size=n)
        scores.append(((true[i] == pred[i]).mean(), macro_f1(np.bincount(true[i]*3 + pred[i], minlength=9).reshape(3, 3))))
    for key, column in zip(("accuracy_ci", "macro_f1_ci"), np.array(scores).T):
        assert classification_ci(table, draws=20_000)[key] == pytest.approx(np.quantile(column, [.025, .975]), abs=.02)
        assert classification_ci(table, level=.5, draws=20_000)[key] == pytest.approx(np.quantile(column, [.25, .75]), abs=.02)


def test_bootstrap_by_hand():
    "Of the four resamples of (0, 1) one has mean 0, two have 1/2 and one has 1: their quantiles jump at 1/4 and 3/4."
    assert bootstrap_ci([0, 1], level=.4) == (.5, .5)       # quantiles .3 and .7
    assert bootstrap_ci([0, 1], level=.6) == (0, 1)         # quantiles .2 and .8


def test_bootstrap_of_a_mean():
    rng = np.random.default_rng(0)
    values = rng.normal(3, 2, size=500)
    low, high = bootstrap_ci(values)
    spread = 1.96*values.std()/500**.5
    assert (low, high) == pytest.approx((values.mean() - spread, values.mean() + spread), abs=.03)
    assert bootstrap_ci(torch.tensor(values)) == bootstrap_ci(list(values)) == (low, high)
    narrow = bootstrap_ci(values, level=.5)
    assert low < narrow[0] < narrow[1] < high
    assert bootstrap_ci([2.5]*7) == (2.5, 2.5)
    assert bootstrap_ci(values, seed=1) != (low, high)


def test_interval_covers():
    "Of 300 test sets from a known world, about 95 % of the intervals hold the truth; a 50 % interval would not pass."
    rng, p, held = np.random.default_rng(0), .7, 0
    for i in range(300):
        low, high = bootstrap_ci((rng.random(200) < p).astype(float), seed=i, draws=500)
        held += low <= p <= high
    assert 270 <= held <= 297


@pytest.mark.parametrize("y_true,y_pred,labels,message", [
    ([0, 4], [0, 0], NAMES, r"y_true\[1\] is 4, which is none of the labels: 0…3"),
    ([0, 1], [0, -1], NAMES, r"y_pred\[1\] is -1"),
    (["a", "e"], ["a", "a"], NAMES, "'e', which is none of the labels: a, b, c, d"),
    ([0, 1], [0], NAMES, "y_true has 2 rows and y_pred 1"),
    ([], [], NAMES, "y_true needs one label a row"),
    ([[0, 1]], [[0, 1]], NAMES, "y_true needs one label a row"),
    ([0], [0], ["a"], "labels must be two or more names"),
    ([0], [0], ["a", "a"], "labels must be two or more names"),
    ([.5, 1], [0, 1], NAMES, r"y_true\[0\] is 0.5"),
])
def test_bad_columns(y_true, y_pred, labels, message):
    with pytest.raises(ValueError, match=message) as error: classification_report(y_true, y_pred, labels)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("values,message", [([], "one number a row"), ([[1.]], "one number a row"), ([1, float("nan")], r"values\[1\] is nan"),
                                            ([1, float("inf")], r"values\[1\] is inf")])
def test_bad_values(values, message):
    with pytest.raises(ValueError, match=message): bootstrap_ci(values)


@pytest.mark.parametrize("level", [0, 1, 95, -1])
def test_bad_level(level):
    with pytest.raises(ValueError, match="level must lie between 0 and 1"): bootstrap_ci([1, 2], level=level)
    with pytest.raises(ValueError, match="level must lie between 0 and 1"): classification_report([0], [1], NAMES, level=level)


def test_majority():
    r = majority_baseline([2, 2, 0], [0, 2, 2, 1], NAMES)
    assert r["says"] == "c" and r["accuracy"] == .5 and r["f1"]["micro"] == .5
    assert r["undefined"]["precision"] == ["a", "b", "d"]
    assert majority_baseline(["c", "c"], ["a", "c"], NAMES)["accuracy"] == .5


def test_line_and_rows_hold_the_reports_numbers():
    r = classification_report([0, 0, 1, 2], [0, 1, 1, 1], NAMES)
    line = format_report(r)
    for part in (f"accuracy {r['accuracy']:.3f} [{r['accuracy_ci'][0]:.3f}, {r['accuracy_ci'][1]:.3f}]", f"macro-F1 {r['f1']['macro']:.3f}",
                 "n 4", "never predicted: c, d"): assert part in line
    rows = report_rows(r)
    assert [row["label"] for row in rows] == [*NAMES, "macro", "micro"]
    assert rows[1] == {"label": "b", "precision": 1/3, "recall": 1.0, "f1": .5, "n": 1}
    assert rows[-2]["f1"] == r["f1"]["macro"] and rows[-1]["n"] == 4


def test_plot_writes_the_counts():
    import matplotlib.pyplot as plt
    ax = plot_confusion([0, 0, 1, 3], [0, 1, 1, 3], NAMES)
    assert [t.get_text() for t in ax.texts] == ["1", "1", "0", "0", "0", "1", "0", "0", "0", "0", "0", "0", "0", "0", "0", "1"]
    assert ax.images[0].get_array()[0].tolist() == [.5, .5, 0, 0]      # shares of the row; an empty row stays zero
    assert [t.get_text() for t in ax.get_yticklabels()] == NAMES
    assert plot_confusion([0], [1], NAMES, ax=ax) is ax
    plt.close("all")


def test_import_is_light():
    code = "import ftlib.metrics, sys; print([m for m in ('sklearn', 'matplotlib', 'torch', 'scipy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_every_score_of_a_report_has_its_interval():
    "Intervals of precision, recall and F1, macro and of each label, against a loop over resampled rows."
    rng = np.random.default_rng(0)
    true = rng.choice(4, 300, p=[.5, .3, .15, .05])
    pred = np.where(rng.random(300) < .6, true, rng.integers(0, 4, 300))
    report, draws = classification_report(true, pred, NAMES), []
    for _ in range(600):
        rows = rng.integers(300, size=300)
        draws.append(sk.precision_recall_fscore_support(true[rows], pred[rows], labels=range(4), zero_division=0)[:3])
    for score, values in zip(("precision", "recall", "f1"), np.array(draws).swapaxes(0, 1)):
        ci = report["ci"][score]
        assert ci["macro"] == pytest.approx(np.quantile(values.mean(1), [.025, .975]), abs=.02)
        for k, name in enumerate(NAMES): assert ci["per_class"][name] == pytest.approx(np.quantile(values[:, k], [.025, .975]), abs=.05)
    assert report["ci"]["f1"]["macro"] == report["macro_f1_ci"]


@settings(max_examples=25, deadline=None)
@given(columns())
def test_ordinal_scores_are_scikit_learns(case):
    k, true, pred = case
    names = [f"label {i}" for i in range(k)]
    report, theirs = ordinal_report(true, pred, names), sk.cohen_kappa_score(true, pred, labels=range(k), weights="quadratic")
    steps = np.abs(np.subtract(true, pred))
    assert report["distance"] == pytest.approx(steps.mean()) and report["within_one"] == pytest.approx((steps <= 1).mean())
    assert report["kappa"] == pytest.approx(1. if np.isnan(theirs) else theirs, abs=1e-12) and report["n"] == len(true)
    assert report["distance_ci"][0] <= report["distance"] <= report["distance_ci"][1]


def test_kappa_by_hand():
    "Two labels: plain kappa. p_o = 0.7, p_e = 0.5 gives 0.4."
    assert quadratic_kappa(np.array([[20, 5], [10, 15]])) == pytest.approx(.4)
    assert quadratic_kappa(np.array([[5, 0], [0, 0]])) == 1
    assert quadratic_kappa(np.stack([np.eye(3), np.eye(3)[::-1]])).tolist() == pytest.approx([1, -1])
    assert class_scores(np.array([[3, 1], [0, 2]]))["precision"].tolist() == pytest.approx([1, 2/3])


@pytest.mark.parametrize("n, c, k, value", [(1, 0, 1, 0), (1, 1, 1, 1), (5, 2, 1, .4), (4, 1, 2, .5), (10, 3, 5, 1 - 21/252), (200, 1, 100, .5), (6, 4, 3, 1)])
def test_pass_at_k_by_hand(n, c, k, value): assert pass_at_k(n, c, k) == pytest.approx(value, abs=1e-12)


def test_pass_at_k_counts_subsets():
    from itertools import combinations
    for n in range(1, 7):
        for c in range(n + 1):
            for k in range(1, n + 1):
                subsets = list(combinations([1]*c + [0]*(n - c), k))
                assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, subsets))/len(subsets), abs=1e-12)


@pytest.mark.parametrize("n, c, k", [(5, 6, 1), (5, -1, 1), (5, 2, 0), (5, 2, 6)])
def test_pass_at_k_refuses(n, c, k):
    with pytest.raises(ValueError, match=rf"n={n}, c={c}, k={k}"): pass_at_k(n, c, k)


def test_texts_and_verse_can_be_had_here():
    from ftlib import metrics, prosody, texts
    assert metrics.chrf is texts.chrf and metrics.count_syllables is prosody.count_syllables and metrics.verse_shape is prosody.verse_shape
