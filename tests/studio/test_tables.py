from __future__ import annotations

import dataclasses

import pytest

from storage.adapters import Adapter
from storage.jobs import STATUSES, Job
from studio import tables

JOB = Job(
    id="k3xr7pqd", kind="training", name="tone", status="queued", attempt=0, device="cpu", dataset_id="d",
    base_model_id="starter", rank=8, settings={}, request_key=None, created_at=1000.0,
    started_at=None, finished_at=None, phase="", phase_done=None, phase_total=None, step=0, total_steps=0, loss=None,
    held_out_loss=None, seconds_left=None, tokens_per_second=None, steps_per_second=None, error_message=None,
    error_remedy=None, adapter_id=None, result={}, pid=None, process_started=None, boot_id=None,
    events_offset=0, notes=[], foreseen_seconds=None, foreseen_peak_bytes=None, number=1, position=1, interruptions=[],
    resumed_from=None, paused_for=None, needs_bytes=None, silent_seconds=None, deleting=False,
)  # fmt: skip
ADAPTER = Adapter(
    id="c21e", name="tone", job_id="k3xr7pqd", dataset_id="d", base_model_id="starter", rank=8, alpha=16.0,
    target_modules=["q_proj"], parameters=2_451_968, size_bytes=9_800_000, weights_sha256="",
    held_out_loss=None, base_weights_sha256="", best_step=None, settings={}, created_at=0.0,
)  # fmt: skip


def job(**changes: object) -> Job:
    return dataclasses.replace(JOB, **changes)  # type: ignore[arg-type]


def test_every_status_has_a_word_and_a_mark_of_its_own() -> None:
    marks = [tables.STATUS[status][0] for status in STATUSES]
    assert len(set(marks)) == len(STATUSES)
    for status in STATUSES:
        assert status in tables.status(job(status=status))


def test_a_failed_run_says_why_and_what_to_do() -> None:
    failed = job(status="failed", error_message="The disk is full.", error_remedy="Free some space.")
    shown = tables.status(failed)
    assert "The disk is full. Free some space." in shown


def test_a_running_run_says_how_far_it_is() -> None:
    assert "step 130 of 400, about 4 minutes left" in tables.status(
        job(status="running", step=130, total_steps=400, seconds_left=250.0)
    )
    fetch = job(status="running", phase="Downloading", phase_done=1, phase_total=4)
    assert "Downloading, 25 %" in tables.status(fetch)


def test_a_waiting_run_says_its_place_and_can_be_moved_where_there_is_one_to_pass() -> None:
    waiting = [job(id=id, name=id) for id in ("first111", "second11", "third111")]
    shown = tables.runs(waiting, {}, {}, [["first111", "second11", "third111"]], 2000.0)
    first, second, third = shown.split("<tr>")[2:]
    assert "next in the queue" in first and "2nd in the queue" in second and "3rd in the queue" in third
    assert ["Sooner: " in row for row in (first, second, third)] == [False, True, True]
    assert ["Later: " in row for row in (first, second, third)] == [True, True, False]
    assert "&quot;job&quot;: &quot;second11&quot;, &quot;where&quot;: &quot;up&quot;" in second


def test_a_paused_run_a_silent_one_and_a_second_attempt_are_told_in_words() -> None:
    paused = tables.status(job(attempt=1, paused_for="The disk is full."), 1)
    assert "paused" in paused and "The disk is full. It goes on by itself when there is room." in paused
    silent = tables.status(job(status="running", silent_seconds=720.0, step=3, total_steps=9))
    assert "no progress" in silent and "No progress for 12 minutes." in silent
    assert "attempt 2" in tables.status(job(attempt=2)) and "attempt" not in tables.status(job(attempt=1))


def test_names_from_people_are_shown_as_text() -> None:
    hostile = "<img src=x onerror=alert(1)>"
    shown = tables.runs(
        [job(name=hostile, base_model_id=hostile, status="failed", error_message=hostile)], {}, {}, [], 2000.0
    )
    assert "<img" not in shown
    assert "<img" not in tables.problem(hostile) + tables.meter('"><img>', 0.5)
    patch = dataclasses.replace(ADAPTER, name=hostile, target_modules=[hostile])
    assert "<img" not in tables.last_patch(patch, hostile, None)


def test_only_a_run_with_an_adapter_that_exists_offers_it() -> None:
    finished = job(status="finished", adapter_id="c21e")
    links = tables.runs([finished], {}, {"c21e": 9_800_000}, [], 2000.0)
    assert 'href="/compare?run=k3xr7pqd"' in links
    assert 'href="/download/adapter/c21e"' in links
    assert "9.8 MB" in links
    without = tables.runs([finished], {}, {}, [], 2000.0)
    assert "/compare" not in without
    assert 'href="/train?run=k3xr7pqd"' in without


def test_a_fetch_is_not_watched_as_a_training() -> None:
    assert "/train" not in tables.runs([job(kind="fetch", rank=None)], {}, {}, [], 2000.0)


@pytest.mark.parametrize(
    ("ago", "words"), [(5, "just now"), (600, "10 minutes ago"), (7200, "2.0 hours ago")]
)
def test_times_are_said_as_people_do(ago: float, words: str) -> None:
    assert words in tables.when(1e9 - ago, 1e9)


def test_an_old_run_has_its_date() -> None:
    assert "September 2001" in tables.when(1e9, 2e9)


def test_the_last_patch_is_a_share_of_its_model() -> None:
    shown = tables.last_patch(ADAPTER, "SmolLM2", 134_515_008)
    assert "2.5 million" in shown
    assert "1.8 %" in shown
    assert "multiplied by 2" in shown


def test_trials_say_what_was_tried_and_which_was_kept() -> None:
    found = [
        {"rank": 4, "learning_rate": 5e-4, "best_held_out_loss": 1.2345, "best_step": 1050},
        {"rank": 16, "learning_rate": 1e-5, "best_held_out_loss": None, "best_step": None},
    ]
    first, second = tables.trials(found, 0).split("<tr>")[2:]
    assert all(said in first for said in (">4<", ">0.0005<", ">1.234 at step 1,050<", "kept"))
    assert all(said in second for said in (">16<", ">1e-05<", f">{tables.NOTHING}<"))
    assert "kept" not in second
    assert "kept</span>" not in tables.trials(found, None)


def test_a_wide_table_can_be_scrolled_by_keyboard() -> None:
    assert 'tabindex="0"' in tables.table("Runs", ["Run"], [["a"]])
    assert 'aria-label="Runs"' in tables.table("Runs", ["Run"], [["a"]])
