"""What a job writes and what is read of it."""

from __future__ import annotations

import json
import math
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from jobs import run_folder
from jobs.progress import RunFolderProgress, read_events


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "attempt-1"


def events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_bytes().splitlines()]


def test_every_event_is_in_the_file_when_the_call_returns(folder: Path) -> None:
    progress = RunFolderProgress(folder, 1)
    progress.total_steps(4)
    progress.metric(1, loss=2.0)
    assert [event["seq"] for event in events(folder)] == [1, 2]
    assert {event["attempt"] for event in events(folder)} == {1}


def test_speed_and_time_left_come_from_this_session_alone(folder: Path) -> None:
    progress = RunFolderProgress(folder, 1)
    progress.total_steps(110)
    progress.metric(100, loss=1.0)  # a resumed run
    assert events(folder)[-1]["seconds_left"] is None
    time.sleep(0.2)
    progress.metric(102, loss=1.0)
    last = events(folder)[-1]
    assert last["steps_per_second"] == pytest.approx(10, rel=0.2)
    assert last["seconds_left"] == pytest.approx(8 / last["steps_per_second"])


def test_what_is_measured_later_of_an_earlier_step_does_not_set_the_run_back(folder: Path) -> None:
    progress = RunFolderProgress(folder, 1)
    progress.metric(1, loss=1.0)
    progress.metric(0, held_out_loss=2.0)
    batch = read_events(folder, 0)
    assert batch.metrics == [(1, "loss", 1.0), (0, "held_out_loss", 2.0)]
    assert (batch.fields["step"], batch.fields["held_out_loss"]) == (1, 2.0)


def test_notes_and_what_is_foreseen_are_facts_of_the_job(folder: Path) -> None:
    progress = RunFolderProgress(folder, 1)
    progress.note("packed")
    progress.foreseen(100.5, 2_100, 400.0)
    offset = read_events(folder, 0).offset
    assert read_events(folder, 0).fields == {
        "notes": ["packed"], "foreseen_seconds": 100.5, "foreseen_peak_bytes": 2_100, "tokens_per_second": 400.0
    }  # fmt: skip
    progress.note("packed")
    progress.note("halved")
    progress.foreseen(90.0, 2_000)
    batch = read_events(folder, offset)
    assert batch.fields == {
        "notes": ["packed", "halved"], "foreseen_seconds": 90.0, "foreseen_peak_bytes": 2_000
    }  # fmt: skip
    assert len(events(folder)) == 4


def test_what_is_no_number_becomes_null(folder: Path) -> None:
    RunFolderProgress(folder, 1).metric(1, loss=math.nan, held_out_loss=math.inf)
    assert b"NaN" not in (folder / "events.jsonl").read_bytes()
    batch = read_events(folder, 0)
    assert batch.metrics == [(1, "loss", None), (1, "held_out_loss", None)]
    assert batch.fields["loss"] is None


def test_bytes_are_reported_at_a_readable_rate_and_to_the_end(folder: Path) -> None:
    progress = RunFolderProgress(folder, 1)
    for done in range(1001):
        progress.phase("Fetching", done, 1000)
    assert 2 <= len(events(folder)) < 10
    assert events(folder)[-1]["done"] == 1000
    progress.phase("Checking")
    assert events(folder)[-1]["words"] == "Checking"


def test_a_line_still_being_written_waits(folder: Path) -> None:
    RunFolderProgress(folder, 1).metric(1, loss=1.0)
    path = folder / "events.jsonl"
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        assert read_events(folder, 0).offset == 0
    path.write_bytes(whole + whole[:10])
    batch = read_events(folder, 0)
    assert (batch.offset, batch.metrics) == (len(whole), [(1, "loss", 1.0)])
    assert read_events(folder, batch.offset).metrics == []


def test_batches_together_are_the_whole(folder: Path) -> None:
    progress = RunFolderProgress(folder, 1)
    for step in range(50):
        progress.metric(step, loss=float(step))
    metrics, offset = [], 0
    while (batch := read_events(folder, offset, limit_bytes=500)).offset > offset:
        metrics += batch.metrics
        offset = batch.offset
    assert metrics == [(step, "loss", float(step)) for step in range(50)]


def test_a_torn_line_spoils_only_itself(folder: Path) -> None:
    progress = RunFolderProgress(folder, 1)
    progress.metric(1, loss=1.0)
    with (folder / "events.jsonl").open("ab") as file:
        file.write(b'{"type": "met\n')
    progress.metric(2, loss=2.0)
    assert [step for step, _, _ in read_events(folder, 0).metrics] == [1, 2]


def test_the_stop_file_and_sigterm_both_stop(folder: Path) -> None:
    progress = RunFolderProgress(folder, 1)
    assert not progress.should_stop()
    run_folder.request_stop(folder.parent)
    assert progress.should_stop()
    (folder.parent / "stop").unlink()
    before = signal.getsignal(signal.SIGTERM)
    try:
        progress.stop_on_sigterm()
        os.kill(os.getpid(), signal.SIGTERM)
        assert progress.should_stop()
    finally:
        signal.signal(signal.SIGTERM, before)
