"""Imported rows come back as they were brought."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs.datasets.importing import add_pasted
from jobs.datasets.rows import load_rows, page_of_rows, rows_path
from storage.errors import StudioError

ANSWER = 'Line one\nline two\u2028 "três" \u0085 😀'


@pytest.fixture
def dataset_id(home: Path) -> str:
    lines = (json.dumps({"prompt": f"Question {n}", "response": ANSWER}) for n in range(30))
    return add_pasted("\n".join(lines)).id


def test_text_survives_unchanged(dataset_id: str) -> None:
    assert {row["messages"][1]["content"] for row in load_rows(dataset_id)} == {ANSWER}


def test_the_splits_share_all_rows_between_them(dataset_id: str) -> None:
    train, held_out = load_rows(dataset_id, "train"), load_rows(dataset_id, "held_out")
    assert (len(train), len(held_out)) == (22, 8)
    assert sorted(row["row"] for row in [*train, *held_out]) == list(range(1, 31))


def test_pages_follow_each_other_and_end(dataset_id: str) -> None:
    assert [row["row"] for row in page_of_rows(dataset_id, 27, 10)] == [28, 29, 30]
    assert [row["row"] for row in page_of_rows(dataset_id, 0, 2)] == [1, 2]
    assert page_of_rows(dataset_id, 30, 10) == page_of_rows(dataset_id, 0, 0) == []


def test_missing_and_damaged_rows_are_said(dataset_id: str) -> None:
    with pytest.raises(StudioError, match="gone"):
        load_rows("nowhere1")
    with open(rows_path(dataset_id), "a") as file:
        file.write("{oops\n")
    with pytest.raises(StudioError, match="Line 31"):
        load_rows(dataset_id)
