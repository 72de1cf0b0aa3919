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

from ftlib.metrics import (bootstrap_ci, class_ids, classification_ci, classification_report, confusion, format_report, macro_f1,
                           majority_baseline, plot_confusion, report_rows)

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
