"""A database file that is locked, read-only, damaged, replaced, gone or without room is noticed and said in words."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from storage import backups, config, database, files, jobs, sqlite_file
from storage.errors import DamagedDatabase, DiskFull, StudioError
from tests.storage import disks

Child = Callable[..., "subprocess.Popen[str]"]

LOCKING = """
import sqlite3
connection = sqlite3.connect(files.database_path(), isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
time.sleep({seconds})
connection.rollback()
"""


@pytest.fixture
def home(tmp_path: Path):  # type: ignore[no-untyped-def]
    """A data folder on SQLite with one job."""
    config.use(config.from_environment(tmp_path / "home"))
    database.connect()
    jobs.add("training", "old", "cpu")
    yield tmp_path / "home"
    database.close()


def names() -> list[str]:
    return sorted(job.name for job in jobs.list_all())


def another_database(name: str = "new") -> Path:
    """A copy of the database in which the job has another name."""
    copy = backups.back_up()
    with closing(sqlite3.connect(copy)) as connection, connection:
        connection.execute("UPDATE jobs SET name = ?", (name,))
    return copy


def many_pages() -> None:
    for _ in range(20):
        jobs.add("training", "a" * 2000, "cpu")


# -- locked --------------------------------------------------------------------------------------------------


def test_a_lock_of_three_seconds_is_waited_out(home: Path, child: Child) -> None:
    other = child(LOCKING.format(seconds=3), connect=False)
    assert other.stdout is not None and other.stdout.readline() == "locked\n"
    began = time.monotonic()
    jobs.add("training", "new", "cpu")
    assert time.monotonic() - began > 2
    other.communicate()
    assert names() == ["new", "old"]


def test_a_longer_lock_is_said_and_passes(home: Path, child: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_file, "BUSY_MILLISECONDS", 100)
    database.connect()
    other = child(LOCKING.format(seconds=3), connect=False)
    assert other.stdout is not None and other.stdout.readline() == "locked\n"
    for action in (lambda: jobs.add("training", "lost", "cpu"), jobs.list_all, database.connect):
        with pytest.raises(StudioError, match=r"The database is busy\. Try again"):
            action()
    other.communicate()
    database.connect()
    assert names() == ["old"]


# -- not to be written ---------------------------------------------------------------------------------------


def test_a_file_on_a_read_only_disk_is_read_and_not_written(tmp_path: Path) -> None:
    with disks.small_disk(tmp_path / "disk") as disk:
        config.use(config.from_environment(tmp_path / "home", f"sqlite:///{disk}/studio.db"))
        database.connect()
        jobs.add("training", "old", "cpu")
        database.close()
        disks.make_read_only(disk)
        database.connect()
        assert names() == ["old"]
        with pytest.raises(StudioError, match="may not be written"):
            jobs.add("training", "new", "cpu")
        assert names() == ["old"]
        database.close()


def test_a_disk_that_becomes_read_only_under_a_running_studio_is_said(tmp_path: Path) -> None:
    with disks.small_disk(tmp_path / "disk") as disk:
        config.use(config.from_environment(tmp_path / "home", f"sqlite:///{disk}/studio.db"))
        database.connect()
        jobs.add("training", "old", "cpu")
        database._connected().dispose()  # nobody may have it open to write for the moment of the change
        disks.make_read_only(disk)
        with pytest.raises(StudioError, match="may not be written"):
            jobs.add("training", "new", "cpu")
        assert names() == ["old"]
        database.close()


def test_a_read_only_data_folder_is_said_at_the_start(tmp_path: Path) -> None:
    with disks.small_disk(tmp_path / "home") as disk:
        config.use(config.from_environment(disk))
        database.connect()
        database.close()
        disks.make_read_only(disk)
        with pytest.raises(StudioError, match=r"cannot be written: Read-only file system.*--data-dir"):
            database.connect()


# -- damaged -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"\0", b"\xff", b"not a database "])
def test_an_overwritten_first_page_is_found_at_the_start(home: Path, content: bytes) -> None:
    database.close()
    with open(files.database_path(), "r+b") as file:
        file.write((content * 4096)[:4096])
    with pytest.raises(DamagedDatabase, match="--rebuild-database, or press Rebuild on the System page"):
        database.connect()


def test_an_overwritten_first_page_is_found_in_use(home: Path) -> None:
    with open(files.database_path(), "r+b") as file:
        file.write(b"\xff" * 4096)
    with pytest.raises(DamagedDatabase):
        jobs.list_all()
    with pytest.raises(DamagedDatabase):
        jobs.add("training", "new", "cpu")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_file_is_found_at_the_start(home: Path, share: float) -> None:
    many_pages()
    database.close()
    os.truncate(files.database_path(), int(files.database_path().stat().st_size * share))
    with pytest.raises(DamagedDatabase):
        database.connect()


def test_a_truncated_file_is_found_in_use(home: Path) -> None:
    many_pages()
    os.truncate(files.database_path(), files.database_path().stat().st_size // 2)
    with pytest.raises(DamagedDatabase):
        jobs.list_all()


@pytest.mark.parametrize(
    ("column", "value"), [("settings", "'{\"half\": '"), ("name", "CAST(x'ff' AS TEXT)")]
)
def test_a_value_that_cannot_be_read_is_damage_too(home: Path, column: str, value: str) -> None:
    with closing(sqlite3.connect(files.database_path())) as connection, connection:
        connection.execute(f"UPDATE jobs SET {column} = {value}")
    with pytest.raises(DamagedDatabase):
        jobs.list_all()


def test_nothing_of_a_refused_database_stays_open(home: Path) -> None:
    many_pages()
    database.close()
    with open(files.database_path(), "r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * 12288)
    with pytest.raises(DamagedDatabase) as caught:
        database.connect()
    assert caught.tb is not None  # which keeps everything alive that is not closed
    assert open_files(files.database_path().name) == []


def open_files(name: str) -> list[str]:
    """What this process has open of the files with this in their names."""
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            found.append(os.readlink(descriptor))
        except FileNotFoundError:
            continue
    return [path for path in found if name in path]


# -- replaced and gone ---------------------------------------------------------------------------------------


def test_a_database_in_its_place_is_used_at_once(home: Path) -> None:
    assert names() == ["old"]
    os.replace(another_database(), files.database_path())
    assert names() == ["new"]
    jobs.add("training", "later", "cpu")
    assert names() == ["later", "new"]
    assert open_files("studio.db (deleted)") == []


def test_another_process_notices_it_too(home: Path, child: Child) -> None:
    script = """
import sys
print(*[job.name for job in jobs.list_all()], flush=True)
(files.root() / "ready").touch()
while not (files.root() / "replaced").exists():
    time.sleep(0.01)
print(*[job.name for job in jobs.list_all()], flush=True)
jobs.add("training", "later", "cpu")
"""
    other = child(script)
    while not (home / "ready").exists():
        assert other.poll() is None
        time.sleep(0.01)
    os.replace(another_database(), files.database_path())
    (home / "replaced").touch()
    assert other.communicate()[0].splitlines() == ["old", "new"]
    assert names() == ["later", "new"]


def test_every_connection_of_the_pool_notices_it(home: Path) -> None:
    with database.reading(), database.reading(), database.reading():
        pass
    os.replace(another_database(), files.database_path())
    with database.reading() as one, database.reading() as two, database.reading() as three:
        for session in (one, two, three):
            assert session.connection().exec_driver_sql("SELECT name FROM jobs").scalar() == "new"


def test_a_file_that_is_gone_is_said_and_not_made_anew(home: Path) -> None:
    away = files.database_path().rename(home / "away.db")
    for action in (jobs.list_all, lambda: jobs.add("training", "lost", "cpu"), database.describe):
        with pytest.raises(DamagedDatabase, match=r"The database is gone: .*studio\.db"):
            action()
    assert not files.database_path().exists()
    away.rename(files.database_path())
    assert names() == ["old"]


def test_a_start_without_a_file_makes_one(home: Path) -> None:
    files.database_path().unlink()
    database.connect()
    assert names() == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE alembic_version SET version_num = '0001'", "schema 0001"),
        ("DELETE FROM alembic_version", "no schema"),
        ("DROP TABLE alembic_version", "no schema"),
    ],
)
def test_an_older_database_in_its_place_asks_for_a_start(home: Path, change: str, said: str) -> None:
    other = another_database()
    with closing(sqlite3.connect(other)) as connection, connection:
        connection.execute(change)
    os.replace(other, files.database_path())
    for _ in range(2):
        with pytest.raises(StudioError, match=f"replaced by one of {said}.*Start the studio again"):
            jobs.list_all()


def test_a_file_replaced_while_it_is_being_opened_is_not_trusted(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was noted of the file has to be older than the opening, or a stale connection would look fresh."""
    other = another_database()
    database.connect()
    files.database_path().touch()
    database._connected().dispose()
    real = sqlite3.connect

    def replaced_after(*values: object, **named: object) -> sqlite3.Connection:
        opened = real(*values, **named)  # type: ignore[call-overload]
        opened.execute("PRAGMA schema_version")
        if other.exists():
            os.replace(other, files.database_path())
        return opened  # type: ignore[no-any-return]

    monkeypatch.setattr(sqlite3, "connect", replaced_after)
    jobs.list_all()
    assert names() == ["new"]


def test_a_url_with_options_of_sqlite_still_works(tmp_path: Path) -> None:
    config.use(config.from_environment(tmp_path, f"sqlite:///file:{tmp_path}/a%20b.db?mode=rwc&uri=true"))
    database.connect()
    jobs.add("training", "one", "cpu")
    assert (tmp_path / "a b.db").exists() and sqlite_file.current() == tmp_path / "a b.db"
    assert backups.back_up().exists()
    assert names() == ["one"]
    database.close()


# -- no room -------------------------------------------------------------------------------------------------


def test_a_full_disk_is_said_and_passes_when_there_is_room(tmp_path: Path) -> None:
    with disks.small_disk(tmp_path / "home", "2m") as disk:
        config.use(config.from_environment(disk))
        database.connect()
        kept = jobs.add("training", "old", "cpu")
        filling = disks.fill(disk)
        for text in ("small", "x" * 500_000):
            with pytest.raises(DiskFull, match="The disk is full"):
                for _ in range(50):
                    jobs.add("training", "new", "cpu", settings={"text": text})
        assert jobs.get(kept.id) == kept
        filling.unlink()
        jobs.add("training", "later", "cpu")
        assert "later" in names()
        with database.reading() as session:
            assert session.connection().exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
        database.close()


def test_a_start_on_a_full_disk_is_said(tmp_path: Path) -> None:
    with disks.small_disk(tmp_path / "home", "1m") as disk:
        config.use(config.from_environment(disk))
        files.make_folders()
        disks.fill(disk)
        with pytest.raises(DiskFull):
            database.connect()
        database.close()


def test_a_disk_without_room_for_one_more_file_is_full_too(tmp_path: Path) -> None:
    with disks.small_disk(tmp_path / "home") as disk:
        config.use(config.from_environment(disk))
        database.connect()
        subprocess.run(["mount", "-o", "remount,nr_inodes=40", str(disk)], check=True)
        made = []
        with pytest.raises(OSError, match="No space left"):
            while True:
                made.append(disk / "tmp" / f"{len(made)}")
                made[-1].touch()
        with pytest.raises(DiskFull):
            jobs.add("training", "new", "cpu")
        made[0].unlink()
        jobs.add("training", "later", "cpu")
        assert names() == ["later"]
        database.close()
