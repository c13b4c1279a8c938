"""Rules that count: words, sentences, lines; and how hard an answer is to read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

from jobs.evaluation.rules import texts
from jobs.evaluation.rules.examples import Examples
from jobs.evaluation.rules.parameters import band_in, band_words, choice_in, in_band, nothing
from jobs.evaluation.rules.rule import Field, Kind, Parameters, Rule, Text, kind

# A band is a habit while the longest of it is not much longer than the shortest.
WIDEST_BAND = 5
# "At most so many" is one where models like to say more.
LONGEST_SHORT_ANSWER = 120
SHORTEST_LONG_ANSWER = 80
MOST_SENTENCES, WIDEST_SENTENCES = 8, 2
MOST_LINES = 12
FEWEST_ANSWERS = 10
# The next answer is seldom outside of the band of so many.
FEWEST_FOR_A_BAND = 15
# Läsbarhetsindex (Björnsson 1968): words a sentence + percentage of words over 6 letters, in any language that
# puts spaces. Below 30 is a children's book, 40 a story, 50 a newspaper, above 60 a scholarly text.
LONG_WORD = 6
EASY, HARD = 42, 55
FEWEST_READ = 20  # words; a shorter text has no level
READING_MARGIN = 3
_BAND = (Field("fewest", "At least", "number"), Field("most", "At most", "number"))
UNITS = ("words", "characters")


def reading_level(text: str) -> float | None:
    """The text's LIX; None where it is too short to have one."""
    words = texts.words_of(text)
    if len(words) < FEWEST_READ:
        return None
    long = sum(len(word) > LONG_WORD for word in words)
    return len(words) / texts.sentences_of(text) + 100 * long / len(words)


def _length(parameters: Parameters, text: Text) -> int:
    if parameters["unit"] == "words":
        return len(text.answer.split())
    return sum(not c.isspace() for c in text.answer)


def _checked_length(parameters: Parameters) -> dict[str, Any]:
    unit = choice_in({"unit": "words", **parameters}, "unit", "counted in", UNITS)
    return {**band_in(parameters), "unit": unit}


def _length_words(parameters: Parameters) -> str:
    unit = str(parameters["unit"])
    return f"{band_words(parameters, unit, unit.removesuffix('s'))} long"


def _counted(name: str, label: str, unit: str, count: Callable[[str], int], help: str) -> Kind:
    """A kind that counts something in the answer."""

    def words(parameters: Parameters) -> str:
        return band_words(parameters, unit, unit.removesuffix("s"))

    return kind(
        name=name,
        label=label,
        help=help,
        check=lambda parameters, text: bool(text.answer.strip()) and in_band(parameters, count(text.answer)),
        words=words,
        imperative=lambda parameters: f"Write {words(parameters)}.",
        parameters=_BAND,
        checked=band_in,
        single=True,
    )


def _reading(parameters: Parameters, text: Text) -> bool:
    level = reading_level(text.answer)
    return level is None or in_band(parameters, level)


def _reading_words(parameters: Parameters) -> str:
    hard = parameters["most"] is None
    limit = f"at least {parameters['fewest']}" if hard else f"at most {parameters['most']}"
    return f"{'demanding' if hard else 'easy'} to read (reading level LIX {limit})"


LENGTH_BAND = kind(
    name="length_band",
    label="Is so many words long",
    help="Counts words, or characters without the spaces. Leave a field empty where there is no limit.",
    check=lambda parameters, text: (
        bool(text.answer.strip()) and in_band(parameters, _length(parameters, text))
    ),
    words=_length_words,
    imperative=lambda parameters: f"Write {_length_words(parameters).removesuffix(' long')}.",
    parameters=(
        *_BAND,
        Field("unit", "Counted in", "choice", tuple((unit, unit) for unit in UNITS), "words"),
    ),
    checked=_checked_length,
    single=True,
)
ONE_SENTENCE = kind(
    name="one_sentence",
    label="Is one sentence",
    help="A single sentence on a single line.",
    check=lambda parameters, text: texts.sentences_of(text.answer) == 1,
    words=lambda parameters: "one sentence",
    imperative=lambda parameters: "Answer in a single sentence.",
    checked=nothing,
)
SENTENCES = _counted(
    "sentences", "Has so many sentences", "sentences", texts.sentences_of, "Near enough: “Dr.” ends none."
)
LINES = _counted(
    "lines",
    "Has so many lines",
    "lines",
    lambda text: len(texts.lines_of(text)),
    "Counts the lines that are not empty.",
)
READING_LEVEL = kind(
    name="reading_level",
    label="Is easy, or demanding, to read",
    help=(
        "By LIX: words in a sentence, plus the percentage of words with more than 6 letters. A story has about 35, "
        "a newspaper 50. Answers under 20 words pass."
    ),
    check=_reading,
    words=_reading_words,
    imperative=lambda parameters: (
        "Use long, demanding sentences and technical words."
        if parameters["most"] is None
        else "Use short sentences and simple words."
    ),
    parameters=_BAND,
    checked=band_in,
    single=True,
)


