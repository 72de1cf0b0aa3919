"""Make README.md from nbs/index.ipynb: `python docs/readme.py`, or `--check` to compare only.

Markdown cells stay as they are, code cells become fenced blocks, and their text results follow as indented blocks.
Cells marked `#| hide` are left out, and links to other notebooks are turned so that they work from the project's root.
"""
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INDEX, README = ROOT/"nbs"/"index.ipynb", ROOT/"README.md"
DIRECTIVE = re.compile(r"^\s*#\s*\|\s*([\w-]+)\s*:?\s*(.*)$")
NOTE = "<!-- made from nbs/index.ipynb by docs/readme.py; edit the notebook -->"


def text(lines):
    "A notebook keeps text as one string or as a list of lines."
    return lines if isinstance(lines, str) else "".join(lines)


def from_root(markdown):
    "Links of the notebook, which lies in nbs/, as the project's root sees them."
    def turn(match):
        link = match[1]
        if re.match(r"[a-z]+:|[#/]", link): return match[0]
        return f"]({link[3:] if link.startswith('../') else 'nbs/' + link})"
    return re.sub(r"\]\(([^)\s]+)\)", turn, markdown)


def results(cell):
    "The text a code cell showed: markdown as it is, anything else indented."
    for out in cell.get("outputs", []):
        data = out.get("data", {})
        if "text/markdown" in data: yield text(data["text/markdown"]).strip()
        else:
            shown = text(out.get("text") or data.get("text/plain") or "").rstrip()
            if shown: yield "\n".join(f"    {line}".rstrip() for line in shown.split("\n"))


def blocks(notebook, exported=False, turn=lambda markdown: markdown):
    "The pieces of a notebook as Markdown, in order, its exported cells with them or not."
    left_out = {"hide", "default_exp"} | (set() if exported else {"export"})
    for cell in notebook["cells"]:
        lines = text(cell["source"]).split("\n")
        directives = {m[1] for line in lines if (m := DIRECTIVE.match(line))}
        body = "\n".join(line for line in lines if not DIRECTIVE.match(line)).strip()
        if not body or directives & left_out and cell["cell_type"] == "code" or "hide" in directives: continue
        if cell["cell_type"] == "markdown": yield turn(body)
        elif cell["cell_type"] == "code":
            if "echo" not in directives: yield f"```python\n{body}\n```"
            yield from map(turn, results(cell))


def readme():
    "The whole README as one string."
    return "\n\n".join([NOTE, *blocks(json.loads(INDEX.read_text(encoding="utf-8")), turn=from_root)]) + "\n"


if __name__ == "__main__":
    made = readme()
    if "--check" in sys.argv[1:]:
        if README.read_text(encoding="utf-8") != made: sys.exit("README.md differs from nbs/index.ipynb: run python docs/readme.py")
    else: README.write_text(made, encoding="utf-8")
