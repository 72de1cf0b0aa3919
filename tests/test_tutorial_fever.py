"What the tutorial on FEVER says of real rows: claims alone give nearly half of the verdicts away."
import re

import pytest
from ftlib.metrics import majority_baseline
from ftlib.scores import bag_of_words
from ftlib.tasks import load_task

HABITS = {"not", "never", "no", "nothing", "only", "unable", "incapable", "failed", "refused"}


@pytest.fixture(scope="module")
def claims(shared_data): return [load_task("fever", split, shared_data) for split in ("train", "validation")]


def test_real_rows_hold_claims_without_evidence(claims):
    assert [len(rows) for rows in claims] == [1580, 400]
    assert all(pair is None for rows in claims for pair in rows["text_pair"])


def test_the_words_of_real_claims_give_verdicts_away(claims):
    train, held = claims
    bag, usual = bag_of_words(train, held, "text"), majority_baseline(train["label"], held["label"], held.features["label"].names)
    assert abs(bag["accuracy"] - .483) < .01 and abs(usual["accuracy"] - .29) < .001
    assert bag["accuracy_ci"][0] > usual["accuracy_ci"][1]


def test_refuted_claims_have_habits(claims):
    train = claims[0]
    marked = [row["label"] for row in train if HABITS & set(re.findall(r"\w+", row["text"].lower()))]
    assert len(marked) == 138
    assert marked.count(train.features["label"].names.index("REFUTES")) == 123
