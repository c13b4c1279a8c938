"""A training whose process is ended for real goes on as if nothing had been: the same numbers, the same adapter."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.base_models import catalogue
from jobs.executors.local import PROJECT_ROOT
from jobs.progress import read_events
from jobs.training.states import STATE_FILE
from storage import files
from tests.jobs.training import mortal
from tests.jobs.training.conftest import rows_of

SETTINGS = {"max_steps": 9, "tokens_per_step": 256, "precision": "fp32", "learning_rate": 5e-3}
NAMES = ("loss", "held_out_loss", "grad_norm", "learning_rate")
Train = Callable[..., int]


@pytest.fixture
def train(home: Path, tiny_model: Path, one_thread: None, monkeypatch: pytest.MonkeyPatch) -> Train:
    """Does an attempt of a job: one that a signal ends in a process of its own; returns its exit status."""
    for place, value in mortal.CHANGES.items():
        monkeypatch.setattr(place, value)
    rows = [{**row, "split": "held_out" if row["row"] % 5 == 0 else "train"} for row in rows_of(40)]
    folder = files.dataset_folder("d1")
    folder.mkdir(parents=True)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    base_model_id = catalogue.add_custom(str(tiny_model)).id

    def run(job_id: str, attempt: int, kind: dict[str, Any], *end: int) -> int:
        spec = {
            "job_id": job_id,
            "kind": "training",
            "dataset_id": "d1",
            "base_model_id": base_model_id,
            "rank": 4,
            "settings": {**SETTINGS, **kind},
            "device": "cpu",
            "name": "words",
        }
        run_folder = files.run_folder(job_id)
        files.write_json(run_folder / "job.json", spec)
        if not end:
            progress = mortal.Mortal(files.attempt_folder(job_id, attempt), attempt)
            mortal.train(run_folder, progress, attempt)
            return 0
        command = [sys.executable, "-m", mortal.__name__, run_folder, str(attempt), *map(str, end)]
        with (run_folder / "log.txt").open("ab") as log:
            return subprocess.run(command, cwd=PROJECT_ROOT, stdout=log, stderr=log).returncode

    return run


def measured(job_id: str, attempts: int) -> dict[tuple[int, str], str]:
    """Every number of a run to its last bit; what a later attempt measured again counts once, if it is the same."""
    numbers: dict[tuple[int, str], str] = {}
    for attempt in range(1, attempts + 1):
        for step, name, value in read_events(files.attempt_folder(job_id, attempt), 0).metrics:
            if name in NAMES:
                assert value is not None
                assert numbers.setdefault((step, name), value.hex()) == value.hex(), (attempt, step, name)
    return numbers


def adapter(job_id: str, attempt: int) -> str:
    return files.sha256_of(files.attempt_folder(job_id, attempt) / "adapter" / "adapter_model.safetensors")


def states_of(job_id: str, attempt: int) -> list[Path]:
    return sorted((files.attempt_folder(job_id, attempt) / "states").iterdir())


@pytest.mark.parametrize("kind", [{}, {"dropout": 0.1}], ids=["fast path", "plain path, dropout"])
def test_a_killed_run_gives_the_same_numbers_and_the_same_adapter(train: Train, kind: dict[str, Any]) -> None:
    assert train("whole", 1, kind) == 0
    expected = measured("whole", 1)
    assert {step for step, name in expected if name == "loss"} == set(range(1, 10))
    packs = read_events(files.attempt_folder("whole", 1), 0)
    assert len(packs.saved) >= 9  # a state after every step: what is lost is the step under way

    # Killed between the packs of a step; then told to end there, which keeps the step's packs too.
    assert train("cut", 1, kind, signal.SIGKILL, 4) == -signal.SIGKILL
    assert train("cut", 2, kind, signal.SIGTERM, 6) == 0
    last = [json.loads((states_of("cut", attempt)[-1] / STATE_FILE).read_bytes()) for attempt in (1, 2)]
    assert [(state["steps"], len(state["learned"])) for state in last] == [(3, 0), (5, 2)]
    assert train("cut", 3, kind) == 0
    for attempt, resumed_from in ((2, 3), (3, 5)):
        batch = read_events(files.attempt_folder("cut", attempt), 0)
        assert batch.fields["resumed_from"] == resumed_from
        assert min(step for step, name, _ in batch.metrics if name == "loss") == resumed_from + 1
    assert measured("cut", 3) == expected
    assert adapter("cut", 3) == adapter("whole", 1)
    result, other = (
        json.loads((files.attempt_folder(job_id, attempt) / "result.json").read_bytes())
        for job_id, attempt in (("cut", 3), ("whole", 1))
    )
    for name in ("best_step", "best_held_out_loss", "first_held_out_loss", "last_loss", "steps", "tokens"):
        assert result[name] == other[name]
    assert b"NaN" not in (files.attempt_folder("cut", 3) / "events.jsonl").read_bytes()


def test_a_killed_run_whose_newest_state_is_damaged_goes_on_from_the_one_before(
    train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("whole", 1, {}) == 0
    assert train("cut", 1, {}, signal.SIGKILL, 4) == -signal.SIGKILL
    older, newer = states_of("cut", 1)
    file = newer / "state.safetensors"
    file.write_bytes(bytes(file.stat().st_size))
    shutil.copytree(older, older.with_name("step-99999999-000000"))
    assert train("cut", 2, {}) == 0
    batch = read_events(files.attempt_folder("cut", 2), 0)
    assert batch.fields["resumed_from"] == int(older.name[5:13])
    damaged = [note for note in batch.fields["notes"] if "is damaged" in note]
    assert [note.split()[4] for note in damaged] == ["99999999", str(int(newer.name[5:13]))]
    assert measured("cut", 2) == measured("whole", 1) and adapter("cut", 2) == adapter("whole", 1)
    log = capsys.readouterr().out
    assert all(note in log for note in damaged) and "Resumed from step" in log
