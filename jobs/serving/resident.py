"""The one base model that the server keeps in memory, its adapters, and the device that they occupy."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict

import torch

from jobs import gpu
from jobs.base_models import catalogue
from jobs.generation.engine import Continuation, Delta, Engine, Request
from jobs.serving.loadable import folder_of
from jobs.serving.schema import GenerationRequest, LikelihoodRequest, SideAnswer, SideRequest
from jobs.serving.turns import Question
from storage.errors import StudioError

# Loaded adapters beyond these leave when other ones are asked for; they are small, but not nothing.
KEPT_ADAPTERS = 4
# So many likelihoods are computed before the caller gets them; they are lost when a person's question comes.
LIKELIHOODS_AT_ONCE = 16


class Resident:
    """Keeps at most one base model, so that changing the adapter costs nothing and changing the base is rare.

    All but the constructor and plain reading belongs to one thread.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self.base_model_id: str | None = None
        self.base_loads = 0
        self.adapters: list[str] = []
        self._engine: Engine | None = None
        # Hashing a large base model takes seconds, so each hash is asked for once.
        self._weights: dict[str | None, str] = {}
        self._held = ExitStack()

    def answer(self, question: Question) -> None:
        """Fill in `question.latest` until all of it is done, or it is told to end.

        Raises: Busy when a job has the device or takes it, StudioError when the model is missing or a prompt
        is too long.
        """
        if job := gpu.wanted_by(self.device):
            raise gpu.Busy(job)
        self._check_not_given_up(question)
        question.started = True
        request = question.request
        engine = self._engine_of(request.base_model_id)
        # A job may have come while the model was loaded, or a person while it was for the background.
        self._check_not_given_up(question)
        if question.gave_way:
            return
        if isinstance(request, GenerationRequest):
            self._generate(engine, request, question)
        else:
            self._weigh(engine, request, question)
        self._check_not_given_up(question)

    def free(self) -> None:
        """Forget the model and let go of the device."""
        self._engine, self.base_model_id, self.adapters, self._weights = None, None, [], {}
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self._held.close()

    def _generate(self, engine: Engine, request: GenerationRequest, question: Question) -> None:
        self._load_adapters(engine, [name for side in request.requests for name in side.adapters])
        begun = time.monotonic()
        answers = [_unanswered(side, self._weights_of(side.adapters)) for side in request.requests]
        for deltas in engine.generate(
            [
                Request(side.side, side.adapters, side.messages, side.schema, side.max_new_tokens)
                for side in request.requests
            ],
            max_new_tokens=request.max_new_tokens,
            temperature=request.temperature,
            seed=request.seed,
            should_stop=question.stop.is_set,
        ):
            seconds = time.monotonic() - begun
            # New records and a new list: the thread that sends them may still read the ones before.
            answers = list(answers)
            for delta in deltas:
                answers[delta.row] = _grown(answers[delta.row], delta, seconds)
            question.latest = {"answers": answers}

    def _weigh(self, engine: Engine, request: LikelihoodRequest, question: Question) -> None:
        """Likelihoods some at a time, so that those that are done outlast an end half-way through."""
        self._load_adapters(engine, [name for one in request.continuations for name in one.adapters])
        asked = [Continuation(one.adapters, one.messages, one.answer) for one in request.continuations]
        done: list[dict[str, float]] = []
        for start in range(0, len(asked), LIKELIHOODS_AT_ONCE):
            try:
                found = engine.likelihoods(asked[start : start + LIKELIHOODS_AT_ONCE], question.stop.is_set)
            except StudioError:
                if question.stop.is_set():
                    return
                raise
            done = [*done, *map(asdict, found)]
            question.latest = {"likelihoods": done}

    def _engine_of(self, base_model_id: str) -> Engine:
        if self._engine is not None and self.base_model_id == base_model_id:
            return self._engine
        self.free()
        folder = catalogue.find(base_model_id).folder
        if folder is None:
            raise StudioError(f"The base model “{base_model_id}” is not on this computer.", "Fetch it first.")
        with ExitStack() as held:
            # A second, because whoever only looks who holds the device has it for a moment.
            held.enter_context(gpu.hold(self.device, gpu.MODEL_SERVER, timeout=1.0))
            try:
                engine = Engine(folder, self.device)
            except RuntimeError as error:
                # Torch's own error, or CUDA's where not even its start has room.
                if "out of memory" not in str(error):
                    raise
                raise StudioError(
                    f"The base model “{base_model_id}” does not fit into the memory of {self.device}.",
                    "Close other programs that use it, or choose a smaller base model.",
                ) from error
            self._held = held.pop_all()
        self._engine, self.base_model_id = engine, base_model_id
        self._weights = {None: engine.weights_of(None)}
        self.base_loads += 1
        return engine

    def _load_adapters(self, engine: Engine, wanted: Iterable[str]) -> None:
        """Put the wanted adapters on the base; the longest unused others leave when there are many."""
        wanted = list(dict.fromkeys(wanted))
        for name in wanted:
            engine.load_adapter(name, folder_of(name))
            if name not in self._weights:
                self._weights[name] = engine.weights_of(name)
            self.adapters = [loaded for loaded in self.adapters if loaded != name] + [name]
        while len(self.adapters) > max(KEPT_ADAPTERS, len(wanted)):
            engine.unload_adapter(self.adapters.pop(0))

    def _weights_of(self, adapters: Mapping[str, float]) -> str:
        """Short hashes of the weights that answer, with every strength but 1: "3f9a12cd+c21e00aa*0.7"."""
        base = self._weights[None]
        changes = [
            self._weights[name].removeprefix(base) + ("" if strength == 1.0 else f"*{strength:g}")
            for name, strength in adapters.items()
        ]
        return base + "".join(changes)

    def _check_not_given_up(self, question: Question) -> None:
        if question.given_up:
            raise gpu.Busy(gpu.wanted_by(self.device) or "a job")


def _unanswered(side: SideRequest, weights: str) -> SideAnswer:
    return SideAnswer(
        side=side.side,
        label=side.label,
        text="",
        tokens=0,
        prompt_tokens=0,
        weights=weights,
        seconds=0.0,
        done=False,
        finish_reason="",
    )


def _grown(answer: SideAnswer, delta: Delta, seconds: float) -> SideAnswer:
    return SideAnswer(
        side=answer["side"],
        label=answer["label"],
        text=answer["text"] + delta.text,
        tokens=delta.tokens,
        prompt_tokens=delta.prompt_tokens,
        weights=answer["weights"],
        seconds=seconds,
        done=delta.done,
        finish_reason=delta.finish_reason,
    )
