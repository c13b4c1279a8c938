"""What each side of a comparison is asked: the same prompt, with what belongs to that side around it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache

from jobs.datasets import rows
from jobs.datasets.row_view import RowView
from jobs.evaluation import plan, schemas
from jobs.serving import side_names
from jobs.serving.context import ROOM_FOR_AN_ANSWER, Messages
from jobs.serving.loadable import look_of
from jobs.serving.schema import SideRequest, check_whole
from jobs.serving.settled import Settled
from jobs.serving.shots import SHOTS, shots, similar_shots, with_shots
from jobs.serving.side_names import (
    ADAPTED,
    BASE,
    CONSTRAINED,
    FEW_SHOT,
    INSTRUCTION,
    PROMPTED_SIDES,
    SIMILAR,
    Part,
)
from jobs.training import folders
from storage import adapters, files
from storage.adapters import Adapter
from storage.errors import StudioError

__all__ = ["SHOTS", "Messages", "shots", "similar_shots", "with_shots"]
# So many characters of an id are the least that tells two adapters apart.
SHORTEST_END = 4
ROLES = ("system", "user", "assistant")


def shared_system(dataset_id: str) -> str | None:
    """The system message that all training rows begin with; None when they differ or the dataset is gone.

    An adapter learned its answers behind this message, so it is asked behind it too.
    """
    if not dataset_id or not files.dataset_folder(dataset_id).exists():
        return None
    return _shared_system(rows.opened(dataset_id), dataset_id)


@lru_cache(maxsize=16)
def _shared_system(_view: RowView, dataset_id: str) -> str | None:
    """Kept, because of a large set it takes a while; the view stands for the very rows."""
    found: set[str | None] = set()
    for row in rows.iterate(dataset_id, "train"):
        found.add(_system_of(row["messages"]))
        if len(found) > 1:
            return None
    return found.pop() if found else None


def behind(messages: Messages, system: str | None) -> Messages:
    """The conversation behind `system`, unless it brings a system message of its own."""
    if not system or _system_of(messages) is not None:
        return messages
    return [{"role": "system", "content": system}, *messages]


def with_system(messages: Messages, system: str) -> Messages:
    """The conversation behind `system` in place of its own; "" leaves none."""
    return behind([turn for turn in messages if turn["role"] != "system"], system)


def conversation(prompt: str | Messages) -> Messages:
    """A prompt as a conversation that waits for an answer.

    Raises: StudioError when there is nothing to answer, or a turn is none.
    """
    if not isinstance(prompt, (str, list)):
        raise StudioError(f"The prompt is {prompt!r}.", "Give a text, or a list of turns.")
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    for number, turn in enumerate(messages, 1):
        if (
            not isinstance(turn, dict)
            or turn.get("role") not in ROLES
            or not isinstance(turn.get("content"), str)
        ):
            raise StudioError(
                f"Turn {number} of the conversation is {str(turn)[:80]!r}.",
                f'Give a text, or turns as {{"role": …, "content": …}} with the roles {", ".join(ROLES)}.',
            )
        check_whole(turn["content"], "The prompt")
    if not messages or messages[-1]["role"] != "user" or not messages[-1]["content"].strip():
        raise StudioError("The prompt is empty.", "Write what the model should answer.")
    return [{"role": turn["role"], "content": turn["content"]} for turn in messages]


def requests_for(
    sides: Sequence[str],
    adapter: Adapter | None,
    base_model_id: str,
    messages: Messages,
    strength: float = 1.0,
    exclude_row: int | None = None,
    settled: Settled | None = None,
    room: int = ROOM_FOR_AN_ANSWER,
) -> list[SideRequest]:
    """One request for each side, in the order of `sides`.

    `strength` is that of "adapted"; other adapters answer as strongly as is kept with them. Examples come from
    what the adapter was trained on, never from the row `exclude_row`, and as many as leave `room` for an answer of so
    many tokens. What is `settled` stays as it was then.
    Raises: StudioError when a side needs an adapter that is not given or an example that is not there, or is one
    made for another base model.
    """
    asked = _Asked(adapter, base_model_id, messages, strength, exclude_row, settled or Settled(), room)
    return [asked.by(side) for side in sides]


def name_of(adapter: Adapter) -> str:
    """An adapter's name; where others have the same one, with as much of its id's end as tells them apart."""
    others = adapters.namesakes(adapter)
    if not others:
        return adapter.name
    lengths = range(SHORTEST_END, len(adapter.id))
    short = (adapter.id[-length:] for length in lengths)
    end = next((end for end in short if not any(other.endswith(end) for other in others)), adapter.id)
    return f"{adapter.name} (…{end})" if end != adapter.id else f"{adapter.name} ({end})"


def shown_label(side: str, fewest: int, most: int) -> str:
    """What the base model is called that is shown so many examples, or at most so many where not all fit."""
    kind = "similar example" if side == SIMILAR else "example"
    up_to = "" if fewest == most else "up to "
    return f"Base model + {up_to}{most} {kind}{'' if most == 1 else 's'}"


def offered(adapter: Adapter) -> list[tuple[str, str]]:
    """The sides that can answer beside this adapter, as (label, side): those that make sense, the nearest first."""
    found = [("Base model", BASE), (name_of(adapter), ADAPTED)]
    with suppress(StudioError):  # an adapter outlives its examples
        schema = schemas.of(adapter.dataset_id)
        found += [
            ("Base model + instruction", INSTRUCTION),
            (shown_label(FEW_SHOT, SHOTS, SHOTS), FEW_SHOT),
            (shown_label(SIMILAR, SHOTS, SHOTS), SIMILAR),
        ]
        if schema is not None:
            found.append(("Base model held to JSON", CONSTRAINED))
    looks = folders.looks(files.run_folder(adapter.job_id)) if adapter.job_id else []
    found += [(_look_label(adapter, step), f"{adapter.id}@{step}") for step, _ in reversed(looks)]
    others = adapters.list_all(adapter.base_model_id)
    return found + [(name_of(other), other.id) for other in others if other.id != adapter.id]


@dataclass(frozen=True)
class _Asked:
    """What all sides are asked, and whom they are compared with."""

    adapter: Adapter | None
    base_model_id: str
    messages: Messages
    strength: float
    exclude_row: int | None
    settled: Settled
    room: int

    def by(self, side: str) -> SideRequest:
        """The request to one side."""
        if side == BASE:
            return SideRequest(side, "Base model", self.messages)
        if side in PROMPTED_SIDES:
            return self._prompted(side)
        if side == ADAPTED:
            adapter = self._needs_adapter(side)
            return self._adapted(side, [(Part(adapter.id, None, self.strength), adapter)])
        parts = side_names.parts_of(side)
        return self._adapted(side, [(part, adapters.get(part.adapter_id)) for part in parts])

    def _prompted(self, side: str) -> SideRequest:
        """The base model, asked as well as one can."""
        dataset_id = self._needs_adapter(side).dataset_id
        if side == INSTRUCTION:
            instruction = self.settled.instruction
            if instruction is None:
                instruction = plan.instruction_of(dataset_id)
            if not instruction:
                raise StudioError(
                    "The examples have no habit in common that an instruction could ask for.",
                    "Write the instruction yourself, on the scorecard.",
                )
            system = "\n\n".join(filter(None, [_system_of(self.messages), instruction]))
            return SideRequest(side, "Base model + instruction", with_system(self.messages, system))
        if side == CONSTRAINED:
            schema = schemas.of(dataset_id)
            if schema is None:
                raise StudioError(
                    "The answers of the examples are not JSON, so there is no form to hold the base model to.",
                    "Leave out the side “constrained”.",
                )
            return SideRequest(side, "Base model held to JSON", self.messages, schema=schema)
        if side == SIMILAR:
            examples = similar_shots(dataset_id, self.messages[-1]["content"], SHOTS, self.exclude_row)
        else:
            examples = shots(dataset_id, exclude_row=self.exclude_row)
        asked, shown = with_shots(self.messages, examples, self.base_model_id, self.room)
        return SideRequest(side, shown_label(side, shown, shown), asked, examples=shown)

    def _adapted(self, side: str, parts: Sequence[tuple[Part, Adapter]]) -> SideRequest:
        """The base model with the weights of these adapters."""
        strengths, labels = {}, []
        for part, adapter in parts:
            if adapter.base_model_id != self.base_model_id:
                raise StudioError(
                    f"The adapter “{adapter.name}” was made for the base model {adapter.base_model_id}, "
                    f"not for {self.base_model_id}.",
                    "Compare adapters of the same base model.",
                )
            strength, label = part.strength, name_of(adapter)
            if part.step is not None:
                look_of(adapter.job_id, adapter.id, part.step)
                label = _look_label(adapter, part.step)
            if strength is None:
                strength = self.settled.strength_of(adapter, part.step)
            strengths[part.weights] = strength
            labels.append(label if strength == 1.0 and len(parts) == 1 else f"{strength:g} × {label}")
        return SideRequest(side, " + ".join(labels), self.messages, adapters=strengths)

    def _needs_adapter(self, side: str) -> Adapter:
        if self.adapter is None:
            raise StudioError(f"The side {side} needs an adapter.", "Choose an adapter first.")
        return self.adapter


def _look_label(adapter: Adapter, step: int) -> str:
    return f"{name_of(adapter)}, step {step:,}"


def _system_of(messages: Messages) -> str | None:
    return messages[0]["content"] if messages and messages[0]["role"] == "system" else None
