"""Intervals against published numbers and against chance."""

from __future__ import annotations

import numpy as np
import pytest

from jobs.evaluation.statistics import paired_difference, wilson


def test_wilson_gives_the_published_interval():
    # Newcombe (1998), "Two-sided confidence intervals for the single proportion", table I, 81 of 263.
    interval = wilson(81, 263)
    assert (round(interval.low, 4), round(interval.high, 4)) == (0.2553, 0.3662)


@pytest.mark.parametrize("passed, low, high", [(0, 0.0, 0.0876), (40, 0.9124, 1.0)])
def test_wilson_stays_honest_at_the_ends(passed, low, high):
    interval = wilson(passed, 40)
    assert (round(interval.low, 4), round(interval.high, 4)) == (low, high)


@pytest.mark.parametrize("passed, rows", [(0, 0), (3, 2), (-1, 2)])
def test_wilson_refuses_what_cannot_be(passed, rows):
    with pytest.raises(ValueError):
        wilson(passed, rows)


def test_the_same_rows_give_the_same_interval_again():
    ours, theirs = [1, 0, 1, 1, 0, 1, 0, 1], [0, 0, 1, 0, 0, 1, 0, 1]
    assert paired_difference(ours, theirs) == paired_difference(ours, theirs)


def test_pairing_takes_the_difficulty_of_rows_out():
    rng = np.random.default_rng(1)
    difficulty = rng.random(40)
    paired = paired_difference(difficulty + 0.05, difficulty)
    shuffled = paired_difference(difficulty + 0.05, rng.permutation(difficulty))
    assert paired.low > 0 and paired.high - paired.low < 1e-9
    assert shuffled.low < 0


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(300):
        ours, theirs = rng.random(40) < 0.7, rng.random(40) < 0.4
        interval = paired_difference(ours, theirs, draws=500)
        covered += interval.low <= 0.3 <= interval.high
    assert 0.90 <= covered / 300 <= 0.99


def test_sides_of_different_lengths_are_refused():
    with pytest.raises(ValueError):
        paired_difference([1, 0], [1])
