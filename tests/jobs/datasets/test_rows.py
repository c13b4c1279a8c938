"""Rows come back as they were brought, page by page, found by their text, with a version's changes in their places."""

from __future__ import annotations

import json
import threading
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from jobs.datasets import row_files, rows
from jobs.datasets.row_files import CHANGES, RowsWriter
from jobs.datasets.rows import get_row, iterate, load_rows, page_of_rows, rows_of_problem, rows_path
from storage import config, files
from storage.errors import StudioError

ANSWER = 'Line one\nline two\u2028 "três" \u0085 😀 C:\\new'
DATASET, VERSION, OLD = "bcdfghjk", "cdfghjkm", "dfghjkmn"


def row(number: int, answer: str = ANSWER, split: str = "", asked: str = "") -> dict[str, Any]:
    """A row as it is written; every third is held out."""
    return {
        "row": number,
        "messages": [
            {"role": "user", "content": asked or f"Question {number}"},
            {"role": "assistant", "content": answer},
        ],
        "split": split or ("train" if number % 3 else "held_out"),
    }


def gone(number: int) -> dict[str, Any]:
    return {"row": number, "gone": True}


def left_out(number: int) -> dict[str, Any]:
    told = {"code": "empty_answer", "reason": "the answer is empty", "raw": "x,"}
    return {"row": number, "messages": [], "split": "left_out", **told}


def write(id: str, lines: list[dict[str, Any]], name: str = "rows", **told: Any) -> str:
    """A dataset's folder with these lines."""
    folder = files.dataset_folder(id)
    folder.mkdir()
    with RowsWriter(folder, name) as writer:
        for line in lines:
            writer.add(line)
    files.write_json(folder / "dataset.json", {"id": id, "problems": [], **told})
    return id


def found(id: str, text: str, **filters: str) -> list[int]:
    return [row["row"] for row in page_of_rows(id, 0, 1000, search=text, **filters).rows]


@pytest.fixture
def folders(tmp_path: Path) -> None:
    """A data folder without a database."""
    config.use(config.from_environment(tmp_path))
    files.make_folders()


@pytest.fixture
def dataset_id(folders: None) -> str:
    return write(DATASET, [row(number) for number in range(1, 31)])


@pytest.fixture
def version_id(dataset_id: str) -> str:
    """Row 4 is gone, row 5 says something else, row 6 was left out, row 40 is new."""
    changes = [gone(4), row(5, "Other", "train"), left_out(6), {**row(40, "New", "train"), "added": True}]
    return write(VERSION, changes, CHANGES, base=dataset_id)


def test_text_survives_unchanged(dataset_id: str) -> None:
    assert load_rows(dataset_id) == [row(number) for number in range(1, 31)]


def test_the_splits_share_all_usable_rows_between_them(version_id: str) -> None:
    train, held_out = load_rows(version_id, "train"), load_rows(version_id, "held_out")
    assert sorted(one["row"] for one in [*train, *held_out]) == [1, 2, 3, 5, *range(7, 31), 40]
    assert [one["row"] for one in held_out] == [3, *range(9, 31, 3)]
    assert [one["row"] for one in load_rows(version_id, "left_out")] == [6]


def test_pages_follow_each_other_and_end(dataset_id: str) -> None:
    assert [one["row"] for one in page_of_rows(dataset_id, 27, 10).rows] == [28, 29, 30]
    assert [one["row"] for one in page_of_rows(dataset_id, 0, 2).rows] == [1, 2]
    for offset, limit in ((30, 10), (0, 0), (5, -1)):
        assert page_of_rows(dataset_id, offset, limit) == rows.RowsPage([], 30)
    assert page_of_rows(dataset_id, -5, 1).rows == [row(1)]


def test_a_version_s_changes_are_in_their_places(version_id: str) -> None:
    every = [one["row"] for one in iterate(version_id, "any")]
    assert every == [1, 2, 3, *range(5, 31), 40]
    page = page_of_rows(version_id, 0, 100)
    assert [one["row"] for one in page.rows] == every and page.total == len(every)
    assert page.rows == list(iterate(version_id, "any"))
    assert get_row(version_id, 5) == row(5, "Other", "train")
    assert get_row(version_id, 6) == left_out(6) and get_row(version_id, 40)["added"]
    for missing in (4, 0, -1, 31, 41):
        with pytest.raises(StudioError, match="no row"):
            get_row(version_id, missing)


