"""One record of the source as a conversation, or the reason why it is none."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from jobs.datasets.formats.json_values import BrokenJson, loads
from jobs.datasets.formats.turns import turns_of
from jobs.datasets.records import AmbiguousObject, Record

_ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "customer", "prompter", "client", "human user"), "user"),
    **dict.fromkeys(("assistant", "gpt", "bot", "model", "chatgpt", "ai"), "assistant"),
}
# Characters that show nothing: a text of these and of white space is empty.
_INVISIBLE = " \t\n\r\f\v\u00a0\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\u2063\ufeff\u3000"


@dataclass(frozen=True)
class Example:
    """One usable conversation; `row` is its number in the source, `messages` are {"role", "content"}."""

    row: int
    messages: list[dict[str, str]]


class Unusable(Exception):
    """Why one record cannot be used: a code, the reason as the end of a sentence, and the messages as far as known."""

    def __init__(self, code: str, reason: str, messages: Sequence[dict[str, str]] = ()) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason
        self.messages = list(messages)


def example_of(record: Record, mapping: Mapping[str, str]) -> Example:
    """The conversation in one record, given which column plays which part.

    Raises Unusable.
    """
    values = record.value
    if not isinstance(values, dict):
        raise Unusable("not_an_object", f"it is {_kind(values)}, not an object with named fields")
    if isinstance(values, AmbiguousObject):
        raise Unusable("duplicate_key", f"it has the field {_shown(values.repeated)} twice")
    if "messages" in mapping:
        messages = _from_list(values.get(mapping["messages"]))
    elif "text" in mapping:
        messages = _from_text(values.get(mapping["text"]))
    else:
        messages = _from_columns(values, mapping)
    if "history" in mapping:
        messages = [*_from_history(values.get(mapping["history"])), *messages]
    if "system" in mapping and messages[0]["role"] != "system":
        system = _cell(values.get(mapping["system"]), "the system column")
        messages.insert(0, {"role": "system", "content": system})
    if messages[0]["role"] == "system" and is_blank(messages[0]["content"]):
        del messages[0]
    _check(messages)
    return Example(record.row, messages)


def is_blank(text: str) -> bool:
    """Whether a text shows nothing at all."""
    return not text.strip() or not text.strip(_INVISIBLE)


def _from_columns(values: Mapping[str, Any], mapping: Mapping[str, str]) -> list[dict[str, str]]:
    """Prompt and response columns, Alpaca's `input` below its `instruction`; either may be a list of messages."""
    prompt, response = values.get(mapping["prompt"]), values.get(mapping["response"])
    if _is_messages(response):
        after = _from_list(response)
        if after[0]["role"] != "assistant":  # the whole conversation, prompt and all
            return after
    else:
        after = [{"role": "assistant", "content": _cell(response, "the answer")}]
    if _is_messages(prompt):
        return [*_from_list(prompt), *after]
    asked = _cell(prompt, "the prompt")
    if "input" in mapping:
        more = _cell(values.get(mapping["input"]), "the input")
        asked = "\n\n".join(part for part in (asked, more) if part.strip())
    return [{"role": "user", "content": asked}, *after]


def _is_messages(value: Any) -> bool:
    """A list of messages, or OpenAI's object around one."""
    if isinstance(value, dict):
        value = value.get("messages")
    return (
        isinstance(value, list)
        and bool(value)
        and isinstance(value[0], dict)
        and ("role" in value[0] or "from" in value[0])
    )


def _from_list(value: Any) -> list[dict[str, str]]:
    """OpenAI's {"role", "content"} or ShareGPT's {"from", "value"}; in a CSV cell the list is JSON text."""
    if isinstance(value, str):
        try:
            value = loads(value)
        except BrokenJson as error:
            raise Unusable("bad_messages", "the messages are text that is not JSON") from error
    if isinstance(value, dict):
        _check_unambiguous(value)
        value = value.get("messages", value)
    if not isinstance(value, list) or not value:
        what = "an empty list" if value == [] else _kind(value)
        raise Unusable("bad_messages", f"the messages are {what}, not a list of messages")
    messages: list[dict[str, str]] = []
    for number, message in enumerate(value, start=1):
        try:
            messages.append(_message(message, number))
        except Unusable as unusable:
            raise Unusable(unusable.code, unusable.reason, _readable(value)) from unusable
    return messages


def _readable(value: list[Any]) -> list[dict[str, str]]:
    """The messages of a list as far as they can be read, so that a person can put the row right."""
    messages = []
    for number, message in enumerate(value, start=1):
        with suppress(Unusable):
            messages.append(_message(message, number))
    return messages


