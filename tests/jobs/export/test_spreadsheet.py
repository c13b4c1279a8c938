"""Files for spreadsheet programs: nothing in them is calculated, and nothing of a text is lost."""

from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.export.spreadsheet import FORMULA_STARTS, csv_lines, json_lines, original, safe

DANGEROUS = [
    "=1+1",
    "=cmd|' /C calc'!A0",
    "+49 30 1234",
    "-2",
    "@SUM(A1)",
    "\tx",
    "\rx",
    " =1+1",
    "'=1",
    "''-x",
    "＝1",
]
HARMLESS = ["", "Hello", "1+1=2", "'quoted'", "' and so on", "a\nb=b", "a; b-c", "«=»", "'", "\n\nx"]
# Behind a separator of another country, a line end, or doubled quotes.
INSIDE = [
    ("a\n=b", "a\n'=b"),
    ("a;=b", "a;'=b"),
    ("a; -b;c\t@d", "a;' -b;c\t'@d"),
    ('a;"=b"', 'a;\'"=b"'),
    ("a\r\n+b", "a\r\n'+b"),
    ("a;'=b", "a;''=b"),
    ("\t=1", "'\t'=1"),
    ("\n=1", "\n'=1"),
    ("=a;=b", "'=a;'=b"),
]


@pytest.mark.parametrize("text", DANGEROUS)
def test_what_would_be_calculated_gets_an_apostrophe(text: str) -> None:
    assert safe(text) == "'" + text
    assert original(safe(text)) == text


@pytest.mark.parametrize("text", HARMLESS)
def test_everything_else_stays_as_it_is(text: str) -> None:
    assert safe(text) == text
    assert original(text) == text


@pytest.mark.parametrize("text, cell", INSIDE)
def test_what_begins_a_cell_where_semicolons_separate_gets_one_too(text: str, cell: str) -> None:
    assert safe(text) == cell
    assert original(cell) == text


def test_a_program_that_separates_by_semicolons_finds_no_formula() -> None:
    texts = [text for text, _ in INSIDE] + [f'say "{text}"' for text in DANGEROUS] + DANGEROUS
    content = "".join(csv_lines(["a;=b", "c"], [["x", text] for text in texts])).removeprefix("\ufeff")
    for cell in (cell for row in csv.reader(io.StringIO(content, newline=""), delimiter=";") for cell in row):
        assert not cell.lstrip(' "').startswith(FORMULA_STARTS[:4]), cell


@given(st.text(alphabet="'=-@ ;\t\r\n\"a＝"))
def test_every_text_comes_back(text: str) -> None:
    assert original(safe(text)) == text


def test_no_two_texts_become_the_same() -> None:
    every = [*DANGEROUS, *HARMLESS, *(text for text, _ in INSIDE)]
    texts = [mark * count + text for text in every for mark in "'" for count in range(3)]
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