def test_the_base_s_text_of_a_changed_row_is_not_found(version_id: str) -> None:
    assert found(version_id, "question 4") == [40]
    assert found(version_id, "TRÊS") == [n for n in range(1, 31) if n not in (4, 5, 6)]
    assert found(version_id, "other") == [5]


def test_filters_go_together(version_id: str) -> None:
    problems = {"duplicate": [1, 3, 4, 6, 40, 99], "leak": [2]}
    files.write_json(files.dataset_folder(version_id) / "problems.json", problems)
    assert rows_of_problem(version_id, "duplicate") == [1, 3, 4, 6, 40, 99]
    assert rows_of_problem(version_id, "other") == []
    assert found(version_id, "", problem="duplicate") == [1, 3, 6, 40]
    assert found(version_id, "", problem="duplicate", split="train") == [1, 40]
    assert found(version_id, "new", problem="duplicate", split="train") == [1, 40]
    assert found(version_id, "question 4", problem="duplicate", split="train") == [40]
    assert found(version_id, "", split="left_out") == [6] and found(version_id, "", split="none") == []


@pytest.mark.parametrize(
    ("text", "said", "is_found"),
    [
        ("GRÖSSE", "Die Größe", True),
        ("größe", "DIE GRÖSSE", True),
        ("ПРИВЕТ", "Привет, мир", True),
        ("naïve", unicodedata.normalize("NFD", "Naïve"), True),
        ('said "yes"', 'He said "Yes".', True),
        ("one\ntwo", "One\nTwo", True),
        ("c:\\new", "C:\\NEW\\folder", True),
        ("\\n", "One\nTwo", False),
        ("n", "1\n2", False),
        ("user", "Nobody", False),
        ("assistant", "Nobody", False),
        ("content", "Nobody", False),
        ("train", "Nobody", False),
        (', "', "Nobody", False),
        ("nobodyq", "Nobody", False),
        ("   ", "Nobody", True),
    ],
)
def test_a_search_finds_what_messages_say_and_nothing_else(
    folders: None, text: str, said: str, is_found: bool
) -> None:
    write(DATASET, [row(1, said, asked="Q?"), row(2, "Else", asked="Q?")])
    assert (1 in found(DATASET, text)) == is_found


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    said=st.lists(
        st.text(st.sampled_from('aAßsSKéÉ\u0301İi"\\\n \t😀п П\x00'), max_size=12), min_size=1, max_size=12
    ),
    text=st.text(st.sampled_from('aAßsSkéİi"\\\nпП'), min_size=1, max_size=3),
    block=st.integers(1, 40),
)
@example(said=["aa", "aa"], text="aa", block=1)
def test_a_search_equals_looking_at_every_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str], text: str, block: int
) -> None:
    """In pieces of any size, and line by line where there is too much text to keep."""
    config.use(config.from_environment(tmp_path / files.new_id()))
    files.make_folders()
    with monkeypatch.context() as patched:
        patched.setattr(row_files, "_READ", block)
        small = write(DATASET, [row(n, one, asked="#") for n, one in enumerate(said, start=1)])
        patched.setattr(row_files, "MOST_TEXT_BYTES", 5)
        large = write(OLD, [row(n, one, asked="#" * 9) for n, one in enumerate(said, start=1)])
        assert not (files.dataset_folder(large) / "rows.text").exists()

        def plain(one: str) -> str:
            return unicodedata.normalize("NFC", one.casefold())

        wanted = [n for n, one in enumerate(said, start=1) if plain(text) in plain(one) or not text.strip()]
        assert found(small, text) == found(large, text) == wanted


