"""Every exercise can be failed and solved: its starter fails the check, the solution shown under it passes, and so does a second one.

An exercise is three cells (`# exercise 2.1: starter`, `# exercise 2.1: check`, a collapsed `Solution 2.1`) and a file
tests/exercises/ex_2_1.py. They run with what the notebook's import cells import and what it exports, and nothing else of it.
"""
import ast
import importlib
import re
import runpy
from dataclasses import dataclass
from pathlib import Path

import pytest
from sources import NBS, exports_to, notebooks, output_text, read_notebook, short
from wrong_fixes import WRONG

SECOND = Path(__file__).parent/"exercises"
HEAD = re.compile(r"# exercise ([\w.]+): (starter|check)\s*$")
SOLUTION = re.compile(r"<details>\s*<summary>Solution ([\w.]+)</summary>\s*\n\s*\n?```python\n(.*?)\n```.*?</details>", re.S)
TAG = re.compile(r"Exercise ([\w.]+)\b.*?\(≈ ?\d+ min, (easy|medium|hard)[^)]*\)", re.S)


@dataclass
class Exercise:
    notebook: Path
    id: str
    starter: str = ""
    check: str = ""
    solution: str = ""
    task: str = ""
    shown: str = ""      # the saved output of the check

    @property
    def tail(self): return self.id.replace(".", "_")

    def split_check(self):
        "The check cell without its `attempt` line, and the name of the answer."
        body = ast.parse(self.check).body
        last = body[-1]
        assert isinstance(last, ast.Expr) and isinstance(last.value, ast.Call) and ast.unparse(last.value.func) == "attempt", \
            f"the check of {self.id} must end in attempt(check_{self.tail}, answer)"
        checker, answer = map(ast.unparse, last.value.args)
        assert checker == f"check_{self.tail}", f"{self.id} attempts {checker}"
        return ast.unparse(ast.Module(body[:-1], [])), answer


def read_exercises(nb):
    "The exercises of a notebook by id."
    found = {}
    get = lambda id: found.setdefault(id, Exercise(nb, id))
    for c in read_notebook(nb):
        if c.kind == "code" and (m := HEAD.match(c.body.strip().split("\n")[0])):
            assert not getattr(get(m[1]), m[2]), f"{short(nb)} has two cells {m[0]}"
            setattr(get(m[1]), m[2], c.python)
            if m[2] == "check": get(m[1]).shown = "".join(output_text(c))
        elif c.kind == "markdown":
            for m in SOLUTION.finditer(c.source): get(m[1]).solution = m[2]
            for m in TAG.finditer(c.source): get(m[1]).task = c.source
    return found


def import_cells(nb):
    "The cells of a notebook that hold only imports, those for a GPU or a long run left out."
    for c in read_notebook(nb):
        if c.kind != "code" or {"cuda", "slow"} & c.directives.keys(): continue
        body = ast.parse(c.python).body
        if body and all(isinstance(n, (ast.Import, ast.ImportFrom)) for n in body): yield c.python


def exported(nb):
    "The public names of the module that a notebook exports."
    name = exports_to(nb)
    if not name: return {}
    module = importlib.import_module(f"ftlib.{name.removesuffix('.__init__')}")
    return {n: getattr(module, n) for n in module.__all__}


ALL = [e for nb in notebooks() for e in read_exercises(nb).values()]
each = pytest.mark.parametrize("exercise", ALL, ids=lambda e: f"{e.notebook.stem}-{e.id}")
HUNTS = [nb for nb in notebooks() if nb.parent.name == "exercises" and nb.name != "index.ipynb"]
CHAPTERS = [nb for nb in notebooks() if re.match(r"\d\d_", nb.name) or nb.parent.name == "tutorials" or nb.name == "world.ipynb"]


@pytest.fixture
def fresh(exercise, monkeypatch):
    "A namespace with the notebook's imports, in the notebook's folder."
    import numpy as np
    import torch
    monkeypatch.chdir(exercise.notebook.parent)
    torch.manual_seed(0)
    np.random.seed(0)
    space = {"__name__": "exercise"} | exported(exercise.notebook)
    for code in import_cells(exercise.notebook): exec(compile(code, short(exercise.notebook), "exec"), space)
    check, answer = exercise.split_check()
    exec(compile(exercise.starter, f"starter {exercise.id}", "exec"), space)
    exec(compile(check, f"check {exercise.id}", "exec"), space)
    return space, space[f"check_{exercise.tail}"], answer


