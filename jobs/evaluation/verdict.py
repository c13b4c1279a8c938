"""The scorecard in one sentence, which claims no more than the intervals allow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from jobs.evaluation.measures import Measure
from jobs.evaluation.statistics import Difference, mean_interval, paired_difference

# Below this a single lucky row moves every rate by more than a tenth.
FEWEST_ROWS = 8
# With fewer, an adapter that fits its questions might not show it.
FEWEST_ROWS_FOR_FIT = 20
# A difference that surely lies within this is called no effect.
SMALL = {"rules": 0.1, "tone": 0.1, "chrf": 3.0}
# A rule is kept as well by prompting when chance explains what it lacks and that is no more than this.
AS_WELL = 0.1
# Answers that speak of their questions less than this share of how far the base model's do have lost them.
LOST = 0.5
# So many rules can be read in one sentence.
MOST_LISTED = 4
# The ways of asking the base model better, in words, and whether they are one thing.
PROMPTING = {
    "instruction": ("a written instruction", True),
    "few_shot": ("three examples in the prompt", False),
    "similar": ("the three most similar examples in the prompt", False),
    "constrained": ("holding the base model to the JSON schema", True),
}

# For each side, rows × rules: did the answer keep the rule?
Passed = Mapping[str, Sequence[Sequence[bool]]]


@dataclass(frozen=True)
class Verdict:
    """What the card says on top.

    `code` is works, prompting_does_as_well, no_effect, worse or cannot_tell; `sentence` begins with `short`.
    """

    code: str
    short: str
    sentence: str

    def as_json(self) -> dict[str, str]:
        """The verdict as the card holds it."""
        return asdict(self)


@dataclass(frozen=True)
class Evidence:
    """All that the verdict is made of; every sequence of rows is in the same order.

    Attributes:
        passed: for each side, rows × the rules that count.
        rules: those rules in words.
        measures: of the same rows.
        tokens_per_call: for each side, how long its prompts are on average.
        same_text: whether the adapter answered every row word for word like the base model.
        tone_is_reliable: whether the tone may decide where no rule counts.
    """

    passed: Passed
    rules: Sequence[str]
    measures: Sequence[Measure]
    tokens_per_call: Mapping[str, float]
    same_text: bool = False
    tone_is_reliable: bool = False

    @property
    def rows(self) -> int:
        """How many held-out rows were answered."""
        return len(self.passed.get("adapted", ()))

    def measure(self, name: str) -> Measure | None:
        """One of the measures."""
        return next((one for one in self.measures if one.name == name), None)

    def primary(self) -> tuple[str, Mapping[str, Sequence[float]]] | None:
        """What decides, one number for each side and row: the rules kept, else the tone, else the closeness."""
        if self.rules:
            return "rules", {
                side: [float(np.mean(row)) for row in rows] for side, rows in self.passed.items()
            }
        tone, chrf = self.measure("tone"), self.measure("chrf")
        if tone and self.tone_is_reliable:
            return "tone", tone.scores
        return ("chrf", chrf.scores) if chrf else None


def comparisons(evidence: Evidence) -> list[dict[str, Any]]:
    """The adapter against every way of prompting: what it has over it, and the tokens that a call costs more."""
    primary = evidence.primary()
    if primary is None or not evidence.rows:
        return []
    by, scores = primary
    own = evidence.tokens_per_call.get("adapted", 0.0)
    return [
        {
            "side": side,
            "by": by,
            "difference": (ahead := paired_difference(scores["adapted"], scores[side])).as_json(),
            "standing": _standing(ahead, by),
            "tokens_per_call": evidence.tokens_per_call.get(side, own) - own,
        }
        for side in PROMPTING
        if side in scores
    ]


def _standing(ahead: Difference, by: str) -> str:
    """How the adapter stands against a way of prompting: "ahead", "behind", "alike", or "unclear".

    Chance may explain a large lead as well as none: only a small one is called alike.
    """
    if ahead.is_real:
        return "ahead" if ahead.value > 0 else "behind"
    return "alike" if ahead.value <= SMALL[by] else "unclear"


def verdict(evidence: Evidence) -> Verdict:
    """Weigh the adapter against the base model, then against every way of prompting it."""
    rows, primary = evidence.rows, evidence.primary()
    if evidence.same_text and rows:
        return _said(
            "no_effect", "No effect.", f"On {_rows(rows)} it answers word for word like the base model."
        )
    if rows < FEWEST_ROWS:
        return _said(
            "cannot_tell",
            "Cannot tell.",
            f"{rows} held-out example{'' if rows == 1 else 's'} are too few; at least {FEWEST_ROWS} are needed.",
        )
    if primary is None:
        return _said("cannot_tell", "Cannot tell.", "Nothing about these answers can be counted. Read them.")
    by, scores = primary
    gain = paired_difference(scores["adapted"], scores["base"])
    if gain.is_worse:
        return _said("worse", "Worse.", f"On {_rows(rows)}, {_change(evidence, by, -1)}.")
    beside_the_point = _fits_nothing(evidence, by, gain)
    if beside_the_point:
        return beside_the_point
    if not gain.is_better:
        return _undecided(evidence, by, gain)
    ahead = {side: paired_difference(scores["adapted"], scores[side]) for side in PROMPTING if side in scores}
    standing = {side: _standing(difference, by) for side, difference in ahead.items()}
    equals = [side for side in standing if standing[side] in ("alike", "behind")]
    if equals:
        return _prompting(evidence, by, scores, equals)
    said = f"On {_rows(rows)}, {_change(evidence, by, 1)}.{_as_well(evidence)}"
    unclear = [side for side in standing if standing[side] == "unclear"]
    return _said("works", "Yes.", said + _unclear(by, ahead, unclear))


def _unclear(by: str, ahead: Mapping[str, Difference], sides: Sequence[str]) -> str:
    """What these rows cannot tell about prompting; "" where they tell all."""
    if not sides:
        return ""
    closest = min(sides, key=lambda side: ahead[side].value)
    name, is_one = PROMPTING[closest]
    lead, low, high = (
        _points(number, by, sign=True)
        for number in (ahead[closest].value, ahead[closest].low, ahead[closest].high)
    )
    return (
        f" Whether {name} {'does' if is_one else 'do'} as well, these rows cannot tell: the adapter is ahead by"
        f" {lead}, and it may be anything from {low} to {high}."
    )


def _fits_nothing(evidence: Evidence, by: str, gain: Difference) -> Verdict | None:
    """The verdict on an adapter whose answers have the form but nothing to do with what was asked; else None.

    So after training on shuffled answers. Both signs must fail where the base model's answers show them: an answer
    may be right without a word of its question, or speak of it in other words than the wanted ones.
    """
    fit, about, rows = evidence.measure("fit"), evidence.measure("about"), evidence.rows
    if fit is None or about is None or rows < FEWEST_ROWS_FOR_FIT:
        return None
    left, before = (float(np.mean(about.scores[side])) for side in ("adapted", "base"))
    lost = paired_difference(about.scores["adapted"], about.scores["base"]).is_worse and left < LOST * before
    if not lost or mean_interval(fit.scores["adapted"]).low > 0:
        return None
    but = f", though {_change(evidence, by, 1, over_prompting=False)}" if gain.is_better else ""
    hardly = "hardly anything" if left > 0 and mean_interval(about.scores["adapted"]).low > 0 else "nothing"
    return _said(
        "worse",
        "Worse.",
        f"On {_rows(rows)}, its answers have {hardly} to do with their questions any more{but}.",
    )


def _undecided(evidence: Evidence, by: str, gain: Difference) -> Verdict:
    rows, small = evidence.rows, SMALL[by]
    if gain.low >= -small and gain.high <= small:
        return _said(
            "no_effect", "No effect.", f"On {_rows(rows)} it answers {_measured_by(by)} like the base model."
        )
    shown = [_points(value, by, sign=True) for value in (gain.value, gain.low, gain.high)]
    return _said(
        "cannot_tell",
        "Cannot tell.",
        f"On {_rows(rows)} the change is {shown[0]}, and may be anything from {shown[1]} to {shown[2]}. "
        "More held-out examples would tell.",
    )


def _prompting(
    evidence: Evidence, by: str, scores: Mapping[str, Sequence[float]], equals: Sequence[str]
) -> Verdict:
    """It works, and so does asking well: by which way, and at what price."""
    tokens = evidence.tokens_per_call
    best = max(equals, key=lambda side: (float(np.mean(scores[side])), -tokens.get(side, 0.0)))
    name, is_one = PROMPTING[best]
    better = paired_difference(scores["adapted"], scores[best]).is_worse
    does = ("does" if is_one else "do") + (" better" if better else " as well, as far as these rows can tell")
    sentence = (
        f"On {_rows(evidence.rows)}, {_change(evidence, by, 1)}. But {name} {does}, {_price(tokens, best)}."
    )
    return _said("prompting_does_as_well", "Yes, but prompting does as well.", sentence)


def _as_well(evidence: Evidence) -> str:
    """The rules that some way of prompting keeps as well as the adapter, with its price; "" for none."""
    if not evidence.rules:
        return ""
    by_side: dict[str, list[str]] = {}
    for index, words in enumerate(evidence.rules):
        kept = {side: [float(row[index]) for row in rows] for side, rows in evidence.passed.items()}
        gained = paired_difference(kept["adapted"], kept["base"]).is_better
        equal = [side for side in PROMPTING if side in kept and _keeps_as_well(kept, side)]
        if equal and gained:
            tokens = evidence.tokens_per_call
            best = max(equal, key=lambda side: (float(np.mean(kept[side])), -tokens.get(side, 0.0)))
            by_side.setdefault(best, []).append(_quoted(words))
    said = ""
    for side, named in by_side.items():
        name, is_one = PROMPTING[side]
        does = "does" if is_one else "do"
        said += (
            f" For {_listed(named)} alone, {name} {does} as well, {_price(evidence.tokens_per_call, side)}."
        )
    return said


def _keeps_as_well(kept: Mapping[str, Sequence[float]], side: str) -> bool:
    lacks = paired_difference(kept["adapted"], kept[side])
    return not lacks.is_better and lacks.value <= AS_WELL


def _change(evidence: Evidence, by: str, direction: int, over_prompting: bool = True) -> str:
    """What moved most from base to adapted in a direction (1 up, -1 down), in words.

    Upwards it is what the adapter has over the best way of prompting as well, unless that is no matter.
    """
    verb = "rises" if direction > 0 else "falls"
    if by != "rules":
        measure = evidence.measure(by)
        assert measure is not None
        before, after = (float(np.mean(measure.scores[side])) for side in ("base", "adapted"))
        return f"{measure.words} {verb} from {_points(before, by)} to {_points(after, by)}"
    rates = {side: np.mean(np.asarray(rows, dtype=float), axis=0) for side, rows in evidence.passed.items()}
    rival = rates["base"]
    if direction > 0 and over_prompting:
        rival = np.max([rates[side] for side in ("base", *PROMPTING) if side in rates], axis=0)
    moved = direction * (rates["adapted"] - rates["base"])
    # Of rules that stand out alike, the one that base and adapter differ in most; never one that stayed as it was.
    over = np.where(moved > 0, direction * (rates["adapted"] - rival) + 1e-6 * moved, -np.inf)
    most = int(np.argmax(over))
    before, after = rates["base"][most], rates["adapted"][most]
    return f"{_quoted(evidence.rules[most])} {verb} from {_points(before, by)} to {_points(after, by)}"


def _said(code: str, short: str, rest: str) -> Verdict:
    return Verdict(code, short, f"{short} {rest}")


def _rows(rows: int) -> str:
    return f"{rows} example{'' if rows == 1 else 's'} it never saw"


def _price(tokens: Mapping[str, float], side: str) -> str:
    more = tokens.get(side, 0.0) - tokens.get("adapted", 0.0)
    return f"at {more:,.0f} more tokens a call" if more >= 0.5 else "at no more tokens a call"


def _points(value: float, by: str, sign: bool = False) -> str:
    """A share as per cent, a score as it is; only what is exactly none or all is 0 % or 100 %."""
    if by != "chrf" and not sign and 0 < value < 1:
        return f"{min(99, max(1, round(100 * value)))} %"
    if sign:
        number = f"{value if by == 'chrf' else 100 * value:+.0f} points"
    else:
        number = f"{value:.0f}" if by == "chrf" else f"{100 * value:.0f} %"
    return number.replace("-", "−")


def _measured_by(by: str) -> str:
    return {"rules": "by these rules", "tone": "in tone", "chrf": "as close to yours"}[by]


def _quoted(words: str) -> str:
    """A rule's words in quotes; what they quote themselves gets single ones."""
    return f"“{words.replace('“', '‘').replace('”', '’')}”"


def _listed(named: Sequence[str]) -> str:
    """At most four things in a row; the table has them all."""
    if len(named) > MOST_LISTED:
        named = [*named[: MOST_LISTED - 1], f"{len(named) - MOST_LISTED + 1} more rules"]
    return named[0] if len(named) == 1 else f"{', '.join(named[:-1])} and {named[-1]}"
