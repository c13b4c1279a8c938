"""One record of the source as a conversation, or the reason why it is none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jobs.datasets.records import AmbiguousObject, Record

_ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "customer", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "bot", "model", "chatgpt", "ai"), "assistant"),
}


@dataclass(frozen=True)
class Example:
    """One usable conversation; `row` is its number in the source, `messages` are {"role", "content"}."""

    row: int
    messages: list[dict[str, str]]


class Unusable(Exception):
    """Why one record cannot be used: a code, and the reason as the end of a sentence."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


def example_of(record: Record, mapping: Mapping[str, str]) -> Example:
    """The conversation in one record, given which column plays which part.

    Raises Unusable.
    """
    values = record.value
    if not isinstance(values, dict):
        raise Unusable("not_an_object", f"it is {_kind(values)}, not an object with named fields")
    _check_unambiguous(values)
    listed = mapping.get("messages")
    messages = _from_list(values.get(listed)) if listed else _from_columns(values, mapping)
    if "system" in mapping and messages[0]["role"] != "system":
        system = _cell(values.get(mapping["system"]), "the system column")
        messages.insert(0, {"role": "system", "content": system})
    messages = [m for m in messages if m["role"] != "system" or m["content"].strip()]
    _check(messages)
    return Example(record.row, messages)


def _from_columns(values: Mapping[str, Any], mapping: Mapping[str, str]) -> list[dict[str, str]]:
    """Prompt and response columns, Alpaca's `input` below its `instruction`."""
    asked = _cell(values.get(mapping["prompt"]), "the prompt")
    if "input" in mapping:
        more = _cell(values.get(mapping["input"]), "the input")
        asked = "\n\n".join(part for part in (asked, more) if part.strip())
    answer = _cell(values.get(mapping["response"]), "the answer")
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]


def _from_list(value: Any) -> list[dict[str, str]]:
    """OpenAI's {"role", "content"} or ShareGPT's {"from", "value"}; in a CSV cell the list is JSON text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise Unusable("bad_messages", "the messages are text that is not JSON") from error
    if not isinstance(value, list) or not value:
        raise Unusable("bad_messages", f"the messages are {_kind(value)}, not a list of messages")
    return [_message(message, number) for number, message in enumerate(value, start=1)]


def _message(message: Any, number: int) -> dict[str, str]:
    if not isinstance(message, dict):
        raise Unusable("bad_messages", f"message {number} is {_kind(message)}, not an object")
    _check_unambiguous(message)
    said_by = message.get("role", message.get("from"))
    role = _ROLES.get(said_by.strip().casefold()) if isinstance(said_by, str) else None
    if role is None:
        known = "system, user and assistant are known"
        raise Unusable("unknown_role", f"message {number} has the role {_shown(said_by)}; {known}")
    content = message.get("content", message.get("value"))
    return {"role": role, "content": _content(content, f"message {number}")}


def _content(value: Any, where: str) -> str:
    """Text, or the text of content in parts ([{"type": "text", "text": …}]) joined."""
    if not isinstance(value, list):
        return _cell(value, where)
    for part in value:
        if not isinstance(part, dict) or part.get("type", "text") != "text" or "text" not in part:
            raise Unusable("not_text", f"{where} has a part that is not text")
    return "".join(_cell(part["text"], where) for part in value)


def _cell(value: Any, where: str) -> str:
    """A value as text with plain line ends; numbers and objects as JSON would write them."""
    if value is None:
        return ""
    _check_unambiguous(value)
    try:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, allow_nan=False)
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise Unusable("broken_character", f"{where} holds half a character (a lone surrogate)") from error
    except RecursionError as error:
        raise Unusable("not_text", f"{where} is nested too deep") from error
    except ValueError as error:
        raise Unusable("not_text", f"{where} holds NaN or infinity, which are no text") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _check(messages: list[dict[str, str]]) -> None:
    """Raises Unusable unless user and assistant take turns up to an answer, and all say something."""
    turns = [m for m in messages if m["role"] != "system"]
    if len(messages) - len(turns) > 1 or any(m["role"] == "system" for m in messages[1:]):
        raise Unusable("role_order", "a system message may only come once, at the start")
    if not turns:
        raise Unusable("role_order", "nobody asks or answers anything")
    for number, message in enumerate(turns):
        expected = "assistant" if number % 2 else "user"
        if message["role"] != expected:
            where = "comes first" if number == 0 else "speaks twice in a row"
            raise Unusable("role_order", f"the {message['role']} {where}")
    if turns[-1]["role"] != "assistant":
        raise Unusable("role_order", "the last message is not the assistant's")
    for message in turns:
        if not message["content"].strip():
            asks = message["role"] == "user"
            raise Unusable(
                "empty_prompt" if asks else "empty_answer", f"the {'prompt' if asks else 'answer'} is empty"
            )


def _check_unambiguous(values: Any) -> None:
    if isinstance(values, AmbiguousObject):
        raise Unusable("duplicate_key", f"it has the field {_shown(values.repeated)} twice")


def _shown(value: Any) -> str:
    """A short safe picture of anything for a message."""
    return ascii(value)[:60]


def _kind(value: Any) -> str:
    if value is None:
        return "missing"
    names = {str: "text", bool: "true or false", int: "a number", float: "a number", list: "a list"}
    return names.get(type(value), "an object")
