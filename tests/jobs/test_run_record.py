"""What a run folder tells of its job when its state is older than its attempts, damaged, or missing."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from jobs import run_record
from storage import files, jobs
from storage.errors import StudioError
from storage.jobs import Job


@pytest.fixture
def job(home: Path) -> Job:
    """A job in its first attempt, whose folder says so."""
    jobs.add("count", "a name", "cpu", dataset_id="d", base_model_id="b", rank=8)
    job = jobs.claim(set())
    assert job
    tell(job)
    attempt(job, 1, metric(1), metric(2))
    return job


def tell(job: Job, **changed: object) -> None:
    files.write_json(files.run_folder(job.id) / "state.json", {**dataclasses.asdict(job), **changed})


def metric(step: int, **values: float) -> dict[str, Any]:
    speed = {"steps_per_second": 2.0, "seconds_left": 7.0}
    return {"type": "metric", "step": step, "reached": step, "values": {"loss": 1 / step, **values}, **speed}


def saved(step: int, place: str, *kept: str) -> dict[str, Any]:
    return {"type": "checkpoint", "step": step, "folder": place, "kept": [*kept, place]}


def attempt(job: Job, number: int, *events: dict[str, Any], **files_in_it: Any) -> Path:
    """An attempt's folder with these events, and these JSON files."""
    folder = files.attempt_folder(job.id, number)
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        json.dumps({"attempt": number, "seq": seq, "time": 50.0 + seq, **event})
        for seq, event in enumerate(events)
    ]
    (folder / "events.jsonl").write_text("".join(line + "\n" for line in lines))
    for name, content in files_in_it.items():
        files.write_json(folder / f"{name}.json", content)
    return folder


def read(job: Job) -> run_record.RunRecord:
    return run_record.of_folder(files.run_folder(job.id))


def test_a_running_job_is_as_far_as_its_events(job: Job) -> None:
    record = read(job)
    assert (record.values["status"], record.values["step"], record.values["seconds_left"]) == (
        "running",
        2,
        7.0,
    )
    assert record.values["number"] == job.number
    size = (files.attempt_folder(job.id, 1) / "events.jsonl").stat().st_size
    assert record.values["events_offset"] == size
    assert record.metrics == {(1, "loss"): 1.0, (2, "loss"): 0.5}


def test_an_ended_job_is_as_its_state_says(job: Job) -> None:
    tell(job, status="stopped", step=2, finished_at=9.0, seconds_left=None, events_offset=3)
    record = read(job)
    assert (record.values["status"], record.values["finished_at"]) == ("stopped", 9.0)
    assert (record.values["seconds_left"], record.values["events_offset"]) == (None, 3)
    assert len(record.metrics) == 2


def test_folders_that_know_of_a_later_attempt_are_right(job: Job) -> None:
    process = {"pid": 4_000_000, "started": 5.0, "boot_id": "b"}
    attempt(job, 2, {"type": "resumed", "step": 1}, metric(2, loss=9.0), process=process)
    tell(
        job, status="failed", finished_at=9.0, error_message="Killed", error_remedy="", notes=["of the first"]
    )
    record = read(job)
    values = record.values
    assert (values["status"], values["attempt"], values["finished_at"]) == ("running", 2, None)
    assert (values["error_message"], values["notes"], values["resumed_from"]) == (None, [], 1)
    assert (values["pid"], values["process_started"], values["boot_id"]) == (4_000_000, 5.0, "b")
    assert record.metrics == {(1, "loss"): 1.0, (2, "loss"): 9.0}, "the later attempt's value counts"


def test_a_stop_that_was_asked_for_is_not_forgotten(job: Job) -> None:
    (files.run_folder(job.id) / "stop").touch()
    assert read(job).values["status"] == "stopping"
    tell(job, attempt=2)  # claimed again, and not started: then nobody has taken the stop of before away yet
    assert (read(job).values["status"], read(job).values["attempt"]) == ("running", 2)
    tell(job, status="queued")
    assert read(job).values["status"] == "queued"


