"""Through all changes, what is held out stays held out, and nothing else ever comes to it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.datasets import tokens, versions
from jobs.datasets.changes import settled
from jobs.datasets.held_out import more_held_out
from jobs.datasets.rows import get_row, load_rows
from jobs.training.reading import split
from storage.datasets import Dataset
from storage.errors import StudioError
from tests.jobs.datasets.changing import add, at_once, copy_of, edit, numbers, said


def test_a_training_holds_out_the_same_rows_of_every_version(dataset: Dataset, tiny_model: Path) -> None:
    large = reading_of(dataset.id, tiny_model, 0.4)
    assert set(numbers(dataset.id, "held_out")) < large
    edited = next(iter(large - set(numbers(dataset.id, "held_out"))))
    new = at_once(dataset.id, edit(edited, "Quite another question?"))
    new = at_once(new.id, add("A new one?"))
    assert reading_of(new.id, tiny_model, 0.1) == set(numbers(new.id, "held_out"))
    assert reading_of(new.id, tiny_model, 0.4) == large
    shared = at_once(new.id, add("Quite another question?", "Learned."))
    assert reading_of(shared.id, tiny_model, 0.4) == large - {edited}, "or the test would ask what is learned"


def reading_of(dataset_id: str, model_folder: Path, share: float) -> set[int]:
    """The numbers of the rows that a training with this share holds out."""
    found = tokens.make(dataset_id, model_folder)
    train, held_out = (
        {int(row) for row in found.rows["row"][part]} for part in split(found, dataset_id, share)
    )
    assert train.isdisjoint(held_out) and train | held_out == set(numbers(dataset_id))
    return held_out


@pytest.mark.parametrize("split", ["train", "held_out", "left_out"])
def test_a_rule_moves_a_row_only_between_learned_from_and_left_out(split: str) -> None:
    old = {"row": 7, "messages": said("Asked?", "&nbsp;"), "split": split, "code": "c", "reason": "r"}
    emptied = settled(old, {**old, "messages": said("Asked?", " ")})
    assert emptied["split"] == {"train": "left_out"}.get(split, split)
    assert emptied == old if split == "held_out" else emptied["code"] == "empty_answer"
    repaired = settled(old, {**old, "messages": said("Asked?", "Yes.")})
    wanted = {"left_out": "train"}.get(split, split)
    assert repaired == {"row": 7, "messages": said("Asked?", "Yes."), "split": wanted}


@st.composite
def some_changes(draw: st.DrawFn) -> list[tuple[str, int, int]]:
    kinds = st.sampled_from(["edit", "copy", "add", "delete", "fix", "undo", "redo", "repair"])
    return draw(st.lists(st.tuples(kinds, st.integers(0, 99), st.integers(0, 99)), min_size=1, max_size=8))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(done=some_changes())
def test_no_row_ever_comes_to_the_test_and_none_leaves_it_for_learning(
    home: Path, template: Path, done: list[tuple[str, int, int]]
) -> None:
    first = copy_of(template)
    held_out = set(numbers(first.id, "held_out"))
    more = {share: held_out | more_held_out(first.id, share) for share in (0.1, 0.25, 0.4)}
    assert more[0.1] == held_out < more[0.25] < more[0.4]
    last = max(numbers(first.id)) + 1
    now = first
    for kind, one, other in done:
        now = _changed(now, kind, one, other)
        kept = set(numbers(now.id, "held_out"))
        train = {row["row"]: row for row in load_rows(now.id, "train")}
        assert kept <= held_out and not held_out & train.keys()
        assert (now.train_rows, now.held_out_rows) == (len(train), len(kept))
        for share, of_first in more.items():
            extra = more_held_out(now.id, share)
            assert extra <= train.keys() and kept | extra <= of_first
            assert not any(number > last or train[number].get("added") for number in extra)
            asked = {row["messages"][0]["content"].casefold() for n, row in train.items() if n not in extra}
            assert not any(train[n]["messages"][0]["content"].casefold() in asked for n in extra)


def _changed(now: Dataset, kind: str, one: int, other: int) -> Dataset:
    """The version after a change of this kind, or the same where there is nothing to do."""
    train, left_out = numbers(now.id, "train"), numbers(now.id, "left_out")
    row, every = train[one % len(train)], numbers(now.id)
    copied = get_row(now.id, every[other % len(every)])["messages"][0]["content"]
    try:
        if kind == "undo":
            return versions.undo(now.id)
        if kind == "redo":
            return versions.redo(now.id)
        if kind == "repair":
            return at_once(now.id, edit(left_out[0], "Repaired?")) if left_out else now
        if kind == "fix":
            codes = ["email_address", "duplicate", "leak", "empty_answer", "near_duplicate"]
            return at_once(now.id, {"kind": "fix", "codes": codes[one % 3 :]})
        return at_once(
            now.id,
            {
                "edit": edit(row, f"Edited {one}\x07 {other}?", "With a@example.org."),
                "copy": edit(row, copied, f"Another answer {one}."),
                "add": add(copied if one % 2 else f"New {one}?", f"Answer {other}."),
                "delete": {"kind": "delete", "rows": sorted({row, every[other % len(every)]})},
            }[kind],
        )
    except StudioError:
        return now
