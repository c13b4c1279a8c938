"""A copy of the database is whole or not there, whatever else happens while it is made."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from storage import backups, config, database, files, jobs, trash
from storage.errors import DamagedDatabase, DiskFull, StudioError
from tests.storage import disks

Child = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def home(tmp_path: Path):  # type: ignore[no-untyped-def]
    """A data folder on SQLite."""
    config.use(config.from_environment(tmp_path / "home"))
    database.connect()
    yield tmp_path / "home"
    database.close()


def count_in(path: Path) -> int:
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return int(connection.execute("SELECT count(*) FROM jobs").fetchone()[0])


def left_behind(home: Path) -> list[str]:
    folder = home / "backups"
    return sorted(os.listdir(folder)) if folder.exists() else []


def test_twenty_copies_while_two_processes_write(home: Path, child: Child) -> None:
    script = """
while not (files.root() / "enough").exists():
    jobs.add("training", "tone", "cpu", settings={"text": "x" * 3000})
    print(1)
"""
    writers = [child(script) for _ in range(2)]
    for writer in writers:
        assert writer.stdout is not None and writer.stdout.readline() == "1\n"
    counts = [count_in(backups.back_up()) for _ in range(20)]
    (home / "enough").touch()
    written = sum(len(writer.communicate()[0].split()) + 1 for writer in writers)
    assert [writer.returncode for writer in writers] == [0, 0]
    assert counts == sorted(counts) and counts[0] < counts[-1] <= written == jobs.count("queued")
    assert len(backups.list_all()) == len(left_behind(home)) == 20


def test_a_copy_is_one_file_that_a_studio_can_use(home: Path, tmp_path: Path) -> None:
    job = jobs.add("training", "tone", "cpu")
    copy = backups.back_up()
    jobs.add("training", "later", "cpu")
    assert copy.parent == home / "backups"
    database.close()
    os.replace(copy, files.database_path())
    database.connect()
    assert jobs.list_all() == [job]


def test_copies_are_listed_the_newest_first_and_never_deleted(home: Path) -> None:
    assert backups.list_all() == []
    paths = [backups.back_up() for _ in range(3)]
    for age, path in enumerate(reversed(paths)):
        os.utime(path, (1e9 - age, 1e9 - age))
    (home / "backups" / ".half.db").write_text("no copy")
    (home / "backups" / "notes.txt").write_text("no copy")
    trash.tidy()
    listed = backups.list_all()
    assert [backup.path for backup in listed] == paths[::-1]
    assert listed[0].made_at == 1e9 and listed[0].size_bytes == paths[2].stat().st_size


def test_a_copy_from_a_write_ahead_log_has_everything_and_no_log(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 51, 3))
    database.connect()
    jobs.add("training", "tone", "cpu")
    assert Path(f"{files.database_path()}-wal").stat().st_size > 0
    copy = backups.back_up()
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert count_in(copy) == 1
    assert left_behind(home) == [copy.name]


def test_it_is_on_the_disk_before_it_has_its_name(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[str] = []
    sync, rename = os.fsync, os.rename

    def noted_sync(descriptor: int) -> None:
        happened.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        sync(descriptor)

    def noted_rename(source: Path, target: Path) -> None:
        happened.append("rename")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(os, "rename", noted_rename)
    backups.back_up()
    assert happened == ["home", "copy.db", "rename", "backups"]


def test_a_process_killed_in_the_middle_leaves_nothing_that_looks_like_a_copy(
    home: Path, child: Child
) -> None:
    jobs.add("training", "tone", "cpu")
    script = """
from storage import backups
def stay(copy):
    print("copied", flush=True)
    time.sleep(600)
backups._check = stay
backups.back_up()
"""
    process = child(script)
    assert process.stdout is not None and process.stdout.readline() == "copied\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (half_made,) = (home / "backups").iterdir()
    assert backups.list_all() == [] and not list((home / "backups").glob("*.db"))
    assert count_in(backups.back_up()) == 1
    os.utime(half_made, (0, 0))
    trash.tidy()
    assert not half_made.exists() and len(backups.list_all()) == 1


def test_too_little_room_is_said_before_anything_is_written(home: Path, tmp_path: Path) -> None:
    jobs.add("training", "tone", "cpu", settings={"text": "x" * 2_000_000})
    size = files.database_path().stat().st_size
    with disks.small_disk(tmp_path / "small", "1m"):
        config.use(config.from_environment(tmp_path / "small", f"sqlite:///{files.database_path()}"))
        with pytest.raises(DiskFull, match=r"needs 2\.\d MB, 1\.0 MB free") as caught:
            backups.back_up()
        assert caught.value.needed_bytes == size
        assert left_behind(tmp_path / "small") == []


def test_a_disk_that_fills_up_meanwhile_keeps_nothing_of_it(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs.add("training", "tone", "cpu", settings={"text": "x" * 2_000_000})
    monkeypatch.setattr(backups, "_check_room", lambda database: None)
    with disks.small_disk(tmp_path / "small", "1m"):
        config.use(config.from_environment(tmp_path / "small", f"sqlite:///{files.database_path()}"))
        with pytest.raises(DiskFull):
            backups.back_up()
        assert left_behind(tmp_path / "small") == []


def test_a_limit_on_file_sizes_is_a_full_disk_too(home: Path, child: Child) -> None:
    jobs.add("training", "tone", "cpu", settings={"text": "x" * 400_000})
    script = """
import resource
from storage import backups
from storage.errors import DiskFull
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    backups.back_up()
except DiskFull as error:
    print(error.message)
"""
    assert child(script).communicate()[0].startswith("The disk is full")
    assert left_behind(home) == []


def test_a_folder_that_may_not_be_written_is_named(home: Path, tmp_path: Path) -> None:
    with disks.small_disk(home / "backups") as folder:
        disks.make_read_only(folder)
        with pytest.raises(StudioError, match="backups cannot be written: Read-only"):
            backups.back_up()


def test_a_database_that_is_always_busy_is_given_up(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backups, "PATIENCE_SECONDS", 0.3)
    with closing(sqlite3.connect(files.database_path(), isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StudioError, match="busy"):
            backups.back_up()
    assert left_behind(home) == []


def test_a_damaged_database_gives_no_copy(home: Path) -> None:
    for _ in range(20):
        jobs.add("training", "a" * 2000, "cpu")
    database.close()
    with open(files.database_path(), "r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * 12288)
    with pytest.raises(DamagedDatabase):
        backups.back_up()
    assert left_behind(home) == []


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    config.use(config.from_environment(tmp_path / "home"))
    files.make_folders()
    with pytest.raises(StudioError, match="cannot be opened"):
        backups.back_up()
    assert not files.database_path().exists() and left_behind(tmp_path / "home") == []


def test_on_postgresql_it_names_the_program_for_that(tmp_path: Path) -> None:
    config.use(config.from_environment(tmp_path / "home", "postgresql://me:trout@127.0.0.1:1/name"))
    with pytest.raises(StudioError, match="pg_dump") as caught:
        backups.back_up()
    assert "trout" not in str(caught.value)
    assert backups.list_all() == []
