"Rewards: what earns, what each hack earns, weights, penalties of length, the checks, and rewards named in words."
import math
import re
import time
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ftlib import rewards
from ftlib.rewards import (DEFAULT_REWARDS, FRAME, REPORTED, REWARDS, VERDICTS, BadReward, Weighted, as_reward, checked, checked_parts, evidence_reward,
                           gsm8k_answer, gsm8k_reward, if_ended, length_penalty, soft_overlong, task_reward, verdict_of, verdict_reward)
from ftlib.rules import closing_answer, copied, deciding_words, gsm8k_format, verdict_format
from ftlib.tasks import load_task

quick = settings(max_examples=150, deadline=None)
PROMPT = "Ana had 33 jars and got 9 more. How many jars is that?\n"
CLAIM = FRAME.format(claim="In 1914 Yves Maldall got married.", evidence="Kate Lanand is a farmer. The wedding of Yves Maldall was in 1978.")
RIGHT = "33+9=42 jars.\n#### 42"
BECAUSE = "The wedding of Yves Maldall was in 1978."


def strict(text): return gsm8k_reward(text, "42", PROMPT, strict=True)
def lenient(text): return gsm8k_reward(text, "42", PROMPT)


# --- gold


@pytest.mark.parametrize("source", ["tiny", "real"])
@pytest.mark.parametrize("task,names", [("gsm8k", ("strict", "answer", "format")), ("fever_reason", ("strict", "verdict", "format"))])
def test_gold_earns_one(task, names, source, request):
    reward, seen = task_reward(task), 0
    for row in load_task(task, "train", source="tiny" if source == "tiny" else request.getfixturevalue("shared_data")):
        if row["solution"] is None: continue
        parts, seen = reward.parts([row["solution"]], row), seen + 1
        assert all(parts[name] == [1.0] for name in names), row
    assert seen >= 450 or (task, source) == ("fever_reason", "real")


def test_gold_in_words_is_not_taken_for_a_copy(shared_data):
    rows = load_task("gsm8k", "train", source=shared_data)
    told = [(row["solution"].split("\n####")[0], row) for row in rows]
    told = [(text, row) for text, row in told if gsm8k_answer(text) == row["answer"]]
    assert len(told) > 1500 and all(gsm8k_reward(text, row["answer"], row["prompt"]) == 1.0 for text, row in told)
    again = [gsm8k_answer(row["prompt"]) == row["answer"] for row in rows]
    assert sum(again) > 10 and not any(gsm8k_reward(row["prompt"], row["answer"], row["prompt"]) for row in rows)


@pytest.mark.parametrize("text", ["#### 42 jars", "So it is 42.", "\\boxed{42}", "$42", "42%", "42.0", "84/2", "#### $42.00", "**42**", "41 1/1", "#### 42 m^2"])
def test_lenient_takes_what_means_the_answer(text): assert (lenient(text), strict(text)) == (1.0, 0.0)


def test_answers_are_numbers():
    assert gsm8k_reward("#### 1,018.0", "1,018") == gsm8k_reward("#### 7", 7) == gsm8k_reward("#### 7", 7.0) == 1.0
    assert gsm8k_reward("#### -5", "-5", strict=True) == 1.0 and gsm8k_reward("#### 5", "-5") == 0.0
    for answer in ("", "n", "7 or 8", None):
        with pytest.raises(ValueError, match="is no number"): gsm8k_reward("#### 7", answer)


# --- hacks


HACKS = {
    "several ####": ("#### 42\n#### 43", "#### 43\n#### 42", "#### 42\n#### 42", "#### 42 #### 42", RIGHT + "\n#### 7"),
    "several boxes": ("\\boxed{42} \\boxed{43}", "\\boxed{43} \\boxed{42}"),
    "many numbers": (" ".join(map(str, range(100))), "#### 40 41 42", "#### 42 or 43", "#### " + " ".join(map(str, range(43)))),
    "no answer": ("", " \n", "#### ", "####", "#### n", "I do not know.", PROMPT, "\\boxed{}"),
    "other scripts": ("#### ４２", "#### ٤٢", "＃＃＃＃ 42½", "#### 4２", "\u0662", "#### 42\u0662"),
    "bombs": ("#### 1e9999999", "#### " + "4"*10**6, "42e42", "#### 42^42", "#### 42²"),
}


