"chrF against sacrebleu and by hand, its counts under the bootstrap, copying, loops, and every refusal."
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sacrebleu.metrics import CHRF

from ftlib.tasks import load_task
from ftlib.texts import chrf, chrf_counts, chrf_of, chrf_rows, copied, repeated, word_ngrams, words_of

quick = settings(max_examples=60, deadline=None)
few = st.text(alphabet="ab é\u00a0\n語🙂", max_size=12)         # collides often; a combining mark, a wide space, beyond 16 bits
pairs = st.lists(st.tuples(few | st.text(max_size=20), few | st.text(max_size=20)), min_size=1, max_size=6)


def theirs(hyps, refs):
    "sacrebleu's score of the corpus and of each row."
    metric = CHRF()
    return metric.corpus_score(hyps, [refs]).score, [metric.sentence_score(h, [r]).score for h, r in zip(hyps, refs)]


@quick
@given(pairs)
@example([("", "")])
@example([("", "a"), ("a", "")])
@example([("abc", "")])
@example([("abc", "abcdefgh"), ("abcdefgh", "abc")])
@example([(" \n\t", "a b"), ("e\u0301", "é")])
def test_scores_are_sacrebleus(rows):
    hyps, refs = map(list, zip(*rows))
    corpus, sentences = theirs(hyps, refs)
    assert abs(chrf(hyps, refs) - corpus) < 1e-9
    np.testing.assert_allclose(chrf_rows(hyps, refs), sentences, rtol=0, atol=1e-9)


@pytest.mark.parametrize("task", ["factcheck", "sonnets"])
def test_scores_are_sacrebleus_on_the_twins(task):
    refs = list(load_task(task, "validation", "tiny")["completion"])
    hyps = refs[1:] + refs[:1]
    corpus, sentences = theirs(hyps, refs)
    assert 10 < corpus < 90 and abs(chrf(hyps, refs) - corpus) < 1e-9
    np.testing.assert_allclose(chrf_rows(hyps, refs), sentences, rtol=0, atol=1e-9)


def test_scores_are_sacrebleus_on_verse(shared_data):
    lines = [line for line in (shared_data/"sonnets"/"sonnets.txt").read_text(encoding="utf-8").splitlines() if len(line) > 20][:300]
    hyps = lines[1:] + lines[:1]
    corpus, sentences = theirs(hyps, lines)
    assert abs(chrf(hyps, lines) - corpus) < 1e-9
    np.testing.assert_allclose(chrf_rows(hyps, lines), sentences, rtol=0, atol=1e-9)


