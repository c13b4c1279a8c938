"""Copies of the database in the folder `backups`, made while everybody goes on writing."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from storage import failures, files, sqlite_file
from storage.errors import StudioError

PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class Backup:
    """One copy of the database, a whole SQLite file."""

    path: Path
    size_bytes: int
    made_at: float


def back_up() -> Path:
    """Copy the database to backups/ and check the copy; nothing is there until it is whole and on the disk.

    Raises DiskFull, DamagedDatabase, and StudioError for a database that is busy all the time or not SQLite.
    """
    database = sqlite_file.current()
    if database is None:
        raise StudioError(
            "The studio makes no copies of a PostgreSQL database.",
            "Use its own program: pg_dump --format=custom --file=studio.dump DATABASE",
        )
    folder = files.root() / "backups"
    half_made = folder / f".{files.new_id()}"
    with failures.in_words():
        _check_room(database)
        try:
            with files.full_disk_as_error():
                files.make_lasting(folder)
                half_made.mkdir()
                copy = half_made / "copy.db"
                _copy(database, copy)
                revision = _check(copy)
                files.sync(copy)
                stamp = time.strftime("%Y%m%d-%H%M%S")
                final = folder / f"{database.stem}-{revision}-{stamp}-{files.new_id()}.db"
                os.rename(copy, final)
                files.sync(folder)
        except OSError as error:
            raise StudioError(
                f"The folder {folder} cannot be written: {error.strerror}.", "Check its permissions."
            ) from error
        finally:
            shutil.rmtree(half_made, ignore_errors=True)
    return final


def list_all() -> list[Backup]:
    """The copies that there are, the newest first."""
    found = []
    for path in (files.root() / "backups").glob("[!.]*.db"):
        with suppress(FileNotFoundError):
            status = path.stat()
            found.append(Backup(path, status.st_size, status.st_mtime))
    return sorted(found, key=lambda backup: (backup.made_at, backup.path.name), reverse=True)


def _check_room(database: Path) -> None:
    with suppress(FileNotFoundError):
        needed = database.stat().st_size
        if files.free_bytes() < needed:
            raise files.full_disk(needed)


def _copy(database: Path, copy: Path) -> None:
    """Let SQLite copy all pages in one step: in several, every write in between would make it begin again."""
    give_up = time.monotonic() + PATIENCE_SECONDS

    def look_at_the_clock(_status: int, _remaining: int, _total: int) -> None:
        if time.monotonic() > give_up:
            raise StudioError("The database is busy.", "Try again in a moment.")

    # mode=rw: a database that is not there is not made, and what a crash left in its journal is undone.
    source = f"file:{quote(str(database))}?mode=rw"
    with (
        closing(sqlite3.connect(source, uri=True, timeout=1)) as opened,
        closing(sqlite3.connect(copy, isolation_level=None)) as target,
    ):
        target.execute("PRAGMA synchronous = OFF")  # the whole file is synced at the end
        opened.backup(target, progress=look_at_the_clock, sleep=0.02)
        target.execute("PRAGMA journal_mode = DELETE")  # one file, whatever the source's journal is


def _check(copy: Path) -> str:
    """The revision of a copy that SQLite finds in order."""
    with closing(sqlite3.connect(copy)) as opened:
        verdict = opened.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if verdict != "ok":
            raise failures.damaged(str(verdict))
        if not opened.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone():
            return "unknown"
        revision = opened.execute("SELECT version_num FROM alembic_version").fetchone()
    return files.slug(str(revision[0])) if revision else "unknown"
