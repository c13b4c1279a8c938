"""What can be wrong with an answer whatever was asked: it declines, runs in circles, or is learned by heart."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

# Words are what writing without spaces has characters for.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_]+(?:['’][^\W_]+)?")
# How answers begin that decline, in the languages of the prompts; beyond its first words an answer may quote anything.
# Not within a word, such as "Hawaii cannot", "has an aim" or "Hawai'i cannot".
_DECLINES = re.compile(
    r"(?<!\w)(?<!\w['’])(?:"
    r"i(?:['’]m| am) (?:really |very |so )?(?:sorry(?! (?:for your|to hear|about))|afraid|unable|not able)"
    r"|i apologi[sz]e"
    r"|i (?:can(?:['’]?t|not)|won['’]?t|could(?:n['’]t| not)|do(?:n['’]t| not) feel comfortable)\b(?! wait| help but)"
    r"|(?:as|being) an? (?:ai|artificial intelligence|language model)"
    r"|(?:es )?tut mir (?:leid|sehr leid)|(?:da(?:bei|mit) )?kann ich (?:leider )?nicht|leider kann ich"
    r"|je (?:suis désolé|ne peux pas|regrette)|désolée?"
    r"|lo siento|no puedo|mi dispiace|non posso"
    r")\b|申し訳|ごめんなさい",
    re.IGNORECASE,
)
DECLINES_WITHIN = 30
# A phrase of up to so many words that comes so often in a row, and fills twelve words, is no rhetoric.
REPEATS = ((7, 3), (20, 2))
FEWEST_WORDS_IN_CIRCLES = 12
# The same letters or pictures over and over, but for those that rules and tables are drawn with, and for a number.
_STUCK = re.compile(r"(?!\d{1,20}(?!\d))([^\s\-–—=_.*#|~+]{1,8}?)\1{11,}")
COPIED_WORDS = 10
# A run of words that so many training answers share is their habit and nobody's secret.
SHARED_BY = 3

Gram = tuple[str, ...]


def words_of(text: str) -> list[str]:
    """The words of a text without their case and marks; of Chinese, Japanese and Korean the characters."""
    return _WORD.findall(text.lower())


def declines(text: str) -> bool:
    """Whether an answer begins by declining to answer."""
    found = _DECLINES.search(text.strip())
    return found is not None and found.start() <= DECLINES_WITHIN


def runs_in_circles(text: str) -> bool:
    """Whether some phrase is said again and again without anything in between."""
    if _STUCK.search(text):
        return True
    said = words_of(text)
    for length in range(1, REPEATS[-1][0] + 1):
        repeats = next(times for longest, times in REPEATS if length <= longest)
        run = 0  # how many words in a row are those of `length` words earlier
        for place in range(length, len(said)):
            run = run + 1 if said[place] == said[place - length] else 0
            spoken = run + length
            if spoken >= repeats * length and spoken >= FEWEST_WORDS_IN_CIRCLES:
                return True
    return False


def overlap(one: str, other: str) -> float:
    """The share of words that two texts have in common, 0 to 1 (F1 of their words, each as often as it is there)."""
    ours, theirs = Counter(words_of(one)), Counter(words_of(other))
    both = ours.total() + theirs.total()
    return 2 * (ours & theirs).total() / both if both else 1.0


def copies(answers: Sequence[str], base_answers: Sequence[str], training: Iterable[str]) -> list[str | None]:
    """For each answer a training answer that it repeats word for word where the base model does not, or None.

    Ten words in a row count, or the whole of a training answer of four to nine words; not what three training
    answers share. Only the answers' own runs of words are kept in memory, however many training answers there are.
    """
    own = [_grams(answer) - _grams(base) for answer, base in zip(answers, base_answers, strict=True)]
    wanted = set[Gram]().union(*own) if own else set()
    found: dict[Gram, list[str]] = {}
    for text in training:
        for gram in _grams(text) & wanted:
            found.setdefault(gram, []).append(text)
    rare = {gram: texts[0] for gram, texts in found.items() if len(texts) < SHARED_BY}
    return [next((rare[gram] for gram in sorted(grams) if gram in rare), None) for grams in own]


def _grams(text: str) -> set[Gram]:
    """The runs of ten words of a text, or, of one with four to nine words, all of it."""
    said = words_of(text)
    if 4 <= len(said) < COPIED_WORDS:
        return {tuple(said)}
    return {tuple(said[start : start + COPIED_WORDS]) for start in range(len(said) - COPIED_WORDS + 1)}
