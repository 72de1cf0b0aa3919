"""How Sphinx renders the site; docs/build.py calls it."""
import os
import re
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

from sphinx.search.en import SearchEnglish

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
BASE = os.environ.get("SITE_BASE", "/")

project, author, copyright = "ftlib", "the ftlib authors", "the ftlib authors; text and code under Apache-2.0"
extensions = ["myst_nb", "sphinx.ext.mathjax", "sphinx.ext.viewcode", "sphinx_copybutton", "notfound.extension"]
html_theme, html_title, html_favicon = "furo", "ftlib", str(ROOT/"docs"/"_static"/"favicon.svg")
html_static_path = [str(ROOT/"docs"/"_static")]
html_css_files, html_js_files = ["site.css"], [("site.js", {"defer": "defer"})]
html_copy_source, html_show_sphinx = False, False
html_use_index, html_domain_indices = True, False
html_permalinks_icon = "#"
html_theme_options = {"navigation_with_keys": True,
                      "light_css_variables": {"color-brand-primary": "#0b5d8a", "color-brand-content": "#0b5d8a", "color-brand-visited": "#6b3f87"},
                      "dark_css_variables": {"color-brand-primary": "#7cc4f0", "color-brand-content": "#7cc4f0", "color-brand-visited": "#c9a4e0"}}
pygments_style, pygments_dark_style = "a11y-high-contrast-light", "a11y-high-contrast-dark"

nb_execution_mode = "off"              # outputs are the saved ones
nb_merge_streams = True
nb_number_source_lines = False
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence"]
myst_dmath_double_inline = True
myst_heading_anchors = 4
add_module_names = False

viewcode_follow_imported_members = False
copybutton_selector = "div.highlight pre"
notfound_urls_prefix = BASE
suppress_warnings = ["mystnb.unknown_mime_type", "myst.xref_ambiguous"]

# MathJax from the package that carries it, and of it only what these pages load: TeX in, HTML with fonts and hidden MathML out.
mathjax_path = "mathjax/startup.js"
mathjax3_config = {"loader": {"load": ["core", "input/tex", "output/chtml", "a11y/assistive-mml"]},
                   "tex": {"inlineMath": [["\\(", "\\)"]]}}
NEEDED = ["startup.js", "core.js", "input/tex.js", "input/tex/extensions", "output/chtml.js", "output/chtml/fonts", "a11y/assistive-mml.js"]


def copy_mathjax(app, failed):
    "Put the needed files of MathJax into the site."
    if failed: return
    home, target = Path(find_spec("sphinx-mathjax-offline").origin).parent/"static"/"mathjax", Path(app.outdir)/"_static"/"mathjax"
    for name in NEEDED:
        (target/name).parent.mkdir(parents=True, exist_ok=True)
        if (home/name).is_dir(): shutil.copytree(home/name, target/name, dirs_exist_ok=True, ignore=shutil.ignore_patterns("all-packages.js"))
        else: shutil.copy2(home/name, target/name)


class Hyphens(SearchEnglish):
    "A search that knows leave-one-out as one word and as three; Sphinx's own finds every page with a leave, a one and an out."
    js_splitter_code = "var splitQuery = (query) => query.split(/[^\\p{L}\\p{N}_-]+|(?<![\\p{L}\\p{N}_])-+|-+(?![\\p{L}\\p{N}_])/u).filter((word) => word);"

    def split(self, input):
        words = re.findall(r"\w+(?:-\w+)*", input)
        return words + [part for word in words if "-" in word for part in word.split("-")]


def setup(app):
    app.add_search_language(Hyphens)
    app.connect("build-finished", copy_mathjax)
