"""Files for spreadsheet programs: nothing in them is calculated, and nothing of a text is lost."""

from __future__ import annotations

import csv
import io
import json

import pytest

from jobs.export.spreadsheet import csv_lines, json_lines, original, safe

DANGEROUS = [
    "=1+1",
    "=cmd|' /C calc'!A0",
    "+49 30 1234",
    "-2",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    " =1+1",
    "'=1",
    "''-x",
    "＝1",
]
HARMLESS = ["", "Hello", "1+1=2", "'quoted'", "' and so on", "a\n=b", "«=»", "'", "\n\nx"]


@pytest.mark.parametrize("text", DANGEROUS)
def test_what_would_be_calculated_gets_an_apostrophe(text: str) -> None:
    assert safe(text) == "'" + text
    assert original(safe(text)) == text


@pytest.mark.parametrize("text", HARMLESS)
def test_everything_else_stays_as_it_is(text: str) -> None:
    assert safe(text) == text
    assert original(text) == text


def test_no_two_texts_become_the_same() -> None:
    texts = [mark * count + text for text in [*DANGEROUS, *HARMLESS] for mark in "'" for count in range(3)]
    assert [original(safe(text)) for text in texts] == texts
    assert len({safe(text) for text in texts}) == len(set(texts))


def test_the_file_reads_back_with_numbers_as_numbers() -> None:
    rows = [[1, 'say "hi", =1', "=1", None, -0.5], [2, "two\nlines", "＠x", "", 3]]
    content = "".join(csv_lines(["number", "=prompt"], rows))
    assert content.startswith("\ufeff"), "Excel then reads it as UTF-8"
    read = list(csv.reader(io.StringIO(content.removeprefix("\ufeff"))))
    assert read == [
        ["number", "'=prompt"],
        ["1", 'say "hi", =1', "'=1", "", "-0.5"],
        ["2", "two\nlines", "'＠x", "", "3"],
    ]
    # In quotes whatever separates cells where it is read: a cell never splits into one that begins with "=".
    assert '"say ""hi"", =1"' in content


def test_json_lines_hold_texts_as_they_are() -> None:
    values = [{"prompt": "=1\n+2", "answer": "ä"}, {"prompt": "x"}]
    assert [json.loads(line) for line in "".join(json_lines(values)).splitlines()] == values
