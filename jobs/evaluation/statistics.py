"""Intervals that say how far a handful of held-out rows can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

Z_95 = 1.959963984540054
# How often chance alone may look like a difference.
LEVEL = 0.05
# Up to so many rows that differ, all their signs are tried; beyond that, so many draws of them.
TRIED_SIGNS = 14
DRAWS = 10_000


@dataclass(frozen=True)
class Interval:
    """An estimate and the 95 % interval around it."""

    value: float
    low: float
    high: float

    def as_json(self) -> dict[str, Any]:
        """The three numbers, or four, as a card holds them."""
        return asdict(self)


@dataclass(frozen=True)
class Difference(Interval):
    """What one side has over another on the same rows, with how often chance alone does as much (`p`)."""

    p: float

    @property
    def is_real(self) -> bool:
        """Whether both the interval and the test of signs speak against chance.

        Both, because with few rows that differ the interval alone is too sure: of 10 rows, 4 that differ in
        the same direction give one that leaves 0 out, though equal sides do as much in one of eight cases.
        """
        return self.p <= LEVEL and not self.low <= 0 <= self.high

    @property
    def is_better(self) -> bool:
        """More than chance, upwards."""
        return self.is_real and self.value > 0

    @property
    def is_worse(self) -> bool:
        """More than chance, downwards."""
        return self.is_real and self.value < 0


def wilson(passed: float, rows: int) -> Interval:
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


def mean_interval(values: Sequence[float], seed: int = 0, draws: int = DRAWS) -> Interval:
    """The mean of one number a row, with its 95 % percentile bootstrap interval.

    Raises: ValueError when there are no rows.
    """
    if not len(values):
        raise ValueError("no rows")
    measured = np.asarray(values, dtype=np.float64)
    means = measured[_picks(len(measured), seed, draws)].mean(axis=1)
    low, high = np.quantile(means, [LEVEL / 2, 1 - LEVEL / 2])
    return Interval(float(measured.mean()), float(low), float(high))


def ratio_interval(above: Sequence[float], below: Sequence[float], seed: int = 0) -> Interval:
    """The sum of one number over the sum of another (loss in nats over tokens), rows drawn together.

    Raises: ValueError when there is nothing to divide by.
    """
    over, under = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    if len(over) != len(under) or not under.sum() > 0:
        raise ValueError(f"{len(over)} rows over {len(under)}")
    picks = _picks(len(over), seed, DRAWS)
    ratios = over[picks].sum(axis=1) / np.maximum(under[picks].sum(axis=1), 1e-12)
    low, high = np.quantile(ratios, [LEVEL / 2, 1 - LEVEL / 2])
    return Interval(float(over.sum() / under.sum()), float(low), float(high))


def paired_difference(
    ours: Sequence[float], theirs: Sequence[float], seed: int = 0, draws: int = DRAWS
) -> Difference:
    """The mean of `ours - theirs` row by row, with its 95 % percentile bootstrap interval and test of signs.

    Rows are drawn as pairs, so that a hard row is hard for both sides. Both sequences are `(rows,)`. Where no
    row differs, or all do alike, the interval tells what share of other rows may have been missed.
    Source: Efron & Tibshirani (1993), "An Introduction to the Bootstrap", chapters 13 and 15.
    Raises: ValueError when the sides have no rows or different numbers of rows.
    """
    difference = np.asarray(ours, dtype=np.float64) - np.asarray(theirs, dtype=np.float64)
    if len(ours) != len(theirs) or not len(difference):
        raise ValueError(f"{len(ours)} rows against {len(theirs)}")
    unseen = 1 - (LEVEL / 2) ** (1 / len(difference))
    if not difference.any():
        return Difference(0.0, -unseen, unseen, 1.0)
    means = difference[_picks(len(difference), seed, draws)].mean(axis=1)
    low, high = np.quantile(means, [LEVEL / 2, 1 - LEVEL / 2])
    value = float(difference.mean())
    if np.ptp(difference) < 1e-12:  # rows that do not differ may be among those that nobody asked
        low, high = sorted((value * (1 - unseen), value))
    return Difference(value, float(low), float(high), _chance(difference, seed, draws))


def _chance(difference: NDArray[np.float64], seed: int, draws: int) -> float:
    """How often the rows' differences, their signs drawn anew, sum up to as much: equal sides change places."""
    moved = difference[difference != 0]
    if len(moved) <= TRIED_SIGNS:
        signs = 1 - 2 * ((np.arange(2 ** len(moved))[:, None] >> np.arange(len(moved))) & 1)
        never_zero = 0
    else:
        signs = 1 - 2 * np.random.default_rng(seed).integers(0, 2, size=(draws, len(moved)))
        never_zero = 1
    as_far = np.abs(signs @ moved) >= abs(moved.sum()) - 1e-12
    return float((as_far.sum() + never_zero) / (len(signs) + never_zero))


def together(differences: Sequence[Difference]) -> list[Difference]:
    """The same differences, each with the `p` that it has among all of them."""
    chances = holm([one.p for one in differences])
    return [replace(one, p=chance) for one, chance in zip(differences, chances, strict=True)]


def holm(chances: Sequence[float]) -> list[float]:
    """Each `p` raised for the company it is in: of twenty that are looked at, one is small by chance alone.

    Whoever then believes all that are at most 0.05 believes a wrong one in one of twenty cases at most.
    Source: Holm (1979), "A simple sequentially rejective multiple test procedure".
    """
    raised, least = [0.0] * len(chances), 0.0
    for rank, place in enumerate(sorted(range(len(chances)), key=lambda place: chances[place])):
        least = max(least, min(1.0, (len(chances) - rank) * chances[place]))
        raised[place] = least
    return raised


@lru_cache(maxsize=2)  # of 400 rows they take 32 MB
def _picks(rows: int, seed: int, draws: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(rows, size=(draws, rows))
