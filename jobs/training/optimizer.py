"""The adapters' exact weights in fp32, on one flat buffer, and how they move."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

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
    """fp32 masters of one or several adapters that may compute in bf16, and their AdamW.

    Steps are too small for bf16 to hold, and sums of many packs too fine; both happen here. One flat buffer
    makes the optimiser one kernel an adapter instead of hundreds. Adapters trained side by side share
    nothing but the buffer: each is clipped and moved exactly as it would be alone.

    Attributes:
        master: (values,) fp32, all adapters one after the other; in each first every lora_A (and DoRA's
            magnitudes), then every lora_B. An engine that keeps its copy in the same order needs one copy.
        gradient: (values,) fp32, in the same order.
        masters, gradients: for each adapter, by parameter name, views of those two.
        spans: for each adapter, its part of the flat buffers.
    """

    def __init__(self, initial: Sequence[Mapping[str, Tensor]], b_rate_ratio: float = 1.0) -> None:
        """Start from `initial`: for each adapter, by PEFT parameter name as of the adapter "default".

        Args:
            b_rate_ratio: lora_B moves at this many times the rate (LoRA+, arXiv 2402.12354, section 4).
        """
        ordered = [dict(sorted(names.items(), key=lambda item: _is_b(item[0]))) for names in initial]
        with torch.no_grad():
            self.master = torch.cat(
                [value.detach().float().flatten() for names in ordered for value in names.values()]
            )
        self.gradient = torch.zeros_like(self.master)
        self._averages = torch.zeros_like(self.master)
        self._squares = torch.zeros_like(self.master)
        self._b_rate_ratio = b_rate_ratio
        self.masters = _views(self.master, ordered)
        self.gradients = _views(self.gradient, ordered)
        self.spans: list[slice] = []
        self._optimizers: list[torch.optim.AdamW] = []
        start = 0
        for names in ordered:
            sizes = [0, 0]
            for name, value in names.items():
                sizes[_is_b(name)] += value.numel()
            # Two parts of one rate are one part.
            parts = [sum(sizes)] if b_rate_ratio == 1.0 else [size for size in sizes if size]
            self.spans.append(slice(start, start + sum(sizes)))
            self._optimizers.append(self._optimizer_of(start, parts))
            start += sum(sizes)

    def discard(self) -> None:
        """Forget the gradients collected so far."""
        self.gradient.zero_()

    def step(self, learning_rates: Sequence[float]) -> list[float]:
        """Move every adapter by one clipped AdamW step; see `move`."""
        norms: list[float] = self.move(learning_rates).tolist()
        return norms

    @torch.no_grad()
    def move(self, learning_rates: Sequence[float]) -> Tensor:
        """Move every adapter by one clipped AdamW step, without waiting for the device.

        Returns (adapters,) fp32, the norms before clipping. An adapter whose norm is no finite number does
        not move, and its optimiser does not count the step. All gradients are zero afterwards.
        """
        norms = torch.stack([self.gradient[span].norm() for span in self.spans])
        # The fused kernel divides by the first, and leaves everything as it is where the second is 1.
        divisors = ((norms + 1e-6) / CLIP_NORM).clamp(min=1.0)
        broken = (~norms.isfinite()).float()
        for i, (optimizer, rate) in enumerate(zip(self._optimizers, learning_rates, strict=True)):
            amp: Any = optimizer  # torch's own names for what its gradient scaler sets
            amp.grad_scale, amp.found_inf = divisors[i], broken[i]
            for group in optimizer.param_groups:
                group["lr"] = rate * group["rate_ratio"]
            optimizer.step()
        self.discard()
        return norms

    def named(self, adapter: int, part: Tensor) -> dict[str, Tensor]:
        """`part`, laid out as `spans[adapter]` of the flat buffers is, by parameter name (views)."""
        return _views(part, [self.masters[adapter]])[0]

    def state(self) -> dict[str, Tensor]:
        """Everything that the next steps depend on, as views: copy or write it before the next step."""
        return {
            "master": self.master,
            "gradient": self.gradient,
            "averages": self._averages,
            "squares": self._squares,
            "steps": torch.stack([state["step"] for state in self._states()]),
        }

    @torch.no_grad()
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` gave for the same adapters; without "gradient", nothing was collected."""
        self.master.copy_(state["master"])
        self.gradient.copy_(state["gradient"]) if "gradient" in state else self.gradient.zero_()
        self._averages.copy_(state["averages"])
        self._squares.copy_(state["squares"])
        for own, step in zip(self._states(), state["steps"], strict=True):
            own["step"].copy_(step)

    def _optimizer_of(self, start: int, parts: Sequence[int]) -> torch.optim.AdamW:
        """AdamW over one adapter's flat slices, with its moments in the flat buffers."""
        groups: list[dict[str, Any]] = []
        states: dict[Tensor, dict[str, Tensor]] = {}
        for number, size in enumerate(parts):
            span = slice(start, start + size)
            moved = Parameter(self.master[span])
            moved.grad = self.gradient[span]
            states[moved] = {
                "step": torch.zeros((), device=self.master.device),
                "exp_avg": self._averages[span],
                "exp_avg_sq": self._squares[span],
            }
            groups.append({"params": [moved], "rate_ratio": self._b_rate_ratio if number else 1.0})
            start += size
        optimizer = torch.optim.AdamW(groups, lr=0.0, weight_decay=0.0, fused=True)
        optimizer.state.update(states)
        return optimizer

    def _states(self) -> list[dict[str, Tensor]]:
        return [state for optimizer in self._optimizers for state in optimizer.state.values()]


def _is_b(name: str) -> bool:
    return ".lora_B." in name or ".lora_embedding_B." in name


def _views(flat: Tensor, adapters: Sequence[Mapping[str, Tensor]]) -> list[dict[str, Tensor]]:
    """The parts of `flat` by adapter and name, in the shapes of what they stand for."""
    views: list[dict[str, Tensor]] = []
    start = 0
    for names in adapters:
        views.append({})
        for name, value in names.items():
            views[-1][name] = flat[start : start + value.numel()].view(value.shape)
            start += value.numel()
    return views
