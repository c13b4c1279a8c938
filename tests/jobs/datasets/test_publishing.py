"""A dataset is there wholly or not at all, whoever is killed at whatever moment."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from jobs.datasets import child, importing, publishing
from jobs.datasets.rows import load_rows
from storage import config, database, datasets, files
from storage.errors import DiskFull, StudioError
from tests.faults import points
from tests.jobs.datasets import pages
from tests.jobs.waiting import processes_of_home, until
from tests.storage import disks

ROWS = 1000


@pytest.fixture(scope="module")
def mails(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that takes some tenths of a second to import."""
    path = tmp_path_factory.mktemp("mails") / "mails.jsonl"
    rows = [{"prompt": f"Is {n} odd?", "response": f"{n % 2 == 1}, since {n * 7}."} for n in range(ROWS)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def page(home: Path, file: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", pages.__name__, str(home), str(file)], cwd=child.PROJECT_ROOT
    )


def check(home: Path, expected: int | None = None) -> None:
    """After the next start: only whole datasets, each remembered, and nothing else."""
    until(lambda: processes_of_home("jobs.datasets.import_process") == [])
    publishing.tidy()
    kept = datasets.list_all()
    assert expected in (None, len(kept))
    assert sorted(path.name for path in (home / "datasets").iterdir()) == sorted(one.id for one in kept)
    for dataset in kept:
        assert dataset.rows == len(load_rows(dataset.id)) == ROWS
        assert (files.dataset_folder(dataset.id) / "original" / "mails.jsonl").is_file()
    assert list((home / "tmp").iterdir()) == []


@pytest.mark.parametrize("moment", pages.MOMENTS)
def test_a_kill_of_the_page(moment: str, home: Path, mails: Path) -> None:
    armed = points.arm(moment)
    killed = page(home, mails)
    until(armed.pid)
    killed.kill()
    killed.wait()
    check(home, 1 if moment in ("published", "remembered") else 0)


def test_a_kill_of_the_page_at_any_time(home: Path, mails: Path) -> None:
    chance = random.Random(5)
    for _ in range(6):
        killed = page(home, mails)
        time.sleep(chance.uniform(0.3, 1.5))
        killed.kill()
        killed.wait()
        check(home)


@pytest.mark.parametrize("wait", [0.0, 0.15, 0.4])
def test_a_kill_of_the_process_that_reads(wait: float, home: Path, mails: Path) -> None:
    reading = subprocess.Popen(
        [sys.executable, "-m", pages.__name__, str(home), str(mails)],
        cwd=child.PROJECT_ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    (pid,) = until(lambda: processes_of_home("jobs.datasets.import_process"))
    time.sleep(wait)
    with suppress(ProcessLookupError):  # a quick machine has read it by now
        os.kill(pid, signal.SIGKILL)
    _, said = reading.communicate()
    if reading.returncode:  # it was not too late
        assert "Reading mails.jsonl was ended by the system (SIGKILL)" in said
        assert list((home / "tmp").iterdir()) == []
        check(home, 0)


def test_what_is_under_way_elsewhere_is_left_alone(home: Path, mails: Path) -> None:
    armed = points.arm("read")
    busy = page(home, mails)
    until(armed.pid)
    publishing.tidy()
    armed.release()
    assert busy.wait() == 0
    check(home, 1)


def test_a_database_that_refuses_leaves_nothing(
    home: Path, mails: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(**record: object) -> None:
        raise StudioError("The database is locked.", "Try again.")

    monkeypatch.setattr(publishing.datasets, "add", refuses)
    with pytest.raises(StudioError, match="locked"):
        importing.add_dataset(mails)
    monkeypatch.undo()
    check(home, 0)


def test_a_disk_that_fills_while_the_rows_are_written(tmp_path: Path, mails: Path) -> None:
    with disks.small_disk(tmp_path / "disk", "8m") as place:
        config.use(config.from_environment(data_dir=place / "home"))
        database.connect()
        large = tmp_path / "large.jsonl"
        large.write_text(mails.read_text() * 20)
        with pytest.raises(DiskFull, match=r"^The disk is full: needs [\d.]+ MB, [\d.]+ \w+ free\."):
            importing.add_dataset(large)
        assert datasets.list_all() == []
        assert [*(place / "home" / "tmp").iterdir(), *(place / "home" / "datasets").iterdir()] == []
        assert importing.add_dataset(mails).rows == ROWS
        database.close()
