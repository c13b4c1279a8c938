"""Which column is asked and which is answered: by name, and failing that by looking."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from jobs.datasets.formats.turns import turns_of
from jobs.datasets.records import Record
from storage.errors import StudioError

# Most telling first: where several columns carry such a name, the earlier name wins.
MESSAGES = ("messages", "conversations", "conversation", "dialogue", "dialog", "contents")
PROMPT = (
    *("prompt", "instruction", "question", "input", "user", "customer", "query", "mail", "email", "message"),
    *("request", "human", "ask", "problem", "source"),
)
RESPONSE = (
    *("response", "answer", "completion", "output", "assistant", "reply", "target", "bot", "agent", "gpt"),
    *("solution", "chosen", "preferred output", "ticket", "result"),
)
# These name other things as often: a column of ids or links is not what is asked or answered.
_WEAK = {
    "user",
    "customer",
    "mail",
    "email",
    "message",
    "human",
    "source",
    "agent",
    "bot",
    "target",
    "result",
    "ticket",
}
_ASKED_ABROAD = (
    "frage",
    "anfrage",
    "pregunta",
    "domanda",
    "pergunta",
    "vraag",
    "demande",
    "вопрос",
    "问题",
    "質問",
)
_ANSWERED_ABROAD = (
    "antwort",
    "respuesta",
    "réponse",
    "risposta",
    "resposta",
    "antwoord",
    "ответ",
    "回答",
    "答案",
)
_CONTEXT = ("context", "passage", "document")
SYSTEM = ("system", "system prompt", "system message", "persona")
KNOWN = {*MESSAGES, *PROMPT, *RESPONSE, *SYSTEM, *_ASKED_ABROAD, *_ANSWERED_ABROAD}
EXPECTED = (
    "Name one column “prompt” and one “response” (question/answer, input/output, instruction/output … are"
    " understood too), or give each example a list of “messages” with “role” and “content”."
)
_ATTRIBUTES = {"id", "name", "date", "time", "number", "count", "tokens", "length", "type", "score"}
_LOOK_AT_RECORDS = 200
LONGEST_NAME = 40


def check_mapping(wanted: Mapping[str, str | None], columns: Sequence[str]) -> dict[str, str]:
    """The parts that are used, as the user chose them; raises StudioError when that makes no conversation."""
    parts = {part: column for part, column in wanted.items() if column}
    for part, column in parts.items():
        if column not in columns:
            raise StudioError(
                f"There is no column “{column[:LONGEST_NAME]}” for the {part}.",
                f"Choose one of {_listed(columns)}.",
            )
    chosen = list(parts.values())
    if repeated := [column for column in chosen if chosen.count(column) > 1]:
        raise StudioError(
            f"The column “{repeated[0][:LONGEST_NAME]}” is chosen for two parts.",
            "Choose another for one of them.",
        )
    if not (
        {"messages"} <= parts.keys() or {"text"} <= parts.keys() or {"prompt", "response"} <= parts.keys()
    ):
        raise StudioError(
            "A prompt and an answer are needed, or a column of messages.",
            "Choose a column for each of the two.",
        )
    return parts


def mapping_of(
    columns: Sequence[str], records: Sequence[Record], name: str, twice: Sequence[str] = ()
) -> tuple[dict[str, str], bool]:
    """Which column plays which part, and whether that was guessed.

    The parts are "messages", or "prompt" and "response" (with Alpaca's "input"), and in both cases "system".
    Raises StudioError, naming the columns found and expected, when it cannot be told.
    """
    if unclear := [column for column in twice if plain(column) in KNOWN]:
        raise StudioError(
            f"{name} has more than one column named “{unclear[0][:LONGEST_NAME]}”.",
            "Give every column its own name, or choose the columns.",
        )
    names = {column: plain(column) for column in columns}
    system = _named(names, SYSTEM)
    parts = {"system": system} if system and _instructs(system, records) else {}
    history = _named(names, ("history",))
    if history and _holds_lists(history, records):
        parts["history"] = history
    messages = _named(names, MESSAGES)
    if messages and _holds_lists(messages, records):
        return {"messages": messages, **parts}, False
    if {"role", "content"} <= set(columns) or {"from", "value"} <= set(columns):
        raise StudioError(
            f"{name} holds single messages, not examples: it has the columns {_listed(columns)}.",
            "Put the messages of each example into a list in one field named “messages”.",
        )
    prompt, response = _meant(names, PROMPT, records), _meant(names, RESPONSE, records)
    if prompt and response:
        more, certain = _more_input(names, prompt, records)
        # Two columns that could be asked, or answered: the better name is a guess.
        rivals = [
            name for column, name in names.items() if column not in (prompt, response, more.get("input"))
        ]
        certain = certain and not {*PROMPT, *RESPONSE} & set(rivals)
        return {"prompt": prompt, "response": response, **more, **parts}, not certain
    if marked := _marked(columns, records):
        return {"text": marked, **parts}, False
    if not prompt and "chosen" in names.values():
        chosen = next(column for column in columns if names[column] == "chosen")
        if _holds_lists(chosen, records):
            return {"messages": chosen, **parts}, False
    ids = [_named(names, PROMPT) if not prompt else None, _named(names, RESPONSE) if not response else None]
    names = {column: name for column, name in names.items() if column not in ids}
    guessed = _guess(names, records, prompt, response, system)
    if guessed is None:
        found = f"the columns {_listed(columns)}" if columns else "no columns"
        raise StudioError(
            f"{name} has {found}; which one is the prompt and which the answer cannot be told.", EXPECTED
        )
    return {"prompt": guessed[0], "response": guessed[1], **parts}, True


def _meant(names: dict[str, str], known: Sequence[str], records: Sequence[Record]) -> str | None:
    """The column with a known name; not one of a weak name that holds ids while another one holds sentences."""
    column = _named(names, known)
    if column is None or names[column] not in _WEAK or not _holds_ids(column, records):
        return column
    others = (other for other, name in names.items() if other != column and name not in KNOWN)
    return None if any(_holds_text(other, records, of_words=True) for other in others) else column


def _more_input(names: dict[str, str], prompt: str, records: Sequence[Record]) -> tuple[dict[str, str], bool]:
    """The column that belongs below the prompt (Alpaca's "input", Dolly's "context"), and whether that is certain."""
    if names[prompt] not in ("instruction", "question"):
        return {}, True
    known = ("input", *_CONTEXT) if names[prompt] == "instruction" else _CONTEXT
    column = _named(names, known)
    if column is None or (names[column] in _CONTEXT and not _holds_text(column, records)):
        return {}, True
    return {"input": column}, names[prompt] == "instruction"


def _instructs(column: str, records: Sequence[Record]) -> bool:
    """Whether a column named "system" reads like system prompts: sentences, and no questions of users."""
    values = [value for value in _values(column, records) if isinstance(value, str) and value.strip()]
    short = sum(len(value.split()) < 2 for value in values)
    asking = sum(value.rstrip().endswith(("?", "？")) for value in values)
    return 2 * max(short, asking) <= len(values)


def _marked(columns: Sequence[str], records: Sequence[Record]) -> str | None:
    """The first column whose texts hold marked turns ("### Human: … ### Assistant: …")."""
    for column in columns:
        values = [value for value in _values(column, records)[:20] if isinstance(value, str)]
        if values and 2 * sum(bool(turns_of(value[:100_000])) for value in values) > len(values):
            return column
    return None


def _guess(
    names: dict[str, str],
    records: Sequence[Record],
    prompt: str | None,
    response: str | None,
    system: str | None,
) -> tuple[str, str] | None:
    """Prompt and response by a word in the name ("agent's reply"), else the two columns of text, in order."""
    free = {column: name for column, name in names.items() if column not in (prompt, response, system)}
    if response is None:
        response = _only_with_word(free, (*RESPONSE, *_ANSWERED_ABROAD))
        free.pop(response or "", None)
    if prompt is None:
        prompt = _only_with_word(free, (*PROMPT, *_ASKED_ABROAD))
        free.pop(prompt or "", None)
    missing = [part for part in (prompt, response) if part is None]
    text = [column for column in free if _holds_text(column, records)]
    if len(text) > len(missing):
        text = [column for column in text if _holds_text(column, records, of_words=True)]
    if len(text) != len(missing) and missing:
        return None
    rest = iter(text)
    return prompt or next(rest), response or next(rest)


def _named(names: dict[str, str], known: Sequence[str]) -> str | None:
    """The column whose whole name is the earliest in `known`."""
    ranked = [(known.index(name), column) for column, name in names.items() if name in known]
    return min(ranked)[1] if ranked else None


def _only_with_word(names: dict[str, str], known: Sequence[str]) -> str | None:
    """The one column with a known word in its name; "answer id" and the like are no answers."""
    found = [
        column
        for column, name in names.items()
        if set(words := name.split()) & set(known) and not set(words) & _ATTRIBUTES
    ]
    return found[0] if len(found) == 1 else None


def _holds_text(column: str, records: Sequence[Record], of_words: bool = False) -> bool:
    """Whether most values of a column have letters (`of_words`: and spaces) in them."""
    pattern = re.compile(r"[^\W\d_].*\s|\s.*[^\W\d_]" if of_words else r"[^\W\d_]", re.DOTALL)
    filled = [value for value in _values(column, records) if value not in (None, "")]
    texts = [value for value in filled if isinstance(value, str) and pattern.search(value[:1000])]
    return bool(texts) and 2 * len(texts) > len(filled)


def _holds_ids(column: str, records: Sequence[Record]) -> bool:
    """Whether most values are single words or numbers."""
    filled = [value for value in _values(column, records) if value not in (None, "")]
    single = [v for v in filled if isinstance(v, int | float) or (isinstance(v, str) and len(v.split()) == 1)]
    return 2 * len(single) > len(filled)


def _values(column: str, records: Sequence[Record]) -> list[Any]:
    """What the first records hold in a column."""
    return [r.value.get(column) for r in records[:_LOOK_AT_RECORDS] if isinstance(r.value, dict)]


def _holds_lists(column: str, records: Sequence[Record]) -> bool:
    """Whether any value of a column is a list, or in CSV the JSON text of one."""
    values = (record.value.get(column) for record in records if isinstance(record.value, dict))
    return any(isinstance(v, list) or (isinstance(v, str) and v.lstrip().startswith("[")) for v in values)


def plain(name: str) -> str:
    """A column name in small letters, its words separated by single spaces."""
    return " ".join(re.sub(r"[\W_]+", " ", name).casefold().split())


def _listed(columns: Sequence[str]) -> str:
    shown = ", ".join(f"“{column[:LONGEST_NAME]}”" for column in columns[:10])
    return shown + (f" and {len(columns) - 10} more" if len(columns) > 10 else "")
