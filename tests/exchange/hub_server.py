"""A stand-in of the hub's API on this machine: as much of it as pushing and pulling need."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

TOKEN = "hf_aSecretThatNobodyMaySee"
LFS = (".safetensors", ".parquet")


@dataclass
class Hub:
    """What the hub holds, and how it fails.

    Attributes:
        repos: files of each repository by path.
        private: repositories that only the token may read.
        blobs: large files by SHA-256, not yet in a repository.
        refuse: status that every request with this in its path gets.
        asked: method and path of each request.
    """

    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)
    blobs: dict[str, bytes] = field(default_factory=dict)
    refuse: dict[str, int] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    address: str = ""

    def commit_of(self, repo: str) -> str:
        content = repr(sorted(self.repos[repo].items())).encode()
        return hashlib.sha1(content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def log_message(self, *args: object) -> None:
        pass

    def _answer(self) -> None:
        path = self.path.partition("?")[0]
        self.hub.asked.append((self.command, path))
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        for part, status in self.hub.refuse.items():
            if part in path:
                if status == 0:  # the connection is lost
                    self.close_connection = True
                    return
                self._send(status, {"error": "refused"})
                return
        for pattern, act in _ROUTES:
            if found := re.fullmatch(pattern, f"{self.command} {path}"):
                act(self, body, *found.groups())
                return
        self._send(404, {"error": f"no route {path}"})

    @property
    def _is_known(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _send(self, status: int, content: Any = None, headers: dict[str, str] | None = None) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _may_read(self, repo: str) -> bool:
        if repo in self.hub.repos and (self._is_known or repo not in self.hub.private):
            return True
        self._send(404 if self._is_known else 401, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        return False

    def _may_write(self) -> bool:
        if not self._is_known:
            message = "Invalid credentials in Authorization header"
            self._send(401, {"error": message}, {"X-Error-Message": message})
        return self._is_known

    def create(self, body: bytes) -> None:
        if not self._may_write():
            return
        wanted = json.loads(body)
        repo = f"{wanted.get('organization') or 'somebody'}/{wanted['name']}"
        if wanted.get("visibility") == "private":
            self.hub.private.add(repo)
        exists = repo in self.hub.repos
        self.hub.repos.setdefault(repo, {".gitattributes": b"*.parquet filter=lfs\n"})
        self._send(409 if exists else 200, {"url": f"{self.hub.address}/{repo}", "error": "You already created it"})

    def info(self, body: bytes, repo: str, revision: str | None = None) -> None:
        if not self._may_read(repo):
            return
        if revision not in (None, "main", self.hub.commit_of(repo)):
            self._send(404, {"error": "Invalid rev"}, {"X-Error-Code": "RevisionNotFound"})
            return
        siblings = [{"rfilename": name} for name in self.hub.repos[repo]]
        self._send(
            200, {"id": repo, "modelId": repo, "sha": self.hub.commit_of(repo), "siblings": siblings, "tags": []}
        )

    def tree(self, body: bytes, repo: str, revision: str) -> None:
        if self._may_read(repo):
            files = self.hub.repos[repo].items()
            rows = [
                {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for name, content in files
            ]
            self._send(200, rows)

    def validate(self, body: bytes) -> None:
        assert json.loads(body)["content"].startswith("---\n")
        self._send(200, {"errors": [], "warnings": []})

    def preupload(self, body: bytes, repo: str, revision: str) -> None:
        if self._may_write():
            files = [
                {
                    "path": one["path"],
                    "uploadMode": "lfs" if one["path"].endswith(LFS) else "regular",
                    "shouldIgnore": False,
                }
                for one in json.loads(body)["files"]
            ]
            self._send(200, {"files": files})

    def batch(self, body: bytes, repo: str) -> None:
        if self._may_write():
            objects = [
                {**one, "actions": {"upload": {"href": f"{self.hub.address}/lfs/{one['oid']}"}}}
                for one in json.loads(body)["objects"]
            ]
            self._send(200, {"transfer": "basic", "objects": objects})

    def blob(self, body: bytes, digest: str) -> None:
        if hashlib.sha256(body).hexdigest() != digest:
            self._send(400, {"error": "another digest"})
            return
        self.hub.blobs[digest] = body
        self._send(200, {})

    def commit(self, body: bytes, repo: str, revision: str) -> None:
        if not self._may_write():
            return
        files = dict(self.hub.repos[repo])
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.blobs[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        self.hub.repos[repo] = files
        oid = self.hub.commit_of(repo)
        self._send(200, {"commitUrl": f"{self.hub.address}/{repo}/commit/{oid}", "commitOid": oid, "success": True})

    def resolve(self, body: bytes, repo: str, revision: str, name: str) -> None:
        if not self._may_read(repo):
            return
        content = self.hub.repos[repo].get(name)
        if content is None:
            self._send(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"})
            return
        headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": self.hub.commit_of(repo)}
        self._send(200, content, headers)


_REPO = r"([\w.-]+/[\w.-]+)"
_ROUTES = [
    (r"POST /api/repos/create", _Handler.create),
    (rf"GET /api/models/{_REPO}", _Handler.info),
    (rf"GET /api/models/{_REPO}/revision/(.+)", _Handler.info),
    (rf"GET /api/models/{_REPO}/tree/([^/]+).*", _Handler.tree),
    (r"POST /api/validate-yaml", _Handler.validate),
    (rf"POST /api/models/{_REPO}/preupload/([^/]+)", _Handler.preupload),
    (rf"POST /{_REPO}\.git/info/lfs/objects/batch", _Handler.batch),
    (r"PUT /lfs/(\w+)", _Handler.blob),
    (rf"POST /api/models/{_REPO}/commit/([^/]+)", _Handler.commit),
    (rf"(?:GET|HEAD) /{_REPO}/resolve/([^/]+)/(.+)", _Handler.resolve),
]


@contextlib.contextmanager
def running() -> Iterator[Hub]:
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