def test_counts_by_hand():
    (row,) = chrf_counts(["aab"], ["a bb"])
    assert row.reshape(6, 3).tolist() == [[3, 3, 2], [2, 2, 1], [1, 1, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert row.dtype.kind == "i" and chrf_of(row) == pytest.approx(100*(2/3 + 1/2 + 0)/3)      # precision = recall = F


def test_recall_counts_twice():
    "Half the reference said exactly, and the reference said with as much again: P and R swap, F2 prefers recall."
    short, long = chrf_rows(["abcdefgh", "abcdefghijklmnop"], ["abcdefghijklmnop", "abcdefgh"])
    counts = chrf_counts(["abcdefgh"], ["abcdefghijklmnop"]).reshape(6, 3)
    recall = (counts[:, 2]/counts[:, 1]).mean()
    assert short == pytest.approx(100*5*recall/(4 + recall)) and long == pytest.approx(100*5*recall/(4*recall + 1)) and short < long


def test_counts_are_vectorised():
    refs = list(load_task("factcheck", "validation", "tiny")["completion"])[:40]
    counts = chrf_counts(refs[1:] + refs[:1], refs)
    rows = np.random.default_rng(0).integers(40, size=(7, 3, 40))
    together = chrf_of(counts[rows].sum(-2))
    assert counts.shape == (40, 18) and together.shape == (7, 3)
    for i, j in np.ndindex(7, 3):
        assert together[i, j] == pytest.approx(chrf([(refs[1:] + refs[:1])[k] for k in rows[i, j]], [refs[k] for k in rows[i, j]]), abs=1e-9)


def test_ends_of_the_scale():
    assert chrf(["the same"], ["the same"]) == 100 and chrf(["the same"], ["thesame"]) == 100      # white space is ignored
    assert chrf(["abc"], ["xyz"]) == chrf([""], ["xyz"]) == chrf(["abc"], [""]) == chrf([""], [""]) == 0
    assert np.isfinite(chrf_of(np.zeros((2, 18)))).all()


def test_tuples_and_columns_are_lists_too():
    column = load_task("factcheck", "validation", "tiny")["completion"]
    assert chrf(column, column) == 100 and chrf(("a",), ("a",)) == 100


def test_copied_by_hand():
    source = "The red boat lay in the harbour, all day long."
    texts = ["the red boat lay still", "The RED boat, lay!", "boat lay", "lay boat", "harbour", "ship", "", "...", "a the red boat lay in"]
    assert copied(texts, [source]*9).tolist() == [.5, 1, 1, 0, 1, 0, 0, 0, 2/3]
    assert copied(["red boat red boat"], [source], n=2).tolist() == [2/3]       # occurrences count, not kinds
    assert copied(["red boat"], [""]).tolist() == [0]


def test_repeated_by_hand():
    texts = ["a b c d a b c d", "a b c d e f g", "a b c d", "", "go go go go go go", "A b, c d. a B c d!"]
    assert repeated(texts).tolist() == pytest.approx([.2, 0, 0, 0, 2/3, .2])
    assert repeated(["a b a b a b"], n=2).tolist() == pytest.approx([.6]) and repeated(["a a b"], n=1).tolist() == pytest.approx([1/3])


@quick
@given(st.lists(st.text(alphabet="ab c'-.", max_size=30), min_size=1, max_size=4), st.integers(1, 5))
def test_shares_are_shares(texts, n):
    for shares in (copied(texts, texts[::-1], n), repeated(texts, n)):
        assert shares.shape == (len(texts),) and ((shares >= 0) & (shares <= 1)).all()
    assert set(copied(texts, texts, n)) <= {0., 1.}                              # its own source: all, or no words at all
    assert (repeated([t + " " + t for t in texts], 1) >= .5).tolist() == [bool(words_of(t)) for t in texts]


def test_words():
    assert words_of("O'er the self-same hill, 73 Bells — naïve!") == ["o'er", "the", "self-same", "hill", "73", "bells", "naïve"]
    assert word_ngrams("a b c", 2) == [("a", "b"), ("b", "c")] and word_ngrams("a", 2) == []


@pytest.mark.parametrize("call,says", [
    (lambda: chrf(["a", "b"], ["a"]), "refs has 1 texts where 2 are needed"),
    (lambda: chrf_counts([], []), "hyps is empty"),
    (lambda: chrf("a", ["a"]), "hyps must be a list of strings, got the single string 'a'"),
    (lambda: chrf_rows(["a"], "a"), "refs must be a list of strings"),
    (lambda: chrf(["a", None], ["a", "b"]), r"hyps\[1\] is None"),
    (lambda: copied(["a"], ["a", "b"]), "sources has 2 texts where 1 are needed"),
    (lambda: copied(["a"], ["a"], n=0), "n must be 1 or more words, got 0"),
    (lambda: repeated(["a"], n=0), "n must be 1 or more words, got 0"),
    (lambda: repeated("a b"), "texts must be a list of strings"),
    (lambda: chrf_of(np.zeros((3, 17))), r"counts must have 18 numbers a row, got shape \(3, 17\)")])
def test_refusals(call, says):
    with pytest.raises(ValueError, match=says) as caught: call()
    assert "\n" not in str(caught.value)


def test_import_is_light():
    code = "import ftlib.texts, sys; print([m for m in ('sacrebleu', 'sklearn', 'matplotlib', 'torch', 'datasets') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
