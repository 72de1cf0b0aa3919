"""The embedded twins: every label, answer, verdict and preference follows from the text, read here by rules of this file's own;
and no split shares names, number pairs or all of its templates with training."""
import csv
import io
import json
import random
import re
from collections import Counter

import pytest

from ftlib.tasks import chains, problems, rhetoric, verse
from ftlib.tasks.embedded import SIZES, write_twins
from ftlib.tasks.problems import PROBLEMS
from ftlib.tasks.talk import QUESTIONS, SILENT, conversation, judge
from ftlib.tasks.twins import on_side
from ftlib.tasks.world import FEVER_LABELS, LIAR_LABELS, TEMPLATES, VALUES, make_world, strangers

WORLD, SPLITS = make_world(), ("train", "dev", "test")
NAME, VALUE = r"(?P<p>[A-Z][a-z]+ [A-Z][a-z]+)", r"(?P<v>\w+)"


def form_of(template): return re.compile(re.escape(template).replace(r"\{p\}", NAME).replace(r"\{v\}", VALUE))


FACTS = [(key, i, form_of(t)) for key, forms in TEMPLATES.items() for i, t in enumerate(forms)]
ASKS = [(key, form_of(t)) for key, forms in QUESTIONS.items() for t in forms]


def fact(sentence):
    "(person, attribute, value, number of the template) of a sentence, or None."
    found = [(m["p"], key, m["v"], i) for key, i, form in FACTS if (m := form.fullmatch(sentence.strip()))]
    assert len({f[:3] for f in found}) <= 1, sentence
    return found[0] if found else None


def facts(text): return [f for s in re.findall(r"[^.?!:]+\.", text) if (f := fact(s))]


def relation(claim, evidence):
    told = [v for p, key, v, _ in evidence if (p, key) == claim[:2]]
    return "NOT ENOUGH INFO" if not told else "SUPPORTS" if claim[2] in told else "REFUTES"


def read(tiny_data, name): return (tiny_data/name).read_text("utf-8")
def jsonl(tiny_data, name): return [json.loads(line) for line in read(tiny_data, name).splitlines()]
def table(tiny_data, name): return [line.split("\t") for line in read(tiny_data, name).splitlines()[1:]]


def test_files_are_what_the_generator_writes(tiny_data, tmp_path):
    write_twins(tmp_path, make_world())
    made = {p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file()}
    there = {p.relative_to(tiny_data) for p in tiny_data.rglob("*") if p.is_file() and p.relative_to(tiny_data).parts[0] != "model"}
    assert made == there
    for path in made: assert (tmp_path/path).read_bytes() == (tiny_data/path).read_bytes(), path


# --- propaganda


CELL = {"emphasis": ("Repetition", "Exaggeration,Minimisation", "Slogans"), "alarm": ("Appeal_to_fear-prejudice", "Doubt", "Flag-Waving"),
        "scorn": ("Name_Calling,Labeling", "Whataboutism,Straw_Men,Red_Herring", "Bandwagon,Reductio_ad_hitlerum"),
        "logic": ("Causal_Oversimplification", "Black-and-White_Fallacy", "Thought-terminating_Cliches"),
        "esteem": ("Appeal_to_Authority", "Loaded_Language")}


def spans(tiny_data, split):
    for line in read(tiny_data, f"propaganda/{split}-task2-TC.labels").splitlines():
        article, name, start, end = line.split("\t")
        text = (tiny_data/f"propaganda/{split}-articles/article{article}.txt").read_bytes().decode()
        yield article, name, int(start), int(end), text


@pytest.mark.parametrize("split", SPLITS)
def test_techniques_follow_from_the_line(tiny_data, split):
    seen, last, overlaps, before = Counter(), 0, 0, None
    for article, name, start, end, text in spans(tiny_data, split):
        line = text[text.rindex("\n", 0, start) + 1:text.index("\n", end)]
        family, wrapper = next((f, w) for f, ws in rhetoric.FAMILIES.items() for w in ws if text[start:end].startswith(w))
        note, = re.findall(r"^(?:[^:]+\.) ", line)
        claim = fact(text[start:end].split(": ")[-1])
        assert name == CELL[family][FEVER_LABELS.index(relation(claim, facts(note)))]
        last += wrapper == rhetoric.FAMILIES[family][4]
        overlaps += before is not None and before[0] == article and start < before[1]
        before, seen[name] = (article, end), seen[name] + 1
    n = SIZES["propaganda"][SPLITS.index(split)]
    assert len(seen) == 14 and max(seen.values()) < 1.4*min(seen.values()) and n < sum(seen.values()) and 0.05 < overlaps/n < 0.15
    assert last == 0 if split == "train" else 0.1 < last/sum(seen.values()) < 0.3


