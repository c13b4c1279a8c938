"""File locks that the system lets go of when their holder dies, however it dies."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import TextIO


def take(path: Path, *, shared: bool = False, wait: bool = False) -> TextIO | None:
    """The locked file, or None when somebody else holds it (and `wait` is off); closing it lets go."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        file.close()
        return None
    return file