@pytest.mark.parametrize("kind", HACKS)
def test_hacks_earn_nothing(kind):
    for text in HACKS[kind]: assert (strict(text), lenient(text), gsm8k_format(text) if kind != "bombs" else 0) == (0.0, 0.0, 0.0), text[:60]


@pytest.mark.parametrize("after", ["\nThat is it.", "\nQuestion: Sam has 3 cards. How many?", "\n42", " jars", ".", "\n\\boxed{42}", "\n\u200b"])
def test_strict_pays_for_nothing_behind_the_answer(after): assert strict(RIGHT) == strict(RIGHT + "\n \n") == 1.0 and strict(RIGHT + after) == gsm8k_format(RIGHT + after) == 0.0


def test_a_number_copied_from_the_prompt():
    for text in (PROMPT, PROMPT*20, "Ana had 33 jars and got 9", "ANA HAD 33 jars, and got 9 more.", "and got 9", "got 9"):
        assert copied(text, PROMPT) and gsm8k_reward(text, "9", PROMPT) == 0.0, text
    assert gsm8k_reward("got 9", "9") == gsm8k_reward("9", "9", PROMPT) == gsm8k_reward("So 9", "9", PROMPT) == 1.0      # without the prompt; a guess
    assert gsm8k_reward(PROMPT + "#### 9", "9", PROMPT) == gsm8k_reward("Ana had 33 jars and got\n#### 9", "9", PROMPT) == 1.0   # an answer in its form is one
    assert not copied("", PROMPT) and not copied("no number", PROMPT) and not copied("and got 9", PROMPT.replace("9", "95"))


@quick
@given(st.text(max_size=60) | st.text("0123456789.,-/$#\\boxed{} \n", max_size=60), st.integers(-99, 99))
def test_what_the_strict_rule_pays_the_lenient_one_pays(text, n):
    for words in (text, f"{text}\n#### {n}"):
        assert gsm8k_reward(words, n, "", strict=True) <= min(gsm8k_reward(words, n, ""), gsm8k_format(words))
        found = closing_answer(words)
        assert found is None or words.count("####") == 1 and gsm8k_answer(words, strict=True) == found
    if "####" not in text: assert gsm8k_reward(f"{text}\n#### {n}", n, strict=True) == 1.0 and gsm8k_reward(f"{text}\n#### {n}", n + 1, strict=True) == 0.0


VERDICT_HACKS = ["\n".join(f"Verdict: {v}" for v in VERDICTS), "Verdict: REFUTES\nVerdict: SUPPORTS", "Verdict: " + " ".join(VERDICTS), "Verdict: REFUTES or SUPPORTS",
                 "\n".join(VERDICTS), CLAIM, CLAIM + "Verdict:", "", "Verdict:", "V\u0435rdict: REFUTES", "Verdict: R\u0415FUTES", "REFUTES", "The verdict: REFUTES",
                 "Claim: A. Verdict: REFUTES", "Verdict: not REFUTES"]


@pytest.mark.parametrize("text", VERDICT_HACKS)
def test_verdict_hacks_earn_nothing(text):
    assert verdict_reward(text, "REFUTES") == verdict_reward(text, "REFUTES", strict=True) == verdict_format(text) == evidence_reward(text, CLAIM, "REFUTES") == 0.0


def test_verdicts():
    for v in VERDICTS: assert verdict_reward(f"So.\nVerdict: {v}", v, strict=True) == verdict_reward(f"verdict: {v.lower()}!", v) == 1.0
    for text in ("Verdict: REFUTES\nClaim: It rains.", "verdict: refutes", "Verdict: REFUTES.\n", "Verdict: REFUTES\nVerdict: REFUTES"):
        assert (verdict_reward(text, "REFUTES"), verdict_reward(text, "REFUTES", strict=True), verdict_format(text)) == (1.0, 0.0, 0.0)
    with pytest.raises(KeyError, match="unknown verdict 'REFUTED' .did you mean 'REFUTES'"): verdict_reward("", "REFUTED")


