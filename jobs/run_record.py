"""What a run folder tells of its job, as the database would have it: its state, and what its attempts reported."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs import progress, run_folder
from jobs.run_state import STATE_FILE
from storage import files, jobs, rebuilding
from storage.errors import StudioError
from storage.jobs import Job

# What broken JSON, or JSON of something else, raises in the hands of who expects more.
UNREADABLE = (StudioError, OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError)
# A job that has not begun; also what an older studio did not write.
FRESH: dict[str, Any] = {
    "request_key": None,
    "dataset_id": None,
    "base_model_id": None,
    "rank": None,
    "settings": {},
    "started_at": None,
    "finished_at": None,
    "step": 0,
    "total_steps": 0,
    "loss": None,
    "held_out_loss": None,
    "tokens_per_second": None,
    "steps_per_second": None,
    "interruptions": [],
    "needs_bytes": None,
    "deleting": False,
}
# What every attempt begins with, and a finished one has not got.
OF_AN_ATTEMPT: dict[str, Any] = {
    "phase": "",
    "phase_done": None,
    "phase_total": None,
    "notes": [],
    "foreseen_seconds": None,
    "foreseen_peak_bytes": None,
    "resumed_from": None,
    "silent_seconds": None,
    "seconds_left": None,
    "paused_for": None,
    "events_offset": 0,
    "pid": None,
    "process_started": None,
    "boot_id": None,
}
NOT_ENDED: dict[str, Any] = {
    "finished_at": None,
    "error_message": None,
    "error_remedy": None,
    "adapter_id": None,
    "result": {},
}


@dataclass
class RunRecord:
    """One job: the fields of `Job` (without `number` where nobody knows it), and what belongs to it."""

    values: dict[str, Any]
    metrics: dict[tuple[int, str], float | None] = field(default_factory=dict)
    checkpoints: dict[str, dict[str, Any]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def number_of(folder: Path) -> tuple[int, float] | None:
    """The job's number and when it was made, which its state tells; None where it does not."""
    try:
        state = _state(folder)
    except UNREADABLE:
        return None
    return None if state is None else (state["number"], state["created_at"])


def of_folder(folder: Path) -> RunRecord:
    """Everything that a run folder tells.

    Raises one of UNREADABLE when it does not even tell what the job is.
    """
    record = RunRecord({})
    try:
        state = _state(folder)
    except UNREADABLE as error:
        state = None
        record.problems.append(f"{STATE_FILE} cannot be read ({error}), so older files were asked")
    attempts = _attempts(folder)
    record.values = dict(state) if state else _from_spec(folder, attempts)
    if not state:  # the worker told of an attempt just before it started it
        attempts = sorted({*attempts, record.values["attempt"]})
    told = record.values["attempt"] if state else 0
    still_runs = record.values["status"] in jobs.ACTIVE
    for attempt in attempts:
        reported = _replay(record, folder, attempt)
        if attempt > told:
            record.values |= {**OF_AN_ATTEMPT, **NOT_ENDED, "attempt": attempt, "status": "running"}
        if attempt > told or (attempt == told and still_runs):
            record.values |= reported
    if not state:
        _take_result(record.values, folder)
    if record.values["status"] in jobs.ACTIVE:
        _take_process(record.values, folder)
    elif record.values["status"] == "finished":
        record.checkpoints.clear()
    return record


def _state(folder: Path) -> dict[str, Any] | None:
    """The job as it was last written down; None where it never was."""
    path = folder / STATE_FILE
    if not path.exists():
        return None
    state = rebuilding.checked(Job, {**FRESH, **OF_AN_ATTEMPT, **NOT_ENDED, **files.read_json(path)})
    if state["id"] != folder.name:
        raise StudioError(f"it is of the job {state['id']}")
    if state["status"] not in jobs.STATUSES:
        raise StudioError(f"there is no status {state['status']!r}")
    return state


