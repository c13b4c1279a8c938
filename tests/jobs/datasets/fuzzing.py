"""Damaged files without end: `python -m tests.jobs.datasets.fuzzing --seconds 60 [--first 0] [--child 500]`.

Damaged files of `mutations` go to the function that the import's process runs, in processes under the same limits,
and every so often the whole way through the page's side. Prints one line of JSON for each way: cases tried, how many
were imported and refused, tracebacks, hangs, crashes, new files, the slowest case and the most memory. The exit
status says whether there was anything that should not be; each such case is printed with the number that makes it
again (`--only NUMBER`).
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.datasets import child, child_process
from storage import config, database
from tests.jobs.datasets.hostile import bringing
from tests.jobs.datasets.mutations import Mutant, mutant

ROOT = Path(__file__).resolve().parents[3]
MOST_SECONDS = 5.0
HANG_SECONDS = 20.0
FAULTS = ("traceback", "hang", "crash", "new_files", "slow")


def bring(made: Mutant, folder: Path, whole_way: bool = False) -> dict[str, Any]:
    """Bring one damaged file; says whether it was taken or refused, or what went wrong."""
    path = folder / "file" / made.name
    path.parent.mkdir(parents=True)
    path.write_bytes(made.content)
    outcome: dict[str, Any] = {"kind": made.kind, "outcome": "traceback"}
    before = _memory_reset()
    try:
        if whole_way:
            came = bringing.through_child(path, made.options)
        else:
            came = bringing.in_process(path, made.options, folder / "staged")
        bringing.assert_sound(came)
        outcome |= {"outcome": "refused" if came.error else "taken", "seconds": round(came.seconds, 3)}
        outcome["said"] = str(came.error or "")
        if came.seconds > MOST_SECONDS:
            outcome["outcome"] = "slow"
    except MemoryError:  # what the page is told is the child's business
        outcome |= {"outcome": "refused", "said": "no memory"}
    except BaseException as error:  # noqa: BLE001  # that is what is looked for
        outcome["said"] = "".join(traceback.format_exception(error)[-3:])[-1500:]
    outcome["memory_bytes"] = max(0, _memory() - before)
    path.unlink()
    shutil.rmtree(folder / "staged", ignore_errors=True)
    path.parent.rmdir()
    strange = [str(left.relative_to(folder)) for left in folder.rglob("*") if "home" not in left.parts]
    home = folder / "home"
    if whole_way:
        strange += [str(left) for left in (home / "tmp").iterdir()]
        strange += (
            [] if outcome["outcome"] == "taken" else [str(left) for left in (home / "datasets").iterdir()]
        )
        shutil.rmtree(home / "datasets")
        (home / "datasets").mkdir()
    if strange:
        outcome |= {"outcome": "new_files", "said": ", ".join(strange)}
    return outcome


def _memory_reset() -> int:
    if sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5")
    return _memory()


def _memory() -> int:
    """The most memory since the last reset."""
    if sys.platform != "linux":
        return 0
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024


# -- the process that reads ----------------------------------------------------------------------------------


def work(folder: Path, whole_way: bool) -> None:
    """Take numbers from standard input, one a line; answer each with a line of JSON."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    config.use(config.from_environment(data_dir=folder / "home"))
    if whole_way:
        database.connect()
    else:
        child_process._keep_to(child.Limits())
    os.chdir(folder)
    for line in sys.stdin:
        outcome = bring(mutant(int(line)), folder, whole_way)
        answers.write(json.dumps(outcome) + "\n")
        answers.flush()


# -- the process that watches --------------------------------------------------------------------------------