def test_evidence():
    said = lambda text, verdict="REFUTES": evidence_reward(f"{text}\nVerdict: {verdict}", CLAIM, "REFUTES")
    assert deciding_words(CLAIM) == {"wedding": 1, "1978": 1}
    assert said(BECAUSE) == said("1978, says the wedding's page.") == said(f"{BECAUSE} That is 1978.") == 1.0 and said("It was 1978.") == 0.5
    assert said("In 1914 Yves Maldall got married.") == said("In 1914 Yves Maldall got married. "*9) == said("Kate Lanand is a farmer.") == said("") == 0.0
    assert said(f"{BECAUSE} "*2) == 1.0 and said(f"{BECAUSE} "*3) == said(f"{BECAUSE} "*500) == 0.0                   # a copy of a copy pays nothing
    assert said(BECAUSE, "SUPPORTS") == said(BECAUSE, "?") == evidence_reward(BECAUSE, CLAIM, "REFUTES") == 0.0
    assert evidence_reward(f"{BECAUSE}\nVerdict: SUPPORTS", CLAIM) == 1.0 and evidence_reward(BECAUSE, CLAIM) == 0.0
    assert evidence_reward("Verdict: 1978 wedding", CLAIM) == evidence_reward("So.\nVerdict: SUPPORTS\nVerdict: wedding 1978", CLAIM) == 0.0
    assert evidence_reward("So.\nVerdict: SUPPORTS", FRAME.format(claim="The court met.", evidence="The court gave a verdict.")) == 0.0
    assert evidence_reward("So.\nVerdict: SUPPORTS", FRAME.format(claim="It is old.", evidence="It is old.")) == 0.0
    with pytest.raises(ValueError, match="has no line 'Claim: …'"): evidence_reward("Verdict: SUPPORTS", "How many?")


HOSTILE = ["9"*10**5, "#### 1e9999999", "#### " + "9"*10**5 + "/" + "7"*10**4, "1,"*50000, "\\boxed{"*14000, "\\boxed{" + "{}"*50000, "#### 1\n"*14000, "1a"*50000, "1 "*50000,
           "1/"*50000, "\\frac{1}{"*11000, "-"*10**5, "$-"*50000, "."*10**5, "#"*10**5, "\n"*10**5, "Verdict: SUPPORTS\n"*5500, "verdict"*14000, "**"*50000, "\u0662"*10**5,
           "^{"*50000, "Verdict" + " "*10**5, ("\\boxed" + " "*99)*1000, PROMPT*2000, BECAUSE*2500 + "\nVerdict: REFUTES", "1"*999 + "/" + "7"*999, "#### 1" + " "*10**5 + "x"]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_no_text_takes_long(text):
    start = time.process_time()                                        # what grows with the square of the length takes half a minute and more
    strict(text), lenient(text), gsm8k_format(text), verdict_format(text), verdict_reward(text, "REFUTES"), evidence_reward(text, CLAIM, "REFUTES")
    assert time.process_time() - start < 8


@pytest.mark.parametrize("task,text", [("gsm8k", RIGHT), ("fever_reason", f"{BECAUSE}\nVerdict: REFUTES")])
def test_what_was_cut_off_earns_nothing(task, text):
    row = {"prompt": {"gsm8k": PROMPT, "fever_reason": CLAIM}[task], "answer": {"gsm8k": "42", "fever_reason": "REFUTES"}[task]}
    for name in REWARDS[task]:
        part = Weighted({name: (1.0, REWARDS[task][name])})
        assert part([text]*2, row | {"ended": [True, False]}) == [1.0, 0.0] and part([text], row) == [1.0], name
    assert task_reward(task, "ended=1")([text]*2, row | {"ended": [False, True]}) == [0.0, 1.0]
    with pytest.raises(ValueError): if_ended(as_reward(len))(["a", "b"], {"ended": [True]})


# --- length


def test_soft_overlong_is_trls():
    trl = pytest.importorskip("trl.rewards")
    for limit, buffer in ((100, 20), (64, 64), (64, 1), (7, 3), (50, 0)):
        theirs = trl.get_soft_overlong_punishment(limit, buffer)([[0]*n for n in range(2*limit)])
        assert max(abs(a - soft_overlong(n, limit, buffer)) for n, a in enumerate(theirs)) < 1e-12


@quick
@given(st.integers(0, 10**6), st.integers(1, 1000), st.integers(0, 1000))
def test_linear_penalty(n, budget, span):
    price = length_penalty(n, budget, span=span)
    assert -1 <= price <= 0 and (price == 0) == (n <= budget) and length_penalty(n + 1, budget, span=span) <= price
    assert math.isclose(length_penalty(n, budget, span=span, floor=-math.inf), -max(0, n - budget)/(span or budget))


# --- sums


def parted(**columns): return Weighted({name: (weight, lambda c, r, v=values: v) for name, (weight, values) in columns.items()})


