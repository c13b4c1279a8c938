"""Rules about the signs and marks in answers: lists, headings, emoji, exclamation marks, capitals."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from jobs.evaluation.rules import texts
from jobs.evaluation.rules.examples import Examples
from jobs.evaluation.rules.parameters import band_in, band_words, in_band, nothing
from jobs.evaluation.rules.rule import Field, Kind, Parameters, Rule, Text, kind

_BULLET = re.compile(r"^[ \t]*[-*•–‣▪][ \t]+\S", re.MULTILINE)
_NUMBERED = re.compile(r"^[ \t]*(?:\d{1,3}|[a-zA-Z])[.)][ \t]+\S", re.MULTILINE)
_HEADING = re.compile(r"^[ \t]*#{1,6}[ \t]+[^\W\d_]|^[^\n]+\n(?:={3,}|-{3,})[ \t]*$", re.MULTILINE)
_BOLD = re.compile(r"(?<!\w)(?:\*\*[^\s*][^*\n]*\*\*|__[^\s_][^_\n]*__)(?!\w)")
_FENCED = re.compile(r"```[^\n]*\n.*```", re.DOTALL)
_EXCLAIMED = re.compile(r"[!！]")
# For "no exclamation marks" the examples need so many sentences that could have had one.
FEWEST_SENTENCES = 40
# Where answers are shorter nobody expects lists in them.
WORDS_OF_A_PAGE = 25
# Emoji are missing only from answers among people who use them.
CHATTY = 0.3


def _items(text: str) -> int:
    return len(_BULLET.findall(text)) + len(_NUMBERED.findall(text))


def _bulleted(text: str) -> bool:
    return len(_BULLET.findall(text)) >= 2


def _numbered(text: str) -> bool:
    return len(_NUMBERED.findall(text)) >= 2


def _marked_up(text: str) -> bool:
    return _items(text) >= 2 or bool(_HEADING.search(text) or _BOLD.search(text) or "```" in text)


def _lower(text: str) -> bool:
    """Without a capital letter, though there are letters that have one."""
    return text == text.lower() and text != text.upper()


def _upper(text: str) -> bool:
    return text == text.upper() and text != text.lower()


def _has(
    name: str, label: str, words: str, imperative: str, test: Callable[[str], object], help: str = ""
) -> Kind:
    """A kind without parameters that looks at the answer alone."""
    return kind(
        name=name,
        label=label,
        help=help or "Looks at the answer alone.",
        check=lambda parameters, text: bool(text.answer.strip()) and bool(test(text.answer.strip())),
        words=lambda parameters: words,
        imperative=lambda parameters: imperative,
        checked=nothing,
    )


BULLETS = _has(
    "bullets", "Has a bulleted list", "a bulleted list", "Answer as a bulleted list.", _bulleted,
    "At least two lines that begin with a bullet: -, * or •.",
)  # fmt: skip
NUMBERED = _has(
    "numbered", "Has a numbered list", "a numbered list", "Answer as a numbered list.", _numbered,
    "At least two lines that begin with a number: 1. or 1).",
)  # fmt: skip
HEADINGS = _has(
    "headings", "Has a heading", "a heading", "Use headings, as lines that begin with #.", _HEADING.search
)
BOLD = _has("bold", "Has bold words", "bold words", "Set the most important words in **bold**.", _BOLD.search)
CODE_BLOCK = _has(
    "code_block", "Has a code block", "a code block", "Put the code into a code block (```).", _FENCED.search,
    "Lines between two lines of ```.",
)  # fmt: skip
PLAIN_TEXT = _has(
    "plain_text", "Is plain text", "plain text: no lists, headings or bold",
    "Write plain text without lists, headings or bold words.", lambda text: not _marked_up(text),
    "No bulleted or numbered list, no heading, no bold, no code block.",
)  # fmt: skip
EMOJI = _has("emoji", "Has an emoji", "an emoji", "Use an emoji.", texts.EMOJI.search)
NO_EMOJI = _has(
    "no_emoji", "Has no emoji", "no emoji", "Do not use emoji.", lambda text: not texts.EMOJI.search(text)
)
EXCLAMATION = _has(
    "exclamation",
    "Has an exclamation mark",
    "an exclamation mark",
    "Use an exclamation mark.",
    _EXCLAIMED.search,
)
NO_EXCLAMATION = _has(
    "no_exclamation", "Has no exclamation mark", "no exclamation marks", "Do not use exclamation marks.",
    lambda text: not _EXCLAIMED.search(text),
)  # fmt: skip
ASKS_LAST = _has(
    "asks_last", "Ends with a question", "ends with a question", "End with a question.",
    lambda text: text.rstrip("\"”’'»)*_ ")[-1:] in ("?", "？"),
)  # fmt: skip
NO_FINAL_PERIOD = _has(
    "no_final_period", "Does not end with a period", "no period at the end", "Put no period at the end.",
    lambda text: not text.endswith((".", "。")),
)  # fmt: skip
LOWER_CASE = _has(
    "lower_case", "Is all lower case", "all lower case", "Write everything in lower case, without a capital letter.",
    _lower,
)  # fmt: skip
UPPER_CASE = _has(
    "upper_case", "Is all capitals", "all capitals", "Write everything in capital letters.", _upper
)


def _item_words(parameters: Parameters) -> str:
    return f"a list of {band_words(parameters, 'items', 'item')}"


def _count_items(parameters: Parameters, text: Text) -> bool:
    return in_band(parameters, _items(text.answer))


ITEMS = kind(
    name="items",
    label="Has a list of so many items",
    help="Counts the lines that begin with a bullet or a number.",
    check=_count_items,
    words=_item_words,
    imperative=lambda parameters: f"Give {_item_words(parameters)}.",
    parameters=(Field("fewest", "At least", "number"), Field("most", "At most", "number")),
    checked=band_in,
    single=True,
)


def mined(examples: Examples) -> Iterator[Rule]:
    """The marks that nearly all answers have, and those that they never have where others would."""
    lists = [found for found in (BULLETS, NUMBERED) if _usual(examples, found)]
    counts = sorted(map(_items, examples.answers))
    usual = counts[len(counts) // 2]
    if lists and examples.usual(lambda answer: _items(answer) == usual):
        yield ITEMS.mined(fewest=usual, most=usual)
    for found in (*lists, HEADINGS, BOLD, CODE_BLOCK, EMOJI, EXCLAMATION, ASKS_LAST, LOWER_CASE, UPPER_CASE):
        if _usual(examples, found) and not (found in (LOWER_CASE, UPPER_CASE) and _hardly_letters(examples)):
            yield found.mined()
    if examples.one_line and examples.words >= 3 and examples.never(texts.ends_sentence):
        yield NO_FINAL_PERIOD.mined()
    if examples.prose:
        yield from _never(examples)


def _never(examples: Examples) -> Iterator[Rule]:
    if examples.words >= WORDS_OF_A_PAGE and examples.never(_marked_up):
        yield PLAIN_TEXT.mined()
    sentences = sum(map(texts.sentences_of, examples.answers))
    if sentences >= FEWEST_SENTENCES and examples.never(_EXCLAIMED.search):
        yield NO_EXCLAMATION.mined()
    asked = sum(bool(texts.EMOJI.search(prompt)) for prompt, _ in examples.rows) / len(examples.rows)
    chatty = max(asked, examples.share(lambda answer: _EXCLAIMED.search(answer)))
    if chatty >= CHATTY and examples.never(texts.EMOJI.search):
        yield NO_EMOJI.mined()


def _usual(examples: Examples, found: Kind) -> bool:
    return examples.usual(lambda answer: found.check({}, Text(answer, "", "")))


def _hardly_letters(examples: Examples) -> bool:
    """Whether the answers are single letters, codes and numbers, whose case says nothing."""
    return examples.share(lambda answer: sum(c.isalpha() for c in answer) >= 8) < 0.5
