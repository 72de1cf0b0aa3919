"The site, built once for all workers and served on loopback, and a Chromium to open it with."
import functools
import os
import shutil
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).resolve().parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", "--disable-dev-shm-usage")
REPO = "owner/ftlib"                     # so that links to Colab and to GitHub are made


def worker_folder(tmp_path_factory):
    "A folder that all workers of this run share."
    base = tmp_path_factory.getbasetemp()
    return base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    "The folder of the site, made by the command of the README; $FTLIB_SITE names one that was made before."
    if ready := os.environ.get("FTLIB_SITE"): return Path(ready).resolve()
    folder = worker_folder(tmp_path_factory)
    with FileLock(folder/"site.lock"):
        if not (folder/"site"/"index.html").exists():
            done = subprocess.run([sys.executable, "docs/build.py", "--out", str(folder/"site"), "--repo", REPO], cwd=ROOT, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return folder/"site"


class Quiet(SimpleHTTPRequestHandler):
    "A static host: no log, and the page 404.html where there is none."
    protocol_version = "HTTP/1.1"

    def log_message(self, *args): pass

    def send_error(self, code, message=None, explain=None):
        if code != 404: return super().send_error(code, message, explain)
        body = (Path(self.directory)/"404.html").read_bytes()
        self.send_response(404)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(scope="session")
def address(site):
    "http://127.0.0.1:port, where the folder is served."
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="session")
def browser():
    "Chromium without a screen; .ci/run installs one and sets FTLIB_BROWSER=required, elsewhere these tests are skipped without it."
    from playwright.sync_api import sync_playwright
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        if os.environ.get("FTLIB_BROWSER") == "required": pytest.fail(f"no browser is here: none of {', '.join(BROWSERS)} is on the path")
        pytest.skip("no Chromium is on the path")
    with sync_playwright() as play:
        made = play.chromium.launch(executable_path=path, args=list(FLAGS))
        yield made
        made.close()
