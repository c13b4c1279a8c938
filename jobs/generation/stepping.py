"""How one more token of every row is computed on the device at hand."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from jobs.generation.kernels import compiled
from jobs.generation.lean import Gains, LeanReader, Step
from jobs.generation.memory import Memory


def step_of(reader: LeanReader) -> Callable[[Memory], Step | None]:
    """What makes the fastest step for a memory; it makes None where plain torch is all there is."""
    made: dict[int, tuple[Memory, Step | None]] = {}

    def step(memory: Memory) -> Step | None:
        if id(memory) not in made:
            made.clear()
            made[id(memory)] = memory, _made(reader, memory)
        return made[id(memory)][1]

    return step


def _made(reader: LeanReader, memory: Memory) -> Step | None:
    model = reader.model
    if reader.device.type == "cuda":
        # Triton is there only where a GPU is.
        from jobs.generation.recorded import RecordedStep

        return RecordedStep(reader, memory)
    if reader.device.type != "cpu" or compiled.load(model.embeddings.dtype) is None:
        return None
    fast = compiled.CompiledStep(model, memory, reader.turns(memory.room))

    def step(tokens: Tensor, slots: Tensor, lengths: Tensor, gains: Gains) -> Tensor:
        if len(tokens) <= compiled.MOST_ROWS:
            return fast(tokens, slots, lengths, gains)
        return reader.step(tokens, memory, slots, lengths, gains)

    return step
