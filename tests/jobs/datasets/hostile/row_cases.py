"""Rows that nobody can learn from, and rows that are worth a word."""

from __future__ import annotations

import json
from typing import Any

from tests.jobs.datasets.hostile.cases import Case, Refused, Taken, chat, jsonl, pairs, records
from tests.jobs.datasets.hostile.tables import written

_CHATS = [chat(("user", q), ("assistant", a)) for q, a in pairs(3)]


def _bad_chat(name: str, code: str, row: Any) -> Case:
    return Case(name, "a.jsonl", jsonl(*_CHATS, row), Taken(3, {code: [4]}))


def _bad_row(name: str, code: str, row: Any) -> Case:
    return Case(name, "a.jsonl", jsonl(*records(3), row), Taken(3, {code: [4]}))


def _slow(name: str, text: str, rows: int = 3) -> Case:
    """A text on which a careless search pattern takes minutes."""
    good = records(3)
    bad = [{"prompt": f"Read this, number {n}?", "response": text} for n in range(rows)]
    return Case(name, "a.jsonl", jsonl(*good, *bad), Taken(3 + rows))


_ANSWERED_TOOL = {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function"}]}

CASES = [
    _bad_row("an empty answer", "empty_answer", {"prompt": "x", "response": " \n"}),
    _bad_row(
        "an answer of invisible characters", "empty_answer", {"prompt": "x", "response": "\u200b\ufeff\u2060"}
    ),
    _bad_row("a missing answer", "empty_answer", {"prompt": "x"}),
    _bad_row("an empty prompt", "empty_prompt", {"prompt": None, "response": "x"}),
    _bad_chat("the assistant first", "role_order", chat(("assistant", "x"), ("user", "y"))),
    _bad_chat("the user last", "role_order", chat(("user", "x"), ("assistant", "y"), ("user", "z"))),
    _bad_chat("the user twice", "role_order", chat(("user", "x"), ("user", "y"), ("assistant", "z"))),
    _bad_chat("a late system prompt", "role_order", chat(("user", "x"), ("assistant", "y"), ("system", "z"))),
    _bad_chat("only a system prompt", "role_order", chat(("system", "x"))),
    _bad_chat("an unknown role", "unknown_role", chat(("user", "x"), ("narrator", "y"))),
    _bad_chat("no role", "unknown_role", {"messages": [{"text": "x"}]}),
    _bad_chat("a role that is a list", "unknown_role", {"messages": [{"role": ["user"], "content": "x"}]}),
    _bad_chat("messages that are text", "bad_messages", {"messages": "hello"}),
    _bad_chat("messages that are texts", "bad_messages", {"messages": ["hello"]}),
    _bad_chat("no messages", "bad_messages", {"messages": []}),
    _bad_chat(
        "a picture in a message",
        "not_text",
        chat(("user", [{"type": "image_url", "image_url": {"url": "http://x"}}]), ("assistant", "y")),
    ),
    Case(
        "a tool call",
        "a.jsonl",
        jsonl(*_CHATS, {"messages": [{"role": "user", "content": "x"}, _ANSWERED_TOOL]}),
        Taken(3, {"tool_call": [4]}),
    ),
    _bad_chat(
        "an answer from a tool",
        "unknown_role",
        {"messages": [{"role": "user", "content": "x"}, {"role": "tool", "content": "y"}]},
    ),
    _bad_chat("an answer that is null", "empty_answer", chat(("user", "x"), ("assistant", None))),
    Case(
        "broken messages in a cell",
        "a.csv",
        written(
            [
                ["id", "messages"],
                *([str(n), json.dumps(c["messages"])] for n, c in enumerate(_CHATS)),
                ["9", '[{"role": "user"'],
            ]
        ),
        Taken(3, {"bad_messages": [4]}),
    ),
    Case(
        "mixed types",
        "a.jsonl",
        jsonl(
            *(
                {"prompt": f"Say it {n}, please?", "response": value}
                for n, value in enumerate(["text here", 1.5, True, {"a": 1}, [1], None])
            )
        ),
        Taken(5, {"empty_answer": [6]}),
    ),
    Case(
        "columns that change halfway",
        "a.jsonl",
        jsonl(*records(4), *({"question": q, "answer": a} for q, a in pairs(3))),
        Taken(4, {"empty_prompt": [5, 6, 7]}),
    ),
    Case(
        "all rows wrong",
        "a.jsonl",
        jsonl(*[chat(("assistant", "x"))] * 5),
        Refused("No example.*assistant comes first", r"\w+"),
    ),
    Case("one row", "a.jsonl", jsonl(*records(1)), Refused("Only one example", "[Aa]dd")),
    Case("two rows", "a.jsonl", jsonl(*records(2)), Taken(2, problems=frozenset({"few_examples"}))),
    Case(
        "duplicates",
        "a.jsonl",
        jsonl(*records(30), *records(3)),
        Taken(33, problems=frozenset({"duplicate"})),
    ),
    Case(
        "the same prompt answered differently",
        "a.jsonl",
        jsonl(*records(30), *({**row, "response": "Something else entirely."} for row in records(3))),
        Taken(33, problems=frozenset({"same_prompt"})),
    ),
    Case(
        "one prompt throughout",
        "a.jsonl",
        jsonl(*({"prompt": "Tell a joke", "response": f"Ha {n}"} for n in range(9))),
        Taken(9, problems=frozenset({"no_held_out"})),
    ),
    Case(
        "a row repeated 20,000 times",
        "a.jsonl",
        jsonl(*records(30)) + jsonl(*records(1)) * 20_000,
        Taken(20_030, problems=frozenset({"duplicate"})),
        whole_way=True,
    ),
    _slow("a hundred thousand at signs", "a@" * 100_000),
    _slow("an e-mail address that never ends", "a." * 100_000 + "@" + "b." * 100_000),
    _slow("a hundred thousand digits", "1 2-3.4(5)" * 20_000),
    _slow("a hundred thousand opening tags", "<a " * 100_000),
    _slow("a hundred thousand entities", "&amp" * 50_000 + "&#" * 50_000),
    _slow("a megabyte of spaces", "a" + " " * 1_000_000 + "b"),
    _slow("a megabyte of one letter", "a" * 1_000_000),
    _slow("a megabyte of mojibake", "Ã¤Ã¶Ã¼â‚¬" * 60_000),
    _slow("mojibake of mojibake", "ÃƒÆ’Ã‚Â¤" * 60_000),
    _slow("a hundred thousand combining marks", "e" + "\u0301" * 100_000),
    _slow("a hundred thousand joined emoji", "\U0001f468\u200d" * 100_000),
    _slow("brackets that never close", '{"a": [' * 40_000),
    _slow("keys that are none", "sk-" + "A1b2" * 50_000 + " AKIA" * 20_000),
    _slow("a hundred thousand words", " ".join(f"word{n}" for n in range(100_000))),
    _slow(
        "texts that share all but a word", "The quick brown fox jumps over the lazy dog. " * 40, rows=3_000
    ),
]
