"""SQLite is told what it needs, failures come in words, and processes that start together do not collide."""

from __future__ import annotations

import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from storage import config, database, files, jobs
from storage.errors import StudioError

Child = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def home(tmp_path: Path):  # type: ignore[no-untyped-def]
    """A data folder on SQLite, which most tests here are about."""
    config.use(config.from_environment(tmp_path / "home"))
    database.connect()
    yield tmp_path / "home"
    database.close()


@pytest.mark.parametrize(
    ("version", "safe"),
    [
        ((3, 40, 1), False),
        ((3, 44, 5), False),
        ((3, 44, 6), True),
        ((3, 45, 0), False),
        ((3, 50, 6), False),
        ((3, 50, 7), True),
        ((3, 51, 0), False),
        ((3, 51, 2), False),
        ((3, 51, 3), True),
        ((3, 52, 0), True),
        ((4, 0, 0), True),
    ],
)
def test_the_write_ahead_log_is_only_trusted_with_its_fix(version: tuple[int, ...], safe: bool) -> None:
    assert database.write_ahead_log_is_safe(version) is safe


@pytest.mark.parametrize(("version", "journal"), [((3, 40, 1), "delete"), ((3, 51, 3), "wal")])
def test_the_journal_follows_the_version_of_sqlite(
    home: Path, monkeypatch: pytest.MonkeyPatch, version: tuple[int, ...], journal: str
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", version)
    database.connect()
    assert database.describe()["journal_mode"] == journal


def test_a_database_from_a_fixed_sqlite_loses_the_log_on_an_affected_one(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version, journal in (((3, 51, 3), "wal"), ((3, 40, 1), "delete")):
        monkeypatch.setattr(sqlite3, "sqlite_version_info", version)
        database.connect()
        assert database.describe()["journal_mode"] == journal


@pytest.mark.parametrize(
    ("pragma", "value"), [("synchronous", 2), ("foreign_keys", 1), ("busy_timeout", 10000)]
)
def test_every_connection_is_safe_and_patient(home: Path, pragma: str, value: int) -> None:
    with database.session() as session:
        assert session.connection().exec_driver_sql(f"PRAGMA {pragma}").scalar() == value


def test_describes_itself(home: Path) -> None:
    described = database.describe()
    assert described["schema"] == "0005" and described["sqlite_version"] == sqlite3.sqlite_version
    assert described["url"] == f"sqlite:///{home}/studio.db"


def test_an_error_undoes_the_whole_transaction(home: Path) -> None:
    job = jobs.add("training", "a", "cpu")
    with pytest.raises(KeyError), database.session() as session:
        session.connection().exec_driver_sql("UPDATE jobs SET name = 'b'")
        raise KeyError
    assert jobs.get(job.id).name == "a"


def test_readers_go_on_while_somebody_writes(home: Path) -> None:
    jobs.add("training", "a", "cpu")
    with database.session() as session:
        session.connection().exec_driver_sql("UPDATE jobs SET name = 'b'")
        assert [job.name for job in jobs.list_all()] == ["a"]


def test_a_writer_has_the_lock_from_its_first_look(home: Path) -> None:
    """Otherwise two that look and then write would each stand in the other's way, whatever the timeout."""
    with closing(sqlite3.connect(files.database_path(), timeout=0, isolation_level=None)) as other:
        with database.session() as session:
            session.connection().exec_driver_sql("SELECT * FROM jobs").all()
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("BEGIN IMMEDIATE")
        with database.reading() as session:
            session.connection().exec_driver_sql("SELECT * FROM jobs").all()
            other.execute("BEGIN IMMEDIATE")


def test_a_database_locked_for_too_long_is_busy(home: Path) -> None:
    with database.session() as session:
        session.connection().exec_driver_sql("PRAGMA busy_timeout = 1")
    with closing(sqlite3.connect(files.database_path())) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StudioError, match="busy"):
            jobs.add("training", "a", "cpu")


def test_our_own_mistakes_are_not_dressed_up(home: Path) -> None:
    with pytest.raises(Exception, match="no such table") as caught, database.session() as session:
        session.connection().exec_driver_sql("SELECT * FROM missing")
    assert not isinstance(caught.value, StudioError)


def test_garbage_in_place_of_the_database_is_explained(home: Path) -> None:
    database.close()
    files.database_path().write_bytes(b"not a database at all" * 500)
    with pytest.raises(StudioError, match="damaged"):
        database.connect()


def test_a_damaged_page_is_found_at_the_start(home: Path) -> None:
    for _ in range(20):
        jobs.add("training", "a" * 2000, "cpu")
    database.close()
    content = bytearray(files.database_path().read_bytes())
    content[8192:20480] = b"\xff" * 12288
    files.database_path().write_bytes(content)
    with pytest.raises(StudioError, match="damaged"):
        database.connect()


@pytest.mark.parametrize("url", ["nonsense", "mysql://me@host/name", "sqlite://", "nosuch+thing://x"])
def test_an_unusable_url_is_explained(tmp_path: Path, url: str) -> None:
    config.use(config.from_environment(tmp_path, url))
    with pytest.raises(StudioError, match="--database-url"):
        database.connect()


def test_a_database_that_cannot_be_reached_is_explained(tmp_path: Path) -> None:
    config.use(config.from_environment(tmp_path, "postgresql+psycopg://me:trout@127.0.0.1:1/name"))
    with pytest.raises(StudioError, match=r"does not answer|driver .* is missing") as caught:
        database.connect()
    assert "trout" not in str(caught.value)


def test_a_session_needs_a_connection_first(home: Path) -> None:
    database.close()
    with pytest.raises(RuntimeError):
        jobs.list_all()


def test_processes_that_start_together_all_come_up(tmp_path: Path, child: Child) -> None:
    config.use(config.from_environment(tmp_path / "new"))
    script, soon = "database.connect(); print(jobs.count('queued'))", time.time() + 2
    children = [child(script, connect=False, together=soon) for _ in range(4)]
    assert [process.communicate()[0].strip() for process in children] == ["0"] * 4


def test_processes_take_turns_in_preparing_the_database(home: Path) -> None:
    with files.locked("database"):
        second = threading.Thread(target=database.connect)
        second.start()
        second.join(timeout=0.3)
        assert second.is_alive()
    second.join(timeout=10)
    assert not second.is_alive()


def test_a_full_disk_is_said_in_words_and_loses_nothing(home: Path, child: Child) -> None:
    kept = jobs.add("training", "kept", "cpu")
    script = """
import resource
from storage.errors import StudioError
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
for write in (
    lambda: jobs.add("training", "big", "cpu", settings={"text": "x" * 1_000_000}),
    lambda: files.write_bytes(files.root() / "big", b"x" * 1_000_000),
):
    try:
        write()
    except StudioError as error:
        print(error.message)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
jobs.add("training", "later", "cpu")
"""
    process = child(script)
    lines = process.communicate()[0].splitlines()
    assert process.returncode == 0
    assert [line.split(":")[0] for line in lines] == ["The disk is full"] * 2
    assert "needs 1.0 MB" in lines[1]
    assert [job.name for job in jobs.list_all()] == ["later", "kept"]
    assert jobs.get(kept.id) == kept
    assert not (home / "big").exists()
