"""How a job says how far it is: lines in its own run folder, which the worker takes into the database."""

from __future__ import annotations

import json
import os
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.run_folder import STOP_FILE
from storage import files

EVENTS_FILE = "events.jsonl"
# A phase that counts bytes reports far more often than anybody can read.
PHASE_INTERVAL_SECONDS = 0.2


class Progress:
    """What a job reports to. This one keeps nothing: for a notebook, where nobody else watches."""

    def total_steps(self, count: int) -> None:
        """Say how many steps there will be."""

    def metric(self, step: int, **values: float) -> None:
        """Report measurements of one step: loss, held_out_loss, learning_rate, tokens_per_second, …"""

    def phase(self, words: str, done: int | None = None, total: int | None = None) -> None:
        """Say in words what is going on, and how much of it is done (bytes, rows)."""

    def note(self, words: str) -> None:
        """Keep a sentence for the run's page: how it computes, or what it had to change on the way."""

    def foreseen(self, seconds: float, peak_bytes: int, tokens_per_second: float | None = None) -> None:
        """Say what a rehearsal measured: how long all steps will take, the most memory, the speed."""

    def checkpoint(self, step: int, folder: str, kept: list[str]) -> None:
        """Say that a state was saved from which the run can go on.

        Args:
            step: how many steps it has behind it.
            folder: where it lies, relative to the run's folder.
            kept: all of this attempt that stay, the new one among them, named in the same way.
        """

    def resumed(self, step: int) -> None:
        """Say that the run goes on from a state saved after `step` steps."""

    def log(self, text: str) -> None:
        """Write a line for whoever reads the run's log."""

    def should_stop(self) -> bool:
        """Whether the job is to end as soon as its work can be kept."""
        return False


class RunFolderProgress(Progress):
    """Appends events.jsonl of an attempt's folder; a file `stop` beside it, or `terminated`, stops the job.

    Attributes:
        interrupted_at: the step at which the attempt before this one was interrupted, where that is known.
        terminated: the system asked for the end with SIGTERM, says whoever hears it.
    """

    def __init__(self, attempt_folder: Path, attempt: int) -> None:
        attempt_folder.mkdir(parents=True, exist_ok=True)
        # Unbuffered, so that a line is with the system when the call returns: no kill can take it back.
        self._events = (attempt_folder / EVENTS_FILE).open("ab", buffering=0)
        self._stop_file = attempt_folder.parent / STOP_FILE
        self._attempt = attempt
        self._seq = 0
        self._total_steps = 0
        self._first: tuple[int, float] | None = None
        self._reached = 0
        self._phase: tuple[str, float] = ("", 0.0)
        self._notes: list[str] = []
        self.interrupted_at: int | None = None
        self.terminated = False
        self._one_at_a_time = threading.Lock()

    def total_steps(self, count: int) -> None:
        """Say how many steps there will be."""
        self._total_steps = count
        self._write("total_steps", count=count)

    def metric(self, step: int, **values: float) -> None:
        """Report measurements of one step, with the speed and the seconds left as of this session."""
        now = time.monotonic()
        # What is measured of an earlier step, as the base model's loss, does not set the run back.
        reached = self._reached = max(self._reached, step)
        if self._first is None:
            self._first = (reached, now)
        steps_per_second = seconds_left = None
        first_step, first_time = self._first
        if reached > first_step and now > first_time:
            steps_per_second = (reached - first_step) / (now - first_time)
            seconds_left = max(self._total_steps - reached, 0) / steps_per_second
        speed = {"steps_per_second": steps_per_second, "seconds_left": seconds_left}
        self._write("metric", step=step, reached=reached, values=values, **speed)

    def phase(self, words: str, done: int | None = None, total: int | None = None) -> None:
        """Say what is going on; the same words again count at most five times a second, the last always."""
        last_words, last_time = self._phase
        now = time.monotonic()
        finished = done is not None and done == total
        if words == last_words and not finished and now - last_time < PHASE_INTERVAL_SECONDS:
            return
        self._phase = (words, now)
        self._write("phase", words=words, done=done, total=total)

    def note(self, words: str) -> None:
        """Keep a sentence; the event holds all of them, so that it may be read twice and changes nothing."""
        if words not in self._notes:
            self._notes.append(words)
            self._write("notes", words=self._notes)

    def foreseen(self, seconds: float, peak_bytes: int, tokens_per_second: float | None = None) -> None:
        """Say what a rehearsal measured: seconds of all steps, peak bytes, tokens per second."""
        self._write("foreseen", seconds=seconds, peak_bytes=peak_bytes, tokens_per_second=tokens_per_second)

    def checkpoint(self, step: int, folder: str, kept: list[str]) -> None:
        """Say that a state was saved, and which of this attempt stay."""
        self._write("checkpoint", step=step, folder=folder, kept=kept)

    def resumed(self, step: int) -> None:
        """Say from which step the run goes on, in the log also where it was interrupted."""
        self._write("resumed", step=step)
        if self.interrupted_at is None:
            self.log(f"Resumed from step {step} (attempt {self._attempt}).")
        else:
            at = f"Interrupted at step {self.interrupted_at}"
            self.log(f"{at}; resumed from {step} (attempt {self._attempt}).")

    def log(self, text: str) -> None:
        """Write a line to the run's log, which is where this process's output goes."""
        print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)

    def should_stop(self) -> bool:
        """Whether somebody asked for the end of this job."""
        return self.terminated or self.asked_to_stop()

    def asked_to_stop(self) -> bool:
        """Whether a person asked for it; the system asks through `terminated`."""
        return self._stop_file.exists()

    def close(self) -> None:
        """Wait until all events are on the disk; called once, before the result is written."""
        with self._one_at_a_time:
            os.fsync(self._events.fileno())
            self._events.close()

    def _write(self, kind: str, **content: Any) -> None:
        with self._one_at_a_time:  # downloads report from several threads
            self._seq += 1
            event = {"attempt": self._attempt, "seq": self._seq, "time": time.time(), "type": kind, **content}
            line = json.dumps(files.json_safe(event), allow_nan=False).encode() + b"\n"
            with files.full_disk_as_error(len(line)):
                self._append(line)

    def _append(self, line: bytes) -> None:
        """All of a line, or nothing of it: a disk that is almost full takes its beginning."""
        begin = os.fstat(self._events.fileno()).st_size
        written = 0
        try:
            while written < len(line):
                written += self._events.write(line[written:])
        except OSError:
            with suppress(OSError):
                self._events.truncate(begin)
            raise


