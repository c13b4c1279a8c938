"""Who answers the held-out rows on a scorecard, and what each of them is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jobs.base_models import catalogue
from jobs.datasets.checks.texts import normal
from jobs.datasets.rows import iterate
from jobs.evaluation import plan, schemas
from jobs.evaluation.held_out import HeldOutRow, Messages, answer_lengths, rows_of, that_fit
from jobs.generation import constrained
from jobs.serving import side_names, sides
from jobs.serving.schema import SideRequest
from jobs.serving.sides import behind, shared_system
from storage import adapters, datasets, files
from storage.adapters import Adapter
from storage.errors import StudioError
from storage.plans import Plan

__all__ = ["Arms", "HeldOutRow", "arms_of", "base_folder", "earlier_adapters"]

# Answered by the base model alone: so many tell what it does anyway.
TRAINING_PROMPTS = 20
# What was there before, on the same examples: whether it got better.
MOST_EARLIER = 1


@dataclass(frozen=True)
class Arms:
    """The sides of one card in the order in which they are shown, and the rows that they answer.

    `adapter` is the one that is judged, on the dataset that it is judged by; `limits` are the longest answers in
    tokens, row by row; `learned` and `too_long` are the numbers of rows that are left out, and `not_asked` tells of
    every side that is: {"side", "why"}.
    """

    adapter: Adapter
    sides: tuple[str, ...]
    rows: list[HeldOutRow]
    limits: list[int]
    training: list[HeldOutRow]
    training_limits: list[int]
    learned: list[int]
    too_long: list[int]
    not_asked: list[dict[str, str]]
    system: str | None
    instruction: str
    schema: dict[str, Any] | None

    def requests(self, index: int) -> list[SideRequest]:
        """What every side is asked of one held-out row."""
        return self.asked(self.sides, index)

    def asked(self, named: Sequence[str], index: int) -> list[SideRequest]:
        """What some sides are asked of one held-out row."""
        return self._asked(named, self.rows[index], self.limits[index])

    def training_request(self, index: int) -> SideRequest:
        """What the base model is asked of one training row."""
        return self._asked(("base",), self.training[index], self.training_limits[index])[0]

    def messages(self, index: int) -> Messages:
        """The conversation of one held-out row, as base model and adapter are asked it."""
        return behind(self.rows[index].messages, self.system)

    def _asked(self, named: Sequence[str], row: HeldOutRow, limit: int) -> list[SideRequest]:
        asked = sides.requests_for(
            named,
            self.adapter,
            self.adapter.base_model_id,
            behind(row.messages, self.system),
            self.adapter.strength,
            room=limit,
        )
        return [replace(request, max_new_tokens=limit) for request in asked]


def arms_of(
    adapter: Adapter, dataset_id: str, rows: int, named: Sequence[str] | None, plan_now: Plan
) -> Arms:
    """The arms of a card: those that are named, as far as there can be such, else all that there can be.

    Raises: StudioError when the base model or the rows are missing, or too long for the model.
    """
    held_out = rows_of(dataset_id, "held_out", rows)
    unseen = _unseen(adapter, dataset_id, held_out)
    adapter = replace(adapter, dataset_id=dataset_id)
    folder = base_folder(adapter.base_model_id)
    schema = schemas.of(dataset_id)
    instruction = plan.instruction_of(dataset_id, plan_now)
    system = shared_system(dataset_id)
    before = [{"role": "system", "content": "\n\n".join(filter(None, (system, instruction)))}]
    fitting = that_fit(folder, unseen, before)
    training = that_fit(folder, rows_of(dataset_id, "train", TRAINING_PROMPTS), before)
    if held_out and not unseen:
        raise StudioError(
            f"“{adapter.name}” was trained on every held-out example that it would be asked here.",
            "Check it on examples that it has not learned from.",
        )
    if not fitting:
        raise StudioError(
            "There is no held-out example that the base model can read."
            if held_out
            else "This dataset has no held-out examples.",
            "Add more examples; some of them are then kept aside for the test.",
        )
    wanted = named or [
        *side_names.NAMED_SIDES,
        *(one.id for one in earlier_adapters(adapter)[:MOST_EARLIER]),
    ]
    arms = Arms(
        adapter=adapter,
        sides=tuple(wanted),
        rows=fitting,
        limits=answer_lengths(folder, fitting),
        training=training,
        training_limits=answer_lengths(folder, training),
        learned=[row.row for row in held_out if row not in unseen],
        too_long=[row.row for row in unseen if row not in fitting],
        not_asked=[],
        system=system,
        instruction=instruction,
        schema=schema,
    )
    return _without(arms, {side: why for side in wanted if (why := _why_not(side, arms)) is not None})


def _unseen(adapter: Adapter, dataset_id: str, found: list[HeldOutRow]) -> list[HeldOutRow]:
    """Without what the adapter was trained to answer: other examples may share rows with its own.

    All versions of its own keep the same rows aside. Where its own are gone, nobody can tell.
    """
    own = adapter.dataset_id
    if own == dataset_id or not files.dataset_folder(own).is_dir():
        return found
    if datasets.get(own).family == datasets.get(dataset_id).family:
        return found
    asked = {_conversation(row) for row in found}
    learned = {key for row in iterate(own, "train") if (key := _conversation(HeldOutRow.of(row))) in asked}
    return [row for row in found if _conversation(row) not in learned]


def _conversation(row: HeldOutRow) -> tuple[str, ...]:
    return tuple(normal(turn["content"]) for turn in row.messages if turn["role"] != "system")


def _why_not(side: str, arms: Arms) -> str | None:
    """Why a side cannot be asked, which must not end the whole check; "" where nobody would expect it."""
    if side == side_names.INSTRUCTION and not arms.instruction:
        return (
            "Your answers share no habit that could be asked for in writing. Write the instruction yourself."
        )
    if side == side_names.CONSTRAINED:
        if arms.schema is None:
            return ""
        try:
            constrained.check(arms.schema)
        except StudioError as refused:
            return f"{refused.message} Your answers may be too large, too varied, or hold half a character."
    if side in side_names.SHOWN_SIDES and not any(
        arms.asked([side], index)[0].examples for index in range(len(arms.rows))
    ):
        return "No training example fits before any of the questions: the model reads too little at once."
    return None


def _without(arms: Arms, reasons: dict[str, str]) -> Arms:
    return replace(
        arms,
        sides=tuple(side for side in arms.sides if side not in reasons),
        not_asked=[{"side": side, "why": why} for side, why in reasons.items() if why],
    )


def earlier_adapters(adapter: Adapter) -> list[Adapter]:
    """Adapters made before this one, of the same base model on versions of the same examples; the newest first.

    Those that were to learn from a part of the examples only are no rivals.
    """
    try:
        family = datasets.get(adapter.dataset_id).family
    except StudioError:
        return []
    versions = {version.id for version in datasets.versions(family)}
    found = adapters.list_all(adapter.base_model_id)
    return [
        one
        for one in found
        if one.dataset_id in versions
        and one.created_at < adapter.created_at
        and one.id != adapter.id
        and one.settings.get("train_share", 1.0) == 1.0
    ]


def base_folder(base_model_id: str) -> Path:
    """Where the base model lies; raises StudioError where it is not on this computer."""
    folder = catalogue.find(base_model_id).folder
    if folder is None:
        raise StudioError(
            f"The base model “{base_model_id}” is not on this computer.",
            "Fetch it first, on the Model page.",
        )
    return folder
