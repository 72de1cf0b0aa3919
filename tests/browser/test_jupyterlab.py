"JupyterLab opens every notebook with its saved outputs, and running one again in its own kernel gives the same."
import json
import re
import socket
import subprocess
import sys
import time
import urllib.request

import nbclient
import nbformat
import pytest
from sources import NBS, ROOT, notebooks, short

AGAIN = ("13_losses", "exercises/mask_shifted_wrong")      # seconds each, and nothing in them is timed
NUMBER = re.compile(r"-?\d+\.?\d*(?:e-?\d+)?")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    "The address of a JupyterLab on loopback that serves the project."
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}", "--ip=127.0.0.1", f"--ServerApp.root_dir={ROOT}",
               "--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True", f"--LabApp.workspaces_dir={tmp_path_factory.mktemp('lab')}",
               "--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    for _ in range(240):
        try: urllib.request.urlopen(f"{address}/api").close()
        except OSError: time.sleep(0.5)
        else: break
    yield address
    server.terminate()
    server.wait(20)


def test_every_notebook_is_valid_to_the_server(lab):
    "The server's own reading: a valid notebook (it would send a message otherwise) with the outputs that are on disk."
    for nb in notebooks():
        with urllib.request.urlopen(f"{lab}/api/contents/{short(nb)}?type=notebook") as answer: model = json.load(answer)
        assert model["type"] == "notebook" and not model.get("message"), (short(nb), model.get("message"))
        saved = nbformat.read(nb, 4)
        assert [c.get("outputs") for c in model["content"]["cells"]] == [c.get("outputs") for c in saved.cells], short(nb)


@pytest.mark.parametrize("name", ["13_losses", "exercises/counted_positions"])
def test_opens_in_the_browser_with_its_outputs(name, lab, browser):
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.goto(f"{lab}/doc/tree/nbs/{name}.ipynb")
    page.locator(".jp-Notebook .jp-MarkdownOutput h1").first.wait_for(timeout=90_000)
    outputs = page.locator(".jp-OutputArea-output")
    outputs.first.wait_for(timeout=60_000)
    assert "Error displaying" not in page.locator(".jp-Notebook").inner_text()
    picture = page.locator(".jp-RenderedImage img").first
    for _ in range(60):                                                         # cells out of sight are not rendered yet
        if picture.count(): break
        page.mouse.move(700, 500)
        page.mouse.wheel(0, 700)
        page.wait_for_timeout(150)
    assert picture.evaluate("x => x.naturalWidth") > 100
    page.close()


def shown(cells):
    "The plain text of each cell's outputs, those of widgets and figures aside."
    join = lambda x: x if isinstance(x, str) else "".join(x)
    for cell in cells:
        if cell.cell_type != "code": continue
        texts = [join(o.get("text") or o.get("data", {}).get("text/plain", "")) for o in cell.outputs if "application/vnd.jupyter.widget-view+json" not in o.get("data", {})]
        yield "".join(t for t in texts if not t.startswith("<Figure"))


def same(a, b):
    "The same words, and the same numbers to a thousandth."
    numbers = [[float(x) for x in NUMBER.findall(t)] for t in (a, b)]
    return NUMBER.sub("#", a) == NUMBER.sub("#", b) and numbers[0] == pytest.approx(numbers[1], rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("name", AGAIN)
def test_running_all_again_gives_the_same(name):
    saved = nbformat.read(NBS/f"{name}.ipynb", 4)
    again = nbformat.read(NBS/f"{name}.ipynb", 4)
    again.cells = [c for c in again.cells if not re.search(r"^#\| *(cuda|slow)", c.source, flags=re.M)]
    nbclient.NotebookClient(again, timeout=300, kernel_name="python3", resources={"metadata": {"path": str((NBS/name).parent)}}).execute()
    ran = {c.id: text for c, text in zip([c for c in again.cells if c.cell_type == "code"], shown(again.cells))}
    kept = {c.id: text for c, text in zip([c for c in saved.cells if c.cell_type == "code"], shown(saved.cells))}
    assert not {id: (kept[id], text) for id, text in ran.items() if not same(kept[id], text)}