@dataclass(frozen=True)
class Batch:
    """Events read together: metrics as (step, name, value), the job's newest fields, and where to go on.

    `saved` has {"step", "folder", "at"} of every state that was saved, its folder relative to the run's;
    `kept` names the folders that were left after the last of them, and is None where none was saved.
    """

    metrics: list[tuple[int, str, float | None]]
    fields: dict[str, Any]
    offset: int
    saved: list[dict[str, Any]] = field(default_factory=list)
    kept: list[str] | None = None


def read_events(attempt_folder: Path, offset: int, limit_bytes: int = 1 << 20) -> Batch:
    """The whole lines after byte `offset`; a line still being written waits for the next call."""
    metrics: list[tuple[int, str, float | None]] = []
    fields: dict[str, Any] = {}
    saved: list[dict[str, Any]] = []
    kept: list[str] | None = None
    try:
        with (attempt_folder / EVENTS_FILE).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size <= offset:
                return Batch([], {}, offset)
            file.seek(offset)
            lines, _, _ = file.read(limit_bytes).rpartition(b"\n")
    except FileNotFoundError:
        return Batch([], {}, offset)
    for line in lines.splitlines():
        event = _parsed(line)
        fields |= _job_fields(event)
        if event.get("type") == "metric":
            metrics += [(event["step"], name, value) for name, value in event["values"].items()]
        elif event.get("type") == "checkpoint":
            saved.append({"step": event["step"], "folder": event["folder"], "at": event["time"]})
            kept = event["kept"]
    return Batch(metrics, fields, offset + len(lines) + 1 if lines else offset, saved, kept)


def _parsed(line: bytes) -> dict[str, Any]:
    """The event; nothing for a line that a full disk cut short."""
    try:
        event = json.loads(line)
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}


def _job_fields(event: dict[str, Any]) -> dict[str, Any]:
    """What the event says about the job as a whole."""
    match event.get("type"):
        case "total_steps":
            return {"total_steps": event["count"]}
        case "phase":
            return {"phase": event["words"], "phase_done": event["done"], "phase_total": event["total"]}
        case "notes":
            return {"notes": event["words"]}
        case "foreseen":
            foreseen = {"foreseen_" + name: event[name] for name in ("seconds", "peak_bytes")}
            speed = event["tokens_per_second"]
            return foreseen | ({} if speed is None else {"tokens_per_second": speed})
        case "resumed":
            return {"resumed_from": event["step"]}
        case "metric":
            shown = ("loss", "held_out_loss", "tokens_per_second")
            values = {name: event["values"][name] for name in shown if name in event["values"]}
            speed = {name: event[name] for name in ("steps_per_second", "seconds_left")}
            return {"step": event.get("reached", event["step"]), **speed, **values}
        case _:
            return {}
