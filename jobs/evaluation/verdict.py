"""The scorecard in one sentence, which claims no more than the intervals allow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from jobs.evaluation.rules import Rule
from jobs.evaluation.statistics import Interval, paired_difference

# Below this a single lucky row moves every rate by more than a tenth.
FEWEST_ROWS = 8
# Differences of the pass rates within a tenth are called no effect, once the interval is that narrow.
NO_EFFECT = 0.1

# For each side, rows × rules: did the answer keep the rule?
Passed = Mapping[str, Sequence[Sequence[bool]]]


@dataclass(frozen=True)
class Verdict:
    """What the card says on top: works, prompting_does_as_well, no_effect, worse or cannot_tell."""

    code: str
    sentence: str

    def as_json(self) -> dict[str, str]:
        """The verdict as the card holds it."""
        return asdict(self)


def verdict(passed: Passed, rules: Sequence[Rule], tokens_saved: float) -> Verdict:
    """Weigh the adapter against the base model, then against the base model with examples in its prompt.

    `tokens_saved` is how many more prompt tokens the examples cost in each call.
    """
    rows = len(passed["adapted"])
    if rows < FEWEST_ROWS:
        return Verdict(
            "cannot_tell",
            f"Cannot tell: {rows} held-out examples are too few; at least {FEWEST_ROWS} are needed.",
        )
    if not rules:
        return Verdict(
            "cannot_tell",
            "Cannot tell by counting: the wanted answers share no habit that can be checked. "
            "Read the answers side by side.",
        )
    scores = {side: [float(np.mean(row)) for row in kept] for side, kept in passed.items()}
    gain = paired_difference(scores["adapted"], scores["base"])
    over_prompting = paired_difference(scores["adapted"], scores["few_shot"])
    if gain.high < 0:
        return Verdict("worse", f"It made things worse: {_largest_change(passed, rules, rows, -1)}.")
    if gain.low <= 0:
        return _undecided(gain, rows)
    if over_prompting.low > 0:
        return Verdict("works", _beyond_prompting(passed, rules, rows, tokens_saved))
    change = _largest_change(passed, rules, rows, 1)
    does = "do better" if over_prompting.high < 0 else "do as well, as far as these rows can tell"
    return Verdict(
        "prompting_does_as_well",
        f"It works: {change}. But three examples in the prompt {does}, "
        f"at {tokens_saved:.0f} more tokens a call.",
    )


def _undecided(gain: Interval, rows: int) -> Verdict:
    if gain.low >= -NO_EFFECT and gain.high <= NO_EFFECT:
        return Verdict("no_effect", f"No effect: on {rows} held-out examples it answers like the base model.")
    return Verdict(
        "cannot_tell",
        f"Cannot tell: on {rows} held-out examples the change is {gain.value:+.0%}, "
        f"and may be anything from {gain.low:+.0%} to {gain.high:+.0%}. More examples would tell.",
    )


def _beyond_prompting(passed: Passed, rules: Sequence[Rule], rows: int, tokens_saved: float) -> str:
    """What the adapter does that neither the base model nor prompting does, and what prompting does as well."""
    base, few_shot, adapted = (
        np.mean(np.asarray(passed[side]), axis=0) for side in ("base", "few_shot", "adapted")
    )
    most = int(np.argmax(adapted - np.maximum(base, few_shot)))
    sentence = (
        f"It works: on {rows} examples it never saw, “{rules[most].words}” rises from {base[most]:.0%} "
        f"to {adapted[most]:.0%}; three examples in the prompt reach {few_shot[most]:.0%}."
    )
    equal = [
        rule.words
        for rule, by_few, by_adapter in zip(rules, few_shot, adapted, strict=True)
        if by_few >= by_adapter
    ]
    if equal:
        named = ", ".join(f"“{words}”" for words in equal)
        sentence += f" For {named} alone they do as well, at {tokens_saved:.0f} more tokens a call."
    return sentence


def _largest_change(passed: Passed, rules: Sequence[Rule], rows: int, direction: int) -> str:
    """The rule that moved most from base to adapted in a direction (1 up, -1 down), in words."""
    before, after = (np.mean(np.asarray(passed[side]), axis=0) for side in ("base", "adapted"))
    most = int(np.argmax(direction * (after - before)))
    return (
        f"on {rows} examples it never saw, “{rules[most].words}” {'rises' if direction > 0 else 'falls'} "
        f"from {before[most]:.0%} to {after[most]:.0%}"
    )
