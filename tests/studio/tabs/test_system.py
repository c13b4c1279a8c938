from __future__ import annotations

import contextlib
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from jobs import worker
from jobs.base_models import catalogue
from storage import database, files, jobs
from storage.errors import StudioError
from studio.tabs import system


def test_a_worker_that_does_not_run_comes_first(home: Path) -> None:
    assert "worker is not running" in system.answer([])


def test_what_is_missing_is_said(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "worker_is_alive", lambda: True)
    assert "no base model yet" in system.answer([])
    monkeypatch.setattr(files, "free_bytes", lambda: 5_000_000)
    assert "nearly full" in system.answer([])


def test_every_part_can_be_shown(home: Path) -> None:
    assert "Processor" in system.hardware()
    assert str(home) in system.worker_here()
    assert "not running" in system.worker_here()
    assert version("gradio") in system.software()


def test_a_part_that_fails_says_why_in_its_place_and_the_others_stay(home: Path) -> None:
    whole = system.everything()
    assert not [part for part in whole if isinstance(part, str) and "problem" in part]
    database.close()
    (home / "studio.db").write_bytes(b"no database at all " * 1000)
    with contextlib.suppress(StudioError):
        database.connect()
    names = ("answer", "machine", "models", "worker", "versions", "database")
    broken = dict(zip(names, system.everything(), strict=False))
    assert 'role="alert"' in broken["worker"] and 'role="alert"' in broken["database"]
    assert "Processor" in broken["machine"] and version("gradio") in broken["versions"]
    assert broken["answer"]


def test_a_damaged_database_is_the_first_thing_that_is_said(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise StudioError("The database is damaged.", "Press Rebuild on the System page.")

    monkeypatch.setattr(database, "describe", fail)
    assert "Press Rebuild" in system.answer()


def test_the_starter_model_can_be_fetched_when_it_is_missing(home: Path) -> None:
    assert system.starter()[1]["visible"] is True
    note, button, timer = system.fetch_starter()
    assert "waiting for its turn" in note
    assert button["visible"] is False
    assert timer["active"] is True
    assert jobs.list_all(kind="fetch")[0].base_model_id == catalogue.STARTER_ID


def test_a_fetch_shows_how_far_it_is_and_why_it_failed(home: Path) -> None:
    system.fetch_starter()
    job = jobs.claim(set())
    assert job is not None
    jobs.update(job.id, 1, phase="Downloading", phase_done=60_000_000, phase_total=240_000_000)
    assert "Downloading: 60.0 MB of 240 MB" in system.starter()[0]
    jobs.finish(job.id, 1, "failed", error=StudioError("No connection.", "Try again."))
    note, button, timer = system.starter()
    assert "No connection. Try again." in note
    assert (button["visible"], timer["active"]) == (True, False)


def test_the_tabs_never_load_the_heavy_libraries() -> None:
    program = (
        "import sys; from studio.tabs import compare, explain, runs, system; system.software();"
        "print({'torch', 'transformers', 'peft', 'datasets'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
