"""The engine of this process: connecting, sessions, and what SQLite needs to be told."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy
from sqlalchemy import URL, Connection, Engine, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.orm import Session

from storage import config, failures, files, schema
from storage.errors import StudioError
from storage.tables import Table

_engine: Engine | None = None


def connect() -> None:
    """Open the database of this process's configuration, creating or migrating it first.

    Processes that start together take turns. An existing SQLite file is copied before a migration changes it.
    Raises StudioError when the database is damaged, unreachable, or of a newer version of the studio.
    """
    global _engine
    close()
    files.make_folders()
    engine = _engine_for(config.current().database_url)
    with failures.in_words(), files.locked("database"):
        if engine.dialect.name == "sqlite":
            _choose_journal(engine)
            _check_integrity(engine)
        schema.migrate(engine)
    _engine = engine


def close() -> None:
    """Close this process's connections."""
    global _engine
    if _engine is not None:
        _engine.dispose()
    _engine = None


@contextmanager
def session() -> Iterator[Session]:
    """A session that may write: one transaction, committed at the end, undone when an error leaves it."""
    # SQLite refuses at once, whatever the timeout, to make a writer of a reader that another writer overtook:
    # so a writer says so when it begins.
    engine = _connected().execution_options(sqlite_begin="IMMEDIATE")
    with failures.in_words(), Session(engine) as opened, opened.begin():
        yield opened


@contextmanager
def reading() -> Iterator[Session]:
    """A session that only reads, one consistent state, without waiting in the writers' queue."""
    with failures.in_words(), Session(_connected()) as opened, opened.begin():
        yield opened


def insert(opened: Session, table: type[Table]) -> sqlite.Insert | postgresql.Insert:
    """An INSERT of this session's database that knows ON CONFLICT."""
    if opened.get_bind().dialect.name == "sqlite":
        return sqlite.insert(table)
    return postgresql.insert(table)


def describe() -> dict[str, str | None]:
    """What the system page shows: `url` (no password in it), `sqlite_version`, `journal_mode`, `schema`."""
    engine = _connected()
    on_sqlite = engine.dialect.name == "sqlite"
    with failures.in_words(), engine.connect() as connection:
        return {
            "url": engine.url.render_as_string(hide_password=True),
            "sqlite_version": sqlite3.sqlite_version if on_sqlite else None,
            "journal_mode": connection.exec_driver_sql("PRAGMA journal_mode").scalar() if on_sqlite else None,
            "schema": schema.revision_of(connection),
        }


def write_ahead_log_is_safe(version: tuple[int, ...]) -> bool:
    """Whether this SQLite is free of the WAL-reset race, which can corrupt a database that processes share.

    Source: https://sqlite.org/wal.html; fixed in 3.51.3, and in 3.50.7 and 3.44.6 of the older series.
    """
    return version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)


def _connected() -> Engine:
    if _engine is None:
        raise RuntimeError("storage.database.connect() has not been called in this process")
    return _engine


def _engine_for(url: str) -> Engine:
    """An engine that has not connected yet."""
    try:
        parsed = sqlalchemy.make_url(url)
        _check_supported(parsed)
        engine = sqlalchemy.create_engine(
            parsed,
            json_serializer=lambda value: json.dumps(files.json_safe(value)),
            pool_pre_ping=parsed.get_backend_name() == "postgresql",  # it may have restarted meanwhile
        )
    except (ArgumentError, NoSuchModuleError) as error:
        remedy = "Write it like postgresql://user:password@host/name."
        raise StudioError("The --database-url cannot be read.", remedy) from error
    except ModuleNotFoundError as error:
        remedy = 'For PostgreSQL: pip install "psycopg[binary]"'
        raise StudioError(f"The driver for this database is missing: {error.name}.", remedy) from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _check_supported(url: URL) -> None:
    backend = url.get_backend_name()
    if backend not in ("sqlite", "postgresql") or (
        backend == "sqlite" and url.database in (None, "", ":memory:")
    ):
        raise StudioError(
            f"The database {url.render_as_string(hide_password=True)} is not supported.",
            "Give --database-url a file (sqlite:////folder/studio.db) or a postgresql:// address.",
        )


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    """Say what SQLite forgets with every connection."""
    connection.isolation_level = None  # BEGIN comes from _begin_sqlite: Python's driver would say it too late
    connection.execute("PRAGMA busy_timeout = 10000")  # milliseconds
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")


def _begin_sqlite(connection: Connection) -> None:
    mode = connection.get_execution_options().get("sqlite_begin", "DEFERRED")
    if mode is not None:
        connection.exec_driver_sql(f"BEGIN {mode}")


def _choose_journal(engine: Engine) -> None:
    """Use the write-ahead log, where readers never wait for a writer, only where it is safe."""
    mode = "WAL" if write_ahead_log_is_safe(sqlite3.sqlite_version_info) else "DELETE"
    with engine.execution_options(sqlite_begin=None).connect() as connection:  # not possible in a transaction
        connection.exec_driver_sql(f"PRAGMA journal_mode = {mode}")


def _check_integrity(engine: Engine) -> None:
    with engine.connect() as connection:
        verdict = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
    if verdict != "ok":
        raise failures.damaged(str(verdict))
