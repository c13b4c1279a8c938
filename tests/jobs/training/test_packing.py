"""Every row is read as often as asked, in steps of the asked size."""

from __future__ import annotations

from collections import Counter

from jobs.training.packing import micro_batches, plan_run

LENGTHS = [10 + i % 37 for i in range(100)]


def test_each_epoch_reads_each_row_once_in_a_new_order() -> None:
    plan = plan_run(LENGTHS, 3, 200, None, seed=0)
    read = [row for step in plan for row in step]
    assert Counter(read) == dict.fromkeys(range(100), 3)
    assert read[:100] != read[100:200]
    assert plan == plan_run(LENGTHS, 3, 200, None, seed=0)
    assert plan != plan_run(LENGTHS, 3, 200, None, seed=1)


def test_steps_stay_near_their_tokens_and_none_is_tiny() -> None:
    for step in plan_run(LENGTHS, 2.5, 200, None, seed=0):
        assert 100 <= sum(LENGTHS[row] for row in step) <= 330


def test_parts_of_epochs_and_a_limit_of_steps_are_kept() -> None:
    assert sum(len(step) for step in plan_run(LENGTHS, 0.5, 200, None, 0)) == 50
    assert len(plan_run(LENGTHS, 50, 200, 7, 0)) == 7


def test_a_row_longer_than_a_step_is_a_step_of_its_own() -> None:
    assert sorted(plan_run([900, 800], 1, 100, None, 0)) == [[0], [1]]


def test_micro_batches_hold_all_rows_within_their_size_and_pad_little() -> None:
    rows = list(range(100))
    groups = micro_batches(rows, LENGTHS, 200)
    assert sorted(row for group in groups for row in group) == rows
    padded = 0
    for group in groups:
        size = max(LENGTHS[row] for row in group) * len(group)
        assert size <= 200
        padded += size
    assert padded < 1.1 * sum(LENGTHS)
    assert micro_batches([0, 1], [500, 10], 200) == [[0], [1]]
