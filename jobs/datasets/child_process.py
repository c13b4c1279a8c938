"""The process that `jobs.datasets.child` has started: it takes its limits upon itself, works, and says how it went."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from jobs.datasets.child import FAULT, FULL_DISK, NO_MEMORY, REFUSED, TOO_LARGE, Limits, Report
from storage import config, files
from storage.errors import DiskFull, StudioError

NICENESS = 10
REPORT_SECONDS = 0.1
_PR_SET_PDEATHSIG = 1  # prctl(2)


def work(beside: Path, function: Callable[[dict[str, Any], Path, Report], dict[str, Any]]) -> NoReturn:
    """Do the task of spec.json and end the process; its status says how, see `child`."""
    _end_with_parent()
    task = json.loads((beside / "spec.json").read_bytes())
    limits = Limits(**task["limits"])
    _keep_to(limits)
    config.use(config.from_environment(data_dir=task["data_dir"]))
    try:
        result = function(task["spec"], Path(task["folder"]), _Reporter(beside / "progress.json"))
        files.write_json(beside / "result.json", result)
        status = 0
    except BaseException as error:  # noqa: BLE001  # the process's edge
        status = _status_of(error, beside)
    sys.stdout.flush()
    sys.stderr.flush()
    # Libraries' threads and the taking down of a million objects are nothing to wait for.
    os._exit(status)


class _Reporter:
    """Writes progress.json, at most ten times a second unless the words change; a reader never sees half of it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._words = ""
        self._next = 0.0

    def __call__(self, words: str, done: int | None, total: int | None) -> None:
        now = time.monotonic()
        if now < self._next and words == self._words:
            return
        self._words, self._next = words, now + REPORT_SECONDS
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps({"words": words, "done": done, "total": total}))
        os.replace(new, self._path)


def _end_with_parent() -> None:
    """Let nothing of this process outlive the one that started it, however that ends.

    Standard input is a pipe to it that is never written: it ends when the parent has. Linux's own signal comes on
    top, because a library that computes for minutes in one call may keep the thread below from running.
    """
    threading.Thread(target=_end_at_eof, daemon=True).start()
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _end_at_eof() -> None:
    while os.read(0, 64):
        pass
    os.killpg(os.getpgid(0), signal.SIGKILL)


def _keep_to(limits: Limits) -> None:
    """Have the system hold this process to its limits; the memory of threads and of mapped files does not count.

    RLIMIT_DATA counts what a process writes to (and on Linux all private mappings); RLIMIT_AS would count what is
    merely reserved as well, by the gigabyte in Arrow and NumPy.
    """
    os.nice(NICENESS)
    _lower(resource.RLIMIT_DATA, limits.memory_bytes)
    _lower(resource.RLIMIT_CPU, int(limits.cpu_seconds) + 1)
    _lower(resource.RLIMIT_FSIZE, limits.file_bytes)
    _lower(resource.RLIMIT_CORE, 0)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that writing raises EFBIG


def _lower(kind: int, limit: int) -> None:
    """Set a limit, unless a lower one is set already."""
    soft, hard = resource.getrlimit(kind)
    lowest = min(one for one in (soft, hard, limit) if one != resource.RLIM_INFINITY)
    resource.setrlimit(kind, (lowest, hard))


def _status_of(error: BaseException, beside: Path) -> int:
    """The status to end with; the words of a refusal are written, the traceback of anything else printed."""
    if _is_too_large(error):
        return TOO_LARGE
    if isinstance(error, DiskFull) or files.is_full_disk(error):
        return FULL_DISK
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return NO_MEMORY
    if isinstance(error, StudioError):
        try:
            files.write_json(beside / "error.json", error.as_json())
        except StudioError:  # the disk is full now
            return FULL_DISK
        return REFUSED
    traceback.print_exception(error)
    return FAULT


def _is_too_large(error: BaseException | None) -> bool:
    """Whether a file would have grown over its limit, here or in the chain of causes."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, OSError) and error.errno == errno.EFBIG:
            return True
        error = error.__cause__ or error.__context__
    return False
