"""Which rules count: those that the held-out answers keep and that the base model does not keep already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jobs.evaluation.rules.rule import Rule

SHARE = 0.9
SEPARATES = 0.1


@dataclass(frozen=True)
class Judged:
    """A rule with the two shares that decide whether it counts, and why it does not."""

    rule: Rule
    counts: bool
    holds: float  # share of the held-out references that keep it
    base: float | None  # share of the base model's answers to training prompts that keep it
    why: str = ""


def judged(
    rules: Sequence[Rule],
    references: Sequence[tuple[str, str]],
    base_answers: Sequence[tuple[str, str, str]] | None,
) -> list[Judged]:
    """Each rule with its shares: `references` are (prompt, answer), `base_answers` (prompt, wanted, answered).

    The base model's answers are to training prompts, never to the rows that are counted: rules chosen by those
    would flatter the adapter. A user's own rules always count.
    """
    return [_judged(rule, references, base_answers) for rule in rules]


def _judged(
    rule: Rule,
    references: Sequence[tuple[str, str]],
    base_answers: Sequence[tuple[str, str, str]] | None,
) -> Judged:
    kept = [rule.passes(answer, answer, prompt) for prompt, answer in references]
    holds = sum(kept) / len(kept) if kept else 0.0
    base = None
    if base_answers:
        base = sum(rule.passes(answer, wanted, prompt) for prompt, wanted, answer in base_answers) / len(
            base_answers
        )
    why = ""
    if not kept:
        why = "There are no held-out examples to check it on."
    elif holds < SHARE:
        why = f"Only {holds:.0%} of the held-out answers keep it themselves."
    elif base is not None and base > holds - SEPARATES:
        why = f"The base model keeps it already, in {base:.0%} of its answers."
    return Judged(rule, rule.source == "user" or not why, holds, base, why)
