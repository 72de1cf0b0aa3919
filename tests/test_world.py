"""The tiny world, its data sets and its model: files are what the generator writes, labels are what the text says, nothing leaks, no shortcut."""
import json
import random
import re
from collections import Counter

import pytest
from hypothesis import given, settings, strategies as st

from ftlib.tasks import load_task
from ftlib.tasks.corpus import GENRES, documents
from ftlib.tasks.embedded import SIZES
from ftlib.tasks.twins import on_side
from ftlib.tasks.world import (FEVER_LABELS, KIND, LIAR_LABELS, RECORDS, STATEMENTS, TEMPLATES, VALUES, Fact, make_world, read, say,
                               make_case, strangers, verdict)

LIAR_FILES = {"train": "train.tsv", "dev": "valid.tsv", "test": "test.tsv"}
SPLITS = ("train", "dev", "test")
WORLD = make_world()


def fever(tiny_data, split): return [json.loads(line) for line in (tiny_data/"fever"/f"{split}.jsonl").read_text("utf-8").splitlines()]
def liar(tiny_data, split): return [line.split("\t") for line in (tiny_data/"liar"/LIAR_FILES[split]).read_text("utf-8").splitlines()]


@pytest.mark.parametrize("split", SPLITS)
def test_fever_labels_follow_from_the_text(tiny_data, split):
    "By matching sentences against the templates here, not with the module's reader."
    forms = [(key, re.compile(re.escape(t).replace(r"\{p\}", r"(?P<p>\w+ \w+)").replace(r"\{v\}", r"(?P<v>\w+)"))) for key in KIND
             for t in TEMPLATES[key]]
    def facts(sentence): return {(m["p"], key, m["v"]) for key, form in forms if (m := form.fullmatch(sentence))}
    rows = fever(tiny_data, split)
    for row in rows:
        (who, key, value), = facts(row["claim"])
        evidence = [facts(sentence) for _, _, sentence in row["evidence"]]
        assert len(evidence) == 2 and all(len(f) == 1 for f in evidence)
        told = [v for (p, k, v), in evidence if (p, k) == (who, key)]
        want = "NOT ENOUGH INFO" if not told else "SUPPORTS" if value in told else "REFUTES"
        assert row["label"] == want, row
        assert row["verifiable"] == ("NOT VERIFIABLE" if want == "NOT ENOUGH INFO" else "VERIFIABLE")
        assert all(page == p.replace(" ", "_") for (page, _, _), ((p, _, _),) in zip(row["evidence"], evidence))
    assert len(rows) == SIZES["fever"][SPLITS.index(split)] and len({row["claim"] for row in rows}) == len(rows)
    counts = Counter(row["label"] for row in rows)
    assert set(counts) == set(FEVER_LABELS) and max(counts.values()) - min(counts.values()) <= 1


@pytest.mark.parametrize("split", SPLITS)
def test_fever_evidence_is_true_in_the_world(tiny_data, split):
    for row in fever(tiny_data, split):
        for _, _, sentence in row["evidence"]:
            fact = read(sentence)
            assert WORLD.life[fact.who][fact.key] == fact.value


def test_near_cases_offer_the_same_words_under_every_label():
    rng = random.Random(0)
    for i in range(600):
        label, key, life = FEVER_LABELS[i % 3], rng.choice(list(KIND)), strangers(rng, WORLD, 2)
        claim, evidence = make_case(rng, label, key, life, near=1)
        values = [fact.value for fact in evidence]
        if len(set(values)) < 2 or life[list(life)[0]][key] == life[list(life)[1]][key]: continue
        assert verdict(claim, evidence) == label
        assert {fact.who for fact in evidence} == set(life) and claim.who == list(life)[0] and claim.key == key
        assert len({fact.key for fact in evidence}) == 2 == len({fact.key for fact in evidence} & {k for k in KIND if KIND[k] == KIND[key]})
        assert values.count(claim.value) == 1


def test_known_people_have_a_surname_of_their_own():
    last = Counter(who.split()[1] for group in WORLD.people.values() for who in group)
    assert all(last[who.split()[1]] == 1 for who in WORLD.people["known"]) and len(WORLD.people["known"]) == 48
    assert not {who.split()[1] for who in strangers(random.Random(1), WORLD, 500)} & set(WORLD.surnames["known"])


