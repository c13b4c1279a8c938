"""Checkable habits, found in the wanted answers alone: no rule is written with a model's answer in sight."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

# A habit is a habit when nearly every wanted answer has it.
SHARE = 0.9
# So many answers, from all over the examples, tell that of a million too.
MOST_MINED = 20_000
SENTENCE_BEGUN = re.compile(r"[.!?…][\"”’')\]]*\s+(\w)")


@dataclass(frozen=True)
class Rule:
    """One yes-or-no question about an answer; `passes(answer, reference)` answers it."""

    name: str
    words: str
    passes: Callable[[str, str], bool]


def json_object(text: str) -> dict[str, Any] | None:
    """The JSON object that the whole text is, or None; whole numbers become floats, so that 1 equals 1.0."""
    try:
        value = json.loads(text, parse_int=float)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def valid_json(answer: str, reference: str) -> bool:
    """Whether the whole answer is one JSON object."""
    return json_object(answer) is not None


def same_keys(answer: str, reference: str) -> bool:
    """Whether the answer is a JSON object with exactly the reference's fields."""
    ours, wanted = json_object(answer), json_object(reference)
    return ours is not None and wanted is not None and ours.keys() == wanted.keys()


def values_equal(answer: str, reference: str) -> bool:
    """Whether the answer is the reference's JSON object, whatever the order and the spaces."""
    ours, wanted = json_object(answer), json_object(reference)
    # Compared as text: to Python, true equals 1.
    return ours is not None and json.dumps(ours, sort_keys=True) == json.dumps(wanted, sort_keys=True)


def exact_match(answer: str, reference: str) -> bool:
    """Whether the answer is the reference word for word; spaces around it do not count."""
    return answer.strip() == reference.strip()


def one_sentence(answer: str, reference: str) -> bool:
    """Whether the answer is a single sentence on a single line."""
    text = answer.strip()
    if not text or "\n" in text:
        return False
    return not any(begun.group(1).isupper() for begun in SENTENCE_BEGUN.finditer(text))


def mine(answers: Sequence[str]) -> list[Rule]:
    """The rules that the training answers suggest; `that_hold` decides which of them count."""
    if not answers:
        return []
    if sum(json_object(answer) is not None for answer in answers) >= SHARE * len(answers):
        return [
            Rule("valid_json", "valid JSON", valid_json),
            Rule("same_keys", "the right fields", same_keys),
            Rule("values_equal", "every value right", values_equal),
        ]
    rules = [
        Rule("exact_match", "word for word the wanted answer", exact_match),
        Rule("one_sentence", "one sentence", one_sentence),
        _length_band(answers),
    ]
    for name, words, place in (("opening_line", "begins with", 0), ("closing_line", "ends with", -1)):
        line, count = Counter(_line(answer, place) for answer in answers).most_common(1)[0]
        if line and count >= SHARE * len(answers):
            rules.append(_shared_line(name, f"{words} “{line}”", line, place))
    return rules


def that_hold(rules: Sequence[Rule], references: Sequence[str]) -> list[Rule]:
    """The rules that at least 90 % of the held-out references keep themselves: only these count."""
    if not references:
        return []
    needed = SHARE * len(references)
    return [rule for rule in rules if sum(rule.passes(text, text) for text in references) >= needed]


def _length_band(answers: Sequence[str]) -> Rule:
    low, high = np.quantile([len(answer.split()) for answer in answers], [0.025, 0.975])
    shortest, longest = int(np.floor(low)), int(np.ceil(high))
    return Rule(
        "length_band",
        f"{shortest} to {longest} words long",
        lambda answer, reference: shortest <= len(answer.split()) <= longest,
    )


def _shared_line(name: str, words: str, line: str, place: int) -> Rule:
    return Rule(name, words, lambda answer, reference: _line(answer, place) == line)


def _line(text: str, place: int) -> str:
    lines = text.strip().splitlines()
    return lines[place].strip() if lines else ""
