"""What a database says about the world around it (disk, locks, damage, network), in words."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, OperationalError

from storage import files
from storage.errors import DamagedDatabase, StudioError

# SQLite knows ENOSPC as "full", and EFBIG and EDQUOT only as a failed write.
_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE)
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_TOO_LITTLE = 64 * 1024  # bytes
_BUSY = ("The database is busy.", "Try again in a moment.")
_REMEDY = (
    "Nothing is lost: the studio can make it again from its folders. Start with app.py --rebuild-database, or press "
    "Rebuild on the System page. Or put the newest copy from the folder backups in its place."
)
_SENTENCES = {
    sqlite3.SQLITE_BUSY: _BUSY,
    sqlite3.SQLITE_LOCKED: _BUSY,
    sqlite3.SQLITE_PROTOCOL: _BUSY,
    sqlite3.SQLITE_READONLY_DBMOVED: (
        "The database's file was replaced just now.",
        "Try again: the new one is used from now on.",
    ),
    sqlite3.SQLITE_READONLY: (
        "The database may not be written.",
        "Check the permissions of the data folder.",
    ),
    sqlite3.SQLITE_CANTOPEN: ("The database cannot be opened.", "Check the permissions of the data folder."),
    sqlite3.SQLITE_IOERR: (
        "The disk cannot read or write the database.",
        "Check the disk of the data folder.",
    ),
}


# PostgreSQL's deadlock_detected, serialization_failure, lock_not_available; and disk_full.
_POSTGRES_BUSY = ("40P01", "40001", "55P03")
_POSTGRES_FULL = "53100"


@contextmanager
def in_words() -> Iterator[None]:
    """Turn failures of the world into StudioError; our own mistakes, like wrong SQL, stay as they are."""
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        words = _words_for(error)
        if words is None:
            raise
        raise words from error


def damaged(detail: str) -> DamagedDatabase:
    """The error for a database whose file is broken."""
    return DamagedDatabase(f"The database is damaged: {detail}.", _REMEDY)


def gone(file: object) -> DamagedDatabase:
    """The error for a database whose file was taken away while the studio runs."""
    return DamagedDatabase(f"The database is gone: there is no file {file} any more.", _REMEDY)


def _words_for(error: DBAPIError | sqlite3.Error) -> StudioError | None:
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, sqlite3.Error):
        # Python's own complaints have no number; the only one of the world is about text that is not UTF-8.
        code = getattr(cause, "sqlite_errorcode", None)
        if code is None:
            return damaged(str(cause)) if str(cause).startswith("Could not decode") else None
        return _words_for_code(code, str(cause))
    if isinstance(error, OperationalError):
        state = getattr(cause, "sqlstate", None)
        if state in _POSTGRES_BUSY:
            return StudioError(*_SENTENCES[sqlite3.SQLITE_BUSY])
        if state == _POSTGRES_FULL:
            return StudioError(
                "The disk of the database's server is full.", "Free some space there, then try again."
            )
        return StudioError(
            f"The database does not answer: {str(cause).splitlines()[0]}.",
            "Check that PostgreSQL runs and that --database-url is right.",
        )
    return None


def _words_for_code(code: int, detail: str) -> StudioError | None:
    primary = code & 0xFF  # the rest of an extended code says which kind
    # A journal that finds no room cannot be opened, and SQLite says no more than that.
    if code in _FULL or (primary in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR) and _no_room()):
        return files.full_disk()
    if primary in _DAMAGED:
        return damaged(detail)
    for known in (code, primary):
        if known in _SENTENCES:
            return StudioError(*_SENTENCES[known])
    return None


def _no_room() -> bool:
    """Whether the disk has no room for a small file, or for the name of one."""
    disk = os.statvfs(files.root())
    return disk.f_bavail * disk.f_frsize < _TOO_LITTLE or (disk.f_files > 0 and disk.f_favail == 0)
