"""Checkable habits, found in the wanted answers alone; no judge model, no key. Importing it takes no torch."""

from __future__ import annotations

from jobs.evaluation.rules.edits import applied
from jobs.evaluation.rules.instruction import instruction
from jobs.evaluation.rules.judging import Judged, judged
from jobs.evaluation.rules.mining import KINDS, MOST_MINED, mine
from jobs.evaluation.rules.rule import ALL_KINDS, Field, Kind, Rule

__all__ = [
    "ALL_KINDS", "KINDS", "MOST_MINED", "Field", "Judged", "Kind", "Rule", "applied", "instruction",
    "judged", "mine",
]  # fmt: skip
