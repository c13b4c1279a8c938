"""What may become of the database under a training: locked, read-only, overwritten, deleted. The training goes on."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from jobs import progress, rebuild
from storage import database, datasets, files, jobs
from storage.errors import StudioError
from storage.jobs import Job
from tests.faults.studio import Outcome, Studio, check, finished, outcome, studio, until

# So slow that a training lasts as long as the fault.
STEP_SECONDS = 0.3
MORE_STEPS = 3
GARBAGE = b"\xb7garbage" * 1024


def first_page() -> None:
    """Overwrite the first page."""
    with files.database_path().open("r+b") as file:
        file.write(GARBAGE[:4096])
        os.fsync(file.fileno())


def whole_file() -> None:
    """Overwrite everything."""
    size = files.database_path().stat().st_size
    with files.database_path().open("r+b") as file:
        file.write((GARBAGE * (size // len(GARBAGE) + 1))[:size])
        os.fsync(file.fileno())


def cut() -> None:
    """Leave half of it."""
    os.truncate(files.database_path(), files.database_path().stat().st_size // 2)


def delete() -> None:
    """Delete it."""
    files.database_path().unlink()


# By what the worker's log has to say of it.
DAMAGES: dict[str, tuple[Callable[[], None], tuple[str, ...]]] = {
    "first page": (first_page, ("The database is damaged",)),
    "whole file": (whole_file, ("The database is damaged",)),
    "cut": (cut, ("The database is damaged", "The disk cannot read or write the database")),
    "deleted": (delete, ("The database is gone",)),
}


@contextmanager
def slow_studio(folder: Path) -> Iterator[Studio]:
    """A studio whose trainings take their time."""
    with studio(folder / "home", STEP_SECONDS=STEP_SECONDS) as opened:
        yield opened


@contextmanager
def locked(seconds: float) -> Iterator[threading.Thread]:
    """Keep everybody from reading and writing the database for so long, from outside."""
    holds = threading.Event()

    def hold() -> None:
        with closing(sqlite3.connect(files.database_path(), timeout=60, isolation_level=None)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            holds.set()
            time.sleep(seconds)
            connection.execute("ROLLBACK")

    holder = threading.Thread(target=hold)
    holder.start()
    assert holds.wait(120)
    yield holder
    holder.join()


def under_a_lock(opened: Studio, whole: Outcome, seconds: float) -> int:
    """How many steps a training does while the database is locked; all are in it once, afterwards."""
    job = _at_step(opened.submit(), 2)
    before = _reported(job)
    with locked(seconds) as holder:
        while holder.is_alive() and (steps := _reported(job) - before) < MORE_STEPS:
            time.sleep(0.05)
        assert holder.is_alive(), f"{steps} steps within {seconds} s"
        holder.join()
        steps = _reported(job) - before
    check(finished(job), whole)
    return steps


def damaged(opened: Studio, whole: Outcome, name: str) -> None:
    """Damage the database under a training: that goes on, the worker says so, and a rebuild makes all good."""
    damage, words = DAMAGES[name]
    earlier = _everything()
    job = _at_step(opened.submit(), 2)
    log = files.log_path("worker").stat().st_size
    before = _reported(job)
    damage()
    until(lambda: _reported(job) >= before + MORE_STEPS)
    until(lambda: any(word in _since(log) for word in words))
    try:
        jobs.get(job.id)
    except StudioError as error:
        assert any(word in error.message for word in words), error
    else:
        raise AssertionError("the page does not notice")
    counts = rebuild.rebuild()
    assert not counts.problems, counts.problems
    check(finished(job), whole)
    assert {key: value for key, value in _everything().items() if key in earlier} == earlier


def read_only(opened: Studio, whole: Outcome) -> None:
    """Let nobody write the database's file while a training goes on and its worker is started again."""
    job = _at_step(opened.submit(), 2)
    log = files.log_path("worker").stat().st_size
    path = str(files.database_path())
    subprocess.run(["mount", "--bind", path, path], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", path], check=True)
        database.close()
        opened.kill("worker", job)
        before = _reported(job)
        until(lambda: _reported(job) >= before + MORE_STEPS)
        until(lambda: "may not be written" in _since(log))
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)
    until(_opens)
    check(finished(job), whole)


def _opens() -> bool:
    try:
        database.connect()
    except StudioError:
        return False
    return True


def _everything() -> dict[str, object]:
    """What is remembered of all that has ended."""
    ended = {f"job {job.id}": job for job in jobs.list_all() if job.finished_at is not None}
    outcomes = {f"numbers of {job.id}": outcome(job) for job in ended.values() if job.adapter_id}
    return {**ended, **outcomes, **{f"dataset {one.id}": one for one in datasets.list_all()}}


def _at_step(job: Job, step: int) -> Job:
    until(lambda: jobs.get(job.id).step >= step)
    return jobs.get(job.id)


def _reported(job: Job) -> int:
    """The steps in the events of a job's current attempt, which nobody's database can keep from growing."""
    batch = progress.read_events(files.attempt_folder(job.id, job.attempt), 0)
    return max((step for step, _, _ in batch.metrics), default=0)


def _since(offset: int) -> str:
    with files.log_path("worker").open("rb") as log:
        log.seek(offset)
        return log.read().decode()


def pragmas(connection: sqlite3.Connection) -> dict[str, object]:
    """What SQLite was told on a connection."""
    names = ("synchronous", "foreign_keys", "busy_timeout", "journal_mode")
    return {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names}
