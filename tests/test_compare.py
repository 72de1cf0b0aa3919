"Paired tests against scipy and by hand, files that pandas opens, a leaderboard that survives a crash."
import json
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ftlib.compare import (add_to_board, board_line, compare_runs, keep_scores, kept_scores, leaderboard, paired_rows, paired_test,
                           plot_runs, same_rows, scores_folder, sign_flip_p, tell_test)
from ftlib.metrics import classification_report


@pytest.mark.parametrize("d, p", [([], 1), ([0, 0], 1), ([1], 1), ([1, 1], .5), ([1]*5, 2/32), ([1]*5 + [-1], 14/64), ([1, -1], 1), ([1]*6 + [0]*50, 2/64)])
def test_mcnemar_by_hand(d, p): assert sign_flip_p(d) == pytest.approx(p)


def test_mcnemar_is_the_binomial_test():
    rng = np.random.default_rng(0)
    for _ in range(20):
        d = rng.choice([-1, 0, 1], 60, p=[.2, .5, .3])
        assert sign_flip_p(d) == pytest.approx(stats.binomtest(int((d > 0).sum()), int((d != 0).sum())).pvalue)


def test_sign_flips_are_all_flips():
    "Few rows: the share of all 2^n choices of signs that lie as far out."
    d = np.array([.3, -1.2, 2.5, .9, .4, 1.1, .7, -.2])
    signs = np.array(np.meshgrid(*[[-1, 1]]*len(d))).reshape(len(d), -1)
    exact = np.mean(np.abs(d @ signs) >= abs(d.sum()) - 1e-12)
    assert sign_flip_p(d, draws=40_000) == pytest.approx(exact, abs=.01)
    peer = stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=math.inf).pvalue
    assert exact == pytest.approx(peer, abs=1e-9)


def test_paired_test_by_hand():
    found = paired_test([0, 0, 1, 1], [1, 1, 1, 0])
    assert (found["n"], found["a"], found["b"], found["difference"], found["p"]) == (4, .5, .75, .25, 1)
    assert found["ci"][0] <= .25 <= found["ci"][1]
    for a, b in (([1], [1, 2]), ([], []), ([[1]], [[1]])):
        with pytest.raises(ValueError, match="the same rows"): paired_test(a, b)


def rows(right, key="k"): return [{"row": i, "key": f"{key}{i}", "right": float(r)} for i, r in enumerate(right)]


def test_only_the_same_rows_are_paired():
    a, b = rows([1, 0, 1, 1]), rows([0, 0, 1])
    b[1]["key"] = "other"
    assert [(x["row"], y["row"]) for x, y in same_rows(a, b)] == [(0, 0), (2, 2)]
    assert paired_rows(a, b)[0]["n"] == 2
    with pytest.raises(ValueError, match="no row in common"): paired_rows(a, rows([1], key="z"))


def test_nats_are_tested_per_token():
    a = [{"row": i, "key": "", "nats": 2.*n, "tokens": n} for i, n in enumerate((1, 3, 6))]
    b = [row | {"nats": row["nats"] - row["tokens"]*.5} for row in a]
    (found,) = paired_rows(a, b)
    assert found["score"] == "nats per token" and found["a"] == pytest.approx(2) and found["difference"] == pytest.approx(-.5)


def test_the_form_of_verse_is_tested():
    "Four poems: two more end in time, and all come one syllable nearer."
    a = [{"row": i, "fourteen": end, "metre": 2., "rhymes": 0.} for i, end in enumerate((0., 0., 1., 0.))]
    b = [{"row": i, "fourteen": end, "metre": 1., "rhymes": 0.} for i, end in enumerate((1., 1., 1., 0.))]
    found = {t["score"]: (t["difference"], t["p"]) for t in paired_rows(a, b)}
    assert found == {"fourteen": (.5, .5), "metre": (-1., .125), "rhymes": (0., 1.)}


def test_texts_are_tested_where_both_wrote():
    a = [{"row": 0, "key": "", "nats": 1., "tokens": 2, "chrf": 30., "said": "x", "right_strict": 1.}, {"row": 1, "key": "", "nats": 1., "tokens": 2}]
    found = {t["score"]: t["n"] for t in paired_rows(a, a)}
    assert found == {"nats per token": 2, "chrF, mean of rows": 1, "right, strict": 1}


