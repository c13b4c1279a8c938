"""How long a run will take and how much memory, from its longest rows and its first steps."""

from __future__ import annotations

import re
import resource
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from jobs.training.examples import Example, token_lengths

if TYPE_CHECKING:
    from jobs.training.engine import Engine

# A run's first step warms up (caches, kernels); what these many after it take is what the others take.
WATCHED_STEPS = 3
# Of long steps, two must do.
WATCHED_SECONDS = 10.0
# Without gradients a pack takes a third: forward alone, of forward and a backward twice as long.
LOOK_SHARE = 1 / 3


@dataclass(frozen=True)
class Rehearsal:
    """What was foreseen after step `at_step` (0: before the first), and how far off it was.

    Attributes:
        seconds: wall time of the whole run, with looks at held-out rows and saving.
        peak_bytes: the most memory, of the GPU or, on CPU, of the process.
        tokens_per_second: of the steps.
        seconds_error, peak_error: (foreseen - true) / true; None for a run that did not end by itself.
    """

    at_step: int
    seconds: float
    peak_bytes: int
    tokens_per_second: float
    seconds_error: float | None = None
    peak_error: float | None = None


@dataclass(frozen=True)
class Longest:
    """What learning from the longest rows took."""

    tokens: int
    seconds: float


def rehearse(engine: Engine, examples: Sequence[Example]) -> Longest:
    """Learn from one pack of the longest rows twice and forget it: the most memory, and the time of the second.

    The first call may compile or record kernels. Random generators stand afterwards where they stood.

    Raises:
        torch.OutOfMemoryError: the longest rows do not fit.
    """
    device = engine.device
    rows: list[int] = []
    tokens = 0
    lengths = token_lengths(examples)
    for row in sorted(range(len(examples)), key=lambda row: -lengths[row]):
        rows.append(row)
        tokens += lengths[row]
        if tokens >= engine.pack_tokens:
            break
    seconds = 0.0
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        pack = max(engine.packs(examples, rows), key=lambda pack: pack.real_tokens)
        for _ in range(2):
            began = time.perf_counter()
            engine.learn(pack, 1 / max(1, pack.supervised))
            wait_for(device)
            seconds = time.perf_counter() - began
    engine.weights.discard()
    return Longest(pack.real_tokens, seconds)


class Watch:
    """Foresees the whole run from its first steps."""

    def __init__(
        self,
        step_tokens: Sequence[int],
        look_tokens: int,
        looks: int,
        longest_row: int,
        device: torch.device,
    ) -> None:
        """Begin with a run.

        Args:
            step_tokens: of each step that is to come.
            look_tokens: of one look at the held-out rows.
            looks: how many are to come.
            longest_row: its tokens.
            device: whose memory is watched.
        """
        self._step_tokens, self._look_tokens, self._looks = step_tokens, look_tokens, looks
        self._longest_row, self._device = longest_row, device
        self._began = time.perf_counter()
        self._at_start_bytes = reset_peak(device)
        self._steps: list[tuple[int, float]] = []
        self._look_seconds: list[float] = []
        self._learning_bytes = 0
        self._is_final = False
        self.foreseen: Rehearsal | None = None

    def rehearsed(self, longest: Longest) -> Rehearsal:
        """What is foreseen before the first step."""
        return self._foresee(longest.tokens, longest.seconds)

    def step(self, tokens: int, seconds: float, largest_pack: int, pack_tokens: int) -> Rehearsal | None:
        """Take in one more step; what is foreseen, where that is news.

        Args:
            largest_pack: the most tokens that a pack of it had.
            pack_tokens: the most that the engine puts into a pack.
        """
        if self._is_final:
            return None
        if not self._steps:
            # Memory beyond the weights grows with the tokens computed at once.
            largest = max(min(pack_tokens, max(self._step_tokens)), self._longest_row)
            grown = peak_bytes(self._device) - self._at_start_bytes
            self._learning_bytes = round(grown * max(1.0, largest / largest_pack))
        self._steps.append((tokens, seconds))
        warm = self._steps[1:]
        warm_tokens, warm_seconds = (sum(values) for values in zip((0, 0.0), *warm, strict=True))
        self._is_final = len(warm) >= WATCHED_STEPS or (len(warm) >= 2 and warm_seconds >= WATCHED_SECONDS)
        if self._is_final:
            return self._foresee(int(warm_tokens), warm_seconds)
        return self._foresee(tokens, seconds) if self.foreseen is None else None

    def look(self, seconds: float) -> None:
        """Take in what a look at the held-out rows took."""
        self._look_seconds.append(seconds)

    def ended(self) -> Rehearsal | None:
        """What was foreseen last, with its error against what the run took."""
        if self.foreseen is None:
            return None
        seconds, peak = time.perf_counter() - self._began, peak_bytes(self._device)
        return replace(
            self.foreseen,
            seconds_error=self.foreseen.seconds / seconds - 1,
            peak_error=self.foreseen.peak_bytes / peak - 1,
        )

    def _foresee(self, tokens: int, seconds: float) -> Rehearsal:
        """The whole run, if a token of the steps to come takes as long as each of `tokens` took."""
        token_seconds = seconds / tokens
        looked = self._look_seconds
        look_seconds = looked[-1] if looked else LOOK_SHARE * token_seconds * self._look_tokens
        done = len(self._steps)
        left = sum(self._step_tokens[done:]) * token_seconds + look_seconds * (self._looks - len(looked))
        peak = peak_bytes(self._device)
        # What a GPU's rehearsal measured needs no arithmetic.
        if self._device.type != "cuda":
            peak = max(peak, self._at_start_bytes + self._learning_bytes)
        so_far = time.perf_counter() - self._began
        self.foreseen = Rehearsal(done, so_far + left, peak, 1 / token_seconds)
        return self.foreseen


def wait_for(device: torch.device) -> None:
    """Wait until `device` has done all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def reset_peak(device: torch.device) -> int:
    """Begin a new high-water mark of the memory, and return where it begins, in bytes."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        # Linux alone can; elsewhere the mark is that of the whole process since its start (proc(5)).
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    return peak_bytes(device)


def peak_bytes(device: torch.device) -> int:
    """The most memory that this run has had: allocated on a GPU, or resident of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with suppress(OSError):
        mark = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        if mark:
            return int(mark[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
