"Every page of the site in Chromium: wide and narrow, light and dark; links, mathematics, pictures, search, accessibility, weight."
import filecmp
import json
import re
import subprocess
import sys
import urllib.parse
from pathlib import Path

import pytest
from sources import NBS, ROOT, exports_to, modules, notebooks

WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
MAX_WEIGHT = 2_000_000
EACH_KIND = ("index.html", "results.html", "13_losses.html", "tasks/liar.html", "tutorials/bpe.html", "exercises/alpha_over_r.html", "reference/dpo.html",
             "_modules/ftlib/logps.html", "genindex.html", "search.html", "404.html")
SEE = """() => ({
  ids: [...document.querySelectorAll('[id]')].map(x => x.id),
  links: [...document.querySelectorAll('a[href]')].map(x => x.href),
  pictures: [...document.querySelectorAll('article img')].map(x => ({src: x.src, alt: x.alt, there: x.complete && x.naturalWidth > 0})),
  math: document.querySelectorAll('.math').length, rendered: document.querySelectorAll('.math mjx-container').length,
  wrong: [...document.querySelectorAll('mjx-merror')].map(x => x.textContent), title: document.title,
  resources: performance.getEntriesByType('resource').map(x => x.name)})"""
TOO_WIDE = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
COLOUR = "() => getComputedStyle(document.body).backgroundColor"
AXE = """async ([exclude, options]) => (await axe.run({exclude}, {...options, resultTypes: ['violations']})).violations
  .filter(x => ['serious', 'critical'].includes(x.impact))
  .map(x => x.id + ': ' + x.nodes.slice(0, 3).map(n => n.target.join(' ') + ' ' + n.html.slice(0, 120)).join(' | '))"""
LARGE = [[".highlight"], ["mjx-container"], [".sidebar-tree"]]      # thousands of nodes that are alike on all pages: looked at on one page of each kind


def pages(site): return sorted(p.relative_to(site).as_posix() for p in site.rglob("*.html") if not p.is_relative_to(site/"_static"))


def open_page(page, url):
    "Go there and wait until pictures and mathematics are in place."
    page.goto(url, wait_until="load")
    page.wait_for_function("() => !document.querySelector('.math') || (window.MathJax && MathJax.startup && MathJax.startup.promise)", timeout=20_000)
    page.evaluate("() => window.MathJax && MathJax.startup ? MathJax.startup.promise.then(() => 0) : 0")


class Watch:
    "What a page asks for and complains of."
    def __init__(self, page, address):
        self.address, self.faults = address, []
        page.on("console", lambda m: m.type in ("error", "warning") and self.faults.append(f"console {m.type}: {m.text}"))
        page.on("pageerror", lambda e: self.faults.append(f"script: {e}"))
        page.on("request", self.asked)
        page.on("requestfailed", lambda r: r.failure != "net::ERR_ABORTED" and self.faults.append(f"failed: {r.url}"))      # that is: we went on
        page.on("response", lambda r: r.status >= 400 and self.faults.append(f"{r.status}: {r.url}"))

    def asked(self, request):
        if not request.url.startswith((self.address, "data:", "blob:")): self.faults.append(f"asks another host: {request.url}")

    def take(self):
        "Faults since the last call."
        got, self.faults = self.faults, []
        return got


def weight(name, see, site, address):
    "Bytes of a page and of all it loads, as they lie on disk."
    loaded = {urllib.parse.unquote(urllib.parse.urlparse(url).path).lstrip("/") for url in see["resources"] if url.startswith(address)}
    return sum((site/path).stat().st_size for path in loaded | {name})


def look_at(name, page, address, other):
    "(what stands on a page, its faults), in the scheme it was opened in and in the other one."
    open_page(page, f"{address}/{name}")
    see, first = page.evaluate(SEE), page.evaluate(COLOUR)
    faults = [f"picture {p['src']} is not there" for p in see["pictures"] if not p["there"]]
    faults += [f"picture {p['src']} has no alternative text" for p in see["pictures"] if len(p["alt"]) < 20]
    faults += [f"mathematics: {text}" for text in see["wrong"]]
    if see["math"] != see["rendered"]: faults.append(f"{see['rendered']} of {see['math']} formulas are rendered")
    if not see["title"]: faults.append("no title")
    if (wide := page.evaluate(TOO_WIDE)) > 0: faults.append(f"is {wide} pixels wider than the window")
    page.emulate_media(color_scheme=other)
    if page.evaluate(COLOUR) == first: faults.append(f"looks the same when {other}")
    if (wide := page.evaluate(TOO_WIDE)) > 0: faults.append(f"is {wide} pixels wider than the window when {other}")
    return see, faults


