"""Held-out loss against the number of examples: a curve through three sizes, and how far it can be trusted beyond."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

DRAWS = 4000
# Two runs on the same examples with another seed differ by about so much of their loss (standard deviation);
# each size is trained once, so the rows alone would make it look surer than it is.
SEED_NOISE = 0.01
# Less than this share of the loss is not worth collecting twice the examples for.
WORTH_IT = 0.02
FEWEST_ROWS = 8

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Size:
    """What was measured of one size: the examples learned from, and each held-out row's nats and tokens."""

    rows: int
    nats: Sequence[float]
    tokens: Sequence[int]


def measured(sizes: Sequence[Size], seed: int = 0) -> dict[str, Any]:
    """{"points", "fit", "code", "sentence"} of three sizes, each twice as large as the one before.

    A loss that falls as a power of the number of examples towards some floor (Hestness et al. 2017, arXiv
    1712.00409) falls from doubling to doubling by the same factor, so three sizes tell the fourth. Held-out rows
    are drawn anew (the same for all sizes), each size's loss moves by the chance of its one run, and where the
    first doubling brought nothing sure, the factor may be any from 0 to 1.
    """
    nats, tokens = (
        np.array([getattr(size, name) for size in sizes], np.float64) for name in ("nats", "tokens")
    )
    losses = nats.sum(1) / tokens.sum(1)
    chance = np.random.default_rng(seed)
    picks = chance.integers(nats.shape[1], size=(DRAWS, nats.shape[1]))
    drawn = nats[:, picks].sum(2) / tokens[:, picks].sum(2)  # (sizes, draws)
    noisy = drawn * (1 + SEED_NOISE * chance.standard_normal(drawn.shape))
    doubled = _doubled(noisy, chance)
    low, high = np.quantile(doubled, [0.025, 0.975])
    change_low, change_high = np.quantile(doubled - noisy[-1], [0.025, 0.975])
    at_double = {
        "rows": 2 * sizes[-1].rows,
        "loss": float(np.median(doubled)),
        "low": float(low),
        "high": float(high),
    }
    ends = np.quantile(noisy, [0.025, 0.975], axis=1).T
    points = [
        {"rows": size.rows, "loss": float(loss), "low": float(end[0]), "high": float(end[1])}
        for size, loss, end in zip(sizes, losses, ends, strict=True)
    ]
    said = _said(sizes, float(losses[-1]), at_double, float(change_low), float(change_high))
    return {"points": points, "fit": {"words": said.words, "at_double": at_double}, **asdict(said)}


@dataclass(frozen=True)
class _Said:
    code: str  # helps, hardly or cannot_tell
    words: str
    sentence: str


def _doubled(losses: Numbers, chance: np.random.Generator) -> Numbers:
    """(draws,) the loss at twice the largest size, from (sizes, draws)."""
    earlier, later = losses[-3] - losses[-2], losses[-2] - losses[-1]
    unknown = chance.random(losses.shape[1])
    sure = earlier > 2 * SEED_NOISE * losses[-2]
    factor = np.where(sure, np.clip(later / np.where(sure, earlier, 1.0), 0.0, 1.0), unknown)
    return np.asarray(losses[-1] - factor * later)


def _said(
    sizes: Sequence[Size], now: float, at_double: dict[str, Any], change_low: float, change_high: float
) -> _Said:
    rows, count = sizes[-1].rows, len(sizes[-1].nats)
    words = (
        f"With {2 * rows:,} examples the held-out loss would be about {at_double['loss']:.3f}"
        f" ({at_double['low']:.3f} to {at_double['high']:.3f}); with {rows:,} it is {now:.3f}."
    )
    if count < FEWEST_ROWS:
        few = f"Cannot tell: {count} held-out examples are too few; at least {FEWEST_ROWS} are needed."
        return _Said("cannot_tell", words, few)
    if change_high < -WORTH_IT * now:
        return _Said("helps", words, f"Yes, more examples would help. {words}")
    if change_low > -WORTH_IT * now:
        return _Said(
            "hardly",
            words,
            f"Hardly: twice as many examples like these would change next to nothing. {words}",
        )
    return _Said(
        "cannot_tell",
        words,
        f"Cannot tell: twice as many examples may lower the held-out loss by {max(0.0, -change_low):.3f}, or not"
        f" at all. {words}",
    )
