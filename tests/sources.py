"The project's files as the house tests read them: what git would track, notebooks and their cells, modules and their imports."
import ast
import fnmatch
import functools
import json
import re
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NBS, LIB = ROOT/"nbs", ROOT/"ftlib"
DIRECTIVE = re.compile(r"^\s*#\s*\|\s*([\w-]+)\s*:?\s*(.*)$")


@dataclass
class Cell:
    kind: str                                        # "code", "markdown" or "raw"
    source: str                                      # as stored, directives included
    id: str = ""
    outputs: list = field(default_factory=list)

    @property
    def directives(self): return {m[1]: m[2].strip() for line in self.source.split("\n") if (m := DIRECTIVE.match(line))}

    @property
    def body(self):
        "The source without directive lines."
        return "\n".join(line for line in self.source.split("\n") if not DIRECTIVE.match(line)).strip("\n")

    @property
    def python(self):
        "The source without directives, magics and shell lines."
        return "\n".join(line for line in self.body.split("\n") if not re.match(r"\s*[%!]", line))

    @property
    def exported(self): return self.kind == "code" and bool({"export", "exports", "exporti"} & self.directives.keys())


@functools.cache
def read_notebook(path):
    "The cells of a notebook."
    join = lambda s: s if isinstance(s, str) else "".join(s)
    raw = json.loads(path.read_text(encoding="utf-8"))
    return [Cell(c["cell_type"], join(c["source"]), c.get("id", ""), c.get("outputs", [])) for c in raw["cells"]]


def notebooks():
    "Every notebook below nbs/, in reading order."
    return sorted(p for p in NBS.rglob("*.ipynb") if not any(part.startswith((".", "_")) for part in p.relative_to(NBS).parts))


def short(path):
    "A path as people write it."
    return path.relative_to(ROOT).as_posix()


@functools.cache
def ignored_patterns():
    "What .gitignore leaves out."
    lines = (ROOT/".gitignore").read_text().splitlines()
    return tuple(line.strip().rstrip("/") for line in lines if line.strip() and not line.startswith("#"))


def is_ignored(path):
    "Whether git would leave this file or folder out (names, globs and anchored folders, which is all our .gitignore uses)."
    rel = path.relative_to(ROOT).as_posix()
    return any(fnmatch.fnmatch(path.name, p) or rel == p or rel.startswith(p + "/") for p in ignored_patterns())


def tracked(folder=ROOT):
    "Every file that git tracks or would add, found without git."
    for path in sorted(folder.iterdir()):
        if path.name == ".git" or is_ignored(path): continue
        if path.is_dir() and not path.is_symlink(): yield from tracked(path)
        else: yield path


def modules():
    "Module name below ftlib -> file: 'settings', 'tasks', 'tasks.liar'."
    out = {}
    for path in sorted(LIB.rglob("*.py")):
        if "__pycache__" in path.parts or path.name == "_modidx.py": continue
        parts = list(path.relative_to(LIB).with_suffix("").parts)
        if parts[-1] == "__init__": parts.pop()
        if parts: out[".".join(parts)] = path
    return out


@functools.cache
def tree(path):
    "The syntax tree of a Python file."
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(path, package=""):
    """Every module an import statement names, wherever it stands; `package` is what relative imports are relative to.

    `from a import b` counts as a and as a.b, as b may be a module.
    """
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import): yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[:len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join(base + ([node.module] if node.module else []))
            yield base
            yield from (f"{base}.{a.name}" for a in node.names)


def number_of(module):
    "A module's place in the import order: its notebook's number; tasks come right after 01."
    if module.split(".")[0] == "tasks": return 1.5
    found = [p for p in NBS.glob("[0-9][0-9]_*.ipynb") if exports_to(p) == module]
    return int(found[0].name[:2]) if found else None


def exports_to(notebook):
    "The module a notebook exports, or None."
    return next((c.directives["default_exp"] for c in read_notebook(notebook) if "default_exp" in c.directives), None)


def functions(path):
    "Every function and method of a file, nested ones too."
    return [n for n in ast.walk(tree(path)) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]


def public(path):
    "The public functions and classes of a module: those its __all__ names, or, without one, those without an underscore."
    listed = next((ast.literal_eval(n.value) for n in tree(path).body
                   if isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") == "__all__"), None)
    defined = [n for n in tree(path).body if isinstance(n, (ast.FunctionDef, ast.ClassDef))]
    return [n for n in defined if (n.name in listed if listed is not None else not n.name.startswith("_"))]


def output_text(cell):
    "All text in a cell's outputs; pictures in base64 are left out."
    for out in cell.outputs:
        yield out.get("text", "") if isinstance(out.get("text", ""), str) else "".join(out["text"])
        for kind, data in out.get("data", {}).items():
            if not kind.startswith("image/") or "svg" in kind: yield data if isinstance(data, str) else "".join(data) if isinstance(data, list) else json.dumps(data)
