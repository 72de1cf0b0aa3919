"""Notebooks as nbdev prepared them become pages: what Sphinx shall show, alternative texts, folded signatures, links, and the table of contents."""
import json
import re
import shutil
from dataclasses import dataclass

from readme import DIRECTIVE, ROOT, blocks, results, text

NBS = ROOT/"nbs"
PARTS = {"": "Chapters", "tutorials": "Tutorials", "exercises": "Bug hunts", "tasks": "Tasks"}
EXTRA = {"CHANGELOG.md": "changelog", "CONTRIBUTING.md": "contributing"}
COLAB = "https://colab.research.google.com/github/{repo}/blob/main/nbs/{name}"


@dataclass
class Page:
    name: str          # path below nbs/, without .ipynb
    title: str
    subtitle: str
    module: str        # what it exports, or nothing


def directives(cell):
    "The words after #| in a cell, and what follows them."
    return {m[1]: m[2].strip() for line in text(cell["source"]).split("\n") if (m := DIRECTIVE.match(line))}


def describe(path):
    "Title, subtitle and module of a notebook."
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    first = next(text(c["source"]) for c in cells if c["cell_type"] == "markdown")
    module = next((d["default_exp"] for c in cells if "default_exp" in (d := directives(c))), "")
    subtitle = re.search(r"^> (.*)$", first, flags=re.M)
    return Page(path.relative_to(NBS).with_suffix("").as_posix(), first.split("\n")[0].lstrip("# "), subtitle[1] if subtitle else "", module.removesuffix(".__init__"))


def known(path):
    "The names of ftlib that a notebook imports, each with its module."
    found = {}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] != "code": continue
        for module, names in re.findall(r"^\s*from ftlib\.([\w.]+) import ([\w, ]+)", text(cell["source"]), flags=re.M):
            found |= {name.split(" as ")[0].strip(): module for name in names.split(",")}
    return found


def linked(markdown, page, names, repo):
    """Links as Sphinx wants them. nbdev links every word in backticks that some module exports, a split called `train` too: a link stays
    where the notebook imports or makes that very name. Links out of nbs/ lead to the pages that hold these files."""
    def turn(match):
        word, module = match[1], match[2].replace("/", ".").removesuffix(".index")
        here = re.fullmatch(r"[\w.]+", word) and module in (page.module, names.get(word.split(".")[0]))
        return f"{{py:obj}}`{word} <ftlib.{module}.{word}>`" if here else f"`{word}`"
    def outside(match):
        if match[2] in EXTRA: return f"[{match[1]}]({up}{EXTRA[match[2]]}.md)"
        return f"[{match[1]}](https://github.com/{repo}/tree/main/{match[2]})" if repo else match[1]
    up = "../"*page.name.count("/")
    markdown = re.sub(r"\[\[(`[^`\]]+`)\]\(/[\w./]+\.html#[\w.]+\)([^\]]*)\]\(", r"[\1\2](", markdown)      # a link inside a link would be empty
    markdown = re.sub(r"\[`([^`\]]+)`\]\(/([\w./]+)\.html#[\w.]+\)", turn, markdown)
    return re.sub(rf"\[([^\]]+)\]\({re.escape(up)}\.\./((?!\.\.)[\w./-]+)\)", outside, markdown)


def markdown_cell(source): return {"cell_type": "markdown", "metadata": {}, "source": source}


def opening(page, first, repo):
    "The first cell, which nbdev keeps only the title of, with links to the notebook itself under the subtitle."
    up = "../"*page.name.count("/")
    links = f'<a href="{up}notebooks/{page.name}.ipynb" download>Download the notebook</a>'
    if repo:
        first_run = f"There, first run: %pip install git+https://github.com/{repo}"
        links += f'<a href="{COLAB.format(repo=repo, name=page.name + ".ipynb")}" title="{first_run}">Open in Colab</a>'
    lines = first.split("\n")
    at = next((i + 1 for i, line in enumerate(lines) if line.startswith("> ")), 1)
    return "\n".join([*lines[:at], "", f'<p class="page-links">{links}</p>', "", *lines[at:]])


def signature(cell):
    "What `show_doc` said, folded, without its heading and its link to a file on a server."
    shown = "\n".join(text(o["data"]["text/markdown"]) for o in cell.get("outputs", []) if "text/markdown" in o.get("data", {}))
    if not (name := re.search(r"^#{2,4} (.+)$", shown, flags=re.M)): return None
    body = re.sub(r"^(---|\[source\].*|#{2,4} .*)$", "", shown, flags=re.M).strip()
    return f'<details class="signature"><summary>Signature of <code>{name[1]}</code></summary>\n\n{body}\n\n</details>'


def code_cell(cell, order):
    "A code cell without directives: figures described, cells for a GPU and exported ones marked."
    found, source = directives(cell), text(cell["source"])
    tags = [tag for name, tag in (("cuda", "cuda"), ("slow", "slow"), ("exports", "exported")) if name in found]
    cell["source"] = "\n".join(line for line in source.split("\n") if not DIRECTIVE.match(line)).strip("\n")
    cell["metadata"], cell["execution_count"] = {"tags": tags}, order
    cell.pop("id", None)
    if "fig-alt" in found: cell["metadata"]["mystnb"] = {"image": {"alt": found["fig-alt"].strip('"')}}
    for out in cell["outputs"]:
        out.get("data", {}).pop("application/vnd.ftlib.result+json", None)
        if "image/png" in out.get("data", {}): out["data"].pop("text/plain", None)
    return cell


