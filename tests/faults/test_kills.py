"""Trainings that are killed, asked to end, or poisoned; the whole matrix is `python -m tests.faults.campaign`."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from storage import jobs
from tests.faults import kills, pretence, signals
from tests.faults.studio import Outcome, Studio, finished, outcome, studio, until

GRACE_SECONDS = 4.0


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """One studio for all tests, so that the imports of a training are often done already."""
    with studio(tmp_path_factory.mktemp("faults") / "home", GRACE_SECONDS=GRACE_SECONDS) as it:
        yield it


@pytest.fixture(scope="module")
def whole(opened: Studio) -> Outcome:
    """What a run makes that nobody disturbs."""
    return outcome(finished(opened.submit()))


@pytest.mark.parametrize(
    ("point", "target"),
    [
        ("mid-accumulation", "job"),
        ("before the marker", "all"),
        ("adapter published", "worker"),
        ("result written", "page"),
    ],
)
def test_a_kill_changes_nothing_of_what_comes_out(
    opened: Studio, whole: Outcome, point: str, target: str
) -> None:
    kills.kill_at(opened, point, target, whole)


def test_sigterm_to_everybody_in_the_middle_of_a_step_saves_it(opened: Studio, whole: Outcome) -> None:
    assert signals.terminate(opened, "all", whole).seconds < GRACE_SECONDS


def test_sigterm_while_loading_ends_the_job_after_its_grace(opened: Studio, whole: Outcome) -> None:
    ending = signals.terminate_while_loading(opened, whole)
    assert GRACE_SECONDS - 0.5 < ending.seconds < GRACE_SECONDS + 30


def test_a_training_whose_loss_is_no_number_is_never_taken_up(opened: Studio) -> None:
    with pretence.poisoned():
        job = opened.submit()
        until(lambda: jobs.get(job.id).finished_at is not None)
    time.sleep(1)
    job = jobs.get(job.id)
    # Stopped where a state before that was worth keeping.
    assert job.status in ("failed", "stopped") and (job.attempt, job.interruptions) == (1, [])
    said = f"{job.error_message} {' '.join(job.notes)}"
    assert "The loss is no number any more since step 1." in said
