"""A new database from records that were read elsewhere: all of it takes the old one's place, or nothing does."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints
from urllib.parse import quote

from sqlalchemy import Engine, delete, insert, make_url, select, text
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, StatementError
from sqlalchemy.orm import Session

from storage import adapters, config, database, datasets, failures, files, schema, sqlite_file
from storage.adapters import Adapter
from storage.datasets import Dataset, complete
from storage.errors import StudioError
from storage.evaluations import Evaluation
from storage.jobs import Job
from storage.tables import (
    AdapterRow,
    CheckpointRow,
    DatasetRow,
    EvaluationRow,
    JobRow,
    MetricRow,
    Table,
    VoteRow,
    WorkerRow,
)
from storage.votes import Vote

Record = TypeVar("Record")
# What SQLite keeps beside its file, and reads by its name.
SIDECARS = ("-journal", "-wal", "-shm")
# So long a write that is under way may take; then the old database counts as busy.
PATIENCE_SECONDS = 10.0
_LARGEST = 2**63 - 1


class NewDatabase:
    """An empty database that is being filled, in one transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add_dataset(self, values: Mapping[str, Any]) -> None:
        """Put a dataset back; raises StudioError when these are no values of one, or its id is taken.

        Values from before there were versions are those of a first one. Which is current, `finish` says.
        """
        self._put(DatasetRow, [{**checked(Dataset, complete(values)), "is_current": False}])

    def add_adapter(self, values: Mapping[str, Any]) -> None:
        """Put an adapter back; raises as `add_dataset`."""
        self._put(AdapterRow, [checked(Adapter, adapters.complete(values))])

    def add_scorecard(self, values: Mapping[str, Any]) -> None:
        """Put a scorecard back, after its adapter; raises as `add_dataset`."""
        self._put(EvaluationRow, [checked(Evaluation, values)])

    def add_vote(self, values: Mapping[str, Any]) -> None:
        """Put a vote back, after its adapter; raises as `add_dataset`."""
        self._put(VoteRow, [checked(Vote, values)])

    def add_job(
        self,
        values: Mapping[str, Any],
        metrics: Sequence[tuple[int, str, float | None]],
        checkpoints: Sequence[Mapping[str, Any]],
    ) -> None:
        """Put a job back under its own number, with what it measured and the states that it saved.

        Checkpoints have "attempt", "step", "folder" and "at". Raises as `add_dataset`.
        """
        job_id = values["id"]
        with self._session.begin_nested():
            self._put(JobRow, [checked(Job, values)])
            self._put(
                MetricRow, [{"job_id": job_id, "step": s, "name": n, "value": v} for s, n, v in metrics]
            )
            self._put(CheckpointRow, [_checkpoint(job_id, state) for state in checkpoints])

    def _put(self, table: type[Table], rows: Sequence[Mapping[str, Any]]) -> None:
        if not rows:
            return
        try:
            with self._session.begin_nested():
                self._session.execute(insert(table), rows)
        except (StatementError, OverflowError) as error:
            if isinstance(error, DBAPIError) and not isinstance(error, IntegrityError | DataError):
                raise  # the world's fault, not the record's
            cause = str(getattr(error, "orig", None) or error).splitlines()[0]
            raise StudioError(f"The database does not take it: {cause}.") from error

    def finish(self) -> None:
        """Let each dataset have its current version, and the next rows numbers that nobody had before."""
        datasets.choose_current(self._session)
        # A worker of the old database has a lower number than any from now on, so it can change nothing.
        now = time.time()
        self._session.execute(delete(WorkerRow))
        worker = {"number": int(now), "pid": 0, "process_started": 0.0, "boot_id": "", "started_at": now}
        self._put(WorkerRow, [worker])
        if (
            self._session.get_bind().dialect.name == "postgresql"
        ):  # SQLite counts on from the highest by itself
            for name in ("jobs", "workers"):
                highest = f"(SELECT coalesce(max(number), 1) FROM {name})"
                self._session.execute(text(f"SELECT setval('{name}_number_seq', {highest})"))


