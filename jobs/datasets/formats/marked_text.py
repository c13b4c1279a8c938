"""Plain text and Markdown in which marks say what is asked and what is answered, as records."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from jobs.datasets.formats.encodings import Encoding, escaped_byte
from jobs.datasets.formats.reading import TextFile, size_shown
from jobs.datasets.formats.turns import ANSWERING, ASKING
from jobs.datasets.records import LONGEST_ROW, Item, LeftOut, Parsed, ReadOptions, Record, cut

_NAMES = "|".join(sorted(map(re.escape, {*ASKING, *ANSWERING, "system"} - {"q", "a"}), key=len, reverse=True))
# “Q: …”, “**Question 3:** …”, “> User: …”, “## Answer” with the text below it.
_LINE = re.compile(
    rf"\s*(?:(?P<heading>\#{{1,6}})\s*|[*_]{{1,2}}|>\s*|[-•]\s+|\d{{1,6}}[.)]\s*)?[*_]{{0,2}}"
    rf"(?P<name>{_NAMES}|(?-i:[QA]))(?![^\W\d_])\s?\d{{0,6}}[*_]{{0,2}}\s*(?P<colon>[:：])?"
    r"[*_]{0,2}[ \t]*(?P<rest>.*)",
    re.IGNORECASE,
)
_HEADING = re.compile(r"(#{1,6})\s+(.+?)[\s#]*$")
_RULE = re.compile(r"\s*([-=*_])(?:\s*\1){2,}\s*$")
# “[12.03.24, 14:05:11] Anna: …”, “12/03/2024, 2:05 PM - Anna: …”, or just “Anna: …”.
_SAID = re.compile(
    r"[\u200e\u200f\s]*(?:\[?\d{1,4}[./-]\d{1,2}[./-]\d{1,4},?\s+\d{1,2}[:.]\d{2}(?:[:.]\d{2})?\s*(?:[AaPp]\.?[Mm]\.?)?\]?"
    r"\s*(?:-\s*)?)?(?P<name>[^\W\d_][^:,;|<>{}\[\]\"\t]{0,39}?):\s(?P<rest>.*)"
)
_LOOK_AT_LINES = 400


@dataclass(frozen=True)
class Marks:
    """How turns are marked: by "marks" (Q:, ## Answer), "headings" that ask, or the "names" of two people."""

    kind: str
    shown: str
    above: str = ""
    names: tuple[str, str] = ("prompt", "response")
    divided: bool = False


def find_marks(head: str, suffix: str) -> Marks | None:
    """The marks that a text uses, or None where it does not; `head` is how it begins."""
    lines = [line for line in head.splitlines()[:_LOOK_AT_LINES] if line.strip()]
    if not lines:
        return None
    roles = [_mark(line) for line in lines]
    first = next((number for number, mark in enumerate(roles) if mark), None)
    asked = [mark[1] for mark in roles if mark and mark[0] == "user"]
    answered = [mark[1] for mark in roles if mark and mark[0] == "assistant"]
    if first is not None and asked and answered and first <= (0 if suffix in (".csv", ".tsv") else 10):
        shown = f"{Counter(asked).most_common(1)[0][0]} / {Counter(answered).most_common(1)[0][0]}"
        divided = any(_RULE.match(line) for line in lines[first:])
        return Marks("marks", shown, " ".join(lines[:first]), divided=divided)
    if suffix in (".csv", ".tsv"):
        return None
    headings = [found for line in lines if (found := _HEADING.match(line))]
    asking = Counter(found[1] for found in headings if found[2].endswith(("?", "？")))
    if asking:
        level, count = asking.most_common(1)[0]
        if count > 1 and 2 * count > sum(found[1] == level for found in headings):
            return Marks("headings", level)
    return _names(lines)


def parse_marked(file: TextFile, marks: Marks, encoding: Encoding, options: ReadOptions) -> Parsed:
    """One record for each question and its answer; whole conversations where lines (---) divide the text."""
    names = marks.names
    notes = [f"Not read, above the first question: “{marks.above[:100]}”."] if marks.above else []
    if marks.kind == "names":
        if options.mapping and options.mapping.get("response") == names[0]:
            names = (names[1], names[0])
        notes.append(f"“{names[1]}” is taken for the one who answers.")
    elif marks.kind == "headings":
        notes.append(
            f"Every heading “{marks.shown}” is taken for a prompt, the text below it for the answer."
        )
    turns = _turns(file, marks)
    items = _conversations(turns, encoding) if marks.divided else _pairs(turns, names, encoding)
    columns = ["messages"] if marks.divided else [*names]
    detected = {"Format": "Text with marks", "Marks": marks.shown, "Encoding": encoding.shown}
    return Parsed("text", items, columns, detected, notes=notes, guessed=marks.kind != "marks", progress=file)


def _mark(line: str) -> tuple[str, str, str] | None:
    """The role that a line opens, its mark as written, and the rest of the line."""
    found = _LINE.match(line)
    if not found or not (found["colon"] or (found["heading"] and not found["rest"].strip())):
        return None
    name = found["name"].casefold()
    role = "system" if name == "system" else "user" if name in ASKING else "assistant"
    return role, f"{found['heading'] or ''} {found['name']}{found['colon'] or ''}".strip(), found["rest"]


def _names(lines: list[str]) -> Marks | None:
    """Two people who talk with each other in most lines."""
    said = [found["name"].strip() for line in lines if (found := _SAID.match(line))]
    counted = Counter(said)
    two = [name for name, _ in counted.most_common(2)]
    spoken = sum(counted[name] for name in two)
    if (
        len(two) < 2
        or min(counted[name] for name in two) < 2
        or 10 * spoken < 8 * len(said)
        or 2 * spoken < len(lines)
    ):
        return None
    first = next(name for name in said if name in two)
    second = next(name for name in two if name != first)
    return Marks("names", f"{first} / {second}", names=(first, second))


_Turn = tuple[str, str]  # role ("" for a dividing line), text


def _turns(file: TextFile, marks: Marks) -> Iterator[_Turn]:
    """Every turn with the lines below its mark; a text too long ends with its first characters."""
    role, parts, size = "", list[str](), 0
    while line := file.text.readline(LONGEST_ROW):
        opened = _opened(line, marks)
        if opened is None:
            size += len(line)
            if role and size < LONGEST_ROW:
                parts.append(line)
            continue
        if role:
            yield role, _whole(parts, size)
        role, rest = opened
        parts, size = [rest], len(rest)
        if not role:
            yield "", ""
    if role:
        yield role, _whole(parts, size)


class _TooLong(str):
    """The beginning of a text that is too long; `size` is how long it was."""

    size = 0


def _whole(parts: list[str], size: int) -> str:
    text = "".join(parts).replace("\r\n", "\n").replace("\r", "\n").strip()
    if size < LONGEST_ROW:
        return text
    beginning = _TooLong(cut(text))
    beginning.size = size
    return beginning


def _opened(line: str, marks: Marks) -> tuple[str, str] | None:
    """The role that a line opens and the rest of it; ("", "") for a line that divides conversations."""
    if marks.kind == "marks":
        if marks.divided and _RULE.match(line):
            return "", ""
        found = _mark(line.rstrip("\r\n"))
        return (found[0], found[2] + "\n") if found else None
    if marks.kind == "headings":
        heading = _HEADING.match(line)
        if not heading or len(heading[1]) > len(marks.shown):
            return None
        return ("heading", heading[2] + "\n") if heading[1] == marks.shown else ("", "")
    said = _SAID.match(line.rstrip("\r\n"))
    if not said or (name := said["name"].strip()) not in marks.names:
        return None
    return name, said["rest"] + "\n"


def _pairs(turns: Iterator[_Turn], names: tuple[str, str], encoding: Encoding) -> Iterator[Item]:
    """Question and answer as one record; what one says twice in a row is joined where they have names."""
    row, system = 0, ""
    named = names != ("prompt", "response")
    pair: dict[str, str] = {}
    for role, text in turns:
        if not role:
            continue
        if role == "heading":
            question, _, answer = text.partition("\n")
            row += 1
            yield _item(row, {names[0]: question.strip(), names[1]: answer.strip()}, encoding)
            continue
        if role == "system":
            system = text
            continue
        column = role if named else names[0] if role == "user" else names[1]
        if named and column in pair and (column == names[1] or names[1] not in pair):
            pair[column] += f"\n{text}"
            continue
        if pair and (column == names[0] or column in pair):
            row += 1
            yield _item(row, pair, encoding)
            pair = {}
        if named and column == names[1] and not pair:  # the first words, which answer nothing
            continue
        pair = {**pair, column: text, **({"system": system} if system else {})}
    if pair:
        yield _item(row + 1, pair, encoding)


def _conversations(turns: Iterator[_Turn], encoding: Encoding) -> Iterator[Item]:
    row, messages = 0, list[dict[str, str]]()
    for role, text in turns:
        if role:
            messages.append({"role": role, "content": text})
        elif messages:
            row += 1
            yield _item(row, {"messages": messages}, encoding)
            messages = []
    if messages:
        yield _item(row + 1, {"messages": messages}, encoding)


def _item(row: int, value: dict[str, Any], encoding: Encoding) -> Item:
    texts = [m["content"] for m in value["messages"]] if "messages" in value else value.values()
    for text in texts:
        if isinstance(text, _TooLong):
            reason = f"it has {size_shown(text.size)}, and a row may have {size_shown(LONGEST_ROW)} at most"
            return LeftOut(row, "too_large", reason, str(text))
        if encoding.errors != "strict" and (byte := escaped_byte(text)):
            return LeftOut(
                row, "broken_character", f"it has the byte {byte}, which fits no character", cut(text)
            )
    return Record(row, value)
