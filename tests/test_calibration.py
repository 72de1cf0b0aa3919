"Calibration by hand, against scikit-learn and SciPy, in worlds whose truth is known, and every refusal."
import json
from itertools import pairwise

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Value
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from ftlib.calibration import (bin_of, calibration_report, check_probs, confident_mistakes, ece_ends, expected_calibration_error,
                               fit_temperature, honest_ece, plot_reliability, reliability, resampled_means, temper)

matplotlib.use("Agg")
SCORES = ("ece", "nll", "brier", "confidence")


def softmax(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e/e.sum(1, keepdims=True)


def world(n, k=3, spread=1.2, seed=0):
    "Logits of the true distributions, and labels drawn from them."
    rng = np.random.default_rng(seed)
    z = spread*rng.normal(size=(n, k))
    return z, (rng.random((n, 1)) > softmax(z).cumsum(1)[:, :-1]).sum(1)


def loop_ece(p, y, bins):
    "Eq. 3, word for word."
    total = 0
    for m in range(1, bins + 1):
        rows = [i for i in range(len(p)) if (m - 1)/bins < max(p[i]) <= m/bins]
        if rows: total += len(rows)/len(p)*abs(sum(np.argmax(p[i]) == y[i] for i in rows)/len(rows) - sum(max(p[i]) for i in rows)/len(rows))
    return total


@st.composite
def answers(draw):
    k, n, seed = draw(st.integers(2, 6)), draw(st.integers(1, 40)), draw(st.integers(0, 10**6))
    rng = np.random.default_rng(seed)
    return softmax(draw(st.sampled_from([.1, 1, 4]))*rng.normal(size=(n, k))), rng.integers(k, size=n), draw(st.integers(1, 20))


# --- the diagram and its number


@pytest.mark.parametrize("probs,y,bins,ece", [
    ([[.8, .2], [.8, .2], [.4, .6]], [0, 1, 1], 10, (2*abs(1/2 - .8) + abs(1 - .6))/3),
    ([[.8, .2], [.8, .2], [.4, .6]], [0, 1, 1], 1, abs(2/3 - 2.2/3)),
    ([[.9, .1], [.95, .05], [.55, .45], [.3, .7]], [1, 0, 0, 1], 2, abs(3/4 - 3.1/4)),
    ([[1, 0], [1, 0], [0, 1]], [0, 1, 0], 10, 2/3),                               # a confidence of exactly 1 is in the last bin
    ([[.6, .4], [.4, .6], [.61, .39]], [0, 1, 1], 5, (2*abs(1 - .6) + .61)/3),    # 0.6 lies in (0.4, 0.6], 0.61 above it
    ([[.6, .4], [.4, .6], [.59, .41]], [0, 1, 1], 5, abs(2 - 1.79)/3),            # all three in (0.4, 0.6]
    ([[.2, .5, .3]], [1], 10, .5),
    ([[1/3, 1/3, 1/3]]*3, [0, 1, 2], 10, 0),                                      # ties go to the first label
], ids=str)
def test_ece_by_hand(probs, y, bins, ece): assert expected_calibration_error(probs, y, bins) == pytest.approx(ece, abs=1e-12)


def test_edges_belong_to_the_bin_below():
    tenths = [m/10 for m in range(1, 11)]
    assert bin_of(np.array(tenths), 10).tolist() == list(range(10))
    assert bin_of(np.array([.3, .6, .7, .9]), 10).tolist() == [2, 5, 6, 8]
    above = np.nextafter(tenths[:-1], 1)
    assert bin_of(above, 10).tolist() == list(range(1, 10))
    assert bin_of(np.array([1.0000001]), 7).tolist() == [6]                      # rounding above 1 stays in the last bin
    for bins in (3, 7, 15, 20): assert bin_of(np.arange(1, bins + 1)/bins, bins).tolist() == list(range(bins))


@settings(max_examples=40, deadline=None)
@given(answers())
def test_ece_is_the_definition(case):
    p, y, bins = case
    assert expected_calibration_error(p, y, bins) == pytest.approx(loop_ece(p, y, bins), abs=1e-12)
    rows = reliability(p, y, bins)
    assert expected_calibration_error(p, y, bins) == pytest.approx(
        sum(r["n"]/len(p)*abs(r["accuracy"] - r["confidence"]) for r in rows), abs=1e-12)
    assert sum(r["n"] for r in rows) == len(p) and all(r["n"] > 0 and r["low"] < r["confidence"] <= r["high"] + 1e-12 for r in rows)
    assert all(a["high"] <= b["low"] for a, b in pairwise(rows))


def test_reliability_by_hand():
    assert reliability([[.8, .2], [.76, .24], [.4, .6]], [0, 1, 1], 4) == [
        {"low": .5, "high": .75, "n": 1, "confidence": .6, "accuracy": 1.}, {"low": .75, "high": 1., "n": 2, "confidence": .78, "accuracy": .5}]


@pytest.mark.parametrize("seed", range(3))
def test_binary_diagram_is_scikit_learns(seed):
    z, y = world(400, 2, seed=seed)
    p = softmax(2*z)
    p, y = p[p[:, 1] > .5], y[p[:, 1] > .5]
    accuracy, confidence = calibration_curve(y, p[:, 1], n_bins=10)
    assert [r["accuracy"] for r in reliability(p, y)] == pytest.approx(accuracy, abs=1e-12)
    assert [r["confidence"] for r in reliability(p, y)] == pytest.approx(confidence, abs=1e-12)


def test_a_constant_guess_of_the_base_rate_has_no_ece():
    p, y = np.tile([.6, .3, .1], (10, 1)), [0]*6 + [1]*3 + [2]
    assert expected_calibration_error(p, y) == pytest.approx(0, abs=1e-12)
    assert calibration_report(p, y)["nll"] == pytest.approx(-(.6*np.log(.6) + .3*np.log(.3) + .1*np.log(.1)))


# --- the report


def test_brier_by_hand():
    assert calibration_report([[.5, .3, .2]], [1])["brier"] == pytest.approx(.25 + .49 + .04)
    assert calibration_report([[1, 0], [0, 1]], [1, 1])["brier"] == pytest.approx(1)


@settings(max_examples=15, deadline=None)
@given(answers())
def test_report_is_scikit_learns(case):
    p, y, bins = case
    r, labels = calibration_report(p, y, bins), range(p.shape[1])
    assert list(r) == ["n", "ece", "ece_ci", "nll", "nll_ci", "brier", "brier_ci", "confidence", "confidence_ci", "level"]
    assert r["nll"] == pytest.approx(sk.log_loss(y, p, labels=labels), abs=1e-12)
    assert r["brier"] == pytest.approx(sk.brier_score_loss(y, p, labels=labels, scale_by_half=False), abs=1e-12)
    assert r["ece"] == pytest.approx(expected_calibration_error(p, y, bins), abs=1e-12)
    assert r["confidence"] == pytest.approx(p.max(1).mean(), abs=1e-12) and r["n"] == len(p) and r["level"] == .95
    for name in SCORES: assert r[f"{name}_ci"][0] <= r[name] + 1e-12 and r[name] <= r[f"{name}_ci"][1] + 1e-12
    assert 0 <= r["ece_ci"][0]
    assert json.loads(json.dumps(r)) == r


def test_a_report_repeats_with_its_seed_and_narrows_with_level():
    z, y = world(300)
    p = softmax(3*z)
    assert calibration_report(p, y) == calibration_report(p, y)
    assert calibration_report(p, y, seed=1)["nll_ci"] != calibration_report(p, y)["nll_ci"]
    wide, narrow = calibration_report(p, y), calibration_report(p, y, level=.5)
    for name in SCORES: assert np.diff(narrow[f"{name}_ci"]) < np.diff(wide[f"{name}_ci"])


def test_an_impossible_truth_is_dear_but_finite():
    r = calibration_report([[1., 0.], [.5, .5]], [1, 0])
    assert r["nll"] == pytest.approx((103.28 + np.log(2))/2, abs=.01)


def test_resampled_means_are_a_bootstrap():
    columns = np.random.default_rng(0).normal(size=(400, 3))
    columns[:, 2] = columns[:, 0]*2 + 1                                          # rows stay whole
    drawn = resampled_means(columns, draws=3000)
    assert drawn.shape == (3000, 3) and drawn[:, 2] == pytest.approx(drawn[:, 0]*2 + 1, abs=1e-12)
    assert drawn.mean(0) == pytest.approx(columns.mean(0), abs=.005) and drawn.std(0) == pytest.approx(columns.std(0)/20, rel=.06)
    assert resampled_means(columns[:1], draws=5).tolist() == [columns[0].tolist()]*5


def test_honest_ece_is_what_honest_classifiers_show():
    z, _ = world(200, seed=1)
    rng, p = np.random.default_rng(0), softmax(z)
    seen = [expected_calibration_error(p, (rng.random((200, 1)) > p.cumsum(1)[:, :-1]).sum(1)) for _ in range(300)]
    assert honest_ece(p).mean() == pytest.approx(np.mean(seen), abs=.003)
    assert honest_ece(np.tile(p, (25, 1))).mean() < .3*np.mean(seen)             # more rows, less luck


@pytest.mark.parametrize("power", [1, 1.5, 3])
def test_intervals_hold_the_truth(power):
    "60 sets of 150 rows; a share of 0.95 falls below 0.83 about once in 10,000 tries."
    z, y = world(200_000, seed=99)
    p = softmax(power*z)
    truth = {"ece": expected_calibration_error(p, y)*(power != 1), "nll": -np.log(p[np.arange(len(y)), y]).mean(),
             "brier": ((p - np.eye(3)[y])**2).sum(1).mean(), "confidence": p.max(1).mean()}
    held = dict.fromkeys(SCORES, 0)
    for s in range(60):
        z, y = world(150, seed=s)
        r = calibration_report(softmax(power*z), y, seed=s)
        for name in SCORES: held[name] += (r[f"{name}_ci"][0] <= truth[name] <= r[f"{name}_ci"][1])/60
    assert min(held.values()) > .83, held


def test_the_interval_of_an_ece_by_hand():
    drawn, none = np.linspace(.12, .2, 101), np.zeros(10)                        # mean .16, 95 % of them below .196
    assert ece_ends(.15, drawn, none, .9) == pytest.approx([.3 - .196, .15 + .036])
    assert ece_ends(.05, drawn, none, .9) == pytest.approx([0, .05 + .036])      # cut at 0
    assert ece_ends(.3, drawn, none, .9) == pytest.approx([.3, .3 + .036])       # it holds its ECE
    assert ece_ends(.15, drawn, np.full(10, .2), .9) == pytest.approx([0, .15 + .036])     # luck alone explains it


# --- temperature


@settings(max_examples=30, deadline=None)
@given(answers(), st.floats(.05, 20))
def test_temper_keeps_the_order(case, temperature):
    p, _, _ = case
    out = temper(p, temperature)
    assert out.argmax(1).tolist() == p.argmax(1).tolist() and out.sum(1) == pytest.approx(1) and (out >= 0).all()
    order = np.argsort(p, axis=1)
    assert (np.diff(np.take_along_axis(out, order, 1), axis=1) >= 0).all()


def test_temper_is_softmax_of_scaled_logits():
    z = 5*np.random.default_rng(0).normal(size=(50, 4)) + 30
    for T in (.3, 1, 7): assert temper(softmax(z), T) == pytest.approx(softmax(z/T), abs=1e-12)
    assert temper(temper(softmax(z), 2), .5) == pytest.approx(softmax(z), abs=1e-12)


def test_temper_bears_zeros_and_extremes():
    out = temper([[1., 0., 0.], [0., .5, .5]], 2)
    assert np.isfinite(out).all() and out.argmax(1).tolist() == [0, 1] and out[0, 1] < 1e-20
    assert temper([[.9, .1]], 1e-3).tolist() == [[1., 0.]] and temper([[.9, .1]], 1e6) == pytest.approx(np.array([[.5, .5]]), abs=1e-5)


@pytest.mark.parametrize("T", [.4, 1, 2.5, 6])
def test_true_temperature_is_recovered(T):
    z, y = world(20_000, 4)
    assert fit_temperature(softmax(z*T), y) == pytest.approx(T, rel=.05)


@pytest.mark.parametrize("k,seed", [(2, 0), (3, 1), (6, 2)])
def test_temperature_is_scipys(k, seed):
    z, y = world(300, k, seed=seed)
    p = softmax(2*z)
    found = minimize_scalar(lambda b: sk.log_loss(y, softmax(2*z*b), labels=range(k)), bracket=(.02, .5, 4.), options={"xtol": 1e-11})
    assert fit_temperature(p, y) == pytest.approx(1/found.x, abs=1e-6)


def test_at_the_fit_expected_and_got_agree():
    z, y = world(500)
    p = softmax(3*z)
    q, logs = temper(p, fit_temperature(p, y)), np.log(p)
    assert (q*logs).sum(1).mean() == pytest.approx(logs[np.arange(500), y].mean(), abs=1e-9)
    assert fit_temperature(q, y) == pytest.approx(1, abs=1e-6)                   # nothing is left to mend


def test_temperature_is_bounded():
    z, _ = world(40)
    p = softmax(3*z)
    assert fit_temperature(p, p.argmax(1)) == pytest.approx(.01)                 # every row right
    assert fit_temperature(p, p.argmin(1)) == pytest.approx(100)                 # every row wrong
    assert fit_temperature(np.eye(3), [0, 1, 2]) == pytest.approx(.01)           # and certain
    assert .01 <= fit_temperature(np.eye(3), [1, 1, 2]) <= 100
    assert fit_temperature(np.full((4, 3), 1/3), [0, 1, 2, 0]) == 1              # every temperature is as good


# --- the picture and the rows


def test_plot_compares_on_one_axes():
    z, y = world(500)
    p, q = softmax(z), softmax(3*z)
    ax = plot_reliability(p, y, label="a")
    assert plot_reliability(q, y, ax=ax, label="b") is ax and sum(line.get_gid() == "diagonal" for line in ax.lines) == 1
    shown = [t.get_text() for t in ax.get_legend().get_texts()]
    assert shown == [f"a: ECE {expected_calibration_error(p, y):.3f}", f"b: ECE {expected_calibration_error(q, y):.3f}"]
    line = next(line for line in ax.lines if line.get_gid() != "diagonal")
    assert line.get_xdata() == pytest.approx([r["confidence"] for r in reliability(p, y)])
    assert line.get_ydata() == pytest.approx([r["accuracy"] for r in reliability(p, y)])
    area, n = ax.collections[1].get_sizes(), np.array([r["n"] for r in reliability(p, y)])
    assert (area - 8)/300 == pytest.approx(n/500)
    assert plot_reliability(p, y).get_legend().get_texts()[0].get_text().startswith("ECE 0.")
    plt.close("all")


LABELS = ["no", "maybe", "yes"]
ROWS = Dataset.from_dict({"id": list("abcde"), "text": [f"text {i}" for i in range(5)], "text_pair": [None, "p", None, None, None],
                          "label": [0, 1, 2, 0, 1]},
                         features=Features(id=Value("string"), text=Value("string"), text_pair=Value("string"), label=ClassLabel(names=LABELS)))
GUESS = [[.2, .7, .1], [.9, .05, .05], [.1, .1, .8], [.1, .2, .7], [.3, .4, .3]]


def test_confident_mistakes_come_first():
    found = confident_mistakes(GUESS, ROWS)
    assert [m["id"] for m in found] == ["b", "a", "d"]                           # a tie keeps the order of the rows
    assert found[0] == {"id": "b", "text": "text 1", "text_pair": "p", "truth": "maybe", "predicted": "no", "confidence": .9}
    assert confident_mistakes(torch.tensor(GUESS), ROWS, k=1)[0]["id"] == "b"
    assert confident_mistakes(np.eye(3)[ROWS["label"]], ROWS) == []
    plain = ROWS.cast_column("label", Value("int64")).remove_columns(["id", "text_pair"])
    assert confident_mistakes(GUESS, plain, k=1)[0] == {"id": None, "text": "text 1", "text_pair": None, "truth": 1, "predicted": 0,
                                                        "confidence": .9}


def test_mistakes_are_refused():
    with pytest.raises(ValueError, match="probs has 4 rows and y_true 5"): confident_mistakes(GUESS[:4], ROWS)
    with pytest.raises(ValueError, match="probs has 4 labels and rows 3"): confident_mistakes(np.full((5, 4), .25), ROWS)
    with pytest.raises(ValueError, match="k must be a whole number, 1 or more, got 0"): confident_mistakes(GUESS, ROWS, k=0)
    with pytest.raises(ValueError, match="rows need a column label, got id, text"): confident_mistakes(GUESS, ROWS.select_columns(["id", "text"]))


# --- what comes in


def test_lists_arrays_and_tensors_are_one():
    z, y = world(60)
    p = softmax(z)
    tensor = torch.tensor(p, requires_grad=True)
    for probs, truth in ((p.tolist(), y.tolist()), (tensor, torch.tensor(y)), (p, torch.tensor(y, dtype=torch.int32))):
        assert expected_calibration_error(probs, truth) == expected_calibration_error(p, y)
        assert fit_temperature(probs, truth) == fit_temperature(p, y) and calibration_report(probs, truth) == calibration_report(p, y)
        assert (temper(probs, 2) == temper(p, 2)).all() and reliability(probs, truth) == reliability(p, y)
    rough = torch.tensor(p, dtype=torch.float32)
    assert expected_calibration_error(rough, y) == pytest.approx(expected_calibration_error(p, y), abs=1e-6)
    assert check_probs([[.33333, .33333, .33333]])[0].tolist() == [[.33333]*3]   # rounding is kept as it is


@pytest.mark.parametrize("probs,y,words", [
    ([[.5, .6]], [0], r"probs\[0\] is \[0.5, 0.6\], which is no distribution"),
    ([[.5, .5], [2., -1.]], [0, 0], r"probs\[1\] is \[2.0, -1.0\]"),
    ([[.5, .5], [float("nan"), .5]], [0, 0], r"probs\[1\] is \[nan, 0.5\]"),
    ([[float("inf"), 0]], [0], "no distribution"),
    ([[.5, .5]], [2], r"y_true\[0\] is 2, which is none of the labels: 0…1"),
    ([[.5, .5]], [-1], r"y_true\[0\] is -1"),
    ([[.5, .5]], [.5], r"y_true\[0\] is 0.5"),
    ([[.5, .5]], [0, 1], "probs has 1 rows and y_true 2"),
    ([[.5, .5]], [[0]], "y_true needs one label a row"),
    ([.5, .5], [0, 1], r"shape \(n, k\), .* got \(2,\)"),
    ([[1.]], [0], r"2 or more labels, got \(1, 1\)"),
    (np.zeros((0, 2)), [], r"got \(0, 2\)"),
], ids=str)
def test_bad_rows_are_refused(probs, y, words):
    for f in (expected_calibration_error, reliability, fit_temperature, calibration_report, plot_reliability):
        with pytest.raises(ValueError, match=words): f(probs, y)


@pytest.mark.parametrize("bins", [0, -3, 2.5])
def test_bad_bins_are_refused(bins):
    for f in (expected_calibration_error, reliability, calibration_report, plot_reliability):
        with pytest.raises(ValueError, match="bins must be a whole number, 1 or more, got"): f([[.5, .5]], [0], bins=bins)
    with pytest.raises(ValueError, match="bins must be"): honest_ece([[.5, .5]], bins=bins)


@pytest.mark.parametrize("temperature", [0, -1, float("inf"), float("nan")])
def test_bad_temperatures_are_refused(temperature):
    with pytest.raises(ValueError, match="temperature must be a number above 0, got"): temper([[.5, .5]], temperature)


def test_bad_levels_are_refused():
    with pytest.raises(ValueError, match="level must lie between 0 and 1"): calibration_report([[.5, .5]], [0], level=1)