@pytest.fixture(scope="session")
def axe():
    import axe_playwright_python
    return (Path(axe_playwright_python.__file__).parent/"axe.min.js").read_text(encoding="utf-8")


@pytest.mark.parametrize("size, scheme, other", [(WIDE, "light", "dark"), (NARROW, "dark", "light")], ids=["wide", "narrow"])
def test_every_page(size, scheme, other, browser, site, address):
    "Each page in both schemes: nothing missing, nothing too wide, no complaint, no other host; links lead somewhere, and no page is heavy."
    page = browser.new_context(viewport=size, color_scheme=scheme).new_page()
    watch, seen, faults = Watch(page, address), {}, {}
    for name in pages(site):
        page.emulate_media(color_scheme=scheme)
        seen[name], found = look_at(name, page, address, other)
        faults[name] = watch.take() + found
        if (heavy := weight(name, seen[name], site, address)) > MAX_WEIGHT: faults[name].append(f"weighs {heavy:,} bytes")
    page.context.close()
    if size is WIDE: faults["links"] = list(broken_links(seen, site, address))
    assert sum(see["math"] for see in seen.values()) > 100 and sum(len(see["pictures"]) for see in seen.values()) > 150
    assert not (wrong := {name: what for name, what in faults.items() if what}), json.dumps(wrong, indent=1)


