"""What a child is told to do in the tests: `python -m tests.jobs.datasets.child_tasks FOLDER`."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobs.datasets import child
from jobs.datasets.child import Report
from storage import files
from storage.errors import StudioError

Spec = dict[str, Any]
MODULE = "tests.jobs.datasets.child_tasks"


def count(spec: Spec, folder: Path, report: Report) -> dict[str, Any]:
    """Report a few steps, fill the folder, and say who this is."""
    for done in range(4):
        report("Counting", done, 3)
        time.sleep(0.12)
    report("Writing", None, None)
    (folder / "numbers").write_text("1 2 3")
    return {"counted": spec["count"], "nice": os.nice(0), "session": os.getsid(0), "pid": os.getpid()}


def refuse(spec: Spec, folder: Path, report: Report) -> dict[str, Any]:
    """Say what is wrong."""
    raise StudioError("Row 7 is odd.", "Correct row 7.")


def fail(spec: Spec, folder: Path, report: Report) -> dict[str, Any]:
    """A fault of the studio."""
    return {"never": 1 / 0}


def fill_the_disk(spec: Spec, folder: Path, report: Report) -> dict[str, Any]:
    """What the system says of a full disk."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def take_memory(spec: Spec, folder: Path, report: Report) -> dict[str, Any]:
    """Ask for more than there may be, at once and without using it."""
    import numpy as np

    return {"held": len(np.empty(spec["bytes"], "u1"))}


def share_memory(spec: Spec, folder: Path, report: Report) -> dict[str, Any]:
    """Take memory that the system does not count as this process's data."""
    held = mmap.mmap(-1, spec["bytes"])
    for start in range(0, spec["bytes"], mmap.PAGESIZE):
        held[start] = 1
    time.sleep(30)
    return {}


def use_arrow(spec: Spec, folder: Path, report: Report) -> dict[str, Any]:
    """Write and read a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"text": ["words " * 100] * 10_000}), folder / "table.parquet")
    return {"rows": pq.read_table(folder / "table.parquet").num_rows}


def write_much(spec: Spec, folder: Path, report: Report) -> dict[str, Any]:
    """Write a file that grows and grows."""
    with (folder / "bomb").open("wb") as file:
        while True:
            file.write(b"x" * 1_000_000)


def wait(spec: Spec, folder: Path, report: Report) -> dict[str, Any]:
    """Say who this is, and then nothing any more."""
    _tell(spec)
    report("Waiting", None, None)
    time.sleep(60)
    return {}


def wait_in_c(spec: Spec, folder: Path, report: Report) -> dict[str, Any]:
    """Wait in a library that lets no other thread run."""
    _tell(spec)
    ctypes.PyDLL(None).sleep(60)
    return {}


def wait_without_signal(spec: Spec, folder: Path, report: Report) -> dict[str, Any]:
    """Wait where the system does not tell of the parent's end, as outside Linux."""
    ctypes.CDLL(None).prctl(1, 0)  # PR_SET_PDEATHSIG, none
    return wait(spec, folder, report)


def start_another(spec: Spec, folder: Path, report: Report) -> dict[str, Any]:
    """Have a process of its own, and wait."""
    with subprocess.Popen(["sleep", "600"]) as sleeper:
        _tell(spec, sleeper.pid)
        time.sleep(60)
    return {}


def compute(spec: Spec, folder: Path, report: Report) -> dict[str, Any]:
    """Compute without end, reporting all the while."""
    while True:
        report("Computing", None, None)


def crash(spec: Spec, folder: Path, report: Report) -> dict[str, Any]:
    """Read where there is no memory."""
    ctypes.string_at(0)
    return {}


def _tell(spec: Spec, *others: int) -> None:
    files.write_text(Path(spec["told"]), " ".join(map(str, (os.getpid(), *others))))


TASKS: dict[str, Callable[[Spec, Path, Report], dict[str, Any]]] = {
    task.__name__: task
    for task in (
        *(count, refuse, fail, fill_the_disk, take_memory, share_memory, use_arrow, write_much),
        *(wait, wait_in_c, wait_without_signal, start_another, compute, crash),
    )
}

if __name__ == "__main__":
    child.main(lambda spec, folder, report: TASKS[spec["task"]](spec, folder, report))