def page_cells(notebook, page, repo):
    "The cells of a page, the definition before its signature."
    first = next(text(c["source"]) for c in json.loads((NBS/f"{page.name}.ipynb").read_text(encoding="utf-8"))["cells"] if c["cell_type"] == "markdown")
    names = known(NBS/f"{page.name}.ipynb")
    cells = [markdown_cell(linked(opening(page, first, repo), page, names, repo))]
    waiting = []
    for order, cell in enumerate(notebook["cells"]):
        source = text(cell["source"])
        if cell["cell_type"] == "raw" or "AUTOGENERATED! DO NOT EDIT" in source[:60] or "\n_all_ = " in source: continue
        if cell["cell_type"] == "markdown": cells.append(markdown_cell(linked(source, page, names, repo)))
        elif re.search(r"^show_doc\(", source, flags=re.M):
            if shown := signature(cell): waiting.append(markdown_cell(linked(shown, page, names, repo)))
        elif directives(cell).get("echo") == "false": cells += [markdown_cell(linked(shown, page, names, repo)) for shown in results(cell)]
        else:
            linking = [o for o in cell["outputs"] if ".ipynb)" in text(o.get("data", {}).get("text/markdown", ""))]     # links in an output stay as they are
            cell["outputs"] = [o for o in cell["outputs"] if o not in linking]
            cells.append(code_cell(cell, order))
            cells += [markdown_cell(linked(text(o["data"]["text/markdown"]), page, names, repo)) for o in linking]
            if "exported" in cell["metadata"]["tags"]:
                cells += waiting
                waiting = []
    return cells


def in_order(pages, folder):
    "The pages of a folder in the order in which the front page's lists name them, its index first and those it does not name last."
    front = "".join(blocks(json.loads((NBS/"index.ipynb").read_text(encoding="utf-8"))))
    named = list(dict.fromkeys(reversed(re.findall(r"\]\(([\w/]+)\.ipynb", front))))[::-1]      # the last mention: tables of results come before the lists
    place = {name: i for i, name in enumerate(named)}
    mine = [p for p in pages if p.name.rpartition("/")[0] == folder and p.name != "index"]
    return sorted(mine, key=lambda p: (not p.name.endswith("/index"), place.get(p.name, len(named)), p.name))


def contents(pages):
    "The hidden tables of contents that make the sidebar and the order of the pages."
    number = lambda p: f"{p.name[:2]} · {p.title} <{p.name}>" if re.match(r"\d\d_", p.name) else p.name
    parts = {caption: [number(p) for p in in_order(pages, folder) if p.name != "results"] for folder, caption in PARTS.items()}
    parts["Reference"] = ["reference/index", *(f"reference/{p.module}" for p in pages if p.module)]
    parts["Project"] = ["results", *EXTRA.values()]
    for caption, entries in parts.items(): yield f"\n\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n" + "\n".join(entries) + "\n```"


def write(made, source, repo):
    "Sources of all pages of notebooks, from what nbdev made; the pages."
    pages = [describe(path) for path in sorted(NBS.rglob("*.ipynb")) if not any(part.startswith((".", "_")) for part in path.relative_to(NBS).parts)]
    for page in pages:
        notebook = json.loads((made/f"{page.name}.ipynb").read_text(encoding="utf-8"))
        cells = page_cells(notebook, page, repo)
        if page.name == "index": cells.append(markdown_cell("".join(contents(pages))))
        target = source/f"{page.name}.ipynb"
        target.parent.mkdir(parents=True, exist_ok=True)
        metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}, "language_info": {"name": "python"}}
        target.write_text(json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 4}), encoding="utf-8")
    for file, name in EXTRA.items():
        (source/f"{name}.md").write_text("---\nnosearch: true\n---\n\n" + (ROOT/file).read_text(encoding="utf-8"), encoding="utf-8")
    shutil.copy2(ROOT/"docs"/"404.md", source)
    return pages


def finish(source, site, pages, base):
    "What a static site has beside its pages: the notebooks to download, every page as Markdown, and llms.txt."
    lines = ["# ftlib", "", f"> {next(p.subtitle for p in pages if p.name == 'index')}", ""]
    for folder, caption in PARTS.items():
        lines += [f"## {caption}", "", *(f"- [{p.title}]({p.name}.md): {p.subtitle}" for p in in_order(pages, folder)), ""]
    lines += ["## Reference", "", *(f"- [ftlib.{p.module}](reference/{p.module}.md): {p.subtitle}" for p in pages if p.module), ""]
    (site/"llms.txt").write_text("\n".join(lines), encoding="utf-8")
    for path in site.rglob("*.html"):                      # what the theme and Sphinx leave out
        html = path.read_text(encoding="utf-8").replace('class="caption" role="heading">', 'class="caption" role="heading" aria-level="2">')
        if path.name == "404.html": html = html.replace('href="index.html"', f'href="{base}index.html"')     # it is shown at any address
        path.write_text(html, encoding="utf-8")
    for page in pages:
        original = NBS/f"{page.name}.ipynb"
        (site/"notebooks"/page.name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(original, site/"notebooks"/f"{page.name}.ipynb")
        (site/f"{page.name}.md").write_text("\n\n".join(blocks(json.loads(original.read_text(encoding="utf-8")), exported=True)) + "\n", encoding="utf-8")
    for path in (source/"reference").glob("*.md"): shutil.copy2(path, site/"reference"/path.name)
