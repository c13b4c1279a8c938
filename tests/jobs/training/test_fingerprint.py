"""A state is of one run: what differs from it is found, and called by its name."""

from __future__ import annotations

import pytest

from jobs.training.examples import Example
from jobs.training.fingerprint import SETTINGS, fingerprint, refuse_another_run, whole
from storage.errors import StudioError

ROW = Example(1, [1, 2], [False, True])


def of(
    rate: float = 1.0,
    plan: tuple[tuple[int, ...], ...] = ((0,),),
    rows: tuple[Example, ...] = (ROW,),
    held_out: tuple[Example, ...] = (),
    weights: str = "a",
    config: str = "b",
) -> dict[str, str]:
    return fingerprint({"rate": rate}, plan, rows, held_out, {"weights": weights, "config.json": config})


def test_whatever_differs_makes_another_run() -> None:
    assert of() == of() and whole(of()) == whole(of())
    others = [
        of(rate=2.0),
        of(plan=((1,),)),
        of(rows=(Example(1, [1, 3], [False, True]),)),
        of(rows=(Example(1, [1, 2], [True, True]),)),
        of(rows=(ROW, ROW)),
        of(rows=(), held_out=(ROW,)),
        of(weights="c"),
        of(config="c"),
    ]
    assert len({whole(parts) for parts in [of(), *others]}) == 9


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (of(rate=2.0, plan=((0,), (0,))), "the settings"),
        (of(plan=((0,), (0,))), "the order of the steps"),
        # Settings and steps follow from the examples and the model.
        (of(rows=(ROW, ROW), rate=2.0, plan=((0, 1),)), "the examples"),
        (of(held_out=(ROW,)), "the held-out examples"),
        (of(weights="c"), "the base model's weights"),
        (of(config="c", rows=(ROW, ROW)), "the base model's config.json and the examples"),
    ],
)
def test_the_refusal_names_what_changed(changed: dict[str, str], named: str) -> None:
    refuse_another_run(7, of(), of())
    with pytest.raises(StudioError) as caught:
        refuse_another_run(7, of(), changed)
    assert caught.value.message == (
        f"The checkpoint of step 7 is of another run: {named} changed since it was saved."
    )
    assert "Put back what was changed" in caught.value.remedy


def test_a_setting_that_came_later_leaves_older_checkpoints_their_run() -> None:
    def hashed(**settings: object) -> str:
        return fingerprint({"settings": settings}, [], [], [], {})[SETTINGS]

    before = hashed(rank=8)
    assert before == hashed(rank=8, train_share=1.0, scorecard=True) == hashed(rank=8, scorecard=False)
    assert before != hashed(rank=8, train_share=0.5)
    assert before != hashed(rank=4)
