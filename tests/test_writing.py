"Scores of explanations and verse: against sacrebleu, by hand, and on the real rows."
import numpy as np
import pytest
import sacrebleu
from datasets import Dataset

from ftlib import writing
from ftlib.classify import Classifier
from ftlib.data import load_tokenizer
from ftlib.gpt2 import load_model
from ftlib.tasks import load_task
from ftlib.tasks.factcheck import RATINGS, claim_of, rating_of
from ftlib.writing import (DECODING, bag_reader, chrf_report, compare_decoding, form_of, reader_of, score_explanations, score_verse,
                           score_writing, scorer_of, text_report, usual_metre)


@pytest.fixture(scope="module")
def facts(): return load_task("factcheck", "train", "tiny", n=300), load_task("factcheck", "validation", "tiny")


def test_chrf_and_its_interval_are_sacrebleus(facts):
    held = facts[1]
    refs = list(held["completion"])
    hyps = [r[5:-9] if i % 3 else r[::-1] for i, r in enumerate(refs)]
    ours, peer = chrf_report(hyps, refs), sacrebleu.CHRF()
    assert ours["chrf"] == pytest.approx(peer.corpus_score(hyps, [refs]).score, abs=1e-9)
    rng, draws = np.random.default_rng(5), []
    for _ in range(150):
        rows = rng.integers(len(hyps), size=len(hyps))
        draws.append(peer.corpus_score([hyps[i] for i in rows], [[refs[i] for i in rows]]).score)
    assert ours["chrf_ci"] == pytest.approx(np.quantile(draws, [.025, .975]), abs=1.5)
    assert ours == chrf_report(hyps, refs) != chrf_report(hyps, refs, seed=1)


def test_text_report_by_hand():
    report, rows = text_report(["a b c d e", "x"], ["a b c d e", "y z"], ["q a b c d", "x"])
    assert rows["words"] == [5, 1] and rows["copied"].tolist() == [.5, 1] and rows["repeated"].tolist() == [0, 0]
    assert report["words"] == 3 and report["words_told"] == 3.5 and report["copied"] == .75 and report["n"] == 2
    assert report["words_ci"][0] <= 3 <= report["words_ci"][1]
    with pytest.raises(ValueError, match="no text to score"): text_report([], [], [])


def test_the_reader_reads_what_the_explanation_says(facts):
    train, held = facts
    reader, swapped = bag_reader(train), list(held["completion"])[1:] + list(held["completion"])[:1]
    true, _ = score_explanations(list(held["completion"]), held, reader)
    assert true["verdict"] == true["verdict_of_true"] > .9 and true["chrf"] == pytest.approx(100)
    wrong, each = score_explanations(swapped, held, reader)
    follows = np.mean([rating_of(held[i]) == rating_of(held[(i + 1) % len(held)]) for i in range(len(held))])
    assert wrong["verdict"] == pytest.approx(follows, abs=.1) and len(each["verdict"]) == len(held)
    assert "verdict" not in score_explanations(swapped, held, None)[0]


def test_a_reader_learns_from_so_many_rows_at_most(facts, monkeypatch):
    "Evenly spaced over the file, the first and the last among them."
    seen = []
    monkeypatch.setattr(writing, "READER_ROWS", 50)
    monkeypatch.setattr(writing, "claim_of", lambda row: seen.append(row["prompt"]) or claim_of(row))
    bag_reader(facts[0])
    assert len(seen) == 50 and seen[0] == facts[0][0]["prompt"] and seen[-1] == facts[0][299]["prompt"]


def test_a_classifier_reads_too(facts):
    "Its verdicts are its predictions on claim and explanation, whatever the order of its labels."
    tokenizer, labels = load_tokenizer("tiny"), list(RATINGS)[::-1]
    classifier = Classifier(load_model("tiny", device="cpu")[0], 6, labels=labels)
    held = facts[1].select(range(5))
    claims = [claim_of(row) for row in held]
    said = reader_of(classifier, tokenizer)(claims, list(held["completion"]))
    from ftlib.classify import predict
    rows = [{"text": c, "text_pair": t} for c, t in zip(claims, held["completion"])]
    assert said == [labels[i] for i in predict(classifier, rows, tokenizer).argmax(1)] and set(said) <= set(RATINGS)
    with pytest.raises(ValueError, match="a reader of verdicts has the labels"): reader_of(Classifier(load_model("tiny", device="cpu")[0], 2), tokenizer)


