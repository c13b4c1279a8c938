"""The film strip of a run: three held-out prompts answered again at its looks, where that costs next to nothing.

What a run has no time for is made afterwards from its saved looks (`jobs.evaluation.film`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch

from jobs.generation.chat import ChatFormat
from jobs.progress import Progress
from jobs.training import folders
from jobs.training.engine import Engine
from jobs.training.film_prompts import ANSWER_TOKENS, FilmPrompt
from jobs.training.lean import LeanEngine
from storage import files
from storage.errors import DiskFull

# So much of the time since the run began may have gone into the film at any moment.
SHARE = 0.02
# The first frame, of which nobody knows yet how long it takes, is given up beyond this part of that.
FIRST_PART = 0.5
# On a GPU the first one may compile kernels for its shapes, which nothing can interrupt.
COMPILING_SECONDS_GPU = 2.0
# So often a frame asks whether the run is to end.
ASK_SECONDS = 0.5


class Film:
    """Adds a frame to film.json in the run's folder whenever there is time for one."""

    def __init__(
        self,
        run_folder: Path,
        prompts: list[FilmPrompt],
        chat: ChatFormat,
        engine: Engine,
        progress: Progress,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Begin, or go on with the film of an interrupted attempt; only the fast path can answer meanwhile."""
        self._path, self._engine, self._progress = run_folder / folders.FILM_FILE, engine, progress
        self._clock, self._began, self._spent = clock, clock(), 0.0
        self._cost: float | None = None
        self._chat, self._prompt_ids = chat, [chat.prompt_ids(prompt.messages) for prompt in prompts]
        self._film = folders.film(run_folder) or {"prompts": [prompt.as_json() for prompt in prompts]}
        self._is_on = bool(prompts) and isinstance(engine, LeanEngine)

    def seen(self, step: int, trial: int) -> None:
        """A frame of the base model where there is none yet, and one of `trial` as it is after `step` steps."""
        if not self._is_on:
            return
        steps = {frame["step"] for frame in self._film["prompts"][0]["frames"]}
        if 0 not in steps and not self._frame(0, None):
            return
        if step not in steps:
            self._frame(step, trial)

    def _frame(self, step: int, trial: int | None) -> bool:
        """One frame, unless there is no time for it; says whether there was."""
        now = self._clock()
        allowed = SHARE * (now - self._began) - self._spent
        first = COMPILING_SECONDS_GPU if self._engine.device.type == "cuda" else 0.0
        if allowed <= (first if self._cost is None else self._cost):
            return False
        # The first one is stopped where it takes too long; by then it has told how long it would have taken.
        deadline = now + max(FIRST_PART * allowed, 2 * (self._cost or 0.0))
        stopped, asked = False, now

        def should_stop() -> bool:
            nonlocal stopped, asked
            moment = self._clock()
            stopped = stopped or moment > deadline
            if not stopped and moment - asked > ASK_SECONDS:
                stopped, asked = self._progress.should_stop(), moment
            return stopped

        try:
            found = self._answers(trial, should_stop)
        except (RuntimeError, torch.OutOfMemoryError) as error:  # a film is no reason for a run to end
            self._progress.log(f"No film: {error}")
            self._is_on = False
            return False
        taken = self._clock() - now
        self._spent += taken
        longest = max(map(len, found))
        if stopped:
            self._cost = max(self._cost or 0.0, taken * ANSWER_TOKENS / max(1, longest))
            return False
        self._cost = max(self._cost or 0.0, taken)
        for prompt, token_ids in zip(self._film["prompts"], found, strict=True):
            prompt["frames"].append({"step": step, "text": self._chat.decode(token_ids)})
            prompt["frames"].sort(key=lambda frame: frame["step"])
        self._write()
        return True

    def _answers(self, trial: int | None, should_stop: Callable[[], bool]) -> list[list[int]]:
        from jobs.generation.lean import answers

        assert isinstance(self._engine, LeanEngine)
        own = [float(place == trial) for place in range(self._engine.adapters)]
        shares = None if trial is None else [own] * len(self._prompt_ids)
        model, stop_ids = self._engine.model, self._chat.stop_ids
        return answers(model, self._prompt_ids, shares, ANSWER_TOKENS, stop_ids, should_stop)

    def _write(self) -> None:
        """Replace the file; a full disk costs the frame and not the run."""
        with suppress(OSError, DiskFull):
            files.write_json(self._path, self._film)
