"""A worker that was given up, and wakes again, changes nothing."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator

import pytest

from storage import jobs, metrics, workers
from tests.storage.test_jobs import ACTIONS

Child = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(autouse=True)
def ordinary_again() -> Iterator[None]:
    yield
    workers.leave()


def test_each_worker_is_of_a_higher_generation(home: object) -> None:
    first = workers.enter(7, 1.0, "boot")
    assert workers.is_current()
    assert workers.enter(8, 1.0, "boot") > first


@pytest.mark.parametrize("action", ACTIONS)
def test_after_another_worker_has_entered_the_old_one_changes_nothing(
    running_job: jobs.Job, child: Child, action: str
) -> None:
    workers.enter(7, 1.0, "boot")
    before = jobs.get(running_job.id)
    newer = "from storage import workers; print(workers.enter(8, 1.0, 'boot'))"
    assert child(newer).communicate()[0].strip().isdigit()
    assert not workers.is_current()
    assert ACTIONS[action](running_job.id, 1) is False
    assert jobs.get(running_job.id) == before
    assert metrics.since(running_job.id, -1) == []


def test_an_old_worker_claims_nothing(home: object, child: Child) -> None:
    jobs.add("training", "tone", "cpu")
    workers.enter(7, 1.0, "boot")
    child("from storage import workers; workers.enter(8, 1.0, 'boot')").communicate()
    assert jobs.claim(set()) is None
    workers.leave()
    assert jobs.claim(set())
