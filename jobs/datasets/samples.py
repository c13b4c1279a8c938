"""The sample sets that ship with the studio: one for each thing people come for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from storage.errors import StudioError

_FOLDER = Path(__file__).parent / "samples"


@dataclass(frozen=True)
class Sample:
    """One sample set: OpenAI `messages` as JSONL at `path`."""

    id: str
    name: str
    kind: Literal["tone", "format", "behaviour"]
    description: str
    path: Path


SAMPLES = [
    Sample(
        "tone",
        "Brand voice",
        "tone",
        "A bicycle shop answers its customers, always in the same cheerful voice.",
        _FOLDER / "tone.jsonl",
    ),
    Sample(
        "format",
        "Support ticket",
        "format",
        "A customer's mail goes in, a ticket as JSON comes out.",
        _FOLDER / "format.jsonl",
    ),
    Sample(
        "behaviour",
        "One plain sentence",
        "behaviour",
        "Whatever is asked, the answer is one plain sentence.",
        _FOLDER / "behaviour.jsonl",
    ),
]


def find(sample_id: str) -> Sample:
    """The sample set with this id.

    Raises StudioError for an unknown one.
    """
    for sample in SAMPLES:
        if sample.id == sample_id:
            return sample
    known = ", ".join(sample.id for sample in SAMPLES)
    raise StudioError(f"There is no sample set {sample_id!r}.", f"Choose one of {known}.")