def test_other_threads_have_their_turns_while_a_large_set_is_searched(folders: None) -> None:
    write(DATASET, [row(number, "word " * 200) for number in range(1, 20_001)])
    page_of_rows(DATASET, 0, 1)
    pauses, stop = [0.0], threading.Event()

    def beat() -> None:
        last = time.perf_counter()
        while not stop.is_set():
            time.sleep(0.001)
            pauses.append(time.perf_counter() - last)
            last = time.perf_counter()

    thread = threading.Thread(target=beat)
    thread.start()
    time.sleep(0.05)
    searched = time.perf_counter()
    for text in ("wordless", "word", "nowhere"):
        found(DATASET, text)
    searched = time.perf_counter() - searched
    stop.set()
    thread.join()
    assert max(pauses) < max(0.1, searched / 2), "one call held the interpreter for most of the search"


def test_a_dataset_of_before_gets_its_index_when_it_is_first_needed(folders: None) -> None:
    folder = files.dataset_folder(OLD)
    lines = [row(1), row(2), row(7), row(12)]
    problems = [{"code": "duplicate", "severity": "warning", "rows": [7], "message": "m", "fix": "f"}]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    files.write_text(folder / "rows.jsonl", text)
    files.write_json(folder / "dataset.json", {"id": OLD, "problems": problems})
    assert load_rows(OLD) == lines and not (folder / "rows.index").exists()
    assert page_of_rows(OLD, 1, 2) == rows.RowsPage(lines[1:3], 4)
    assert get_row(OLD, 12) == lines[3]
    assert found(OLD, "", problem="duplicate") == [7] and found(OLD, "três") == [1, 2, 7, 12]
    assert (folder / "rows.index").stat().st_size == 16 * 5 and (folder / "rows.text").exists()
    assert (folder / "rows.jsonl").read_text() == text
    assert list((files.root() / "tmp").iterdir()) == []


def test_an_index_that_is_not_the_file_s_is_made_again(dataset_id: str) -> None:
    index = files.dataset_folder(dataset_id) / "rows.index"
    whole = index.read_bytes()
    for damaged in (b"", whole[:-1], whole[:-16], whole[16:], bytes(len(whole))):
        index.write_bytes(damaged)
        row_files._opened.cache_clear()
        assert page_of_rows(dataset_id, 29, 5).rows == [row(30)]
        assert index.read_bytes() == whole


def test_missing_and_damaged_rows_are_said(dataset_id: str) -> None:
    with pytest.raises(StudioError, match="gone"):
        load_rows("nowhere1")
    with open(rows_path(dataset_id), "a") as file:
        file.write("{oops\n")
    with pytest.raises(StudioError, match="Line 31"):
        load_rows(dataset_id)
    with pytest.raises(StudioError, match="Line 31"):
        page_of_rows(dataset_id, 0, 1)


def test_rows_are_written_in_order_or_not_at_all(folders: None) -> None:
    folder = files.temporary_folder()
    with pytest.raises(ValueError, match="row 1 comes after row 2"), RowsWriter(folder) as writer:
        writer.add(row(2))
        writer.add(row(1))
    size = (folder / "rows.jsonl").stat().st_size
    assert row_files._table(folder / "rows.index", size) is None, "what is half written does not look whole"
    with pytest.raises(FileExistsError), RowsWriter(folder):
        pass


def test_the_writer_counts_and_hashes_what_it_wrote(folders: None) -> None:
    folder = files.temporary_folder()
    with RowsWriter(folder) as writer:
        for line in (row(1), row(2), row(3), left_out(4)):
            writer.add(line)
    assert writer.counts == {"train": 2, "held_out": 1, "left_out": 1, "gone": 0}
    assert writer.sha256 == files.sha256_of(folder / "rows.jsonl")


def test_half_a_character_in_a_row_that_is_left_out_harms_nobody(folders: None) -> None:
    write(
        DATASET,
        [row(1), {**left_out(2), "raw": "a\ud800b", "messages": [{"role": "user", "content": "\ud800"}]}],
    )
    json.dumps(page_of_rows(DATASET, 0, 5).rows, ensure_ascii=False).encode()
    assert get_row(DATASET, 2)["raw"] == "a?b" and found(DATASET, "question 1") == [1]


def test_rows_come_one_at_a_time(dataset_id: str) -> None:
    streamed: Iterator[dict[str, Any]] = iterate(dataset_id)
    assert next(streamed) == row(1)
    with open(rows_path(dataset_id), "a") as file:
        file.write("{oops\n")
    with pytest.raises(StudioError, match="Line 31"):
        list(streamed)