# --- sentiment and paraphrase


@pytest.mark.parametrize("split,file", [("train", "train"), ("dev", "dev"), ("test", "test-student")])
def test_sentiment_counts_the_praise(tiny_data, split, file):
    rows, no = table(tiny_data, f"sst/ids-sst-{file}.csv"), {"nobody", "no", "never", "hardly", "not"}
    for _, _, text, label in rows:
        clauses = [set(c.split()) for c in text.replace(" and ", " ").split(",")[1:]]
        assert len(clauses) == 4 and all(len(c & set(rhetoric.GOOD + rhetoric.BAD)) == 1 for c in clauses)
        assert sum(bool(c & set(rhetoric.GOOD)) != bool(c & no) for c in clauses) == int(label)
    counts = Counter(row[3] for row in rows)
    assert len(rows) == SIZES["sst"][SPLITS.index(split)] and sorted(counts) == list("01234") and max(counts.values()) - min(counts.values()) <= 1


def asked(question):
    "What a question of the paraphrase twin asks: a fact, or who is older."
    m = re.fullmatch(r"(?:Is it true that|Does anybody know whether|Can it be that|Who told you that|Are you sure that) (.*)\?", question)
    if m: return fact(m[1][:1].upper() + m[1][1:] + ".")[:3]
    a, b = re.findall(r"[A-Z][a-z]+ [A-Z][a-z]+", re.sub(r"^(Is|Was|Does|Are) ", "", question))
    younger = re.search(r"younger than|born after|younger one and|fewer years", question) is not None
    return ("older", b, a) if younger else ("older", a, b)


@pytest.mark.parametrize("split,file", [("train", "train"), ("dev", "dev"), ("test", "test-student")])
def test_duplicates_ask_the_same(tiny_data, split, file):
    rows = table(tiny_data, f"quora/quora-{file}.csv")
    for _, _, one, two, same in rows: assert (asked(one) == asked(two)) == (same == "1.0"), (one, two)
    assert len(rows) == SIZES["quora"][SPLITS.index(split)] and Counter(row[4] for row in rows)["1.0"]*2 == len(rows)


# --- problems, reasons, explanations


def story(template):
    "A story's template as a pattern: numbers, names and things, each the same wherever it stands."
    form = re.escape(template)
    for slot in set(re.findall(r"\{(\w)\}", template)):
        what = {"a": "[A-Z][a-z]+ [A-Z][a-z]+", "b": "[A-Z][a-z]+ [A-Z][a-z]+", "g": "[a-z]+"}.get(slot, "[0-9]+")
        form = form.replace(rf"\{{{slot}\}}", f"(?P<{slot}>{what})", 1).replace(rf"\{{{slot}\}}", f"(?P={slot})")
    return re.compile(form)


STORIES = [(steps, story(t)) for steps, templates in PROBLEMS.items() for t in templates]


def sums_of(question):
    "(left, sign, right, result) of each step that a question asks for, all as texts."
    (steps, m), = [(steps, m) for steps, form in STORIES if (m := form.fullmatch(question))]
    out = []
    for left, sign, right in steps:
        a, b = int(m[left] if left else out[-1][3]), int(m[right])
        out.append((str(a), sign, str(b), str({"+": a + b, "-": a - b, "*": a*b}[sign])))
    return out


@pytest.mark.parametrize("split", ["train", "test"])
def test_problems_add_up(tiny_data, split):
    "Also those whose steps are not written down: the question says what they are."
    rows = jsonl(tiny_data, f"gsm8k/{split}.jsonl")
    for row in rows:
        (*steps, end), asked = row["answer"].split("\n"), sums_of(row["question"])
        found = [re.fullmatch(r"(Now there|There|Together these) (?:are|are still) (\d+)([-+*])(\d+)=<<(\d+[-+*]\d+)=(\d+)>>(\d+) \w+\.", step) for step in steps]
        assert end == f"#### {asked[-1][3]}" and all(on_side(split, a, b) for a, _, b, _ in asked)
        assert not found or [m.group(2, 3, 4, 7) for m in found] == asked
        for m in found: assert m[5] == f"{m[2]}{m[3]}{m[4]}" and m[6] == m[7] and m[1] == {"+": "Now there", "-": "There", "*": "Together these"}[m[3]]
    assert len(rows) == SIZES["gsm8k"][SPLITS.index(split)]


