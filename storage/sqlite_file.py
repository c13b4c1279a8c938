"""What SQLite needs to be told, and noticing that its file was damaged, replaced or taken away."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from sqlalchemy import URL, Connection, Engine, event, make_url
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry

from storage import config, failures
from storage.errors import StudioError

BUSY_MILLISECONDS = 10_000


def current() -> Path | None:
    """The file of this process's database; None on PostgreSQL."""
    return of(make_url(config.current().database_url))


def of(url: URL) -> Path | None:
    """The file that a URL means; None when it means no SQLite file."""
    if url.get_backend_name() != "sqlite" or not url.database:
        return None
    return Path(unquote(url.database[5:]) if url.database.startswith("file:") else url.database)


class Watched:
    """The listeners of one engine: they prepare each connection, and drop it when its file is no longer the one.

    Somebody who rebuilds or restores the database puts another file in its place; an open connection would go on
    with the old one, which nobody else sees any more.
    """

    def __init__(self, engine: Engine, file: Path) -> None:
        self._engine = engine
        self._file = file
        self._known: object = None  # the file whose tables were found to fit
        self._revision: str | None = None
        event.listen(engine, "do_connect", self._open)
        event.listen(engine, "connect", self._prepare)
        event.listen(engine, "checkout", self._look)
        event.listen(engine, "begin", _begin)

    def make(self) -> None:
        """Make an empty file where there is none: connections never do, as that would hide that it is gone."""
        if not self._file.exists():
            with closing(sqlite3.connect(self._file)) as connection:
                connection.execute("PRAGMA schema_version")

    def check(self) -> None:
        """Look at every page, quickly.

        Raises DamagedDatabase.
        """
        with self._engine.connect() as connection:
            verdict = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
        if verdict != "ok":
            raise failures.damaged(str(verdict))

    def expect(self, revision: str | None) -> None:
        """From now on, a file that comes in this one's place has to have tables of this revision."""
        self._revision, self._known = revision, _identity(self._file)

    def _open(
        self, dialect: Any, record: ConnectionPoolEntry, arguments: list[Any], named: dict[str, Any]
    ) -> sqlite3.Connection | None:
        # Noted before it is opened: a file that is replaced in between is then opened once more, not trusted.
        identity = record.info["file"] = _identity(self._file)
        if identity is None:
            raise failures.gone(self._file)
        if "uri" in named:
            return None  # as the URL says
        opened: sqlite3.Connection = sqlite3.connect(f"file:{quote(arguments[0])}?mode=rw", uri=True, **named)
        return opened

    def _prepare(self, connection: sqlite3.Connection, record: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # BEGIN comes from _begin: Python's driver would say it too late
        connection.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")
        if self._revision is not None and record.info["file"] != self._known:
            self._check_revision(connection)
            self._known = record.info["file"]

    def _look(self, _connection: object, record: ConnectionPoolEntry, _proxy: object) -> None:
        if _identity(self._file) != record.info["file"]:
            raise DisconnectionError  # the pool then opens the file that is there now

    def _check_revision(self, connection: sqlite3.Connection) -> None:
        has_one = "SELECT count(*) FROM sqlite_master WHERE name = 'alembic_version'"
        found = connection.execute(has_one).fetchone()[0]
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone() if found else None
        if row is None or row[0] != self._revision:
            schema = f"schema {row[0]}" if row else "no schema"
            raise StudioError(
                f"The database's file was replaced by one of {schema}; this studio works with {self._revision}.",
                "Start the studio again: it brings the database up to date.",
            )


def _identity(file: Path) -> tuple[int, int] | None:
    """What tells a file from another one of the same name; None when there is none."""
    try:
        status = os.stat(file)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _begin(connection: Connection) -> None:
    mode = connection.get_execution_options().get("sqlite_begin", "DEFERRED")
    if mode is not None:
        connection.exec_driver_sql(f"BEGIN {mode}")
