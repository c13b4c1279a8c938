from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs import recovery
from storage import jobs, metrics
from storage.errors import StudioError
from storage.jobs import Job
from studio import charts
from studio.charts import Point, thinned

VALUES = st.one_of(st.none(), st.floats(-1e6, 1e6))


@given(values=st.lists(VALUES, max_size=300), most=st.integers(4, 60))
def test_thinning_keeps_both_ends_and_every_extreme(values: list[float | None], most: int) -> None:
    points: list[Point] = list(enumerate(values))
    kept = thinned(points, most)
    assert len(kept) <= most
    assert set(kept) <= set(points)
    assert kept == sorted(kept, key=lambda point: point[0])
    assert len(kept) == len(set(kept))
    assert kept[:1] == points[:1]
    assert kept[-1:] == points[-1:]
    numbers = [value for value in values if value is not None]
    shown = [value for _, value in kept if value is not None]
    if numbers:
        assert (min(shown), max(shown)) == (min(numbers), max(numbers))


def test_a_short_curve_is_left_as_it_is() -> None:
    points: list[Point] = [(0, 2.0), (1, None), (2, 1.0)]
    assert thinned(points, 4) == points


def test_a_stretch_without_numbers_stays_a_gap() -> None:
    points: list[Point] = [(step, 1.0 if step < 100 else None) for step in range(200)]
    assert any(value is None for _, value in thinned(points, 20)[1:-1])


@pytest.fixture
def running(home: Path) -> Job:
    """A long run in the middle of its work, with all that a run can tell about itself."""
    jobs.add("training", "tone", "cpu", "dataset", "starter", 8, {})
    job = jobs.claim(set())
    assert job is not None
    told = {
        "step": 123_456, "total_steps": 500_000, "seconds_left": 12_345.678, "tokens_per_second": 23_456.789,
        "steps_per_second": 1.23456, "phase": "Training",
    }  # fmt: skip
    points = [(step, "loss", 2.3456789) for step in range(3000)]
    points += [(step, "held_out_loss", 2.0) for step in range(0, 3000, 100)]
    assert metrics.take_in(job.id, job.attempt, points, 100, **told)
    return jobs.get(job.id)


def test_the_first_answer_has_the_whole_curve_thinned(running: Job) -> None:
    answer = json.loads(charts.points_json(running.id, 0))
    assert len(answer["l"]) == charts.MAX_POINTS
    assert answer["l"][0] == [0, 2.346]
    assert answer["h"][-1] == [2900, 2.0]
    assert (answer["s"], answer["t"], answer["q"], answer["e"]) == (123_456, 500_000, "running", 12_346)


def test_a_tick_with_one_new_point_is_small(running: Job) -> None:
    cursor = json.loads(charts.points_json(running.id, 0))["c"]
    metrics.take_in(running.id, running.attempt, [(123_456, "loss", 1.23456789)], 200)
    tick = charts.points_json(running.id, cursor)
    assert json.loads(tick)["l"] == [[123_456, 1.235]]
    assert len(tick.encode()) <= 200


def test_a_tick_without_news_has_no_points(running: Job) -> None:
    cursor = json.loads(charts.points_json(running.id, 0))["c"]
    answer = json.loads(charts.points_json(running.id, cursor))
    assert answer["c"] == cursor
    assert "l" not in answer
    assert "h" not in answer


def test_a_value_that_was_no_number_is_a_gap(running: Job) -> None:
    cursor = json.loads(charts.points_json(running.id, 0))["c"]
    metrics.take_in(running.id, running.attempt, [(5000, "loss", None)], 200)
    assert json.loads(charts.points_json(running.id, cursor))["l"] == [[5000, None]]


def test_how_a_run_computes_is_told_when_the_page_does_not_know(running: Job) -> None:
    jobs.update(running.id, running.attempt, notes=["packs of 16,384 tokens"], foreseen_seconds=100.0)
    jobs.update(running.id, running.attempt, foreseen_peak_bytes=2_100_000_000)
    answer = json.loads(charts.points_json(running.id, 0))
    assert answer["n"] == ["packs of 16,384 tokens"]
    assert answer["f"] == "Foreseen: about 1 minute 40, 2.1 GB."
    assert "n" not in json.loads(charts.points_json(running.id, answer["c"], told=1))
    jobs.finish(running.id, running.attempt, "finished", result={"notes": ["halved"]})
    told_at_the_end = json.loads(charts.points_json(running.id, answer["c"], told=1))["n"]
    assert told_at_the_end == ["packs of 16,384 tokens", "halved"]


