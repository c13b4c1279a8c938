"""Valid files of every format, and endlessly many damaged ones: the same for the same number, on any machine."""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from tests.jobs.datasets.hostile import columnar, encodings, tables, workbooks, zips
from tests.jobs.datasets.hostile.cases import chat, csv, jsonl, pairs, records

TOKENS = (
    *(
        b'"',
        b"'",
        b",",
        b";",
        b"\t",
        b"\n",
        b"\r",
        b"\r\n",
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b"\\",
        b"\0",
        b"\xff",
    ),
    *(
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\xfe\xff",
        b"\\ud800",
        b"\\u0000",
        b"NaN",
        b"1e999",
        b"-0",
        b"null",
        b"true",
    ),
    *(
        b'""',
        b'{"a":1}',
        b"[]",
        b"PK\x03\x04",
        b"PK\x01\x02",
        b"PAR1",
        b"ARROW1",
        b"\xd0\xcf\x11\xe0",
        b"\x1f\x8b",
    ),
    *(
        b"\xc3",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        "\u2028\u202e\ufeff\u200b".encode(),
        b"&a;",
        b"<!DOCTYPE",
        b"]]>",
    ),
    *(
        b"\xff\xff\xff\xff",
        b"\x7f\xff\xff\xff",
        b"\0\0\0\0\0\0\0\x80",
        b"9" * 400,
        b" " * 300,
        b"Q: ",
        b"A: ",
        b"## ",
    ),
    *(
        b"prompt",
        b"response",
        b"messages",
        b'"role": "tool"',
        b"sep=;\n",
        b"=cmd|' /C calc'!A0",
        b"\x1a",
        b"\x1e",
    ),
)
TEXTS = (
    *("", " ", "\u200b", "a", "a b c", "0", "1,5", "=1+1", "\ud800", "\udfff\ud800", "\0", "\x1b[31m", "\r\n"),
    *("Ã¤Ã¶", "<br>", "&nbsp;", "a@b.example", "+49 89 636 48018", "sk-" + "A1b2" * 12, "[", '[{"role":', "x" * 5_000),
    *("e" + "\u0301" * 300, "🙂" * 50, "שלום", '{"a": 1}', "None", "\\N", "#N/A", "user", "assistant", "\ufeff"),
)  # fmt: skip
_FIELDS = (
    *(
        "prompt",
        "response",
        "messages",
        "system",
        "input",
        "instruction",
        "output",
        "conversations",
        "role",
        "content",
    ),
    *("from", "value", "", "text", "\ud800", "__proto__", "a" * 300, "prompt ", "Prompt", "id"),
)
_ROLES = ("system", "user", "assistant", "tool", "human", "gpt", "", "User ", None, 7)
SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".txt", ".md", ".parquet", ".arrow", ".xlsx", ".zip", "")


@dataclass(frozen=True)
class Mutant:
    """One damaged file: its name, its bytes, how it was made, and the options it is brought with."""

    name: str
    content: bytes
    kind: str
    options: dict[str, Any] = field(default_factory=dict)


