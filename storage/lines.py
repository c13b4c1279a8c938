"""Files of JSON lines that only grow: a line is on the disk, whole, when it has been added."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from storage import files


def append(path: Path, values: Iterable[Any]) -> None:
    """Add values to a file, a line each; all of them, or on a full disk none. One process at a time.

    Raises StudioError when the disk is full.
    """
    lines = b"".join(json.dumps(files.json_safe(value)).encode() + b"\n" for value in values)
    is_new = not path.exists()
    with files.full_disk_as_error(len(lines)), path.open("a+b", buffering=0) as file:
        begin = file.seek(0, os.SEEK_END)
        if begin:  # what a power cut left of the last line ends here, and takes nothing of the next
            file.seek(begin - 1)
            lines = lines if file.read(1) == b"\n" else b"\n" + lines
        try:
            written = 0
            while written < len(lines):
                written += file.write(lines[written:])
            os.fsync(file.fileno())
        except OSError:
            with suppress(OSError):
                file.truncate(begin)
            raise
    if is_new:
        files.sync(path.parent)


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The objects in a file, in order; nothing where there is none, and not what a power cut left of a line."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        yield from _objects(file)


def read_from(path: Path, offset: int) -> tuple[list[dict[str, Any]], int]:
    """The objects of all whole lines from `offset` on, and where to read on; nothing where there is no file."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            whole, end, _ = file.read().rpartition(b"\n")
    except FileNotFoundError:
        return [], offset
    return list(_objects(whole.split(b"\n"))), offset + len(whole) + len(end)


def _objects(found: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    for line in found:
        with suppress(ValueError):
            value = json.loads(line)
            if isinstance(value, dict):
                yield value
