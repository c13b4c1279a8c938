"""Linear layers with LoRA inside the frozen matrix, so that an adapter costs almost no product of its own.

y = Wx + s·B(Ax) is one product of [x, s·Ax] with [W, B], and its gradient at x one of [dy, Bᵀdy] with [W; s·A].
Only the thin products with A and B themselves remain. Layers that read the same input (query, key, value; gate,
up) share one such matrix, and all adapters trained side by side share it too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from jobs.training.nf4 import Packed, PackedLinear, pack
from jobs.training.optimizer import AdapterWeights

# Rows start on 16 bytes, which the fastest kernels ask for; on 128 where memory is no matter: a Qwen3-0.6B shape
# then trained 16 % faster on an H100.
COLUMNS_MULTIPLE, COLUMNS_MULTIPLE_GPU = 8, 64


@dataclass(frozen=True)
class Part:
    """One adapter's pair of matrices on one of the fused layers.

    Attributes:
        adapter: which of the adapters trained side by side.
        a_names, b_names: parameter names of A and B by adapted decoder layer, lowest first.
        rows: the outputs of the fused matrix that B changes.
        columns: its share of the fused rank.
        scale: alpha / rank, or alpha / √rank.
    """

    adapter: int
    a_names: tuple[str, ...]
    b_names: tuple[str, ...]
    rows: slice
    columns: slice
    scale: float


class AdaptedLinear:
    """The fused layers of one kind, one matrix [[W, B], [s·A, unused]] for each decoder layer.

    Attributes:
        rank: the sum of all parts' ranks, rounded up.
        off: compute as if there were no adapters.
    """

    def __init__(
        self,
        sizes: tuple[int, int, int],
        parts: Sequence[Part],
        adapters: int,
        first_layer: int,
        like: Tensor,
        in_4_bits: bool = False,
        columns: int = 0,
    ) -> None:
        """An empty stack of `sizes` (layers, outputs, inputs) in the format and on the device of `like`.

        Args:
            adapters: how many are trained side by side; the tokens of each follow those of the one before.
            first_layer: the lowest decoder layer that is adapted.
            in_4_bits: keep the frozen part packed, and unpack it for every product.
            columns: the least room for adapters, whatever the parts need.
        """
        self.layers, self.outputs, self.inputs = sizes
        used = max((part.columns.stop for part in parts), default=0)
        used = max(used, columns)
        multiple = COLUMNS_MULTIPLE_GPU if like.is_cuda and not in_4_bits else COLUMNS_MULTIPLE
        self.rank = -(-used // multiple) * multiple
        self.first_layer = first_layer
        self.off = self._bare = False
        self._in_4_bits = in_4_bits
        self._packed: list[list[Packed]] = []
        whole = (self.outputs + self.rank, self.inputs + self.rank)
        self._matrix = like.new_zeros(1 if in_4_bits else self.layers, *whole)
        # Views of the matrices, or, where one place serves all layers, what is copied into it.
        self._a = self._matrix[:, self.outputs :, : self.inputs]
        self._b = self._matrix[:, : self.outputs, self.inputs :]
        if in_4_bits:
            self._a = like.new_zeros(self.layers, self.rank, self.inputs)
            self._b = like.new_zeros(self.layers, self.outputs, self.rank)
        self._bias: Tensor | None = None
        # Where nothing is trained there are no gradients.
        learning = self.layers if parts else 0
        self._d_a = like.new_zeros(learning, self.rank, self.inputs)
        self._d_b = like.new_zeros(learning, self.outputs, self.rank)
        self._parts = list(parts)
        self._mask = _own_columns(parts, adapters, self.rank, like) if adapters > 1 and parts else None

    def take_over(self, layer: int, linears: Sequence[nn.Linear]) -> list[nn.Module]:
        """Take the frozen weights of one layer over; returns layers that compute the same from here.

        Layers are taken over in order.
        """
        start = 0
        replacements: list[nn.Module] = []
        self._packed.append([])
        for linear in linears:
            rows = slice(start, start + linear.out_features)
            start = rows.stop
            bias = None if linear.bias is None else linear.bias.detach().to(self._matrix.device)
            if bias is not None:
                if self._bias is None:
                    self._bias = self._matrix.new_zeros(self.layers, self.outputs)
                self._bias[layer, rows] = bias
            weight = linear.weight.detach().to(self._matrix.device)
            if self._in_4_bits:
                packed = pack(weight)
                self._packed[layer].append(packed)
                replacements.append(PackedLinear(packed, bias, weight.dtype))
            else:
                view = self._matrix[layer, rows, : self.inputs]
                view.copy_(weight)
                linear.weight.data = view
                replacements.append(linear)
        return replacements

    # -- computing -------------------------------------------------------------------------------------------

    def forward(self, layer: int, wide: Tensor) -> Tensor:
        """y (tokens, out) from x in the first columns of `wide` (tokens, in + rank), whose rest is filled."""
        matrix = self._of(layer)
        if self._bare:
            bare, weight = wide[:, : self.inputs], matrix[: self.outputs, : self.inputs]
            return bare @ weight.T if self._bias is None else torch.addmm(self._bias[layer], bare, weight.T)
        self.fill_forward(layer, wide)
        if self._bias is not None:
            return torch.addmm(self._bias[layer], wide, matrix[: self.outputs].T)
        return wide @ matrix[: self.outputs].T

    def fill_forward(self, layer: int, wide: Tensor) -> None:
        """Write s·Ax behind x; nothing while the adapters are off."""
        if self.off:
            wide[:, self.inputs :] = 0
        elif self.rank:
            down = wide[:, self.inputs :]
            torch.mm(wide[:, : self.inputs], self._a[layer].T, out=down)
            self._keep_own(down)

    def backward(self, layer: int, d_wide: Tensor, wide: Tensor, through: bool = True) -> Tensor | None:
        """The gradient at x (tokens, in), or None unless `through`; those of A and B are kept here.

        Args:
            d_wide: (tokens, out + rank), the gradient at y in the first columns; the rest is filled.
            wide: what `forward` read.
        """
        if self.rank:
            d_y, d_down = d_wide[:, : self.outputs], d_wide[:, self.outputs :]
            torch.mm(d_y, self._b[layer], out=d_down)
            self._keep_own(d_down)
            torch.mm(d_down.T, wide[:, : self.inputs], out=self._d_a[layer])
            torch.mm(d_y.T, wide[:, self.inputs :], out=self._d_b[layer])
        return d_wide @ self._of(layer)[:, : self.inputs] if through else None

    # -- answering -------------------------------------------------------------------------------------------

    @contextmanager
    def taking(self, gains: Tensor | None) -> Iterator[None]:
        """Meanwhile `forward` lets every token pass through the columns by its own `gains` (tokens, rank).

        Args:
            gains: None takes nothing: the base model's product, as fast as without adapters.
        """
        before = self._mask, self._bare
        self._mask = self._mask if gains is None else gains[:, None]
        self._bare = gains is None
        try:
            yield
        finally:
            self._mask, self._bare = before

    def gains(self, shares: Tensor) -> Tensor:
        """(rows, rank) for rows that take `shares` (rows, adapters) of the adapters that are trained here."""
        own = _own_columns(self._parts, shares.shape[1], self.rank, self._matrix)
        return shares.to(own) @ own[:, 0]

    def of(self, layer: int) -> tuple[Tensor, Tensor | None]:
        """The matrix (out + rank, in + rank) and the bias (out,) of a layer that is not packed."""
        assert not self._in_4_bits
        return self._matrix[layer], None if self._bias is None else self._bias[layer]

    @torch.no_grad()
    def write(self, layer: int, rows: slice, columns: slice, a: Tensor, b: Tensor) -> None:
        """Lay s·A (rank, in) and B (rows, rank) of one layer into free columns."""
        self._a[layer, columns] = a.to(self._a)
        self._b[layer, rows, columns] = b.to(self._b)

    @torch.no_grad()
    def erase(self, columns: slice) -> None:
        """Free columns."""
        self._a[:, columns] = 0
        self._b[:, :, columns] = 0

    @torch.no_grad()
    def widen(self, rank: int) -> None:
        """Make room for adapters of `rank` columns in all; what views the frozen weights has to be told."""
        rank = -(-rank // COLUMNS_MULTIPLE) * COLUMNS_MULTIPLE
        assert not self._in_4_bits and not self._parts and rank >= self.rank
        matrix = self._matrix.new_zeros(self.layers, self.outputs + rank, self.inputs + rank)
        matrix[:, : self.outputs + self.rank, : self.inputs + self.rank] = self._matrix
        self.rank, self._matrix = rank, matrix
        self._a = matrix[:, self.outputs :, : self.inputs]
        self._b = matrix[:, : self.outputs, self.inputs :]

    def _of(self, layer: int) -> Tensor:
        """The whole matrix (out + rank, in + rank) of a layer."""
        if not self._in_4_bits:
            return self._matrix[layer]
        matrix, start = self._matrix[0], 0
        for packed in self._packed[layer]:
            packed.unpack_into(matrix[start : start + packed.outputs, : self.inputs])
            start += packed.outputs
        matrix[self.outputs :, : self.inputs] = self._a[layer]
        matrix[: self.outputs, self.inputs :] = self._b[layer]
        return matrix

    def _keep_own(self, down: Tensor) -> None:
        """Every adapter's tokens pass only through its own columns."""
        if self._mask is not None:
            down.view(len(self._mask), -1, self.rank).mul_(self._mask)

    # -- between the masters and here ------------------------------------------------------------------------

    @torch.no_grad()
    def refresh(self, weights: AdapterWeights) -> None:
        """Copy the masters in."""
        for part in self._parts:
            a, b = self._stacked(weights.master, weights.masters[part.adapter], part)
            layers = slice(self.first_layer, self.first_layer + len(part.a_names))
            self._a[layers, part.columns] = a * part.scale
            self._b[layers, part.rows, part.columns] = b

    @torch.no_grad()
    def collect(self, weights: AdapterWeights) -> None:
        """Add the gradients of the last backward pass to the masters'."""
        for part in self._parts:
            a, b = self._stacked(weights.gradient, weights.gradients[part.adapter], part)
            layers = slice(self.first_layer, self.first_layer + len(part.a_names))
            a.add_(self._d_a[layers, part.columns], alpha=part.scale)
            b.add_(self._d_b[layers, part.rows, part.columns])

    def _stacked(self, flat: Tensor, named: dict[str, Tensor], part: Part) -> tuple[Tensor, Tensor]:
        """The part's A (layers, rank, in) and B (layers, out, rank) as views of the flat buffer."""
        views = []
        for names in (part.a_names, part.b_names):
            first = named[names[0]]
            shape = (len(names), *first.shape)
            views.append(flat.as_strided(shape, (first.numel(), first.shape[1], 1), first.storage_offset()))
        return views[0], views[1]


def _own_columns(parts: Sequence[Part], adapters: int, rank: int, like: Tensor) -> Tensor:
    """(adapters, 1, rank), 1 where a column of the fused rank belongs to the adapter."""
    mask = like.new_zeros(adapters, 1, rank)
    for part in parts:
        mask[part.adapter, 0, part.columns] = 1
    return mask