def test_totals():
    some = parted(a=(2.0, [1.0, None, None, True]), b=(0.5, [1, 1, None, np.float32(2)]), c=(0.0, [9.0, None, 9.0, math.nan]))
    assert some([""]*4, {}) == [2.5, 0.5, None, 3.0] and some.weights == {"a": 2.0, "b": 0.5, "c": 0.0} and list(some.parts([""]*4, {})) == ["a", "b", "c"]
    assert some.parts([""]*4, {})["a"] == [1.0, None, None, True]
    assert parted(a=(0.0, [3.0, None]))(["", ""], {}) == [0.0, None] and parted(a=(1.0, []))([], {}) == [] and math.isnan(parted(a=(1.0, [math.nan]))([""], {})[0])


@quick
@given(st.lists(st.tuples(st.floats(-9, 9), st.lists(st.none() | st.floats(-9, 9), min_size=4, max_size=4)), min_size=1, max_size=4))
def test_totals_are_the_nansum(parts):
    parts = [(weight or 1.0, values) for weight, values in parts]
    found = parted(**{f"p{i}": part for i, part in enumerate(parts)})([""]*4, {})
    wanted = sum(np.nan_to_num(np.array(values, dtype=float)*weight) for weight, values in parts)
    assert all(v is None if all(p[1][i] is None for p in parts) else math.isclose(v, wanted[i], abs_tol=1e-9) for i, v in enumerate(found))


def test_bad_weights():
    for parts, says in (({}, "at least one part"), ({"a": (math.nan, len)}, "the weight of 'a' is nan"), ({"a": (math.inf, len)}, "must be finite"), ({"a": (1.0, 0.5)}, "is no function")):
        with pytest.raises(ValueError, match=says): Weighted(parts)


# --- checks


ROW = {"prompt": "What is\nit?", "answer": "42", "n_tokens": [1, 2, 3], "ended": [True]*3}
TEXTS = ["fine", "the odd one " + "out "*50, "good"]


def odd(value): return lambda completions, row: [value if text.startswith("the odd") else 1.0 for text in completions]


def raising(completions, row):
    assert all(len(row[key]) == len(completions) for key in ("n_tokens", "ended"))
    return [1/(not text.startswith("the odd")) for text in completions]


FAULTS = {
    "gave nan": odd(math.nan), "gave -inf": odd(-math.inf), "gave None": odd(None), "gave 'good', a str": odd("good"), "gave '1', a str": odd("1"),
    "gave nan ": odd(np.float32("nan")), "gave nan  ": odd(torch.tensor(math.nan)), "a Tensor": odd(torch.ones(2)), "a list": odd([1.0]), "a complex": odd(1j), "inf": odd(10**400),
    "raised ZeroDivisionError: division by zero": raising,
}
COUNTS = {"gave 1 values for 3 completions": lambda c, r: [1.0], "gave 4 values": lambda c, r: [1.0]*4, "no list but a float": lambda c, r: 1.0, "no list but a str": lambda c, r: "abc",
          "no list but a NoneType": lambda c, r: None, "no list but a dict": lambda c, r: dict.fromkeys("abc", 1)}


@pytest.mark.parametrize("says", FAULTS)
def test_a_fault_stops_and_is_shown(says):
    with pytest.raises(BadReward) as caught: checked(FAULTS[says], TEXTS, ROW)
    told = str(caught.value)
    assert says.strip() in told and "'the odd one out out" in told and "'What is it?'" in told and "\n" not in told and len(told) < 300
    with pytest.raises(BadReward, match="the reward 'second' "): checked(Weighted({"first": (1.0, odd(0)), "second": (0.0, FAULTS[says])}), TEXTS, ROW)


@pytest.mark.parametrize("says", COUNTS)
def test_a_wrong_count_stops(says):
    with pytest.raises(BadReward, match=says): checked(COUNTS[says], TEXTS, ROW, bad="stop")
    with pytest.warns(UserWarning, match=says): assert checked(COUNTS[says], TEXTS, ROW, bad="skip") == [None]*3


@pytest.mark.parametrize("says", FAULTS)
def test_a_fault_is_skipped_with_one_warning(says):
    fault = FAULTS[says]
    reward = lambda completions, row: fault(completions, row)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        found = [checked(reward, TEXTS, ROW, bad="skip") for _ in range(3)]
    assert len(heard) == 1 and "the odd one" in str(heard[0].message) and "are skipped" in str(heard[0].message)
    assert found == [[None]*3 if fault is raising else [1.0, None, 1.0]]*3


