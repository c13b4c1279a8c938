"""What the studio makes of the files that a power cut left: started again, by its own means, and looked at."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs import rebuild, run_state, worker
from jobs.adapter_record import RECORD_FILE
from jobs.executors import processes
from jobs.executors.base import Handle
from jobs.progress import Progress
from jobs.training import job as training
from jobs.training import states
from jobs.training.folders import STATES_FOLDER
from storage import adapters, backups, config, database, datasets, files, jobs, trash, workers
from tests.faults.power import State
from tests.faults.recording import Trace

# What grows line by line, and is read as such; all other files are believed as they are.
GROWING = {"events.jsonl", "log.txt"}


@dataclass(frozen=True)
class Memory:
    """What the recorded life wrote: every content, and which run its states are of."""

    contents: frozenset[str]
    run: dict[str, str]
    folders: dict[str, dict[str, str]]  # of what was published, by its place: the files in it

    @classmethod
    def of(cls, trace: Trace, home: Path) -> Memory:
        """All that the trace wrote, and what lies in the home at its end."""
        written = [op.data for op in trace.ops if op.kind == "write"]
        manifest = next(data for data in written if data.startswith(b'{"files"'))
        published = [path for name in ("datasets", "adapters") for path in (home / name).iterdir()]
        folders = {str(path.relative_to(home)): _hashes(path) for path in published}
        return cls(frozenset(map(_hash, written)), json.loads(manifest)["parts"], folders)


class Looking:
    """Starts no job, but looks from which state it would go on."""

    def __init__(self, memory: Memory) -> None:
        self.resumed: dict[str, int] = {}
        self._memory = memory

    def start(self, run_folder: Path, attempt: int) -> Handle:
        job_id = run_folder.name
        folder = files.attempt_folder(job_id, attempt) / STATES_FOLDER
        states.adopt_states(folder, training._earlier_states(job_id, attempt), Progress())
        state = states.newest_state(folder, self._memory.run, Progress())
        self.resumed[job_id] = state.steps if state else 0
        return Handle(1 << 30, 0.0, "nobody")

    def prepare(self) -> None: ...

    def close(self) -> None: ...

    def stop(self, handle: Handle, force: bool = False) -> None: ...

    def is_alive(self, handle: Handle) -> bool:
        return False

    def exit_status(self, handle: Handle) -> int | None:
        return None


def problems(state: State, memory: Memory, rebuilt: bool = False) -> list[str]:
    """What is not as it should be when the studio starts on these files; `rebuilt`: its database is lost too."""
    with _place() as root:
        state.write(root, with_database=not rebuilt)
        found = _half_files(root, memory)
        config.use(config.from_environment(root))
        with _after_a_restart(), contextlib.redirect_stdout(io.StringIO()) as said:
            try:
                if rebuilt:
                    rebuild.rebuild()
                found += _started(state, memory)
            except Exception as error:  # noqa: BLE001 (whatever it is, it is a fault)
                found.append(f"{type(error).__name__}: {error}")
            finally:
                workers.leave()
                database.close()
        if said.getvalue() and found:
            found.append(said.getvalue()[-600:])
    return found


def _started(state: State, memory: Memory) -> list[str]:
    """One round of a worker, as `worker.main` begins, and what is true afterwards."""
    database.connect()
    workers.enter(2, 0.0, "after")
    run_state.write_missing()
    looking = Looking(memory)
    rounds = worker.Worker(looking)
    found = []
    if not rounds.look_after_all():
        found.append(f"a round went wrong: {rounds._last_failure}")
    found += _broken_words(state.said, looking)
    for name in ("adapters", "datasets"):
        for path in sorted((files.root() / name).iterdir()):
            if memory.folders.get(f"{name}/{path.name}") != _hashes(path):
                found.append(f"{name}/{path.name} is not whole")
    found += [
        f"no folder of adapter {a.id}" for a in adapters.list_all() if not files.adapter_folder(a.id).is_dir()
    ]
    found += [
        f"no folder of dataset {d.id}" for d in datasets.list_all() if not files.dataset_folder(d.id).is_dir()
    ]
    for job in jobs.list_all():
        if run_state.read(job.id) is None:
            found.append(f"nothing tells of job {job.id}")
        if job.status == "finished" and job.adapter_id is None:
            found.append(f"job {job.id} finished without its adapter")
    for backup in backups.list_all():
        backups._check(backup.path)
    return found


def _broken_words(said: list[tuple[str, Any]], looking: Looking) -> list[str]:
    """What the studio has said to somebody and does not hold any more."""
    known = {job.id: job.status for job in jobs.list_all()}
    deleted = {item.origin.name for item in trash.items()}
    there = {
        "dataset": {dataset.id for dataset in datasets.list_all()},
        "finished": {adapter.id for adapter in adapters.list_all()},
        "submitted": set(known) | deleted,
        "deleted": deleted - set(known),
        "backup": {backup.path.name for backup in backups.list_all()},
    }
    found = [f"{name} {about} is lost" for name, about in said if about not in there.get(name, {about})]
    for job_id, step, _ in [about for name, about in said if name == "state"][-1:]:
        if known.get(job_id) != "finished" and looking.resumed.get(job_id, -1) < step:
            found.append(f"step {step} was saved; {known.get(job_id)}, on from {looking.resumed.get(job_id)}")
    return found


def _half_files(root: Path, memory: Memory) -> list[str]:
    """Files under a final name whose content nobody ever wrote."""
    found = []
    for path, _ in files.under(root):
        place = path.relative_to(root)
        hidden = any(part.startswith((".", "tmp")) for part in place.parts) or place.parts[0] in (
            "tmp",
            "trash",
            "logs",
        )
        if hidden or place.name in GROWING or place.parts[0] in ("studio.db",):
            continue
        if place.name != RECORD_FILE and _hash(path.read_bytes()) not in memory.contents:
            found.append(f"{place} has {path.stat().st_size} bytes that nobody wrote")
    return found


@contextmanager
def _after_a_restart() -> Iterator[None]:
    """A computer that was started again: no process of before is the same as one of now."""
    real = processes.boot_id
    processes.boot_id = lambda: "after the power cut"  # type: ignore[assignment]
    try:
        yield
    finally:
        processes.boot_id = real


@contextmanager
def _place() -> Iterator[Path]:
    """A folder in memory where there is one: what is waited for there is there at once."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder) / "home"


def _hashes(folder: Path) -> dict[str, str]:
    """The files in a folder; what is made again when it is missing says when, and counts by being there."""
    return {
        str(path.relative_to(folder)): "" if path.name == RECORD_FILE else _hash(path.read_bytes())
        for path, _ in files.under(folder)
    }


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def all_problems(
    every_state: Iterable[State], memory: Memory, rebuilt_each: int = 5
) -> Iterator[tuple[State, str, list[str]]]:
    """Each state with what was done and the problems found; every so-manieth also with its database lost."""
    for number, state in enumerate(every_state):
        yield state, "started", problems(state, memory)
        if number % rebuilt_each == 0:
            yield state, "rebuilt", problems(state, memory, rebuilt=True)
