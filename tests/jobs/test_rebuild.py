"""The database made again from the folders that real workers, jobs and imports left."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs import adapter_record, queue, rebuild, run_record, run_state, worker
from jobs.datasets import importing
from jobs.executors import processes
from jobs.executors.base import Handle
from jobs.executors.local import PROJECT_ROOT
from storage import (
    adapters,
    checkpoints,
    config,
    database,
    datasets,
    evaluations,
    files,
    jobs,
    metrics,
    votes,
)
from storage.jobs import Job
from tests.jobs.saving_jobs import MODULE
from tests.jobs.waiting import at_step, ended, kill, processes_of_home, until

PASTED = "prompt,response\nHow are you?,Well\nAnd you?,Fine\nReally?,Yes\n"
A_LOT = 1 << 60


@pytest.fixture
def page(home: Path) -> Iterator[Path]:
    """The test is the page; afterwards nothing that it started is left."""
    worker.hold_page_lock()
    yield home
    worker._page_locks.pop().close()
    for job in jobs.list_all(status="running") + jobs.list_all(status="stopping"):
        if job.pid and processes.is_running(Handle(job.pid, job.process_started or 0, job.boot_id or "")):
            kill(job.pid)
    until(lambda: not worker.worker_is_alive())
    until(lambda: not processes_of_home(), 10)


def start() -> int:
    """Start the tests' worker; its pid."""
    worker.start_worker(MODULE)
    until(worker.worker_is_alive)
    return int(files.read_json(files.root() / "worker.json")["pid"])


def submit(kind: str, rank: int = 8, **settings: object) -> Job:
    """Queue a job as `jobs.queue` does."""
    job = jobs.add(kind, kind, "cpu", dataset_id="d", base_model_id="b", rank=rank, settings=settings)
    run_state.write(job.id)
    return job


def snapshot() -> dict[str, Any]:
    """All that the database holds.

    Left out: the ids of checkpoints, which nothing refers to and which are new; the numbers of metrics, which
    count insertions for a page that is open; the workers, of which only the newest is of use, and it has ended.
    """
    shown: dict[str, Any] = {
        "datasets": datasets.list_all(),
        "jobs": jobs.list_all(limit=10_000),
        "adapters": adapters.list_all(),
        "scorecards": [evaluations.latest(adapter.id) for adapter in adapters.list_all()],
        "votes": [votes.list_of(adapter.id) for adapter in adapters.list_all()],
    }
    for job in shown["jobs"]:
        shown[f"metrics of {job.id}"] = sorted((m.step, m.name, m.value) for m in metrics.since(job.id, -1))
        states = [dataclasses.asdict(state) for state in checkpoints.list_of(job.id)]
        shown[f"checkpoints of {job.id}"] = [{**state, "id": None} for state in states]
    return shown


def vote(adapter_id: str, winner: str) -> None:
    """Vote as the page does: into the adapter's folder, then into the database."""
    given = votes.Vote(
        files.new_id(),
        adapter_id,
        "base|adapted",
        3,
        "base",
        "adapted",
        "second",
        winner,
        {"prompt": "?"},
        time.time(),
    )
    adapter_record.keep_vote(given)
    votes.add(**dataclasses.asdict(given))


def lose_the_database() -> None:
    database.close()
    for path in files.root().glob("studio.db*"):
        path.unlink()