def test_a_reward_that_raises_is_asked_about_each_alone_once():
    calls = []

    def down(completions, row):
        calls.append(len(completions))
        raise OSError("no\nanswer")
    with pytest.warns(UserWarning, match="raised OSError: no answer, for the completion 'fine'"): checked(down, TEXTS, ROW, "skip")
    assert calls == [3, 1] and checked(down, TEXTS, ROW, "skip") == [None]*3 and calls == [3, 1, 3]
    with pytest.raises(BadReward) as caught: checked(down, TEXTS, ROW)
    assert isinstance(caught.value.__cause__, OSError)


def test_each_kind_and_each_reward_has_its_warning():
    def made():
        values = iter([[None]*3, [math.nan]*3, [None]*3, ["a"]*3, ["b"]*3])
        return lambda completions, row: next(values)
    for _ in range(3):
        reward = made()
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            for _ in range(5): checked(reward, TEXTS, ROW, "skip")
        assert len(heard) == 3


def test_good_values_pass():
    assert checked(lambda c, r: [True, np.float32(0.5), torch.tensor(2)], TEXTS, ROW) == [1.0, 0.5, 2.0] and checked(lambda c, r: torch.ones(3), TEXTS, ROW) == [1.0]*3
    assert checked(lambda c, r: np.array([1, 2, 3]), TEXTS, ROW) == [1.0, 2.0, 3.0] and checked(lambda c, r: (0, np.bool_(True), 2), TEXTS, ROW) == [0.0, 1.0, 2.0]
    assert all(type(v) is float for v in checked(lambda c, r: [True, np.int64(3), torch.tensor(2)], TEXTS, ROW)) and checked(lambda c, r: [], [], {}) == []
    with pytest.raises(KeyError, match="did you mean 'skip'"): checked(odd(1.0), TEXTS, ROW, bad="skipp")
    with pytest.raises(KeyboardInterrupt): checked(lambda c, r: (_ for _ in ()).throw(KeyboardInterrupt), TEXTS, ROW, bad="skip")


def test_a_completion_with_a_faulty_part_has_no_total():
    both = Weighted({"one": (1.0, odd(1.0)), "bad": (0.5, odd(None)), "told": (0.0, odd(math.nan))})
    with pytest.warns(UserWarning): assert checked(both, TEXTS, ROW, bad="skip") == [1.5, None, 1.5]
    light = Weighted({"one": (1.0, odd(1.0)), "told": (0.0, odd(math.nan))})
    with pytest.warns(UserWarning, match="'told' gave nan"): assert checked_parts(light, TEXTS, ROW, "skip") == {"one": [1.0]*3, "told": [1.0, None, 1.0]}
    assert checked(light, TEXTS, ROW, bad="skip") == [1.0]*3 and list(checked_parts(raising, ["a"], {"n_tokens": [1], "ended": [True]})) == ["raising"]


def test_the_names_of_lifted_rules():
    with pytest.raises(BadReward, match="the reward 'gsm8k_reward' raised UnknownName: unknown column of the row 'anwser' .did you mean 'answer'"):
        checked(if_ended(as_reward(gsm8k_reward, "anwser")), TEXTS, ROW)


# --- words


def test_defaults():
    for task, words in DEFAULT_REWARDS.items():
        made = task_reward(task)
        assert list(made.weights)[0] == "strict" and made.weights["strict"] == 1.0 and sum(made.weights.values()) == 1.0
        assert made.weights == task_reward(task, words).weights and set(REPORTED[task]) <= set(made.weights)
    assert set(DEFAULT_REWARDS) == set(REWARDS) == set(REPORTED)


