"""A process that waits for its job with everything imported, as its worker sees it; see `jobs.warm`."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

from jobs import warm
from jobs.executors import processes
from storage import files

LOG = "waiting"
# A process that waits answers within milliseconds; one that does not has been stopped or swapped out.
ANSWER_SECONDS = 2.0
# Until then one that has not finished its imports is still faster than one that has not begun them.
IMPORT_SECONDS = 60.0


class Spare:
    """One waiting process. It ends by itself as soon as this object's process has ended, however it ended."""

    def __init__(self, module: str, folder: Path) -> None:
        """Start `python -m MODULE --wait DATA_FOLDER` in `folder`; raises OSError when that is impossible."""
        self._connection, theirs = socket.socketpair()
        self._started = time.monotonic()
        self._heard = b""
        # The data folder says in a list of processes whose this is. What it prints is of use until a job is
        # there, so the file begins anew with every process.
        command = [sys.executable, "-m", module, warm.OPTION, str(files.root())]
        with theirs, files.log_path(LOG).open("wb") as log:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env=processes.computing_environment(),
                stdin=theirs.fileno(),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def is_alive(self) -> bool:
        """Whether the process still runs."""
        return self.process.poll() is None

    def give(self, run_folder: Path, attempt: int) -> bool:
        """Make the process that job's; False when it does not take it, and then it has been ended.

        A process that is still importing is taken at its word only when it is young: it is then no worse than
        one that was started now.
        """
        is_ready = self._hears(warm.READY, 0.0)
        young = time.monotonic() - self._started < IMPORT_SECONDS
        line = json.dumps({"run_folder": str(run_folder), "attempt": attempt}).encode() + b"\n"
        if self.is_alive() and (is_ready or young):
            try:
                self._connection.settimeout(ANSWER_SECONDS)
                self._connection.sendall(line)
            except OSError:
                pass
            else:
                if not is_ready or self._hears(warm.TAKEN, ANSWER_SECONDS):
                    self._connection.close()
                    return True
        self.end()
        return False

    def end(self) -> None:
        """End the process, which has no job; it is our own child, so its number is still its own."""
        self._connection.close()
        self.process.kill()
        self.process.wait()

    def _hears(self, word: bytes, seconds: float) -> bool:
        """Whether the process has said a word, or says it within so many seconds."""
        self._connection.settimeout(seconds)
        try:
            while word not in self._heard and (said := self._connection.recv(64)):
                self._heard += said
        except OSError:  # nothing to hear in time, or the process has gone
            pass
        return word in self._heard
