"""Rows of a dataset as HTML: as a conversation, and as the exact text that the model will read."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from typing import Any

from jobs.base_models import catalogue
from jobs.datasets import lengths
from jobs.generation.chat import ChatFormat, TokenizedExample
from jobs.training.settings import LONGEST_FITTED_ROW_TOKENS, fitted_max_tokens
from storage.datasets import Dataset
from storage.errors import StudioError

Row = dict[str, Any]

# A row may hold a book: its beginning says what it is.
MOST_CHARACTERS = 20_000
# About 0.1 seconds of tokenising.
MOST_EXACT_CHARACTERS = 200_000
# Of the tokens of a longer row, its beginning, its end, and both sides of the cut are shown.
FIRST_TOKENS, TOKENS_AROUND = 1000, 150

_SAID = {
    "system": '<div class="system-said">Instruction: {}</div>',
    "user": '<div class="said">{}</div>',
    "assistant": '<div class="learned">{}</div>',
}


def conversation_html(row: Row) -> str:
    """One example: what is asked in grey, what is learned beside the accent line; a row left out with its reason."""
    turns = "".join(
        _SAID.get(str(message.get("role")), _SAID["user"]).format(_shown(message.get("content")))
        for message in row.get("messages") or ()
    )
    if row["split"] == "left_out":
        return f'<div class="example">{_left_out_html(row)}{turns}</div>'
    locked = '<span class="pill">kept aside to test on</span>' if row["split"] == "held_out" else ""
    return f'<div class="example">{locked}{turns}</div>'


def _left_out_html(row: Row) -> str:
    """Why a row is not used, and its text as it stood in the file."""
    reason = str(row.get("reason") or "it cannot be used")
    raw = f'<pre class="raw">{_shown(row["raw"])}</pre>' if row.get("raw") else ""
    return f'<span class="pill wrong">left out</span> <span class="quiet">{html.escape(reason)}</span>{raw}'


def _shown(text: Any) -> str:
    """Text as HTML; of very long text the beginning, and how much more there is."""
    whole = "" if text is None else str(text)
    more = len(whole) - MOST_CHARACTERS
    rest = f' <span class="quiet">… {more:,} characters more</span>' if more > 0 else ""
    return html.escape(whole[:MOST_CHARACTERS]) + rest


def exact_html(
    shown: Sequence[Row], model_id: str = catalogue.STARTER_ID, max_tokens: int | None = None
) -> str:
    """The rows after the base model's chat template, token by token: learned ones coloured, cut ones struck out.

    Args:
        max_tokens: the longest example as it is set for the training; None: as it would be fitted.
    """
    model = catalogue.find(model_id)
    chat = chat_format(model_id)
    if chat is None:
        which = (
            "starter model" if model_id == catalogue.STARTER_ID else f"base model “{html.escape(model.name)}”"
        )
        return (
            '<p class="quiet">The exact text needs the base model’s own template. '
            f"The {which} is not on this machine yet: come back when it is there (System shows how far it is).</p>"
        )
    positions = model.shape.positions if model.shape else None
    limit = fitted_max_tokens(max_tokens, LONGEST_FITTED_ROW_TOKENS, positions)
    note = "" if chat.has_own_template else "This model has no chat template: a plain one is used. "
    texts = "".join(_exact_row_html(chat, row, limit) for row in shown)
    return texts + (
        f'<p class="quiet">{note}Coloured: the words it learns to write. Grey: what it only reads. '
        "Struck out: what is cut. The shade changes with every token.</p>"
    )


def _exact_row_html(chat: ChatFormat, row: Row, limit: int) -> str:
    """One row token by token, with a sentence on what is cut of it, or why the model reads nothing of it."""
    if row["split"] == "left_out":
        return conversation_html(row)
    messages, is_whole = _beginning(row["messages"])
    try:
        example = chat.example(messages)
    except StudioError as error:
        return (
            f'<div class="exact"><span class="pill wrong">not read</span> {html.escape(error.message)}</div>'
        )
    # What follows the last learned token is not read by the training anyway.
    used = max((place + 1 for place, learned in enumerate(example.learned) if learned), default=0)
    limit = limit if used > limit else len(example.token_ids)
    tokens = "".join(_tokens_html(example, limit))
    return f'<div class="exact">{tokens}</div>{_cut_html(example, limit, used, is_whole)}'


def _beginning(messages: Sequence[dict[str, str]]) -> tuple[list[dict[str, str]], bool]:
    """The messages up to a bounded length, and whether that is all of them."""
    left, kept, total = MOST_EXACT_CHARACTERS, [], 0
    for message in messages:
        total += len(message["content"])
        kept.append({**message, "content": message["content"][: max(0, left)]})
        left -= len(message["content"])
    return kept, total <= MOST_EXACT_CHARACTERS


def _tokens_html(example: TokenizedExample, limit: int) -> Iterator[str]:
    """Each token, and a word in place of those that are not shown."""
    shown = _shown_places(len(example.pieces), limit)
    end = 0
    for part in shown:
        if part.start > end:
            yield f'<span class="quiet"> … {part.start - end:,} tokens not shown … </span>'
        for place in part:
            kind = " learn" if example.learned[place] else ""
            cut = " cut" if place >= limit else ""
            yield f'<span class="token{kind}{cut}">{html.escape(example.pieces[place])}</span>'
        end = part.stop


def _shown_places(tokens: int, limit: int) -> list[range]:
    """Which tokens of a row are shown: all of a short one; else its beginning, around the cut, and its end."""
    wanted = [range(min(tokens, FIRST_TOKENS))]
    if limit < tokens:
        wanted.append(range(max(0, limit - TOKENS_AROUND), min(tokens, limit + TOKENS_AROUND)))
    wanted.append(range(max(0, tokens - TOKENS_AROUND), tokens))
    parts: list[range] = []
    for one in sorted(wanted, key=lambda part: part.start):
        if parts and one.start <= parts[-1].stop:
            parts[-1] = range(parts[-1].start, max(parts[-1].stop, one.stop))
        else:
            parts.append(one)
    return parts


def _cut_html(example: TokenizedExample, limit: int, used: int, is_whole: bool) -> str:
    """How many tokens are cut and how many of those would have been learned; nothing where none are."""
    said = ""
    if not is_whole:
        said = f"Only its first {MOST_EXACT_CHARACTERS:,} characters are shown, {used:,} tokens. "
    if used > limit:
        learned = sum(example.learned[1:])
        lost = learned - sum(example.learned[1:limit])
        cut = f"The last {used - limit:,} of {used:,} tokens are cut"
        said += f"{cut}, {lost:,} of the {learned:,} that it would learn."
        if lost == learned:
            said += " Nothing is left to learn from this row."
    return f'<p class="quiet">{said.strip()}</p>' if said else ""


def token_counts(dataset: Dataset, model_id: str = catalogue.STARTER_ID) -> tuple[list[int], str]:
    """Tokens of every example for a base model, and the sentence about them; ([], why not) before they are counted.

    Small sets are counted at once; larger ones by `jobs.datasets.lengths.count`.
    """
    if not catalogue.find(model_id).available:
        which = "starter model" if model_id == catalogue.STARTER_ID else "base model"
        return [], f"They are counted as soon as the {which} is on this machine."
    found = lengths.counts_at_once(dataset.id, model_id)
    if found is None:
        return [], "They have not been counted yet."
    if not len(found.tokens):
        return [], "There are no examples."
    counts: list[int] = found.tokens.tolist()
    ordered = sorted(counts)
    return counts, f"Typical {ordered[len(ordered) // 2]:,}, longest {ordered[-1]:,}."


def chat_format(model_id: str) -> ChatFormat | None:
    """The tokenizer and template of a base model, or None while it is not on this machine."""
    folder = catalogue.find(model_id).folder
    return None if folder is None else lengths.chat_of(folder)
