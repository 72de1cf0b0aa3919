"Pictures with choices and results that a program can read: what is saved, what is live, and what is refused."
import ast
import base64
import copy
import json
import math
import subprocess
import sys
from pathlib import Path

import matplotlib
import nbformat
import numpy as np
import pytest
import torch
from nbdev.clean import clean_nb
from sources import LIB, NBS, ROOT, notebooks, read_notebook, short

from ftlib.figures import RESULT, before_after, explore, read_results, sliders

matplotlib.use("agg")
WIDGET = "application/vnd.jupyter.widget-view+json"
CELLS = ["from ftlib.figures import before_after, explore, is_live, sliders",
         "def draw(ax, power, sign=1): ax.plot([0, 1, 2], [sign*x**power for x in (0, 1, 2)])",
         "explore(draw, size=(1, 1), power=[1, 2, 3], sign=[-1, 1])",
         "bar, other, picture = sliders(draw, {'power': [1, 2, 3], 'sign': [-1, 1]}).children\n"
         "before, bar.value = picture.value, 0\nis_live(), before != picture.value, other.description",
         "before_after('LoRA', 'FEVER twin', 'accuracy', 1/3, 0.96, n=600, interval=(0.95, 0.98))"]


def draw(ax, r, alpha=1): ax.plot([0, 1], [0, r*alpha])


def test_a_panel_for_each_value_of_the_first_choice():
    import matplotlib.pyplot as plt
    others = plt.get_fignums()
    fig = explore(draw, size=(1, 1), columns=2, r=[1, 2, 4], alpha=[0.5, 3, 7])
    assert [ax.get_title() for ax in fig.axes] == ["r = 1", "r = 2", "r = 4", ""]
    assert [ax.lines[0].get_ydata()[1] for ax in fig.axes[:3]] == [3, 6, 12]           # alpha at its middle value
    assert fig.get_suptitle() == "alpha = 3" and tuple(fig.get_size_inches()) == (2, 2)
    assert not fig.axes[3].axison and plt.get_fignums() == others                             # nothing is left open to be shown twice
    assert not explore(draw, size=(1, 1), r=(1.0, 0.25)).get_suptitle()


def test_values_may_be_tensors():
    bar, picture = sliders(draw, {"r": [torch.tensor([1., 2.]).sum(), torch.tensor(5.)]}).children
    assert bar.value == 1 and bytes(picture.value).startswith(b"\x89PNG")


@pytest.mark.parametrize("what,choices,says", [
    (draw, {}, "explore needs at least one choice"), (draw, {"r": [1]}, r"r = \[1\] must be a list of at least two values"),
    (draw, {"r": [1, 2], "alpha": []}, r"alpha = \[\] must be"), (draw, {"r": 3}, "r = 3 must be"), (draw, {"r": "abc"}, "r = 'abc' must be"),
    ("draw", {"r": [1, 2]}, "draw = 'draw' must be a function")])
def test_what_cannot_be_explored_is_told(what, choices, says):
    with pytest.raises(ValueError, match=says) as caught: explore(what, **choices)
    assert "\n" not in str(caught.value)


def test_nothing_heavy_is_imported():
    code = "import sys, ftlib.figures; print({'matplotlib', 'ipywidgets', 'IPython', 'numpy', 'torch'} & set(sys.modules), ftlib.figures.is_live())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout.strip() == "set() False"


# --- the two ways of running a notebook


def tiny(folder):
    "A notebook of the cells above, in a file."
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS])
    nb.metadata["kernelspec"] = {"name": "python3", "display_name": "python3", "language": "python"}
    nbformat.write(nb, folder/"tiny.ipynb")
    return folder/"tiny.ipynb"


def data(path):
    "What each cell of a notebook shows."
    return [[out.get("data", {}) for out in cell.outputs] for cell in nbformat.read(path, 4).cells]


