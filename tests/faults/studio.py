"""A studio of real processes that a test can kill one by one, and what has to be true of it afterwards."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil

from jobs import progress, recovery, run_folder, run_state, worker
from jobs.base_models import catalogue
from jobs.datasets import importing
from jobs.executors import processes
from jobs.executors.base import Handle
from jobs.executors.local import PROJECT_ROOT
from storage import adapters, config, database, files, jobs, metrics
from storage.jobs import Job
from tests.faults import points
from tests.faults.entry import MODULE
from tests.tiny import make_model

Found = TypeVar("Found")
# Generous: a machine may do many other things beside this.
PATIENCE_SECONDS = float(os.environ.get("FAULTS_PATIENCE", 180.0))
TARGETS = ("page", "worker", "job", "all")
ROWS = 30
SETTINGS = {
    "epochs": 2.0,
    "tokens_per_step": 100,
    "dropout": 0.1,
    "learning_rate": 5e-3,
    "precision": "fp32",
    "seed": 7,
    # One job and its processes are looked at here; scorecards have tests of their own.
    "scorecard": False,
}
# What depends on how fast this machine is just now.
TIMINGS = ("tokens_per_second",)


def until(look: Callable[[], Found], seconds: float = PATIENCE_SECONDS, every: float = 0.02) -> Found:
    """The first true value of `look`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(every)
    raise AssertionError("it did not happen in time")


@dataclass(frozen=True)
class Outcome:
    """What two runs of the same job have to agree on, to the last bit."""

    losses: dict[tuple[int, str], str]
    adapter_sha256: str


class Studio:
    """One data folder with a tiny model, a dataset, a page's process and the worker that it keeps."""

    def __init__(self, folder: Path, with_model: bool = True, **numbers: float) -> None:
        """Make the data folder; `numbers` go to the processes, see `tests.faults.entry.numbers`."""
        self.config = config.from_environment(folder)
        config.use(self.config)
        files.make_folders()
        database.connect()
        points.folder()
        self.environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            **{f"FAULTS_{name}": str(value) for name, value in numbers.items()},
        }
        self.page: subprocess.Popen[bytes] | None = None
        if with_model:
            self.model = catalogue.add_custom(str(make_model(folder.parent / "tiny-model"))).id
            rows = [
                {"prompt": f"What is {n} and {n * n}?", "response": "x" * (5 + n % 13)} for n in range(ROWS)
            ]
            self.dataset = importing.add_pasted("\n".join(map(json.dumps, rows))).id

    # -- starting and killing --------------------------------------------------------------------------------

    def start(self) -> None:
        """Start whatever is not running, as a user would."""
        if self.page is None or self.page.poll() is not None:
            command = [sys.executable, "-m", MODULE, "page", str(files.root())]
            with files.log_path("page").open("ab") as log:
                self.page = subprocess.Popen(
                    command,
                    cwd=PROJECT_ROOT,
                    env=self.environment,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        until(worker.worker_is_alive)

    def submit(self, **settings: Any) -> Job:
        """Queue one training."""
        job = jobs.add(
            "training", "numbers", "cpu", self.dataset, self.model, rank=4, settings={**SETTINGS, **settings}
        )
        run_state.write(job.id)
        return job

    @staticmethod
    def submit_light(kind: str, **settings: Any) -> Job:
        """Queue a job of `tests.faults.kinds` or `tests.jobs.small_jobs`."""
        job = jobs.add(kind, kind, "cpu", settings=settings)
        run_state.write(job.id)
        return job

    @staticmethod
    def worker() -> Handle:
        """The worker's process."""
        return until(worker._running_worker)

    def spare(self) -> Handle | None:
        """The process that waits for the next job with everything imported."""
        log = files.log_path("waiting")
        ready = log.exists() and log.read_bytes().endswith(b"waiting for a job.\n")
        for process in self.processes():
            if ready and "--wait" in process.cmdline() and not _does_a_job(process.pid):
                return processes.handle_of(process.pid)
        return None

    @staticmethod
    def job(job: Job) -> Handle | None:
        """The process that does the current attempt, as it says itself or as its worker wrote down."""
        job = jobs.get(job.id)
        if not job.attempt:
            return None
        own = run_folder.process_of(files.attempt_folder(job.id, job.attempt))
        if own is None and job.pid is not None:
            own = Handle(job.pid, job.process_started or 0.0, job.boot_id or "")
        return own if own is not None and processes.is_running(own) else None

    @staticmethod
    def processes() -> list[psutil.Process]:
        """Every living process that was started for the data folder, but the caller."""
        found = []
        for process in psutil.process_iter(["cmdline", "status"]):
            words = process.info["cmdline"] or []
            own = any(str(files.root()) in word for word in words) and process.pid != os.getpid()
            if own and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process)
        return found

    def kill(self, target: str, job: Job, sent: int = signal.SIGKILL) -> bool:
        """Signal exactly the page, the worker, the job's process (or the one that is to be it), or all.

        False when there is no such process.
        """
        assert self.page is not None
        if target == "all":
            everybody = self.processes()
            # All stand still before the first of them dies, so that none sees another one's end.
            for process in everybody if sent == signal.SIGKILL else []:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.suspend()
            for process in everybody:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(sent)
            return True
        if target == "page":
            self.page.send_signal(sent)
            return True
        handle = self.worker() if target == "worker" else self.job(job) or self.spare()
        if handle is None or not processes.is_running(handle):
            return False
        os.kill(handle.pid, sent)
        return True

    def close(self) -> list[int]:
        """End the page as a user does; returns the processes that are left although nothing is to do."""
        config.use(self.config)
        if self.page is not None and self.page.poll() is None:
            self.page.terminate()
            self.page.wait(30)
        with contextlib.suppress(AssertionError):
            until(lambda: not self.processes(), 30)
        left = self.processes()
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        database.close()
        return [process.pid for process in left]


