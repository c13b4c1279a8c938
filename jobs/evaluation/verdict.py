"""The scorecard in one sentence, which claims no more than the intervals allow."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from jobs.evaluation.measures import Measure
from jobs.evaluation.statistics import Difference, mean_interval, paired_difference, together

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
# The ways of asking the base model better.
PROMPTING = ("instruction", "few_shot", "similar", "constrained")
COUNTS = {1: "one", 2: "two", 3: "three"}
SHOTS = (3, 3)

# For each side, rows × rules: did the answer keep the rule?
Passed = Mapping[str, Sequence[Sequence[bool]]]


@dataclass(frozen=True)
class Verdict:
    """What the card says on top.

    `code` is works, prompting_does_as_well, no_effect, worse or cannot_tell; `sentence` begins with `short`;
    `speaks_of` are the ways of prompting that it names.
    """

    code: str
    short: str
    sentence: str
    speaks_of: Sequence[str] = ()

    def as_json(self) -> dict[str, Any]:
        """The verdict as the card holds it."""
        return asdict(self) | {"speaks_of": list(self.speaks_of)}


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
        examples: for the sides that are shown some, the fewest and the most that fitted before a question.
    """

    passed: Passed
    rules: Sequence[str]
    measures: Sequence[Measure]
    tokens_per_call: Mapping[str, float]
    same_text: bool = False
    tone_is_reliable: bool = False
    examples: Mapping[str, tuple[int, int]] = field(default_factory=dict)

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
            "difference": ahead.as_json(),
            "standing": standing,
            "tokens_per_call": evidence.tokens_per_call.get(side, own) - own,
        }
        for side, (ahead, standing) in _standings(scores, by).items()
    ]


def _standings(scores: Mapping[str, Sequence[float]], by: str) -> dict[str, tuple[Difference, str]]:
    """What the adapter has over each way of prompting, and its standing: "ahead", "behind", "alike" or "unclear".

    A lead is called one only where it is none by chance among all of them. Chance may explain a large lead as well
    as none: only a small one, which would not be one by itself either, is called alike.
    """
    sides = [side for side in PROMPTING if side in scores]
    alone = [paired_difference(scores["adapted"], scores[side]) for side in sides]
    found = {}
    for side, one, among_all in zip(sides, alone, together(alone), strict=True):
        standing = "unclear" if one.is_better or one.value > SMALL[by] else "alike"
        if among_all.is_real:
            standing = "ahead" if one.value > 0 else "behind"
        found[side] = (among_all, standing)
    return found


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
    standings = _standings(scores, by)
    equals = {side: standing for side, (_, standing) in standings.items() if standing in ("alike", "behind")}
    if equals:
        return _prompting(evidence, by, scores, equals)
    as_well, speaks_of = _as_well(evidence)
    said = _said("works", "Yes.", f"On {_rows(rows)}, {_change(evidence, by, 1)}.{as_well}", speaks_of)
    unclear = {side: ahead for side, (ahead, standing) in standings.items() if standing == "unclear"}
    return _with_unclear(said, evidence, by, unclear) if unclear else said


def _with_unclear(said: Verdict, evidence: Evidence, by: str, unclear: Mapping[str, Difference]) -> Verdict:
    """The verdict with what these rows cannot tell about prompting."""
    side = min(unclear, key=lambda side: unclear[side].value)
    name, does = _way(side, evidence)
    sentence = (
        f"{said.sentence} In all, these rows cannot tell whether {name} {does} as well: the adapter is "
        f"{_bare_points(unclear[side].value, by)} points ahead, which may be chance."
    )
    return replace(said, sentence=sentence, speaks_of=list(dict.fromkeys([*said.speaks_of, side])))


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
        within = f"within {_bare_points(small, by)} points"
        return _said("no_effect", "No effect.", f"On {_rows(rows)}, {_like_base(by)}, {within}.")
    low, high = (_bare_points(number, by) for number in (gain.low, gain.high))
    return _said(
        "cannot_tell",
        "Cannot tell.",
        f"On {_rows(rows)}, {_moved(evidence, by)}, but chance may explain it: any change from {low} to {high} points "
        "is possible. More held-out examples would tell.",
    )


def _prompting(
    evidence: Evidence, by: str, scores: Mapping[str, Sequence[float]], equals: Mapping[str, str]
) -> Verdict:
    """It works, and so does asking well: by which way, and at what price."""
    tokens = evidence.tokens_per_call
    best = max(equals, key=lambda side: (float(np.mean(scores[side])), -tokens.get(side, 0.0)))
    name, does = _way(best, evidence)
    as_well = "better" if equals[best] == "behind" else "as well, as far as these rows can tell"
    change, price = _change(evidence, by, 1), _price(tokens, best)
    sentence = f"On {_rows(evidence.rows)}, {change}. But {name} {does} {as_well}, {price}."
    return _said("prompting_does_as_well", "Yes, but prompting does as well.", sentence, [best])


def _as_well(evidence: Evidence) -> tuple[str, list[str]]:
    """The rules that some way of prompting keeps as well as the adapter, with its price, and those ways."""
    equal: dict[int, list[str]] = {}
    for index, gain in enumerate(_gains(evidence)):
        kept = {side: [float(row[index]) for row in rows] for side, rows in evidence.passed.items()}
        ways = [side for side in PROMPTING if side in kept and _keeps_as_well(kept, side)]
        if gain.is_better and ways:
            equal[index] = ways
    said, speaks_of = "", []
    while equal:
        # The way that does for most of them, so that few are named; of several the cheapest.
        counts = {side: sum(side in ways for ways in equal.values()) for side in PROMPTING}
        side = max(PROMPTING, key=lambda side: (counts[side], -evidence.tokens_per_call.get(side, 0.0)))
        named = [_quoted(evidence.rules[index]) for index, ways in equal.items() if side in ways]
        name, does = _way(side, evidence)
        said += (
            f" For {_listed(named)} alone, {name} {does} as well, {_price(evidence.tokens_per_call, side)}."
        )
        speaks_of.append(side)
        equal = {index: ways for index, ways in equal.items() if side not in ways}
    return said, speaks_of