def is_result(shown):
    "The table, the line and the record of the last cell, in one output."
    assert shown[RESULT] == {"technique": "LoRA", "task": "FEVER twin", "score": "accuracy", "before": 1/3, "after": 0.96, "n": 600,
                             "interval": [0.95, 0.98]}
    assert shown["text/plain"] == "LoRA on FEVER twin: accuracy 0.333 → 0.960 [0.950, 0.980] (n = 600)"
    assert "".join(shown["text/markdown"]).split("\n") == ["| technique | task | score | before | after [interval] | n |", "| --- | --- | --- | --: | --: | --: |",
                                                          "| LoRA | FEVER twin | accuracy | 0.333 | 0.960 [0.950, 0.980] | 600 |"]


def test_nbdev_saves_a_picture_and_no_widget(tmp_path):
    "The runner that saves the course's notebooks; about 4 s."
    path = tiny(tmp_path)
    (tmp_path/"pyproject.toml").write_text('[project]\nname = "t"\nversion = "0"\n[tool.nbdev]\nlib_path = "t"\nnbs_path = "."\n')
    done = subprocess.run([Path(sys.executable).parent/"nbdev-test", path, "--save", "--n-workers", "0"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    _, _, picture, live, result = data(path)
    assert [set(shown) for shown in picture] == [{"image/png", "text/plain"}]
    assert "(False, True, 'sign')" in live[0]["text/plain"]
    is_result(result[0])
    cleaned = nbformat.read(path, 4)
    clean_nb(cleaned)
    is_result(cleaned.cells[-1].outputs[0].data)
    assert [r["notebook"] for r in read_results(tmp_path)] == ["tiny.ipynb"]


def test_a_kernel_shows_sliders_above_the_picture(tmp_path):
    "A real kernel, as JupyterLab's; about 6 s."
    from nbclient import NotebookClient
    path = tiny(tmp_path)
    nb = nbformat.read(path, 4)
    NotebookClient(nb, timeout=60, kernel_name="python3").execute()
    nbformat.write(nb, path)
    _, _, picture, live, result = data(path)
    assert [WIDGET in shown for shown in picture] == [True, False] and "image/png" in picture[1]
    assert base64.b64decode(picture[1]["image/png"]).startswith(b"\x89PNG")
    assert live[0]["text/plain"] == "(True, True, 'sign')"
    is_result(result[0])


# --- results


def test_numbers_are_plain():
    result = before_after("LoRA", "a twin", "accuracy", torch.tensor(0.25), np.float32(0.5), n=np.int64(7), interval=np.array([0.4, 0.6]))
    record = result._repr_mimebundle_()[RESULT]
    assert [type(record[k]) for k in ("before", "after", "n", "interval")] == [float, float, int, list]
    with pytest.raises(AttributeError): result.after = 1
    assert result._repr_markdown_().endswith("| 0.250 | 0.500 [0.400, 0.600] | 7 |")
    assert str(before_after("SFT", "a | b", "chrF", 14.8, 1234.56)) == "SFT on a | b: chrF 14.8 → 1,234.6"
    assert before_after("SFT", "a | b", "chrF", 14.8, 99)._repr_markdown_().endswith("| SFT | a \\| b | chrF | 14.8 | 99.0 | – |")


@pytest.mark.parametrize("change,says", [
    ({"before": math.nan}, "before = nan must be a finite number"), ({"after": math.inf}, "after = inf must be a finite number"),
    ({"after": "0.9"}, "after = '0.9' must be a finite number"), ({"after": None}, "after = None must be"), ({"after": [1, 2]}, r"after = \[1, 2\] must be"),
    ({"technique": ""}, "technique = '' must be words on one line"), ({"task": "a\nb"}, "task = .* must be words"), ({"score": None}, "score = None must be words"),
    ({"n": 0}, "n = 0 must be a whole number, at least 1"), ({"n": 1.5}, "n = 1.5 must be"), ({"n": True}, "n = True must be"),
    ({"interval": (0.9, 0.1)}, "two finite numbers, the lower one first"), ({"interval": (0.9,)}, "two finite numbers"),
    ({"interval": (0.1, math.nan)}, "two finite numbers"), ({"interval": 0.5}, "two finite numbers")])
def test_what_is_no_result_is_told(change, says):
    fields = {"technique": "LoRA", "task": "a twin", "score": "accuracy", "before": 0.1, "after": 0.2} | change
    with pytest.raises(ValueError, match=says) as caught: before_after(**fields)
    assert "\n" not in str(caught.value)


def saved(path, *results):
    "A notebook with these results, a printed line and prose."
    shown = [{"output_type": "stream", "text": "hello"}] + [{"output_type": "execute_result", "data": r._repr_mimebundle_()} for r in results]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"cells": [{"cell_type": "markdown", "source": ""}, {"cell_type": "code", "outputs": shown}]}))