TRUE = """The quiet river sings until the day,
I hear the old wind that whispers by night.
O silver bird, you bring me back the hay,
When dark meadow lingers beside the light.
"""


def test_form_by_hand():
    prompt, said = "".join(TRUE.splitlines(keepends=True)[:3]), TRUE.splitlines()[3]
    form = form_of(prompt, said, 10)
    assert form["lines"] == 4 and form["fourteen"] == 0 and form["syllables"] == 10 and form["metre"] == 0
    assert form["rhymes"] == pytest.approx(1/6)        # night and light, of the six rhymes that end in a new line
    assert form_of(prompt, "", 10) == {"lines": 3, "fourteen": 0., "syllables": 0., "metre": 10., "rhymes": 0.}
    assert form_of(prompt, "one two\n\n\nthree", 10)["lines"] == 5


def test_the_twins_verse_has_the_form():
    train, held = load_task("sonnets", "train", "tiny"), load_task("sonnets", "test", "tiny")
    assert usual_metre(train) == 10
    report, rows = score_verse(list(held["completion"]), held, 10)
    assert report["fourteen"] == 1 and report["lines"] == 14 and report["metre"] < .1 and report["rhymes"] > .95 and report["usual_syllables"] == 10
    assert all(len(values) == len(held) for values in rows.values())


def test_real_sonnets_have_nearly_the_form(shared_data):
    held = load_task("sonnets", "train", shared_data)
    report, _ = score_verse(list(held["completion"]), held, usual_metre(held))
    assert report["usual_syllables"] == 10 and report["fourteen"] > .95 and report["metre"] < 1 and .6 < report["rhymes"] < .95


def test_a_reader_of_real_explanations_is_hardly_worth_its_word(shared_data):
    train, held = load_task("factcheck", "train", shared_data), load_task("factcheck", "validation", shared_data)
    report, _ = score_explanations(list(held["completion"]), held, bag_reader(train))
    assert .15 < report["verdict_of_true"] < .5


def test_texts_stay_beside_their_numbers(facts):
    train, held = facts
    model, tokenizer = load_model("tiny", device="cpu")
    some = held.select(range(3))
    report = score_writing(model, tokenizer, some, scorer_of("factcheck", train), 6)
    assert [row["row"] for row in report["rows"]] == [0, 1, 2] and all(row["said"] for row in report["rows"])
    assert np.mean([row["words"] for row in report["rows"]]) == pytest.approx(report["words"])
    assert report == score_writing(model, tokenizer, some, scorer_of("factcheck", train), 6)
    assert "verdict" not in score_writing(model, tokenizer, some, scorer_of("factcheck", None), 4)
    assert score_writing(model, tokenizer, load_task("sonnets", "test", "tiny", n=2), scorer_of("sonnets", None), 4)["usual_syllables"] == 10


def test_ways_of_decoding_differ_and_repeat(any_model):
    tokenizer = load_tokenizer("tiny")
    import models
    model = models.build(any_model.test_name, vocab=len(tokenizer), n_positions=256)
    rows = Dataset.from_dict({"prompt": ["Olga has a red door.\n"]*2, "completion": ["yes", "no"]})
    scorer = lambda said, rows: text_report(said, list(rows["completion"]), list(rows["prompt"]))
    ways = {name: DECODING[name] for name in ("greedy", "temperature 1", "top-p 0.9")}
    one, two = (compare_decoding(model, tokenizer, rows, scorer, 8, ways) for _ in range(2))
    assert one == two and one["greedy"]["rows"][0]["said"] == one["greedy"]["rows"][1]["said"]
    assert len({one[name]["rows"][0]["said"] for name in ways}) > 1


def test_the_scheme_is_shakespeares():
    assert writing.PAIRS == [(0, 2), (1, 3), (4, 6), (5, 7), (8, 10), (9, 11), (12, 13)]