def test_the_rebuilt_database_equals_the_lost_one(page: Path) -> None:
    for number in range(2):
        importing.add_pasted(PASTED, f"Set {number}")
    worker_pid = start()
    finished = [submit("adapt"), submit("adapt", rank=4), submit("save", steps=45, die_at=25)]
    failed = submit("refuse")
    paused = submit("save", steps=40, needs_bytes=A_LOT)
    stopped = submit("save", steps=500, seconds=0.02)
    at_step(stopped.id, 35)
    queue.stop(stopped.id)
    for job in [*finished, failed, stopped]:
        ended(job.id)
    until(lambda: jobs.get(paused.id).paused_for)
    for verdict in ("unclear", "better"):
        card = evaluations.add(adapters.list_all()[0].id, {"verdict": verdict, "score": 0.1})
        adapter_record.keep_scorecard(card)
    strong, weak = adapters.list_all()
    adapter_record.keep_strength(strong.id, 1.25)
    for adapter, winner in ((strong, "first"), (weak, "tie"), (strong, "second")):
        vote(adapter.id, winner)
    kill(worker_pid)
    until(lambda: not worker.worker_is_alive())
    submit("count")
    before = snapshot()

    lose_the_database()
    counts = rebuild.rebuild()
    database.connect()

    assert snapshot() == before
    by_status = {job.status for job in before["jobs"]}
    assert by_status == {"finished", "failed", "stopped", "queued"}
    assert jobs.get(paused.id).needs_bytes == A_LOT and jobs.get(paused.id).attempt == 1
    assert len(checkpoints.list_of(stopped.id)) == 2
    resumed = jobs.get(finished[2].id)
    assert (resumed.status, resumed.attempt, resumed.resumed_from) == ("finished", 2, 20)
    assert len(resumed.interruptions) == 1
    values = {m.step: m.value for m in metrics.all_of(resumed.id, "loss")}
    assert values[20] == 1 / 20 + 1 and values[21] == 1 / 21 + 2 and len(values) == 45
    assert evaluations.latest(adapters.list_all()[0].id).card["verdict"] == "better"  # type: ignore[union-attr]
    assert (counts.datasets, counts.jobs, counts.adapters, counts.scorecards) == (2, 7, 2, 2)
    assert counts.votes == 3 and adapters.get(strong.id).strength == 1.25
    assert counts.metrics == sum(len(before[name]) for name in before if name.startswith("metrics"))
    assert counts.problems == []
    assert counts.sentence().startswith(
        "The database was made again from its folders: 2 datasets, 7 jobs, "
    ) and counts.sentence().endswith(" 2 adapters, 2 scorecards and 3 votes.")
    new = jobs.add("count", "new", "cpu")
    assert new.number > max(job.number for job in before["jobs"])


def test_a_job_that_runs_meanwhile_is_adopted_and_its_metrics_are_there_once(page: Path) -> None:
    start()
    job = submit("count", steps=120, seconds=0.05)
    before = at_step(job.id, 10)
    database.close()
    (page / "studio.db").write_bytes(b"no database at all" * 400)
    counts = rebuild.rebuild()
    database.connect()
    assert not worker.worker_is_alive(), "the worker of the old database was ended"
    again = jobs.get(job.id)
    assert (again.status, again.attempt, again.pid) == ("running", 1, before.pid)
    assert again.step >= before.step and counts.metrics >= 2 * before.step
    start()
    after = ended(job.id)
    assert (after.status, after.attempt, after.pid, after.step) == ("finished", 1, before.pid, 120)
    assert len(metrics.all_of(job.id, "loss")) == 120
    (kept,) = (page / "backups").glob("replaced-*/studio.db")
    assert kept.read_bytes().startswith(b"no database at all")


def test_a_suspended_worker_is_ended_too(page: Path) -> None:
    pid = start()
    os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    rebuild.rebuild()
    assert time.monotonic() - began < 15
    assert processes.handle_of(pid) is None


def test_folders_of_before_are_read_as_well_as_they_can_be(page: Path) -> None:
    dataset = importing.add_pasted(PASTED, "Old")
    worker_pid = start()
    done, failed = ended(submit("adapt").id), ended(submit("refuse").id)
    running = at_step(submit("count", steps=400, seconds=0.05).id, 3)
    kill(worker_pid)
    until(lambda: not worker.worker_is_alive())
    adapter = adapters.get(done.adapter_id or "")
    # What the studio did not write before.
    path = files.dataset_folder(dataset.id) / "dataset.json"
    files.write_json(path, {k: v for k, v in files.read_json(path).items() if k != "created_at"})
    for state in page.glob("runs/*/state.json"):
        state.unlink()
    folder = files.adapter_folder(adapter.id)
    (folder / "record.json").unlink(missing_ok=True)
    files.write_json(folder / "adapter_config.json", {"r": 8, "lora_alpha": 16, "target_modules": ["q_proj"]})
    header = json.dumps({"__metadata__": {}, "a": {"dtype": "F32", "shape": [3, 5], "data_offsets": [0, 60]}})
    weights = len(header).to_bytes(8, "little") + header.encode() + bytes(60)
    (folder / "adapter_model.safetensors").write_bytes(weights)

    lose_the_database()
    counts = rebuild.rebuild()
    database.connect()

    assert counts.problems == [] and (counts.datasets, counts.jobs, counts.adapters) == (1, 3, 1)
    assert abs(datasets.get(dataset.id).created_at - dataset.created_at) < 60
    found = adapters.get(adapter.id)
    assert (found.rank, found.alpha, found.parameters) == (8, 16.0, 15)
    assert (found.name, found.job_id, found.dataset_id, found.base_model_id) == ("adapt", done.id, "d", "b")
    assert [job.id for job in jobs.list_all()] == [running.id, failed.id, done.id]
    again = jobs.get(done.id)
    assert (again.status, again.adapter_id, again.result) == ("finished", adapter.id, done.result)
    assert again.settings == done.settings and abs(again.created_at - done.created_at) < 60
    again = jobs.get(failed.id)
    assert (again.status, again.error_message) == ("failed", failed.error_message)
    again = jobs.get(running.id)
    assert (again.status, again.attempt, again.pid) == ("running", 1, running.pid)