def test_words():
    made = task_reward("gsm8k", "answer=1 format=0.2 length@10=0.5 overlong@4=2 ended=0", max_new_tokens=16)
    assert made.weights == {"answer": 1.0, "format": 0.2, "length": 0.5, "overlong": 2.0, "ended": 0.0, "strict": 0.0}
    row = {"prompt": PROMPT, "answer": "42", "n_tokens": [10, 15, 16], "ended": [True, True, False]}
    assert made.parts([RIGHT, "It is 42.", RIGHT], row) == {"answer": [1, 1, 0], "format": [1, 0, 0], "length": [0, -0.5, -0.6], "overlong": [0, -0.75, -1], "ended": [1, 1, 0], "strict": [1, 0, 0]}
    assert np.allclose(checked(made, [RIGHT, "It is 42.", RIGHT], row), [1.2, 1 - 0.25 - 1.5, -0.3 - 2])
    assert task_reward("gsm8k", "length=-1 answer=1", max_new_tokens=20).parts([""], row | {"n_tokens": [15], "ended": [True]})["length"] == [-0.5]      # half of 20
    assert task_reward("fever_reason", "evidence=1").weights == {"evidence": 1.0, "strict": 0.0, "verdict": 0.0}
    with pytest.raises(BadReward, match="unknown column of the row 'n_tokens'"): checked(task_reward("gsm8k", "length=1"), [""], {"prompt": "", "answer": "1"})


WRONG = {
    "gsm8k strct=1": "unknown reward of gsm8k: 'strct' (did you mean 'strict'?)", "gsm8k verdict=1": "unknown reward of gsm8k: 'verdict'", "gsm9k strict=1": "unknown task 'gsm9k' (did you mean 'gsm8k'?)",
    "gsm8k strict": "'strict' is no reward; write name=weight", "gsm8k =1": "'=1' is no reward", "gsm8k strict=": "'strict=': the weight is no number", "gsm8k strict=much": "the weight is no number",
    "gsm8k strict=nan": "the weight of 'strict' is nan", "gsm8k strict=inf": "must be finite", "gsm8k strict@3=1": "behind @ stand the tokens", "gsm8k length@0=1": "behind @ stand the tokens",
    "gsm8k length@-3=1": "behind @", "gsm8k length@1.5=1": "behind @", "gsm8k length@=1": "behind @", "gsm8k strict=1 strict=0": "names the reward 'strict' twice",
    "gsm8k overlong=1": "needs to know max_new_tokens", "liar ": "liar has no reward of its own", "liar strict=1": "unknown reward of liar: 'strict'",
}


@pytest.mark.parametrize("given_words", WRONG)
def test_wrong_words(given_words):
    task, _, words = given_words.partition(" ")
    with pytest.raises(ValueError) as caught: task_reward(task, words)
    assert WRONG[given_words] in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="the buffer is longer than 16 tokens"): task_reward("gsm8k", "overlong@17=1", max_new_tokens=16)


def test_ones_own_reward(tmp_path):
    file = tmp_path/"my_rewards.py"
    file.write_text("import math\nLIMIT = 3\ndef brevity(completions, row): return [float(len(text) <= LIMIT) for text in completions]\ndef alone(completion): return 1.0\n")
    made = task_reward("gsm8k", f"strict=1 {file}:brevity=0.5")
    assert made.weights == {"strict": 1.0, "brevity": 0.5, "answer": 0.0} and made(["abc", RIGHT], {"prompt": PROMPT, "answer": "42"}) == [0.5, 1.0]
    assert task_reward("ultrafeedback", f"{file}:brevity=1")(["abc"], {}) == [1.0]                # any task has its rewards, if they are one's own
    for words, says in ((f"{file}:brevty=1", "unknown function of .*did you mean 'brevity'"), (f"{file}:LIMIT=1", "is no function of .completions, row."),
                        (f"{file}:alone=1", "is no function of .completions, row."), (f"{file}:brevity=1 {file}:brevity=2", "twice"), (f"{file}:=1", "unknown function")):
        with pytest.raises(ValueError, match=says): task_reward("gsm8k", words)
    for missing in (tmp_path/"none.py", tmp_path, "", "x.txt"):
        with pytest.raises(FileNotFoundError, match="there is no Python file"): task_reward("gsm8k", f"{missing}:f=1")
    for broken, says in (("def f(:", "cannot be read: SyntaxError"), ("1/0", "cannot be read: ZeroDivisionError")):
        (tmp_path/"broken.py").write_text(broken)
        with pytest.raises(ValueError, match=says): task_reward("gsm8k", f"{tmp_path/'broken.py'}:f=1")


def test_what_is_handed_on():
    assert rewards.gsm8k_answer is gsm8k_answer and verdict_of("Verdict: SUPPORTS") == "SUPPORTS" and re.fullmatch(r"Claim: .+\nEvidence: .+\nReasoning:\n", FRAME)
    assert {"FRAME", "VERDICTS", "gsm8k_answer", "verdict_of", "gsm8k_reward", "length_penalty", "task_reward"} <= set(rewards.__all__)
