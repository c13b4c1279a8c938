"""What sides depend on that people may change at any time, as it was when somebody asked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jobs.evaluation import plan
from jobs.serving.side_names import ADAPTED, INSTRUCTION, NAMED_SIDES, parts_of
from storage import adapters
from storage.adapters import Adapter

_HASH_CHARACTERS = 8


@dataclass(frozen=True)
class Settled:
    """The strengths kept with adapters, by id, and the written instruction; what is not in it is as it is now."""

    strengths: Mapping[str, float] = field(default_factory=dict)
    instruction: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The same as plain JSON."""
        return {"strengths": dict(self.strengths), "instruction": self.instruction}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Settled:
        """What `as_json` gave; of {} nothing is settled."""
        return cls(dict(values.get("strengths", {})), values.get("instruction"))

    def strength_of(self, adapter: Adapter, step: int | None) -> float:
        """How strongly an adapter answers where a side does not say; a saved look of its run is as trained."""
        # What was kept is said of the whole adapter, not of what it was on its way.
        return self.strengths.get(adapter.id, adapter.strength) if step is None else 1.0

    def name(self, side: str, adapter: Adapter) -> str:
        """A side's name that is another one when it is asked otherwise; `adapter` is the one of “adapted”."""
        if side == INSTRUCTION:
            digest = hashlib.sha256((self.instruction or "").encode()).hexdigest()
            return f"{side}:{digest[:_HASH_CHARACTERS]}"
        if side == ADAPTED:
            return _with_strength(side, self.strength_of(adapter, None))
        if side in NAMED_SIDES:
            return side
        names = []
        for part in parts_of(side):
            strength = part.strength
            if strength is None:
                strength = self.strength_of(adapters.get(part.adapter_id), part.step)
            names.append(_with_strength(part.weights, strength))
        return "+".join(names)


def settle(sides: Sequence[str], adapter: Adapter) -> Settled:
    """What these sides depend on as it is now; `adapter` is the one of “adapted”.

    Raises: StudioError when an adapter or the examples that tell the instruction are gone.
    """
    parts = [part for side in sides for part in parts_of(side)]
    strengths = {part.adapter_id: adapters.get(part.adapter_id).strength for part in parts}
    instruction = plan.instruction_of(adapter.dataset_id) if INSTRUCTION in sides else None
    return Settled({**strengths, adapter.id: adapter.strength}, instruction)


def _with_strength(name: str, strength: float) -> str:
    return name if strength == 1 else f"{name}*{strength:g}"
