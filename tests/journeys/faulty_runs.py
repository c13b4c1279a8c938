"""Runs in every state that a fault can leave them in, put into a studio's database as the worker would have."""

from __future__ import annotations

import dataclasses
import itertools
import time
from dataclasses import asdict
from typing import Any

from sqlalchemy import update

from jobs import run_state
from jobs.executors import processes
from storage import checkpoints, database, files, jobs
from storage.tables import JobRow
from tests.studio.test_tables import JOB

FULL = "The disk is full: needs 1.2 GB, 0.3 GB free. Run paused, last checkpoint kept."
PAUSED = {"status": "queued", "attempt": 1, "paused_for": FULL, "needs_bytes": 10**18}
INTERRUPTED = {
    "attempt": 1,
    "step": 120,
    "done": 0,
    "saved": 100,
    "from": None,
    "why": "",
    "counted": True,
    "at": 1.0,
}
RESUMED = {"attempt": 2, "resumed_from": 100, "interruptions": [INTERRUPTED], "step": 150, "total_steps": 300}

_numbers = itertools.count(1)


def add(name: str, **fields: Any) -> str:
    """A run; where the fields say nothing else it waits, and does not begin while another one has the device."""
    id, number = files.new_id(), next(_numbers)
    values = asdict(dataclasses.replace(JOB, id=id, name=name, number=number, position=number))
    assert jobs.restore(values | {"created_at": time.time()} | fields)
    run_state.write(id)
    return id


def change(id: str, **fields: Any) -> None:
    """Change a run in one step, so that the studio's worker meets no half-made state."""
    with database.session() as session:
        session.execute(update(JobRow).where(JobRow.id == id).values(**fields))


def this_process() -> dict[str, Any]:
    """The fields of a run under way whose process is the test's."""
    own = processes.own_handle()
    return {
        "status": "running",
        "attempt": 1,
        "pid": own.pid,
        "process_started": own.started,
        "boot_id": own.boot_id,
    }


def ended(name: str, status: str = "stopped", state_bytes: int = 1000) -> str:
    """A run that was interrupted at step 120, resumed from step 100, and ended at step 150."""
    id = add(name, status=status, started_at=time.time() - 60, finished_at=time.time(), **RESUMED)
    folder = files.attempt_folder(id, 2) / "states" / "step-00000100-000000"
    folder.mkdir(parents=True)
    (folder / "state.safetensors").write_bytes(b"x" * state_bytes)
    saved = [{"step": 100, "folder": str(folder.relative_to(files.run_folder(id))), "at": time.time()}]
    with database.session() as session:
        checkpoints.take_in(session, id, 2, saved, None)
    return id
