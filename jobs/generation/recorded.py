"""One more token of every row as a recorded CUDA graph: one for each number of rows, for all lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from jobs.generation.kernels import fused
from jobs.generation.lean import Gains, LeanReader
from jobs.generation.memory import Memory
from jobs.training.adapted_linear import AdaptedLinear
from jobs.training.kernels import fused as plain
from jobs.training.lean_layer import Kept, LayerWeights, LeanLayers, Positions
from jobs.training.packing import Layout
from jobs.training.recording import recorded

# So many rows and fewer have a recording each; more are filled up to a multiple, with rows that nobody reads.
EXACT_ROWS = 8


@dataclass(frozen=True)
class _Stepping(Positions):
    memory: Memory
    slots: Tensor
    lengths: Tensor


class _SteppingLayers(LeanLayers):
    """Layers in which what makes a matrix's input also computes what adapters read of it."""

    def __init__(self, weights: LayerWeights, like: LeanLayers, gains: Gains) -> None:
        super().__init__(like.sizes, weights, plain)
        kinds = (weights.qkv, weights.out, weights.gate_up, weights.down)
        self._gains = dict(zip(map(id, kinds), gains or (), strict=False))

    def forward(
        self, layer: int, residual: Tensor, delta: Tensor | None, positions: Positions, learn: bool
    ) -> tuple[Tensor, Tensor, None]:
        """As in training; nothing is kept."""
        assert isinstance(positions, _Stepping) and not learn
        weights = self.weights
        total, normed = self._norm(layer, residual, delta, weights.first_norm, weights.qkv)
        heads = self._heads(layer, Kept(total, total, qkv=_product(weights.qkv, layer, normed)), positions)
        mixed = self._look_back(layer, heads, positions)
        change = _product(weights.out, layer, mixed)
        middle, normed = self._norm(layer, total, change, weights.second_norm, weights.gate_up)
        gate_up = _product(weights.gate_up, layer, normed)
        if (taken := self._taken(weights.down, layer)) is None:
            product = plain.swiglu(gate_up, 0)
        else:
            product = fused.swiglu(gate_up, *taken)
        return middle, _product(weights.down, layer, product), None

    def _norm(
        self, layer: int, residual: Tensor, delta: Tensor | None, norms: Tensor, reader: AdaptedLinear
    ) -> tuple[Tensor, Tensor]:
        """The sum, and its norm as `reader` takes it."""
        taken = self._taken(reader, layer)
        if taken is None:
            return plain.add_norm(residual, delta, norms[layer], self.sizes.eps, 0)[:2]
        return fused.add_norm(residual, delta, norms[layer], self.sizes.eps, *taken)

    def _look_back(self, layer: int, heads: tuple[Tensor, Tensor, Tensor], positions: _Stepping) -> Tensor:
        """What each row's new token reads from all of its row; it is remembered."""
        out, memory = self.weights.out, positions.memory
        taken = self._taken(out, layer)
        wide = fused.look_back(
            *heads, memory.keys[layer], memory.values[layer], positions.slots, positions.lengths,
            self.sizes.scale, 0 if taken is None else out.rank,
        )  # fmt: skip
        if taken is not None:
            fused.narrow(wide, *taken)
        return wide

    def _taken(self, linear: AdaptedLinear, layer: int) -> tuple[Tensor, Tensor] | None:
        """s·A of a layer and what the rows take of it; None where no row takes any."""
        gains = self._gains.get(id(linear))
        return None if gains is None else (linear.of(layer)[0][linear.outputs :, : linear.inputs], gains)


def _product(linear: AdaptedLinear, layer: int, wide: Tensor) -> Tensor:
    """y of x, or of [x, gains ⊙ s·Ax]."""
    matrix, bias = linear.of(layer)
    weight = matrix[: linear.outputs, : wide.shape[1]]
    return wide @ weight.T if bias is None else torch.addmm(bias, wide, weight.T)


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
        model = self._reader.model
        cos, sin = (side[lengths] for side in self._turns)
        unused = Layout((), lengths, lengths, 0, 0)
        positions = _Stepping(cos, sin, unused, self._memory, slots, lengths)
        layers = _SteppingLayers(model.layers.weights, model.layers, gains)
        return self._reader.logits(self._reader.through(tokens, positions, layers))
