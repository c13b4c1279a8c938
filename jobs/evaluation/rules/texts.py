"""Texts as rules look at them: words, sentences, lines, and whether one text stands in another."""

from __future__ import annotations

import re
from functools import lru_cache

from jobs.datasets.checks import shapes

# Texts of which the words are kept while rules look at them one after the other.
KEPT = 2048
WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_INSIDE = re.compile("['-]")
EMOJI = re.compile("[\u231a-\u23ff\u2600-\u27bf\u2b50\U0001f1e6-\U0001f1ff\U0001f300-\U0001faff]")
# Written without spaces between words, so that words cannot be counted or bounded.
_UNSPACED = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uff66-\uff9f"
_UNSPACED_LETTER = re.compile(f"[{_UNSPACED}]")
_COUNTED = re.compile(rf"[{_UNSPACED}]|[^\s{_UNSPACED}]+")
_SIGNS_OF_END = ".!?…。！？"
_QUOTES = str.maketrans("’‘‛“”„«»", '\'\'\'"""""')


@lru_cache(maxsize=KEPT)
def plain(text: str) -> str:
    """The text without differences in case, spacing and the form of quotation marks."""
    return " ".join(text.translate(_QUOTES).casefold().split())


@lru_cache(maxsize=KEPT)
def words_of(text: str) -> list[str]:
    """The words in lower case, "don't" as one of them, without numbers and signs."""
    return WORD.findall(plain(text))


@lru_cache(maxsize=KEPT)
def heads_of(text: str) -> frozenset[str]:
    """The words of a text, and what stands before an apostrophe or a hyphen in them: “we” of “we're”."""
    words = words_of(text)
    return frozenset(words) | {word[: found.start()] for word in words if (found := _INSIDE.search(word))}


def length_of(text: str) -> int:
    """How many words a text has; of languages that put no spaces, how many characters."""
    return len(_COUNTED.findall(text)) if not text.isascii() else len(text.split())


def unspaced(text: str) -> bool:
    """Whether a text is written without spaces between its words, as Chinese, Japanese and Thai are."""
    return len(_UNSPACED_LETTER.findall(text)) > len(text) / 3


def lines_of(text: str) -> list[str]:
    """The lines that hold something, without the spaces around them."""
    return [line for whole in text.splitlines() if (line := whole.strip())]


@lru_cache(maxsize=KEPT)
def sentences_of(text: str) -> int:
    """How many sentences a text has, near enough; the end of a line ends one."""
    count = 0
    for line in lines_of(text):
        closed = line if line.rstrip("\"”’'»)*_")[-1:] in _SIGNS_OF_END else line + "."
        if closed.islower():  # where no sentence begins with a capital, none of them tells where one begins
            closed = re.sub(r"([.!?])\s+(\w)", lambda found: f"{found[1]} {found[2].upper()}", closed)
        count += max(1, shapes.sentences(closed))
    return count


def ends_sentence(text: str) -> bool:
    """Whether the text's last sign, quotation marks aside, is one that ends a sentence."""
    return text.rstrip().rstrip("\"”’'»)*_")[-1:] in _SIGNS_OF_END


def stands_in(needle: str, text: str) -> bool:
    """Whether one text stands in the other, in whole words, whatever the case and the spacing."""
    wanted, place = plain(needle), plain(text)
    at = place.find(wanted)
    while wanted and at >= 0:
        if _bounded(place, at, at + len(wanted)):
            return True
        at = place.find(wanted, at + 1)
    return False


def opens(needle: str, text: str) -> bool:
    """Whether the text begins with another, in whole words, whatever the case and the spacing."""
    wanted, place = plain(needle), plain(text)
    return place.startswith(wanted) and _bounded(place, 0, len(wanted))


def closes(needle: str, text: str) -> bool:
    """Whether the text ends with another, in whole words, whatever the case and the spacing."""
    wanted, place = plain(needle), plain(text)
    return place.endswith(wanted) and _bounded(place, len(place) - len(wanted), len(place))


def _bounded(text: str, start: int, end: int) -> bool:
    return not (_inside_word(text, start) or _inside_word(text, end))


def _inside_word(text: str, at: int) -> bool:
    """Whether a cut here would go through a word."""
    if not 0 < at < len(text):
        return False
    before, behind = text[at - 1], text[at]
    if _UNSPACED_LETTER.match(before) or _UNSPACED_LETTER.match(behind):
        return False
    return before.isalnum() and behind.isalnum()
