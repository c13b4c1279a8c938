"""The sides of a scorecard answer the held-out rows, each side under the same conditions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jobs.base_models import catalogue
from jobs.generation.chat import ChatFormat
from jobs.serving import client
from jobs.serving.schema import NAMED_SIDES, CompareSettings, SideAnswer
from jobs.serving.sides import Messages, behind, requests_for, shared_system
from storage.adapters import Adapter
from storage.errors import StudioError

ROWS_PER_BATCH = 4
LONGEST_ANSWER_TOKENS = 1024

Report = Callable[[str, int | None, int | None], None]


@dataclass(frozen=True)
class HeldOutRow:
    """One example that training never saw: what is asked, and the answer that was wanted."""

    row: int
    messages: Messages
    reference: str

    @classmethod
    def of(cls, row: dict[str, Any]) -> HeldOutRow:
        """Split a dataset row before its last answer."""
        messages = row["messages"]
        last = max(index for index, turn in enumerate(messages) if turn["role"] == "assistant")
        return cls(row["row"], messages[:last], messages[last]["content"])


def answers_of_all_sides(
    adapter: Adapter,
    rows: list[HeldOutRow],
    settings: CompareSettings,
    report: Report,
    should_stop: Callable[[], bool],
) -> list[dict[str, SideAnswer]]:
    """The answers of base, few_shot and adapted to each row, in the order of `rows`.

    Raises: StudioError when stopped or when the model cannot answer; half an answer never counts.
    """
    system = shared_system(adapter.dataset_id)
    answered: list[dict[str, SideAnswer]] = []
    for start in range(0, len(rows), ROWS_PER_BATCH):
        counted = ("Answering held-out rows", start, len(rows))
        report(*counted)
        batch = rows[start : start + ROWS_PER_BATCH]
        requests = []
        for row in batch:
            asked = behind(row.messages, system)
            requests += requests_for(NAMED_SIDES, adapter, adapter.base_model_id, asked)
        answers = client.answers(
            adapter.base_model_id, requests, settings, should_stop, _waits(report, counted)
        )
        if any(answer["finish_reason"] == "stopped" for answer in answers):
            raise StudioError("The scorecard was stopped.", "Start it again when you like.")
        sides = len(NAMED_SIDES)
        for index in range(len(batch)):
            own = answers[index * sides : (index + 1) * sides]
            answered.append({answer["side"]: answer for answer in own})
    report("Answering held-out rows", len(rows), len(rows))
    return answered


def _waits(report: Report, counted: tuple[str, int, int]) -> Callable[[str], None]:
    """Says why there are no answers now; "" says that they go on, so what was counted stands there again."""

    def tell(words: str) -> None:
        if words:
            report(words, None, None)
        else:
            report(*counted)

    return tell


def longest_answer(adapter: Adapter, references: list[str]) -> int:
    """How many tokens an answer may have: what the wanted answers need, and a quarter more."""
    folder = catalogue.find(adapter.base_model_id).folder
    if folder is None:
        raise StudioError(
            f"The base model “{adapter.base_model_id}” is not on this computer.",
            "Fetch it first, on the Model page.",
        )
    chat = ChatFormat.load(folder)
    longest = max(len(chat.prompt_ids([{"role": "user", "content": text}])) for text in references)
    return min(longest * 5 // 4, LONGEST_ANSWER_TOKENS)
