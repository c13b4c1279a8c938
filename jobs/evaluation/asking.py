"""Asks the model server in the background, and keeps every answer, so that none is asked a second time."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from jobs.progress import Progress
from jobs.serving import client
from jobs.serving.connection import ServerGone
from jobs.serving.schema import CompareSettings, Likelihood, SideAnswer, SideRequest
from storage import lines
from storage.errors import StudioError

ANSWERS_FILE = "answers.jsonl"
# Raised when the model server begins to answer the same question otherwise.
VERSION = 1
# A batch is as large as can be answered in about this time: it is what a kill takes, and what a person's
# question that comes in between throws away.
BATCH_SECONDS = 20.0
FIRST_BATCH, SMALLEST_BATCH, LARGEST_BATCH = 24, 6, 96
# So often in a row a batch may bring nothing, as when the model server is killed, before it is given up.
MOST_FAILURES = 5
PAUSE_SECONDS = 1.0

Item = TypeVar("Item")
# An answer's text and numbers, or a likelihood's.
Kept = dict[str, Any]
# Takes the place in a batch, and what came of it.
Each = Callable[[int, Kept], None]


class Stopped(StudioError):
    """Somebody asked for the end."""

    def __init__(self) -> None:
        super().__init__("Answering was stopped.", "Start it again when you like.")


class Asking:
    """Every question of one job to one base model; what was ever answered is not asked again.

    Args:
        base_model_id: who is asked.
        base_weights: what stands for the base model's weights, which may change under the same name.
        run_folder: of the job; each attempt writes a file of its own there.
        earlier: run folders of other jobs whose answers may serve.
    """

    def __init__(
        self,
        base_model_id: str,
        base_weights: str,
        run_folder: Path,
        attempt: int,
        progress: Progress,
        earlier: Iterable[Path] = (),
    ) -> None:
        self._base_model_id, self._progress = base_model_id, progress
        self._base = [VERSION, base_model_id, base_weights]
        self._file = run_folder / f"attempt-{attempt}" / ANSWERS_FILE
        self._kept = kept_in(run_folder)
        self._others = {key: one for folder in earlier for key, one in kept_in(folder).items()}
        self._size = FIRST_BATCH
        self._total = 0
        self._words = "Getting ready"
        self.tell()

    def expect(self, questions: int) -> None:
        """Say how many different questions there will be in all."""
        self._total = questions
        self.tell()

    def tell(self, words: str | None = None) -> None:
        """Report what is going on, beside how many of all questions are answered."""
        self._words = words or self._words
        done = len(self._kept)
        self._progress.phase(self._words, done, max(self._total, done))

    def answers(
        self, words: str, requests: Sequence[SideRequest], max_new_tokens: int = 256
    ) -> list[SideAnswer]:
        """The finished answers, in the order asked; `max_new_tokens` is for those that say nothing of it.

        Raises: Stopped, and StudioError when the model cannot answer.
        """
        settings = CompareSettings(max_new_tokens=max_new_tokens)

        def ask(batch: list[SideRequest], each: Each) -> object:
            def found(place: int, answer: SideAnswer) -> None:
                each(place, dict(answer))

            return client.answers(
                self._base_model_id, batch, settings, self._progress.should_stop, self._waits, each=found
            )

        keys = [_key(self._base, request, max_new_tokens) for request in requests]
        kept = self._all(words, keys, requests, ask)
        return [
            cast(SideAnswer, {**kept[key], "side": request.side, "label": request.label})
            for key, request in zip(keys, requests, strict=True)
        ]

    def likelihoods(self, words: str, continuations: Sequence[dict[str, Any]]) -> list[Likelihood]:
        """How likely each {"adapters", "messages", "answer"} is, in the order asked.

        Raises: as `answers`.
        """

        def ask(batch: list[dict[str, Any]], each: Each) -> object:
            def found(place: int, likelihood: Likelihood) -> None:
                each(place, dict(likelihood))

            return client.likelihoods(
                self._base_model_id, batch, self._progress.should_stop, self._waits, each=found
            )

        keys = [_hash("likelihood", self._base, one) for one in continuations]
        kept = self._all(words, keys, continuations, ask)
        return [cast(Likelihood, kept[key]) for key in keys]

    def _all(
        self,
        words: str,
        keys: Sequence[str],
        items: Sequence[Item],
        ask: Callable[[list[Item], Each], object],
    ) -> dict[str, Kept]:
        """What is kept once everything that is missing has been asked, a batch after the other."""
        known = {key: self._others[key] for key in keys if key in self._others and key not in self._kept}
        self._keep(known)
        missing = {key: item for key, item in zip(keys, items, strict=True) if key not in self._kept}
        self.tell(words)
        failures = 0
        while missing:
            batch = list(missing)[: self._size]
            before, began = len(self._kept), time.monotonic()
            gone = self._asked(batch, missing, ask)
            missing = {key: item for key, item in missing.items() if key not in self._kept}
            if gone is None:
                self._fit(len(batch), time.monotonic() - began)
                continue
            failures = 0 if len(self._kept) > before else failures + 1
            if failures >= MOST_FAILURES:
                raise gone
            time.sleep(PAUSE_SECONDS)
        return self._kept

    def _asked(
        self, batch: list[str], items: Mapping[str, Item], ask: Callable[[list[Item], Each], object]
    ) -> ServerGone | None:
        """Ask a batch and keep what comes of it; returns the end of the model server, which passes.

        Raises: Stopped, and StudioError when the model cannot answer.
        """

        def each(place: int, answer: Kept) -> None:
            self._keep({batch[place]: answer})
            self.tell()

        if self._progress.should_stop():
            raise Stopped
        try:
            ask([items[key] for key in batch], each)
        except ServerGone as gone:
            return gone
        except StudioError:
            if self._progress.should_stop():
                raise Stopped from None
            raise
        return None

    def _keep(self, new: dict[str, Kept]) -> None:
        if new:
            lines.append(self._file, [{"key": key, "value": value} for key, value in new.items()])
            self._kept |= new

    def _fit(self, size: int, seconds: float) -> None:
        """Let the next batch take as long as it should, by no more than double or half of this one's size."""
        # A few questions that were left over say little of a whole batch.
        if size < self._size and seconds < BATCH_SECONDS:
            return
        wanted = size * min(2.0, max(0.5, BATCH_SECONDS / max(seconds, 0.01)))
        self._size = int(min(LARGEST_BATCH, max(SMALLEST_BATCH, wanted)))

    def _waits(self, words: str) -> None:
        """Say why there are no answers now; "" says that they go on."""
        done = len(self._kept)
        self._progress.phase(words or self._words, done, max(self._total, done))


def kept_in(run_folder: Path) -> dict[str, Kept]:
    """Every answer that any attempt of a run has kept, by what was asked."""
    found: dict[str, Kept] = {}
    for file in sorted(run_folder.glob(f"attempt-*/{ANSWERS_FILE}")):
        for line in lines.read(file):
            if isinstance(line.get("key"), str) and isinstance(line.get("value"), dict):
                found[line["key"]] = line["value"]
    return found


def forget(run_folder: Path) -> None:
    """Delete what was kept: the card has it all; harmless to repeat."""
    for file in run_folder.glob(f"attempt-*/{ANSWERS_FILE}"):
        file.unlink(missing_ok=True)


def _key(base: list[Any], request: SideRequest, max_new_tokens: int) -> str:
    """What stands for a question among those that are kept: who is asked what, and how long the answer may be."""
    limit = request.max_new_tokens or max_new_tokens
    return _hash("answer", base, [request.adapters, request.messages, request.schema, limit])


def _hash(kind: str, base: list[Any], asked: Any) -> str:
    plain = json.dumps([kind, base, asked], sort_keys=True).encode()
    return hashlib.sha256(plain).hexdigest()[:32]