def report_of(right): return {"task": "t", "split": "test", "source": "s"} | classification_report([0]*len(right), [int(not r) for r in right], ["yes", "no"])


@pytest.fixture
def folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, right in (("a", [1, 0, 1, 0]*10), ("b", [1, 1, 1, 0]*10)):
        (tmp_path/name).mkdir()
        (tmp_path/name/"settings.json").write_text("{}")
        keep_scores(scores_folder(name), report_of(right), rows(right))
    return tmp_path


def test_files_open_in_pandas(folders):
    frame = pd.read_json(folders/"a"/"scores"/"t-test.json")
    assert frame.loc[frame.score == "accuracy", "value"].item() == .5 and (frame.n > 0).sum() == len(frame) - 1      # no row says "no"
    assert pd.read_json(folders/"a"/"scores"/"t-test.rows.jsonl", lines=True)["right"].mean() == .5


def test_runs_side_by_side(folders):
    found = compare_runs(["a", "b"])["t", "test"]
    assert list(found["scores"]) == ["a", "b"]
    (test,) = found["paired"]
    assert test["runs"] == ("a", "b") and test["difference"] == .25 and test["p"] == pytest.approx(2/2**10)
    assert tell_test(test) == {"run": "b", "against": "a", "score": "accuracy", "n": 40, "difference": tell_test(test)["difference"], "p": "0.002"}
    fig = plot_runs(found["scores"], most=2)
    assert [ax.get_xlabel() for ax in fig.axes] == ["accuracy", "macro-F1"]
    assert [t.get_text() for t in fig.axes[0].get_yticklabels()] == ["a", "b"]


def test_other_rows_are_not_compared(folders):
    keep_scores(scores_folder("b"), report_of([1]*8), rows([1]*8, key="elsewhere"))
    with pytest.warns(UserWarning, match="a and b: the two runs have no row in common"): found = compare_runs(["a", "b"])["t", "test"]
    assert not found["paired"] and list(found["scores"]) == ["a", "b"]


def test_a_checkpoint_that_is_no_run_has_its_own_place(folders):
    assert str(scores_folder("someone/model")) == "runs/evals/someone-model" and str(scores_folder("a")) == "a/scores"
    with pytest.raises(FileNotFoundError, match="someone/model has no scores yet: run `ftlib eval someone/model`"): kept_scores("someone/model")


def test_a_damaged_file_is_named(folders):
    path = folders/"a"/"scores"/"t-test.rows.jsonl"
    path.write_text(path.read_text() + "{cut off")
    with pytest.raises(ValueError, match=r"t-test.rows.jsonl:41 is not a JSON object"): kept_scores("a")


def test_the_board_keeps_the_latest_and_sorts(tmp_path):
    board = tmp_path/"deep"/"board.jsonl"
    for run, right in (("a", [1, 0]), ("b", [1, 1]), ("a", [0, 0])): add_to_board(board_line(run, report_of(right), {"model": "tiny", "seed": 1}), board)
    board.write_text(board.read_text() + '{"time": "cut')
    add_to_board(board_line("c", report_of([1, 0]), {}), board)
    (lines,) = leaderboard(board).values()
    assert [(line["run"], line["accuracy"]) for line in lines] == [("b", 1), ("c", .5), ("a", 0)]
    assert len(board.read_text().splitlines()) == 5 and json.loads(board.read_text().splitlines()[0])["accuracy low"] == 0
    with pytest.raises(FileNotFoundError, match="ftlib eval"): leaderboard(tmp_path/"none.jsonl")


def test_fewer_nats_are_better(tmp_path):
    report = {"task": "t", "split": "test", "source": "s", "n": 3, "nats_ci": [0, 9]}
    for run, nats in (("worse", 2.), ("better", 1.)): add_to_board(board_line(run, report | {"nats_per_token": nats}, {}), tmp_path/"b.jsonl")
    (lines,) = leaderboard(tmp_path/"b.jsonl").values()
    assert [line["run"] for line in lines] == ["better", "worse"]