def deal(text, forms):
    "The five fields of a statement or a record."
    found = []
    for form in forms:
        pattern = re.escape(form)
        for field in ("month", "number", "colour", "goods", "town"):
            first, *rest = pattern.split(rf"\{{{field}\}}")
            pattern = first + "".join((rf"(?P<{field}>\w+)" if i == 0 else rf"(?P={field})") + part for i, part in enumerate(rest))
        if m := re.fullmatch(pattern, text): found.append(m.groupdict())
    found = [d for d in found if d["month"] in VALUES["month"] and d["number"].isdigit()]
    assert len(found) == 1, text
    return found[0]


@pytest.mark.parametrize("split", SPLITS)
def test_liar_labels_follow_from_the_text(tiny_data, split):
    rows = liar(tiny_data, split)
    for row in rows:
        assert len(row) == 14
        said, record = deal(row[2], STATEMENTS), deal(row[13], RECORDS)
        assert LIAR_LABELS[sum(said[f] == record[f] for f in said)] == row[1]
        if said["number"] != record["number"]: assert not any(a == b for a, b in zip(said["number"], record["number"]))
    counts = Counter(row[1] for row in rows)
    assert len(rows) == SIZES["liar"][SPLITS.index(split)] and set(counts) == set(LIAR_LABELS) and max(counts.values()) - min(counts.values()) <= 1


def test_liar_counts_include_the_row(tiny_data):
    rows = liar(tiny_data, "train")
    want = Counter((row[4], row[1]) for row in rows)
    for row in rows:
        for column, label in zip(row[8:13], ("barely-true", "false", "half-true", "mostly-true", "pants-fire")):
            assert int(column) == want[row[4], label]


def names(texts):
    "Surnames and towns of the world in some texts."
    known = set(sum(WORLD.surnames.values(), [])) | set(sum(WORLD.towns.values(), []))
    return known & set(re.findall(r"\w+", " ".join(texts)))


def texts(tiny_data, split):
    rows = [row["claim"] + " " + " ".join(s for *_, s in row["evidence"]) for row in fever(tiny_data, split)]
    return rows + [" ".join(row) for row in liar(tiny_data, split)]


def test_no_name_is_on_two_sides(tiny_data):
    held = {split: names(texts(tiny_data, split)) for split in SPLITS}
    assert all(len(h) >= 10 for h in held.values())
    assert not held["train"] & held["test"] and not held["train"] & held["dev"] and not held["dev"] & held["test"]


def test_no_number_pair_is_on_two_sides(tiny_data):
    def pairs(split):
        found = {(a, b) for row in fever(tiny_data, split) for a in re.findall(r"\b\d+\b", row["claim"]) for *_, s in row["evidence"]
                 for b in re.findall(r"\b\d+\b", s)}
        return found | {(a, b) for row in liar(tiny_data, split) for a in re.findall(r"\b\d+\b", row[2]) for b in re.findall(r"\b\d+\b", row[13])}
    held = {split: pairs(split) for split in SPLITS}
    assert all(len(h) > 50 for h in held.values())
    assert not held["train"] & held["test"] and not held["train"] & held["dev"]
    assert on_side("test", "15", "15") and not on_side("train", "15", "15")


def test_a_fifth_of_the_templates_is_new_in_test(tiny_data):
    last = {key: templates[4] for key, templates in TEMPLATES.items()}
    def uses(sentence, fact): return sentence == last[fact.key].format(p=fact.who, v=fact.value)
    for split in SPLITS:
        sentences = [s for row in fever(tiny_data, split) for s in (row["claim"], *(e[2] for e in row["evidence"]))]
        share = sum(uses(s, read(s)) for s in sentences)/len(sentences)
        assert share == 0 if split == "train" else 0.1 < share < 0.3


