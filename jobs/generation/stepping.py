"""How one more token of every row is computed on the device at hand."""

from __future__ import annotations

from torch import Tensor

from jobs.generation.kernels import compiled
from jobs.generation.lean import Gains, LeanReader, Step
from jobs.generation.memory import Memory


def step_of(reader: LeanReader, memory: Memory) -> Step | None:
    """The fastest step for a memory; None where plain torch is all there is."""
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
