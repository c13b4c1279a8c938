"""Linear layers of any model in which every row of a batch goes through adapters of its own.

The matrices of all adapters stand side by side in one pair, and a row's shares say how much of each it takes:
nothing (the base), one at some strength, or several (a blend). Nothing is copied or grouped row by row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from jobs.generation.adapter_files import Change

# How much of each adapter a row takes, by the adapter's name.
Shares = Mapping[str, float]


@dataclass(frozen=True)
class Place:
    """One adapter, DoRA's at one strength, among the columns that all mixed layers share."""

    name: str
    strength: float | None = None


@dataclass
class Mix:
    """What the rows of the batch at hand take; read by every mixed layer of a model.

    Attributes:
        places: the adapters in the order of `shares`' columns.
        shares: (rows, places), or None while no row takes anything.
    """

    places: list[Place] = field(default_factory=list)
    shares: Tensor | None = None


class MixedLinear(nn.Module):
    """A frozen linear layer with the changes of any number of adapters beside it."""

    def __init__(self, base: Any, mix: Mix) -> None:
        super().__init__()
        self.base_layer = base
        self._mix = mix
        self._changes: dict[str, Change] = {}
        self._stacked: _Stacked | None = None

    def put(self, name: str, change: Change) -> None:
        """Add an adapter's change, in the number format of the layer."""
        like = self._like()
        self._changes[name] = Change(
            change.a.to(like), change.b.to(like), change.scale, _on(change.lengths, like)
        )

    def remove(self, name: str) -> bool:
        """Forget an adapter; whether any is left."""
        self._changes.pop(name, None)
        return bool(self._changes)

    def stack(self, places: Sequence[Place]) -> None:
        """Lay out what the rows of the next batch can take."""
        own = [(column, place) for column, place in enumerate(places) if place.name in self._changes]
        self._stacked = _Stacked.of(
            [(column, _made(self.base_layer, self._changes[place.name], place)) for column, place in own]
        )

    def forward(self, x: Tensor) -> Tensor:
        """y (rows, tokens, out) from x (rows, tokens, in)."""
        y: Tensor = self.base_layer(x)
        stacked, shares = self._stacked, self._mix.shares
        if stacked is None or shares is None:
            return y
        if len(x) != len(shares):
            raise RuntimeError(f"{len(x)} rows are read where {len(shares)} were laid out")
        # (rows, 1, …), however many dimensions lie between rows and values.
        own = shares[:, stacked.columns].to(x.dtype).view(len(shares), *[1] * (x.dim() - 2), -1)
        down = nn.functional.linear(x, stacked.a) * own
        if stacked.stretch is not None:
            bias = getattr(self.base_layer, "bias", None)
            plain = y if bias is None else y - bias
            taken = (shares[:, stacked.stretched] != 0).to(x.dtype) @ stacked.stretch
            y = y + plain * taken.view(len(shares), *[1] * (x.dim() - 2), -1)
        return y + nn.functional.linear(down, stacked.b)

    def _like(self) -> Tensor:
        weight = self.base_layer.weight
        dtype = weight.dtype if weight.is_floating_point() else torch.get_default_dtype()
        compute = getattr(self.base_layer, "compute_dtype", None) or dtype
        return torch.empty(0, dtype=compute, device=weight.device)


@dataclass(frozen=True)
class _Stacked:
    """The matrices of all places: `columns` (rank,) says whose share each column of the joint rank takes.

    `stretch` (places with DoRA, out) is what DoRA adds to the factor 1 of the frozen product, `stretched` their
    columns of the shares.
    """

    a: Tensor
    b: Tensor
    columns: Tensor
    stretch: Tensor | None
    stretched: Tensor

    @classmethod
    def of(cls, made: Sequence[tuple[int, tuple[Tensor, Tensor, Tensor | None]]]) -> _Stacked | None:
        if not made:
            return None
        device = made[0][1][0].device
        columns = [column for column, (a, _, _) in made for _ in range(len(a))]
        stretched = [(column, factor) for column, (_, _, factor) in made if factor is not None]
        return cls(
            torch.cat([a for _, (a, _, _) in made]),
            torch.cat([b for _, (_, b, _) in made], dim=1),
            torch.tensor(columns, device=device),
            torch.stack([factor for _, factor in stretched]) if stretched else None,
            torch.tensor([column for column, _ in stretched], dtype=torch.long, device=device),
        )


def _made(base: Any, change: Change, place: Place) -> tuple[Tensor, Tensor, Tensor | None]:
    """A and B with the scale in A; of DoRA also with the strength and the rows' lengths, and their stretch.

    Raises ValueError when a DoRA adapter has no strength.
    """
    a = change.a * change.scale
    if change.lengths is None:
        return a, change.b, None
    if place.strength is None:
        raise ValueError(f"the DoRA adapter {place.name} is laid out for one strength at a time")
    # Only a DoRA adapter on a quantized model needs it.
    from peft.utils.integrations import dequantize_module_weight

    weight = dequantize_module_weight(base).to(change.a.dtype)
    weight = weight.T if isinstance(base, Conv1D) else weight
    # As PEFT computes lengths in every pass, so that a strength of 0 is exactly the base.
    of_base = torch.linalg.norm(weight, dim=1).to(weight.dtype).float()
    changed = weight + place.strength * change.scale * (change.b @ change.a)
    of_changed = torch.linalg.norm(changed, dim=1).to(weight.dtype).float()
    whole = place.strength == 1.0
    lengths = change.lengths if whole else of_base.lerp(change.lengths, place.strength)
    factor = lengths / of_changed
    return (
        a,
        (change.b * factor[:, None] * place.strength).to(change.b.dtype),
        (factor - 1).to(change.b.dtype),
    )


def _on(values: Tensor | None, like: Tensor) -> Tensor | None:
    return None if values is None else values.to(like.device)
