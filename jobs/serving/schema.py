"""What a comparison may be set to, and what the page and the model server say to each other."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypedDict

from jobs.serving import side_names
from jobs.serving.side_names import NAMED_SIDES
from storage.adapters import STRONGEST
from storage.errors import StudioError

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
            "help": "Who answers: the base model; the base model with a written instruction, with three of your "
            "examples, with the three most similar ones, or held to your answers' JSON; the adapter; ids of "
            "adapters made for the same base model, saved looks of their runs (id@step), or blends "
            "(id*0.7+id2*0.3).",
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
            "maximum": STRONGEST,
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
                checked[name] = side_names.checked(value)
            elif name == "system":
                checked[name] = _system(value)
            else:
                checked[name] = _number(name, value, known[name].type == "int", known[name].metadata)
        return cls(**checked)

    def as_json(self) -> dict[str, Any]:
        """The same values as plain JSON."""
        return {**asdict(self), "sides": list(self.sides)}


def _system(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise StudioError(f"system is {value!r}.", "Give a text, or leave it out.")
    check_whole(value or "", "The system message")
    return value


def check_whole(text: str, what: str) -> None:
    """Refuse half a character, as a cut emoji leaves it: no tokens can be made of it.

    Raises: StudioError naming the text.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise StudioError(f"{what} holds half a character.", "Write it again.") from None


def _number(name: str, value: Any, whole: bool, limits: Any) -> int | float:
    low, high = limits["minimum"], limits["maximum"]
    kind = "a whole number" if whole else "a number"
    wanted = StudioError(f"{limits['label']} ({name}) is {value!r}.", f"Give {kind} from {low} to {high}.")
    if isinstance(value, bool):
        raise wanted
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise wanted from None
    if not math.isfinite(number) or not low <= number <= high or (whole and number != int(number)):
        raise wanted
    return int(number) if whole else number


@dataclass(frozen=True)
class SideRequest:
    """One conversation for the model server.

    `adapters` are the names of the weights on the base model with their strengths: none for the base model alone,
    several for a blend. With `schema` the answer is held to that JSON schema. `max_new_tokens` goes before the
    batch's. `examples` is how many training examples stand before the question, None where none were to.
    """

    side: str
    label: str
    messages: list[dict[str, str]]
    adapters: dict[str, float] = field(default_factory=dict)
    schema: dict[str, Any] | None = None
    max_new_tokens: int | None = None
    examples: int | None = None


@dataclass(frozen=True)
class GenerationRequest:
    """Conversations that one base model, with adapters on top, answers together in one batch.

    One in the `background` waits for all questions of people; those of one `asker` wait for each other.
    """

    base_model_id: str
    requests: list[SideRequest]
    max_new_tokens: int
    temperature: float
    seed: int
    background: bool = False
    asker: str = ""


@dataclass(frozen=True)
class WeighedAnswer:
    """An answer whose likelihood behind a conversation is asked for; `adapters` as in SideRequest."""

    adapters: dict[str, float]
    messages: list[dict[str, str]]
    answer: str


@dataclass(frozen=True)
class LikelihoodRequest:
    """Answers whose likelihoods under one base model, with adapters on top, are asked for."""

    base_model_id: str
    continuations: list[WeighedAnswer]
    background: bool = False
    asker: str = ""


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


class Likelihood(TypedDict):
    """How likely an answer is.

    `nats` is the summed negative log-likelihood of its `tokens`, `divergence` the summed KL(base ‖ these weights)
    over the same places.
    """

    tokens: int
    nats: float
    divergence: float


class ServerStatus(TypedDict):
    """What the model server holds; `base_loads` counts how often it has read a base model from disk."""

    pid: int
    device: str
    base_model_id: str | None
    adapters: list[str]
    base_loads: int
    generating: bool
    waiting: int