@cache
def valid_files() -> tuple[tuple[str, bytes], ...]:
    """A sound file of every format that is read, by name."""
    chats = [chat(("system", "Be brief."), ("user", q), ("assistant", a)) for q, a in pairs(5)]
    sharegpt = [
        {"conversations": [{"from": "human", "value": q}, {"from": "gpt", "value": a}]} for q, a in pairs(5)
    ]
    alpaca = [{"instruction": q, "input": "", "output": a} for q, a in pairs(5)]
    marked = "\n\n".join(f"Q: {q}\nA: {a}" for q, a in pairs(5))
    book = workbooks.workbook({"Sheet": workbooks.sheet([["prompt", "response"], *map(list, pairs(5))])})
    table = columnar.columns(6)
    return (
        ("a.csv", csv(5).encode()),
        ("semicolons.csv", encodings.table(encodings.GERMAN, ";", "\r\n").encode("cp1252")),
        ("wide.csv", csv(5).encode("utf-16")),
        ("a.tsv", csv(5, "\t").encode()),
        ("openai.jsonl", jsonl(*chats)),
        ("sharegpt.json", json.dumps(sharegpt, indent=1).encode()),
        ("alpaca.json", json.dumps(alpaca).encode()),
        ("concatenated.json", b"".join(json.dumps(row).encode() for row in records(5))),
        ("inside.json", json.dumps({"version": 1, "data": records(5)}).encode()),
        ("a.txt", marked.encode()),
        ("a.md", "\n\n".join(f"## Question\n\n{q}\n\n## Answer\n\n{a}" for q, a in pairs(5)).encode()),
        ("a.parquet", columnar.parquet(table)),
        ("plain.parquet", columnar.parquet(table, compression="none", use_dictionary=False)),
        (
            "chats.parquet",
            columnar.parquet({"messages": [row["messages"] for row in chats]}, compression="zstd"),
        ),
        ("a.arrow", columnar.arrow(table)),
        ("a.arrows", columnar.arrow(table, stream=True)),
        ("a.xlsx", book),
        ("shared.xlsx", workbooks._shared("", "What?")),
        ("a.zip", zips.packed(("a.csv", csv(4).encode()), ("b.jsonl", jsonl(*records(6)[4:])))),
        ("stored.zip", zips.packed(("a.csv", csv(4).encode()), ("b.xlsx", book), method=zipfile.ZIP_STORED)),
    )


def mutant(number: int) -> Mutant:
    """The damaged file with this number."""
    chance = random.Random(number)
    make = chance.choice(
        (_bytes, _bytes, _bytes, _spliced, _member, _member, _tree, _tree, _cells, _table, _options)
    )
    made = make(chance)
    if chance.random() < 0.15:
        stem = made.name.rsplit(".", 1)[0]
        made = Mutant(stem + chance.choice(SUFFIXES), made.content, made.kind, made.options)
    return made


