"""The one base model that the server keeps in memory, its adapters, and the device that they occupy."""

from __future__ import annotations

import gc
import threading
import time
from contextlib import ExitStack

import torch

from jobs import gpu
from jobs.base_models import catalogue
from jobs.generation.engine import Delta, Engine, Request
from jobs.serving.schema import GenerationRequest, SideAnswer, SideRequest
from storage import files
from storage.errors import StudioError

# Loaded adapters beyond these leave when other ones are asked for; they are small, but not nothing.
KEPT_ADAPTERS = 4


class Generation:
    """One request, its answers so far, and the ways to end it early."""

    def __init__(self, request: GenerationRequest) -> None:
        self.request = request
        self.answers: list[SideAnswer] | None = None
        self.started = False
        self.stop = threading.Event()
        # The model is taken away: the caller is told so, and gets no half answer for a whole one.
        self.given_up = False


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

    def answer(self, generation: Generation) -> None:
        """Fill in `generation.answers` until all sides are done.

        Raises: Busy when a job has the device or takes it, StudioError when the model is missing or a prompt
        is too long.
        """
        self._check_not_given_up(generation)
        generation.started = True
        request = generation.request
        engine = self._engine_of(request.base_model_id)
        # A job may have come while the model was loaded.
        self._check_not_given_up(generation)
        self._load_adapters(engine, [side.adapter_id for side in request.requests if side.adapter_id])
        begun = time.monotonic()
        answers = [_unanswered(side, self._weights[side.adapter_id]) for side in request.requests]
        for deltas in engine.generate(
            [Request(side.side, side.adapter_id, side.messages) for side in request.requests],
            max_new_tokens=request.max_new_tokens,
            temperature=request.temperature,
            seed=request.seed,
            strength=request.strength,
            should_stop=generation.stop.is_set,
        ):
            seconds = time.monotonic() - begun
            # New records and a new list: the thread that sends them may still read the ones before.
            answers = list(answers)
            for delta in deltas:
                answers[delta.row] = _grown(answers[delta.row], delta, seconds)
            generation.answers = answers
        self._check_not_given_up(generation)

    def free(self) -> None:
        """Forget the model and let go of the device."""
        self._engine, self.base_model_id, self.adapters, self._weights = None, None, [], {}
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self._held.close()

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

    def _load_adapters(self, engine: Engine, wanted: list[str]) -> None:
        """Put the wanted adapters on the base; the longest unused others leave when there are many."""
        for adapter_id in wanted:
            engine.load_adapter(adapter_id, files.adapter_folder(adapter_id))
            if adapter_id not in self._weights:
                self._weights[adapter_id] = engine.weights_of(adapter_id)
            self.adapters = [loaded for loaded in self.adapters if loaded != adapter_id] + [adapter_id]
        while len(self.adapters) > max(KEPT_ADAPTERS, len(set(wanted))):
            engine.unload_adapter(self.adapters.pop(0))

    def _check_not_given_up(self, generation: Generation) -> None:
        if generation.given_up:
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
