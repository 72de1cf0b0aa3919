"""A model and data hub on loopback that answers `huggingface_hub` as the real one does.

    with Hub() as hub:
        hub.add("someone/small-gpt2", folder)
        hub.fail("model.safetensors", cut_at=1000)
        subprocess.run([...], env=hub.env(home))

Repositories are local folders. It knows repository information, file listings, HEAD and GET of files with their commit, ETag and size,
byte ranges, the redirect that large files take, tokens and gates; and it can be told to fail. Checksums are those of the real hub: git's SHA-1
of a blob for small files, SHA-256 for large ones. A client needs `HF_ENDPOINT` and a cache of its own, nothing is patched. huggingface_hub reads
both when it is imported, hence the subprocess. Files outside the hub are served too, `hub.raw["host/path"] = bytes`, to clients whose
`FTLIB_MIRROR` is `hub.url + "/raw"`.
"""
import hashlib
import json
import os
import re
import socket
import time
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from loopback import Loopback

LARGE = (".safetensors", ".parquet")                 # stored as large files, which the hub serves by a redirect
KINDS = {"models": "model", "datasets": "dataset"}
REVISION = r"refs/[^/]+/[^/]+|[^/]+"
CODES = {401: "Unauthorized", 404: "EntryNotFound"}
RESOLVE = re.compile(rf"/(?:(datasets)/)?([^/]+(?:/[^/]+)?)/resolve/({REVISION})/(.+)")
API = re.compile(rf"/api/(models|datasets)/([^/]+(?:/[^/]+)?)(?:/(revision|tree|paths-info)/({REVISION})(?:/(.+))?)?")


def git_sha1(data):
    "What git and the hub call a file with these contents."
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass
class Repo:
    "One revision of a repository: a folder, and who may read it."
    folder: Path
    revision: str = "main"
    token: str = ""                                  # the token that opens a private repository
    gated: bool = False

    @property
    def files(self): return {p.relative_to(self.folder).as_posix(): p for p in sorted(self.folder.rglob("*")) if p.is_file()}

    @property
    def commit(self):
        "The revision if it is a commit, else 40 hex digits that change when a file does."
        if re.fullmatch("[0-9a-f]{40}", self.revision): return self.revision
        return hashlib.sha1(b"".join(name.encode() + p.read_bytes() for name, p in self.files.items())).hexdigest()


@dataclass
class Fault:
    "What goes wrong with requests whose path ends in `path`."
    path: str
    status: int = 0                                  # the answer is this status
    retry_after: str = ""                            # and asks to wait
    cut_at: int = -1                                 # the connection is lost after so many bytes of the file
    spoil: bool = False                              # one bit of the file is another
    pause: float = 0.0                               # seconds between pieces of 4 kB
    times: int = 1_000_000                           # how often it happens
    methods: tuple = ("GET", "HEAD")


@dataclass
class Hub(Loopback):
    repos: dict = field(default_factory=dict)        # (kind, id) -> {revision: Repo}
    faults: list = field(default_factory=list)
    seen: list = field(default_factory=list)         # (method, path, range), in order
    raw: dict = field(default_factory=dict)          # {"host/path": bytes} of files outside the hub
    tokens: set = field(default_factory=set)         # every Authorization that came with a request to the hosts of large and of raw files

    def add(self, repo_id, folder, kind="model", revision="main", **access):
        "Serve a folder as a revision of a repository."
        self.repos.setdefault((kind, repo_id), {})[revision] = Repo(Path(folder), revision, **access)

    def fail(self, path, **how): self.faults.append(Fault(path, **how))

    def __enter__(self): return self.listen(Handler, "hub", poll=0.05)

    @property
    def cdn(self):
        "Where large files lie: another host by name, as at the real hub, so that the client keeps the redirect's headers."
        return f"http://localhost:{self.server.server_address[1]}/cdn"

    def env(self, home, **more):
        "The environment of a client: this hub, an empty cache, and none of the settings that would keep it offline."
        away = re.compile(r"(HF|HUGGINGFACE|TRANSFORMERS)_.*|.*_proxy", re.I)
        kept = {k: v for k, v in os.environ.items() if not away.fullmatch(k)}
        return kept | {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "FTLIB_MIRROR": f"{self.url}/raw"} | more

    def count(self, method="GET"): return Counter(path for m, path, _ in self.seen if m == method)

    def fault(self, method, path):
        "The first fault that is due for a request."
        for f in self.faults:
            if f.times > 0 and method in f.methods and path.endswith(f.path):
                f.times -= 1
                return f
        return None


class Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_): pass

    def do_HEAD(self): self.handle_request()
    def do_GET(self): self.handle_request()
    def do_POST(self): self.handle_request()

    def handle_request(self):
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.hub.seen.append((self.command, path, self.headers.get("Range")))
        fault = self.hub.fault(self.command, path) or Fault(path)
        wait = {"Retry-After": fault.retry_after} if fault.retry_after else {}
        if fault.status: return self.refuse(fault.status, CODES.get(fault.status, ""), wait)
        if path.startswith(("/cdn/", "/raw/")) and "Authorization" in self.headers: self.hub.tokens.add(self.headers["Authorization"])
        if path.startswith("/raw/"): return self.send_raw(path.removeprefix("/raw/"), fault)
        if m := re.fullmatch(r"/cdn/(\w+)/(.+)", path): return self.send_large(m[1], fault)
        if m := RESOLVE.fullmatch(path): return self.resolve(KINDS[m[1] or "models"], m[2], m[3], m[4], fault)
        if m := API.fullmatch(path):
            self.deep = parse_qs(parts.query).get("recursive", ["false"])[0].lower() == "true"
            wanted = json.loads(body or b"{}").get("paths") if body.startswith(b"{") else parse_qs(body.decode()).get("paths")
            return self.api(m[1], m[2], m[3] or "revision", m[4] or "main", m[5], wanted)
        self.refuse(404, "")

    # --- finding things

    def repo(self, kind, repo_id, revision):
        "The repository's revision, or None after saying why not: the hub hides what a token may not see."
        revisions = self.hub.repos.get((kind, repo_id))
        sent = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if not revisions or any(r.token and r.token != sent for r in revisions.values()): return self.refuse(401, "RepoNotFound")
        found = revisions.get(revision) or next((r for r in revisions.values() if r.commit == revision), None)
        if not found: return self.refuse(404, "RevisionNotFound")
        if found.gated and not sent: return self.refuse(401, "GatedRepo")
        return found

    # --- answers

    def send_raw(self, place, fault):
        if place not in self.hub.raw: return self.refuse(404, "")
        data = self.hub.raw[place]
        self.send_file(data, {"ETag": f'"{hashlib.md5(data).hexdigest()}"'}, fault)

    def resolve(self, kind, repo_id, revision, name, fault):
        "A file: small ones at once, large ones by a redirect to where their bytes are."
        if not (repo := self.repo(kind, repo_id, revision)): return
        extra = {"X-Repo-Commit": repo.commit}
        if name not in repo.files: return self.refuse(404, "EntryNotFound", extra)
        data = repo.files[name].read_bytes()
        if name.endswith(LARGE):
            sha = hashlib.sha256(data).hexdigest()
            extra |= {"Location": f"{self.hub.cdn}/{sha}/{Path(name).name}", "X-Linked-Etag": f'"{sha}"', "X-Linked-Size": str(len(data))}
            return self.send(302, b"", extra)
        self.send_file(data, extra | {"ETag": f'"{git_sha1(data)}"'}, fault)

    def send_large(self, sha, fault):
        for repo in (r for revisions in self.hub.repos.values() for r in revisions.values()):
            for name, file in repo.files.items():
                if name.endswith(LARGE) and hashlib.sha256(data := file.read_bytes()).hexdigest() == sha:
                    return self.send_file(data, {"ETag": f'"{sha}"'}, fault)
        self.refuse(404, "")

    def api(self, kind, repo_id, what, revision, below, wanted):
        "What is in a repository."
        if not (repo := self.repo(KINDS[kind], repo_id, revision)): return
        if what == "revision":
            info = {"_id": "0"*24, "id": repo_id, "sha": repo.commit, "private": bool(repo.token), "gated": "auto" if repo.gated else False,
                    "disabled": False, "downloads": 0, "likes": 0, "tags": [], "createdAt": "2026-01-01T00:00:00.000Z",
                    "lastModified": "2026-01-01T00:00:00.000Z", "siblings": [{"rfilename": name} for name in repo.files]}
            return self.send_json(info)
        folders = {f.as_posix() for name in repo.files for f in Path(name).parents} - {"."}
        rows = [self.row(name, p.read_bytes()) for name, p in repo.files.items()]
        rows += [{"type": "directory", "path": f, "size": 0, "oid": git_sha1(f.encode())} for f in sorted(folders)]
        if wanted is not None: return self.send_json([r for r in rows if r["path"] in wanted])
        if below and below not in folders: return self.refuse(404, "EntryNotFound")
        inside = lambda path: path.startswith(below + "/") if below else True
        rows = [r for r in rows if inside(r["path"]) and (self.deep or str(Path(r["path"]).parent) == (below or "."))]
        self.send_json(rows)

    @staticmethod
    def row(name, data):
        row = {"type": "file", "path": name, "size": len(data), "oid": git_sha1(data)}
        if name.endswith(LARGE):
            sha = hashlib.sha256(data).hexdigest()
            pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha}\nsize {len(data)}\n".encode()
            row |= {"oid": git_sha1(pointer), "lfs": {"oid": sha, "size": len(data), "pointerSize": len(pointer)}}
        return row

    # --- sending

    def send(self, status, data, headers, cut=-1, pause=0.0):
        "One answer; `cut` >= 0 breaks the connection after that many bytes of what was promised."
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(data))} | headers).items(): self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD": return
        size = 4096 if pause else max(1, len(data))
        sent = data if cut < 0 else data[:cut]
        try:
            for i in range(0, len(sent), size):
                self.wfile.write(sent[i:i + size])
                time.sleep(pause)
            self.wfile.flush()
            if cut >= 0: self.connection.shutdown(socket.SHUT_RDWR)
        except OSError: cut = 0                      # the client is gone
        self.close_connection |= cut >= 0

    def send_json(self, value): self.send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def send_file(self, data, headers, fault):
        headers = headers | {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        if fault.spoil: data = data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]
        m = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if m and self.headers.get("If-Range") not in (None, headers["ETag"]): m = None
        if not m: return self.send(200, data, headers, fault.cut_at, fault.pause)
        first, last = int(m[1]), min(int(m[2] or len(data) - 1), len(data) - 1)
        if first > last: return self.send(416, b"", {"Content-Range": f"bytes */{len(data)}"})
        headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
        self.send(206, data[first:last + 1], headers, max(0, fault.cut_at - first) if fault.cut_at >= 0 else -1, fault.pause)

    def refuse(self, status, code, extra=None):
        says = {"RepoNotFound": "Repository not found", "EntryNotFound": "Entry not found", "RevisionNotFound": "Invalid rev id",
                "GatedRepo": "Access to this repository is restricted", "Unauthorized": "Invalid credentials in Authorization header"}
        headers = {"X-Error-Code": code, "X-Error-Message": says[code]} if code in says else {}
        if code == "Unauthorized": del headers["X-Error-Code"]
        message = json.dumps({"error": says.get(code, f"status {status}")}).encode()
        self.send(status, message, {"Content-Type": "application/json"} | headers | (extra or {}))