def test_accessibility_of_every_page(browser, site, address, axe):
    "axe-core finds no serious fault; code and formulas, which are thousands of like nodes, and listings of sources are left to the next test."
    context = browser.new_context(viewport=WIDE, color_scheme="light")
    faults = {}
    for name in pages(site):
        if name.startswith("_modules/"): continue
        page = context.new_page()
        open_page(page, f"{address}/{name}")
        page.evaluate(axe)
        faults[name] = page.evaluate(AXE, [LARGE, {}])
        page.close()
    context.close()
    assert not (wrong := {name: what for name, what in faults.items() if what}), json.dumps(wrong, indent=1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_accessibility_of_each_kind(size, scheme, browser, site, address, axe):
    "All of a page, code and formulas too, one page of each kind, in each scheme and width."
    context = browser.new_context(viewport=size, color_scheme=scheme)
    faults = {}
    for name in EACH_KIND:
        page = context.new_page()
        open_page(page, f"{address}/{name}")
        page.evaluate(axe)
        faults[name] = page.evaluate(AXE, [[], {}])
        page.close()
    context.close()
    assert not (wrong := {name: what for name, what in faults.items() if what}), json.dumps(wrong, indent=1)


def broken_links(seen, site, address):
    "Internal links that lead nowhere, with the page they stand on."
    for name, see in seen.items():
        for link in set(see["links"]):
            url = urllib.parse.urlparse(link)
            if not link.startswith(address): continue
            path = urllib.parse.unquote(url.path).lstrip("/") or "index.html"
            if path.endswith("/"): path += "index.html"
            if not (site/path).is_file(): yield f"{name} -> {link}"
            elif url.fragment and path in seen and urllib.parse.unquote(url.fragment) not in seen[path]["ids"]: yield f"{name} -> {link}: no such place"


@pytest.fixture
def page(browser):
    context = browser.new_context(viewport=WIDE)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    yield context.new_page()
    context.close()


@pytest.mark.parametrize("served", [True, False], ids=["served", "from a folder"])
def test_search(served, page, site, address):
    page.goto(f"{address}/index.html" if served else (site/"index.html").as_uri())
    box = page.locator("input[name=q]:visible").first
    box.fill("leave-one-out")
    box.press("Enter")
    first = page.locator("#search-results li a").first
    first.wait_for(timeout=20_000)
    first.click()
    page.wait_for_load_state()
    assert re.search(r"/12_\w+\.html", page.url), page.url
    assert re.search("leave-one-out", page.locator("article").inner_text(), re.I)


def test_copying_a_cell(page, address):
    page.goto(f"{address}/13_losses.html")
    cell = page.locator("div.cell_input").nth(2)
    cell.hover()
    cell.locator("button.copybtn").click()
    page.wait_for_timeout(200)
    copied = page.evaluate("() => navigator.clipboard.readText()")
    assert copied.strip() and copied.strip() == cell.locator("pre").inner_text().strip()


def test_opening_a_solution(page, address):
    page.goto(f"{address}/13_losses.html")
    solution = page.locator("details", has=page.locator("summary", has_text="Solution")).first
    code = solution.locator("pre").first
    assert not code.is_visible()
    solution.locator("summary").click()
    assert code.is_visible() and "def " in code.inner_text()


def test_light_and_dark(page, address):
    page.emulate_media(color_scheme="light")
    page.goto(f"{address}/12_rloo.html")
    colours = []
    for _ in range(3):                                            # as the system has it, then the two by hand
        colours.append(page.evaluate("() => getComputedStyle(document.body).backgroundColor"))
        page.locator(".theme-toggle:visible").first.click()
    assert len(set(colours)) == 2


def test_what_a_notebook_becomes(page, address, site):
    "Code that is exported stands open, its signature and its hidden helpers do not; the opening survives; links lead to the notebook."
    page.goto(f"{address}/13_losses.html")
    text = page.locator("article").inner_text()
    assert "You will be able to derive the DPO loss" in text and "#|" not in text and "show_doc" not in text
    exported = page.locator("div.cell.tag_exported").first
    assert exported.locator("pre").first.is_visible()
    signature = page.locator("details.signature").first
    assert not signature.locator("pre").first.is_visible()
    signature.locator("summary").click()
    assert signature.locator("pre").first.is_visible()
    assert page.locator("a", has_text="Open in Colab").get_attribute("href").endswith("/owner/ftlib/blob/main/nbs/13_losses.ipynb")
    assert filecmp.cmp(NBS/"13_losses.ipynb", site/"notebooks"/"13_losses.ipynb", shallow=False)
    assert {x.inner_text().split("\n")[0] for x in page.locator(".related-pages a").all()} == {"Next", "Previous"}


def test_every_notebook_and_module_has_a_page(site):
    for nb in notebooks():
        name = nb.relative_to(NBS).with_suffix("").as_posix()
        assert (site/f"{name}.html").is_file() and (site/f"{name}.md").is_file() and (site/"notebooks"/f"{name}.ipynb").is_file(), name
        if module := exports_to(nb): assert (site/"reference"/f"{module.removesuffix('.__init__')}.html").is_file(), module
    assert len(modules()) > 50


def test_reference(page, address):
    page.goto(f"{address}/reference/dpo.html")
    assert page.locator("table", has_text="meaning").count() > 2
    page.locator(".viewcode-link").first.click()
    page.wait_for_load_state()
    assert "/_modules/ftlib/" in page.url and "def " in page.locator("article").inner_text()


def test_llms_txt_names_every_page(site):
    listed = (site/"llms.txt").read_text(encoding="utf-8")
    assert listed.startswith("# ftlib\n\n> ")
    links = re.findall(r"\]\(([^)]+)\)", listed)
    assert not [link for link in links if not (site/link).is_file()]
    assert len(links) == len(set(links)) == len(notebooks()) - 1 + sum(exports_to(nb) is not None for nb in notebooks())


def test_a_wrong_address(page, address):
    "From any depth: the page for errors brings its style along and leads home."
    assert page.goto(f"{address}/tutorials/nowhere/at-all.html").status == 404
    assert "not here" in page.locator("h1").inner_text()
    assert page.evaluate("() => [...document.styleSheets].length") >= 3
    page.locator("a", has_text="front page").click()
    page.wait_for_load_state()
    assert page.url.rstrip("/").removesuffix("/index.html") == address


def test_bad_arguments():
    for wrong, said in ((["--base", "ftlib"], "begins and ends with a slash"), (["--repo", "ftlib"], "owner/name"),
                        (["--out", "docs"], "holds something else than a site")):
        done = subprocess.run([sys.executable, "docs/build.py", *wrong], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 2 and said in done.stderr
