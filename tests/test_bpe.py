"The tokenizer that the tutorial builds, taken from its cells, against the `tokenizers` library on much more than the tutorial shows."
import ast
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sources import NBS, read_notebook
from test_exercises import HEAD

ODD = "'  \t\n\r\u00a0\u2028\u200b\u0301½²Ⅷ٣日🙂é_-sStTdDmMlLvVrReEaA19\x1c\x85"


@pytest.fixture(scope="module")
def tutorial():
    "The names that the tutorial defines, without running its examples."
    space = {}
    for cell in read_notebook(NBS/"tutorials"/"bpe.ipynb"):
        if cell.kind != "code" or HEAD.match(cell.body.strip().split("\n")[0]): continue
        body = ast.parse(cell.python).body
        definitions = (ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)
        if isinstance(body[0], definitions) or "GPT2_PIECES =" in cell.python: exec(cell.python, space)
    return space


def library(text, size):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    bpe.train_from_iterator([text], trainers.BpeTrainer(vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    return bpe


@settings(max_examples=60, deadline=None)
@given(text=st.text(st.sampled_from("aab bc\n'é1"), min_size=1, max_size=300))
def test_training_equals_the_library(tutorial, text):
    "Few letters make many ties, runs and symbols that two merges lead to."
    words = tutorial["count_words"](text)
    naive, fast = tutorial["train_naive"](words, 320), tutorial["train"](words, 320)
    assert naive == fast
    theirs = json.loads(library(text, 320).to_str())["model"]
    assert [tuple(pair) for pair in theirs["merges"]] == fast[0] and theirs["vocab"] == fast[1]


@pytest.fixture(scope="module")
def gpt2(tutorial, shared_data):
    "GPT-2's own tokenizer: the library's, and ours from the same merges."
    from tokenizers import Tokenizer
    file = shared_data/"gpt2_tokenizer"/"tokenizer.json"
    model = json.loads(file.read_text(encoding="utf-8"))["model"]
    merges = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
    return tutorial["BPE"](merges, model["vocab"]), Tokenizer.from_file(str(file))


@settings(max_examples=300, deadline=None)
@given(text=st.one_of(st.text(max_size=40), st.text(st.sampled_from(ODD), max_size=40)))
def test_gpt2_on_any_text(gpt2, text):
    ours, theirs = gpt2
    ids = ours.encode(text)
    assert ids == theirs.encode(text).ids
    assert ours.decode(ids) == text


@pytest.mark.parametrize("name", ["wikitext2", "tinyshakespeare"])
def test_gpt2_on_real_text(gpt2, shared_data, name):
    ours, theirs = gpt2
    text = (shared_data/"text"/f"{name}.txt").read_text(encoding="utf-8")[:150_000]
    assert ours.encode(text) == theirs.encode(text).ids
    assert ours.decode(ours.encode(text)) == text
