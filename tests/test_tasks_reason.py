"GSM8K and FEVER with reasons: columns, real rows, broken files, and what is read off a text."
import json
import re
import warnings
from decimal import Decimal

import pytest
from damage import damaged, damages, rows_or_none
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ftlib.data import COLUMNS, DataError, leaks
from ftlib.tasks import load_task
from ftlib.tasks.fever_reason import SPELLINGS, VERDICTS, read_fever_reason, verdict_of
from ftlib.tasks.gsm8k import gsm8k_answer, read_gsm8k

quick = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
READERS = {"gsm8k": read_gsm8k, "fever_reason": read_fever_reason}

MILL = {"question": "A mill grinds 1,200 sacks.  It sells 3/4 of them. How many?", "answer": "It sells 1200*3/4=<<1200*3/4=900>>900 sacks.\n#### 1,900"}
PAIR = {"id": "1", "claim": "The Old Mill is of 1871 .", "gold_label": "SUPPORTS", "label": "SUPPORTS",
        "evidence": "The Old Mill -LRB- 1871 -RRB- is a mill ."}
TOLD = PAIR | {"reasoning": "It is of 1871.\nVerdict: SUPPORTS"}
GOLD = {"id": 90001, "original_id": 7, "label": "REFUTES", "claim": "The Old Mill burned.",
        "evidence": [["Old_Mill", 0, "The Old Mill -LSB- a mill -RSB- never\tburned ."], ["Old_Mill", 1, "It stands ."]]}


def lines(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read(tmp_path, reader, *rows): return list(reader(lines(tmp_path/"train.jsonl", *rows)))


# --- all rows


@pytest.mark.parametrize("name,split", [("gsm8k", "train"), ("gsm8k", "test"), *(("fever_reason", s) for s in ("train", "validation", "test"))])
@pytest.mark.parametrize("source", ["tiny", "real"])
def test_columns_and_invariants(name, split, source, request):
    if source == "real":
        if (name, split) == ("fever_reason", "test"): pytest.skip("the real rows have no such split")
        source = request.getfixturevalue("shared_data")
    data = load_task(name, split, source=source)
    assert data.column_names == list(COLUMNS["reason"]) and len(data) >= 100
    for row in data:
        assert row["prompt"].endswith("\n") and not row["prompt"].endswith("\n\n") and row["prompt"].strip() and "  " not in row["prompt"]
        if name == "gsm8k":
            assert gsm8k_answer(row["solution"], strict=True) == gsm8k_answer(row["solution"]) == row["answer"]
            assert row["solution"].split("\n")[-1] == f"#### {row['answer']}" and "<<" not in row["solution"] and "  " not in row["solution"]
        else:
            assert row["answer"] in VERDICTS and re.fullmatch(r"Claim: .+\nEvidence: .+\nReasoning:\n", row["prompt"]) and "-LRB-" not in row["prompt"]
            assert (row["solution"] is None) == (source != "tiny")
            if source == "tiny": assert verdict_of(row["solution"], strict=True) == row["answer"]


def test_the_real_rows_are_all_read(shared_data):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        counts = {name: [len(load_task(name, split, source=shared_data)) for split in ("train", other)]
                  for name, other in (("gsm8k", "test"), ("fever_reason", "validation"))}
    assert counts == {"gsm8k": [1604, 396], "fever_reason": [508, 129]}


def test_real_answers_are_those_of_the_official_rule(shared_data):
    for split in ("train", "test"):
        texts = [json.loads(line)["answer"] for line in (shared_data/"gsm8k"/f"{split}.jsonl").read_text(encoding="utf-8").split("\n") if line]
        official = [re.search(r"#### (-?[0-9.,]+)", text)[1].replace(",", "") for text in texts]
        assert [row["answer"] for row in read_gsm8k(shared_data/"gsm8k"/f"{split}.jsonl")] == official


def test_what_the_notebook_says_of_the_real_pairs(shared_data):
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    train, dev = (load_task("fever_reason", split, source=shared_data) for split in ("train", "validation"))
    claims = [[prompt.split("\n")[0] for prompt in data["prompt"]] for data in (train, dev)]
    assert sum(claim in set(claims[0]) for claim in claims[1]) == 89 and not leaks(train, dev, "prompt")
    words = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression(max_iter=300)).fit(claims[0], train["answer"])
    assert round(words.score(claims[1], dev["answer"]), 2) == 0.12


