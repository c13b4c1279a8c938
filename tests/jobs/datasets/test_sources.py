"""What a file is, is told by its content; what it cannot be is said, with what to do."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from jobs.datasets import sources
from jobs.datasets.records import ReadOptions
from jobs.datasets.sources import open_source
from storage.errors import StudioError
from tests.jobs.datasets.opened import opened, read

CSV = "prompt,response\na b,c d\ne f,g h\n"
WRONG = {
    "a PDF": (b"%PDF-1.7\n%abc", "a.csv is named .csv but is a PDF"),
    "a picture": (b"\x89PNG\r\n\x1a\n\0", "a PNG picture"),
    "an old workbook": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "an old Excel or Word file"),
    "RTF": (b"{\\rtf1 hello}", "RTF"),
    "a database": (b"SQLite format 3\0", "SQLite"),
    "an old Feather file": (b"FEA1" + bytes(40), "Feather"),
    "a pickle": (pickle.dumps({"a": 1}, protocol=4), "a Python pickle"),
    "a tar archive": (b"a.csv".ljust(257, b"\0") + b"ustar\0" + bytes(300), "a tar archive"),
    "a web page": (b"\n<!DOCTYPE html>\n<html><body>prompt,response</body></html>", "a web page"),
    "spaces": (b" \n\n \t\n", "is empty"),
    "nothing": (b"", "is empty"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_file_that_is_something_else_is_named(case: str, tmp_path: Path) -> None:
    content, says = WRONG[case]
    with pytest.raises(StudioError, match=says) as caught:
        opened(tmp_path, "a.csv", content)
    assert caught.value.remedy and "a.csv" in caught.value.message


def test_a_folder_a_missing_file_and_an_odd_path_are_said(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere.csv", Path("a\0b")):
        with pytest.raises(StudioError), open_source(path, "a.csv"):
            pass


def test_the_sample_is_part_of_the_items_and_comes_before_them(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("prompt,response\n" + "".join(f"question {n},answer {n}\n" for n in range(1_000)))
    with open_source(path, "a.csv") as source:
        assert [item.row for item in source.sample] == list(range(1, 201))
        assert source.done_bytes() > 0 and source.total_bytes == path.stat().st_size
        assert [item.row for item in source.items] == list(range(1, 1_001))


def test_rows_beyond_the_limit_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MOST_ROWS", 300)
    with pytest.raises(StudioError, match="more than 300 rows"):
        opened(tmp_path, "a.csv", "prompt,response\n" + "question,answer\n" * 301)


def test_what_was_found_out_is_said_in_words(tmp_path: Path) -> None:
    found = opened(tmp_path, "a.csv", CSV)
    assert found.detected == {"Format": "CSV", "Delimiter": "comma", "Encoding": "UTF-8", "Header": "row 1"}
    assert (found.certain, found.notes, found.choices) == (True, "", {})


def test_a_guess_at_the_columns_is_said_and_is_not_certain(tmp_path: Path) -> None:
    found = opened(tmp_path, "a.csv", "one text,other text\nwhere is it,it is here\nwho is it,it is me\n")
    assert found.mapping == {"prompt": "one text", "response": "other text"} and not found.certain
    assert "Read “one text” as the prompt and “other text” as the answer." in found.notes


def test_a_pasted_range_of_a_spreadsheet_is_a_table(tmp_path: Path) -> None:
    found = opened(tmp_path, "pasted.txt", "Is it late?\tIt is, a little.\r\nHi\tHello.\r\n")
    assert found.pairs == [("Is it late?", "It is, a little."), ("Hi", "Hello.")] and found.format == "tsv"


def test_a_name_without_a_known_suffix_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "rows.bin"
    path.write_text(CSV)
    assert read(path).pairs == [("a b", "c d"), ("e f", "g h")]
    with open_source(path, "shown as this.csv", ReadOptions()) as source:
        assert source.mapping == {"prompt": "prompt", "response": "response"}