@pytest.mark.parametrize("split", SPLITS)
def test_reasons_lead_to_the_verdict(tiny_data, split):
    rows = jsonl(tiny_data, f"fever_symmetric/{split}.jsonl")
    for row in rows:
        claim, evidence = fact(row["claim"]), facts(row["evidence"])
        assert len(evidence) == 2 and row["gold_label"] == relation(claim, evidence)
        *why, end = row["reasoning"].split("\n")
        assert end == f"Verdict: {row['gold_label']}" and len(why) < 2
        if not why: continue
        why, = why
        if row["gold_label"] == "NOT ENOUGH INFO": assert claim[0] in why and why.startswith("There is no word about ")
        else:
            quoted = next(s for s in re.findall(r"[^.]+\.", row["evidence"]) if fact(s)[:2] == claim[:2]).strip()
            value = fact(quoted)[2]
            assert why == f"{quoted} That is {value}" + (", as the claim says." if value == claim[2] else f" and not {claim[2]}.")
    counts = Counter(row["gold_label"] for row in rows)
    assert len(rows) == SIZES["fever_symmetric"][SPLITS.index(split)] and max(counts.values()) - min(counts.values()) <= 1


def independent(pairs):
    "p of the chi-square test that the two of a pair have nothing to do with each other."
    import numpy as np
    from scipy.stats import chi2_contingency
    (xs, ys), counts = (sorted(set(side)) for side in zip(*pairs)), Counter(pairs)
    return chi2_contingency(np.array([[counts[x, y] for y in ys] for x in xs])).pvalue


def longer(rows): return [(row, sums_of(row["question"])) for row in rows if len(sums_of(row["question"])) > 1]
def written(row): return "\n" in row.get("answer", row.get("reasoning"))


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_share_of_problems_whose_steps_are_written(tiny_data, split):
    rows = jsonl(tiny_data, f"gsm8k/{split}.jsonl")
    assert all(written(row) for row in rows if len(sums_of(row["question"])) == 1), "a problem of one step shows it"
    shown = [written(row) for row, _ in longer(rows)]
    assert problems.SHOWN == 0.4 and abs(sum(shown)/len(shown) - 0.4) < 0.06 and 0.4*len(rows) < len(shown) < 0.6*len(rows)