def damaged(data: bytes, chance: random.Random, most: int = 6) -> bytes:
    """Some bytes changed, put in, taken out, doubled, or everything behind a place cut off."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, most)):
        at = chance.randrange(len(changed) + 1)
        # The ends are where formats keep what they know of themselves.
        if chance.random() < 0.3:
            at = (
                min(len(changed), chance.randrange(64))
                if chance.random() < 0.4
                else max(0, len(changed) - chance.randrange(400))
            )
        length = chance.choice((1, 1, 2, 4, 8, 30, 200))
        how = chance.randrange(7)
        if how == 0 and at < len(changed):
            changed[at] ^= 1 << chance.randrange(8)
        elif how == 1:
            changed[at:at] = chance.choice(TOKENS)
        elif how == 2:
            token = chance.choice(TOKENS)
            changed[at : at + len(token)] = token
        elif how == 3:
            del changed[at : at + length]
        elif how == 4:
            changed[at:at] = changed[at : at + length] * chance.choice((1, 2, 50))
        elif how == 5:
            changed[at : at + length] = chance.randbytes(length)
        elif chance.random() < 0.2:
            del changed[at:]
    return bytes(changed)


def _bytes(chance: random.Random) -> Mutant:
    name, data = chance.choice(valid_files())
    return Mutant(name, damaged(data, chance), "bytes")


def _spliced(chance: random.Random) -> Mutant:
    """The start of one file and the end of another."""
    (name, first), (_, second) = chance.choice(valid_files()), chance.choice(valid_files())
    return Mutant(
        name,
        first[: chance.randrange(len(first) + 1)] + second[chance.randrange(len(second) + 1) :],
        "spliced",
    )


def _member(chance: random.Random) -> Mutant:
    """A sound ZIP or workbook around damaged members, with names and marks that people do not give."""
    name, data = chance.choice([file for file in valid_files() if file[1].startswith(b"PK")])
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        chosen = chance.choice(old.namelist())
        for entry in old.namelist():
            content, info = old.read(entry), zipfile.ZipInfo(entry)
            if entry == chosen:
                content = damaged(content, chance)
                if chance.random() < 0.1:
                    continue
                if chance.random() < 0.15:
                    info = zipfile.ZipInfo(
                        chance.choice(
                            ("../x.csv", "/x.csv", "a\\b.csv", "x.zip", "CON.csv", "\u202ex.csv", "x")
                        )
                    )
                info.external_attr = chance.choice((0, 0, 0o120777 << 16, 0o10777 << 16, 0xFFFFFFFF))
            new.writestr(info, content)
    return Mutant(name, buffer.getvalue(), "member")


def _tree(chance: random.Random) -> Mutant:
    """JSON that is JSON, with the wrong things in the wrong places."""
    rows: list[Any] = chance.choice(
        [
            records(5),
            [chat(("user", q), ("assistant", a)) for q, a in pairs(5)],
            [{"instruction": q, "input": "", "output": a} for q, a in pairs(5)],
        ]
    )
    rows = [_twisted(row, chance) if chance.random() < 0.5 else row for row in rows]
    texts = [json.dumps(row, ensure_ascii=chance.random() < 0.8) for row in rows]
    text = _joined(texts, chance.choice("\n ,"))
    if chance.random() < 0.2:
        text = json.dumps({"meta": _value(chance), "rows": rows})
    return Mutant(
        "tree" + chance.choice((".json", ".jsonl", ".txt")), text.encode("utf-8", "surrogatepass"), "tree"
    )


def json_of(rows: list[Any], form: str) -> str:
    """Objects one a line, one after the other, or as an array: the form is what stands between them."""
    return _joined([json.dumps(row) for row in rows], form)


def _joined(texts: list[str], form: str) -> str:
    return f"[{form.join(texts)}]" if form == "," else form.join(texts)


def _twisted(value: Any, chance: random.Random) -> Any:
    """A tree with one of its branches exchanged, renamed or gone."""
    if isinstance(value, dict) and value and chance.random() < 0.85:
        key = chance.choice(list(value))
        how = chance.random()
        if how < 0.15:
            return {k: v for k, v in value.items() if k != key}
        if how < 0.3:
            return {(chance.choice(_FIELDS) if k == key else k): v for k, v in value.items()}
        if key in ("role", "from") and how < 0.8:
            return {**value, key: chance.choice(_ROLES)}
        return {**value, key: _twisted(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.85:
        at = chance.randrange(len(value))
        return value[:at] + [_twisted(value[at], chance)] * chance.choice((0, 1, 1, 1, 2)) + value[at + 1 :]
    return _value(chance)


def _value(chance: random.Random, depth: int = 0) -> Any:
    scalars = (None, True, False, 0, -1, 1.5, 10**30, float("nan"), float("inf"), *TEXTS)
    if depth > 3 or chance.random() < 0.7:
        return chance.choice(scalars)
    if chance.random() < 0.5:
        return [_value(chance, depth + 1) for _ in range(chance.randrange(4))]
    return {chance.choice(_FIELDS): _value(chance, depth + 1) for _ in range(chance.randrange(4))}


def _cells(chance: random.Random) -> Mutant:
    """A table with odd cells, odd widths and odd quotes, in any encoding."""
    delimiter = chance.choice((",", ";", "\t", "|", ","))
    rows = [["prompt", "response"], *([q, a] for q, a in pairs(chance.choice((2, 5, 30))))]
    for row in rows:
        if chance.random() < 0.25:
            row[chance.randrange(2)] = chance.choice(TEXTS)
        if chance.random() < 0.08:
            row[:] = [chance.choice(TEXTS) for _ in range(chance.choice((0, 1, 3, 40)))]
    if chance.random() < 0.5:
        text = tables.written(_without_halves(rows), delimiter).decode()
    else:
        text = "\n".join(
            delimiter.join(f'"{cell}"' if chance.random() < 0.6 else cell for cell in row) for row in rows
        )
    encoding = chance.choice(
        ("utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252", "latin-1", "utf-32", "shift_jis")
    )
    data = text.encode(encoding, "ignore")
    return Mutant(f"cells{chance.choice(('.csv', '.tsv', '.txt'))}", data, "cells")


def _without_halves(rows: list[list[str]]) -> list[list[str]]:
    return [[cell.encode("utf-8", "ignore").decode() for cell in row] for row in rows]


def _table(chance: random.Random) -> Mutant:
    """Parquet and Arrow with columns of any type, sound or damaged."""
    import pyarrow

    count = chance.choice((0, 1, 2, 5, 50))
    empty_types = (pyarrow.string(), pyarrow.null(), pyarrow.list_(pyarrow.string()))
    makers: tuple[Callable[[], Any], ...] = (
        lambda: [chance.choice(TEXTS).encode("utf-8", "ignore").decode() for _ in range(count)],
        lambda: [q for q, _ in pairs(count)],
        lambda: [a for _, a in pairs(count)],
        lambda: pyarrow.array([chance.randbytes(5) for _ in range(count)], pyarrow.binary()),
        lambda: pyarrow.nulls(count, chance.choice(empty_types)),
        lambda: pyarrow.array([chance.choice((2**62, -(2**62), 0)) for _ in range(count)], pyarrow.timestamp("us")),
        lambda: pyarrow.array([chance.random() for _ in range(count)]),
        lambda: [[{"role": str(chance.choice(_ROLES)), "content": "x"}] * chance.randrange(3) for _ in range(count)],
        lambda: pyarrow.array([chance.choice(("x", "y", None)) for _ in range(count)]).dictionary_encode(),
        lambda: pyarrow.array([{"a": {"b": [1, None]}}] * count),
        lambda: pyarrow.array([[("k", 1)]] * count, pyarrow.map_(pyarrow.string(), pyarrow.int64())),
        lambda: pyarrow.array([q for q, _ in pairs(count)], pyarrow.string_view()),
    )  # fmt: skip
    names = [
        name.encode("utf-8", "ignore").decode()
        for name in chance.sample(_FIELDS, chance.choice((1, 2, 2, 3, 5)))
    ]
    made = {name: chance.choice(makers)() for name in names}
    kind = chance.choice(("parquet", "arrow", "arrows"))
    try:
        data = columnar.parquet(made) if kind == "parquet" else columnar.arrow(made, stream=kind == "arrows")
    except pyarrow.ArrowException:  # Parquet has no such type
        data = columnar.arrow(made)
    return Mutant(f"table.{kind}", damaged(data, chance) if chance.random() < 0.3 else data, "table")


def _options(chance: random.Random) -> Mutant:
    """A sound file with choices that do not fit it."""
    name, data = chance.choice(valid_files())
    words = ("prompt", "response", "messages", "Sheet", "a.csv", "b.jsonl", ",", ";", "\t", "")
    codecs = (
        "utf-8",
        "utf-8-sig",
        "utf-16",
        "utf-16-le",
        "utf-32",
        "utf-7",
        "cp1252",
        "latin-1",
        "cp037",
        "shift_jis",
        "gb18030",
    )
    strange = (
        "iso2022_jp",
        "hz",
        "idna",
        "punycode",
        "undefined",
        "unicode_escape",
        "rot13",
        "zlib",
        "cp65001",
        "mbcs",
        "a\0b",
    )
    made: dict[str, Any] = {}
    for option in chance.sample(
        ("encoding", "delimiter", "sheet", "member", "has_header", "subset", "split"), 2
    ):
        made[option] = chance.choice((*words, *TEXTS[:20]))
        if option == "has_header":
            made[option] = chance.choice((True, False))
        elif option == "encoding" and chance.random() < 0.8:
            made[option] = chance.choice((*codecs, *codecs, *strange))
    if chance.random() < 0.5:
        parts = chance.sample(("prompt", "response", "messages", "system", "input"), chance.randint(0, 3))
        made["mapping"] = {part: chance.choice((*words[:3], None, "nothing")) for part in parts}
    return Mutant(name, data, "options", made)
