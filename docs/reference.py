"""A page for each module of ftlib: every public name with its signature, its sentence, and a table of its docments."""
import ast
import importlib
import inspect
import json

from fastcore.docments import docments, empty


def kind(annotation):
    "An annotation as people write it."
    if annotation is empty or annotation is inspect.Parameter.empty: return ""
    return f"`{annotation if isinstance(annotation, str) else getattr(annotation, '__name__', None) or annotation}`".replace("|", "\\|")


def table(thing):
    "What the comments beside parameters say, as a table; nothing where no parameter has one."
    try: found = docments(thing, full=True, returns=True)
    except (TypeError, ValueError, OSError, SyntaxError): return
    rows = []
    for name, about in found.items():
        if name in ("self", "cls"): continue
        default = "" if name == "return" or about.default in (empty, inspect.Parameter.empty) else f"`{about.default!r}`"
        rows.append((f"*{name}*" if name == "return" else f"`{name}`", kind(about.anno), default, (about.docment or "").replace("\n", " ")))
    if not any(row[3] for row in rows): return
    yield "| | type | default | meaning |\n|---|---|---|---|"
    for row in rows: yield "| " + " | ".join(cell.replace("|", "\\|").replace("\\\\|", "\\|") for cell in row) + " |"


def arguments(node):
    "The signature of a function as written, without its first argument where that is the object."
    args = ast.parse(ast.unparse(ast.Module([node], []))).body[0].args
    if args.args and args.args[0].arg in ("self", "cls"): args.args.pop(0)
    return f"({ast.unparse(args)})" + (f" -> {ast.unparse(node.returns)}" if node.returns else "")


def fields(node):
    "The signature of a class: that of its __init__, or the fields of a dataclass."
    init = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
    if init: return arguments(init).split(" -> ")[0]
    if not any("dataclass" in ast.unparse(d) for d in node.decorator_list): return ""
    named = [f"{n.target.id}: {ast.unparse(n.annotation)}" + (f" = {ast.unparse(n.value)}" if n.value else "")
             for n in node.body if isinstance(n, ast.AnnAssign) and "field(" not in ast.unparse(n.value or ast.Constant(0))]
    return f"({', '.join(named)})"


def directive(what, head, body, depth):
    "A MyST directive whose fence is longer than those inside it."
    fence = "`"*depth
    return "\n".join([f"{fence}{{py:{what}}} {head}", *body, fence, ""])


def entry(node, thing):
    "One public name of a module."
    doc = ["", ast.get_docstring(node) or "", ""]
    if isinstance(node, ast.ClassDef):
        body = doc + [*table(thing), ""]
        for method in node.body:
            if not isinstance(method, ast.FunctionDef) or method.name.startswith("_") or not ast.get_docstring(method): continue
            what = "property" if any("property" in ast.unparse(d) for d in method.decorator_list) else "method"
            head = method.name + (arguments(method) if what == "method" else "")
            body.append(directive(what, head, ["", ast.get_docstring(method), "", *table(getattr(thing, method.name))], 5))
        return directive("class", node.name + fields(node), body, 7)
    return directive("function", node.name + arguments(node), doc + [*table(thing)], 7)


def constant(name, tree, lines):
    "A name that is no function and no class: its value, if that is short, and the comment beside it."
    node = next((n for n in tree.body if isinstance(n, ast.Assign) and name in map(ast.unparse, n.targets)), None)
    if node is None: return directive("data", name, [], 7)
    value, comment = ast.unparse(node.value), lines[node.end_lineno - 1].partition("  # ")[2]
    return directive("data", name, [f":value: {json.dumps(value if len(value) <= 70 else chr(8230))}", "", comment], 7)


def module_page(page):
    "The page of one module."
    module = importlib.import_module(f"ftlib.{page.module}")
    lines = inspect.getsource(module).split("\n")
    tree = ast.parse("\n".join(lines))
    nodes = {n.name: n for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
    yield f"# ftlib.{page.module}\n\n{page.subtitle}\n\nMade by the notebook [{page.title}](../{page.name}.ipynb).\n\n```{{py:module}} ftlib.{page.module}\n```\n"
    for name in module.__all__:
        thing = getattr(module, name)
        home = getattr(thing, "__module__", None) or ""
        if name in nodes: yield entry(nodes[name], thing)
        elif home.startswith("ftlib.") and home != module.__name__: yield f"{{py:obj}}`{name} <{home}.{name}>`, from {home}\n"
        else: yield constant(name, tree, lines)


def write(source, pages):
    "Sources of the reference, and of its first page."
    folder = source/"reference"
    folder.mkdir()
    lines = ["# Reference", "", "Every public name of the package, by module. A name leads to its source; the notebook that made a module explains it.", "", "| module | |", "|---|---|"]
    for page in pages:
        if not page.module: continue
        (folder/f"{page.module}.md").write_text("\n".join(module_page(page)), encoding="utf-8")
        lines.append(f"| [ftlib.{page.module}]({page.module}.md) | {page.subtitle} |")
    (folder/"index.md").write_text("\n".join(lines) + "\n\nAll names in one list: {ref}`genindex`.\n", encoding="utf-8")
