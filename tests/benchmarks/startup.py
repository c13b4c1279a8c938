"""How long a start takes, in seconds from the command: first answer, ready line, usable page; beside bare Gradio.

    python -m tests.benchmarks.startup --runs 5

The peer of the same run is a program of five lines that imports Gradio and serves one button.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from playwright.sync_api import Page, sync_playwright

from tests.journeys.conftest import launch
from tests.journeys.studio_process import ROOT, first_line, kill_all_of
from tests.journeys.tiny_studio import NO_NETWORK

PEER = """
import sys, gradio
with gradio.Blocks() as page:
    gradio.Button("Hello")
page.launch(server_port=int(sys.argv[1]), quiet=True)
"""
Measured = dict[str, float]


@contextmanager
def started(*command: str) -> Iterator[subprocess.Popen[str]]:
    """A process of its own, ended with the block."""
    environment = {**os.environ, **NO_NETWORK, "GRADIO_ANALYTICS_ENABLED": "False"}
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def seconds_to_answer(url: str, began: float) -> float:
    """When the first page came, asked again every 10 ms."""
    with httpx.Client(trust_env=False) as client:
        while time.perf_counter() - began < 120:
            try:
                if client.get(url).status_code == 200:
                    return time.perf_counter() - began
            except httpx.TransportError:
                time.sleep(0.01)
    raise TimeoutError(f"{url} did not answer")


def studio(page: Page, home: Path, port: int) -> Measured:
    """One start of the studio on a data folder of its own."""
    began = time.perf_counter()
    try:
        with started("app.py", "--no-browser", "--port", str(port), "--data-dir", str(home)) as process:
            answered = seconds_to_answer(f"http://127.0.0.1:{port}", began)
            page.goto(f"http://127.0.0.1:{port}")
            page.locator("#sample-tone").wait_for(timeout=120_000)
            usable = time.perf_counter() - began
            # Printed before the page could be usable; read here, so that reading it delays nothing.
            assert first_line(process, 60).startswith("LoRA Tailor is ready")
            return {
                "first answer (splash)": answered,
                "usable page (Chromium shows the sample button)": usable,
            }
    finally:
        kill_all_of(home)


def ready_line(home: Path, port: int) -> Measured:
    """One start of the studio that nobody looks at, until it says that it is ready."""
    began = time.perf_counter()
    try:
        with started("app.py", "--no-browser", "--port", str(port), "--data-dir", str(home)) as process:
            assert first_line(process, 120).startswith("LoRA Tailor is ready")
            return {"ready line": time.perf_counter() - began}
    finally:
        kill_all_of(home)


def peer(port: int) -> Measured:
    """One start of the bare Gradio program."""
    began = time.perf_counter()
    with started("-c", PEER, str(port)):
        return {
            "peer: bare Gradio with one button, first HTML": seconds_to_answer(
                f"http://127.0.0.1:{port}", began
            )
        }


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def main() -> None:
    """Measure in turns, so that a busy moment of the machine meets everybody; print one line each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5, help="starts of each kind (default 5)")
    runs = parser.parse_args().runs
    seconds: dict[str, list[float]] = {}
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = launch(playwright)
        for run in range(runs):
            page = browser.new_page()
            for measured in (
                studio(page, Path(folder) / f"page-{run}", free_port()),
                ready_line(Path(folder) / f"line-{run}", free_port()),
                peer(free_port()),
            ):
                for what, value in measured.items():
                    seconds.setdefault(what, []).append(value)
            page.close()
        browser.close()
    for what, values in seconds.items():
        print(json.dumps(line(what, values), ensure_ascii=False))


def line(what: str, values: list[float]) -> dict[str, object]:
    """One measurement as it is printed: the median, with how far the runs lie apart."""
    conditions = {
        "runs": len(values),
        "fastest": round(min(values), 2),
        "slowest": round(max(values), 2),
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "network": "none",
        "data folder": "new for each start",
    }
    value = round(statistics.median(values), 2)
    return {"what": what, "device": "cpu", "value": value, "unit": "seconds", "conditions": conditions}


if __name__ == "__main__":
    main()
