"""The names of sides."""

from __future__ import annotations

import pytest

from jobs.serving.side_names import NAMED_SIDES, Part, checked, parts_of
from storage.errors import StudioError


@pytest.mark.parametrize("side", NAMED_SIDES)
def test_a_side_with_a_name_of_its_own_has_no_adapters_of_its_own(side):
    assert parts_of(side) == []


@pytest.mark.parametrize(
    "side, parts",
    [
        ("k3fa-1", [Part("k3fa-1", None, None)]),
        ("k3fa-1@120", [Part("k3fa-1", 120, None)]),
        ("k3fa-1*1.2", [Part("k3fa-1", None, 1.2)]),
        ("k3fa-1@120*0.5", [Part("k3fa-1", 120, 0.5)]),
        ("k3fa-1@123456789*1.5", [Part("k3fa-1", 123456789, 1.5)]),
        ("a-1*0.7+b-2*0.3", [Part("a-1", None, 0.7), Part("b-2", None, 0.3)]),
    ],
)
def test_a_name_says_which_weights_and_how_strongly(side, parts):
    assert parts_of(side) == parts
    assert checked(["base", side]) == ("base", side)


def test_a_saved_look_is_loaded_under_a_name_of_its_own():
    assert [part.weights for part in parts_of("a-1@60+a-1")] == ["a-1@60", "a-1"]


@pytest.mark.parametrize(
    "sides, named",
    [
        ("base", "sides is 'base'"),
        ([], "sides is"),
        ([5], "sides is"),
        (["base", "base"], "twice: “base”"),
        (["Adapted"], "“Adapted” is not a side"),
        (["../etc"], "is not a side"),
        (["a-1*"], "is not a side"),
        (["a-1*-1"], "is not a side"),
        (["a-1+"], "is not a side"),
        (["a-1@1234567890"], "is not a side"),
        ([""], "is not a side"),
        (["a-1*2"], "strength 2.*0 to 1.5"),
        (["a-1*0.5+a-1*0.5"], "same adapter twice"),
        (["a-1+a-2+a-3+a-4+a-5"], "blends 5 adapters.*at most 4"),
        ([f"a-{number}" for number in range(7)], "7 sides.*at most 6"),
    ],
)
def test_a_refusal_names_the_side(sides, named):
    with pytest.raises(StudioError, match=named):
        checked(sides)
