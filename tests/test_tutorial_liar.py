"What the tutorial on LIAR says of real rows: the counts give the label away, through the row's own rating."
import re

import numpy as np
import pytest
from ftlib.scores import bag_of_words, report_probs
from ftlib.tasks import load_task
from sklearn.linear_model import LogisticRegression

COUNTED = ("barely-true", "false", "half-true", "mostly-true", "pants-fire")      # in the order of the columns


@pytest.fixture(scope="module")
def counted(shared_data): return [load_task("liar", split, shared_data, counts=True) for split in ("train", "validation")]


def counts_of(rows, own):
    "The five counts of each row, (n, 5), with the row's own rating among them or not."
    said = [name.replace("-", " ").replace("fire", "on fire") for name in COUNTED]
    table = np.array([[int(re.search(rf"(?:^|; ){name} (\d+)", row["text_pair"])[1]) for name in said] for row in rows])
    if own: return table
    names = rows.features["label"].names
    return np.maximum(table - np.array([[names[row["label"]] == name for name in COUNTED] for row in rows]), 0)


def from_counts(counted, own):
    train, held = counted
    def features(rows):
        c = counts_of(rows, own)
        total = c.sum(1, keepdims=True)
        return np.hstack([c/np.maximum(total, 1), c == 0, total == 0, np.log1p(c)])
    model = LogisticRegression(max_iter=5000).fit(features(train), train["label"])
    return report_probs(model.predict_proba(features(held)), held)


def test_the_counts_of_real_rows_leak(counted):
    leak, honest = from_counts(counted, True), from_counts(counted, False)
    assert abs(leak["accuracy"] - .503) < .01 and abs(honest["accuracy"] - .234) < .01
    assert leak["accuracy_ci"][0] > honest["accuracy_ci"][1] and leak["n"] == 398


def test_a_bag_of_words_does_not_see_it(counted):
    assert bag_of_words(*counted)["accuracy"] < .27


@pytest.mark.parametrize("column,accuracy", [("text", .224), ("both", .231)])
def test_words_of_real_rows(shared_data, column, accuracy):
    train, held = (load_task("liar", split, shared_data) for split in ("train", "validation"))
    assert abs(bag_of_words(train, held, column)["accuracy"] - accuracy) < .01
