"""Rows that teach nothing are left out, counted and named."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.generation.chat import ChatFormat
from jobs.training.examples import LeftOut, shortened, tokenized
from storage.errors import StudioError
from tests.jobs.training.conftest import rows_of


def test_rows_without_an_answer_in_reach_are_left_out_and_named(tiny_model: Path) -> None:
    rows = rows_of(3)
    rows[1]["messages"][0]["content"] = "x" * 200
    rows[2]["messages"] = rows[2]["messages"][:1]
    read, without_answer = tokenized(rows, ChatFormat.load(tiny_model))
    examples, too_long = shortened(read, 64)
    assert [example.row for example in examples] == [1]
    assert without_answer == [LeftOut(3, "There is no answer to learn.")]
    assert too_long == [LeftOut(2, "The answer begins after 64 tokens.")]


def test_nothing_to_learn_at_all_ends_before_the_start_with_the_count(tiny_model: Path) -> None:
    with pytest.raises(StudioError, match="None of the 5 rows") as caught:
        shortened(tokenized(rows_of(5), ChatFormat.load(tiny_model))[0], 4)
    assert "max_tokens" in caught.value.remedy


def test_examples_end_with_the_last_learned_token(tiny_model: Path) -> None:
    examples, _ = tokenized(rows_of(3), ChatFormat.load(tiny_model))
    cut, _ = shortened(examples, 14)
    assert all(example.learned[-1] and len(example.token_ids) <= 14 for example in cut)
    assert all(example.learned[-1] for example in examples)
