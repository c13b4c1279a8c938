"""What takes the place on the disk, part by part."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass

from storage import files, sqlite_file

# A run's saved states lie in runs/<job>/attempt-<n>/states.
_STATES = "states"


@dataclass(frozen=True)
class Part:
    """One part of the data folder and what its files take; a file under several names counts once."""

    key: str
    size_bytes: int


def usage() -> list[Part]:
    """What each part takes now, in the order in which a page lists them.

    `runs` is without `checkpoints`. `database` is 0 on PostgreSQL, which keeps it elsewhere.
    """
    seen: set[tuple[int, int]] = set()
    sizes = dict.fromkeys(("datasets", "models", "adapters", "runs", "checkpoints"), 0)
    for name in ("adapters", "datasets", "models", "runs", "cache", "logs", "backups", "trash", "tmp"):
        folder = files.root() / name
        for path, status in files.under(folder):
            if status.st_nlink > 1:  # attempts share the states that they take over
                same = (status.st_dev, status.st_ino)
                if same in seen:
                    continue
                seen.add(same)
            parts = path.relative_to(folder).parts
            is_state = name == "runs" and len(parts) > 3 and parts[2] == _STATES
            key = "checkpoints" if is_state else name
            sizes[key] = sizes.get(key, 0) + status.st_size
        sizes.setdefault(name, 0)
    sizes["database"] = _database_bytes()
    return [Part(key, size) for key, size in sizes.items()]


def _database_bytes() -> int:
    """The database's file with its journals."""
    database = sqlite_file.current()
    total = 0
    for ending in ("", "-wal", "-shm", "-journal"):
        if database is not None:
            with suppress(OSError):
                total += os.lstat(f"{database}{ending}").st_size
    return total
