"""What a database says about the world around it (disk, locks, damage, network), in words."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, OperationalError

from storage import files
from storage.errors import StudioError

# SQLite knows ENOSPC as "full", and EFBIG and EDQUOT only as a failed write.
_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE)
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_SENTENCES = {
    sqlite3.SQLITE_BUSY: ("The database is busy.", "Try again in a moment."),
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


def damaged(detail: str) -> StudioError:
    """The error for a database whose file is broken."""
    return StudioError(
        f"The database is damaged: {detail}.",
        f"Move its file in {files.root()} away and start again, or put the newest copy from the "
        "folder backups in its place. Datasets, models and adapters are safe in their own folders.",
    )


def _words_for(error: DBAPIError | sqlite3.Error) -> StudioError | None:
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, sqlite3.Error):
        code = cause.sqlite_errorcode
        if code in _FULL:
            return files.full_disk()
        primary = code & 0xFF  # the rest of an extended code says which kind
        if primary in _DAMAGED:
            return damaged(str(cause))
        return StudioError(*_SENTENCES[primary]) if primary in _SENTENCES else None
    if isinstance(error, OperationalError):
        return StudioError(
            f"The database does not answer: {str(cause).splitlines()[0]}.",
            "Check that PostgreSQL runs and that --database-url is right.",
        )
    return None
