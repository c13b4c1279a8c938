"""What three sizes say about the fourth: on losses whose law is known, and on none."""

from __future__ import annotations

import re

import numpy as np
import pytest

from jobs.evaluation.learning_curve import Size, measured


def sizes(losses: list[float], rows: int = 60, spread: float = 0.3, seed: int = 0) -> list[Size]:
    """Held-out rows of different difficulty, whose mean losses are about `losses`."""
    chance = np.random.default_rng(seed)
    difficulty = np.exp(spread * chance.standard_normal(rows))
    tokens = chance.integers(10, 60, rows)
    return [
        Size(50 * 2**place, (loss * difficulty * tokens).tolist(), tokens.tolist())
        for place, loss in enumerate(losses)
    ]


def test_a_loss_that_falls_by_a_power_law_is_continued() -> None:
    # Each doubling brings half of what the one before brought: 2.0, 1.5, 1.25, then 1.125.
    found = measured(sizes([2.0, 1.5, 1.25], spread=0.0))
    double = found["fit"]["at_double"]
    assert double["rows"] == 400 and double["loss"] == pytest.approx(1.125, abs=0.02)
    assert double["low"] < 1.125 < double["high"] < 1.25
    assert found["code"] == "helps" and found["sentence"].startswith("Yes, more examples would help.")
    assert [point["rows"] for point in found["points"]] == [50, 100, 200]
    assert [point["loss"] for point in found["points"]] == pytest.approx([2.0, 1.5, 1.25])


def test_a_loss_that_no_longer_falls_says_hardly() -> None:
    found = measured(sizes([1.6, 1.01, 1.0]))
    assert found["code"] == "hardly" and "next to nothing" in found["sentence"]


def test_a_loss_that_goes_up_and_down_tells_nothing() -> None:
    found = measured(sizes([1.0, 1.06, 1.0]))
    assert found["code"] == "cannot_tell" and found["sentence"].startswith("Cannot tell")
    assert re.search(r"may lower the held-out loss by 0\.0[3-9]", found["sentence"])


def test_the_next_doubling_is_expected_to_bring_no_more_than_the_last_one() -> None:
    double = measured(sizes([2.0, 1.9, 1.5], spread=0.0))["fit"]["at_double"]
    assert double["loss"] == pytest.approx(1.1, abs=0.03)


def test_where_the_first_doubling_brought_nothing_sure_the_next_may_bring_all_or_nothing() -> None:
    double = measured(sizes([1.005, 1.0, 0.9], spread=0.0))["fit"]["at_double"]
    assert double["loss"] == pytest.approx(0.85, abs=0.01)
    assert double["low"] < 0.82 and double["high"] > 0.88


def test_a_loss_is_that_of_all_tokens_and_not_of_all_rows() -> None:
    found = measured([Size(rows, [10.0, 100.0], [10, 400]) for rows in (10, 20, 40)])
    assert [point["loss"] for point in found["points"]] == pytest.approx([110 / 410] * 3)


def test_few_held_out_rows_tell_nothing() -> None:
    found = measured(sizes([2.0, 1.5, 1.25], rows=5))
    assert found["code"] == "cannot_tell" and "5 held-out examples are too few" in found["sentence"]


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    """Power laws of different steepness, each size trained once with the seed's chance: 95 % intervals."""
    chance = np.random.default_rng(1)
    hits, runs = 0, 120
    for run in range(runs):
        gain, factor = chance.uniform(0.0, 0.5), chance.uniform(0.3, 0.95)
        true = [1 + gain + gain * factor + gain * factor**2]
        for place in range(3):
            true.append(true[-1] - gain * factor**place)
        seen = [loss * (1 + 0.01 * chance.standard_normal()) for loss in true[:3]]
        made = sizes(seen, seed=run)
        # The rows' own difficulty is the same for all sizes, and known exactly for the rows that are there.
        scale = sum(made[0].nats) / sum(made[0].tokens) / seen[0]
        double = measured(made)["fit"]["at_double"]
        hits += double["low"] <= true[3] * scale <= double["high"]
    assert hits / runs >= 0.9
