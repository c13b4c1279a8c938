"""The interval of a share that stays true however often somebody looks at it and whenever he stops."""

from __future__ import annotations

from functools import lru_cache
from math import lgamma, log

from jobs.evaluation.statistics import LEVEL, Interval

# Halving so often leaves less than 1e-9 of a step between the ends and where they are.
HALVINGS = 30


@lru_cache(maxsize=65_536)
def anytime_share(won: int, votes: int) -> Interval:
    """The 95 % confidence sequence of a win share after `votes` votes, of which `won` are wins and the rest losses.

    In 95 % of all series of votes the true share is in the intervals after every single vote. The likelihood averaged
    over all shares (a uniform mixture) is what a bet against any one of them has made of a stake of 1; against the
    true share it ever reaches 20 with a chance of 1 in 20 at most. What it is below 20 against is in the interval,
    which is wider than one for a number of votes that was fixed beforehand.
    Source: Ville (1939); Robbins (1970), "Statistical methods related to the law of the iterated logarithm"; Howard,
    Ramdas, McAuliffe & Sekhon (2021), "Time-uniform, nonparametric, nonasymptotic confidence sequences", prop. 7.
    Raises: ValueError when there are no votes, or more are won than there are.
    """
    if not 0 <= won <= votes or votes == 0:
        raise ValueError(f"{won} won of {votes} votes")
    lost, share = votes - won, won / votes
    # log ∫ s^won (1 - s)^lost ds, over all shares s.
    averaged = lgamma(won + 1) + lgamma(lost + 1) - lgamma(votes + 2)

    def is_out(other: float) -> bool:
        likelihood = (won * log(other) if won else 0.0) + (lost * log(1 - other) if lost else 0.0)
        return averaged - likelihood >= -log(LEVEL)

    def end(outside: float) -> float:
        """The last share towards `outside`, 0 or 1, against which nobody has won enough."""
        inside = share
        for _ in range(HALVINGS):
            middle = (inside + outside) / 2
            if is_out(middle):
                outside = middle
            else:
                inside = middle
        return outside

    return Interval(share, 0.0 if won == 0 else end(0.0), 1.0 if lost == 0 else end(1.0))
