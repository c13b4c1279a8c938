"""Jobs as processes of this machine, each in a session of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from jobs.executors import processes
from jobs.executors.base import Handle
from storage.errors import StudioError

REAP_SECONDS = 5.0
PROJECT_ROOT = Path(__file__).resolve().parents[2]


class LocalExecutor:
    """Starts `python -m <module> RUN_FOLDER ATTEMPT`, its output appended to log.txt of the run folder."""

    def __init__(self, module: str = "jobs.run_job") -> None:
        self._module = module
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, run_folder: Path, attempt: int) -> Handle:
        """Start the job's process; it outlives the caller."""
        command = [sys.executable, "-m", self._module, str(run_folder), str(attempt)]
        try:
            # A file, never a pipe: a pipe that nobody reads stops the job once it is full.
            with (run_folder / "log.txt").open("ab") as log:
                child = subprocess.Popen(
                    command,
                    cwd=PROJECT_ROOT,
                    env=processes.computing_environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:
            raise StudioError(
                f"The job's process could not be started: {error.strerror}.",
                "Free some memory or disk space, then start it again.",
            ) from error
        self._children[child.pid] = child
        # Nobody has waited for the child yet, so the number is still its own. One that has already ended has
        # no start time any more; zero is nobody's, and it reads as ended.
        return processes.handle_of(child.pid) or Handle(child.pid, 0.0, "")

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
        return False
