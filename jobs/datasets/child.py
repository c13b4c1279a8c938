"""Work on a user's data in a process of its own, with limits: whatever the data does to it, the page lives on.

The page's end is `run`, the process's end is `main`. Between them lie files in a folder beside the one that is
being filled: spec.json and owner.json from the page, progress.json and then result.json or error.json from the
process, and output.txt with all that it prints.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from storage import files
from storage.errors import StudioError

Report = Callable[[str, int | None, int | None], None]

PROJECT_ROOT = Path(__file__).resolve().parents[2]
LOOK_SECONDS = 0.05
# What a process that counts on its own last words leaves as its status: the system's numbers of these errors.
NO_MEMORY, TOO_LARGE, FULL_DISK = errno.ENOMEM, errno.EFBIG, errno.ENOSPC
REFUSED = 65
FAULT = 70  # the rest: its traceback is in what it printed
_BESIDE = ".child"
_MOST_OUTPUT = 20_000


@dataclass(frozen=True)
class Limits:
    """What a child may take. None of it is a setting: it is what honest data never needs.

    `stall_seconds` without a report end it, as do `cpu_seconds` of computing on all cores together. No file
    becomes larger than `file_bytes`, and so much of the disk as `free_bytes` stays free for others.
    """

    memory_bytes: int = 2_000_000_000
    cpu_seconds: float = 4 * 3600
    stall_seconds: float = 120
    file_bytes: int = 20_000_000_000
    free_bytes: int = 500_000_000


class Cancelled(StudioError):
    """The user has stopped it; nothing of it is left."""

    def __init__(self) -> None:
        super().__init__("Cancelled.", "Nothing was changed.")


@contextmanager
def staging() -> Iterator[Path]:
    """An empty folder to fill and publish. What is still there at the end goes; a crash leaves it `abandoned`."""
    with files.full_disk_as_error():
        folder = files.temporary_folder()
    try:
        with files.full_disk_as_error():
            _claim(folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(beside(folder), ignore_errors=True)


def beside(folder: Path) -> Path:
    """Where the page and the process leave each other word about a folder."""
    return folder.with_name(folder.name + _BESIDE)


def abandoned() -> Iterator[Path]:
    """The staged folders whose owner has ended, however it did."""
    from jobs.executors import processes
    from jobs.executors.base import Handle

    for place in sorted((files.root() / "tmp").glob(f"*{_BESIDE}")):
        try:
            owner = Handle(**json.loads((place / "owner.json").read_bytes()))
        except (
            OSError,
            ValueError,
            TypeError,
        ):  # killed before it was written: a day old, it goes with the rest
            continue
        if not processes.is_running(owner):
            yield place.with_name(place.name.removesuffix(_BESIDE))


def run(
    module: str,
    spec: dict[str, Any],
    folder: Path,
    *,
    limits: Limits | None = None,
    subject: str = "The work on the data",
    report: Report | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> dict[str, Any]:
    """Have `python -m module` do what `spec` says in `folder`, and return its result.

    `subject` begins the sentences about its end ("Reading “mails.csv”"). Raises what the process refused as a
    StudioError, DiskFull, Cancelled once `should_stop` says so, and StudioError when it was killed or went over
    a limit. The folder is the caller's: `staging` also removes it.
    """
    limits = limits or Limits()
    place = beside(folder)
    if not place.is_dir():
        _claim(folder)
    for name in ("progress.json", "result.json", "error.json"):  # of an earlier process for the same folder
        (place / name).unlink(missing_ok=True)
    task = {"spec": spec, "folder": str(folder), "data_dir": str(files.root()), "limits": asdict(limits)}
    files.write_json(place / "spec.json", task)
    process = _start(module, place)
    try:
        watch = _Watch(process.pid, place, limits, subject, report)
        while process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(LOOK_SECONDS)
            watch.look()
            if should_stop is not None and process.poll() is None and should_stop():
                raise Cancelled()
        watch.tell()
        return _outcome(process.returncode, place, limits, subject)
    finally:
        if process.poll() is None:  # so its number is still its own
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        assert process.stdin is not None
        with suppress(OSError):
            process.stdin.close()


def _claim(folder: Path) -> None:
    """Say whose folder this is, so that it is known when nobody needs it any more."""
    from jobs.executors import processes

    owner = processes.own_handle()
    files.write_json(beside(folder) / "owner.json", asdict(owner))


def _start(module: str, place: Path) -> subprocess.Popen[bytes]:
    from jobs.executors import processes

    # Arrow's own pool of memory takes a gigabyte of addresses at once, which the limit would count.
    memory = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "2"}
    environment = {**processes.computing_environment(), **memory, "PYTHONFAULTHANDLER": "1"}
    try:
        with (place / "output.txt").open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", module, str(place)],
                cwd=PROJECT_ROOT,
                env=environment,
                stdin=subprocess.PIPE,  # nothing is ever written: it ends when this process does
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
    except OSError as error:
        if files.is_full_disk(error):
            raise files.full_disk() from error
        raise StudioError(
            f"The process that works on the data could not be started: {error.strerror}.",
            "Free some memory or disk space, then try again.",
        ) from error


class _Watch:
    """The page's eye on one process: what it reports, and whether it keeps to its limits."""

    def __init__(self, pid: int, place: Path, limits: Limits, subject: str, report: Report | None) -> None:
        self._pid = pid
        self._progress = place / "progress.json"
        self._limits = limits
        self._subject = subject
        self._report = report
        self._last = 0
        self._heard_at = time.monotonic()
        # On a disk that is nearly full already, a small file may still be added.
        self._floor = min(limits.free_bytes, files.free_bytes() // 2)

    def look(self) -> None:
        """Raises StudioError when the process is to be ended; passes on what it reports."""
        self.tell()
        if time.monotonic() - self._heard_at > self._limits.stall_seconds:
            raise StudioError(
                f"{self._subject} was stopped: nothing moved for {self._limits.stall_seconds:,.0f} seconds.",
                "Check the file: one row may be extremely large. A part of it may do.",
            )
        if _memory_of(self._pid) > self._limits.memory_bytes:
            raise _too_much_memory(self._subject, self._limits)
        if files.free_bytes() < self._floor:
            raise files.full_disk() from OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def tell(self) -> None:
        """Pass on a report that is new."""
        try:
            written = self._progress.stat().st_mtime_ns
            if written == self._last:
                return
            said = json.loads(self._progress.read_bytes())
        except (OSError, ValueError):
            return
        self._last, self._heard_at = written, time.monotonic()
        if self._report is not None:
            self._report(said["words"], said["done"], said["total"])


def _memory_of(pid: int) -> int:
    """The bytes that a process holds for itself; on Linux without the pages of files that it only looks at."""
    return _anonymous(pid) if sys.platform == "linux" else _resident(pid)


def _anonymous(pid: int) -> int:
    held = 0
    with suppress(OSError):  # it has just ended
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(("RssAnon:", "RssShmem:")):
                held += int(line.split()[1]) * 1024
    return held


def _resident(pid: int) -> int:
    import psutil

    with suppress(psutil.Error):
        return int(psutil.Process(pid).memory_info().rss)
    return 0


def _outcome(status: int, place: Path, limits: Limits, subject: str) -> dict[str, Any]:
    """What the process has left: its result, or the error that it ended with."""
    if status == 0:
        return dict(files.read_json(place / "result.json"))
    if status == REFUSED and (place / "error.json").exists():
        raise StudioError(**files.read_json(place / "error.json"))
    if status == FULL_DISK:
        raise files.full_disk() from OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if status == NO_MEMORY:
        raise _too_much_memory(subject, limits)
    if status == TOO_LARGE:
        raise StudioError(
            f"{subject} was stopped: it would fill more than {limits.file_bytes / 1e9:,.0f} GB of disk.",
            "Keep a part of it: some thousand good examples are plenty.",
        )
    if -status == signal.SIGXCPU:
        raise StudioError(
            f"{subject} was stopped: it took more than {limits.cpu_seconds:,.0f} seconds of computing.",
            "Keep a part of it: some thousand good examples are plenty.",
        )
    raise _unexpected(status, place, subject)


def _too_much_memory(subject: str, limits: Limits) -> StudioError:
    return StudioError(
        f"{subject} was stopped: it needed more than {limits.memory_bytes / 1e9:.1f} GB of memory.",
        "One row or cell may be extremely large: check the file, or keep a part of it.",
    )


def _unexpected(status: int, place: Path, subject: str) -> StudioError:
    """A crash or a kill as a sentence; what the process printed last goes to the log, under the same id."""
    error_id = secrets.token_hex(4)
    with suppress(OSError):
        printed = (place / "output.txt").read_bytes()[-_MOST_OUTPUT:].decode("utf-8", "replace")
        log = logging.getLogger("lora_tailor.data")
        log.error("error %s: %s ended with status %s\n%s", error_id, subject, status, printed)
    how = "failed unexpectedly"
    if status < 0:
        with suppress(ValueError):
            how = f"was ended by the system ({signal.Signals(-status).name})"
    return StudioError(
        f"{subject} {how} (error {error_id}). Nothing was changed.",
        "Try once more. If it happens again, the details stand in logs/studio.log of the data folder.",
    )


# -- the process's own end -----------------------------------------------------------------------------------


def main(function: Callable[[dict[str, Any], Path, Report], dict[str, Any]]) -> None:
    """Do one task as the process that `run` has started, and end.

    `function(spec, folder, report)` fills the folder and returns what `run` returns: JSON.
    """
    from jobs.datasets import child_process

    child_process.work(Path(sys.argv[1]), function)