def test_what_cannot_be_read_is_named_and_the_rest_is_there(page: Path) -> None:
    dataset = importing.add_pasted(PASTED, "Good")
    job = submit("count")
    for place, content in {
        "datasets/bdbdbdbd/dataset.json": "{",
        "datasets/cdcdcdcd/rows.jsonl": "",
        "runs/bdbdbdbd/state.json": "[]",
        "runs/cdcdcdcd/job.json": '{"job_id": "other"}',
        "runs/empty/log.txt": "",
        "adapters/bdbdbdbd-1/record.json": '{"id": 3}',
        "adapters/cdcdcdcd-1/adapter_config.json": '{"r": 8, "lora_alpha": 16, "target_modules": []}',
    }.items():
        files.write_text(page / place, content)
    shutil.copytree(files.run_folder(job.id), page / "runs" / "copy")
    lose_the_database()
    counts = rebuild.rebuild()
    database.connect()
    assert [found.id for found in datasets.list_all()] == [dataset.id]
    assert [found.id for found in jobs.list_all()] == [job.id] and adapters.list_all() == []
    named = {problem.split(":")[0] for problem in counts.problems}
    assert named == {
        *(f"datasets/{id}" for id in ("bdbdbdbd", "cdcdcdcd")),
        *(f"runs/{id}" for id in ("bdbdbdbd", "cdcdcdcd", "empty", "copy")),
        *(f"adapters/{id}-1" for id in ("bdbdbdbd", "cdcdcdcd")),
    }
    assert counts.sentence().endswith(f" {len(counts.problems)} things could not be read.")


def test_a_lost_database_is_needed_only_where_there_is_something_to_lose(page: Path) -> None:
    lose_the_database()
    assert not rebuild.is_needed() and rebuild.rebuild_lost() is None
    database.connect()
    dataset = importing.add_pasted(PASTED)
    assert not rebuild.is_needed()
    lose_the_database()
    assert rebuild.is_needed()
    (page / "studio.db").touch()
    assert rebuild.is_needed()
    (page / "studio.db").unlink()
    database.connect()  # as a process does that looks too early: the tables are there, and empty
    assert rebuild.is_needed()
    rebuilt = rebuild.rebuild_lost()
    assert rebuilt is not None and rebuilt.datasets == 1
    assert datasets.list_all() == [dataset], "a connected process goes on with the new database"
    assert rebuild.rebuild_lost() is None
    database.close()
    (page / "studio.db").write_bytes(b"broken" * 1000)
    assert not rebuild.is_needed(), "that is for the user to decide"
    rebuild.rebuild()
    database.connect()
    assert datasets.list_all() == [dataset]


def test_from_the_command_line(page: Path) -> None:
    importing.add_pasted(PASTED)
    lose_the_database()
    command = [sys.executable, "-m", "jobs.rebuild", "--data-dir"]
    done = subprocess.run([*command, page], cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout == (
        "The database was made again from its folders: 1 dataset, 0 jobs, 0 metrics, 0 checkpoints, 0 adapters, "
        "0 scorecards and 0 votes.\n"
    )
    missing = page / "nowhere"
    done = subprocess.run([*command, missing], cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "There is no data folder" in done.stderr and not missing.exists()
    database.connect()


def test_ten_thousand_metrics_take_a_moment(page: Path) -> None:
    for _ in range(20):
        job = submit("count")
        folder = files.attempt_folder(job.id, 1)
        folder.mkdir(parents=True)
        lines = (
            {"attempt": 1, "seq": n, "time": 1.0, "type": "metric", "step": n, "reached": n}
            | {"values": {"loss": 0.5}, "steps_per_second": 1.0, "seconds_left": 1.0}
            for n in range(1, 1001)
        )
        (folder / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    database.close()
    began = time.monotonic()
    assert rebuild.rebuild().metrics == 20_000
    assert time.monotonic() - began < 15
    database.connect()
    assert {job.attempt for job in jobs.list_all()} == {1}, (
        "the folders know of an attempt that the state does not"
    )
    assert config.current().data_dir == page and run_record.number_of(page) is None
