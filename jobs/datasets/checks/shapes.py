"""What an answer looks like, whatever it says: JSON, a list, a number, one sentence; how it opens and closes."""

from __future__ import annotations

import json
import re
from typing import Any

SHAPES = (
    "json_object",
    "json_list",
    "number",
    "marked_end",  # the last line begins with a mark: "#### 42", "Answer: 42"
    "list",
    "code_block",
    "tagged",  # <answer>…</answer>
    "one_line",
    "one_sentence",
    "ends_sentence",
    "bullets",
    "emoji",
    "exclaims",
    "no_capitals",
    "all_capitals",
    "broken_json",  # opens like JSON and is none
    "prose",  # long enough to have a style
)
SHAPE = {name: 1 << number for number, name in enumerate(SHAPES)}
_NUMBER = re.compile(r"[-+−]?[$€£]?\d[\d.,  ]*(?:\s?[%€$£])?")
_ITEM = re.compile(r"(?:[-*•–]|\d{1,3}[.)])\s+\S")
_END_OF_SENTENCE = re.compile(
    r"[.!?…。！？][\"'”’»)\]]*(?:\s+(?=[\"“„«'(]?[A-ZÀ-ÞΑ-ΩА-Я0-9])|$|(?<=[。！？]))"
)
_NO_END = re.compile(
    r"\b(?:[A-Z]|Mr|Mrs|Ms|Dr|St|Prof|Nr|No|vs|etc|e\.g|i\.e|z\.B|bzw|ca|approx|\d{1,2})\.\s+(?=\S)"
)
_EMOJI = re.compile("[\u2600-\u27bf\U0001f300-\U0001faff]")
_TAGGED = re.compile(r"<([A-Za-z_][\w-]{0,40})>.*</\1>", re.DOTALL)
_MARK = re.compile(r"(#{2,6}|[A-Z][\w ]{0,24}:|\*\*[\w ]{1,24}:?\*\*:?)\s*\S")


def shape_of(answer: str) -> tuple[int, str]:
    """The bits of an answer's shape; and what JSON it is: its sorted "key:type" one a line."""
    text = answer.strip()
    bits, keys = 0, ""
    if text[:1] in "{[" and text:
        value = _parsed(text)
        if isinstance(value, dict):
            bits |= SHAPE["json_object"]
            keys = "\n".join(sorted(f"{_type(inside)}:{name}" for name, inside in value.items()))[:4000]
        elif isinstance(value, list):
            bits |= SHAPE["json_list"]
        elif text[-1] in "}]" or text.startswith(("{", '["', "[{")):
            bits |= SHAPE["broken_json"]
        if bits:
            return bits | (0 if "\n" in text else SHAPE["one_line"]), keys
    if len(text) <= 40 and _NUMBER.fullmatch(text):
        bits |= SHAPE["number"]
    if text.startswith("```") and text.endswith("```"):
        bits |= SHAPE["code_block"]
    if text.startswith("<") and _TAGGED.fullmatch(text):
        bits |= SHAPE["tagged"]
    if "\n" in text:
        lines = [line for line in text.split("\n") if line.strip()]
        items = sum(1 for line in lines if _ITEM.match(line.lstrip()))
        if items >= 2:
            bits |= SHAPE["bullets"]
        if items == len(lines):
            bits |= SHAPE["list"]
        if _MARK.match(lines[-1]) and not _ITEM.match(lines[-1]):
            bits |= SHAPE["marked_end"]
    else:
        bits |= SHAPE["one_line"]
        if sentences(text) <= 1:
            bits |= SHAPE["one_sentence"]
    if text[-1:] in ".!?…。！？" or text[-2:-1] in ".!?…。！？":
        bits |= SHAPE["ends_sentence"]
    if "!" in text:
        bits |= SHAPE["exclaims"]
    if not text.isascii() and _EMOJI.search(text):
        bits |= SHAPE["emoji"]
    if len(text) >= 20 and " " in text:
        if len(text) >= 40:
            bits |= SHAPE["prose"]
        lower, upper = text.islower() and text[0].isalpha(), text.isupper()
        if (lower or upper) and sum(c.isalpha() for c in text) > len(text) / 2:
            bits |= SHAPE["no_capitals"] if lower else SHAPE["all_capitals"]
    return bits, keys


def sentences(text: str) -> int:
    """How many sentences a line has, near enough."""
    return len(_END_OF_SENTENCE.findall(_NO_END.sub("x ", text)))


def closing_of(answer: str) -> str:
    """The last three words of an answer."""
    return " ".join(answer[-80:].casefold().split()[-3:])


def last_mark_of(answer: str) -> str:
    """What the last of several lines begins with: "####", "Answer:"; "" where nothing marks it."""
    last = answer.rstrip()[-300:].rpartition("\n")
    found = _MARK.match(last[2]) if last[1] else None
    return found[1] if found else ""


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _type(value: Any) -> str:
    if value is None:
        return "null"
    names = {str: "text", bool: "true or false", int: "number", float: "number", list: "list", dict: "object"}
    return names[type(value)]
