"""A process that takes a device as a job does: `python -m tests.jobs.device_user DATA_FOLDER DEVICE WHO STOP_FILE`.

It writes one line for everything that happens to it, asks for the device at the first line of its input, and keeps it
until that ends.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue

from jobs import gpu
from jobs.executors.local import PROJECT_ROOT
from jobs.serving import connection
from storage import config, files


class DeviceUser:
    """Such a process, as a test sees it."""

    def __init__(self, who: str, device: str = "cpu", begins: bool = True) -> None:
        self.stop_file = files.root() / f"stop-{files.new_id()}"
        self.lines: Queue[str] = Queue()
        command = [sys.executable, "-m", __name__, str(files.root()), device, who, str(self.stop_file)]
        self.process = subprocess.Popen(
            command, cwd=PROJECT_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        threading.Thread(target=self._read, daemon=True).start()
        assert self.says(60) == "is there"
        if begins:
            self.begin()

    def begin(self) -> None:
        """Ask for the device: all that takes time before that is done."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def says(self, seconds: float = 30.0) -> str:
        """The next thing that happened to it."""
        return self.lines.get(timeout=seconds)

    def gets_it(self, seconds: float = 60.0) -> None:
        """Return when it has the device; what it says about its wait is left aside."""
        while self.says(seconds) != "has it":
            pass

    def stop(self) -> None:
        """Ask for its end while it waits."""
        self.stop_file.touch()

    def let_go(self) -> None:
        """Its work is done."""
        self.process.communicate()

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line.strip())


@contextmanager
def using(who: str, device: str = "cpu") -> Iterator[DeviceUser]:
    """A job that has the device, to the end of the block at most."""
    user = DeviceUser(who, device)
    try:
        user.gets_it()
        yield user
    finally:
        user.kill()


def main() -> None:
    """Take the device, keep it until the input ends."""
    folder, device, who, stop_file = sys.argv[1:]
    config.use(config.from_environment(data_dir=Path(folder)))
    _say("is there")
    sys.stdin.readline()
    try:
        with gpu.take(device, who, connection.free_device, Path(stop_file).exists, _say):
            _say("has it")
            sys.stdin.read()
    except gpu.WaitStopped:
        _say("stopped")


def _say(words: str) -> None:
    print(words, flush=True)


if __name__ == "__main__":
    main()
