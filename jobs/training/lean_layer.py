"""One decoder layer of the Llama family, forward and backward written out, over all tokens of a pack.

Nothing is computed or kept that the adapters' gradients do not need: no gradients of frozen weights, and of the
values between two matrix products only what the backward pass reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from jobs.training.adapted_linear import AdaptedLinear
from jobs.training.attention import attend_backward, attend_forward
from jobs.training.packing import Layout


@dataclass(frozen=True)
class Sizes:
    """What a layer has to know beside its weights."""

    heads: int
    kv_heads: int
    head_size: int
    eps: float
    scale: float


@dataclass(frozen=True)
class Positions:
    """Where every token stands: the turn of its position (tokens, rotated), and which tokens it sees."""

    cos: Tensor
    sin: Tensor
    layout: Layout

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float
    ) -> tuple[Tensor, Any]:
        """What every token reads from those that it sees (tokens, heads, head_size), and what is kept besides.

        Answers (`jobs.generation.lean`) keep keys and values here, and read earlier ones.
        """
        del layer
        return attend_forward(query, key, value, self.layout, scale)


@dataclass
class Kept:
    """What a layer's forward pass leaves for its backward pass: tensors, or None for what is computed again there."""

    total: Tensor
    inverse_rms: Tensor
    qkv: Any = None
    turned: Any = None
    head_inverse_rms: Any = None
    attended: Any = None
    normed: Any = None
    mixed: Any = None
    middle: Any = None
    middle_inverse_rms: Any = None
    middle_normed: Any = None
    gate_up: Any = None
    product: Any = None


@dataclass(frozen=True)
class LayerWeights:
    """The weights of all layers by kind; norms are (layers, hidden), head norms (layers, head_size) or None."""

    qkv: AdaptedLinear
    out: AdaptedLinear
    gate_up: AdaptedLinear
    down: AdaptedLinear
    first_norm: Tensor
    second_norm: Tensor
    query_norm: Tensor | None
    key_norm: Tensor | None
    turns: tuple[bool, ...]


