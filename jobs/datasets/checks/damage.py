"""Texts that were damaged on their way: wrongly decoded, with invisible characters, with remains of web pages.

A text is only called damaged where the repair here changes it, so a repaired text is never found again.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

# ASCII controls but tab and line ends; and the invisible ones that no script needs (joiners are needed).
_ASCII_CONTROLS = bytes({*range(9), 11, 12, *range(14, 32), 127})
_INVISIBLE = "\u00ad\u200b\u2060\u202d\u202e\ufeff\ufff9\ufffa\ufffb"
_CONTROLS = re.compile(f"\x1b\\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u2028\u2029{_INVISIBLE}]")
_LATIN_CONTROLS = re.compile("[\x80-\x9f]")
_LINE_ENDS = {"\x0b": "\n", "\x0c": "\n", "\u2028": "\n", "\u2029": "\n\n", "\x85": "\n"}
# Scripts written without spaces mark where a line may break with U+200B.
_MARKED_BREAK = re.compile("(?<=[\u0e00-\u17ff])\u200b(?=[\u0e00-\u17ff])")

_ENTITY = re.compile(r"&(?:[A-Za-z][A-Za-z0-9]{1,24}|#[0-9]{2,6}|#[xX][0-9A-Fa-f]{2,5});")
_BLOCKS = (
    "p|div|li|ul|ol|h[1-6]|tr|table|tbody|thead|blockquote|section|article|header|footer|dl|dt|dd|center"
)
# Nothing here may look further than the next "<", or a text of a million of them would take hours.
_TAG = re.compile(
    rf"<!--[^<>]{{0,2000}}-->|<(script|style)\b[^<>]{{0,500}}>[^<]{{0,9000}}</\1\s*>"
    rf"|</?(br|hr|img|script|style|a|b|i|u|em|strong|span|font|small|td|th|{_BLOCKS})(?:\s[^<>]{{0,2000}})?/?>",
    re.IGNORECASE,
)
_PAIRED = {"a", "b", "i", "u", "em", "strong", "small", "p"}  # "a <b> c" is a comparison, not bold
_LINE = 500
_ENDS_A_LINE = re.compile(rf"br|hr|{_BLOCKS}", re.IGNORECASE)
_ABOUT_MARKUP = re.compile(
    r"```|`[^`\n]*[<&]|<!doctype|<html|<\?xml|\b(?:x?html5?|xml|css|svg|jsx|javascript|typescript|react|vue|angular|php|"
    r"markup|web ?scraping|web development|front-?end|(?:source|this|following|some|the|a) code|code snippets?|coding|"
    r"entit(?:y|ies)|escaped?|escaping|unescaped?|rich text|pars(?:e|ing|er)|regex)\b",
    re.IGNORECASE,
)


def damages(messages: Sequence[dict[str, str]], text: str) -> Iterator[str]:
    """The codes of what is wrong with a row; `text` is all its messages in one."""
    if not text.isascii():
        if _mojibake_likely(text) and any(decoded(m["content"]) != m["content"] for m in messages):
            yield "mojibake"
        if "\ufffd" in text:
            yield "lost_character"
    if _controls_likely(text) and any(without_controls(m["content"]) != m["content"] for m in messages):
        yield "control_characters"
    if ("<" in text or ";" in text) and _remains_likely(text) and not _ABOUT_MARKUP.search(text):
        yield "html_remains"


def decoded(text: str) -> str:
    """The text as it was before it was read in a wrong encoding; as it is where nothing tells so."""
    if text.isascii() or not _mojibake_likely(text):
        return text
    import ftfy

    for _ in range(4):
        better = ftfy.fix_encoding(text)
        if better == text:
            break
        text = better
    return text


def without_controls(text: str) -> str:
    """The text without characters that nobody sees and no language needs."""
    if not _controls_likely(text):
        return text
    kept = _MARKED_BREAK.sub("\ue000", text)
    kept = _CONTROLS.sub(lambda found: _LINE_ENDS.get(found[0], ""), kept)
    if _LATIN_CONTROLS.search(kept) and decoded(kept) == kept:  # else they are half of a wrongly read letter
        kept = _LATIN_CONTROLS.sub(lambda found: _LINE_ENDS.get(found[0], ""), kept)
    return kept.replace("\ue000", "\u200b") if "\ue000" not in text else text


def without_markup(text: str) -> str:
    """The text as a browser would show it: line breaks for blocks, characters for entities, no tags."""
    for _ in range(5):  # what was escaped twice shows tags when it is unescaped once
        shown = _shown(text)
        if shown == text:
            break
        text = shown
    return text


def _shown(text: str) -> str:
    if not _remains_likely(text):
        return text
    in_json = _is_json(text)

    def written(piece: str) -> str:
        return json.dumps(piece, ensure_ascii=False)[1:-1] if in_json else piece

    def tag(found: re.Match[str]) -> str:
        name = (found[2] or "").lower()
        if not found[0].startswith("</") and name == "li":
            return written("- ")
        if not _ENDS_A_LINE.fullmatch(name):
            return " " if name in ("td", "th", "img") else ""
        return written("\n") if found[0].startswith("</") or name in ("br", "hr") else ""

    def character(found: re.Match[str]) -> str:
        plain = html.unescape(found[0])
        return found[0] if plain == found[0] else written(" " if plain == "\xa0" else plain)

    shown = _ENTITY.sub(character, _TAG.sub(tag, text))
    if in_json or shown == text:
        return shown
    lines = [line.rstrip() for line in shown.split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def _mojibake_likely(text: str) -> bool:
    from ftfy import badness

    return bool(badness.is_bad(text))


def _controls_likely(text: str) -> bool:
    if text.isascii():
        data = text.encode()
        return len(data.translate(None, _ASCII_CONTROLS)) < len(data)
    return bool(_CONTROLS.search(text) or _LATIN_CONTROLS.search(text))


def _remains_likely(text: str) -> bool:
    """Whether there are tags or entities as web pages have them, and no others."""
    if "&" in text and any(html.unescape(found) != found for found in _ENTITY.findall(text)):
        return True
    if "<" not in text:
        return False
    opened: set[str] = set()
    closed: set[str] = set()
    for found in _TAG.finditer(text):
        name = (found[2] or "").lower()
        if name == "br" and _in_a_table(text, found.start()):
            continue
        if name not in _PAIRED or " " in found[0]:
            return True
        (closed if found[0].startswith("</") else opened).add(name)
    return not opened.isdisjoint(closed)


def _in_a_table(text: str, place: int) -> bool:
    """Whether a line break stands between the bars of a table in Markdown, where nothing else can break a line."""
    around = text[max(0, place - _LINE) : place], text[place : place + _LINE]
    return "|" in around[0].rpartition("\n")[2] and "|" in around[1].partition("\n")[0]


def _is_json(text: str) -> bool:
    if not text.lstrip().startswith(("{", "[")):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def repaired(code: str, text: str) -> str:
    """The text put right for one of the codes here."""
    repairs: dict[str, Any] = {
        "mojibake": decoded,
        "control_characters": without_controls,
        "html_remains": without_markup,
    }
    return str(repairs[code](text))
