"""Whatever becomes of the database, the training goes on, and what it did is there afterwards, once."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from jobs.executors.local import PROJECT_ROOT
from storage import database
from tests.faults import dbfaults
from tests.faults.studio import Outcome, Studio, finished, outcome

LOCKED_SECONDS = 8.0
# Copies and rebuilding open files that nobody else has; everything else goes through the engine of storage.database.
OPENERS = {
    "storage/backups.py",
    "storage/database.py",
    "storage/rebuilding.py",
    "storage/sqlite_file.py",
    "storage/migrations/env.py",
}


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    with dbfaults.slow_studio(tmp_path_factory.mktemp("database")) as opened:
        yield opened


@pytest.fixture(scope="module")
def whole(slow: Studio) -> Outcome:
    return outcome(finished(slow.submit()))


def test_a_lock_holds_up_no_training(slow: Studio, whole: Outcome) -> None:
    assert dbfaults.under_a_lock(slow, whole, LOCKED_SECONDS) >= dbfaults.MORE_STEPS


def test_a_broken_first_page_costs_nothing(slow: Studio, whole: Outcome) -> None:
    dbfaults.damaged(slow, whole, "first page")


def test_every_process_of_the_studio_asks_sqlite_to_be_careful(home: Path) -> None:
    journal = "wal" if database.write_ahead_log_is_safe(sqlite3.sqlite_version_info) else "delete"
    careful = {"synchronous": 2, "foreign_keys": 1, "busy_timeout": 10_000, "journal_mode": journal}
    with ExitStack() as pool:
        for _ in range(6):
            opened = pool.enter_context(database._connected().connect())
            raw = opened.connection.dbapi_connection
            assert isinstance(raw, sqlite3.Connection) and dbfaults.pragmas(raw) == careful
    found = {
        str(path.relative_to(PROJECT_ROOT))
        for room in ("storage", "jobs", "studio")
        for path in (PROJECT_ROOT / room).rglob("*.py")
        if "sqlite3.connect" in (source := path.read_text(encoding="utf-8")) or "create_engine" in source
    }
    assert found <= OPENERS