# --- GSM8K


def test_marks_commas_and_spaces(tmp_path):
    row, = read(tmp_path, read_gsm8k, MILL)
    assert row == {"prompt": "A mill grinds 1,200 sacks. It sells 3/4 of them. How many?\n", "answer": "1900",
                   "solution": "It sells 1200*3/4=900 sacks.\n#### 1900"}
    marked, = read_gsm8k(tmp_path/"train.jsonl", marks=True)
    assert marked["solution"] == "It sells 1200*3/4=<<1200*3/4=900>>900 sacks.\n#### 1900"


def test_a_mark_that_is_not_closed_is_counted(tmp_path):
    for answer in ("1+1=<<1+1=2 2\n#### 2", "1+1=1+1=2>>2\n#### 2"):
        for marks in (False, True):
            lines(tmp_path/"train.jsonl", MILL, MILL | {"answer": answer})
            with pytest.warns(UserWarning, match="train.jsonl: 1 rows have a calculator mark that is not closed"):
                assert len(list(read_gsm8k(tmp_path/"train.jsonl", marks=marks))) == 1


def test_the_hubs_parquet(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    (tmp_path/"main").mkdir()
    path = tmp_path/"main"/"train-00000-of-00001.parquet"
    pq.write_table(pa.Table.from_pylist([MILL, MILL]), path)
    assert list(read_gsm8k(path)) == read(tmp_path, read_gsm8k, MILL, MILL)
    (tmp_path/"train.jsonl").unlink()
    assert load_task("gsm8k", "train", source=tmp_path)["answer"] == ["1900", "1900"]
    pq.write_table(pa.Table.from_pylist([MILL, MILL | {"answer": "1900"}]), path)
    with pytest.raises(DataError, match=re.escape(f"{path}") + ".* row 1.*'####' stands 0 times"): list(read_gsm8k(path))


BAD_PROBLEMS = {
    ":1: the key 'question' is missing (did you mean 'questions'?)": [{"questions": "?", "answer": "#### 1"}],
    ":2: the question is empty or no text": [MILL, MILL | {"question": " \n"}],
    ":1: the question is empty or no text": [MILL | {"question": None}],
    ":1: the answer is empty or no text": [MILL | {"answer": 18}],
    ":1: '####' stands 0 times in the answer, not once": [MILL | {"answer": "It is 18."}],
    ":1: '####' stands 2 times in the answer, not once": [MILL | {"answer": "#### 18\n#### 18"}],
    ":1: the answer does not end in a line '#### n'": [MILL | {"answer": "#### 18\nThat is it."}],
    ":2: the answer does not end in a line '#### n'": [MILL, MILL | {"answer": "It is #### 18"}],
    ":1: '#### n' is no number": [MILL | {"answer": "#### n"}],
    ":1: '####' is no number": [MILL | {"answer": "####"}],
    ":1: '#### 12,34' is no number": [MILL | {"answer": "#### 12,34"}],
    ":1: '#### 18 or 19' is no number": [MILL | {"answer": "#### 18 or 19"}],
    ":2: not a JSON object but a list": [MILL, []],
    ": the file is empty": [],
}


@pytest.mark.parametrize("says", BAD_PROBLEMS)
def test_bad_problems(tmp_path, says):
    with pytest.raises(DataError) as caught: load_task("gsm8k", source=lines(tmp_path/"train.jsonl", *BAD_PROBLEMS[says]).parent)
    assert str(caught.value).startswith(f"{tmp_path/'train.jsonl'}{says}"), str(caught.value)


# --- an answer read off a text


ANSWERS = {  # text: strict, lenient
    "#### 1234": ("1234", "1234"), "#### 1,234": ("1234", "1234"), "#### -5": ("-5", "-5"), "#### 17.5": ("17.5", "17.5"), "#### 18.00": ("18", "18"),
    "a\n#### 18\n": ("18", "18"), "a\n#### 18\nQuestion: what next?": ("18", "18"), "a\r\n#### 18\r\n": ("18", "18"), "#### -0": ("0", "0"),
    "#### $18": (None, "18"), "#### 10 dollars": (None, "10"), "#### 50%": (None, "50"), "#### 18.": (None, "18"), "#### **18**": (None, "18"),
    "#### 1/2": (None, "0.5"), "#### 2 1/2 hours": (None, "2.5"), "#### 1/3": (None, None), "#### 1/0": (None, None), "#### 12,34": (None, None),
    "####18": (None, "18"), "It is #### 18": (None, "18"), " #### 18": (None, "18"), "#### 18 and 19": (None, None), "####  18": (None, "18"),
    "#### 17\n#### 18": (None, "18"), "#### 18 #### 18": (None, "18"), "##### 18": (None, "18"), "#### ": (None, None),
    "\\boxed{18}": (None, "18"), "$\\boxed{\\$1{,}800}$": (None, "1800"), "\\boxed{\\dfrac{3}{4}}.": (None, "0.75"), "\\boxed{-\\frac{1}{2}}": (None, "-0.5"),
    "\\boxed{5\\text{ cm}} of 9": (None, "5"), "\\boxed{1} \\boxed{2}": (None, "2"), "#### \\boxed{7} not 8": (None, "7"), "\\boxed{x} so 3": (None, "3"),
    "So 10-5=5": (None, "5"), "It is -5.": (None, "-5"), "(\u22125)": (None, "-5"), "It is --5": (None, "5"), "3-4": (None, "4"), "-$5": (None, "-5"),
    "$-5": (None, "-5"), "€ 5": (None, "5"), "x2 H2O v1.2 1e3 3x4": (None, None), "1.2.3": (None, None), "1,2,3": (None, None), "5km": (None, "5"),
    "": (None, None), "none": (None, None), "٣": (None, None),
    "#### 12 m^2": (None, "12"), "It is 12 m^2.": (None, "12"), "#### 12 m2": (None, "12"), "\\boxed{12\\text{ m}^{2}}": (None, "12"), "#### 12 m2 and 3": (None, None),
    "10^6": (None, None), "2^-3": (None, None), "5²": (None, None), "1½": (None, None), "1\uff18": (None, None), "1\u20442": (None, "0.5"), "5 m²": (None, "5"),
    "\\boxed{10\\,000}": (None, "10000"), "\\boxed{10,\\!000}": (None, "10000"), "7"*999: (None, "7"*999), "7"*1001: (None, None),
}


@pytest.mark.parametrize("text", ANSWERS)
def test_answers(text): assert (gsm8k_answer(text, strict=True), gsm8k_answer(text)) == ANSWERS[text]


def plain(number):
    "The one form of a decimal, made another way: Python's own formatting."
    text = f"{number:f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) if number else "0"


numbers = st.decimals(-10**15, 10**15, places=4) | st.integers(-10**27, 10**27).map(Decimal) | st.decimals(-1000, 1000, places=1)
DRESSED = ["{}", "{} dollars", "{}.", "{}%", "**{}**", "{} apples in all.", "{}\t"]
PLACES = ["#### {}", "Add 2 and 3.\n#### {}", "#### {}\nThat is it.", "\\boxed{{{}}}", "Of 12 it is \\boxed{{{}}}, not 99.", "So the answer is {}"]


@quick
@given(numbers, st.booleans(), st.sampled_from(["", "$", "€", "£"]), st.sampled_from("-\u2212"), st.sampled_from(DRESSED), st.sampled_from(PLACES))
@example(Decimal("-0.5"), False, "$", "-", "{}.", "So the answer is {}")
def test_a_dressed_number_comes_back(number, comma, sign, minus, dress, place):
    "Any decimal with commas, a currency sign, either minus, a unit or a full stop, in any of the three places."
    digits = f"{abs(number):{',' if comma else ''}f}"
    text = place.format(dress.format((minus if number < 0 else "") + sign + digits))
    assert gsm8k_answer(text) == plain(number), text


@quick
@given(numbers, st.booleans())
def test_strict_takes_the_data_sets_form_and_no_other(number, comma):
    digits = f"{number:{',' if comma else ''}f}"
    assert gsm8k_answer(f"Some steps: 1+1=2.\n#### {digits}", strict=True) == plain(number)
    for text in (f"#### {digits}.", f"#### {digits} apples", f"####{digits}", f"It is {digits}", f"#### {digits}\n#### {digits}", f"#### ${digits}"):
        assert gsm8k_answer(text, strict=True) is None, text


@quick
@given(st.integers(-999, 999), st.integers(1, 400))
def test_fractions_that_end(top, bottom):
    found, value = gsm8k_answer(f"#### {top}/{bottom}"), Decimal(top)/Decimal(bottom)
    ends = Decimal(bottom)*value == top and len(value.as_tuple().digits) < 28
    assert found == (plain(value) if ends else None)


@quick
@given(st.text(max_size=60) | st.text("0123456789.,-/$#\\boxed{} \n", max_size=60), st.booleans())
def test_any_text_gives_a_plain_decimal_or_nothing(text, strict):
    found = gsm8k_answer(text, strict=strict)
    assert found is None or re.fullmatch(r"-?(0|[1-9][0-9]*)(\.[0-9]*[1-9])?", found) and found != "-0"
    if found is not None: assert gsm8k_answer(f"#### {found}", strict=True) == found
    if strict and found is not None: assert gsm8k_answer(text) == found


@pytest.mark.parametrize("text", ["1"*10**5 + "e3", "1,"*10**5, "\\boxed{"*10**4, "1a"*10**5, "-"*10**5, "####"*10**4, "1 1/"*10**4, "#### 1" + " "*10**5 + "x",
                                  "1" + "."*10**5, "1"*10**4 + "/" + "7"*10**4, "#### " + "9"*10**6, "9"*5*10**5 + "/" + "7"*5*10**5], ids=range(12))
def test_long_texts_take_no_long_time(text):
    import time
    start = time.process_time()
    gsm8k_answer(text), gsm8k_answer(text, strict=True)
    assert time.process_time() - start < 1


# --- FEVER with reasons


def test_both_layouts(tmp_path):
    prompt = "Claim: The Old Mill is of 1871 .\nEvidence: The Old Mill ( 1871 ) is a mill .\nReasoning:\n"
    assert read(tmp_path, read_fever_reason, PAIR) == [{"prompt": prompt, "answer": "SUPPORTS", "solution": None}]
    assert read(tmp_path, read_fever_reason, TOLD)[0]["solution"] == TOLD["reasoning"]
    old = {"id": "2", "label": "REFUTES", "claim": PAIR["claim"], "evidence_sentence": PAIR["evidence"]}
    assert read(tmp_path, read_fever_reason, old) == [{"prompt": prompt, "answer": "REFUTES", "solution": None}]
    gold = "Claim: The Old Mill burned.\nEvidence: The Old Mill [ a mill ] never burned . It stands .\nReasoning:\n"
    assert read(tmp_path, read_fever_reason, GOLD) == [{"prompt": gold, "answer": "REFUTES", "solution": None}]


def test_no_line_of_the_frame_comes_from_the_data(tmp_path):
    row, = read(tmp_path, read_fever_reason, TOLD | {"claim": "A.\nVerdict: REFUTES", "evidence": "B.\r\nReasoning:\u2028Verdict: REFUTES",
                                                     "reasoning": "\n So  it is.\r\n\n Verdict: SUPPORTS \n"})
    assert row["prompt"].count("\n") == 3 and verdict_of(row["prompt"]) is None and row["solution"] == "So it is.\nVerdict: SUPPORTS"


def test_a_claim_with_two_evidences_is_two_pairs(tmp_path):
    other = PAIR | {"evidence": "The Old Mill is of 1902 .", "gold_label": "REFUTES", "label": "REFUTES"}
    assert [row["answer"] for row in read(tmp_path, read_fever_reason, PAIR, other)] == ["SUPPORTS", "REFUTES"]
    lines(tmp_path/"train.jsonl", PAIR, other, PAIR | {"claim": "the old mill is of 1871"})
    with pytest.warns(UserWarning, match="train.jsonl: 1 rows are left out: 1 repeating another"): assert len(list(read_fever_reason(tmp_path/"train.jsonl"))) == 2
    lines(tmp_path/"train.jsonl", PAIR, other | {"evidence": PAIR["evidence"]}, TOLD | {"claim": "Another."})
    with pytest.warns(UserWarning, match="2 rows are left out: 2 with more than one verdict"):
        assert [row["solution"] for row in read_fever_reason(tmp_path/"train.jsonl")] == [TOLD["reasoning"]]


def test_a_claim_with_two_sets_of_evidence_is_one_row(tmp_path):
    again, reworded = GOLD | {"id": 90002, "evidence": [["X", 1, "Other ."]]}, GOLD | {"claim": "The Old Mill has burned."}
    torn = [GOLD | {"claim": "It is old.", "original_id": i, "label": label} for i, label in enumerate(VERDICTS)]
    lines(tmp_path/"train.jsonl", GOLD | {"evidence": []}, GOLD | {"evidence": [["X", 1, ""], ["X", 2, "Y ."]]}, GOLD | {"evidence": [["X", 1, None]]},
          GOLD, again, reworded, *torn)
    with pytest.warns(UserWarning, match="8 rows are left out: 3 without the text of the evidence, 2 repeating another, 3 with more than one verdict"):
        row, = read_fever_reason(tmp_path/"train.jsonl")
    assert row["prompt"].startswith("Claim: The Old Mill burned.\nEvidence: The Old Mill [")


BAD_CLAIMS = {
    ":2: unknown label 'SUPPORTED' (did you mean 'SUPPORTS'?)": [PAIR, PAIR | {"gold_label": "SUPPORTED"}],
    ":1: unknown label '[]'": [PAIR | {"label": []}],
    ":1: gold_label is SUPPORTS and label is REFUTES": [PAIR | {"label": "REFUTES"}],
    ":1: the key 'gold_label' or 'label' is missing (did you mean 'lable'?)": [{"claim": "A.", "evidence": "B.", "lable": "SUPPORTS"}],
    ":1: the key 'claim' is missing (did you mean 'claims'?)": [{"claims": "A."}],
    ":1: the claim is empty or no text": [PAIR | {"claim": " "}],
    ":2: the claim is empty or no text": [PAIR, PAIR | {"claim": 3}],
    ":1: the key 'evidence' is missing (did you mean 'evidences'?)": [{"claim": "A.", "label": "SUPPORTS", "evidences": "B."}],
    ":1: the evidence is empty": [PAIR | {"evidence": ""}],
    ":1: the evidence is neither a text nor [[page, line, sentence], …]": [PAIR | {"evidence": [[[1, 2, "Old_Mill", 0]]]}],
    ":1: the evidence is neither a text nor": [PAIR | {"evidence": None}],
    ":1: the evidence is neither a text nor ": [PAIR | {"evidence": ["abc"]}],
    ":1: the evidence is neither a text nor  ": [PAIR | {"evidence": [["a", 1, 2]]}],
    ":1: the evidence is neither a text nor   ": [PAIR | {"evidence": [[["a"], ["b"], ["c"]]]}],
    ":1: the reasoning is no text but a list": [PAIR | {"reasoning": ["Verdict: SUPPORTS"]}],
    ":1: the reasoning does not end in its only line 'Verdict: SUPPORTS'": [PAIR | {"reasoning": ""}],
    ":2: the reasoning does not end in its only line 'Verdict: SUPPORTS'": [PAIR, PAIR | {"reasoning": "Verdict: SUPPORTS\nSo it is."}],
    ":3: the reasoning does not end in its only line 'Verdict: SUPPORTS'": [PAIR, PAIR, PAIR | {"reasoning": "So.\nverdict: supports"}],
    ":4: the reasoning does not end in its only line 'Verdict: SUPPORTS'": [PAIR, PAIR, PAIR, PAIR | {"reasoning": "Verdict: REFUTES\nVerdict: SUPPORTS"}],
    ":1: the reasoning's verdict is REFUTES and the label SUPPORTS": [PAIR | {"reasoning": "So.\nVerdict: REFUTES"}],
    ":2: not a JSON object but a list": [PAIR, []],
    ": the file is empty": [],
}


@pytest.mark.parametrize("says", BAD_CLAIMS)
def test_bad_claims(tmp_path, says):
    lines(tmp_path/"train.jsonl", *BAD_CLAIMS[says])
    with pytest.raises(DataError) as caught: next(read_fever_reason(tmp_path/"train.jsonl"))
    assert str(caught.value).startswith(f"{tmp_path/'train.jsonl'}{says.strip()}"), str(caught.value)


# --- a verdict read off a text


SAID = {  # text: lenient, strict
    "So.\nVerdict: SUPPORTS": ("SUPPORTS", "SUPPORTS"), "Verdict: NOT ENOUGH INFO\n\n": ("NOT ENOUGH INFO", "NOT ENOUGH INFO"), "  Verdict: REFUTES  ": ("REFUTES", "REFUTES"),
    "Verdict: refutes.": ("REFUTES", None), "VERDICT:SUPPORTS": ("SUPPORTS", None), "**Verdict**: *Supported*": ("SUPPORTS", None), "> verdict : NEI": ("NOT ENOUGH INFO", None),
    "Verdict: Not enough information!": ("NOT ENOUGH INFO", None), "Verdict: NotEnoughInfo": ("NOT ENOUGH INFO", None), "Verdict: not-enough_info": ("NOT ENOUGH INFO", None),
    "Verdict: SUPPORTS\nNext.": ("SUPPORTS", None), "Verdict: SUPPORTS\nVerdict: SUPPORTS": ("SUPPORTS", None), "Verdict: SUPPORTS\nVerdict: REFUTES": (None, None),
    "Verdict: SUPPORTS\nVerdict: maybe": (None, None), "Verdict: SUPPORTS REFUTES": (None, None), "Verdict: not SUPPORTS": (None, None), "Verdict: не SUPPORTS": (None, None),
    "Verdict:": (None, None), "Verdict:\nSUPPORTS": (None, None), "The verdict: SUPPORTS": (None, None), "REFUTES": (None, None), "": (None, None),
}


@pytest.mark.parametrize("text", SAID)
def test_verdicts(text): assert (verdict_of(text), verdict_of(text, strict=True)) == SAID[text]


@quick
@given(st.text(max_size=80).filter(lambda text: "verdict" not in text.casefold()), st.sampled_from(VERDICTS), st.sampled_from(VERDICTS))
def test_one_verdict_comes_back_and_two_do_not(text, first, second):
    assert verdict_of(f"{text}\nVerdict: {first}") == verdict_of(f"{text}\nVerdict: {first}", strict=True) == first
    assert verdict_of(f"Verdict: {first}\n{text}\nVerdict: {second}") == (first if first == second else None)
    assert verdict_of(text) is None


@quick
@given(st.text(max_size=60) | st.lists(st.sampled_from(["Verdict:", " ", "\n", "SUPPORTS", "refuted", "NEI", ".", "**", "no"]), max_size=12).map("".join))
def test_any_text_gives_a_verdict_or_nothing(text):
    found, strict = verdict_of(text), verdict_of(text, strict=True)
    assert found in (*VERDICTS, None) and strict in (found, None) and set(SPELLINGS.values()) == set(VERDICTS)


# --- whatever the file


GOOD = {"gsm8k": [MILL, MILL | {"question": "How many?", "answer": "2-7=<<2-7=-5>>-5\n#### -5"}], "fever_reason": [TOLD, GOLD]}
PIECES = [b"", b"\t", b"\n", b"\r", b'"', b"\xff", b"\xef\xbb\xbf", b"\0", b"{", b"]", b"null", b"x"*300, b"#### 3", b"<<", b">>", b"Verdict: REFUTES", b"[[", b"\\ud800"]


@pytest.mark.parametrize("name", GOOD)
@quick
@given(damages(PIECES, min_size=1))
@example(damage=[(0.25390625, 0, b"\\ud800"), (0.25390625, 0, b"null")])      # a key with a line break in it
def test_a_damaged_file_is_refused_or_read_right(tmp_path_factory, name, damage):
    "Cut out bytes and put others in: what comes out is an error that names the file and the place, or rows with nothing impossible in them."
    path = tmp_path_factory.getbasetemp()/f"{name}.jsonl"
    data = lines(path, *GOOD[name]).read_bytes()
    data = damaged(data, damage)
    path.write_bytes(data)
    if (rows := rows_or_none(READERS[name], path, r"(:\d+: |: the file is empty)")) is None: return
    for row in rows:
        assert set(row) == set(COLUMNS["reason"]) and row["prompt"].strip() and row["prompt"].endswith("\n")
        if name == "gsm8k": assert gsm8k_answer(row["solution"], strict=True) == row["answer"] and "<<" not in row["solution"] and ">>" not in row["solution"]
        else: assert row["answer"] in VERDICTS and (row["solution"] is None or verdict_of(row["solution"], strict=True) == row["answer"])


@pytest.mark.parametrize("name", GOOD)
def test_byte_order_mark_and_carriage_returns(tmp_path, name):
    path = lines(tmp_path/"a.jsonl", *GOOD[name])
    expected = list(READERS[name](path))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert list(READERS[name](path)) == expected
