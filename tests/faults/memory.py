"""A group of processes whose memory the system limits, so that its out-of-memory killer comes for them alone."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

LIMIT_BYTES = 100_000_000
# (folder of groups, the file with the limit), of version 1 and of version 2.
_KINDS = (
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
    (Path("/sys/fs/cgroup"), "memory.max"),
)


@contextlib.contextmanager
def limited(pid: int, limit_bytes: int = LIMIT_BYTES) -> Iterator[bool]:
    """Let a process take so many bytes more at most; False where this machine does not allow that to be set."""
    folder = _made(limit_bytes)
    try:
        if folder is not None:
            (folder / "cgroup.procs").write_text(str(pid))
        yield folder is not None
    finally:
        if folder is not None:
            _remove(folder, pid)


def _made(limit_bytes: int) -> Path | None:
    for groups, limit in _KINDS:
        folder = groups / f"lora-tailor-tests-{os.getpid()}"
        with contextlib.suppress(OSError):
            folder.mkdir()
            try:
                # Without the limit's file there is no such controller here, and nothing is written.
                if (folder / limit).exists():
                    (folder / limit).write_text(str(limit_bytes))
                    return folder
            except OSError:
                pass
            folder.rmdir()
    return None


def _remove(folder: Path, pid: int) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(pid).kill()
    for _ in range(100):
        try:
            folder.rmdir()
            return
        except OSError:  # its process is on the way out
            time.sleep(0.05)
