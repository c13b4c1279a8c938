"""A studio as a user starts it: app.py in its own process with its own data folder."""

from __future__ import annotations

import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Studio:
    """A running studio: its address, its data folder, its page process."""

    url: str
    home: Path
    process: subprocess.Popen[str]

    def stop(self) -> None:
        """End the page, then whatever of this data folder is still running (worker, job, model server)."""
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
        kill_all_of(self.home)


def kill_all_of(home: Path) -> None:
    """Kill every process that was started for a data folder."""
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if process.pid != os.getpid() and any(str(home) in word for word in words):
            process.kill()


def start(
    home: Path, *arguments: str, starter: Path | None = None, environment: dict[str, str] | None = None
) -> Studio:
    """Start app.py on a free port and wait for its first line."""
    if starter is not None and not (home / "models" / "starter").exists():
        (home / "models").mkdir(parents=True, exist_ok=True)
        shutil.copytree(starter, home / "models" / "starter")
    process = subprocess.Popen(
        [sys.executable, "app.py", "--no-browser", "--port", "0", "--data-dir", str(home), *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
    )
    line = first_line(process, seconds=90)
    assert line.startswith("LoRA Tailor is ready at http://"), line
    return Studio(line.split()[-1], home, process)


def first_line(process: subprocess.Popen[str], seconds: float) -> str:
    """The first line a process prints; fails when none comes in time."""
    lines: queue.Queue[str] = queue.Queue()
    assert process.stdout is not None
    threading.Thread(target=lambda: lines.put(process.stdout.readline()), daemon=True).start()
    try:
        return lines.get(timeout=seconds).strip()
    except queue.Empty:
        process.kill()
        raise AssertionError(f"no line within {seconds} seconds") from None


def wait_until(condition, seconds: float, every: float = 0.3):  # type: ignore[no-untyped-def]
    """The first true value of `condition`, asked again and again; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(every)
    raise AssertionError(f"not true within {seconds} seconds: {condition}")
