"""Intervals against published numbers and against chance."""

from __future__ import annotations

import numpy as np
import pytest

from jobs.evaluation.statistics import holm, mean_interval, paired_difference, ratio_interval, wilson


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
    assert paired.low > 0 and paired.high - paired.low < 0.01
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


def test_few_rows_that_differ_are_not_taken_for_proof():
    few = paired_difference([1] * 4 + [0] * 6, [0] * 10)
    assert few.low > 0 and few.p == 0.125 and not few.is_real
    enough = paired_difference([1] * 6 + [0] * 2, [0] * 8)
    assert enough.p == pytest.approx(2 / 2**6) and enough.is_better and not enough.is_worse


def test_the_test_of_signs_agrees_with_all_signs_where_it_draws_them():
    rng = np.random.default_rng(3)
    ours = rng.normal(0.5, 1, 16)
    every = np.array([[1 - 2 * (n >> bit & 1) for bit in range(16)] for n in range(2**16)])
    exact = np.mean(np.abs(every @ ours) >= abs(ours.sum()) - 1e-12)
    assert paired_difference(ours, np.zeros(16)).p == pytest.approx(exact, abs=0.01)


def test_where_no_row_differs_the_interval_says_what_may_have_been_missed():
    # Clopper & Pearson (1934): nothing in 40 may still be 8.8 %.
    same = paired_difference([1.0] * 40, [1.0] * 40)
    assert (round(same.low, 3), round(same.high, 3), same.is_real) == (-0.088, 0.088, False)


def test_a_ratio_weighs_rows_by_their_tokens():
    assert ratio_interval([10, 1], [10, 10]).value == pytest.approx(0.55)
    with pytest.raises(ValueError):
        ratio_interval([1.0], [0.0])


def test_the_interval_of_a_mean_holds_the_mean():
    interval = mean_interval([0, 1, 1, 1])
    assert interval.low < interval.value == 0.75 < interval.high
    with pytest.raises(ValueError):
        mean_interval([])


def test_where_all_rows_differ_alike_the_interval_still_knows_how_few_they_are():
    all_of_them = paired_difference([1.0] * 20, [0.0] * 20)
    assert (all_of_them.value, round(all_of_them.low, 3), all_of_them.high) == (1.0, 0.832, 1.0)
    lost = paired_difference([0.0] * 20, [1.0] * 20)
    assert (lost.low, round(lost.high, 3)) == (-1.0, -0.832)


def test_the_chances_of_many_are_raised_as_holm_has_shown():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.2]) == [0.2] and holm([]) == [] and holm([0.9, 0.8]) == [1.0, 1.0]