@each
def test_starter_fails(exercise, fresh):
    space, check, answer = fresh
    with pytest.raises(Exception): check(space[answer])


@each
def test_a_chapter_opens_unsolved(exercise): assert "not yet" in exercise.shown


@each
def test_solution_passes(exercise, fresh):
    space, check, answer = fresh
    before = space.pop(answer)
    exec(compile(exercise.solution, f"solution {exercise.id}", "exec"), space)
    assert space[answer] is not before
    check(space[answer])


@each
def test_second_solution_passes(exercise, fresh):
    _, check, answer = fresh
    check(runpy.run_path(str(SECOND/f"ex_{exercise.tail}.py"))[answer])


@each
def test_exercise_is_whole(exercise):
    missing = [part for part in ("task", "starter", "check", "solution") if not getattr(exercise, part)]
    assert not missing, f"exercise {exercise.id} of {short(exercise.notebook)} lacks its {missing}"
    second = SECOND/f"ex_{exercise.tail}.py"
    assert second.is_file(), f"exercise {exercise.id} has no second solution {second.name}"
    shown = [ast.dump(ast.parse(code)) for code in (exercise.starter, exercise.solution, second.read_text(encoding="utf-8"))]
    assert len(set(shown)) == 3, "starter, solution and second solution must differ"


@pytest.mark.parametrize("nb", CHAPTERS, ids=short)
def test_chapter_has_three_exercises(nb): assert len(read_exercises(nb)) >= 3


# --- bug hunts: nbs/exercises


@pytest.mark.parametrize("nb", HUNTS, ids=short)
def test_a_bug_hunt_is_whole(nb):
    "One exercise, two hints or more before the solution, an upstream thread or repository, and its line in the index."
    text = "\n".join(c.source for c in read_notebook(nb) if c.kind == "markdown")
    assert [bool(re.fullmatch(r"hunt\.\d+", id)) for id in read_exercises(nb)] == [True]
    assert text.count("<summary>Hint ") >= 2 and text.rfind("<summary>Hint ") < text.find("<summary>Solution ")
    assert re.search(r"\]\(https://github\.com/[\w.-]+/[\w.-]+(/(issues|pull)/\d+)?\)", text), "where was this bug met?"
    assert f"]({nb.name})" in "".join(c.source for c in read_notebook(nb.with_name("index.ipynb")))


@pytest.mark.parametrize("exercise, code", [(e, code) for id, _, code in WRONG for e in ALL if e.id == id], ids=[f"{id}: {idea}" for id, idea, _ in WRONG])
def test_a_wrong_fix_is_caught(exercise, code, fresh):
    space, check, answer = fresh
    before = space[answer]
    exec(compile(code, f"wrong fix of {exercise.id}", "exec"), space)
    assert space[answer] is not before
    with pytest.raises(AssertionError): check(space[answer])


def test_bug_hunts_are_many_and_numbered():
    numbers = sorted(int(id.split(".")[1]) for nb in HUNTS for id in read_exercises(nb))
    assert len(HUNTS) >= 8 and numbers == list(range(1, len(HUNTS) + 1))
    assert {f"hunt.{n}" for n in numbers} == {id for id, _, _ in WRONG}, "each has a wrong fix that its check refuses"


def test_ids_are_unique_and_no_solution_is_left_over():
    ids = [e.tail for e in ALL]
    assert len(ids) == len(set(ids))
    assert {p.stem.removeprefix("ex_") for p in SECOND.glob("ex_*.py")} <= set(ids)


def test_chapter_number_is_the_notebooks():
    wrong = [(short(e.notebook), e.id) for e in ALL if re.match(r"\d\d_", e.notebook.name) and e.id.split(".")[0] != str(int(e.notebook.name[:2]))]
    assert not wrong
    assert NBS.is_dir()
