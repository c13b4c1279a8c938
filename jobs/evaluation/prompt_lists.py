"""Many prompts from pasted text or a file: each a conversation that waits for an answer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from jobs.datasets.columns import MESSAGES, PROMPT, plain
from jobs.datasets.formats.encodings import detect
from jobs.datasets.formats.reading import TextFile, check_file
from jobs.datasets.records import ReadOptions, Record
from jobs.datasets.sources import open_source
from jobs.serving.sides import Messages, conversation
from storage.errors import StudioError

MOST_PROMPTS = 10_000
# The longest text that is read as a list of prompts, in bytes: 10,000 prompts of 5,000 characters.
LARGEST_TEXT_BYTES = 50_000_000
TEXT_SUFFIXES = (".txt", ".text", ".md")
# Prompts of several lines each, with empty lines between them, or one on every line.
BLANK_LINES, LINES = SEPARATED = ("blank_lines", "lines")
_ONE_END = r"(?:\r\n|\r(?!\n)|\n)"
_LINE_END = re.compile(_ONE_END)
_EMPTY_LINES = re.compile(rf"{_ONE_END}[ \t]*{_ONE_END}")
NO_PROMPT = "Give at least one prompt."


@dataclass(frozen=True)
class PromptList:
    """Prompts in order, the column they stood in (None for plain text), and the rows that had none."""

    prompts: list[Messages]
    column: str | None = None
    left_out: int = 0


def of_text(text: str, separated: str = LINES) -> PromptList:
    """Prompts in a text, on a line each or with empty lines between them.

    Raises StudioError when there is none, or more than `MOST_PROMPTS`.
    """
    if separated not in SEPARATED:
        raise StudioError(f"Prompts cannot be separated by {separated!r}.", f"Say {' or '.join(SEPARATED)}.")
    # One prompt after the other, and no more than it takes to refuse the text: a large one has millions of lines.
    plain = (_LINE_END.sub("\n", part.strip()) for part in _parts(text.removeprefix("\ufeff"), separated))
    asked = islice((part for part in plain if part), MOST_PROMPTS + 1)
    return _checked(PromptList([conversation(part) for part in asked]))


def _parts(text: str, separated: str) -> Iterator[str]:
    """The text cut at its line ends, or at its empty lines."""
    begin = 0
    for end in (_LINE_END if separated == LINES else _EMPTY_LINES).finditer(text):
        yield text[begin : end.start()]
        begin = end.end()
    yield text[begin:]


def of_values(values: Sequence[Any]) -> PromptList:
    """Prompts given as texts or as lists of turns.

    Raises StudioError naming the first that is neither, and as `of_text`.
    """
    prompts: list[Messages] = []
    for number, value in enumerate(values[: MOST_PROMPTS + 1], 1):
        try:
            prompts.append(conversation(value if isinstance(value, list) else str(value)))
        except StudioError as error:
            raise StudioError(f"Prompt {number}: {error.message}", error.remedy) from None
    return _checked(PromptList(prompts))


def of_file(path: Path, name: str, column: str | None = None, separated: str = LINES) -> PromptList:
    """Prompts in a text file, or in one column of a table, workbook or JSON file; without a name it is found.

    A column may also hold conversations, whose last answer is then left away.
    Raises StudioError when the column cannot be told or is not there, and as `of_text`.
    """
    if Path(name).suffix.lower() in TEXT_SUFFIXES:
        return of_text(_text_of(path, name), separated)
    with open_source(path, name) as source:
        chosen = column or _column_of(source.columns, name)
        if chosen not in source.columns:
            raise StudioError(f"{name} has no column “{chosen[:60]}”.", f"It has {_listed(source.columns)}.")
    with open_source(path, name, ReadOptions(mapping={"text": chosen})) as source:
        return _checked(_of_items(source.items, chosen))


def columns_of(path: Path, name: str) -> tuple[list[str], str | None]:
    """The columns of a file and the one that holds the prompts; none for plain text, None where it cannot be told.

    Raises StudioError when the file cannot be read.
    """
    if Path(name).suffix.lower() in TEXT_SUFFIXES:
        check_file(path, name)
        return [], None
    with open_source(path, name) as source:
        try:
            return source.columns, _column_of(source.columns, name)
        except StudioError:
            return source.columns, None


def _of_items(items: Iterable[Any], column: str) -> PromptList:
    prompts: list[Messages] = []
    left_out = 0
    for item in items:
        value = item.value.get(column) if isinstance(item, Record) and isinstance(item.value, dict) else None
        prompt = _prompt_of(value)
        if prompt is None:
            left_out += 1
            continue
        prompts.append(prompt)
        if len(prompts) > MOST_PROMPTS:
            break
    return PromptList(prompts, column, left_out)


def _prompt_of(value: Any) -> Messages | None:
    """The conversation in a cell up to what the user said last; None where there is nothing to answer."""
    try:
        if isinstance(value, list):
            turns = list(value)
            while turns and isinstance(turns[-1], dict) and turns[-1].get("role") != "user":
                turns.pop()
            return conversation(turns)
        return None if value is None else conversation(str(value))
    except StudioError:
        return None


def _column_of(columns: Sequence[str], name: str) -> str:
    """The column whose name says that it holds what is asked, else the only one there is."""
    if len(columns) == 1:
        return columns[0]
    names = {plain(column): column for column in reversed(columns)}
    for known in (*PROMPT, *MESSAGES):
        if known in names:
            return names[known]
    raise StudioError(
        f"Which column of {name} holds the prompts cannot be told.",
        f"Name it “prompt”, or choose one of {_listed(columns)}.",
    )


def _text_of(path: Path, name: str) -> str:
    check_file(path, name)
    if path.stat().st_size > LARGEST_TEXT_BYTES:
        raise StudioError(f"{name} is larger than {LARGEST_TEXT_BYTES / 1e6:.0f} MB.", "Keep a part of it.")
    with TextFile(path, detect(path, name)) as file:
        return file.text.read()


def _checked(found: PromptList) -> PromptList:
    if not found.prompts:
        raise StudioError("There is no prompt in it.", NO_PROMPT)
    if len(found.prompts) > MOST_PROMPTS:
        raise StudioError(
            f"There are more than {MOST_PROMPTS:,} prompts.", "Ask them in parts, each as a set of its own."
        )
    return found


def _listed(columns: Sequence[str]) -> str:
    shown = ", ".join(f"“{column[:60]}”" for column in columns[:10])
    return shown + (f" and {len(columns) - 10} more" if len(columns) > 10 else "")
