"""One more token of every row as a recorded CUDA graph: one for each number of rows, for all lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from jobs.generation.kernels import fused
from jobs.generation.lean import Gains, LeanReader
from jobs.generation.memory import Memory
from jobs.training.lean_layer import Positions
from jobs.training.packing import Layout
from jobs.training.recording import recorded

# So many rows and fewer have a recording each; more are filled up to a multiple, with rows that nobody reads.
EXACT_ROWS = 8


@dataclass(frozen=True)
class _Stepping(Positions):
    memory: Memory
    slots: Tensor
    lengths: Tensor

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float
    ) -> tuple[Tensor, Any]:
        """What each row's new token reads from all of its row; it is remembered."""
        keys, values = self.memory.keys[layer], self.memory.values[layer]
        return fused.look_back(query, key, value, keys, values, self.slots, self.lengths, scale), None


@dataclass
class _Recorded:
    """A graph, what it reads, and what it fills."""

    graph: torch.cuda.CUDAGraph
    tokens: Tensor
    slots: Tensor
    lengths: Tensor
    gains: list[Tensor] | None
    scores: Tensor


class RecordedStep:
    """See `jobs.generation.lean.Step`; recordings hold as long as neither the memory nor a matrix moves."""

    def __init__(self, reader: LeanReader, memory: Memory) -> None:
        """The memory's last slot is for rows that fill up."""
        self._reader, self._memory = reader, memory
        self._turns = reader.turns(memory.room)
        self._recorded: dict[tuple[int, bool], _Recorded] = {}

    def __call__(self, tokens: Tensor, slots: Tensor, lengths: Tensor, gains: Gains) -> Tensor:
        """Logits (rows, vocabulary) in fp32 behind one more token (rows,) of every row."""
        rows = len(tokens)
        filled = rows if rows <= EXACT_ROWS else -(-rows // EXACT_ROWS) * EXACT_ROWS
        key = filled, gains is not None
        if key not in self._recorded:
            self._recorded[key] = self._record(filled, gains)
        one = self._recorded[key]
        one.slots[rows:], one.lengths[rows:] = self._memory.slots - 1, 0
        into: list[Tensor] = [one.tokens[:rows], one.slots[:rows], one.lengths[:rows]]
        torch._foreach_copy_(into, [tokens, slots, lengths])
        if one.gains is not None and gains is not None:
            torch._foreach_copy_([own[:rows] for own in one.gains], list(gains))
        one.graph.replay()
        return one.scores[:rows]

    def _record(self, rows: int, gains: Sequence[Tensor] | None) -> _Recorded:
        device = self._reader.device
        tokens = torch.zeros(rows, dtype=torch.long, device=device)
        slots, lengths = torch.full_like(tokens, self._memory.slots - 1), torch.zeros_like(tokens)
        own = None if gains is None else [gain.new_zeros(rows, gain.shape[1]) for gain in gains]
        graph, scores = recorded(lambda: self._step(tokens, slots, lengths, own))
        return _Recorded(graph, tokens, slots, lengths, own, scores)

    def _step(self, tokens: Tensor, slots: Tensor, lengths: Tensor, gains: Gains) -> Tensor:
        cos, sin = (side[lengths] for side in self._turns)
        unused = Layout((), lengths, lengths, 0, 0)
        positions = _Stepping(cos, sin, unused, self._memory, slots, lengths)
        return self._reader.logits(self._reader.through(tokens, positions, gains, fused.narrow))
