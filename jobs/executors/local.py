"""Jobs as processes of this machine, each in a session of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

from jobs import gpu
from jobs.executors import processes
from jobs.executors.base import Handle
from jobs.executors.spare import Spare
from jobs.run_folder import JOB_FILE, LOG_FILE
from storage import files
from storage.errors import StudioError

REAP_SECONDS = 5.0
# A waiting process holds about 0.5 GB; where less than this is available, somebody else needs it more.
SPARE_NEEDS_BYTES = 4_000_000_000
# One that has died without a job is replaced once in so many seconds: it may die again.
SPARE_AGAIN_SECONDS = 60.0
PROJECT_ROOT = Path(__file__).resolve().parents[2]


class LocalExecutor:
    """Starts `python -m <module> RUN_FOLDER ATTEMPT`, its output appended to log.txt of the run folder.

    Where there is one, a process that waits with everything imported becomes the job's process instead.
    """

    def __init__(self, module: str = "jobs.run_job") -> None:
        self._module = module
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._ended: dict[int, int | None] = {}
        self._spare: Spare | None = None
        self._no_spare_before = 0.0

    def prepare(self) -> None:
        """Have a process wait for the next job, unless one does already or memory is short."""
        if self._spare is not None and self._spare.is_alive():
            return
        now = time.monotonic()
        if now < self._no_spare_before or psutil.virtual_memory().available < SPARE_NEEDS_BYTES:
            return
        self.close()
        self._no_spare_before = now + SPARE_AGAIN_SECONDS
        with suppress(OSError):  # nothing is lost: the next job starts a process of its own
            self._spare = Spare(self._module, PROJECT_ROOT)

    def close(self) -> None:
        """End the process that waits; jobs are left alone."""
        if self._spare is not None:
            self._spare.end()
            self._spare = None

    def start(self, run_folder: Path, attempt: int) -> Handle:
        """Start the job's process; it outlives the caller."""
        child = self._warm(run_folder, attempt) or self._cold(run_folder, attempt)
        self._children[child.pid] = child
        # Nobody has waited for the child yet, so the number is still its own. One that has already ended has
        # no start time any more; zero is nobody's, and it reads as ended.
        return processes.handle_of(child.pid) or Handle(child.pid, 0.0, "")

    def _warm(self, run_folder: Path, attempt: int) -> subprocess.Popen[bytes] | None:
        """The waiting process, which is this job's from now on; None where there is none or it is not fit."""
        if self._spare is None or not _computes(run_folder):
            return None
        spare, self._spare = self._spare, None
        if not spare.give(run_folder, attempt):
            return None
        self._no_spare_before = 0.0
        return spare.process

    def _cold(self, run_folder: Path, attempt: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", self._module, str(run_folder), str(attempt)]
        try:
            # A file, never a pipe: a pipe that nobody reads stops the job once it is full.
            with (run_folder / LOG_FILE).open("ab") as log:
                return subprocess.Popen(
                    command,
                    cwd=PROJECT_ROOT,
                    env=processes.computing_environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:
            if files.is_full_disk(error):
                raise files.full_disk() from error
            raise StudioError(
                f"The job's process could not be started: {error.strerror}.",
                "Free some memory or disk space, then start it again.",
            ) from error

    def stop(self, handle: Handle, force: bool = False) -> None:
        """Signal the process group of the job, unless its number belongs to somebody else by now."""
        if processes.is_running(handle):
            with suppress(ProcessLookupError):
                os.killpg(handle.pid, signal.SIGKILL if force else signal.SIGTERM)

    def is_alive(self, handle: Handle) -> bool:
        """Whether the process runs; an ended child is reaped on the way."""
        if processes.is_running(handle):
            return True
        child = self._children.pop(handle.pid, None)
        if child is not None:
            # The main thread ends first; the status comes when torch's threads have ended as well.
            with suppress(subprocess.TimeoutExpired):
                child.wait(REAP_SECONDS)
            self._ended[handle.pid] = child.returncode
        return False

    def exit_status(self, handle: Handle) -> int | None:
        """How an ended child of this process did so; nobody knows it of a job that was adopted."""
        return self._ended.pop(handle.pid, None)


def _computes(run_folder: Path) -> bool:
    """Whether the job of this run folder has use for what a training imports; a download has none."""
    return bool(files.read_json(run_folder / JOB_FILE)["device"] not in gpu.WITHOUT_DEVICE)
