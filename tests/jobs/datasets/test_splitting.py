"""The held-out rows: enough, never too many, the same each time, and no prompt on both sides."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.datasets.conversations import Example
from jobs.datasets.splitting import held_out_rows


def example(row: int, prompt: str, answer: str = "Yes.") -> Example:
    return Example(row, [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}])


def distinct(count: int) -> list[Example]:
    return [example(row, f"Question {row}?") for row in range(1, count + 1)]


@pytest.mark.parametrize(
    ("rows", "held_out"), [(2, 1), (3, 1), (10, 5), (16, 8), (79, 8), (80, 20), (92, 20), (1000, 100)]
)
def test_a_tenth_but_enough_to_tell_and_at_most_half(rows: int, held_out: int) -> None:
    assert len(held_out_rows(distinct(rows))) == held_out


def test_the_same_content_gives_the_same_rows_and_another_seed_others() -> None:
    assert held_out_rows(distinct(200), seed=1) == held_out_rows(distinct(200), seed=1)
    assert held_out_rows(distinct(200), seed=1) != held_out_rows(distinct(200), seed=2)


def test_the_order_of_the_rows_does_not_matter() -> None:
    assert held_out_rows(distinct(200)) == held_out_rows(distinct(200)[::-1])


def test_what_a_smaller_share_held_out_a_larger_one_holds_out_too() -> None:
    examples = [example(row, f"Question {row * row % 90}?") for row in range(300)]
    chosen = [held_out_rows(examples, share) for share in (0.05, 0.1, 0.2, 0.3, 0.5)]
    assert all(smaller < larger for smaller, larger in pairwise(chosen))


@settings(max_examples=100, deadline=None)
@given(prompts=st.lists(st.integers(0, 12), min_size=2, max_size=60), seed=st.integers(0, 9))
def test_no_prompt_is_on_both_sides_and_half_stays_for_learning(prompts: list[int], seed: int) -> None:
    # Spelled differently in case and spacing: still the same prompt.
    examples = [
        example(row, f"What  is {prompt}?" if row % 2 else f" what IS {prompt}?", f"Answer {row}")
        for row, prompt in enumerate(prompts)
    ]
    held_out = held_out_rows(examples, seed=seed)
    kept = {prompts[row] for row in range(len(prompts)) if row not in held_out}
    assert not kept & {prompts[row] for row in held_out}
    assert 2 * len(held_out) <= len(prompts)


def test_conversations_that_grow_out_of_one_another_stay_together() -> None:
    short = [example(row, f"Question {row}?") for row in range(20)]
    longer = [
        Example(
            row + 20,
            [*e.messages, {"role": "user", "content": "And?"}, {"role": "assistant", "content": "Done."}],
        )
        for row, e in enumerate(short)
    ]
    held_out = held_out_rows([*short, *longer])
    assert held_out and {row % 20 for row in held_out if row < 20} == {
        row % 20 for row in held_out if row >= 20
    }


def test_one_much_repeated_prompt_does_not_fill_the_test() -> None:
    examples = [*distinct(60), *(example(row, "Hello", str(row)) for row in range(61, 101))]
    assert all(max(held_out_rows(examples, seed=seed)) <= 60 for seed in range(20))
