"""Every row is read as often as asked, in steps of the asked size, and laid out so that nothing is lost."""

from __future__ import annotations

import itertools
import random
import time
from collections import Counter

import pytest
import torch

from jobs.training.examples import Example
from jobs.training.packing import (
    Pack,
    PackSize,
    _moved,
    begins_with,
    best_fit,
    pack_of,
    packs_of,
    plan_run,
    shared_prefix,
)

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


def test_best_fit_holds_every_row_once_in_hardly_more_packs_than_needed() -> None:
    rng = random.Random(0)
    lengths = [min(2000, max(4, int(rng.lognormvariate(5, 0.6)))) for _ in range(50_000)]
    rows = list(range(50_000))
    began = time.process_time()
    packs = best_fit(rows, lengths, 2048)
    # A search through all open packs for every row would take minutes.
    assert time.process_time() - began < 5
    assert sorted(row for pack in packs for row in pack) == rows
    assert max(sum(lengths[row] for row in pack) for pack in packs) <= 2048
    assert len(packs) <= 1.01 * sum(lengths) / 2048 + 1


def test_best_fit_puts_a_row_where_least_remains_and_a_longer_row_alone() -> None:
    assert best_fit([0, 1, 2, 3], [7, 5, 3, 5], 10) == [[0, 2], [1, 3]]
    assert best_fit([0, 1, 2], [4, 900, 4], 10) == [[1], [0, 2]]
    assert best_fit([], [], 10) == []


def example(tokens: list[int], answer: int) -> Example:
    """The last `answer` tokens are learned."""
    return Example(1, tokens, [i >= len(tokens) - answer for i in range(len(tokens))])


SYSTEM = [7, 7, 8, 9, 7, 1]


def test_a_prefix_is_shared_where_most_examples_begin_with_it_and_it_pays() -> None:
    prompted = [example([*SYSTEM, 20 + i, 3, 4, 5], 3) for i in range(6)]
    other = [example([99, 20 + i, 3, 4, 5], 3) for i in range(3)]
    assert shared_prefix([*other, *prompted]) == SYSTEM
    assert shared_prefix([*other, *prompted[:2]]) == []
    long = [example([*SYSTEM, *range(200, 290), 1, 2 + i], 1) for i in range(6)]
    assert len(shared_prefix(long)) == len(SYSTEM) + 90
    unlike = [example([7, *range(10 * i, 10 * i + 10)], 2) for i in range(6)]
    assert shared_prefix(unlike) == []
    assert shared_prefix([]) == []


def test_no_token_of_a_shared_prefix_predicts_a_learned_one() -> None:
    # The answer is the same as well: what predicts its first token must stay with the example.
    same = [example([1, 2, 3, 4, 5, 6], 2) for _ in range(5)]
    assert shared_prefix(same) == [1, 2, 3]
    assert begins_with(same[0], [1, 2, 3])
    assert not begins_with(same[0], [1, 2, 3, 4])
    assert not begins_with(example([1, 2, 3, 4, 5], 3), [1, 2])


def rebuilt(pack: Pack) -> list[tuple[list[int], list[int], list[tuple[int, int]]]]:
    """Each text of a pack with its prefix: its tokens, positions, and (place, target) of what it learns."""
    tokens, positions = pack.token_ids.tolist(), pack.positions.tolist()
    learned = zip(pack.predicts.tolist(), pack.targets.tolist(), pack.weights.tolist(), strict=True)
    real = [(place, target) for place, target, weight in learned if weight]
    texts = []
    for span in pack.layout.spans:
        places = [*range(span.prefix), *range(span.start, span.start + span.length)]
        own = [
            (place - span.start + span.prefix, target)
            for place, target in real
            if span.start <= place < span.start + span.length
        ]
        texts.append(([tokens[i] for i in places], [positions[i] for i in places], own))
    return texts


def whole(one: Example) -> tuple[list[int], list[int], list[tuple[int, int]]]:
    places = [i for i, learned in enumerate(one.learned) if learned and i]
    return (
        one.token_ids.tolist(),
        list(range(len(one.token_ids))),
        [(place - 1, one.token_ids.tolist()[place]) for place in places],
    )


MIXED = [
    example([*SYSTEM, 30, 31, 32], 2),
    example([50, 51], 1),
    example([*SYSTEM, 40, 41, 42, 43], 1),
    Example(1, [60, 61, 62], [True, True, True]),
    example([*SYSTEM, 44], 2),
]


