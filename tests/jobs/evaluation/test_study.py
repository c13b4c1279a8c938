"""Would more examples help? From the click to the sentence: real trainings of the tiny model, the real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs import queue, worker
from jobs.base_models import catalogue
from jobs.datasets import importing
from jobs.evaluation import study, study_runs
from storage import adapters, datasets, jobs, workers
from storage.errors import StudioError
from tests.faults.recorded import Inline, this_process_as_before
from tests.jobs.serving.parts import end_server

SETTINGS = {
    "max_steps": 6,
    "tokens_per_step": 400,
    "precision": "fp32",
    "learning_rate": 5e-3,
    "scorecard": False,
}


@pytest.fixture
def rounds(home: Path) -> Iterator[Any]:
    """A worker that does every job in this process."""
    import os

    with this_process_as_before():
        workers.enter(os.getpid(), 0.0, "before")
        try:
            yield worker.Worker(Inline())
        finally:
            workers.leave()
            end_server()


def until_idle(rounds: Any) -> None:
    for _ in range(40):
        rounds.look_after_all()
        if not [job for job in jobs.list_all() if job.status in queue.OPEN]:
            return
    raise AssertionError([(job.name, job.status) for job in jobs.list_all()])


def trained(rounds: Any, model: Path, rows: int) -> str:
    """An adapter of a training on so many rows."""
    base = catalogue.add_custom(str(model)).id
    dataset = importing.add_rows([(f"What is {n} and {n * n}?", "x" * (5 + n % 13)) for n in range(rows)])
    job = queue.submit_training(dataset.id, base, 4, SETTINGS)
    until_idle(rounds)
    adapter_id = jobs.get(job.id).adapter_id
    assert adapter_id is not None, jobs.get(job.id)
    return adapter_id


def test_a_study_trains_twice_measures_and_says_what_twice_as_many_would_bring(
    rounds: Any, tiny_model: Path
) -> None:
    adapter_id = trained(rounds, tiny_model, 120)
    assert study.of(adapter_id)["status"] == "none"
    begun = study.start(adapter_id)
    assert (
        begun["status"] == "training" and len(begun["jobs"]) == 2 and "Training 1 of 2" in begun["sentence"]
    )
    assert study.start(adapter_id)["jobs"] == begun["jobs"], "a second click starts nothing"
    for job_id, share in zip(begun["jobs"], (0.25, 0.5), strict=True):
        job = jobs.get(job_id)
        assert study_runs.is_study(job) and job.settings["train_share"] == share
        assert job.settings["max_tokens"] == adapters.get(adapter_id).settings["max_tokens"]
        assert not job.settings["scorecard"] and job.settings["learning_rate"] == 5e-3
    until_idle(rounds)
    found = study.of(adapter_id)
    assert found["status"] == "finished", found
    whole = datasets.get(adapters.get(adapter_id).dataset_id).train_rows
    assert [point["rows"] for point in found["points"]] == [round(whole / 4), round(whole / 2), whole]
    assert len({point["loss"] for point in found["points"]}) == 3, (
        "each size was measured with its own adapter"
    )
    assert all(point["low"] <= point["loss"] <= point["high"] for point in found["points"])
    assert found["fit"]["at_double"]["rows"] == 2 * whole
    assert found["code"] in ("helps", "hardly", "cannot_tell") and found["sentence"]
    kinds = [job.kind for job in jobs.list_all()]
    assert sorted(kinds) == ["study", "training", "training", "training"], "no scorecard of a part of a study"
    assert study.start(adapter_id) == found, "what is finished stays"
    what_was_deleted_is_made_again(rounds, adapter_id, found)


def what_was_deleted_is_made_again(rounds: Any, adapter_id: str, found: dict[str, Any]) -> None:
    """First the measuring, then a stopped one with an adapter that it needs."""
    quarter, half, measuring = found["jobs"]
    queue.delete(measuring)
    assert study.of(adapter_id)["status"] == "none", "nobody measures by himself"
    again = study.start(adapter_id)
    assert again["status"] == "measuring" and again["jobs"][:2] == [quarter, half]
    queue.stop(again["jobs"][2])
    assert study.of(adapter_id)["status"] == "failed"
    made = jobs.get(quarter).adapter_id
    assert made is not None
    adapters.remove(made)
    begun = study.start(adapter_id)
    assert begun["status"] == "training" and begun["jobs"][1] == half and quarter not in begun["jobs"]
    until_idle(rounds)
    last = study.of(adapter_id)
    assert last["status"] == "finished" and len(last["jobs"]) == 3, last
    assert last["points"] == found["points"], "the same training on the same examples"


def test_few_examples_are_told_so_before_anything_is_trained(rounds: Any, tiny_model: Path) -> None:
    adapter_id = trained(rounds, tiny_model, 20)
    with pytest.raises(StudioError, match="too few to leave some out"):
        study.start(adapter_id)
    assert len(jobs.list_all()) == 1


def test_a_training_that_was_stopped_goes_on_when_the_study_is_started_again(
    rounds: Any, tiny_model: Path
) -> None:
    adapter_id = trained(rounds, tiny_model, 120)
    first, _ = study.start(adapter_id)["jobs"]
    queue.stop(first)
    stopped = study.of(adapter_id)
    assert stopped["status"] == "failed" and "Start the study again" in stopped["sentence"]
    assert study.start(adapter_id)["status"] == "training"
    assert jobs.get(first).status == "queued"


def test_an_ordinary_training_is_no_study(rounds: Any, tiny_model: Path) -> None:
    adapter_id = trained(rounds, tiny_model, 24)
    job = jobs.get(adapters.get(adapter_id).job_id)
    assert not study_runs.is_study(job) and study_runs.after_training(job, adapter_id) is None
