"""Servers on this machine's loopback that stand in for a file server and for the hub."""

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


class Place:
    """What a server holds and how it behaves; `requests` lists (method, path, range)."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.requests: list[tuple[str, str, str | None]] = []
        self.knows_ranges = True
        self.cut_after: int | None = None
        self.refuses_with: dict[str, tuple[int, str]] = {}
        self.url = ""


class _Handler(BaseHTTPRequestHandler):
    place: Place

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""

    def _answer(self, with_body: bool) -> None:
        path = unquote(urlsplit(self.path).path).lstrip("/")
        self.place.requests.append((self.command, path, self.headers["Range"]))
        for start, (status, code) in self.place.refuses_with.items():
            if start in f"{self.command} {path}":
                self._send(status, b"no", {"X-Error-Code": code} if code else {}, with_body)
                return
        if path.startswith("api/models/"):
            self._hub_facts(path, with_body)
            return
        name = re.sub(r"^.*/resolve/[^/]+/", "", path)
        if name not in self.place.files:
            self._send(404, b"no such file", {"X-Error-Code": "RepoNotFound"}, with_body)
            return
        self._file(self.place.files[name], with_body)

    def _file(self, content: bytes, with_body: bool) -> None:
        headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": "c" * 40}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers["Range"] or "")
        if not asked or not self.place.knows_ranges:
            self._send(200, content, headers, with_body)
            return
        start, last = int(asked[1]), int(asked[2] or len(content) - 1)
        if start >= len(content):
            self._send(416, b"", {"Content-Range": f"bytes */{len(content)}"}, with_body)
            return
        headers["Content-Range"] = f"bytes {start}-{last}/{len(content)}"
        self._send(206, content[start : last + 1], headers, with_body)

    def _hub_facts(self, path: str, with_body: bool) -> None:
        listed = [
            {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
            for name, content in self.place.files.items()
        ]
        siblings = [{"rfilename": name, "size": len(content)} for name, content in self.place.files.items()]
        facts = listed if "/tree/" in path else {"id": "org/model", "sha": "c" * 40, "siblings": siblings}
        self._send(200, json.dumps(facts).encode(), {"Content-Type": "application/json"}, with_body)

    def _send(self, status: int, body: bytes, headers: dict[str, str], with_body: bool) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if not with_body:
            return
        if self.place.cut_after is not None and len(body) > self.place.cut_after:
            self.wfile.write(body[: self.place.cut_after])
            self.place.cut_after = None  # the next connection holds
            self.close_connection = True
            return
        self.wfile.write(body)


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[Place]:
    """A server with these files, by name; it answers as the hub does, too."""
    place = Place(files)
    handler = type("Handler", (_Handler,), {"place": place})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    place.url = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield place
    finally:
        server.shutdown()
        server.server_close()
