from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from jobs import worker
from jobs.base_models import catalogue
from storage import files, jobs
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
    assert str(home) in system.places()
    assert version("gradio") in system.software()
    (home / "logs" / "worker.log").write_bytes(b"x" * 5000)
    assert "5.0 kB" in system.disk()


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
