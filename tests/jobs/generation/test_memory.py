"""Keys and values of rows that are answered together."""

from __future__ import annotations

import torch

from jobs.generation.memory import Memory, look_back
from jobs.training.lean_layer import Sizes

SIZES = Sizes(heads=4, kv_heads=2, head_size=8, eps=1e-5, scale=0.3)


def test_what_was_no_number_before_leaves_no_trace() -> None:
    """As after a broken adapter: the places behind a row's own tokens hold anything."""
    torch.manual_seed(0)
    query = torch.randn(2, 4, 8)
    keys, values = torch.randn(3, 2, 16, 8), torch.randn(3, 2, 16, 8)
    slots, lengths = torch.tensor([2, 0]), torch.tensor([1, 9])
    wanted = look_back(query, keys, values, slots, lengths, 0.3)
    keys[2, :, 2:], values[2, :, 2:] = torch.nan, torch.nan
    assert torch.equal(look_back(query, keys, values, slots, lengths, 0.3), wanted)


def test_a_little_more_room_than_asked_for_serves_the_next_batch_too() -> None:
    like = torch.zeros(1)
    assert [Memory.of(SIZES, 2, 3, room, like).room for room in (1, 64, 65)] == [64, 64, 128]
    assert Memory.of(SIZES, 2, 3, 5, like).slots == 3
