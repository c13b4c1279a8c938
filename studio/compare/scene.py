"""What one browser tab has asked on the Compare page, and what each side has answered so far."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from jobs.serving.schema import SideAnswer
from jobs.serving.sides import Messages, behind, shared_system, with_system
from storage.adapters import Adapter

STRENGTHS = re.compile(r"\*[\d.]+")


def column(side: str) -> str:
    """A side without its strengths: "k3fa*0.7+m2xe*0.3" -> "k3fa+m2xe"."""
    return STRENGTHS.sub("", side)


@dataclass(frozen=True)
class Turn:
    """One question to all sides: `asked` waits for the answers, `settings` are those of the comparison as JSON."""

    asked: Messages
    wanted: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    answers: list[SideAnswer] = field(default_factory=list)

    @property
    def prompt(self) -> str:
        """The last thing that was said to the sides."""
        return self.asked[-1]["content"]

    @property
    def done(self) -> bool:
        """Whether every side has ended its answer."""
        return bool(self.answers) and all(answer["done"] for answer in self.answers)

    def answer(self, side: str) -> SideAnswer | None:
        """What one side has answered; a blend is the same side at any strengths."""
        return next((answer for answer in self.answers if column(answer["side"]) == column(side)), None)


@dataclass(frozen=True)
class Scene:
    """The turns before, the turn now, and whether they are one conversation."""

    before: tuple[Turn, ...] = ()
    now: Turn | None = None
    goes_on: bool = False

    def next(self, turn: Turn, goes_on: bool) -> Scene:
        """The scene with another question, in the same conversation or on its own."""
        if not goes_on:
            return Scene(now=turn)
        ended = (self.now,) if self.now is not None and self.now.done else ()
        return Scene((*self.before, *ended), turn, True)

    def ended(self) -> Scene:
        """The scene with each answer that was still being written as one that was stopped."""
        if self.now is None or all(answer["done"] for answer in self.now.answers):
            return self
        ended: list[SideAnswer] = [
            answer if answer["done"] else {**answer, "done": True, "finish_reason": "stopped"}
            for answer in self.now.answers
        ]
        return self.answered(ended)

    def answered(self, answers: Sequence[SideAnswer]) -> Scene:
        """The scene with the answers of now."""
        assert self.now is not None
        return replace(self, now=replace(self.now, answers=list(answers)))


def conversation(adapter: Adapter, scene: Scene, side: str) -> Messages:
    """All that one side reads: its own turns before, the question, and the instruction that stands before all.

    A side that joined later reads only the turns that it answered.
    """
    assert scene.now is not None
    messages: Messages = []
    for turn in scene.before:
        if answer := turn.answer(side):
            messages += [*turn.asked, {"role": "assistant", "content": answer["text"]}]
    messages += scene.now.asked
    system = scene.now.settings.get("system")
    if system:
        return with_system(messages, system)
    # A conversation that goes on from several held-out rows would bring several instructions.
    first = [turn for turn in messages if turn["role"] == "system"][:1]
    turns = [turn for turn in messages if turn["role"] != "system"]
    return [*first, *turns] if first else behind(turns, shared_system(adapter.dataset_id))
