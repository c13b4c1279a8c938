"""Parquet and Arrow files: cut, bent, lying about themselves, and far larger inside than outside."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

from tests.jobs.datasets.hostile.cases import Case, Refused, Taken, chat, pairs
from tests.jobs.datasets.hostile.wrong_kinds import canary_pickle


def parquet(columns: dict[str, Any], **options: Any) -> bytes:
    import pyarrow
    from pyarrow import parquet as file

    buffer = io.BytesIO()
    file.write_table(pyarrow.table(columns), buffer, **options)
    return buffer.getvalue()


def arrow(columns: dict[str, Any], stream: bool = False) -> bytes:
    import pyarrow

    table, buffer = pyarrow.table(columns), io.BytesIO()
    new = pyarrow.ipc.new_stream if stream else pyarrow.ipc.new_file
    with new(buffer, table.schema) as writer:
        writer.write_table(table)
    return buffer.getvalue()


def columns(count: int) -> dict[str, list[str]]:
    return {"prompt": [q for q, _ in pairs(count)], "response": [a for _, a in pairs(count)]}


def _bomb(path: Path) -> None:
    """200 million times one text: some kB on the disk, 20 GB when it is read whole."""
    import pyarrow
    from pyarrow import parquet as file

    many = 200_000_000
    chunk = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 1, pyarrow.int8()), ["x" * 100])
    schema = pyarrow.schema([("prompt", chunk.type), ("response", chunk.type)])
    group = pyarrow.DictionaryArray.from_arrays(
        pyarrow.nulls(many // 20, pyarrow.int8()).fill_null(0), pyarrow.array(["x" * 100])
    )
    with file.ParquetWriter(path, schema, compression="zstd") as writer:
        for _ in range(20):
            writer.write_table(pyarrow.table([group, group], schema=schema), row_group_size=many)


def _large_text(path: Path) -> None:
    """Two texts of 300 MB in one row, which compress to nothing."""
    import pyarrow
    from pyarrow import parquet as file

    text = pyarrow.array(["word " * 60_000_000])
    table = pyarrow.table({"prompt": text, "response": text})
    file.write_table(table, path, compression="zstd", use_dictionary=False, write_statistics=False)


def _bad_utf8() -> bytes:
    import pyarrow

    raw = pyarrow.array([b"What is it?", b"It is \xff\xfe.", b"And this?"], pyarrow.binary())
    text = pyarrow.Array.from_buffers(pyarrow.string(), len(raw), raw.buffers())
    return parquet({"prompt": pyarrow.array(["a b?", "c d?", "e f?"]), "response": text})


def _pickled_extension() -> bytes:
    import pyarrow

    marks = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": canary_pickle(),
    }
    field = pyarrow.field("prompt", pyarrow.string(), metadata=marks)
    answers = pyarrow.field("response", pyarrow.string())
    schema = pyarrow.schema([field, answers], metadata={b"pandas": b"{not json"})
    table = pyarrow.table([pyarrow.array(c) for c in columns(4).values()], schema=schema)
    buffer = io.BytesIO()
    with pyarrow.ipc.new_file(buffer, table.schema) as writer:
        writer.write_table(table)
    return buffer.getvalue()


def _bent(data: bytes, *places: tuple[int, int]) -> bytes:
    bent = bytearray(data)
    for at, value in places:
        bent[at] = value
    return bytes(bent)


def _places_outside(data: bytes) -> bytes:
    """The first text is said to end two gigabytes behind its start."""
    first = len(columns(1)["prompt"][0])
    told, lie = struct.pack("<2i", 0, first), struct.pack("<2i", 0, 2**31 - 1)
    assert told in data
    return data.replace(told, lie, 1)


def _cases() -> list[Case]:
    import pyarrow

    good, good_arrow = parquet(columns(40)), arrow(columns(40))
    chats = [chat(("user", q), ("assistant", a))["messages"] for q, a in pairs(4)]
    footer = int.from_bytes(good[-8:-4], "little")
    damaged = Refused("damaged|cannot be read|broken|not a (complete )?(Parquet|Arrow)|cut off|ends")
    return [
        Case("Parquet", "a.parquet", good, Taken(40, detected={"Format": "Parquet"})),
        Case("Parquet named CSV", "a.csv", parquet(columns(4)), Taken(4, detected={"Format": "Parquet"})),
        Case("Parquet of messages", "a.parquet", parquet({"messages": chats}), Taken(4)),
        Case(
            "Parquet of large texts and dictionaries",
            "a.parquet",
            parquet(
                {
                    "prompt": pyarrow.array(columns(4)["prompt"], pyarrow.large_string()),
                    "response": pyarrow.array(columns(4)["response"]).dictionary_encode(),
                }
            ),
            Taken(4),
        ),
        Case(
            "Parquet of JSON in bytes",
            "a.parquet",
            parquet(
                {"prompt": columns(4)["prompt"], "response": [a.encode() for a in columns(4)["response"]]}
            ),
            Refused("column|text|bytes|No example"),
        ),
        Case(
            "Parquet without answers",
            "a.parquet",
            parquet({"prompt": columns(4)["prompt"], "response": pyarrow.nulls(4, pyarrow.string())}),
            Refused("No example.*answer is empty|column"),
        ),
        Case("Parquet of numbers", "a.parquet", parquet({"a": [1, 2], "b": [0.5, 1.5]}), Refused("“a”, “b”")),
        Case(
            "Parquet without rows",
            "a.parquet",
            parquet(columns(0)),
            Refused("no (usable )?rows|no columns|empty|column"),
        ),
        Case(
            "Parquet without columns",
            "a.parquet",
            parquet({}),
            Refused("no (usable )?rows|no columns|empty|column"),
        ),
        Case("Parquet with a column twice", "a.parquet", _twice(), Refused("“prompt”|more than one column")),
        Case("Parquet of invalid text", "a.parquet", _bad_utf8(), Taken(2, {"broken_character": [2]})),
        Case(
            "Arrow of dates beyond the calendar",
            "a.arrow",
            arrow(
                {
                    **columns(4),
                    "day": pyarrow.array([1, 2, 3, 4], pyarrow.timestamp("ns", "UTC")),
                    "far": pyarrow.array([2**62] * 4, pyarrow.timestamp("s")),
                }
            ),
            Taken(4),
        ),
        Case(
            "Parquet of two thousand columns",
            "a.parquet",
            parquet({**columns(4), **{f"c{n}": [n] * 4 for n in range(2_000)}}),
            Taken(4),
        ),
        Case("Parquet cut in half", "a.parquet", good[: len(good) // 2], damaged),
        Case("Parquet without its end", "a.parquet", good[:-8], damaged),
        Case("Parquet of marks only", "a.parquet", b"PAR1PAR1", damaged),
        Case("Parquet with an endless footer", "a.parquet", good[:-8] + b"\xff\xff\xff\x7fPAR1", damaged),
        Case(
            "Parquet with a bent footer",
            "a.parquet",
            _bent(good, (-footer, 0xFF), (-footer + 9, 0xFF)),
            damaged,
        ),
        Case("Parquet with bent pages", "a.parquet", good[:20] + b"\xff" * 60 + good[80:], damaged),
        Case(
            "Parquet encrypted",
            "a.parquet",
            b"PARE" + good[4:-4] + b"PARE",
            Refused("encrypted|damaged|cannot be read|NUL"),
        ),
        Case("Parquet of zeros", "a.parquet", b"PAR1" + bytes(1_000_000) + b"PAR1", damaged),
        Case("a Parquet bomb", "a.parquet", _bomb, Refused(r"\d{3},\d{3} rows|GB|MB|memory"), whole_way=True),
        Case(
            "Parquet with texts of 300 MB", "a.parquet", _large_text, Refused("MB|memory|GB"), whole_way=True
        ),
        Case("Arrow", "a.arrow", good_arrow, Taken(40, detected={"Format": "Arrow"})),
        Case("an Arrow stream", "a.arrows", arrow(columns(40), stream=True), Taken(40)),
        Case("Arrow cut in half", "a.arrow", good_arrow[: len(good_arrow) // 2], damaged),
        Case("Arrow with a bent end", "a.arrow", good_arrow[:-40] + b"\xff" * 30 + good_arrow[-10:], damaged),
        Case("Arrow of marks only", "a.feather", b"ARROW1\0\0ARROW1", damaged),
        Case("Arrow with places outside of it", "a.arrow", _places_outside(good_arrow), damaged),
        Case("an old Feather file", "a.feather", b"FEA1" + bytes(40) + b"FEA1", Refused("Feather|NUL|text")),
        Case("Arrow with a pickle in it", "a.arrow", _pickled_extension(), Taken(4)),
    ]


def _twice() -> bytes:
    import pyarrow
    from pyarrow import parquet as file

    table = pyarrow.Table.from_arrays(
        [pyarrow.array(columns(4)[name]) for name in ("prompt", "response", "prompt")],
        ["prompt", "response", "prompt"],
    )
    buffer = io.BytesIO()
    file.write_table(table, buffer)
    return buffer.getvalue()


CASES = _cases()