@contextlib.contextmanager
def studio(folder: Path, **numbers: float) -> Iterator[Studio]:
    """A studio that is started; afterwards nothing of it is left, and nothing had to be killed for that."""
    opened = Studio(folder, **numbers)
    try:
        opened.start()
        yield opened
    except BaseException:
        opened.close()
        raise
    left = opened.close()
    assert not left, f"processes without a page and without work: {left}"


def _does_a_job(pid: int) -> bool:
    return any(f'"pid": {pid},' in path.read_text() for path in files.root().glob("runs/*/*/process.json"))


# -- what has to be true -------------------------------------------------------------------------------------


def finished(job: Job, seconds: float = PATIENCE_SECONDS) -> Job:
    """The job once it has finished by itself; until then it waits or runs, and nothing else is ever said."""

    def look() -> Job | None:
        now = jobs.get(job.id)
        assert now.status in ("queued", "running", "finished"), (now.status, now.error_message)
        return now if now.status == "finished" else None

    return until(look, seconds)


def outcome(job: Job) -> Outcome:
    """What a finished job measured and made."""
    job = jobs.get(job.id)
    assert job.adapter_id is not None
    every = {(one.step, one.name): _hex(one.value) for one in metrics.since(job.id, -1)}
    return Outcome(
        {key: value for key, value in every.items() if key[1] not in TIMINGS},
        adapters.get(job.adapter_id).weights_sha256,
    )


def check(job: Job, whole: Outcome) -> None:
    """Every invariant of a job that was disturbed and has finished, beside one that nobody disturbed."""
    job = jobs.get(job.id)
    assert job.status == "finished" and job.step == job.total_steps, job
    found = outcome(job)
    missing, extra = set(whole.losses) - set(found.losses), set(found.losses) - set(whole.losses)
    assert not missing and not extra, f"steps missing {sorted(missing)}, too many {sorted(extra)}"
    assert found.losses == whole.losses
    for attempt in range(1, job.attempt + 1):  # also what was computed a second time
        for step, name, value in progress.read_events(files.attempt_folder(job.id, attempt), 0).metrics:
            assert name in TIMINGS or whole.losses[step, name] == _hex(value), (attempt, step, name)
    assert found.adapter_sha256 == whole.adapter_sha256
    of_it = [one for one in adapters.list_all() if one.job_id == job.id]
    assert [one.id for one in of_it] == [job.adapter_id]
    lying = [path.name for path in (files.root() / "adapters").iterdir() if path.name.startswith(job.id)]
    assert lying == [job.adapter_id]
    weights = files.adapter_folder(of_it[0].id) / "adapter_model.safetensors"
    assert files.sha256_of(weights) == whole.adapter_sha256
    until(lambda: run_state.read(job.id) == files.json_safe(asdict(jobs.get(job.id))), 10)
    until(lambda: Studio.job(job) is None, 30)
    violation = points.folder() / "violation"
    assert not violation.exists(), violation.read_text()


def newest_state(job: Job) -> int | None:
    """The step of the newest state that lies in the run's folder, once it has been found whole."""
    lying = sorted(files.run_folder(job.id).glob("attempt-*/states/step-*"), key=lambda path: path.name)
    if not lying:
        return None
    manifest = json.loads((lying[-1] / "manifest.json").read_bytes())
    for name, said in manifest["files"].items():
        data = (lying[-1] / name).read_bytes()
        assert len(data) == said["bytes"] and hashlib.sha256(data).hexdigest() == said["sha256"], name
    return int(manifest["step"])


def last_step(job: Job, attempt: int) -> int:
    """How far an attempt came, by its own events."""
    steps = [step for step, _, _ in progress.read_events(files.attempt_folder(job.id, attempt), 0).metrics]
    return max(steps, default=0)


def told(job: Job) -> list[str]:
    """What the user reads of the interruptions."""
    return recovery.sentences(jobs.get(job.id))


def _hex(value: float | None) -> str:
    return "none" if value is None else value.hex()
