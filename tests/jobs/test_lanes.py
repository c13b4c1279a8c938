"""Several devices work at once, each on the queue before it, and none idles while another has a queue."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs import gpu, queue
from jobs.gpu import Device
from jobs.lanes import Lanes
from storage import files, jobs
from storage.jobs import Job
from storage.waiting import in_order

TWO = ("cuda:0", "cuda:1", "cpu")


def submit(device: str, *names: str) -> list[str]:
    return [jobs.add("training", name, device).id for name in names]


def claim_all(lanes: Lanes) -> list[Job]:
    """What one round begins."""
    begun: list[Job] = []
    while job := lanes.next_job(begun):
        begun.append(job)
    return begun


def test_several_gpus_work_at_once(home: Path) -> None:
    submit("cuda:0", "a", "b"), submit("cuda:1", "c")
    assert {(job.name, job.device) for job in claim_all(Lanes(lambda: TWO))} == {
        ("a", "cuda:0"),
        ("c", "cuda:1"),
    }


def test_an_idle_gpu_takes_the_next_job_of_a_longer_queue(home: Path) -> None:
    submit("cuda:0", "a", "b", "c")
    assert [(job.name, job.device) for job in claim_all(Lanes(lambda: TWO))] == [
        ("a", "cuda:0"),
        ("b", "cuda:1"),
    ]
    assert [job.name for job in in_order("cuda:0")] == ["c"]


def test_the_processor_takes_no_job_of_a_gpu(home: Path) -> None:
    submit("cuda:0", "a", "b")
    assert [job.name for job in claim_all(Lanes(lambda: ("cuda:0", "cpu")))] == ["a"]


def test_a_job_whose_device_is_gone_waits_for_another(home: Path) -> None:
    submit("cuda:1", "a")
    assert [(job.name, job.device) for job in claim_all(Lanes(lambda: ("cpu",)))] == [("a", "cpu")]


def test_downloads_are_nobodys_to_take(home: Path) -> None:
    submit(gpu.NETWORK, "a", "b")
    assert [(job.name, job.device) for job in claim_all(Lanes(lambda: TWO))] == [("a", gpu.NETWORK)]


def test_a_scorecard_does_not_wait_behind_sets_of_prompts(home: Path) -> None:
    submit(gpu.PROMPTS, "ten thousand prompts", "more prompts")
    submit(gpu.EVALUATION, "scorecard", "study")
    begun = [(job.name, job.device) for job in claim_all(Lanes(lambda: TWO))]
    assert begun == [("ten thousand prompts", gpu.PROMPTS), ("scorecard", gpu.EVALUATION)]


def test_whoever_waits_for_room_lets_the_next_one_pass(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large = jobs.add("training", "large", "cpu", needs_bytes=10**9)
    submit("cpu", "small")
    monkeypatch.setattr(files, "free_bytes", lambda: 10**9 - 1)
    lanes = Lanes(lambda: ("cpu",))
    assert [job.name for job in claim_all(lanes)] == ["small"]
    lanes.explain()
    assert jobs.get(large.id).paused_for
    monkeypatch.setattr(files, "free_bytes", lambda: 10**9)
    lanes.explain()
    assert jobs.get(large.id).paused_for is None
    assert [job.name for job in claim_all(lanes)] == ["large"]


def test_a_new_job_goes_to_the_gpu_with_the_shortest_queue(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "devices", lambda: [Device(id, id, 1, 1) for id in TWO])
    assert queue._least_busy_device() == "cuda:0"
    submit("cuda:0", "a")
    assert queue._least_busy_device() == "cuda:1"
    submit("cuda:1", "b", "c")
    assert queue._least_busy_device() == "cuda:0"