def checked(kind: type[Record], values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a record, without anything else that `values` holds.

    Raises StudioError that names the first field that is missing or of another type.
    """
    kept = {}
    for name, hint in get_type_hints(kind).items():
        if name not in values:
            raise StudioError(f"“{name}” is missing.")
        if not _fits(values[name], hint):
            raise StudioError(f"“{name}” is {values[name]!r:.60}, which it cannot be.")
        kept[name] = values[name]
    return kept


def is_missing() -> bool:
    """Whether the SQLite file is gone or empty; a broken one, or one of something else, is neither."""
    path = _file()
    if path is None:
        return False
    try:
        if path.stat().st_size == 0:
            return True
        with closing(_opened(path, "ro")) as connection:
            names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
            ours = ("datasets", "jobs", "adapters")
            return not names or (
                names.issuperset(ours)
                and not any(connection.execute(f"SELECT 1 FROM {name} LIMIT 1").fetchone() for name in ours)
            )
    except FileNotFoundError:
        return True
    except sqlite3.DatabaseError:
        return False


@contextmanager
def new_database() -> Iterator[NewDatabase]:
    """An empty database to fill, which becomes this process's when the block ends; an error leaves the old one.

    The old SQLite file moves to backups/. A PostgreSQL database has to be empty.
    Raises StudioError where it is not, DiskFull, and StudioError when the old database is busy.
    """
    files.make_folders()
    with failures.in_words(), files.locked("database"), files.full_disk_as_error():
        path = _file()
        if path is None:
            with _engine(config.current().database_url) as engine, _filled(engine) as new:
                yield new
            return
        path = path.resolve()
        half_made = path.with_name(f".{path.name}.rebuilding")
        for suffix in ("", *SIDECARS):  # of an earlier time that did not come to its end
            Path(f"{half_made}{suffix}").unlink(missing_ok=True)
        try:
            with _unchanged(path):
                with _engine(f"sqlite:///{half_made}") as engine, _filled(engine) as new:
                    yield new
                _take_place(half_made, path)
        except OSError as error:
            if files.is_full_disk(error):
                raise
            raise StudioError(
                f"The folder {path.parent} cannot be written: {error.strerror}.", "Check its permissions."
            ) from error


def _file() -> Path | None:
    """The file of this process's database; None on PostgreSQL. Raises StudioError for a URL that is neither."""
    return sqlite_file.of(database._engine_for(config.current().database_url).url)


@contextmanager
def _engine(url: str) -> Iterator[Engine]:
    """An engine of its own: other threads of this process may still be reading the old database."""
    engine = database._engine_for(url)
    try:
        file = sqlite_file.of(make_url(url))
        if file is not None:
            sqlite_file.Watched(engine, file).make()
        schema.migrate(engine)
        yield engine
    finally:
        engine.dispose()


@contextmanager
def _filled(engine: Engine) -> Iterator[NewDatabase]:
    with Session(engine.execution_options(sqlite_begin="IMMEDIATE")) as session, session.begin():
        for table in (DatasetRow, JobRow, AdapterRow):
            if session.scalar(select(table.number).limit(1)) is not None:
                raise StudioError(
                    "The database is not empty, so nothing was put into it.",
                    "Keep a copy of it with pg_dump, then make an empty database and name that with --database-url.",
                )
        new = NewDatabase(session)
        yield new
        new.finish()


@contextmanager
def _unchanged(path: Path) -> Iterator[None]:
    """Keep everybody from writing to the old database; one that is broken or gone cannot be written anyway."""
    if not path.exists():
        yield
        return
    with closing(_opened(path, "rw")) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")  # this also undoes what a crash left in its journal
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
                raise
        yield


def _opened(path: Path, mode: str) -> sqlite3.Connection:
    """A connection that never makes the file."""
    address = f"file:{quote(str(path))}?mode={mode}"
    return sqlite3.connect(address, uri=True, timeout=PATIENCE_SECONDS, isolation_level=None)


def _take_place(new: Path, path: Path) -> None:
    """Put the new file in the old one's place, which keeps a name in backups/.

    Between any two of these steps one of them is the database.
    """
    files.sync(new)
    old = [Path(f"{path}{suffix}") for suffix in ("", *SIDECARS)]
    old = [file for file in old if file.exists()]
    if old:
        stamp = time.strftime("%Y%m%d-%H%M%S")
        kept = files.root() / "backups" / f"replaced-{stamp}-{files.new_id()}"
        kept.mkdir(parents=True)
        for file in old:
            _keep(file, kept / file.name)
        for folder in (kept, kept.parent, files.root()):
            files.sync(folder)
    # Before the new file comes: SQLite would take the old one's journal for its own, and "undo" it.
    for file in old:
        if file != path:
            file.unlink(missing_ok=True)
    files.sync(path.parent)
    os.replace(new, path)
    files.sync(path.parent)


def _keep(file: Path, kept: Path) -> None:
    """Give a file a second name, or on another disk a copy."""
    try:
        os.link(file, kept)
    except OSError:
        shutil.copy2(file, kept)
        files.sync(kept)


def _checkpoint(job_id: str, state: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": files.new_id(),
        "job_id": job_id,
        "attempt": state["attempt"],
        "step": state["step"],
        "folder": state["folder"],
        "held_out_loss": None,
        "created_at": state["at"],
    }


def _fits(value: Any, hint: Any) -> bool:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, one) for one in arguments)
    if origin is list:
        return isinstance(value, list) and all(_fits(item, arguments[0]) for item in value)
    if hint is int or isinstance(value, int):
        is_number = isinstance(value, int) and hint in (int, float) and abs(value) <= _LARGEST
        return hint is bool if isinstance(value, bool) else is_number
    return isinstance(value, origin or hint)