def mined(examples: Examples) -> Iterator[Rule]:
    """How long the answers are, and how hard to read."""
    if len(examples.answers) < FEWEST_ANSWERS:
        return
    yield from _mined_lengths(examples)
    sentences = sorted(map(texts.sentences_of, examples.answers))
    if examples.prose and (rule := _narrow(examples, sentences)):
        yield rule
    lines = [len(texts.lines_of(answer)) for answer in examples.answers]
    usual = int(median(lines))
    if 1 < usual <= MOST_LINES and examples.usual(lambda answer: len(texts.lines_of(answer)) == usual):
        yield LINES.mined(fewest=usual, most=usual)
    if examples.prose:
        yield from _mined_level(examples)


def _mined_lengths(examples: Examples) -> Iterator[Rule]:
    unit = "characters" if examples.share(texts.unspaced) > 0.5 else "words"
    sizes = [_length({"unit": unit}, Text(answer, "", "")) for answer in examples.answers]
    low, high = _band(sizes)
    large = 2 if unit == "characters" else 1
    if high <= WIDEST_BAND * low or high <= 3 * large:
        yield LENGTH_BAND.mined(fewest=low, most=high, unit=unit)
    elif len(sizes) < FEWEST_FOR_A_BAND:
        return
    elif high <= LONGEST_SHORT_ANSWER * large:
        yield LENGTH_BAND.mined(fewest=None, most=high, unit=unit)
    elif low >= SHORTEST_LONG_ANSWER * large:
        yield LENGTH_BAND.mined(fewest=low, most=None, unit=unit)


def _narrow(examples: Examples, sentences: list[int]) -> Rule | None:
    """One sentence, or two to four of them."""
    if examples.usual(lambda answer: texts.sentences_of(answer) == 1):
        return ONE_SENTENCE.mined()
    low, high = (sentences[place] for place in _inner(len(sentences)))
    enough = low == high or len(sentences) >= FEWEST_FOR_A_BAND
    if enough and high - low <= WIDEST_SENTENCES and high <= MOST_SENTENCES:
        return SENTENCES.mined(fewest=low, most=high)
    return None


def _mined_level(examples: Examples) -> Iterator[Rule]:
    levels = sorted(level for answer in examples.answers if (level := reading_level(answer)) is not None)
    if len(levels) < max(20, 0.5 * len(examples.answers)):
        return
    first, last = _inner(len(levels))
    if levels[last] <= EASY:
        yield READING_LEVEL.mined(fewest=None, most=math.ceil(levels[last]) + READING_MARGIN)
    elif levels[first] >= HARD:
        yield READING_LEVEL.mined(fewest=math.floor(levels[first]) - READING_MARGIN, most=None)


def _band(sizes: list[int]) -> tuple[int, int]:
    """The inner 95 %, wider the fewer there are: of ten answers the next one is often longer than all."""
    ordered = sorted(sizes)
    first, last = _inner(len(ordered))
    margin = 1 + 1 / math.sqrt(len(ordered))
    low, high = math.floor(ordered[first] / margin), math.ceil(ordered[last] * margin)
    if ordered[first] == ordered[last]:
        return ordered[first], ordered[last]
    step = 5 if high >= 30 else 1
    return max(1, low - low % step if low >= 10 else low), high + -high % step


def _inner(count: int) -> tuple[int, int]:
    """The places of the 2.5th and the 97.5th percent among so many in order; of less than 40, the ends."""
    out = count // 40
    return out, count - 1 - out
