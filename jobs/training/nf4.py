"""Frozen weights in 4 bits: sixteen levels placed where a normal distribution has its values.

The data type NF4 of Dettmers et al. 2023 (arXiv 2305.14314, section 3): blocks of 64 values share one scale, kept
here in bf16, which makes 4.25 bits a value.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from jobs.training import kernels

BLOCK_VALUES = 64
# Dettmers et al. 2023, appendix E.
LEVELS = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
    -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
    0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip
# Rows that are packed at a time: their distances to all levels are in memory at once.
ROWS_AT_ONCE = 256


@dataclass(frozen=True)
class Packed:
    """A matrix (outputs, inputs) in 4 bits.

    Attributes:
        codes: (outputs, inputs / 2) uint8, the even column's level in the low half.
        scales: (outputs, inputs / 64) bf16, the largest magnitude of each block.
    """

    codes: Tensor
    scales: Tensor

    @property
    def outputs(self) -> int:
        """Rows of the matrix."""
        return len(self.codes)

    def unpack_into(self, target: Tensor) -> None:
        """Write the matrix into `target` (outputs, inputs), whose rows may lie apart."""
        kernels.for_device(target.device).unpack_nf4(self.codes, self.scales, levels(target.device), target)

    def unpacked(self, dtype: torch.dtype) -> Tensor:
        """The matrix (outputs, inputs)."""
        target = torch.empty(self.outputs, 2 * self.codes.shape[1], dtype=dtype, device=self.codes.device)
        self.unpack_into(target)
        return target


_levels: dict[torch.device, Tensor] = {}


def levels(device: torch.device) -> Tensor:
    """The sixteen levels (16,) in fp32 on a device; the same tensor every time, so that graphs may hold it."""
    if device not in _levels:
        _levels[device] = torch.tensor(LEVELS, device=device)
    return _levels[device]


@torch.no_grad()
def pack(weight: Tensor) -> Packed:
    """A matrix (outputs, inputs) in 4 bits; inputs are a multiple of 64."""
    parts = [_packed_rows(rows) for rows in torch.split(weight, ROWS_AT_ONCE)]
    return Packed(torch.cat([codes for codes, _ in parts]), torch.cat([scales for _, scales in parts]))


def _packed_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    blocks = rows.float().view(len(rows), -1, BLOCK_VALUES)
    # Rounded before use, so that packing and unpacking mean the same scale.
    scales = blocks.abs().amax(2).bfloat16()
    unit = blocks / scales.float().clamp(min=1e-30)[:, :, None]
    table = levels(rows.device)
    nearest = torch.bucketize(unit, (table[1:] + table[:-1]) / 2).to(torch.uint8).flatten(1)
    return nearest[:, 0::2] | (nearest[:, 1::2] << 4), scales


class PackedLinear(nn.Module):
    """A frozen linear layer that unpacks its matrix for every product, forward and backward."""

    def __init__(self, packed: Packed, bias: Tensor | None, dtype: torch.dtype) -> None:
        super().__init__()
        self.packed, self.bias, self.dtype = packed, bias, dtype
        self.out_features, self.in_features = packed.outputs, 2 * packed.codes.shape[1]
        # PEFT asks a layer's weight for its device and format.
        self.weight = nn.Parameter(packed.scales.to(dtype)[:0], requires_grad=False)

    def forward(self, values: Tensor) -> Tensor:
        """(…, inputs) to (…, outputs)."""
        product: Tensor = _Product.apply(values, self.packed, self.dtype)  # type: ignore[no-untyped-call]
        return product if self.bias is None else product + self.bias


class _Product(torch.autograd.Function):
    """x Wᵀ that keeps W in 4 bits until the backward pass."""

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx, values: Tensor, packed: Packed, dtype: torch.dtype
    ) -> Tensor:
        ctx.packed, ctx.dtype = packed, dtype  # type: ignore[attr-defined]
        return values @ packed.unpacked(dtype).T

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0] @ ctx.packed.unpacked(ctx.dtype), None, None  # type: ignore[attr-defined]
