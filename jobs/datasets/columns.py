"""Which column is asked and which is answered: by name, and failing that by looking."""

from __future__ import annotations

import re
from collections.abc import Sequence

from jobs.datasets.records import Record
from storage.errors import StudioError

# Most telling first: where several columns carry such a name, the earlier name wins.
MESSAGES = ("messages", "conversations", "conversation", "dialogue", "dialog")
PROMPT = (
    *("prompt", "instruction", "question", "input", "user", "customer", "query", "mail", "email", "message"),
    *("request", "human", "ask", "problem", "source"),
)
RESPONSE = (
    *("response", "answer", "completion", "output", "assistant", "reply", "target", "bot", "agent", "gpt"),
    *("solution", "chosen", "ticket", "result"),
)
SYSTEM = ("system", "system prompt", "system message", "persona")
EXPECTED = (
    "Name one column “prompt” and one “response” (question/answer, input/output, instruction/output … are"
    " understood too), or give each example a list of “messages” with “role” and “content”."
)
_ATTRIBUTES = {"id", "name", "date", "time", "number", "count", "tokens", "length", "type", "score"}
_LOOK_AT_RECORDS = 200
_LONGEST_NAME = 40


def looks_like_header(cells: Sequence[str]) -> bool:
    """Whether a first row names columns: one has a known name, or all are short and no sentences."""
    known = {*MESSAGES, *PROMPT, *RESPONSE, *SYSTEM}
    if any(_plain(cell) in known for cell in cells):
        return True
    named = [cell for cell in cells if cell]
    return bool(named) and all(
        len(cell) <= _LONGEST_NAME and len(cell.split()) <= 4 and not re.search(r"[.?!]$|^[\d\W]+$", cell)
        for cell in named
    )


def mapping_of(columns: Sequence[str], records: Sequence[Record], name: str) -> tuple[dict[str, str], bool]:
    """Which column plays which part, and whether that was guessed.

    The parts are "messages", or "prompt" and "response" (with Alpaca's "input"), and in both cases "system".
    Raises StudioError, naming the columns found and expected, when it cannot be told.
    """
    plain = {column: _plain(column) for column in columns}
    system = _named(plain, SYSTEM)
    parts = {"system": system} if system else {}
    messages = _named(plain, MESSAGES)
    if messages and _holds_lists(messages, records):
        return {"messages": messages, **parts}, False
    if {"role", "content"} <= set(columns) or {"from", "value"} <= set(columns):
        raise StudioError(
            f"{name} holds single messages, not examples: it has the columns {_listed(columns)}.",
            "Put the messages of each example into a list in one field named “messages”.",
        )
    prompt, response = _named(plain, PROMPT), _named(plain, RESPONSE)
    if prompt and response:
        parts = {"prompt": prompt, "response": response, **parts}
        if plain[prompt] == "instruction" and "input" in plain.values():
            parts["input"] = next(column for column in columns if plain[column] == "input")
        return parts, False
    guessed = _guess(plain, records, prompt, response, system)
    if guessed is None:
        found = f"the columns {_listed(columns)}" if columns else "no columns"
        raise StudioError(
            f"{name} has {found}; which one is the prompt and which the answer cannot be told.", EXPECTED
        )
    return {"prompt": guessed[0], "response": guessed[1], **parts}, True


def _guess(
    plain: dict[str, str],
    records: Sequence[Record],
    prompt: str | None,
    response: str | None,
    system: str | None,
) -> tuple[str, str] | None:
    """Prompt and response by a word in the name ("agent's reply"), else the two columns of text, in order."""
    free = {column: name for column, name in plain.items() if column not in (prompt, response, system)}
    if response is None:
        response = _only_with_word(free, RESPONSE)
        free.pop(response or "", None)
    if prompt is None:
        prompt = _only_with_word(free, PROMPT)
        free.pop(prompt or "", None)
    missing = [part for part in (prompt, response) if part is None]
    text = [column for column in free if _holds_text(column, records)]
    if len(text) > len(missing):
        text = [column for column in text if _holds_text(column, records, of_words=True)]
    if len(text) != len(missing) and missing:
        return None
    rest = iter(text)
    return prompt or next(rest), response or next(rest)


def _named(plain: dict[str, str], known: Sequence[str]) -> str | None:
    """The column whose whole name is the earliest in `known`."""
    ranked = [(known.index(name), column) for column, name in plain.items() if name in known]
    return min(ranked)[1] if ranked else None


def _only_with_word(plain: dict[str, str], known: Sequence[str]) -> str | None:
    """The one column with a known word in its name; "answer id" and the like are no answers."""
    found = [
        column
        for column, name in plain.items()
        if set(words := name.split()) & set(known) and not set(words) & _ATTRIBUTES
    ]
    return found[0] if len(found) == 1 else None


def _holds_text(column: str, records: Sequence[Record], of_words: bool = False) -> bool:
    """Whether most values of a column have letters (`of_words`: and spaces) in them."""
    pattern = re.compile(r"[^\W\d_].*\s|\s.*[^\W\d_]" if of_words else r"[^\W\d_]", re.DOTALL)
    values = [r.value.get(column) for r in records[:_LOOK_AT_RECORDS] if isinstance(r.value, dict)]
    filled = [value for value in values if value not in (None, "")]
    texts = [value for value in filled if isinstance(value, str) and pattern.search(value[:1000])]
    return bool(texts) and 2 * len(texts) > len(filled)


def _holds_lists(column: str, records: Sequence[Record]) -> bool:
    """Whether any value of a column is a list, or in CSV the JSON text of one."""
    values = (record.value.get(column) for record in records if isinstance(record.value, dict))
    return any(isinstance(v, list) or (isinstance(v, str) and v.lstrip().startswith("[")) for v in values)


def _plain(name: str) -> str:
    """A column name in small letters, its words separated by single spaces."""
    return " ".join(re.sub(r"[\W_]+", " ", name).casefold().split())


def _listed(columns: Sequence[str]) -> str:
    shown = ", ".join(f"“{column[:_LONGEST_NAME]}”" for column in columns[:10])
    return shown + (f" and {len(columns) - 10} more" if len(columns) > 10 else "")
