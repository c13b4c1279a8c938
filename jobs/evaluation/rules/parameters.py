"""The parameters of rules, cleaned; what makes no sense is said in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jobs.evaluation.rules.rule import Parameters
from storage.errors import StudioError

LONGEST_TEXT = 500
MOST_TEXTS = 50
LARGEST_NUMBER = 1_000_000


def text_in(parameters: Parameters, name: str, label: str) -> str:
    """A text that is not empty."""
    value = parameters.get(name)
    if not isinstance(value, str) or not value.strip():
        raise StudioError(f"The field “{label}” is empty.", "Write what the rule should look for.")
    if len(value) > LONGEST_TEXT:
        raise StudioError(
            f"The field “{label}” has {len(value):,} characters.",
            f"Write at most {LONGEST_TEXT:,} characters.",
        )
    return value.strip()


def texts_in(parameters: Parameters, name: str, label: str) -> list[str]:
    """Some texts, each once, in their order."""
    value = parameters.get(name)
    listed = value.splitlines() if isinstance(value, str) else value
    if not isinstance(listed, Sequence) or not all(isinstance(one, str) for one in listed):
        raise StudioError(f"The field “{label}” is not a list of texts.", "Write one text a line.")
    texts = list(dict.fromkeys(one.strip() for one in listed if one.strip()))
    if not texts:
        raise StudioError(f"The field “{label}” is empty.", "Write one text a line.")
    if len(texts) > MOST_TEXTS or max(map(len, texts)) > LONGEST_TEXT:
        raise StudioError(
            f"The field “{label}” holds too much.",
            f"Write at most {MOST_TEXTS} texts of at most {LONGEST_TEXT:,} characters.",
        )
    return texts


def number_in(parameters: Parameters, name: str, label: str) -> int | None:
    """A whole number from 0 on; None where the field is empty."""
    value: Any = parameters.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST_NUMBER:
        raise StudioError(
            f"The field “{label}” says “{str(value)[:40]}”.",
            f"Write a whole number from 0 to {LARGEST_NUMBER:,}, or nothing.",
        )
    return value


def band_in(parameters: Parameters) -> dict[str, int | None]:
    """The fewest and the most of something; one of them may be missing, not both."""
    fewest, most = number_in(parameters, "fewest", "at least"), number_in(parameters, "most", "at most")
    if fewest is None and most is None:
        raise StudioError("The rule says neither “at least” nor “at most”.", "Fill in one of them, or both.")
    if fewest is not None and most is not None and fewest > most:
        raise StudioError(f"Nothing is at least {fewest} and at most {most}.", "Exchange the two numbers.")
    return {"fewest": fewest, "most": most}


def choice_in(parameters: Parameters, name: str, label: str, choices: Sequence[str]) -> str:
    """One of a few values."""
    value = parameters.get(name)
    if not isinstance(value, str) or value not in choices:
        raise StudioError(
            f"“{str(value)[:40]}” is no choice for “{label}”.", f"Choose one of: {', '.join(choices)}."
        )
    return value


def nothing(parameters: Parameters) -> dict[str, Any]:
    """Of a kind that has no parameters."""
    return {}


def in_band(parameters: Parameters, number: float) -> bool:
    """Whether a number keeps within `band_in`'s two."""
    fewest, most = parameters["fewest"], parameters["most"]
    return (fewest is None or number >= fewest) and (most is None or number <= most)


def band_words(parameters: Parameters, unit: str, one: str) -> str:
    """“2 to 5 lines”, “at most 1 line”."""
    fewest, most = parameters["fewest"], parameters["most"]
    last = most if most is not None else fewest
    named = one if last == 1 else unit
    if fewest == most:
        return f"{fewest:,} {named}"
    if most is None:
        return f"at least {fewest:,} {named}"
    if not fewest:
        return f"at most {most:,} {named}"
    return f"{fewest:,} {'or' if most == fewest + 1 else 'to'} {most:,} {named}"


def quoted(texts: Sequence[str], last: str = "or") -> str:
    """“a”, “b” or “c”."""
    shown = [f"“{text}”" for text in texts]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} {last} {shown[-1]}"
