"""Events are taken in once, however often they are read, and together with how far they were read."""

from __future__ import annotations

import pytest

from storage import jobs, metrics
from storage.metrics import Metric


def test_the_same_events_twice_are_there_once(running_job: jobs.Job) -> None:
    events = [(1, "loss", 3.0), (1, "learning_rate", 0.1), (2, "loss", 2.0)]
    for _ in range(2):
        assert metrics.take_in(running_job.id, 1, events, 120, step=2, loss=2.0)
    assert metrics.since(running_job.id, 0) == [Metric(*event) for event in events]
    job = jobs.get(running_job.id)
    assert (job.events_offset, job.step, job.loss) == (120, 2, 2.0)


def test_all_of_it_is_taken_in_or_nothing(running_job: jobs.Job) -> None:
    with pytest.raises(Exception, match=r"NOT NULL|not-null"):
        metrics.take_in(running_job.id, 1, [(1, "loss", 3.0), (None, "loss", 3.0)], 120, step=2)  # type: ignore[list-item]
    assert metrics.since(running_job.id, 0) == []
    assert jobs.get(running_job.id) == running_job


def test_a_step_measured_again_has_its_newest_value(running_job: jobs.Job) -> None:
    metrics.take_in(running_job.id, 1, [(1, "loss", 3.0)], 10)
    metrics.take_in(running_job.id, 1, [(1, "loss", 2.5), (1, "loss", 2.0)], 20)
    assert metrics.all_of(running_job.id, "loss") == [Metric(1, "loss", 2.0)]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
def test_a_value_that_is_not_finite_is_none(running_job: jobs.Job, value: float | None) -> None:
    metrics.take_in(running_job.id, 1, [(1, "loss", value)], 10, loss=value)
    assert metrics.all_of(running_job.id, "loss") == [Metric(1, "loss", None)]
    assert jobs.get(running_job.id).loss is None


def test_since_gives_later_steps_in_order(running_job: jobs.Job) -> None:
    metrics.take_in(
        running_job.id, 1, [(step, name, 1.0) for step in (3, 1, 2) for name in ("loss", "rate")], 10
    )
    assert [(m.step, m.name) for m in metrics.since(running_job.id, 1)] == [
        (2, "loss"),
        (2, "rate"),
        (3, "loss"),
        (3, "rate"),
    ]
    assert [m.step for m in metrics.since(running_job.id, 1, ["rate"])] == [2, 3]
    assert metrics.since("nonesuch", 0) == []


def test_a_chart_that_follows_the_cursor_sees_everything_once(running_job: jobs.Job) -> None:
    seen: list[Metric] = []
    cursor = 0
    for step in range(1, 8):
        # Held-out values of a step may come after the values of later steps.
        metrics.take_in(
            running_job.id, 1, [(step, "loss", 1.0), (max(step - 2, 0), "held_out_loss", 1.0)], step
        )
        new, cursor = metrics.after(running_job.id, cursor, limit=1)
        seen += new
    for _ in range(5):
        new, cursor = metrics.after(running_job.id, cursor, limit=3)
        assert len(new) <= 3
        seen += new
    assert sorted(seen, key=str) == sorted(metrics.since(running_job.id, -1), key=str)
    assert metrics.after(running_job.id, cursor) == ([], cursor)
