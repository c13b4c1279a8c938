"""Rows of a dataset as HTML: as a conversation, and as the exact text that the model will read."""

from __future__ import annotations

import html
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from jobs.base_models import catalogue
from jobs.datasets import rows
from jobs.generation.chat import ChatFormat
from storage.datasets import Dataset

Row = dict[str, Any]


def conversation_html(row: Row) -> str:
    """One example: what is asked in grey, what is learned beside the accent line."""
    locked = '<span class="pill">kept aside to test on</span>' if row["split"] == "held_out" else ""
    said = {
        "system": '<div class="system-said">Instruction: {}</div>',
        "user": '<div class="said">{}</div>',
        "assistant": '<div class="learned">{}</div>',
    }
    turns = "".join(
        said[message["role"]].format(html.escape(message["content"])) for message in row["messages"]
    )
    return f'<div class="example">{locked}{turns}</div>'


def exact_html(shown: Sequence[Row], model_id: str = catalogue.STARTER_ID) -> str:
    """The rows after the base model's chat template, token by token; learned tokens coloured."""
    chat = chat_format(model_id)
    if chat is None:
        return (
            '<p class="quiet">The exact text needs the base model’s own template. '
            "The starter model is still being fetched: come back when it is there (System shows how far it is).</p>"
        )
    note = "" if chat.has_own_template else "This model has no chat template: a plain one is used. "
    texts = "".join(f'<div class="exact">{_tokens_html(chat, row)}</div>' for row in shown)
    return texts + (
        f'<p class="quiet">{note}Coloured: the words it learns to write. Grey: what it only reads. '
        "The shade changes with every token.</p>"
    )


def _tokens_html(chat: ChatFormat, row: Row) -> str:
    example = chat.example(row["messages"])
    return "".join(
        f'<span class="token{" learn" if learned else ""}">{html.escape(piece)}</span>'
        for piece, learned in zip(example.pieces, example.learned, strict=True)
    )


def token_counts(dataset: Dataset, model_id: str = catalogue.STARTER_ID) -> tuple[list[int], str]:
    """Tokens of every example for a base model, and the sentence about them; ([], why not) before it is fetched."""
    folder = catalogue.find(model_id).folder
    if folder is None:
        return [], "They are counted as soon as the starter model is on this machine."
    counts = list(_counts(str(folder), dataset.id, dataset.sha256))
    ordered = sorted(counts)
    return counts, f"Typical {ordered[len(ordered) // 2]:,}, longest {ordered[-1]:,}."


def chat_format(model_id: str) -> ChatFormat | None:
    """The tokenizer and template of a base model, or None while it is not on this machine."""
    folder = catalogue.find(model_id).folder
    return _loaded(str(folder), (folder / "tokenizer.json").stat().st_mtime_ns) if folder else None


@lru_cache(maxsize=4)
def _loaded(folder: str, changed_ns: int) -> ChatFormat:
    return ChatFormat.load(Path(folder))


# A dataset's rows never change under one hash, so its counts are worth keeping for a while.
@lru_cache(maxsize=32)
def _counts(folder: str, dataset_id: str, sha256: str) -> tuple[int, ...]:
    chat = ChatFormat.load(Path(folder))
    return tuple(len(chat.example(row["messages"]).token_ids) for row in rows.load_rows(dataset_id))
