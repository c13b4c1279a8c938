"""A server on this machine's loopback that stands in for the datasets of the Hugging Face hub."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

_COMMIT = "c" * 40


class Hub:
    """Datasets by id, each a dict of files; `refuses` gives a status and an error code for an id.

    The facts of those in `gated_files` are public, the files are not.
    """

    def __init__(self) -> None:
        self.datasets: dict[str, dict[str, bytes]] = {}
        self.refuses: dict[str, tuple[int, str]] = {}
        self.gated_files: set[str] = set()
        self.url = ""


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(b"")

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""

    def _answer(self, body: bytes) -> None:
        path = unquote(urlsplit(self.path).path)
        found = re.match(r"/(?:api/)?datasets/([^/]+/[^/]+)(?:/(.*))?$", path)
        hub_id, rest = (found[1], found[2] or "") if found else ("", "")
        if hub_id in self.hub.refuses:
            status, code = self.hub.refuses[hub_id]
            self._send(status, b"{}", {"X-Error-Code": code})
        elif hub_id not in self.hub.datasets:
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif hub_id in self.hub.gated_files and not path.startswith("/api/"):
            self._send(401, b"{}", {"X-Error-Code": "GatedRepo"})
        elif path.startswith("/api/"):
            self._facts(hub_id, rest, body)
        else:
            self._file(self.hub.datasets[hub_id], re.sub(r"^resolve/[^/]+/", "", rest))

    def _facts(self, hub_id: str, rest: str, body: bytes) -> None:
        held = self.hub.datasets[hub_id]
        if rest.startswith("tree/"):
            under = re.sub(r"^tree/[^/]+/?", "", rest)
            listed = [_entry(name, held[name]) for name in held if name.startswith(under)]
            folders = {name.split("/")[0] for name in held if "/" in name and not under}
            told: Any = [*listed, *({"type": "directory", "path": name, "oid": "d" * 40} for name in folders)]
        elif rest.startswith("paths-info/"):
            wanted = json.loads(body)["paths"]
            told = [_entry(name, held[name]) for name in wanted if name in held]
            parents = [name for name in wanted if any(one.startswith(f"{name}/") for one in held)]
            told += [{"type": "directory", "path": name, "oid": "d" * 40} for name in parents]
        else:
            told = {
                "id": hub_id,
                "sha": _COMMIT,
                "siblings": [{"rfilename": name} for name in held],
                "tags": [],
            }
        self._send(200, json.dumps(told).encode(), {"Content-Type": "application/json"})

    def _file(self, held: dict[str, bytes], name: str) -> None:
        if name not in held:
            self._send(404, b"{}", {"X-Error-Code": "EntryNotFound"})
            return
        content = held[name]
        headers = {
            "ETag": f'"{hashlib.sha1(content).hexdigest()}"',
            "X-Repo-Commit": _COMMIT,
            "Accept-Ranges": "bytes",
        }
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers["Range"] or "")
        if asked:
            start, last = int(asked[1]), int(asked[2] or len(content) - 1)
            headers["Content-Range"] = f"bytes {start}-{min(last, len(content) - 1)}/{len(content)}"
            self._send(206, content[start : last + 1], headers)
        else:
            self._send(200, content, headers)

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _entry(name: str, content: bytes) -> dict[str, Any]:
    return {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub at `url` while the block runs."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
