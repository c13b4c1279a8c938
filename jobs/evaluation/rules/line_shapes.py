"""Rules about a regular shape: a last line like “#### 42”, an answer that is a date, a code or a number."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from jobs.evaluation.rules import texts
from jobs.evaluation.rules.examples import Examples, surely
from jobs.evaluation.rules.parameters import choice_in, text_in
from jobs.evaluation.rules.rule import Field, Parameters, Rule, Text, kind
from storage.errors import StudioError

PLACES = {"whole": "the answer", "first": "the first line", "last": "the last line"}
# What stands for what varies in a shape, and how it is found.
SLOTS = {
    "{number}": r"(?<![\w-])[-+−]?\d+(?:[.,  ]\d+)*|\d+(?:[.,  ]\d+)*",
    "{word}": r"[^\W\d_]+(?:['’-][^\W\d_]+)*",
    "{text}": r"\S(?:.{0,500}\S)?",
}
_SLOT = re.compile(r"\{(?:number|word|text)\}")
_TOKEN = re.compile(rf"(?P<number>{SLOTS['{number}']})|(?P<word>{SLOTS['{word}']})|\s+|.", re.DOTALL)
LONGEST_LINE, MOST_TOKENS = 200, 30
MOST_TEXTS, MOST_SLOTS = 2, 8
# Fewer answers do when a shape has a sign of its own: nobody writes “####” by accident.
FEWEST_MARKED = 3
_MARKED = re.compile(r"[^\w\s.,!?;:'\"’“”„«»…()–—。，、！？：；「」-]")
_SEVERAL_WORDS = re.compile(r"\{word\}(?:[ ,]+\{(?:word|text)\})+")


@lru_cache(maxsize=256)
def pattern_of(shape: str) -> re.Pattern[str]:
    """A shape as a regular expression; its slots are groups. Spaces stand for any spaces."""
    made, at = "", 0
    for slot in _SLOT.finditer(shape):
        made += _literal(shape[at : slot.start()]) + f"({SLOTS[slot.group()]})"
        at = slot.end()
    return re.compile(made + _literal(shape[at:]))


def _literal(text: str) -> str:
    return r"\s+".join(re.escape(piece) for piece in re.split(r"\s+", text))


def line_at(text: str, place: str) -> str:
    """The first or the last line that holds something, or the whole text."""
    if place == "whole":
        return text.strip()
    lines = texts.lines_of(text)
    return lines[0 if place == "first" else -1] if lines else ""


def _fits(parameters: Parameters, text: Text) -> bool:
    return _found(parameters, text.answer) is not None


def _found(parameters: Parameters, answer: str) -> re.Match[str] | None:
    line = line_at(answer, parameters["place"])
    return pattern_of(parameters["shape"]).fullmatch(line) if len(line) <= 4 * LONGEST_LINE else None


def _right_value(parameters: Parameters, text: Text) -> bool:
    """By what stands in the slots; of an answer without the shape, its last number is taken for the result."""
    wanted = _found(parameters, text.reference)
    if wanted is None:
        return False
    ours = _found(parameters, text.answer)
    if ours is not None:
        return [*map(_value, ours.groups())] == [*map(_value, wanted.groups())]
    numbers = re.findall(SLOTS["{number}"], text.answer[-2000:])
    return len(wanted.groups()) == 1 and bool(numbers) and _value(numbers[-1]) == _value(wanted.group(1))


def _value(text: str) -> str | float:
    """A number whatever its thousands are set apart by; else the text, whatever its case."""
    bare = re.sub(r"(?<=\d)[,  ](?=\d{3}(?!\d))", "", text).replace("−", "-")
    try:
        return float(bare)
    except ValueError:
        return texts.plain(text)


def _checked(parameters: Parameters) -> dict[str, Any]:
    place = choice_in({"place": "last", **parameters}, "place", "Where", tuple(PLACES))
    shape = text_in(parameters, "shape", "Shape")
    _checked_slots(shape)
    example = parameters.get("example")
    clean = {"place": place, "shape": shape}
    return clean | ({"example": example[:LONGEST_LINE]} if isinstance(example, str) and example else {})


def _checked_slots(shape: str) -> None:
    """Slots side by side, or many of {text}, would make a search without an end."""
    if re.search(r"\}\{", shape):
        raise StudioError(
            f"In “{shape}” two parts that vary touch each other.", "Put a sign or a space between."
        )
    if shape.count("{text}") > MOST_TEXTS or len(_SLOT.findall(shape)) > MOST_SLOTS:
        raise StudioError(
            f"“{shape}” has too many parts that vary.",
            f"Use {{text}} at most {MOST_TEXTS} times, and at most {MOST_SLOTS} parts in all.",
        )


def _example(parameters: Parameters) -> str:
    return str(parameters.get("example") or parameters["shape"])


def _shape_words(parameters: Parameters) -> str:
    if parameters["shape"] == "{number}":
        what = "just a number" if parameters["place"] == "whole" else "a number alone"
        return what if parameters["place"] == "whole" else f"{PLACES[parameters['place']]} is {what}"
    where = "looks" if parameters["place"] == "whole" else f"{PLACES[parameters['place']]} looks"
    return f"{where} like “{_example(parameters)}”"


def _shape_asked(parameters: Parameters) -> str:
    if parameters["shape"] == "{number}" and parameters["place"] == "whole":
        return "Answer with a number and nothing else."
    where = PLACES[parameters["place"]].capitalize()
    alone = " and has nothing else" if parameters["place"] == "whole" else ""
    return f"{where} has the form “{parameters['shape']}”, for example “{_example(parameters)}”{alone}."


LINE_SHAPE = kind(
    name="line_shape",
    label="Has a line of a regular shape",
    help="{number}, {word} and {text} stand for what varies: “#### {number}”, “Answer: {text}”.",
    check=_fits,
    words=_shape_words,
    imperative=_shape_asked,
    parameters=(
        Field("place", "Where", "choice", tuple((said, name) for name, said in PLACES.items()), "last"),
        Field("shape", "Shape"),
    ),
    checked=_checked,
    once_for="place",
)
RIGHT_VALUE = kind(
    name="right_value",
    label="Has the right result in a line of that shape",
    help="The part that varies is that of the wanted answer; without the shape, the last number counts.",
    check=_right_value,
    words=lambda parameters: f"the right result, as in “{_example(parameters)}”",
    parameters=LINE_SHAPE.parameters,
    checked=_checked,
    needs_wanted=True,
    single=True,
)


def mined(examples: Examples) -> Iterator[Rule]:
    """The shape of all answers, or of their first and their last line."""
    if examples.one_line:
        places: tuple[str, ...] = ("whole",)
    else:
        places = ("first", "last")
    for place in places:
        lines = [line_at(answer, place) for answer in examples.answers]
        shape = shape_of(lines)
        if not shape:
            continue
        example = next((line for line in lines if pattern_of(shape).fullmatch(line)), shape)
        yield LINE_SHAPE.mined(place=place, shape=shape, example=example)
        if place == "last" and "{text}" not in shape:
            yield RIGHT_VALUE.mined(place=place, shape=shape, example=example)


def shape_of(lines: Sequence[str]) -> str:
    """The shape that nearly all lines have, with {number}, {word} and {text} for what varies; "" where none is."""
    split = [_tokens(line) for line in lines]
    # That most have two words somewhere is an accident: some words.
    shape = _SEVERAL_WORDS.sub("{text}", _aligned(split)) or _opened(split)
    literal = _SLOT.sub("", shape)
    marked = bool(_MARKED.search(literal))
    if not shape or "{" not in shape:
        return ""
    needed = surely(len(lines), len(lines)) or (marked and len(lines) >= FEWEST_MARKED)
    if "}{" in shape or len(_SLOT.findall(shape)) > MOST_SLOTS or shape.count("{text}") > MOST_TEXTS:
        return ""
    telling = marked or "{number}" in shape or ":" in literal
    return shape if needed and telling else ""


def _tokens(line: str) -> list[tuple[str, str]]:
    """The line as (what it may stand for, what is written)."""
    if len(line) > LONGEST_LINE:
        return []
    return [
        (f"{{{found.lastgroup}}}" if found.lastgroup else " " if found[0].isspace() else found[0], found[0])
        for found in _TOKEN.finditer(line)
    ]


def _aligned(split: Sequence[Sequence[tuple[str, str]]]) -> str:
    """The shape of lines that have the same tokens one after the other."""
    counts = Counter(tuple(stands_for for stands_for, _ in tokens) for tokens in split if tokens)
    if not counts:
        return ""
    common, count = counts.most_common(1)[0]
    if count < 0.9 * len(split) or len(common) > MOST_TOKENS:
        return ""
    columns = zip(*(tokens for tokens in split if tuple(one for one, _ in tokens) == common), strict=True)
    return "".join(
        _column([written for _, written in column], column[0][0], len(split)) for column in columns
    )


def _column(written: Sequence[str], stands_for: str, total: int) -> str:
    if not _SLOT.fullmatch(stands_for):
        return stands_for
    most, count = Counter(written).most_common(1)[0]
    return most if count >= 0.9 * total else stands_for


def _opened(split: Sequence[Sequence[tuple[str, str]]]) -> str:
    """A mark and then anything: “Answer: {text}”."""
    shared = ""
    for place in range(MOST_TOKENS):
        counts = Counter(
            "".join(one for _, one in tokens[: place + 1]) for tokens in split if len(tokens) > place + 1
        )
        if not counts:
            break
        most, count = counts.most_common(1)[0]
        if count < 0.9 * len(split):
            break
        shared = most
    shared = shared.rstrip()
    # Only what is set off by a sign: else it is how a sentence begins.
    return f"{shared} {{text}}" if shared and (shared[-1] in ":" or _MARKED.search(shared[-1])) else ""
