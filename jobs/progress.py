"""How a job says how far it is: lines in its own run folder, which the worker takes into the database."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from dataclasses import dataclass
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

    def log(self, text: str) -> None:
        """Write a line for whoever reads the run's log."""

    def should_stop(self) -> bool:
        """Whether the job is to end as soon as its work can be kept."""
        return False


class RunFolderProgress(Progress):
    """Appends events.jsonl of an attempt's folder; a file `stop` beside it, or SIGTERM, stops the job."""

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
        self._terminated = False
        self._one_at_a_time = threading.Lock()

    def stop_on_sigterm(self) -> None:
        """Take SIGTERM as a wish to stop; only the main thread may call this."""

        def note(_signal: int, _frame: object) -> None:
            self._terminated = True

        signal.signal(signal.SIGTERM, note)

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

    def log(self, text: str) -> None:
        """Write a line to the run's log, which is where this process's output goes."""
        print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)

    def should_stop(self) -> bool:
        """Whether somebody asked for the end of this job."""
        return self._terminated or self._stop_file.exists()

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
                self._events.write(line)


@dataclass(frozen=True)
class Batch:
    """Events read together: metrics as (step, name, value), the job's newest fields, and where to go on."""

    metrics: list[tuple[int, str, float | None]]
    fields: dict[str, Any]
    offset: int


def read_events(attempt_folder: Path, offset: int, limit_bytes: int = 1 << 20) -> Batch:
    """The whole lines after byte `offset`; a line still being written waits for the next call."""
    metrics: list[tuple[int, str, float | None]] = []
    fields: dict[str, Any] = {}
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
    return Batch(metrics, fields, offset + len(lines) + 1 if lines else offset)


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
        case "metric":
            shown = ("loss", "held_out_loss", "tokens_per_second")
            values = {name: event["values"][name] for name in shown if name in event["values"]}
            speed = {name: event[name] for name in ("steps_per_second", "seconds_left")}
            return {"step": event.get("reached", event["step"]), **speed, **values}
        case _:
            return {}
