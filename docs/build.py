"""Make the site from the notebooks, offline: `uv run python docs/build.py`; then open _docs/index.html, or serve the folder.

nbdev executes the exported cells of every notebook and makes signatures and cross-links (`nbdev.serve.proc_nbs`, which is
`nbdev-proc-nbs`), pages.py turns what comes out into pages, reference.py writes a page for each module, and Sphinx with MyST-NB renders
them into a folder that needs no server and asks no other host for anything. No notebook is run: outputs are the saved ones.
"""
import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT/"build"/"site"              # what nbdev makes, and the sources that Sphinx reads


def address(given):
    "owner/name on GitHub: as given, as GitHub's own runner says, or as git's origin says; empty where none of them knows."
    if given or (given := os.environ.get("GITHUB_REPOSITORY", "")): return given
    origin = subprocess.run(["git", "config", "remote.origin.url"], cwd=ROOT, capture_output=True, text=True).stdout
    found = re.search(r"github\.com[:/]([\w.-]+/[\w.-]+?)(\.git)?\s*$", origin)
    return found[1] if found else ""


def marked(notebook):
    """A notebook as nbdev shall take it: `exports`, which is an export whose source is shown, in place of `export`; of all other cells not
    even the imports are executed, as signatures need none of them and peft and trl take long to load."""
    notebook = json.loads(notebook)
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code": continue
        source = re.sub(r"^#\| export$", "#| exports", "".join(cell["source"]), count=1, flags=re.M)
        cell["source"] = source if re.search(r"^#\| *(exports|default_exp|hide)", source, flags=re.M) else "#| eval: false\n" + source
    return json.dumps(notebook)


def settings():
    "nbdev's own settings and no more of pyproject.toml: to find magics, which there are none of, it reads the file again for every cell."
    own = re.search(r"^\[tool\.nbdev\]\n(?:.+\n)*", (ROOT/"pyproject.toml").read_text(encoding="utf-8"), flags=re.M)[0]
    return f'[project]\nname = "ftlib"\nversion = "0"\n\n{own}skip_procs = "clean_magics"\n'


def processed():
    "The folder of notebooks as nbdev prepares them, with the source of what they export beside its signature."
    from nbdev.serve import proc_nbs
    shutil.rmtree(WORK, ignore_errors=True)
    nbs = WORK/"project"/"nbs"
    shutil.copytree(ROOT/"nbs", nbs, ignore=shutil.ignore_patterns(".*", "_*", "runs"))
    (nbs.parent/"pyproject.toml").write_text(settings(), encoding="utf-8")
    for path in nbs.rglob("*.ipynb"): path.write_text(marked(path.read_text(encoding="utf-8")), encoding="utf-8")
    os.environ |= {"HF_HUB_OFFLINE": "1", "MPLBACKEND": "agg", "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    os.chdir(nbs.parent)
    proc_nbs(str(nbs), n_workers=os.cpu_count() or 1, force=True)
    os.chdir(ROOT)
    return nbs.parent/"_proc"


def build(out, base="/", repo=""):
    "The whole site in the folder `out`, which is replaced only when all of it is there; the exit status of Sphinx."
    sys.path[:0] = [str(ROOT), str(ROOT/"docs")]
    import pages
    import reference
    from sphinx.cmd.build import build_main
    source, fresh = WORK/"source", WORK/"site"
    notebooks = pages.write(processed(), source, repo)
    reference.write(source, notebooks)
    os.environ["SITE_BASE"] = base
    status = build_main(["-W", "--keep-going", "-q", "-j", str(os.cpu_count() or 1), "-d", str(WORK/"doctrees"), "-c", str(ROOT/"docs"), str(source), str(fresh)])
    if status: return status
    pages.finish(source, fresh, notebooks, base)
    shutil.rmtree(out, ignore_errors=True)
    shutil.move(fresh, out)
    return 0


def main():
    "Read the command line, build, and say how long it took and where the site lies."
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT/"_docs", help="the folder of the site (default: _docs)")
    parser.add_argument("--base", default=os.environ.get("SITE_BASE", "/"), help="the path under which it is served; only the page for errors needs it (default: /)")
    parser.add_argument("--repo", default="", help="owner/name on GitHub, for links to Colab and to sources (default: git's origin, where that is on GitHub)")
    args, start = parser.parse_args(), time.time()
    if not re.fullmatch(r"/([\w.~-]+/)*", args.base): parser.error(f"--base is {args.base!r}; it begins and ends with a slash, as in / or /ftlib/")
    if args.repo and not re.fullmatch(r"[\w.-]+/[\w.-]+", args.repo): parser.error(f"--repo is {args.repo!r}; it is owner/name")
    if args.out.exists() and not (args.out/"llms.txt").exists() and (args.out.is_file() or any(args.out.iterdir())):
        parser.error(f"--out is {args.out}, which holds something else than a site; it is replaced whole, so name a new folder, an empty one or a site")
    if status := build(args.out.resolve(), args.base, address(args.repo)): sys.exit(status)
    print(f"the site is in {os.path.relpath(args.out)}, after {time.time() - start:.0f} s: open index.html there")


if __name__ == "__main__": main()