def _message(message: Any, number: int) -> dict[str, str]:
    if not isinstance(message, dict):
        raise Unusable("bad_messages", f"message {number} is {_kind(message)}, not an object")
    _check_unambiguous(message)
    said_by = message.get("role", message.get("from"))
    role = _ROLES.get(said_by.strip().casefold()) if isinstance(said_by, str) else None
    if role is None:
        which = "no role" if said_by is None else f"the role {_shown(said_by)}"
        known = "system, user and assistant are known"
        raise Unusable("unknown_role", f"message {number} has {which}; {known}")
    if message.get("tool_calls") or message.get("function_call"):
        raise Unusable("tool_call", f"message {number} calls a tool, and calls of tools are not learned here")
    if message.get("weight") == 0 and role == "assistant":
        raise Unusable("weight", f"message {number} has the weight 0, but here every answer is learned from")
    for name in _CONTENT:
        if name in message:
            return {"role": role, "content": _content(message[name], f"message {number}")}
    return {"role": role, "content": ""}


_CONTENT = ("content", "value", "parts", "text")


def _content(value: Any, where: str) -> str:
    """Text, or the text of content in parts ([{"type": "text", "text": …}]) joined."""
    if not isinstance(value, list):
        return _cell(value, where)
    for part in value:
        if not isinstance(part, dict) or part.get("type", "text") != "text" or "text" not in part:
            raise Unusable("not_text", f"{where} has a part that is not text")
    return "".join(_cell(part["text"], where) for part in value)


def _from_text(value: Any) -> list[dict[str, str]]:
    """Turns that are marked within one text ("### Human: … ### Assistant: …")."""
    text = _cell(value, "the text")
    if is_blank(text):
        raise Unusable("empty_prompt", "the text is empty")
    turns = turns_of(text)
    if not turns:
        raise Unusable("bad_messages", "no marks show who says what in its text")
    return turns


def _from_history(value: Any) -> list[dict[str, str]]:
    """Earlier turns as pairs of question and answer."""
    if value in (None, "", []):
        return []
    if _is_messages(value):
        return _from_list(value)
    if not isinstance(value, list) or any(not isinstance(pair, list) or len(pair) != 2 for pair in value):
        raise Unusable("bad_messages", "its history is not a list of pairs of question and answer")
    return [
        {"role": role, "content": _cell(text, "the history")}
        for pair in value
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]


def _cell(value: Any, where: str) -> str:
    """A value as text with plain line ends; numbers and objects as JSON would write them."""
    if value is None:
        return ""
    try:
        if isinstance(value, str):
            text = value
        else:
            _check_unambiguous(value)
            text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        if not text.isascii():
            text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise Unusable("broken_character", f"{where} holds half a character (a lone surrogate)") from error
    except RecursionError as error:
        raise Unusable("not_text", f"{where} is nested too deep") from error
    except ValueError as error:
        raise Unusable("not_text", f"{where} holds NaN or infinity, which are no text") from error
    except TypeError as error:
        raise Unusable("not_text", f"{where} holds bytes, a picture or a sound, which are no text") from error
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _check(messages: list[dict[str, str]]) -> None:
    """Raises Unusable unless user and assistant take turns up to an answer, and all say something."""
    turns = messages[1:] if messages and messages[0]["role"] == "system" else messages
    if any(message["role"] == "system" for message in turns):
        raise Unusable("role_order", "a system message may only come once, at the start", messages)
    if not turns:
        raise Unusable("role_order", "nobody asks or answers anything", messages)
    expected = "user"
    for number, message in enumerate(turns):
        if message["role"] != expected:
            where = "comes first" if number == 0 else "speaks twice in a row"
            raise Unusable("role_order", f"the {message['role']} {where}", messages)
        expected = "assistant" if expected == "user" else "user"
    if turns[-1]["role"] != "assistant":
        raise Unusable("role_order", "the last message is not the assistant's", messages)
    for message in turns:
        if is_blank(message["content"]):
            asks = message["role"] == "user"
            code = "empty_prompt" if asks else "empty_answer"
            raise Unusable(code, f"the {'prompt' if asks else 'answer'} is empty", messages)


def _check_unambiguous(value: Any) -> None:
    """Raises Unusable where a field comes twice in an object, or in one inside it."""
    if isinstance(value, AmbiguousObject):
        raise Unusable("duplicate_key", f"it has the field {_shown(value.repeated)} twice")
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            if isinstance(inner, dict | list):
                _check_unambiguous(inner)


def _shown(value: Any) -> str:
    """A short safe picture of anything for a message."""
    return (ascii(value) if isinstance(value, str) else json.dumps(value, default=str))[:60]


def _kind(value: Any) -> str:
    if value is None:
        return "missing"
    names = {str: "text", bool: "true or false", int: "a number", float: "a number", list: "a list"}
    return names.get(type(value), "an object")