class Reader:
    """A reading process, started anew after it hung or crashed."""

    def __init__(self, whole_way: bool) -> None:
        self._whole_way = whole_way
        self._process: subprocess.Popen[str] | None = None

    def ask(self, number: int) -> dict[str, Any]:
        """What came of one case."""
        if self._process is None:
            self._start()
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(f"{number}\n")
        self._process.stdin.flush()
        try:
            answer = self._answers.get(timeout=HANG_SECONDS * (3 if self._whole_way else 1))
        except queue.Empty:
            self.stop()
            return {"outcome": "hang", "kind": mutant(number).kind, "said": ""}
        if not answer:
            status = self._process.wait()
            self.stop()
            return {"outcome": "crash", "kind": mutant(number).kind, "said": f"status {status}"}
        return dict(json.loads(answer))

    def _start(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="fuzzing-"))
        way = ["--whole-way"] if self._whole_way else []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.jobs.datasets.fuzzing", "--work", str(self._folder), *way],
            cwd=ROOT,
            env={
                **os.environ,
                **{"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "2", "PYTHONPATH": str(ROOT)},
                "TMPDIR": str(self._folder),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, args=(self._process, self._answers), daemon=True).start()

    @staticmethod
    def _listen(process: subprocess.Popen[str], answers: queue.Queue[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            answers.put(line)
        answers.put("")

    def stop(self) -> None:
        """End the process, and what is left of its folder."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            shutil.rmtree(self._folder, ignore_errors=True)
            self._process = None


@dataclass
class Tally:
    """What a campaign counts."""

    way: str
    cases: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    slowest: tuple[float, int] = (0.0, -1)
    largest: tuple[int, int] = (0, -1)

    def count(self, number: int, outcome: dict[str, Any]) -> None:
        self.cases += 1
        self.outcomes[outcome["outcome"]] += 1
        self.kinds[outcome["kind"]] += 1
        self.slowest = max(self.slowest, (outcome.get("seconds", 0.0), number))
        self.largest = max(self.largest, (outcome.get("memory_bytes", 0), number))

    def as_json(self) -> dict[str, Any]:
        """The figures of the line that is printed."""
        found = {
            "way": self.way,
            "cases": self.cases,
            "taken": self.outcomes["taken"],
            "refused": self.outcomes["refused"],
            "tracebacks": self.outcomes["traceback"],
            "hangs": self.outcomes["hang"] + self.outcomes["slow"],
            "crashes": self.outcomes["crash"],
            "new_files": self.outcomes["new_files"],
            "slowest_seconds": self.slowest[0],
            "slowest_case": self.slowest[1],
            "most_memory_bytes": self.largest[0],
            "most_memory_case": self.largest[1],
            "kinds": dict(sorted(self.kinds.items())),
        }
        return found

    def is_well(self) -> bool:
        return not any(self.outcomes[fault] for fault in FAULTS)


def campaign(numbers: Iterator[int], whole_way: bool, seconds: float, readers: int) -> Tally:
    """Bring the cases with these numbers until the time is up, several at once."""
    tally = Tally("child process" if whole_way else "reading function under the child's limits")
    deadline, lock = time.monotonic() + seconds, threading.Lock()

    def go_on() -> None:
        reader = Reader(whole_way)
        try:
            while time.monotonic() < deadline:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                outcome = reader.ask(number)
                with lock:
                    tally.count(number, outcome)
                    if outcome["outcome"] in FAULTS:
                        print(json.dumps({"case": number, **outcome}), flush=True)
        finally:
            reader.stop()

    threads = [threading.Thread(target=go_on) for _ in range(readers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return tally


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.jobs.datasets.fuzzing", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--cases", type=int, default=10**9, help="at most so many")
    parser.add_argument("--first", type=int, default=0, help="the number of the first case")
    parser.add_argument("--child", type=int, default=100, help="so many cases more through the real process")
    parser.add_argument("--readers", type=int, default=max(1, (os.cpu_count() or 1) // 2))
    parser.add_argument("--only", type=int, help="bring one case and print what comes of it")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--whole-way", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work is not None:
        work(arguments.work, arguments.whole_way)
        return 0
    if arguments.only is not None:
        reader = Reader(arguments.whole_way)
        print(json.dumps({"file": ascii(mutant(arguments.only).name), **reader.ask(arguments.only)}))
        reader.stop()
        return 0
    first = arguments.first
    ways = [
        (False, arguments.cases, arguments.seconds, arguments.readers),
        (True, arguments.child, 3600.0, 1),
    ]
    well = True
    for whole_way, count, seconds, readers in ways:
        if count > 0:
            tally = campaign(iter(range(first, first + count)), whole_way, seconds, readers)
            print(json.dumps(tally.as_json()), flush=True)
            well = well and tally.is_well()
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
