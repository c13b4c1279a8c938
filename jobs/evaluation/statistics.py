"""Intervals that say how far a handful of held-out rows can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

Z_95 = 1.959963984540054


@dataclass(frozen=True)
class Interval:
    """An estimate and the 95 % interval around it."""

    value: float
    low: float
    high: float


def wilson(passed: int, rows: int) -> Interval:
    """The 95 % interval of a pass rate; sensible also at 0 %, at 100 % and with few rows.

    Source: Wilson (1927), "Probable inference, the law of succession, and statistical inference".
    Raises: ValueError when there are no rows, or more passed than there are.
    """
    if not 0 <= passed <= rows or rows == 0:
        raise ValueError(f"{passed} passed of {rows} rows")
    rate = passed / rows
    spread = Z_95**2 / rows
    centre = (rate + spread / 2) / (1 + spread)
    half = Z_95 / (1 + spread) * sqrt(rate * (1 - rate) / rows + spread / (4 * rows))
    # Rounding must not leave 1e-17 where the formula gives exactly 0 or 1.
    low = 0.0 if passed == 0 else max(0.0, centre - half)
    high = 1.0 if passed == rows else min(1.0, centre + half)
    return Interval(rate, low, high)


def paired_difference(
    ours: Sequence[float], theirs: Sequence[float], seed: int = 0, draws: int = 10_000
) -> Interval:
    """The mean of `ours - theirs` row by row, with its 95 % percentile bootstrap interval.

    Rows are drawn as pairs, so that a hard row is hard for both sides. Both sequences are `(rows,)`.
    Source: Efron & Tibshirani (1993), "An Introduction to the Bootstrap", chapter 13.
    Raises: ValueError when the sides have no rows or different numbers of rows.
    """
    difference = np.asarray(ours, dtype=np.float64) - np.asarray(theirs, dtype=np.float64)
    if len(ours) != len(theirs) or not len(difference):
        raise ValueError(f"{len(ours)} rows against {len(theirs)}")
    picks = np.random.default_rng(seed).integers(len(difference), size=(draws, len(difference)))
    low, high = np.quantile(difference[picks].mean(axis=1), [0.025, 0.975])
    return Interval(float(difference.mean()), float(low), float(high))