def test_results_are_read_in_order_from_every_folder(tmp_path):
    made = [before_after("LoRA", f"task {i}", "accuracy", 0.1, i/10, n=i, interval=(0, 1)) for i in range(1, 5)]
    saved(tmp_path/"b.ipynb", made[1], made[0])
    saved(tmp_path/"a"/"c.ipynb", made[2])
    saved(tmp_path/"a.ipynb")
    saved(tmp_path/".ipynb_checkpoints"/"b.ipynb", made[3])
    found = read_results(tmp_path)
    assert [(r["notebook"], r["task"]) for r in found] == [("a/c.ipynb", "task 3"), ("b.ipynb", "task 2"), ("b.ipynb", "task 1")]
    assert found == read_results(str(tmp_path)) and found[0]["interval"] == [0, 1]


def test_what_cannot_be_read_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no notebook in"): read_results(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no notebook in"): read_results(tmp_path/"none")
    result = before_after("LoRA", "a twin", "accuracy", 0.1, 0.2)._repr_mimebundle_()
    strange = copy.deepcopy(result)
    strange[RESULT]["after"] = "much"
    extra = copy.deepcopy(result)
    extra[RESULT]["colour"] = "red"
    cells = lambda shown: json.dumps({"cells": [{"outputs": [{"data": shown}]}]})
    for text in ("", "{", "[]", '{"cells": 3}', cells(strange), cells(extra), cells({RESULT: 3}), '{"cells": [3]}'):
        (tmp_path/"x.ipynb").write_text(text)
        with pytest.raises(ValueError, match=r"x\.ipynb is not a notebook whose results can be read") as caught: read_results(tmp_path)
        assert "\n" not in str(caught.value)


# --- in the course


TECHNIQUES = {"temperature scaling", "classification", "LoRA", "ReFT", "SFT", "RLOO", "DPO", "reward model"}


def test_the_courses_results_name_known_techniques():
    found = read_results(NBS)
    assert {r["technique"] for r in found} <= TECHNIQUES and len(found) >= 15


def test_numbers_are_computed():
    "Nobody types a result: before and after name something."
    found = 0
    for nb in notebooks():
        for c in read_notebook(nb):
            if c.kind != "code" or c.exported: continue
            for call in (n for n in ast.walk(ast.parse(c.python)) if isinstance(n, ast.Call) and ast.unparse(n.func) == "before_after"):
                typed = [a for a in call.args[3:5] if not any(isinstance(n, ast.Name) for n in ast.walk(a))]
                assert not typed, f"{short(nb)}, cell {c.id} types {[*map(ast.unparse, typed)]}"
                found += 1
    assert found >= 15


def test_no_notebook_saves_a_dead_widget():
    assert not [short(nb) for nb in notebooks() for c in read_notebook(nb) for out in c.outputs if WIDGET in out.get("data", {})]


def test_every_slider_has_its_picture_and_says_what_it_shows():
    for nb in notebooks():
        for c in read_notebook(nb):
            if c.kind != "code" or c.exported or not c.body.strip().split("\n")[-1].startswith("explore("): continue
            assert [set(out["data"]) for out in c.outputs] == [{"image/png", "text/plain"}], f"{short(nb)}, cell {c.id}"
            alt = c.source.split("\n")[0]
            assert alt.startswith("#| fig-alt: ") and len(alt) <= 212 and ": " not in alt.removeprefix("#| fig-alt: "), f"{short(nb)}, cell {c.id}"


def test_optional_packages_are_imported_inside_functions():
    top = [n for n in ast.parse((LIB/"figures.py").read_text(encoding="utf-8")).body if isinstance(n, (ast.Import, ast.ImportFrom))]
    assert not {"matplotlib", "ipywidgets", "IPython"} & {a.name.split(".")[0] for n in top for a in n.names}
