"""The page of a run as the server makes it, before any script of the page has run."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from storage import adapters, checkpoints, jobs, metrics
from storage.errors import DamagedDatabase, StudioError
from studio.offers import Offers
from studio.tabs import train
from tests.studio.test_tables import ADAPTER, JOB

OFFERED = Offers("running", 1, None, None, True, False, False, None, False, False)
NAMES = ("note", "stop", "sooner", "later", "delete", "sure", "again", "go_on", "onward", "tried")
RUNNING = dataclasses.replace(
    JOB, status="running", step=1200, total_steps=3600, phase="Training", notes=["Packed <tightly>."]
)


def test_the_first_html_of_a_run_is_not_empty() -> None:
    shown = train.run_html(RUNNING, OFFERED)
    assert ">Step 1,200 of 3,600<" in shown
    assert 'aria-valuenow="33"' in shown
    assert ">Training<" in shown
    assert "<li>Packed &lt;tightly&gt;.</li>" in shown
    assert " hidden" not in train.how_html(RUNNING)


def test_a_run_that_has_said_nothing_shows_no_empty_list() -> None:
    assert 'data-part="how" hidden' in train.run_html(JOB, OFFERED)
    assert ">Getting ready<" in train.run_html(JOB, OFFERED)


def test_an_ended_run_no_longer_does_what_it_did_last() -> None:
    assert ">Training<" not in train.progress_html(dataclasses.replace(RUNNING, status="finished"))


def test_only_a_sweep_has_a_table_of_trials() -> None:
    trial = {"rank": 4, "learning_rate": 5e-4, "best_held_out_loss": 1.2, "best_step": 10}
    assert train.trials_html(JOB) == ""
    assert train.trials_html(dataclasses.replace(JOB, result={"trials": [trial], "best_trial": 0})) == ""
    sweep = dataclasses.replace(JOB, result={"trials": [trial, {**trial, "rank": 8}], "best_trial": 1})
    assert "What was tried" in train.trials_html(sweep)


def test_settings_are_said_as_the_form_shows_them() -> None:
    settings = {
        "try_ranks": [2, 4],
        "rank_pattern": {"q_proj": 8},
        "target_modules": "query_value",
        "use_dora": True,
    }
    shown = train.facts_html(dataclasses.replace(JOB, settings=settings))
    assert "try ranks 2, 4; rank pattern q_proj=8; target modules query value; use dora yes" in shown


def offered(job_id: str) -> dict[str, Any]:
    """The foot of the run's page: text of what is HTML, label of each button that is seen."""
    parts = dict(zip(NAMES, train.foot(job_id), strict=True))
    seen = {name: part for name, part in parts.items() if isinstance(part, str)}
    for name, part in parts.items():
        if getattr(part, "visible", False):
            seen[name] = getattr(part, "value", "")
    return seen


def ended(status: Any, saved_at: int | None, **more: Any) -> jobs.Job:
    """A run that has ended, with a checkpoint if it saved one."""
    jobs.add("training", "tone", "cpu", "d", "starter", 8, {})
    job = jobs.claim(set())
    assert job is not None
    saved = [] if saved_at is None else [{"step": saved_at, "folder": "attempt-1/states/a", "at": 1.0}]
    assert metrics.take_in(job.id, 1, [], 1, saved=saved, step=120, total_steps=300)
    jobs.finish(job.id, 1, status, **more)
    return jobs.get(job.id)


@pytest.mark.parametrize("status", ["failed", "stopped"])
def test_a_run_that_ended_early_can_go_on_from_its_last_checkpoint(home: Path, status: str) -> None:
    job = ended(status, 100)
    seen = offered(job.id)
    assert seen["go_on"] == "Go on from step 100" and "again" in seen and "delete" in seen
    assert "stop" not in seen
    foot = dict(zip(NAMES, train.foot(job.id), strict=True))
    assert foot["again"].variant == "secondary", "to go on comes first"
    for _ in range(5):
        train.go_on_with(job.id)
    assert [(one.id, one.status) for one in jobs.list_all()] == [(job.id, "queued")]


def test_without_a_checkpoint_it_can_only_be_started_again(home: Path) -> None:
    job = ended("failed", 100)
    checkpoints.keep_only(job.id, [])
    assert "go_on" not in offered(job.id)
    assert dict(zip(NAMES, train.foot(job.id), strict=True))["again"].variant == "primary"


def test_a_finished_run_can_only_be_deleted(home: Path) -> None:
    assert not {"stop", "sooner", "later", "again", "go_on"} & set(offered(ended("finished", 100).id))


def test_a_waiting_run_can_be_moved_past_others_only(home: Path) -> None:
    alone = jobs.add("training", "alone", "cpu")
    jobs.add("training", "for another device", "cuda:1")
    assert not {"sooner", "later"} & set(offered(alone.id))
    second = jobs.add("training", "second", "cpu")
    assert "later" in offered(alone.id) and "sooner" not in offered(alone.id)
    assert "sooner" in offered(second.id) and "later" not in offered(second.id)
    train.move_up(second.id)
    assert "later" in offered(second.id) and "sooner" not in offered(second.id)
    train.move_down(second.id)
    assert "sooner" in offered(second.id)


def test_a_run_is_deleted_once_however_often_it_is_asked_for(home: Path) -> None:
    job = ended("stopped", 100, error=StudioError("x"))
    made = {**dataclasses.asdict(ADAPTER), "job_id": job.id}
    del made["created_at"]
    adapters.add(**made)
    assert [train.delete_run(job.id) for _ in range(5)] == ["/runs"] * 5
    assert jobs.list_all() == []
    assert [one.id for one in adapters.list_all()] == [ADAPTER.id], "its adapter stays"
    seen = offered(job.id)
    assert set(seen) == {"note", "onward", "tried"} and "deleted" in seen["note"]


def test_a_deleted_adapter_takes_nothing_else_from_the_page(home: Path) -> None:
    job = ended("finished", None, adapter_id="gone")
    assert "adapter is" not in offered(job.id)["note"]


def test_the_databases_trouble_is_not_taken_for_a_deleted_run(home: Path) -> None:
    job = ended("finished", None)
    (home / "studio.db").unlink()
    with pytest.raises(DamagedDatabase):
        train.foot(job.id)


def test_what_became_of_earlier_attempts_is_said_beside_the_progress() -> None:
    interruption = {
        "attempt": 1,
        "step": 120,
        "done": 0,
        "saved": 100,
        "from": None,
        "why": "",
        "counted": True,
    }
    resumed = dataclasses.replace(
        RUNNING, attempt=2, resumed_from=100, interruptions=[interruption], silent_seconds=720.0
    )
    shown = train.progress_html(resumed)
    assert "<li>Interrupted at step 120; resumed from 100 (attempt 2).</li>" in shown
    assert "No progress for 12 minutes. If that is not expected, Stop ends it." in shown
    assert "Waiting: 2nd in the queue." in train.progress_html(JOB, 2)