def test_a_pack_holds_every_text_as_it_would_be_alone() -> None:
    pack = pack_of(MIXED, [4, 0, 1, 3], "cpu")
    assert rebuilt(pack) == [whole(MIXED[row]) for row in pack.rows]
    assert sorted(pack.rows) == [0, 1, 3, 4]
    assert pack.real_tokens == len(pack.token_ids) == 9 + 7 + 2 + 3
    assert pack.supervised == len(pack.targets) == 2 + 2 + 1 + 2
    assert pack.layout.key_index is None
    assert pack.layout.query_offsets.tolist() == pack.layout.key_offsets.tolist() == [0, 9, 16, 19, 21]
    assert pack.layout.longest_query == pack.layout.longest_key == 9


def test_texts_behind_a_shared_prefix_are_the_same_texts_and_others_go_in_whole() -> None:
    pack = pack_of(MIXED, range(5), "cpu", SYSTEM)
    # The last learns the token right behind the prefix, which would have to predict it.
    assert set(pack.rows[:2]) == {0, 2}
    assert rebuilt(pack)[1:] == [whole(MIXED[row]) for row in pack.rows]
    assert len(pack.token_ids) == pack.real_tokens - len(SYSTEM)
    layout = pack.layout
    assert layout.key_index is not None and layout.own_keys is not None and layout.prefix_keys is not None
    keys = pack.token_ids[layout.key_index]
    ends = layout.key_offsets.tolist()
    texts = [keys[a:b].tolist() for a, b in itertools.pairwise(ends)]
    assert texts == [text for text, _, _ in rebuilt(pack)]
    assert torch.equal(layout.key_index[layout.own_keys], torch.arange(len(pack.token_ids)))
    assert layout.key_index[layout.prefix_keys].tolist() == [list(range(len(SYSTEM)))] * 2
    # Where no text can use it, it is left out.
    assert pack_of(MIXED, [1, 3], "cpu", SYSTEM).layout.key_index is None


@pytest.mark.parametrize("prefix", [[], SYSTEM])
def test_filling_gives_one_shape_and_adds_nothing_real(prefix: list[int]) -> None:
    size = PackSize(tokens=40, supervised=9, texts=9, longest=10)
    packs = [pack_of(MIXED, rows, "cpu", prefix, size) for rows in ([0, 2], [2])]
    for pack in packs:
        assert rebuilt(pack)[bool(prefix) :][: len(pack.rows)] == [whole(MIXED[row]) for row in pack.rows]
        assert (
            pack.supervised == int(pack.weights.sum()) == sum(MIXED[r].supervised_tokens for r in pack.rows)
        )
        assert sum(span.length for span in pack.layout.spans) == 40
        assert max(span.length for span in pack.layout.spans) <= 10
        assert sorted(pack.layout.query_offsets.tolist()) == pack.layout.query_offsets.tolist()
    first, second = ({**vars(pack), **vars(pack.layout)} for pack in packs)
    for name, value in first.items():
        if isinstance(value, torch.Tensor):
            assert value.shape == second[name].shape, name
    assert first["longest_key"] == second["longest_key"]


def test_what_does_not_fit_into_a_fixed_shape_is_refused() -> None:
    for size in (PackSize(8, 9, 9, 9), PackSize(40, 1, 9, 9), PackSize(40, 9, 3, 9), PackSize(40, 9, 9, 8)):
        with pytest.raises(ValueError, match="do not fit"):
            pack_of(MIXED, [0], "cpu", (), size)
    with pytest.raises(ValueError, match="prefix"):
        pack_of(MIXED, [0, 1], "cpu", SYSTEM, PackSize(40, 9, 9, 9))


def test_packs_share_a_prefix_only_among_rows_that_begin_with_it() -> None:
    packs = packs_of(MIXED, range(5), 13, SYSTEM)
    assert sorted(row for rows, _ in packs for row in rows) == list(range(5))
    assert [sorted(rows) for rows, prefix in packs if prefix] == [[0, 2]]
    for rows, prefix in packs:
        assert len(pack_of(MIXED, rows, "cpu", prefix).token_ids) <= 13
        assert all(begins_with(MIXED[row], prefix) for row in rows)


def test_one_transfer_carries_the_whole_pack() -> None:
    pack = pack_of(MIXED, range(5), "cpu", SYSTEM)
    moved = _moved(pack, torch.device("cpu"))
    for mine, theirs in ((pack, moved), (pack.layout, moved.layout)):
        for name, value in vars(mine).items():
            other = getattr(theirs, name)
            if isinstance(value, torch.Tensor):
                assert value.dtype == other.dtype and torch.equal(value, other), name
            elif name != "layout":
                assert value == other, name
