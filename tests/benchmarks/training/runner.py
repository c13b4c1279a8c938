"""Starts the contestants, lets them take turns, passes their figures on, and compares."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.training.cases import OURS, Case
from tests.benchmarks.training.rows import line

MODULE = "tests.benchmarks.training.case"
SECONDS_FOR_FIGURES = 60.0
SECONDS_TO_SAVE = 300.0
LAST_WORDS = 1200
# Nothing is fetched or reported; threads sleep while others have their turn.
ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1", "UNSLOTH_DISABLE_STATISTICS": "1"}
IN_THIS_RUN = {"of": "the figures of this run, with their conditions"}


class Failed(Exception):
    """A contestant that gave no figures, and why; `missing` when it is not installed."""

    missing = False


class Missing(Failed):
    """A peer that cannot be imported."""

    missing = True


class Contestant:
    """A process that measures one case."""

    def __init__(self, case: Case, log: Path) -> None:
        self.case, self.log = case, log
        self._messages: queue.Queue[dict[str, Any] | None] = queue.Queue()
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", MODULE, "case", case.as_json()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**ENVIRONMENT, **os.environ},
            )
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self._process.stdout
        for text in self._process.stdout:
            self._messages.put(json.loads(text))
        self._messages.put(None)

    def until(self, word: str, seconds: float) -> None:
        """Wait until it says the word.

        Raises:
            Failed: it ended, or said that it cannot, or the time is over.
        """
        message = self._next(seconds)
        if message is None or word not in message:
            raise Failed(f"it ended without figures: {message}")

    def _next(self, seconds: float) -> dict[str, Any] | None:
        try:
            message = self._messages.get(timeout=max(1.0, seconds))
        except queue.Empty:
            raise Failed("its time was over") from None
        if message and "missing" in message:
            raise Missing(message["missing"])
        if message and "failed" in message:
            raise Failed(message["failed"])
        return message

    def go(self) -> None:
        """Let it do a round."""
        assert self._process.stdin
        try:
            print("go", file=self._process.stdin, flush=True)
        except BrokenPipeError:
            raise Failed("it ended between two rounds") from None

    def figures(self, rows: list[dict[str, Any]]) -> None:
        """Its rows, printed and added to `rows` as they come; it ends with them."""
        assert self._process.stdin
        self._process.stdin.close()
        before = len(rows)
        while row := self._next(SECONDS_FOR_FIGURES):
            print(json.dumps(row, ensure_ascii=False), flush=True)
            rows.append(row)
        if len(rows) == before:
            raise Failed("it ended without figures")

    def end(self) -> None:
        """Make sure that it is gone, and its memory with it."""
        self._process.kill()
        self._process.wait(30)

    def last_words(self) -> str:
        """The end of what it and its libraries printed."""
        return self.log.read_text(errors="replace")[-LAST_WORDS:]


class Runner:
    """One run of the benchmark."""

    def __init__(self, device: str, logs: Path) -> None:
        self.device, self.logs = device, logs
        logs.mkdir(parents=True, exist_ok=True)
        self.rows: list[dict[str, Any]] = []

    def limit(self) -> float | None:
        """FLOP/s of a large matrix product on this device."""
        done = self._helper(["limit", self.device], 120)
        if done is None or done.returncode:
            line("matrix-product limit", self.device, None, "TFLOP/s", {"error": "not measured"})
            return None
        flops = float(json.loads(done.stdout)["limit_flops"])
        conditions = {"size": "8192³" if self.device.startswith("cuda") else "2048³", "format": "bf16"}
        line("matrix-product limit", self.device, round(flops / 1e12, 2), "TFLOP/s", conditions)
        return flops

    def save(self, model: str, folder: Path) -> Path | None:
        """A random model as a folder; None when that was not possible."""
        done = self._helper(["save", f"{model},{self.device},{folder}"], SECONDS_TO_SAVE)
        if done is not None and done.returncode == 0:
            return folder
        error = "its time was over" if done is None else done.stderr[-LAST_WORDS:]
        line(f"save {model}", self.device, None, "failed", {"reason": error})
        return None

    def _helper(self, arguments: list[str], seconds: float) -> subprocess.CompletedProcess[str] | None:
        command = [sys.executable, "-m", MODULE, *arguments]
        try:
            return subprocess.run(command, capture_output=True, text=True, timeout=seconds)
        except subprocess.TimeoutExpired:
            return None

    def measure(self, contestants: Sequence[Sequence[Case]], in_turns: bool) -> None:
        """All contestants, each with its setups in the order in which they are tried."""
        together = [tries[0] for tries in contestants if in_turns and tries[0].takes_turns]
        if together:
            self._take_turns(together)
        for tries in contestants:
            if tries[0] not in together:
                # The next setup only where this one did not fit into memory.
                any(self._take_turns([case]) for case in tries)

    def _take_turns(self, cases: Sequence[Case]) -> bool:
        """Measure cases side by side; False when memory ran out, so that a smaller setup may succeed."""
        deadline = time.perf_counter() + sum(case.seconds for case in cases)
        # Started one after the other, so that nobody's start disturbs another's.
        running, too_large = [], 0
        for case in cases:
            one = Contestant(case, self.logs / f"{case.who}-{case.model}-{len(self.rows)}.log")
            running.append(one)
            too_large += not self._could(one, running, lambda one: one.until("ready", _left(deadline)))
        for _ in range(cases[0].rounds if cases[0].takes_turns else 1):
            for one in list(running):
                too_large += not self._could(one, running, lambda one: _round(one, deadline))
        for one in list(running):
            too_large += not self._could(one, running, lambda one: one.figures(self.rows))
            one.end()
        return too_large == 0

    def _could(self, one: Contestant, running: list[Contestant], act: Callable[[Contestant], None]) -> bool:
        """Let one act; who cannot is said to have failed or to be missing, and leaves.

        False when its memory ran out.
        """
        try:
            act(one)
        except Failed as failure:
            one.end()
            running.remove(one)
            case = one.case
            conditions = {"reason": str(failure), **case.setup}
            if not failure.missing:
                conditions["last_words"] = one.last_words()
            unit = "missing" if failure.missing else "failed"
            line(f"{case.who} {case.model}", case.device, None, unit, conditions)
            return "out of memory" not in str(failure).lower()
        return True

    def compare(self, model: str) -> None:
        """Ours beside every peer in the same run, and the sweep beside one run."""
        speeds, memories = (self._values(model, figure) for figure in ("real tokens", "peak memory"))
        for who, speed in speeds.items():
            for ours in OURS:
                if who in OURS or ours not in speeds or ours == "sweep":
                    continue
                what = f"{ours} {model} / {who}"
                line(f"{what}: speed", self.device, _ratio(speeds[ours], speed), "times", IN_THIS_RUN)
                line(
                    f"{what}: memory",
                    self.device,
                    _ratio(memories[ours], memories[who]),
                    "times",
                    IN_THIS_RUN,
                )
        if "sweep" in speeds and "ours" in speeds:
            times = _ratio(speeds["ours"], speeds["sweep"])
            line(f"sweep of four {model} / one run", self.device, times, "times the time", IN_THIS_RUN)

    def table(self) -> None:
        """All figures once more in short, for people: on the error stream, where no program reads."""
        print(file=sys.stderr)
        for row in self.rows:
            if row["value"] is not None and "kernel" not in row["what"]:
                print(f"{row['what']:58} {row['value']:>12,.4g} {row['unit']}", file=sys.stderr)

    def _values(self, model: str, figure: str) -> dict[str, float]:
        end = f" {model}: {figure}"
        return {row["what"].removesuffix(end): row["value"] for row in self.rows if row["what"].endswith(end)}


def _left(deadline: float) -> float:
    return deadline - time.perf_counter()


def _round(one: Contestant, deadline: float) -> None:
    one.go()
    one.until("done", _left(deadline))


def _ratio(one: float, other: float) -> float:
    return round(one / other, 3)
