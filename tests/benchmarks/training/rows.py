"""One line a measurement, and how a median over steps becomes one."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


def line(what: str, device: str, value: float | str | None, unit: str, conditions: Mapping[str, Any]) -> None:
    """Print one measurement at once, so that a run that is cut off has shown what it had."""
    row = {"what": what, "device": device, "value": value, "unit": unit, "conditions": dict(conditions)}
    print(json.dumps(row, ensure_ascii=False), flush=True)


@dataclass
class Timing:
    """The steps of one contestant; the first entries are its warm-up."""

    first_step_seconds: float = 0.0
    seconds: list[float] = field(default_factory=list)
    real: list[int] = field(default_factory=list)
    supervised: list[int] = field(default_factory=list)

    def add(self, seconds: float, real: int, supervised: int) -> None:
        """One more step: its wall time, its tokens without padding, and those that the loss counts."""
        self.seconds.append(seconds)
        self.real.append(real)
        self.supervised.append(supervised)

    def steady(self, warm_up: int) -> Timing:
        """The steps behind the warm-up; the last half where fewer than two would remain."""
        start = warm_up if len(self.seconds) - warm_up >= 2 else len(self.seconds) // 2
        return Timing(
            self.first_step_seconds, self.seconds[start:], self.real[start:], self.supervised[start:]
        )


def rate(tokens: Sequence[int], seconds: Sequence[float]) -> float:
    """Tokens a second: the median over the steps."""
    return statistics.median(count / second for count, second in zip(tokens, seconds, strict=True))


def spread(tokens: Sequence[int], seconds: Sequence[float]) -> dict[str, float]:
    """How the rate of single steps differs, and the rate over all of them together."""
    rates = [count / second for count, second in zip(tokens, seconds, strict=True)]
    return {
        "slowest_step": round(min(rates)),
        "fastest_step": round(max(rates)),
        "all_steps_together": round(sum(tokens) / sum(seconds)),
    }