def _gains(evidence: Evidence) -> list[Difference]:
    """What the adapter has over the base model in each rule, judged among all of them."""
    ours, theirs = (np.asarray(evidence.passed[side], dtype=float) for side in ("adapted", "base"))
    pairs = zip(ours.T.tolist(), theirs.T.tolist(), strict=True)
    return together([paired_difference(*pair) for pair in pairs])


def _keeps_as_well(kept: Mapping[str, Sequence[float]], side: str) -> bool:
    lacks = paired_difference(kept["adapted"], kept[side])
    return not lacks.is_better and lacks.value <= AS_WELL


def _change(evidence: Evidence, by: str, direction: int, over_prompting: bool = True) -> str:
    """What moved most from base to adapted in a direction (1 up, -1 down), in words.

    Upwards it is what the adapter has over the best way of prompting as well, unless that is no matter. Of a rule
    it is said only where chance does not explain it among all of them; else of the rules together.
    """
    if by != "rules":
        return _moved(evidence, by)
    rates = {side: np.mean(np.asarray(rows, dtype=float), axis=0) for side, rows in evidence.passed.items()}
    rival = rates["base"]
    if direction > 0 and over_prompting:
        rival = np.max([rates[side] for side in ("base", *PROMPTING) if side in rates], axis=0)
    moved = direction * (rates["adapted"] - rates["base"])
    surely = [one.is_better if direction > 0 else one.is_worse for one in _gains(evidence)]
    if not any(surely):
        return _moved(evidence, by)
    # Of rules that stand out alike, the one that base and adapter differ in most.
    over = np.where(surely, direction * (rates["adapted"] - rival) + 1e-6 * moved, -np.inf)
    most = int(np.argmax(over))
    return f"{_quoted(evidence.rules[most])} {_from_to(rates['base'][most], rates['adapted'][most], by)}"


def _moved(evidence: Evidence, by: str) -> str:
    """What became of the number that decides, in words."""
    measure, primary = evidence.measure(by), evidence.primary()
    assert primary is not None
    before, after = (float(np.mean(primary[1][side])) for side in ("base", "adapted"))
    named = measure.words if measure is not None else "the share of rules that it keeps"
    return f"{named} {_from_to(before, after, by)}"


def _from_to(before: float, after: float, by: str) -> str:
    shown = [_points(number, by) for number in (before, after)]
    if shown[0] == shown[1]:
        return f"stays at {shown[0]}"
    return f"{'rises' if after > before else 'falls'} from {shown[0]} to {shown[1]}"


def _said(code: str, short: str, rest: str, speaks_of: Sequence[str] = ()) -> Verdict:
    return Verdict(code, short, f"{short} {rest}", speaks_of)


def _way(side: str, evidence: Evidence) -> tuple[str, str]:
    """A way of prompting in words, with as many examples as the model could read, and “does” or “do”."""
    if side == "instruction":
        return "a written instruction", "does"
    if side == "constrained":
        return "holding the base model to the form of your JSON", "does"
    fewest, most = evidence.examples.get(side, SHOTS)
    similar = side == "similar"
    count = COUNTS.get(most, str(most))
    if fewest < most:
        named = f"up to {count} {'similar ' if similar else ''}example"
    elif similar:
        named = f"the {f'{count} ' if most > 1 else ''}most similar example"
    else:
        named = f"{count} example"
    return (f"{named}s in the prompt", "do") if most > 1 else (f"{named} in the prompt", "does")


def _rows(rows: int) -> str:
    return f"{rows} example{'' if rows == 1 else 's'} it never saw"


def _price(tokens: Mapping[str, float], side: str) -> str:
    more = tokens.get(side, 0.0) - tokens.get("adapted", 0.0)
    return f"at {more:,.0f} more tokens a call" if more >= 0.5 else "at no more tokens a call"


def _points(value: float, by: str) -> str:
    """A share as per cent, a score as it is; only what is exactly none or all is 0 % or 100 %."""
    if by == "chrf":
        return f"{value:.0f}"
    return f"{min(99, max(1, round(100 * value))) if 0 < value < 1 else round(100 * value)} %"


def _bare_points(value: float, by: str) -> str:
    """A difference in points of a hundred, without their name."""
    return f"{round(value if by == 'chrf' else 100 * value)}".replace("-", "−")


def _like_base(by: str) -> str:
    return {
        "rules": "it keeps the rules as often as the base model",
        "tone": "its tone is the base model's",
        "chrf": "it comes as close to the wanted answers as the base model",
    }[by]


def _quoted(words: str) -> str:
    """A rule's words in quotes, without what is explained behind them; what they quote gets single ones."""
    short = re.sub(r" \([^()]*\)$", "", words)
    return f"“{short.replace('“', '‘').replace('”', '’')}”"


def _listed(named: Sequence[str]) -> str:
    """At most four things in a row; the table has them all."""
    if len(named) > MOST_LISTED:
        named = [*named[: MOST_LISTED - 1], f"{len(named) - MOST_LISTED + 1} more rules"]
    return named[0] if len(named) == 1 else f"{', '.join(named[:-1])} and {named[-1]}"
