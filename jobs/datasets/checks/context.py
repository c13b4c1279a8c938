"""What the fixes need to know of a whole dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class FixContext:
    """What fixes need to know of the whole dataset, as the Checker found it.

    `systems` says which system prompt is meant by each that differs only in spelling; `known` are addresses
    and numbers that are the user's own, said in many answers, and stay.
    """

    systems: Mapping[str, str] = field(default_factory=dict)
    known: frozenset[str] = frozenset()

    def as_json(self) -> dict[str, Any]:
        """As it is stored."""
        return {"systems": dict(self.systems), "known": sorted(self.known)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> FixContext:
        """As it was stored."""
        return cls(dict(value.get("systems", {})), frozenset(value.get("known", ())))
