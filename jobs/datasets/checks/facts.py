"""One row in a few hundred bytes: all that the checks of the whole set need to remember of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from jobs.datasets.checks import damage, languages, near, personal, shapes
from jobs.datasets.checks.formats import label_of
from jobs.datasets.checks.kinds import task_of
from jobs.datasets.checks.texts import Message, key, normal, opening

TYPE: list[Any] = [
    ("row", "<i8"),
    ("split", "u1"),  # 0 train, 1 held out
    ("found", "<u4"),  # a bit for each finding that needs no other row, see FOUND
    ("whole", "<u8"),  # all messages as they are
    ("alike", "<u8"),  # all messages but for case, spacing and punctuation
    ("opening", "<u8"),  # the same of everything up to the first question
    ("asked", "<u8"),  # the same of everything before the last answer
    ("answer", "<u8"),  # the same of the last answer
    ("figures", "<u8"),  # all words with digits
    ("near", "<u8", (near.HASHES,)),
    ("prompt_chars", "<u4"),  # of what is asked, without the system prompt
    ("answer_chars", "<u4"),
    ("turns", "<u2"),
    ("system", "<u8"),  # as it is; 0 for none
    ("system_alike", "<u8"),
    ("prompt_language", "S3"),
    ("answer_language", "S3"),
    ("language_wanted", "u1"),  # the row speaks of languages
    ("shape", "<u4"),
    ("keys", "<u8"),
    ("label", "<u8"),
    ("last_mark", "<u8"),
    ("closing", "<u8"),
    ("first_words", "<u8"),  # the first word of the answer
    ("prompt_words", "<u8"),  # three words of the prompt
    ("answer_words", "<u8"),  # three words of the answer
    ("task", "<u8"),
]
FOUND = (
    "email_address",
    "phone_number",
    "card_number",
    "secret",
    "mojibake",
    "lost_character",
    "control_characters",
    "html_remains",
)
BIT = {code: 1 << number for number, code in enumerate(FOUND)}
_MOST_NAMES = 5_000  # texts of a kind that are remembered, with at most so many characters each
_LONGEST_NAME = 20_000
_DIGITS = b"0123456789"
_FIGURE = re.compile(r"\d+")
Facts = tuple[Any, ...]


class Names(dict[int, str]):
    """Texts by their key, for sentences and repairs: of each kind the first ones that come."""

    def __init__(self, known: Mapping[int, str] | None = None) -> None:
        super().__init__(known or {})
        self._room: dict[str, int] = {}

    def key(self, kind: str, text: str) -> int:
        """The text's key, 0 for an empty one; the text can be found by it."""
        if not text:
            return 0
        number = key(text)
        if number not in self and self._room.setdefault(kind, _MOST_NAMES) > 0:
            self._room[kind] -= 1
            self[number] = text[:_LONGEST_NAME]
        return number


def facts_of(row: dict[str, Any], names: Names) -> Facts:
    """The facts of one usable row, in the order of TYPE."""
    messages: list[Message] = row["messages"]
    plain = [normal(message["content"]) for message in messages]
    system = messages[0]["content"] if messages[0]["role"] == "system" else ""
    asked = [m["content"] for m in messages if m["role"] == "user"]
    answers = [m["content"] for m in messages if m["role"] == "assistant"]
    said = " ".join(text for text, m in zip(plain, messages, strict=True) if m["role"] == "user")
    answered = " ".join(text for text, m in zip(plain, messages, strict=True) if m["role"] == "assistant")
    text = "\n".join([m["content"] for m in messages])
    data = text.encode("utf-8", "surrogatepass")
    digits = len(data) - len(data.translate(None, _DIGITS))
    found = 0
    for code in (*personal.found_in(text, digits), *damage.damages(messages, text)):
        found |= BIT[code]
    shape, keys = shapes.shape_of(answers[-1])
    return (
        row["row"],
        row["split"] == "held_out",
        found,
        key(*(part for message in messages for part in (message["role"], message["content"]))),
        key(*plain),
        key(*plain[: len(opening(messages))]),
        key(*plain[:-1]),
        key(plain[-1]),
        key(*sorted(_FIGURE.findall(f"{said} {answered}"))) if digits else 0,
        near.sketch(said, answered),
        sum(map(len, asked)),
        sum(map(len, answers)) // len(answers),
        len(answers),
        names.key("system", system),
        names.key("alike", plain[0]) if system else 0,
        languages.language_of(asked[-1], plain[-2]),
        languages.language_of(answers[-1], plain[-1]),
        languages.names_a_language(f"{system} {asked[-1]}", f"{plain[0]} {plain[-2]}"),
        shape,
        names.key("keys", keys),
        names.key("label", label_of(answers[-1])),
        names.key("mark", shapes.last_mark_of(answers[-1])),
        key(shapes.closing_of(answers[-1])),
        key(*plain[-1].split(maxsplit=1)[:1]),
        names.key("prompt", _words(asked[0])),
        names.key("answer", _words(answers[-1])),
        names.key("task", task_of(asked[-1])),
    )


def _words(text: str) -> str:
    return " ".join(text[:200].split()[:3])