class LeanLayers:
    """All decoder layers; `activations` says what a forward pass keeps.

    "keep" keeps all that is read again, "selective" computes norms and activation functions once more instead,
    "full" keeps nothing but the layer's input.
    """

    def __init__(self, sizes: Sizes, weights: LayerWeights, kernels: ModuleType) -> None:
        self.sizes, self.weights, self._kernels = sizes, weights, kernels
        self.activations = "keep"

    def forward(
        self, layer: int, residual: Tensor, delta: Tensor | None, positions: Positions, learn: bool
    ) -> tuple[Tensor, Tensor, Kept | None]:
        """The layer's input, in two parts whose sum it is, to its output, in two parts as well.

        Args:
            residual, delta: (tokens, hidden).
            learn: whether a backward pass will follow; otherwise nothing is kept.
        """
        weights = self.weights
        total, normed, inverse_rms = self._kernels.add_norm(
            residual, delta, weights.first_norm[layer], self.sizes.eps, weights.qkv.rank
        )
        kept = Kept(total, inverse_rms, normed=normed)
        change = self._inside(layer, kept, positions)
        middle = kept.middle
        if not learn:
            return middle, change, None
        if self.activations == "full":
            kept = Kept(total, inverse_rms)
        elif self.activations == "selective":
            kept.normed = kept.middle_normed = kept.product = None
        return middle, change, kept

    def _inside(self, layer: int, kept: Kept, positions: Positions) -> Tensor:
        """The layer from its normed input on; what it computes is written into `kept`."""
        weights, kernels = self.weights, self._kernels
        kept.qkv = weights.qkv.forward(layer, kept.normed)
        query, key, value = self._heads(layer, kept, positions)
        mixed, kept.attended = positions.attend(layer, query, key, value, self.sizes.scale)
        kept.mixed = kernels.wide_copy(mixed.flatten(1), weights.out.rank)
        kept.middle, kept.middle_normed, kept.middle_inverse_rms = kernels.add_norm(
            kept.total,
            weights.out.forward(layer, kept.mixed),
            weights.second_norm[layer],
            self.sizes.eps,
            weights.gate_up.rank,
        )
        kept.gate_up = weights.gate_up.forward(layer, kept.middle_normed)
        kept.product = kernels.swiglu(kept.gate_up, weights.down.rank)
        return weights.down.forward(layer, kept.product)

    def _heads(self, layer: int, kept: Kept, positions: Positions) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (tokens, heads, head_size), keys and values (tokens, kv_heads, head_size), turned."""
        sizes, weights = self.sizes, self.weights
        turned = kept.qkv
        if weights.query_norm is not None and weights.key_norm is not None:
            turned, kept.head_inverse_rms = self._kernels.norm_rotate(
                kept.qkv,
                weights.query_norm[layer],
                weights.key_norm[layer],
                sizes.eps,
                positions.cos,
                positions.sin,
                sizes.heads,
                sizes.kv_heads,
            )
        elif weights.turns[layer]:
            self._kernels.rotate_(
                kept.qkv, positions.cos, positions.sin, sizes.heads + sizes.kv_heads, sizes.head_size
            )
        kept.turned = turned
        return self._split(kept)

    def _split(self, kept: Kept) -> tuple[Tensor, Tensor, Tensor]:
        sizes = self.sizes
        both = sizes.heads + sizes.kv_heads
        turned = kept.turned[:, : both * sizes.head_size].unflatten(1, (both, sizes.head_size))
        value = kept.qkv[:, both * sizes.head_size :].unflatten(1, (sizes.kv_heads, sizes.head_size))
        return turned[:, : sizes.heads], turned[:, sizes.heads :], value

    def backward(
        self, layer: int, d_wide: Tensor, kept: Kept, positions: Positions, through: bool
    ) -> Tensor | None:
        """From the gradient at the layer's output to that at its input, both (tokens, hidden + down's rank).

        The second is None unless `through`: below the lowest adapted layer nothing learns.
        """
        weights, kernels, hidden = self.weights, self._kernels, kept.total.shape[1]
        self._complete(layer, kept, positions)
        d_product = weights.down.backward(layer, d_wide, kept.product)
        kept.product = None
        d_gate_up = kernels.swiglu_backward(d_product, kept.gate_up, weights.gate_up.rank)
        kept.gate_up = d_product = None
        d_normed = weights.gate_up.backward(layer, d_gate_up, kept.middle_normed)
        kept.middle_normed = d_gate_up = None
        d_middle = kernels.norm_backward(
            d_normed,
            kept.middle,
            kept.middle_inverse_rms,
            weights.second_norm[layer],
            d_wide[:, :hidden],
            weights.out.rank,
        )
        d_mixed = weights.out.backward(layer, d_middle, kept.mixed)
        assert d_mixed is not None
        d_qkv = self._attention_backward(layer, d_mixed, kept, positions)
        d_normed = weights.qkv.backward(layer, d_qkv, kept.normed, through)
        if not through:
            return None
        below: Tensor = kernels.norm_backward(
            d_normed,
            kept.total,
            kept.inverse_rms,
            weights.first_norm[layer],
            d_middle[:, :hidden],
            weights.down.rank,
        )
        return below

    def _attention_backward(self, layer: int, d_mixed: Tensor, kept: Kept, positions: Positions) -> Tensor:
        """The gradient at query, key and value before their turn, (tokens, width + rank)."""
        sizes, weights, kernels = self.sizes, self.weights, self._kernels
        width = sizes.heads * sizes.head_size
        shape = (sizes.heads, sizes.head_size)
        d_heads = attend_backward(
            torch.unflatten(d_mixed, 1, shape),
            *self._split(kept),
            kept.mixed[:, :width].unflatten(1, shape),
            kept.attended,
            positions.layout,
            sizes.scale,
        )
        cos, sin, rank = positions.cos, positions.sin, weights.qkv.rank
        if kept.head_inverse_rms is not None:
            assert weights.query_norm is not None and weights.key_norm is not None
            head_norms = weights.query_norm[layer], weights.key_norm[layer]
            turned_back: Tensor = kernels.norm_rotate_backward(
                *d_heads, kept.qkv, kept.head_inverse_rms, *head_norms, cos, sin, rank
            )
            return turned_back
        if weights.turns[layer]:
            turned_back = kernels.rotate_backward(*d_heads, cos, sin, rank)
            return turned_back
        beside: Tensor = kernels.wide_copy(torch.cat([part.flatten(1) for part in d_heads], dim=1), rank)
        return beside

    def _complete(self, layer: int, kept: Kept, positions: Positions) -> None:
        """Compute again what was not kept."""
        weights, kernels = self.weights, self._kernels
        if kept.normed is None:
            kept.normed = kernels.norm_again(
                kept.total, kept.inverse_rms, weights.first_norm[layer], weights.qkv.rank
            )
            if kept.qkv is None:
                self._inside(layer, kept, positions)
                return
            weights.qkv.fill_forward(layer, kept.normed)
        if kept.product is None:
            kept.middle_normed = kernels.norm_again(
                kept.middle, kept.middle_inverse_rms, weights.second_norm[layer], weights.gate_up.rank
            )
            weights.gate_up.fill_forward(layer, kept.middle_normed)
            kept.product = kernels.swiglu(kept.gate_up, weights.down.rank)
            weights.down.fill_forward(layer, kept.product)
