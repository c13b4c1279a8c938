"""The three held-out examples that are asked again and again while a run learns; free of torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jobs.datasets import rows
from storage.errors import StudioError

# Among so many held-out rows, sorted by length: short ones say more in the few words that there is room for.
LOOKED_AT = 64
PLACES = (0.1, 0.35, 0.6)
ANSWER_TOKENS = 48


@dataclass(frozen=True)
class FilmPrompt:
    """One held-out example: what is asked, and the answer that was wanted."""

    row: int
    messages: list[dict[str, str]]
    wanted: str

    def as_json(self) -> dict[str, Any]:
        """As the film's file begins it, without frames."""
        prompt = self.messages[-1]["content"] if self.messages else ""
        return {"row": self.row, "prompt": prompt, "wanted": self.wanted, "frames": []}


def chosen(dataset_id: str) -> list[FilmPrompt]:
    """Always the same up to three held-out rows of a dataset's version; none where it holds out none."""
    try:
        view = rows.opened(dataset_id)
    except StudioError:
        return []
    places = view.of_kind("held_out")
    count = min(LOOKED_AT, len(places))
    if not count:
        return []
    spread = [index * len(places) // count for index in range(count)]
    prompts = sorted((_prompt(row) for row in view.read(places[spread])), key=_length)
    wanted = range(min(3, count)) if count < 6 else [int(share * count) for share in PLACES]
    return [prompts[place] for place in wanted]


def _prompt(row: dict[str, Any]) -> FilmPrompt:
    messages = row["messages"]
    last = max(index for index, turn in enumerate(messages) if turn["role"] == "assistant")
    return FilmPrompt(row["row"], messages[:last], messages[last]["content"])


def _length(prompt: FilmPrompt) -> tuple[int, int]:
    """What rows are sorted by: their characters, then their numbers."""
    return sum(len(turn["content"]) for turn in prompt.messages) + len(prompt.wanted), prompt.row
