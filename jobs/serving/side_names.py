"""What the sides of a comparison are called, and which weights a name stands for."""

from __future__ import annotations

import re
from dataclasses import dataclass

from storage.adapters import STRONGEST
from storage.errors import StudioError

BASE, INSTRUCTION, FEW_SHOT, SIMILAR, CONSTRAINED, ADAPTED = NAMED_SIDES = (
    "base",
    "instruction",
    "few_shot",
    "similar",
    "constrained",
    "adapted",
)
# The base model's own weights answer for these.
PROMPTED_SIDES = (INSTRUCTION, FEW_SHOT, SIMILAR, CONSTRAINED)
# They are shown training examples before the question.
SHOWN_SIDES = (FEW_SHOT, SIMILAR)
MOST_SIDES = 6
MOST_BLENDED = 4
# An adapter, or "@" one of the looks saved of its run, "*" how strongly: "k3fa-1@120*0.7".
_PART = re.compile(r"(?P<adapter>[a-z0-9-]+)(?:@(?P<step>\d{1,9}))?(?:\*(?P<strength>\d+(?:\.\d+)?))?")
_WANTED = (
    f"Give {', '.join(NAMED_SIDES)}, the id of an adapter, id@step for a saved look of its run,"
    " or a blend such as id*0.7+id2*0.3."
)


@dataclass(frozen=True)
class Part:
    """One adapter of a side, or a saved look of its run; without `strength` it is as kept with the adapter."""

    adapter_id: str
    step: int | None
    strength: float | None

    @property
    def weights(self) -> str:
        """The name under which the model server loads these weights."""
        return self.adapter_id if self.step is None else f"{self.adapter_id}@{self.step}"


def checked(sides: object) -> tuple[str, ...]:
    """The sides of a comparison, each known by its form; whether an adapter is there is found out later.

    Raises: StudioError naming the side that cannot be.
    """
    if not isinstance(sides, (list, tuple)) or not sides or not all(isinstance(side, str) for side in sides):
        raise StudioError(f"sides is {sides!r}.", f"Give a list. {_WANTED}")
    for side in sides:
        parts_of(side)
        if sides.count(side) > 1:
            raise StudioError(f"sides names the same side twice: “{side}”.", "Name each side once.")
    if len(sides) > MOST_SIDES:
        raise StudioError(f"sides has {len(sides)} sides.", f"Compare at most {MOST_SIDES} at a time.")
    return tuple(sides)


def parts_of(side: str) -> list[Part]:
    """The adapters that a side adds to the base model; none for a side with a name of its own.

    Raises: StudioError for a name that is none.
    """
    if side in NAMED_SIDES:
        return []
    parts = []
    for text in side.split("+"):
        found = _PART.fullmatch(text)
        if found is None:
            raise StudioError(f"“{side}” is not a side of a comparison.", _WANTED)
        step, strength = found["step"], found["strength"]
        parts.append(
            Part(found["adapter"], int(step) if step else None, float(strength) if strength else None)
        )
    if len(parts) > MOST_BLENDED:
        raise StudioError(f"“{side}” blends {len(parts)} adapters.", f"Blend at most {MOST_BLENDED}.")
    if len({part.weights for part in parts}) < len(parts):
        raise StudioError(f"“{side}” names the same adapter twice.", "Name each adapter of a blend once.")
    for part in parts:
        if part.strength is not None and part.strength > STRONGEST:
            raise StudioError(
                f"“{side}” uses “{part.weights}” at strength {part.strength:g}.",
                f"Give a number from 0 to {STRONGEST}.",
            )
    return parts
