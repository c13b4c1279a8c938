"""A source becomes the folder of a dataset: every row is in it once, and memory does not grow with the source."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.datasets import pipeline
from jobs.datasets.records import Item, LeftOut, Record
from jobs.datasets.row_files import read_lines
from jobs.datasets.sources import Source, open_source
from storage import files
from storage.errors import StudioError

Reports = list[tuple[str, int | None, int | None]]


def source_of(items: Iterator[Item]) -> Source:
    """A source of prompts and responses, as reading a file gives it."""
    columns = ["prompt", "response"]
    return Source("jsonl", {}, {}, columns, {"prompt": "prompt", "response": "response"}, True, [], items)


def records(count: int, **more: str) -> Iterator[Item]:
    for row in range(1, count + 1):
        yield Record(row, {"prompt": f"Is {row} odd?", "response": f"{row % 2 == 1}, as {row} is.", **more})


def build(folder: Path, items: Iterator[Item], seed: int = 0) -> tuple[dict[str, Any], Reports]:
    folder.mkdir(exist_ok=True)
    heard: Reports = []
    built = pipeline.build(
        source_of(items), "mails.jsonl", folder, lambda *report: heard.append(report), seed=seed
    )
    return built, heard


@pytest.fixture
def folder(home: Path, tmp_path: Path) -> Path:
    return tmp_path / "staged"


def test_every_row_is_there_once_in_the_order_of_the_source(folder: Path) -> None:
    built, _ = build(folder, records(100))
    rows = list(read_lines(folder / "rows.jsonl"))
    assert [row["row"] for row in rows] == list(range(1, 101))
    assert {row["split"] for row in rows} == {"train", "held_out"}
    counts = (built["rows"], built["train_rows"], built["held_out_rows"], built["left_out_rows"])
    assert counts == (100, 80, 20, 0)
    assert built["rows_sha256"] == files.sha256_of(folder / "rows.jsonl")


def test_nothing_but_the_dataset_is_left_in_the_folder(folder: Path) -> None:
    build(folder, records(100))
    names = {path.name for path in folder.iterdir()}
    assert {"rows.jsonl", "rows.index", "problems.json", "context.json"} <= names
    assert not names & {"spool.jsonl", "unpacked"}


def test_the_same_source_and_seed_give_the_same_bytes(tmp_path: Path, home: Path) -> None:
    hashes = [
        build(tmp_path / str(number), records(60), seed)[0]["rows_sha256"]
        for number, seed in enumerate((1, 1, 2))
    ]
    assert hashes[0] == hashes[1] != hashes[2]


class TestRowsThatAreLeftOut:
    def test_stay_to_be_repaired_with_what_stood_there(self, folder: Path) -> None:
        def items() -> Iterator[Item]:
            yield from records(3)
            yield LeftOut(4, "broken_json", "it is not valid JSON", '{"prompt": oops}')
            yield Record(5, {"prompt": "Is it late?", "response": " "})
            yield Record(6, [1, 2])

        built, _ = build(folder, items())
        assert (built["rows"], built["left_out_rows"]) == (3, 3)
        broken, empty, odd = list(read_lines(folder / "rows.jsonl"))[3:]
        assert (broken["split"], broken["code"], broken["messages"]) == ("left_out", "broken_json", [])
        assert broken["raw"] == '{"prompt": oops}'
        assert (empty["split"], empty["code"]) == ("left_out", "empty_answer")
        assert "Is it late?" in json.dumps(empty)
        assert (odd["code"], odd["raw"]) == ("not_an_object", "[1, 2]")

    def test_half_a_character_in_them_stops_nothing(self, folder: Path) -> None:
        def items() -> Iterator[Item]:
            yield from records(2)
            yield Record(3, {"prompt": "x\ud800", "response": "y"})

        built, _ = build(folder, items())
        assert built["left_out_rows"] == 1
        assert len(list(read_lines(folder / "rows.jsonl"))) == 3

    def test_are_all_listed_in_the_folder_and_the_first_thousand_elsewhere(self, folder: Path) -> None:
        def items() -> Iterator[Item]:
            yield from records(2)
            yield from (LeftOut(row, "blank_row", "all its cells are empty") for row in range(3, 1503))

        built, _ = build(folder, items())
        (found,) = [problem for problem in built["problems"] if problem["code"] == "blank_row"]
        assert (len(found["rows"]), found["count"]) == (1000, 1500)
        assert files.read_json(folder / "problems.json")["blank_row"] == list(range(3, 1503))


def test_one_usable_row_is_too_few_and_the_reason_of_the_others_is_said(folder: Path) -> None:
    def items() -> Iterator[Item]:
        yield from records(1)
        yield Record(2, {"prompt": "x", "response": ""})

    with pytest.raises(StudioError, match=r"Only one example in mails.jsonl .* the answer is empty"):
        build(folder, items())


def test_a_mapping_that_cannot_be_told_is_refused(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "odd.csv"
    path.write_text("eins,zwei,drei\na b,c d,e f\ng h,i j,k l\n")
    folder.mkdir()
    with (
        open_source(path, "odd.csv") as source,
        pytest.raises(StudioError, match="“eins”, “zwei”, “drei”"),
    ):
        pipeline.build(source, "odd.csv", folder, lambda *_: None)


def test_each_step_is_reported_with_how_far_it_is(folder: Path) -> None:
    _, heard = build(folder, records(1000))
    steps = list(dict.fromkeys(words for words, _, _ in heard))
    assert steps[0] == "Reading mails.jsonl" and len(steps) == 4
    assert ("Checking the rows", 500, 1000) in heard


def test_rows_wait_on_the_disk_until_it_is_known_which_are_kept_aside(folder: Path) -> None:
    folder.mkdir()
    source = source_of(records(2000, response="word " * 4000))
    tracemalloc.start()
    pipeline._spooled(source, "mails.jsonl", folder / "spool", lambda *_: None, seed=0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (folder / "spool").stat().st_size > 40_000_000
    assert peak < 3_000_000
