"""What a comparison may be set to, and what the page and the model server say to each other."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypedDict

from pydantic import BaseModel

from storage.errors import StudioError

NAMED_SIDES = ("base", "few_shot", "adapted")
# The exit status of a model server that finds another one of its data folder: look again for that one.
ALREADY_RUNNING = 3


@dataclass(frozen=True)
class CompareSettings:
    """How a comparison asks its sides; every field has a default, so `{}` is always a good choice."""

    sides: tuple[str, ...] = field(
        default=("base", "few_shot", "adapted"),
        metadata={
            "label": "Sides",
            "unit": "",
            "help": "Who answers: the base model, the base model shown three of your examples, "
            "the adapter; or the ids of adapters made for the same base model.",
            "choices": NAMED_SIDES,
        },
    )
    max_new_tokens: int = field(
        default=256,
        metadata={
            "label": "Longest answer",
            "unit": "tokens",
            "help": "An answer is cut when it reaches this length.",
            "minimum": 1,
            "maximum": 4096,
        },
    )
    temperature: float = field(
        default=0.0,
        metadata={
            "label": "Temperature",
            "unit": "",
            "help": "0 always takes the likeliest token; higher values vary the answers more.",
            "minimum": 0.0,
            "maximum": 2.0,
        },
    )
    seed: int = field(
        default=0,
        metadata={
            "label": "Seed",
            "unit": "",
            "help": "The same seed draws the same answer again, also at a temperature above 0.",
            "minimum": 0,
            "maximum": 2**31 - 1,
        },
    )
    strength: float = field(
        default=1.0,
        metadata={
            "label": "Adapter strength",
            "unit": "×",
            "help": "How strongly the adapter changes the base model: 0 not at all, 1 as trained.",
            "minimum": 0.0,
            "maximum": 2.0,
        },
    )
    system: str | None = field(
        default=None,
        metadata={
            "label": "System message",
            "unit": "",
            "help": "Instruction given before the prompt; left out, the one that all examples share is used.",
        },
    )

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> CompareSettings:
        """Check plain JSON values; numbers may come as text.

        Raises: StudioError naming the field, the value and the allowed range.
        """
        known = {spec.name: spec for spec in fields(cls)}
        for name in values:
            if name not in known:
                raise StudioError(
                    f"“{name}” is not a setting of a comparison.", f"Use: {', '.join(sorted(known))}."
                )
        checked: dict[str, Any] = {}
        for name, value in values.items():
            if name == "sides":
                checked[name] = _sides(value)
            elif name == "system":
                checked[name] = _system(value)
            else:
                checked[name] = _number(name, value, known[name].type == "int", known[name].metadata)
        return cls(**checked)

    def as_json(self) -> dict[str, Any]:
        """The same values as plain JSON."""
        return {**asdict(self), "sides": list(self.sides)}


def _sides(value: Any) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not value or not all(isinstance(side, str) for side in value):
        raise StudioError(
            f"sides is {value!r}.", f"Give a list of {', '.join(NAMED_SIDES)} or ids of adapters."
        )
    if len(set(value)) != len(value):
        raise StudioError("sides names the same side twice.", "Name each side once.")
    return tuple(value)


def _system(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise StudioError(f"system is {value!r}.", "Give a text, or leave it out.")
    return value


def _number(name: str, value: Any, whole: bool, limits: Any) -> int | float:
    low, high = limits["minimum"], limits["maximum"]
    kind = "a whole number" if whole else "a number"
    wanted = StudioError(f"{name} is {value!r}.", f"Give {kind} from {low} to {high}.")
    if isinstance(value, bool):
        raise wanted
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise wanted from None
    if not math.isfinite(number) or not low <= number <= high or (whole and number != int(number)):
        raise wanted
    return int(number) if whole else number


class SideRequest(BaseModel):
    """One conversation for the model server; without an adapter id the base model answers."""

    side: str
    label: str
    adapter_id: str | None = None
    messages: list[dict[str, str]]


class GenerationRequest(BaseModel):
    """Conversations that one base model, with adapters on top, answers together in one batch."""

    base_model_id: str
    requests: list[SideRequest]
    max_new_tokens: int
    temperature: float
    seed: int
    strength: float


class SideAnswer(TypedDict):
    """One side's answer so far; `seconds` count from the start of the batch.

    `tokens` and `prompt_tokens` are what the model really wrote and read; `weights` is the short hash of the
    weights that answered; `finish_reason` is "" until done, then "stop" (the model ended its answer),
    "length" (cut at the longest answer) or "stopped" (by the user).
    """

    side: str
    label: str
    text: str
    tokens: int
    prompt_tokens: int
    weights: str
    seconds: float
    done: bool
    finish_reason: str


class ServerStatus(TypedDict):
    """What the model server holds; `base_loads` counts how often it has read a base model from disk."""

    pid: int
    device: str
    base_model_id: str | None
    adapters: list[str]
    base_loads: int
    generating: bool
    waiting: int