def _from_spec(folder: Path, attempts: list[int]) -> dict[str, Any]:
    """The job as the process of its last attempt was told of it."""
    path = folder / run_folder.JOB_FILE
    if not path.exists():
        raise StudioError(f"It holds neither {STATE_FILE} nor {run_folder.JOB_FILE}.")
    spec = files.read_json(path)
    if spec["job_id"] != folder.name:
        raise StudioError(f"{run_folder.JOB_FILE} is of the job {spec['job_id']}.")
    changed = [path.stat().st_mtime, folder.stat().st_mtime]
    started = min((_began(folder, attempt) for attempt in attempts), default=None)
    return {
        **FRESH,
        **OF_AN_ATTEMPT,
        **NOT_ENDED,
        **spec,
        "id": folder.name,
        "status": "running",
        "created_at": min([*changed, *([started] if started else [])]),
        "started_at": started,
    }


def _attempts(folder: Path) -> list[int]:
    numbers = (path.name.removeprefix("attempt-") for path in folder.glob("attempt-*") if path.is_dir())
    return sorted(int(number) for number in numbers if number.isdecimal() and int(number) > 0)


def _began(folder: Path, attempt: int) -> float:
    """When an attempt made its folder, or the first thing in it that is still there."""
    place = folder / f"attempt-{attempt}"
    return min(path.stat().st_mtime for path in (place, *place.iterdir()))


def _replay(record: RunRecord, folder: Path, attempt: int) -> dict[str, Any]:
    """Take in an attempt's metrics and checkpoints; what it says about the job as a whole is returned."""
    place, offset = folder / f"attempt-{attempt}", 0
    fields: dict[str, Any] = {}
    try:
        while (batch := progress.read_events(place, offset)).offset > offset:
            offset = batch.offset
            fields |= {**batch.fields, "events_offset": offset}
            record.metrics |= {(step, name): value for step, name, value in _sound(batch.metrics)}
            for state in batch.saved:
                record.checkpoints.setdefault(state["folder"], {**state, "attempt": attempt})
            if batch.kept is not None:
                record.checkpoints = {f: s for f, s in record.checkpoints.items() if f in batch.kept}
    except UNREADABLE as error:
        record.problems.append(
            f"the events of attempt {attempt} after byte {offset} cannot be read ({error})"
        )
    gone = [name for name in record.checkpoints if not _is_inside(folder, name)]
    for name in gone:
        del record.checkpoints[name]
    return fields


def _sound(
    metrics: list[tuple[int, str, float | None]],
) -> Iterator[tuple[int, str, float | None]]:
    """The metrics that are what they should be; anybody could have written the file."""
    for step, name, value in metrics:
        whole = isinstance(step, int) and abs(step) < 2**63
        if whole and isinstance(name, str) and (value is None or isinstance(value, int | float)):
            yield step, name, value


def _is_inside(folder: Path, name: str) -> bool:
    try:
        return files.safe_join(folder, name).is_dir()
    except StudioError:
        return False


def _take_process(values: dict[str, Any], folder: Path) -> None:
    """Who does the current attempt, and whether it was asked to stop."""
    place = folder / f"attempt-{values['attempt']}"
    own = run_folder.process_of(place)
    if own is not None:
        values |= {"pid": own.pid, "process_started": own.started, "boot_id": own.boot_id}
        values["started_at"] = values["started_at"] or place.stat().st_mtime
    # Whoever starts an attempt first takes away what asked an earlier one to stop.
    if place.is_dir() and (folder / run_folder.STOP_FILE).exists():
        values["status"] = "stopping"


def _take_result(values: dict[str, Any], folder: Path) -> None:
    """End a job without a state as its result says, if nothing is left to do; else the worker sees to it."""
    place = folder / f"attempt-{values['attempt']}"
    result = run_folder.result_of(place) or {}
    status, adapter_id = result.get("status"), f"{folder.name}-{values['attempt']}"
    has_adapter = result.get("adapter") is not None
    if status not in ("finished", "stopped", "failed"):
        return
    if has_adapter and not files.adapter_folder(adapter_id).is_dir():
        return
    values |= {"status": status, "seconds_left": None}
    values["finished_at"] = (place / run_folder.RESULT_FILE).stat().st_mtime
    if status == "failed":
        values |= {f"error_{name}": result["error"][name] for name in ("message", "remedy")}
    else:
        values |= {"result": result, "adapter_id": adapter_id if has_adapter else None}
