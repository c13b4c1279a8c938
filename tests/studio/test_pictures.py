from __future__ import annotations

import numpy as np
import pytest

from studio import pictures


def test_rank_eight_learns_fifty_of_a_thousand_and_the_picture_shows_them() -> None:
    assert pictures.learned_of_thousand(8) == 50
    drawn = pictures.thousand(8)
    assert "50 of them lit" in drawn
    lit = drawn.split('class="learned-fill" d="')[1].split('"')[0]
    rest = drawn.split('class="frozen" d="')[1].split('"')[0]
    assert (lit.count("M"), rest.count("M")) == (50, 950)


def test_a_larger_rank_only_adds_lit_squares() -> None:
    def lit(rank: int) -> set[str]:
        return set(pictures.thousand(rank).split('class="learned-fill" d="')[1].split('"')[0].split("M")[1:])

    assert lit(2) < lit(8) < lit(24)


@pytest.mark.parametrize("name", ["tartan", "diagonal"])
def test_each_rank_holds_the_best_picture_and_no_less_than_the_rank_before(name: str) -> None:
    shares = []
    for rank in range(1, pictures.MAX_RANK + 1):
        held, share = pictures.approximation(name, rank)
        assert np.linalg.matrix_rank(held, tol=1e-9) <= rank
        shares.append(share)
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)


def test_a_habit_fits_into_four_layers_and_facts_need_one_each() -> None:
    assert pictures.approximation("tartan", 4)[1] == pytest.approx(1)
    assert pictures.approximation("diagonal", 8)[1] == pytest.approx(8 / 24)


def test_all_of_it_is_said_only_of_the_whole_picture() -> None:
    assert "Rank 3 holds all of it" not in pictures.low_rank(3)
    assert pictures.low_rank(4).count("holds all of it") == 1
    assert pictures.low_rank(24).count("holds all of it") == 2


def test_layers_beyond_the_rank_are_marked_in_words() -> None:
    assert pictures.layers(1).count("not used") == 3
    assert "not used" not in pictures.layers(4)


def test_the_large_layer_at_rank_two_is_one_of_four_thousand() -> None:
    shown = pictures.large_example(2)
    assert "400 million" in shown
    assert "100,000" in shown
    assert "1 of every 4,000" in shown


@pytest.mark.parametrize("rank", [1, 8, 24])
def test_every_drawing_has_words_for_those_who_cannot_see_it(rank: int) -> None:
    for drawing in (pictures.thousand(rank), pictures.flow(rank)):
        assert 'role="img"' in drawing
        assert "aria-label=" in drawing
    images = pictures.low_rank(rank) + pictures.layers(rank)
    assert images.count("<img") == images.count('alt="')