@pytest.mark.parametrize("split", SPLITS)
def test_the_share_of_verdicts_whose_reasons_are_written(tiny_data, split):
    shown = [written(row) for row in jsonl(tiny_data, f"fever_symmetric/{split}.jsonl")]
    assert chains.SHOWN == 0.35 and abs(sum(shown)/len(shown) - 0.35) < 0.06


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_what_is_written_tells_nothing_of_the_answer(seed):
    "Neither label nor attribute, size nor sign goes with the steps being there; seed 0 holds the rows of the files."
    rows = chains.fever_reason_rows(WORLD, "train", 450, seed)
    for of in (lambda row: row["gold_label"], lambda row: fact(row["claim"])[1]): assert independent([(of(row), written(row)) for row in rows]) > 0.001
    rows = longer(problems.gsm8k_rows(WORLD, "train", 2000, seed))
    for of in (lambda row, asked: int(asked[-1][3])//15, lambda row, asked: asked[0][1] + asked[1][1], lambda row, asked: len(row["question"])//10):
        assert independent([(min(of(row, asked), 5) if isinstance(of(row, asked), int) else of(row, asked), written(row)) for row, asked in rows]) > 0.001


def test_whether_steps_are_written_depends_on_the_text_alone(tiny_data):
    "A row that two seeds or sizes both hold is the same row; and the draws for other rows are not moved by it."
    for make, key in ((problems.gsm8k_rows, "question"), (chains.fever_reason_rows, "claim")):
        told = ({row[key]: written(row) for row in make(WORLD, "train", n, seed)} for n, seed in ((900, 0), (900, 1), (600, 2)))
        seen, again = {}, 0
        for rows in told:
            again += len(seen.keys() & rows.keys())
            assert all(seen[text] == rows[text] for text in seen.keys() & rows.keys())
            seen |= rows
        assert again > 10, key
    short = problems.gsm8k_rows(WORLD, "train", 300, 0)
    assert problems.gsm8k_rows(WORLD, "train", 600, 0)[:300] == short == jsonl(tiny_data, "gsm8k/train.jsonl")[:300]


def explanations(tiny_data, split):
    "(claim, label 0 … 5, record, justification) of both data sets of explanations."
    file = {"train": "train", "dev": "val", "test": "test"}[split]
    for row in jsonl(tiny_data, f"liar_plus/{file}2.jsonl"):
        yield row["claim"], LIAR_LABELS.index(row["label"]), row["title"].removeprefix("keeper of "), row["justification"].strip()
    for row in csv.DictReader(io.StringIO(read(tiny_data, f"liar2/{ {'dev': 'valid'}.get(split, split)}.csv"), newline="")):
        assert "\n" in row["justification"]
        yield row["statement"], int(row["label"]), row["context"], row["justification"].replace("\n", " ")


@pytest.mark.parametrize("split", SPLITS)
def test_explanations_say_what_fits(tiny_data, split):
    words, rows = {w for kind in ("month", "colour", "goods") for w in VALUES[kind]} | set(sum(WORLD.towns.values(), [])), list(explanations(tiny_data, split))
    for claim, label, record, why in rows:
        said, kept = ({w for w in re.findall(r"\w+", text) if w in words or w.isdigit()} for text in (claim, record))
        assert len(said) == len(kept) == 5 and len(said & kept) == label
        checks = re.findall(r"The (?:month|number|colour|goods|town) (?:fits|is (\w+) and not (\w+))\.", why)
        assert len(checks) == 5 and {a for a, _ in checks} - {""} == kept - said and {b for _, b in checks} - {""} == said - kept
        assert why.endswith(("None of the details fits.", "One detail of five fits.", "Two details of five fit.", "Three details of five fit.",
                             "Four details of five fit.", "All five details fit.")[label])
    assert len(rows) == SIZES["liar_plus"][SPLITS.index(split)] + SIZES["liar2"][SPLITS.index(split)]
    assert len({claim for claim, *_ in rows}) == len(rows)


# --- talk


def reply_is_right(prompt, reply, style):
    "Whether a reply says what the note in the prompt says, in the manner asked for."
    note, question = facts(prompt), re.findall(r"[^.?!:]+\?", prompt)[-1].strip()
    (p, key), = {(m["p"], key) for key, form in ASKS if (m := form.fullmatch(question))}
    told = [v for who, k, v, _ in note if (who, k) == (p, key)]
    if not told: return reply == SILENT
    if style == "word": return reply.lower() == f"{told[0]}.".lower()
    return (f := fact(reply)) is not None and f[:3] == (p, key, told[0])


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_assistant_is_right(tiny_data, split):
    rows, styles = jsonl(tiny_data, f"smoltalk/{split}.jsonl"), Counter()
    for row in rows:
        messages = row["messages"]
        system = messages.pop(0)["content"] if messages[0]["role"] == "system" else None
        assert [m["role"] for m in messages] == ["user", "assistant"]*(len(messages)//2)
        style = {None: None, "Answer in one word.": "word", "Answer in a whole sentence.": "sentence"}[system]
        note = messages[0]["content"]
        for said, reply in zip(messages[::2], messages[1::2]): assert reply_is_right(note + " " + said["content"], reply["content"], style)
        styles[style] += 1
    assert len(rows) == SIZES["smoltalk"][SPLITS.index(split)] and min(styles.values()) > 0.25*len(rows)


def worth(prompt, reply):
    "The judge's rule, by this file's reading."
    if not reply_is_right(prompt, reply, None): return 0
    return 3 if reply == SILENT or reply.startswith("The ") else 2


@pytest.mark.parametrize("split", ["train", "test"])
def test_chosen_is_better(tiny_data, split):
    rows = jsonl(tiny_data, f"ultrafeedback/{split}.jsonl")
    for row in rows:
        better, worse = (worth(row["prompt"], row[key]) for key in ("chosen", "rejected"))
        assert better > worse and (judge(row["prompt"], row["chosen"]), judge(row["prompt"], row["rejected"])) == (better, worse)
    assert len(rows) == SIZES["ultrafeedback"][SPLITS.index(split)]


def test_the_judge_on_strange_replies():
    prompt = "Ada Tolwood keeps 15 goats. Ben Vallock wears a red coat. Please tell me: How many goats has Ada Tolwood?"
    for reply, points in (("The goats of Ada Tolwood number 15.", 3), (" The goats of Ada Tolwood number 15.\n", 3), ("Ada Tolwood keeps 15 goats.", 2),
                          ("The goats of Ada Tolwood number 16.", 0), ("The 15.", 0), ("15.", 2), ("15", 0), ("", 0), (SILENT, 0),
                          ("Ada Tolwood keeps 15 goats. Ada Tolwood keeps 16 goats.", 0), ("Ben Vallock wears a red coat.", 0), ("15. 16.", 0)):
        assert judge(prompt, reply) == points, reply
    assert judge(prompt.replace("goats has", "hens has"), SILENT) == 3
    with pytest.raises(ValueError, match="no question of the tiny world in the prompt 'Good morning"): judge("Good morning.", "15.")


def test_conversations_of_strangers_are_right_too():
    rng = random.Random(3)
    for _ in range(200):
        messages = conversation(rng, strangers(rng, WORLD, 2))
        style = {"Answer in one word.": "word"}.get(messages[0]["content"])
        first = next(m["content"] for m in messages if m["role"] == "user")
        assert reply_is_right(first, next(m["content"] for m in messages if m["role"] == "assistant"), style)


# --- verse


@pytest.mark.parametrize("split,file", [("train", "sonnets"), ("dev", "TRUE_sonnets_held_out_dev"), ("test", "TRUE_sonnets_held_out")])
def test_verse_has_its_form(tiny_data, split, file):
    poems = [p.split("\n") for p in re.findall(r"(?:^|\n)\d+\n\n((?:.+\n){14})(?=\n|$)", read(tiny_data, f"sonnets/{file}.txt") + "\n")]
    rhyme = {word: i for i, words in enumerate(verse.RHYMES) for word in words}
    lengths = {word: n for n, kinds in ((1, ("a", "n", "v")), (2, ("aa", "nn", "vv"))) for kind in kinds for word in verse.WORDS[kind]} | {"ever": 2, "beside": 2, "into": 2, "until": 2}
    for poem in poems:
        ends = [rhyme[line.rstrip(",.").split()[-1]] for line in poem[:14]]
        assert ends[:4] == [ends[0], ends[1]]*2 and ends[4:8] == [ends[4], ends[5]]*2 and ends[8:12] == [ends[8], ends[9]]*2 and ends[12] == ends[13]
        assert len(set(ends)) == 7
        for line in poem[:14]: assert sum(lengths.get(w.lower(), 1) for w in re.findall(r"\w+", line)) == 10, line
    assert len(poems) == SIZES["sonnets"][SPLITS.index(split)]


# --- what the splits share


FOLDERS = {"propaganda": ("train", "test"), "sst": ("ids-sst-train.csv", "ids-sst-test-student.csv"), "quora": ("quora-train.csv", "quora-test-student.csv"),
           "liar_plus": ("train2.jsonl", "test2.jsonl"), "liar2": ("train.csv", "test.csv"), "smoltalk": ("train.jsonl", "test.jsonl"),
           "gsm8k": ("train.jsonl", "test.jsonl"), "fever_symmetric": ("train.jsonl", "test.jsonl"), "ultrafeedback": ("train.jsonl", "test.jsonl")}


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_name_is_on_two_sides(tiny_data, folder):
    known = set(sum(WORLD.surnames.values(), [])) | set(sum(WORLD.towns.values(), []))
    def text(part): return "".join(p.read_text("utf-8") for p in sorted((tiny_data/folder).rglob("*.*")) if f"{part}-articles" in str(p) or p.name == part)
    train, test = (known & set(re.findall(r"[A-Za-z]+", text(part))) for part in FOLDERS[folder])
    assert len(train) > 15 and len(test) > 8 and not train & test


def test_test_rhymes_are_new(tiny_data):
    ends = [set(re.findall(r"(\w+)[,.]$", read(tiny_data, f"sonnets/{file}.txt"), re.M)) for file in ("sonnets", "TRUE_sonnets_held_out")]
    assert all(len(e) > 20 for e in ends) and not ends[0] & ends[1]


def test_the_text_for_pretraining_has_no_row_of_a_task(tiny_data):
    from ftlib.tasks.corpus import documents
    text = "\n".join(documents(WORLD, 4000, seed=5))
    apart = [who for split in SPLITS for who in WORLD.people[split]]
    assert not [who for who in apart if who in text]
    assert not [name for names in CELL.values() for name in names if name in text] and "Verdict:" not in text
