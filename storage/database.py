"""The engine of this process: connecting, sessions, and what SQLite needs to be told."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy
from sqlalchemy import URL, Engine, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.orm import Session

from storage import config, failures, files, schema, sqlite_file
from storage.errors import StudioError
from storage.tables import Table

_engine: Engine | None = None
# As patient as with SQLite: ten seconds for a connection, and for a lock.
_POSTGRES_WAITS = {"connect_timeout": 10, "options": "-c lock_timeout=10s"}


def connect() -> None:
    """Open the database of this process's configuration, creating or migrating it first.

    Processes that start together take turns. An existing SQLite file is copied before a migration changes it.
    Raises DamagedDatabase when its file is broken, DiskFull, and StudioError when the database is busy, may not be
    read, does not answer, or is of a newer version of the studio.
    """
    global _engine
    close()
    files.make_folders()
    engine = _engine_for(config.current().database_url)
    try:
        with failures.in_words(), files.locked("database"):
            _make_ready(engine)
    except BaseException:
        engine.dispose()  # nothing stays open of a file that somebody will now move away
        raise
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
    engine = _connected()
    if engine.dialect.name == "postgresql":  # whose statements otherwise see what others committed meanwhile
        engine = engine.execution_options(isolation_level="REPEATABLE READ")
    with failures.in_words(), Session(engine) as opened, opened.begin():
        yield opened


def take_turns(opened: Session, name: str) -> None:
    """Let no two writers that name the same thing go on at once, until this session's transaction ends."""
    if opened.get_bind().dialect.name == "postgresql":  # on SQLite every session has the write lock already
        opened.execute(select(func.pg_advisory_xact_lock(func.hashtext(name))))


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
        return sqlalchemy.create_engine(
            parsed,
            json_serializer=lambda value: json.dumps(files.json_safe(value)),
            json_deserializer=_from_json,
            pool_pre_ping=parsed.get_backend_name() == "postgresql",  # it may have restarted meanwhile
            connect_args=_POSTGRES_WAITS if parsed.get_backend_name() == "postgresql" else {},
        )
    except (ArgumentError, NoSuchModuleError) as error:
        remedy = "Write it like postgresql://user:password@host/name."
        raise StudioError("The --database-url cannot be read.", remedy) from error
    except ModuleNotFoundError as error:
        remedy = 'For PostgreSQL: pip install "psycopg[binary]"'
        raise StudioError(f"The driver for this database is missing: {error.name}.", remedy) from error


def _check_supported(url: URL) -> None:
    backend = url.get_backend_name()
    if backend not in ("sqlite", "postgresql") or (
        backend == "sqlite" and url.database in (None, "", ":memory:")
    ):
        raise StudioError(
            f"The database {url.render_as_string(hide_password=True)} is not supported.",
            "Give --database-url a file (sqlite:////folder/studio.db) or a postgresql:// address.",
        )


def _make_ready(engine: Engine) -> None:
    file = sqlite_file.of(engine.url)
    if file is None:
        schema.migrate(engine)
        return
    watched = sqlite_file.Watched(engine, file)
    watched.make()
    _choose_journal(engine)
    watched.check()
    watched.expect(schema.migrate(engine))


def _choose_journal(engine: Engine) -> None:
    """Use the write-ahead log, where readers never wait for a writer, only where it is safe."""
    mode = "WAL" if write_ahead_log_is_safe(sqlite3.sqlite_version_info) else "DELETE"
    with engine.execution_options(sqlite_begin=None).connect() as connection:  # not possible in a transaction
        connection.exec_driver_sql(f"PRAGMA journal_mode = {mode}")


def _from_json(text: str) -> Any:
    """A column's value; the studio writes only whole JSON, so that anything else was damaged on the disk."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise failures.damaged(f"a value in it cannot be read ({error})") from error
