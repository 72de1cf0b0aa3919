"Shortcuts: each figure on rows made so that it is known, and the limits that the twins keep to."
import datasets
import pytest

from ftlib.data import canonical
from ftlib.tasks import TASKS, load_task
from ftlib.tasks.shortcuts import kind_of, names_in, number_pairs, shortcuts, skeletons, whole, word_f1


def rows(kind, made, labels=None): return canonical(kind, made, labels)


def classified(n, text): return rows("classify", [{"id": str(i), "text": text(i), "text_pair": None, "label": ("no", "yes")[i % 2]} for i in range(n)], ["no", "yes"])


def test_words_that_give_the_label_away():
    found = shortcuts(classified(200, lambda i: f"{('bad', 'good')[i % 2]} mill {i}"), classified(40, lambda i: f"{('bad', 'good')[i % 2]} bridge {900 + i}"))
    assert found["bag of words"] == found["bag of words, text alone"] == 1.0 and found["commonest"] == 0.5 and found["texts shared"] == 0


def test_lengths_that_give_the_label_away():
    found = shortcuts(classified(200, lambda i: "mill "*(2 + 6*(i % 2))), classified(40, lambda i: "well "*(2 + 6*(i % 2))))
    assert found["length"] == 1.0


def test_the_longer_reply():
    made = [{"prompt": f"q {i}", "chosen": "yes "*9, "rejected": "no "*3} for i in range(60)]
    found = shortcuts(rows("prefer", made[:40]), rows("prefer", made[40:]))
    assert found["length"] == found["bag of words"] == 1.0


def test_what_is_shared():
    train = rows("generate", [{"prompt": "Ada Tolwood keeps 15 goats and 12 hens.\n", "completion": "Yes."}]*4)
    test = rows("generate", [{"prompt": "Ben Tolwood keeps 15 goats and 12 hens.\n", "completion": "Yes."}, {"prompt": "It rains.\n", "completion": "Yes."}])
    found = shortcuts(train, test)
    assert found["number pairs shared"] == 1 and found["rows with a new template"] == 0.5 and found["texts shared"] == 0
    assert number_pairs(train) == {("15", "12")} and shortcuts(train, train)["texts shared"] == 4
    assert skeletons(train[0]) == {"_ Tolwood keeps _ goats and _ hens.", "Yes."} and not names_in(train)


def test_ids_and_labels_are_no_text():
    one = {"id": "7", "text": "Rain.", "text_pair": None, "label": "false"}
    assert whole(one) == "Rain." and whole({"messages": [{"role": "user", "content": "Hi."}]}) == "Hi."


def test_kinds_and_overlap():
    assert word_f1("a b", "a b") == 1 and word_f1("a", "b") == 0 and word_f1("a a b", "a") == 0.5
    with pytest.raises(ValueError, match="columns name are of no kind"): kind_of(datasets.Dataset.from_dict({"name": ["a"]}))


LIMITS = {"liar": 0.45, "fever": 0.45, "propaganda": 0.60, "ultrafeedback": 0.65}


@pytest.mark.parametrize("name", LIMITS)
def test_the_twins_keep_to_the_limits(name):
    found = shortcuts(load_task(name, "train", source="tiny"), load_task(name, "test", source="tiny"))
    assert found["bag of words"] <= LIMITS[name] and found["names shared"] == found["texts shared"] == 0
    if name in ("liar", "fever"): assert found["bag of words, text alone"] <= 0.40
    if name == "ultrafeedback": assert found["length"] <= 0.55


@pytest.mark.parametrize("name", TASKS)
def test_every_notebook_shows_it(root, name):
    text = (root/"nbs"/"tasks"/f"{name}.ipynb").read_text(encoding="utf-8")
    assert "shortcuts(" in text and "leaks(" in text