def test_pretraining_text_has_nobody_of_the_tasks():
    text = " ".join(documents(WORLD, 2000, seed=11))
    apart = [who for group in SPLITS for who in WORLD.people[group]]
    assert not [who for who in apart if who in text]
    assert not [label for label in (*FEVER_LABELS, "pants-fire", "barely-true", "half-true", "mostly-true") if label in text]
    assert len(GENRES) >= 10


def test_the_text_is_the_same_every_time():
    assert documents(make_world(), 60, seed=4) == documents(make_world(), 60, seed=4) != documents(make_world(), 60, seed=5)


def test_saying_and_reading_are_inverse():
    for key, kind in KIND.items():
        for value in VALUES.get(kind, ["Kelby"]):
            for i in range(5):
                fact = Fact("Ada Tolwood", key, value)
                assert read(say(fact, i)) == fact
    assert read("It rains.") is None and verdict(Fact("A", "coat", "red"), []) == "NOT ENOUGH INFO"


@pytest.mark.parametrize("task,bound", [("fever", 0.45), ("liar", 0.45)])
def test_words_alone_tell_nothing(task, bound):
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    data = {split: load_task(task, split, source="tiny") for split in ("train", "test")}
    for limit, field in ((bound, lambda r: f"{r['text']}\n{r['text_pair']}"), (0.40, lambda r: r["text"])):
        model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression(max_iter=1000, C=10))
        model.fit([field(r) for r in data["train"]], data["train"]["label"])
        assert model.score([field(r) for r in data["test"]], data["test"]["label"]) <= limit


# --- the tokenizer and the model


@pytest.fixture(scope="module")
def tokenizer():
    from ftlib.data import load_tokenizer
    return load_tokenizer("tiny")


@settings(max_examples=150, deadline=None)
@given(text=st.text(max_size=60))
def test_tokenizer_loses_nothing(tokenizer, text):
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=False) == text


@pytest.mark.parametrize("text", ["", "  two  spaces \n\t", "don't , stop .", "日本語 🎉 naïve \u200d", "<|user|>Hi\n<|assistant|>Yes<|endoftext|>", "\x00\x7f"])
def test_tokenizer_on_hard_strings(tokenizer, text):
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=False) == text


def test_digits_are_single_tokens_and_names_few(tokenizer):
    assert tokenizer.tokenize("1962") == list("1962") and len(tokenizer.tokenize("x 48")) == 4
    pieces = [len(tokenizer.tokenize(f" {name}")) for name in (*sum(WORLD.surnames.values(), []), *sum(WORLD.towns.values(), []))]
    assert max(pieces) <= 5 and sum(pieces) < 1.5*len(pieces)
    for role in ("<|user|>", "<|assistant|>", "<|system|>", "<|pad|>", "<|endoftext|>"): assert len(tokenizer(role)["input_ids"]) == 1
    assert tokenizer.pad_token_id != tokenizer.eos_token_id == tokenizer.bos_token_id == 0


def test_model_is_small_and_fits_its_tokenizer(tiny_data, tokenizer):
    from safetensors import safe_open
    with safe_open(tiny_data/"model"/"model.safetensors", "pt") as f:
        shapes = {key: f.get_tensor(key) for key in f.keys()}
    assert all(str(t.dtype) == "torch.float16" for t in shapes.values())
    assert 1_500_000 <= sum(t.numel() for t in shapes.values()) <= 2_500_000
    config = json.loads((tiny_data/"model"/"config.json").read_text())
    assert config["vocab_size"] == len(tokenizer) and config["n_positions"] == 1024
    assert sum(p.stat().st_size for p in tiny_data.rglob("*") if p.is_file()) <= 10_000_000


def test_model_has_read_the_text(tokenizer):
    "Nats per token on new text; a model that knows only how frequent tokens are gets about 5.4."
    import torch
    from ftlib.data import pad_rows
    from ftlib.gpt2 import load_model
    from ftlib.logps import completion_nll
    model, _ = load_model("tiny", device="cpu")
    ids, mask = pad_rows([tokenizer(t)["input_ids"][:256] for t in documents(WORLD, 40, seed=21)])
    scored = mask.clone()
    scored[:, 0] = 0
    with torch.no_grad(): loss, n = completion_nll(model, ids, mask, scored)
    assert (loss/n).item() < 2.6
