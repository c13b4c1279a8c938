"""What a job writes and what is read of it."""

from __future__ import annotations

import json
import math
import subprocess
import sys
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


def test_saved_states_are_listed_and_the_last_event_says_which_are_left(folder: Path) -> None:
    progress = RunFolderProgress(folder, 2)
    progress.metric(1, loss=1.0)
    assert read_events(folder, 0).saved == [] and read_events(folder, 0).kept is None
    names = [f"attempt-2/states/step-{step:08d}-000000" for step in (1, 2, 3)]
    before = time.time()
    for step, kept in ((1, names[:1]), (2, names[:2]), (3, names[1:])):
        progress.checkpoint(step, names[step - 1], kept)
    batch = read_events(folder, 0)
    assert [(state["step"], state["folder"]) for state in batch.saved] == list(
        zip((1, 2, 3), names, strict=True)
    )
    assert all(before <= state["at"] <= time.time() for state in batch.saved)
    assert batch.kept == names[1:] and batch.metrics == [(1, "loss", 1.0)]


@pytest.mark.parametrize(
    ("interrupted_at", "words"),
    [
        (120, "Interrupted at step 120; resumed from 100 (attempt 2)."),
        (None, "Resumed from step 100 (attempt 2)."),
    ],
)
def test_where_a_run_goes_on_is_a_fact_of_the_job_and_stands_in_its_log(
    folder: Path, interrupted_at: int | None, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    progress = RunFolderProgress(folder, 2)
    progress.interrupted_at = interrupted_at
    progress.resumed(100)
    assert read_events(folder, 0).fields == {"resumed_from": 100}
    assert capsys.readouterr().out.split(" ", 1)[1] == words + "\n"


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


def test_a_full_disk_is_said_and_leaves_no_half_of_a_line(folder: Path) -> None:
    script = (
        "import resource, signal, sys; from pathlib import Path; from jobs.progress import RunFolderProgress;"
        "from storage import config; from storage.errors import StudioError; folder = Path(sys.argv[1]);"
        "config.use(config.from_environment(data_dir=folder));"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); progress = RunFolderProgress(folder, 1);"
        "progress.metric(1, loss=1.0); size = (folder / 'events.jsonl').stat().st_size;"
        "hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1];"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, hard))\n"
        "try: progress.metric(2, loss=2.0)\n"
        "except StudioError as error: print(error)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard)); progress.metric(3, loss=3.0)"
    )
    ran = subprocess.run([sys.executable, "-c", script, folder], capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("The disk is full")
    assert [step for step, _, _ in read_events(folder, 0).metrics] == [1, 3]
    assert [event["type"] for event in events(folder)] == ["metric", "metric"]


def test_a_persons_wish_to_stop_and_the_systems_are_told_apart(folder: Path) -> None:
    progress = RunFolderProgress(folder, 1)
    assert not progress.should_stop()
    run_folder.request_stop(folder.parent)
    assert progress.should_stop() and progress.asked_to_stop() and not progress.terminated
    (folder.parent / "stop").unlink()
    assert not progress.should_stop()
    progress.terminated = True
    assert progress.should_stop() and not progress.asked_to_stop()
