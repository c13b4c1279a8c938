"""Excel workbooks: the sheet with the table, the values its cells show, and no harm from what else is inside."""

from __future__ import annotations

import datetime
import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
from openpyxl import Workbook

from storage.errors import StudioError
from tests.jobs.datasets.opened import opened

ROWS = [["prompt", "response"], ["Is it late?", "It is."], ["Hi", "Hello."]]
PAIRS = [("Is it late?", "It is."), ("Hi", "Hello.")]


def workbook(sheets: dict[str, list[list[Any]]], hidden: str = "") -> bytes:
    book, buffer = Workbook(), io.BytesIO()
    book.remove(book.active)
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
        if title == hidden:
            sheet.sheet_state = "hidden"
    book.save(buffer)
    return buffer.getvalue()


def with_part(content: bytes, name: str, change: Any) -> bytes:
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as old,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for part in old.namelist():
            data = old.read(part)
            new.writestr(part, change(data) if part == name else data)
    return buffer.getvalue()


SHEET = "xl/worksheets/sheet1.xml"


def test_a_table_arrives_whatever_the_files_name(tmp_path: Path) -> None:
    for name in ("a.xlsx", "a.csv"):
        found = opened(tmp_path, name, workbook({"Mails": ROWS}))
        assert (found.pairs, found.detected["Sheet"]) == (PAIRS, "Mails")
        assert ("named .csv" in found.notes) == (name == "a.csv")


def test_the_sheet_with_a_table_is_taken_and_another_can_be_chosen(tmp_path: Path) -> None:
    sheets = {
        "Notes": [["Just notes"], ["and more"]],
        "Mails": ROWS,
        "Others": [ROWS[0], ["a", "b"], ["c", "d"]],
    }
    found = opened(tmp_path, "a.xlsx", workbook(sheets))
    assert found.pairs == PAIRS and found.choices == {"sheet": ["Notes", "Mails", "Others"]}
    assert "Only the sheet “Mails” of 3 was read" in found.notes
    assert opened(tmp_path, "a.xlsx", workbook(sheets), sheet="Others").pairs == [("a", "b"), ("c", "d")]
    with pytest.raises(StudioError, match="no sheet “Nothing”") as caught:
        opened(tmp_path, "a.xlsx", workbook(sheets), sheet="Nothing")
    assert "Others" in caught.value.remedy


def test_a_hidden_sheet_is_not_taken_by_itself(tmp_path: Path) -> None:
    content = workbook({"Secret": [ROWS[0], ["x", "y"], ["x", "y"]], "Mails": ROWS}, hidden="Secret")
    assert opened(tmp_path, "a.xlsx", content).pairs == PAIRS


def test_titles_gaps_in_the_header_and_blank_rows(tmp_path: Path) -> None:
    rows = [
        ["Our mails"],
        [],
        ["prompt", None, "response"],
        ["a", "n", "b"],
        [],
        ["c", "n", "d"],
        ["e", "n", "f", "g"],
    ]
    found = opened(tmp_path, "a.xlsx", workbook({"Mails": rows}))
    assert found.pairs == [("a", "b"), ("c", "d")] and found.columns == ["prompt", "column 2", "response"]
    assert found.codes() == {2: "blank_row", 4: "broken_row"} and "“Our mails”" in found.notes
    assert "row 7 of the sheet “Mails”" in found.left_out[4].reason


def test_cells_arrive_as_they_read(tmp_path: Path) -> None:
    values = [
        12,
        12.0,
        1.5,
        True,
        datetime.datetime(2026, 3, 1),
        datetime.datetime(2026, 3, 1, 9, 5),
        datetime.time(9, 5),
    ]
    found = opened(
        tmp_path,
        "a.xlsx",
        workbook({"S": [ROWS[0], *([f"What is number {n}?", v] for n, v in enumerate(values))]}),
    )
    assert [answer for _, answer in found.pairs] == [
        *("12", "12", "1.5", "TRUE", "2026-03-01", "2026-03-01 09:05:00", "09:05:00"),
    ]  # fmt: skip


def test_a_formula_gives_its_counted_value_and_without_one_the_row_is_left_out(tmp_path: Path) -> None:
    content = workbook({"S": [*ROWS, ["Sum?", "=1+1"], ["More?", "=2+2"]]})
    content = with_part(
        content,
        SHEET,
        lambda xml: xml.replace(b"<f>1+1</f><v></v>", b"<f>1+1</f><v>2</v>").replace(
            b"<f>1+1</f><v />", b"<f>1+1</f><v>2</v>"
        ),
    )
    found = opened(tmp_path, "a.xlsx", content)
    assert found.pairs == [*PAIRS, ("Sum?", "2")] and found.codes() == {4: "empty_answer"}


def test_what_a_sheet_says_of_its_size_is_not_believed(tmp_path: Path) -> None:
    def far(xml: bytes) -> bytes:
        xml = xml.replace(b'<dimension ref="A1:B3" />', b'<dimension ref="A1:XFD1048576" />')
        cell = b'<row r="1048576"><c r="C1048576" t="inlineStr"><is><t>far</t></is></c></row></sheetData>'
        return xml.replace(b"</sheetData>", cell)

    found = opened(tmp_path, "a.xlsx", with_part(workbook({"S": ROWS}), SHEET, far))
    assert found.pairs == PAIRS and found.codes() == {1_048_575: "broken_row"}


DOCTYPE = b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
GOOD = workbook({"S": ROWS})
DAMAGED = {
    "a sheet that declares entities": (
        with_part(GOOD, SHEET, lambda xml: DOCTYPE + xml),
        "sheet1.xml declares entities",
    ),
    "a broken sheet": (with_part(GOOD, SHEET, lambda xml: xml[:-60]), "damaged"),
    "a broken list of sheets": (with_part(GOOD, "xl/workbook.xml", lambda xml: b"<oops"), "damaged"),
    "cut in half": (GOOD[: len(GOOD) // 2], "damaged"),
    "an empty sheet": (workbook({"S": []}), "is empty"),
    "a header only": (workbook({"S": ROWS[:1]}), "but no rows"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_what_cannot_be_read_is_said(case: str, tmp_path: Path) -> None:
    content, says = DAMAGED[case]
    with pytest.raises(StudioError, match=says) as caught:
        opened(tmp_path, "a.xlsx", content)
    assert caught.value.remedy
