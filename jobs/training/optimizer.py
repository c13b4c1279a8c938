"""The adapter's exact weights in fp32, on one flat buffer, and how they move."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import Parameter

CLIP_NORM = 1.0
WARM_UP_SHARE = 0.05


def learning_rate_at(step: int, total_steps: int, peak: float) -> float:
    """The rate of step 1 … `total_steps`: a warm-up over 5 % of the steps, then half a cosine to zero."""
    warm_up = max(1, round(WARM_UP_SHARE * total_steps))
    if step <= warm_up:
        return peak * step / warm_up
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / (total_steps - warm_up + 1)))


class AdapterWeights:
    """fp32 masters of adapter parameters that may compute in bf16.

    Steps are too small for bf16 to hold, and sums of many micro-batches too fine; both happen here. One flat
    buffer makes the optimiser one kernel instead of hundreds.
    """

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        self._computing: list[Tensor] = list(parameters)
        flat = torch.cat([parameter.detach().float().flatten() for parameter in self._computing])
        self.gradient = torch.zeros_like(flat)
        self.masters = self._views(flat)
        self._gradients = self._views(self.gradient)
        moved = Parameter(flat)
        moved.grad = self.gradient
        self._optimizer = torch.optim.AdamW([moved], lr=0.0, weight_decay=0.0, fused=True)

    def collect(self) -> None:
        """Add the gradients of one micro-batch, and free them."""
        for parameter, gradient in zip(self._computing, self._gradients, strict=True):
            if parameter.grad is not None:
                gradient += parameter.grad
                parameter.grad = None

    def discard(self) -> None:
        """Forget what was collected."""
        self.gradient.zero_()

    def step(self, learning_rate: float) -> float:
        """Move by one clipped AdamW step, and return the gradient's norm before clipping.

        Nothing moves where the norm is no finite number.
        """
        norm = float(self.gradient.norm())
        if math.isfinite(norm):
            self.gradient.mul_(min(1.0, CLIP_NORM / (norm + 1e-6)))
            self._optimizer.param_groups[0]["lr"] = learning_rate
            self._optimizer.step()
            with torch.no_grad():
                torch._foreach_copy_(self._computing, self.masters)
        self.discard()
        return norm

    def _views(self, flat: Tensor) -> list[Tensor]:
        sizes = [parameter.numel() for parameter in self._computing]
        parts = zip(torch.split(flat, sizes), self._computing, strict=True)
        return [part.view_as(parameter) for part, parameter in parts]