def test_a_run_that_ended_tells_no_speed(running: Job) -> None:
    jobs.finish(running.id, running.attempt, "finished")
    answer = json.loads(charts.points_json(running.id, 0))
    assert answer["q"] == "finished"
    assert not {"e", "k", "r", "p", "b"} & set(answer)


def test_a_run_that_has_not_begun_has_empty_curves(home: Path) -> None:
    job = jobs.add("training", "tone", "cpu", "dataset", "starter", 8, {})
    answer = json.loads(charts.points_json(job.id, 0))
    assert (answer["l"], answer["h"], answer["c"], answer["q"]) == ([], [], 0, "queued")


def test_a_run_tells_what_keeps_it_and_what_became_of_earlier_attempts(running: Job) -> None:
    quiet = json.loads(charts.points_json(running.id, 1))
    assert not {"v", "w", "i"} & set(quiet)
    jobs.update(running.id, 1, silent_seconds=720.0)
    silent = json.loads(charts.points_json(running.id, 1))
    assert silent["v"] == "silent" and "No progress for 12 minutes" in silent["w"]
    jobs.requeue(running.id, 1, recovery.interruption(jobs.get(running.id), recovery.KILLED))
    waiting = json.loads(charts.points_json(running.id, 1))
    assert waiting["w"] == "Waiting: next in the queue."
    assert waiting["i"] == ["Interrupted at step 123456; it goes on by itself."]


def test_what_is_offered_changes_its_key_with_every_change_of_state(running: Job) -> None:
    def key() -> str:
        return json.loads(charts.points_json(running.id, 1))["o"]  # type: ignore[no-any-return]

    keys = [key()]
    jobs.update(running.id, 1, step=123_457, loss=1.0)
    assert key() == keys[0], "further steps change nothing that is offered"
    jobs.requeue(running.id, 1, paused_for="The disk is full.", needs_bytes=1)
    keys.append(key())
    other = jobs.add("training", "another", "cpu")
    keys.append(key())
    jobs.request_stop(other.id)
    jobs.request_stop(running.id)
    keys.append(key())
    jobs.retry(running.id)
    keys.append(key())
    assert jobs.claim(set(), free_bytes=5) is not None
    keys.append(key())
    assert keys[4] == keys[1], "what is offered is the same again"
    assert len(set(keys)) == len(keys) - 1


def test_points_of_an_unknown_run_are_refused_in_words(home: Path) -> None:
    with pytest.raises(StudioError):
        charts.points_json("nosuchid", 0)


@pytest.mark.parametrize(
    ("out_features", "in_features", "rank"), [(1536, 576, 64), (192, 576, 8), (40_000, 10_000, 400)]
)
def test_the_matrices_are_drawn_in_one_scale(out_features: int, in_features: int, rank: int) -> None:
    w, b, a = charts.to_scale(out_features, in_features, rank).data
    scale = extent(w.x) / in_features
    assert extent(w.y) / out_features == pytest.approx(scale)
    assert (extent(b.x), extent(b.y)) == pytest.approx((rank * scale, out_features * scale))
    assert (extent(a.x), extent(a.y)) == pytest.approx((in_features * scale, rank * scale))
    assert max(w.x) < min(b.x) < max(b.x) < min(a.x), "nothing lies on top of another"


def test_a_thin_strip_stays_visible() -> None:
    _, b, a = charts.to_scale(40_000, 10_000, 1).data
    assert extent(b.x) == pytest.approx(0.008)
    assert extent(a.y) == pytest.approx(0.008)


def test_both_axes_have_one_unit() -> None:
    axis = charts.to_scale(192, 576, 8).layout.yaxis
    assert (axis.scaleanchor, axis.scaleratio) == ("x", 1)


def test_the_limit_of_lengths_is_a_line() -> None:
    assert [line.x0 for line in charts.lengths([10, 20, 30], limit=25).layout.shapes] == [25]
    assert not charts.lengths([10, 20, 30]).layout.shapes


def extent(values: list[float]) -> float:
    return max(values) - min(values)
