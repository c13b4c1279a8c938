"""A million rows of 2 GB through a real studio: how long, how much memory, how the page answers meanwhile."""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.benchmarks.importing import made_files
from tests.journeys import studio_process
from tests.journeys.studio_process import Studio
from tests.journeys.tiny_studio import NO_NETWORK

IMPORT_MODULE = "jobs.datasets.import_process"
ASK_EVERY_SECONDS = 0.1
# What an import fills, and what lies beside it; uploads and Gradio's own files have other names.
STAGED = re.compile(r"[a-z0-9]{8}(\.child)?")
PATIENCE_SECONDS = 3600.0
# In a process of its own, so that the questions below are not delayed by it.
UPLOAD = """
import httpx, sys
with open(sys.argv[2], "rb") as file:
    answer = httpx.post(sys.argv[1] + "/gradio_api/upload", files={"files": file}, timeout=3600, trust_env=False)
print(answer.raise_for_status().json()[0])
"""


@dataclass
class Seen:
    """What was measured during one stage."""

    seconds: float = 0.0
    answers: dict[str, list[float]] = field(default_factory=dict)
    page_bytes: int = 0
    child_bytes: int = 0


def measured(folder: Path, rows: int, size: int) -> Iterator[dict[str, Any]]:
    """One line for each figure."""
    path = made_files.write(folder, "jsonl", rows, size // rows)
    home = folder / "home"
    conditions = {
        "rows": rows,
        "file_bytes": path.stat().st_size,
        "processors": os.cpu_count(),
        "python": platform.python_version(),
    }
    studio = studio_process.start(home, environment=NO_NETWORK)
    try:
        for words, seen in _stages(studio, path, rows):
            yield _line(f"{words}: time", seen.seconds, "seconds", conditions)
            yield _line(f"{words}: peak memory of the page", seen.page_bytes / 1e6, "MB", conditions)
            if seen.child_bytes:
                yield _line(f"{words}: peak memory of its process", seen.child_bytes / 1e6, "MB", conditions)
            for name, seconds in seen.answers.items():
                p95 = statistics.quantiles(seconds, n=20)[-1] if len(seconds) > 1 else seconds[0]
                asked = {**conditions, "asked": len(seconds), "slowest": round(max(seconds) * 1e3)}
                yield _line(f"{words}: {name} p95", p95 * 1e3, "ms", asked)
        yield _line("killed half way: what is left", _left_of_a_kill(studio, path), "folders", conditions)
    finally:
        studio.stop()


def _stages(studio: Studio, path: Path, rows: int) -> Iterator[tuple[str, Seen]]:
    with _watching(studio) as seen:
        time.sleep(10)
    yield "nothing else", seen
    with _watching(studio) as seen:
        uploaded = _uploaded(studio, path)
    yield "upload", seen
    with _watching(studio) as seen:
        answer = _import(studio, uploaded)
    assert answer["rows"] == rows, answer
    yield "import", seen


def _uploaded(studio: Studio, path: Path) -> str:
    command = [sys.executable, "-c", UPLOAD, studio.url.rstrip("/"), str(path)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _import(studio: Studio, uploaded: str) -> dict[str, Any]:
    """What /add_dataset says."""
    with httpx.Client(base_url=studio.url, timeout=PATIENCE_SECONDS, trust_env=False) as client:
        return dict(_called(client, "add_dataset", _file(uploaded), "Large"))


def _file(uploaded: str) -> dict[str, Any]:
    return {"path": uploaded, "meta": {"_type": "gradio.FileData"}}


def _called(client: httpx.Client, name: str, *values: Any) -> Any:
    """The answer of an endpoint, as a program without gradio_client gets it."""
    asked = client.post(f"/gradio_api/call/{name}", json={"data": list(values)}).raise_for_status().json()
    told = client.get(f"/gradio_api/call/{name}/{asked['event_id']}").raise_for_status().text
    assert "event: complete" in told, told[-500:]
    return json.loads(told.rpartition("data: ")[2])[0]


class _watching:
    """Asks the page all the while, and weighs the processes."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._page = psutil.Process(studio.process.pid)
        self._over = threading.Event()
        self._seen = Seen()
        self._threads = [threading.Thread(target=self._ask), threading.Thread(target=self._weigh)]

    def __enter__(self) -> Seen:
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self._seen

    def __exit__(self, *_: object) -> None:
        self._seen.seconds = time.monotonic() - self._began
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        with httpx.Client(base_url=self._studio.url, timeout=60, trust_env=False) as client:
            ways: dict[str, Callable[[], object]] = {
                "GET /healthz": lambda: client.get("/healthz").raise_for_status(),
                "GET /": lambda: client.get("/").raise_for_status(),
                "endpoint /base_models": lambda: _called(client, "base_models"),
            }
            while not self._over.is_set():
                for name, way in ways.items():
                    began = time.perf_counter()
                    way()
                    self._seen.answers.setdefault(name, []).append(time.perf_counter() - began)
                self._over.wait(ASK_EVERY_SECONDS)

    def _weigh(self) -> None:
        while not self._over.wait(0.1):
            self._seen.page_bytes = max(self._seen.page_bytes, self._page.memory_info().rss)
            for child in _children(self._page):
                with suppress(OSError):
                    status = Path(f"/proc/{child.pid}/status").read_text()
                    peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024
                    self._seen.child_bytes = max(self._seen.child_bytes, peak)


def _children(page: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.Error):
        return [child for child in page.children() if IMPORT_MODULE in child.cmdline()]
    return []


def _left_of_a_kill(studio: Studio, path: Path) -> int:
    """Folders that a kill of the page half way of an import leaves, after the next start."""
    before = sorted((studio.home / "datasets").iterdir())
    uploaded = _uploaded(studio, path)
    threading.Thread(target=lambda: _quietly(_import, studio, uploaded), daemon=True).start()
    page = psutil.Process(studio.process.pid)
    (child,) = _until(lambda: _children(page))
    _until(lambda: _share(studio.home) >= 0.5)
    studio.process.kill()
    studio.process.wait()
    _until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
    studio_process.kill_all_of(studio.home)
    again = studio_process.start(studio.home, environment=NO_NETWORK)
    try:
        assert sorted((studio.home / "datasets").iterdir()) == before
        return len([place for place in (studio.home / "tmp").iterdir() if STAGED.fullmatch(place.name)])
    finally:
        again.stop()


def _share(home: Path) -> float:
    """How far the import has come in reading."""
    for told in (home / "tmp").glob("*.child/progress.json"):
        with suppress(OSError, ValueError):
            said = json.loads(told.read_bytes())
            if said["words"].startswith("Reading"):
                return float(said["done"] or 0) / (said["total"] or 1)
    return 0.0


def _until(look: Callable[[], Any]) -> Any:
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.05)
    raise TimeoutError


def _quietly(act: Callable[..., Any], *values: Any) -> None:
    with suppress(httpx.HTTPError, AssertionError):
        act(*values)


def _line(what: str, value: float, unit: str, conditions: dict[str, Any]) -> dict[str, Any]:
    return {"what": what, "device": "cpu", "value": round(value, 1), "unit": unit, "conditions": conditions}
