"""What a slot's earlier row has left changes nothing for the row that has it now."""

from __future__ import annotations

import torch

from jobs.generation.memory import look_back


def test_what_was_no_number_before_leaves_no_trace() -> None:
    """As after a broken adapter: the places behind a row's own tokens hold anything."""
    torch.manual_seed(0)
    query = torch.randn(2, 4, 8)
    keys, values = torch.randn(3, 2, 16, 8), torch.randn(3, 2, 16, 8)
    slots, lengths = torch.tensor([2, 0]), torch.tensor([1, 9])
    wanted = look_back(query, keys, values, slots, lengths, 0.3)
    keys[2, :, 2:], values[2, :, 2:] = torch.nan, torch.nan
    assert torch.equal(look_back(query, keys, values, slots, lengths, 0.3), wanted)
