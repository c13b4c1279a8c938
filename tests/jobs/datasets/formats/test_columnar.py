"""Parquet and Arrow files of every type become rows; damaged ones and bombs become a sentence."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from jobs.datasets.formats import columnar
from jobs.datasets.records import MOST_ROWS
from storage.errors import StudioError
from tests.jobs.datasets.opened import opened

COLUMNS = {
    "prompt": [f"Question {n}?" for n in range(2_500)],
    "response": [f"Answer {n}." for n in range(2_500)],
}
PAIRS = list(zip(*COLUMNS.values(), strict=True))


def as_parquet(columns: dict[str, Any], **options: Any) -> bytes:
    buffer = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), buffer, **options)
    return buffer.getvalue()


def as_arrow(columns: dict[str, Any], stream: bool = False) -> bytes:
    table, buffer = pyarrow.table(columns), io.BytesIO()
    with (pyarrow.ipc.new_stream if stream else pyarrow.ipc.new_file)(buffer, table.schema) as writer:
        writer.write_table(table, max_chunksize=700)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "shown"),
    [
        ("a.parquet", as_parquet(COLUMNS), "Parquet"),
        ("small groups.parquet", as_parquet(COLUMNS, row_group_size=100), "Parquet"),
        ("a.arrow", as_arrow(COLUMNS), "Arrow"),
        ("a.feather", as_arrow(COLUMNS), "Arrow"),
        ("a.arrow", as_arrow(COLUMNS, stream=True), "Arrow"),
    ],
)
def test_rows_arrive_in_order(name: str, content: bytes, shown: str, tmp_path: Path) -> None:
    found = opened(tmp_path, name, content)
    assert (found.pairs, found.detected["Format"]) == (PAIRS, shown)
    assert list(found.values) == list(range(1, 2_501)) and found.notes == ""


def test_the_content_counts_and_a_wrong_name_is_said(tmp_path: Path) -> None:
    found = opened(tmp_path, "a.csv", as_parquet(COLUMNS))
    assert len(found.pairs) == 2_500 and "a.csv is named .csv but is a Parquet file" in found.notes


def test_conversations_and_every_type_of_column_arrive(tmp_path: Path) -> None:
    turns = [[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]] * 2
    found = opened(
        tmp_path,
        "a.parquet",
        as_parquet(
            {
                "messages": turns,
                "day": pyarrow.array([0, 86_400], pyarrow.timestamp("s")),
                "kind": pyarrow.array(["x", "y"]).dictionary_encode(),
                "share": pyarrow.array([0.5, float("nan")]),
                "__index_level_0__": [0, 1],
            }
        ),
    )
    assert found.pairs == [("a", "b")] * 2
    assert found.values[2]["day"].startswith("1970-01-02") and found.values[2]["share"] is None
    assert found.values[1]["kind"] == "x" and "__index_level_0__" not in found.columns


def test_a_day_beyond_the_calendar_is_no_reason_to_lose_the_row(tmp_path: Path) -> None:
    far = pyarrow.array([2**60] * 2_500, pyarrow.timestamp("s"))
    assert opened(tmp_path, "a.arrow", as_arrow({**COLUMNS, "far": far})).pairs == PAIRS


def test_text_that_is_no_text_leaves_only_its_row_out(tmp_path: Path) -> None:
    raw = pyarrow.array([b"It is.", b"It is \xff\xfe.", b"Yes."], pyarrow.binary())
    text = pyarrow.Array.from_buffers(pyarrow.string(), 3, raw.buffers())
    found = opened(tmp_path, "a.parquet", as_parquet({"prompt": ["a b?", "c d?", "e f?"], "response": text}))
    assert found.codes() == {2: "broken_character"} and "0xff" in found.left_out[2].reason
    assert len(found.pairs) == 2


def test_bytes_and_pictures_are_no_text(tmp_path: Path) -> None:
    found = opened(tmp_path, "a.parquet", as_parquet({"prompt": ["a"], "response": [b"b"]}))
    assert found.codes() == {1: "not_text"}


def test_a_row_of_many_megabytes_is_left_out(tmp_path: Path) -> None:
    found = opened(
        tmp_path,
        "a.parquet",
        as_parquet({"prompt": ["a", "b", "c"], "response": ["x", "word " * 3_000_000, "z"]}),
    )
    assert found.codes() == {2: "too_large"} and "15 MB" in found.left_out[2].reason
    assert found.pairs == [("a", "x"), ("c", "z")]


GOOD, GOOD_ARROW = as_parquet(COLUMNS), as_arrow(COLUMNS)
DAMAGED = {
    "cut in half": ("a.parquet", GOOD[: len(GOOD) // 2]),
    "without its end": ("a.parquet", GOOD[:-8]),
    "marks only": ("a.parquet", b"PAR1PAR1"),
    "an endless footer": ("a.parquet", GOOD[:-8] + b"\xff\xff\xff\x7fPAR1"),
    "bent pages": ("a.parquet", GOOD[:20] + b"\xff" * 60 + GOOD[80:]),
    "Arrow cut in half": ("a.arrow", GOOD_ARROW[: len(GOOD_ARROW) // 2]),
    "Arrow marks only": ("a.arrow", b"ARROW1\0\0ARROW1"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_file_is_said(case: str, tmp_path: Path) -> None:
    with pytest.raises(StudioError, match="damaged or cut off") as caught:
        opened(tmp_path, *DAMAGED[case])
    assert caught.value.remedy and DAMAGED[case][0] in caught.value.message


def test_more_rows_than_anybody_has_are_refused_before_they_are_read(tmp_path: Path) -> None:
    group = pyarrow.nulls(MOST_ROWS // 2 + 1, pyarrow.int8())
    path = tmp_path / "a.parquet"
    with parquet.ParquetWriter(
        path, pyarrow.schema([("prompt", pyarrow.int8())]), compression="zstd"
    ) as writer:
        for _ in range(2):
            writer.write_table(pyarrow.table({"prompt": group}), row_group_size=MOST_ROWS)
    with pytest.raises(StudioError, match="10,000,002 rows; at most 10,000,000"):
        opened(tmp_path, "a.parquet", path.read_bytes())


def test_a_group_that_is_far_larger_inside_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columnar, "LARGEST_GROUP_BYTES", 1_000_000)
    bomb = as_parquet(
        {"prompt": ["word " * 1_000_000], "response": ["x"]}, compression="zstd", use_dictionary=False
    )
    assert len(bomb) < 20_000
    with pytest.raises(StudioError, match=r"5,\d\d\d kB in one piece"):
        opened(tmp_path, "a.parquet", bomb)


@pytest.mark.parametrize("columns", [{}, {"a": [1], "b": [2]}, {"prompt": [], "response": []}])
def test_nothing_to_learn_from_is_said(columns: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(StudioError) as caught:
        found = opened(tmp_path, "a.parquet", as_parquet(columns))
        raise found.why or AssertionError
    assert "column" in caught.value.message or "no rows" in caught.value.message
