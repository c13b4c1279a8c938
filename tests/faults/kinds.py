"""Light kinds of jobs for faults that need no training: they import nothing large and last as long as they are told."""

from __future__ import annotations

import os
import subprocess
import time
from typing import Any

from jobs import run_folder
from jobs.progress import Progress
from storage import files
from tests.faults import points

Spec = dict[str, Any]
MODULE = "tests.faults.kinds"
KINDS = {name: f"{MODULE}:{name}" for name in ("once", "family", "hungry")}
HUNGRY_FILE, CHILD_FILE, ONCE_FILE = "hungry", "child", "once"


def once(spec: Spec, progress: Progress) -> Spec:
    """Write one line, so that a second process for the same job would show."""
    with (points.folder() / ONCE_FILE).open("a") as file:
        file.write(f"{spec['job_id']} {spec['attempt']} {os.getpid()}\n")
    return {"status": "finished"}


def family(spec: Spec, progress: Progress) -> Spec:
    """Have a child, then count."""
    child = subprocess.Popen(["sleep", "600"])
    (points.folder() / CHILD_FILE).write_text(str(child.pid))
    progress.total_steps(10_000)
    for step in range(1, 10_000):
        if progress.should_stop():
            break
        progress.metric(step, loss=1.0)
        time.sleep(0.05)
    child.kill()
    return {"status": "stopped"}


def hungry(spec: Spec, progress: Progress) -> Spec:
    """Wait for a file, then take all the memory that there is."""
    progress.total_steps(9)
    progress.metric(4, loss=1.0)
    while not (points.folder() / HUNGRY_FILE).exists():
        time.sleep(0.05)
    # The test has put this process into a group of its own, where it would have been from its start.
    run_folder.note_memory_kills(files.attempt_folder(spec["job_id"], spec["attempt"]))
    eaten = []
    for _ in range(100):
        eaten.append(bytearray(os.urandom(1)) * 20_000_000)
        time.sleep(0.02)
    return {"status": "finished"}
