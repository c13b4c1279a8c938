"""The parts of the disk that are shown are those that are used, while things come and go."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from storage import backups, config, database, files, trash, usage


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder on SQLite, nothing in it."""
    config.use(config.from_environment(tmp_path / "data"))
    files.make_folders()
    return tmp_path / "data"


def used() -> dict[str, int]:
    return {part.key: part.size_bytes for part in usage.usage()}


def put(path: Path, size: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    return path


def test_an_empty_folder_uses_nothing(data: Path) -> None:
    parts = "datasets models adapters runs checkpoints cache logs backups trash tmp database"
    assert used() == dict.fromkeys(parts.split(), 0)


def test_each_file_counts_in_its_part(data: Path) -> None:
    put(files.dataset_folder("bcdf") / "original" / "rows.jsonl", 1)
    put(files.model_folder("tiny") / "weights", 2)
    put(files.adapter_folder("bcdf-1") / "weights", 4)
    put(files.attempt_folder("bcdf", 1) / "events.jsonl", 8)
    put(files.attempt_folder("bcdf", 1) / "states" / "step-5" / "state", 16)
    put(files.attempt_folder("bcdf", 12) / "states" / "damaged-step-4" / "state", 32)
    put(data / "cache" / "triton" / "kernel", 64)
    put(files.log_path("studio"), 128)
    put(data / "backups" / "studio.db", 256)
    put(files.temporary_folder() / "half", 512)
    put(data / "studio.db", 1024)
    put(data / "studio.db-journal", 2048)
    put(data / "notes", 4096)
    trash.to_trash(data / "notes")
    assert used() == {
        "datasets": 1,
        "models": 2,
        "adapters": 4,
        "runs": 8,
        "checkpoints": 48,
        "cache": 64,
        "logs": 128,
        "backups": 256,
        "tmp": 512,
        "database": 3072,
        "trash": 4096,
    }


def test_a_state_that_attempts_share_counts_once(data: Path) -> None:
    state = put(files.attempt_folder("bcdf", 1) / "states" / "step-5" / "state", 100)
    later = files.attempt_folder("bcdf", 2) / "states" / "step-5" / "state"
    later.parent.mkdir(parents=True)
    os.link(state, later)
    assert used()["checkpoints"] == 100


def test_links_are_not_followed(data: Path, tmp_path: Path) -> None:
    put(tmp_path / "outside" / "big", 10_000)
    (data / "models" / "linked").symlink_to(tmp_path / "outside")
    assert used()["models"] < 1000


def test_the_database_counts_wherever_it_lies(tmp_path: Path) -> None:
    config.use(config.from_environment(tmp_path / "data", f"sqlite:///{tmp_path}/elsewhere.db"))
    database.connect()
    database.close()
    assert used()["database"] == (tmp_path / "elsewhere.db").stat().st_size > 0
    size = backups.back_up().stat().st_size
    assert used()["backups"] == size


def test_a_database_on_a_server_takes_nothing_here(tmp_path: Path) -> None:
    config.use(config.from_environment(tmp_path / "data", "postgresql://me@127.0.0.1:1/name"))
    files.make_folders()
    assert used()["database"] == 0


def test_files_may_vanish_while_they_are_counted(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = put(data / "logs" / "kept", 7)
    for n in range(50):
        put(data / "logs" / f"{n}", 1)
    listed, real = [], Path.lstat

    def lstat(path: Path) -> os.stat_result:
        if not listed:
            listed.append(path)
            for n in range(50):
                (data / "logs" / f"{n}").unlink(missing_ok=True)
        return real(path)

    monkeypatch.setattr(Path, "lstat", lstat)
    assert files.folder_bytes(data / "logs") == 7
    assert kept.exists()
    assert files.folder_bytes(data / "no such folder") == 0


def test_counting_holds_while_another_thread_makes_and_deletes(data: Path) -> None:
    stop = threading.Event()

    def make_and_delete() -> None:
        while not stop.is_set():
            folder = files.temporary_folder()
            put(folder / "deep" / "file", 10)
            trash.to_trash(folder)
            trash.empty()

    busy = threading.Thread(target=make_and_delete)
    busy.start()
    try:
        for _ in range(200):
            usage.usage()
            trash.items()
    finally:
        stop.set()
        busy.join()
    assert used()["trash"] == 0
