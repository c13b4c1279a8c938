"""What is kept of the tokens that rows have read: keys and values in places that never move."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from jobs.training.attention import attend_forward
from jobs.training.lean_layer import Positions, Sizes

ROOM_STEP = 64


@dataclass(frozen=True)
class Memory:
    """Keys and values, each (layers, slots, key-value heads, room, head_size); a row keeps its slot to its end."""

    keys: Tensor
    values: Tensor

    @classmethod
    def of(cls, sizes: Sizes, layers: int, slots: int, room: int, like: Tensor) -> Memory:
        """Room for `room` tokens, rounded up, of each of `slots` rows."""
        room = -(-room // ROOM_STEP) * ROOM_STEP
        shape = (layers, slots, sizes.kv_heads, room, sizes.head_size)
        return cls(like.new_zeros(shape), like.new_zeros(shape))

    @property
    def slots(self) -> int:
        """How many rows have a place."""
        return self.keys.shape[1]

    @property
    def room(self) -> int:
        """The most tokens of a row."""
        return self.keys.shape[3]


@dataclass(frozen=True)
class Reading(Positions):
    """Whole texts are read, and remembered: token i is number `places[i]` of the row in slot `slots[i]`."""

    memory: Memory
    slots: Tensor
    places: Tensor

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float
    ) -> tuple[Tensor, Any]:
        """Attention inside each text; its keys and values go into memory."""
        _remember(self.memory, layer, self.slots, self.places, key, value)
        return attend_forward(query, key, value, self.layout, scale)


# (query, keys and values of a layer, slots, lengths, scale) → (rows, heads, head_size)
Attend = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, float], Tensor]


@dataclass(frozen=True)
class Stepping(Positions):
    """One more token of every row is read; before it the row in slot `slots[i]` has `lengths[i]` tokens."""

    memory: Memory
    slots: Tensor
    lengths: Tensor
    look: Attend

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float
    ) -> tuple[Tensor, Any]:
        """What each row's new token reads from all of its row."""
        memory = self.memory
        _remember(memory, layer, self.slots, self.lengths, key, value)
        looked = self.look(query, memory.keys[layer], memory.values[layer], self.slots, self.lengths, scale)
        return looked, None


def _remember(memory: Memory, layer: int, slots: Tensor, places: Tensor, key: Tensor, value: Tensor) -> None:
    memory.keys[layer][slots, :, places] = key
    memory.values[layer][slots, :, places] = value


def look_back(
    query: Tensor, keys: Tensor, values: Tensor, slots: Tensor, lengths: Tensor, scale: float
) -> Tensor:
    """What every row's query (rows, heads, head_size) reads from its first `lengths` + 1 keys, in plain torch."""
    longest = int(lengths.max()) + 1
    rows, heads, size = query.shape
    kv_heads = keys.shape[1]
    own_keys, own_values = keys[slots, :, :longest], values[slots, :, :longest]
    grouped = (query * scale).view(rows, kv_heads, heads // kv_heads, size)
    scores = (grouped @ own_keys.transpose(2, 3)).float()
    unread = torch.arange(longest, device=query.device) > lengths[:, None]
    scores.masked_fill_(unread[:, None, None], float("-inf"))
    # What an earlier row of the slot has left counts nothing, and nothing times no number would be none.
    own_values = own_values.masked_fill(unread[:, None, :, None], 0)
    read = scores.softmax(-1).to(values.dtype) @ own_values
    return read.view(rows, heads, size)
