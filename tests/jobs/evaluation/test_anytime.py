"""The interval of a win share: whoever looks after every vote and stops when he likes is misled as seldom as said."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import pytest

from jobs.evaluation.anytime import anytime_share
from jobs.evaluation.statistics import Interval, wilson


def ever_out(interval: Callable[[int, int], Interval], true_share: float, votes: int) -> float:
    """The chance, exactly, that `true_share` is outside of the interval after at least one of so many votes."""
    going, out = {0: 1.0}, 0.0
    for count in range(1, votes + 1):
        after: dict[int, float] = defaultdict(float)
        for won, chance in going.items():
            after[won + 1] += chance * true_share
            after[won] += chance * (1 - true_share)
        going = {}
        for won, chance in after.items():
            found = interval(won, count)
            if found.low <= true_share <= found.high:
                going[won] = chance
            else:
                out += chance
    assert sum(going.values()) + out == pytest.approx(1)
    return out


@pytest.mark.parametrize("true_share", [0.5, 0.3, 0.95])
def test_looking_after_each_of_200_votes_misleads_in_5_of_100_cases_at_most(true_share: float) -> None:
    """Every series of fair votes, and of unfair ones; an interval for a fixed number fails in 4 of 10."""
    assert 0.01 < ever_out(anytime_share, true_share, 200) <= 0.05
    assert ever_out(wilson, true_share, 200) > 0.25


def test_it_is_the_share_and_its_ends_are_where_a_bet_has_won_20_for_1() -> None:
    won, votes = 30, 40
    found = anytime_share(won, votes)
    assert found.low < found.value == 0.75 < found.high
    # The likelihood averaged over all shares, by adding up, over that of each end.
    shares = [(place + 0.5) / 20_000 for place in range(20_000)]
    averaged = sum(share**won * (1 - share) ** (votes - won) for share in shares) / len(shares)
    for end in (found.low, found.high):
        assert averaged / (end**won * (1 - end) ** (votes - won)) == pytest.approx(20, rel=1e-4)


def test_it_is_sensible_at_its_ends_and_narrows() -> None:
    assert anytime_share(0, 7).low == 0 and anytime_share(7, 7).high == 1
    assert anytime_share(7, 7).low < 0.5 < anytime_share(8, 8).low, (
        "eight in a row, and not seven, say something"
    )
    assert anytime_share(3, 10).low == pytest.approx(1 - anytime_share(7, 10).high)
    wide, narrow = anytime_share(50, 100), anytime_share(5000, 10_000)
    assert narrow.high - narrow.low < (wide.high - wide.low) / 5


@pytest.mark.parametrize(("won", "votes"), [(0, 0), (3, 2), (-1, 2)])
def test_it_refuses_what_cannot_be(won: int, votes: int) -> None:
    with pytest.raises(ValueError):
        anytime_share(won, votes)