def test_only_states_that_were_kept_and_are_there_are_checkpoints(job: Job) -> None:
    first, second, third = (f"attempt-1/states/{n}" for n in range(3))
    for place in (second, third):
        (files.run_folder(job.id) / place).mkdir(parents=True)
    attempt(
        job,
        1,
        saved(1, first),
        saved(2, second, first),
        saved(3, third, second),
        saved(4, "../../x", second, third),
    )
    found = read(job).checkpoints
    assert found == {
        second: {"step": 2, "folder": second, "at": 51.0, "attempt": 1},
        third: {"step": 3, "folder": third, "at": 52.0, "attempt": 1},
    }
    tell(job, status="finished", finished_at=9.0)
    assert read(job).checkpoints == {}, "their folders are on their way out"


@pytest.mark.parametrize(
    "content", ["{", "[]", "null", '{"id": "other"}', '{"status": "dreaming"}', '{"step": "3"}']
)
def test_a_damaged_state_is_named_and_the_older_files_are_read(job: Job, content: str) -> None:
    folder = files.run_folder(job.id)
    spec = {name: getattr(job, name) for name in ("attempt", "kind", "name", "device", "settings")}
    files.write_json(folder / "job.json", {"job_id": job.id, **spec})
    if content[0] == "{" and len(content) > 1:
        content = json.dumps({**dataclasses.asdict(job), **json.loads(content)})
    (folder / "state.json").write_text(content)
    record = read(job)
    assert len(record.problems) == 1 and "state.json cannot be read" in record.problems[0]
    assert (record.values["status"], record.values["attempt"], record.values["name"]) == (
        "running",
        1,
        "a name",
    )
    assert "number" not in record.values and len(record.metrics) == 2
    assert run_record.number_of(folder) is None


def test_without_a_state_the_result_ends_the_job_when_nothing_is_left_to_do(job: Job) -> None:
    folder = files.run_folder(job.id)
    (folder / "state.json").unlink()
    files.write_json(
        folder / "job.json", {"job_id": job.id, "attempt": 2, "kind": "k", "name": "n", "device": "cpu"}
    )
    assert (read(job).values["status"], read(job).values["attempt"]) == ("running", 2), (
        "told of, not yet started"
    )
    attempt(job, 2, result={"status": "failed", "error": {"message": "Broken", "remedy": "Mend it"}})
    assert (read(job).values["status"], read(job).values["error_remedy"]) == ("failed", "Mend it")
    for status in ("interrupted", "paused"):
        attempt(job, 2, result={"status": status})
        assert read(job).values["status"] == "running", "the worker lets it go on"
    attempt(job, 2, result={"status": "finished", "adapter": {}})
    assert read(job).values["status"] == "running", "its adapter is still to be published"
    files.adapter_folder(f"{job.id}-2").mkdir()
    assert (read(job).values["status"], read(job).values["adapter_id"]) == ("finished", f"{job.id}-2")


def test_events_that_make_no_sense_cost_no_more_than_themselves(job: Job) -> None:
    attempt(job, 1, metric(1), {"type": "metric", "step": "x", "values": {"loss": 1}}, metric(3))
    record = read(job)
    assert record.values["status"] == "running" and len(record.problems) == 1
    assert "the events of attempt 1" in record.problems[0]
    huge = {**metric(2), "step": 2**70, "reached": 2}
    attempt(job, 1, metric(1), huge, {**metric(4), "values": {"loss": "low"}})
    assert list(read(job).metrics) == [(1, "loss")]


def test_a_folder_that_does_not_say_what_it_is_is_refused(home: Path) -> None:
    (home / "runs" / "x").mkdir()
    with pytest.raises(StudioError, match=r"neither state\.json nor job\.json"):
        run_record.of_folder(home / "runs" / "x")
