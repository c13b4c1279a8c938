"""Excel workbooks, written by hand so that they can hold what no program would write."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable
from html import escape
from pathlib import Path

from tests.jobs.datasets.hostile.cases import Case, Refused, Taken, pairs
from tests.jobs.datasets.hostile.zips import packed

_RELATED = '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_LINKS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_BOMB = (
    '<!DOCTYPE bomb [<!ENTITY a "0123456789">'
    + "".join(f'<!ENTITY {new} "{f"&{old};" * 10}">' for old, new in zip("abcdefgh", "bcdefghi", strict=True))
    + "]>"
)
_FILE = '<!DOCTYPE leak [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
_ABROAD = '<!DOCTYPE leak [<!ENTITY a SYSTEM "http://127.0.0.1:9/x">]>'


def cell(value: object) -> str:
    """One cell: a text written into the row, a number, or XML as it is ("<c")."""
    text = str(value)
    if text.startswith("<c"):
        return text
    if isinstance(value, int | float):
        return f"<c><v>{value}</v></c>"
    return f'<c t="inlineStr"><is><t xml:space="preserve">{escape(text)}</t></is></c>'


def sheet(rows: Iterable[Iterable[object]], before: str = "", doctype: str = "") -> str:
    lines = "".join(f"<row>{''.join(map(cell, row))}</row>" for row in rows)
    return f'{_HEAD}{doctype}<worksheet xmlns="{_MAIN}">{before}<sheetData>{lines}</sheetData></worksheet>'


def parts(sheets: dict[str, str], hidden: str = "") -> dict[str, str]:
    """The parts of a workbook around its sheets."""
    states = {name: ' state="hidden"' if name == hidden else "" for name in sheets}
    listed = "".join(
        f'<sheet name="{escape(name)}" sheetId="{n}" r:id="r{n}"{states[name]}/>'
        for n, name in enumerate(sheets, 1)
    )
    related = "".join(
        f'<Relationship Id="r{n}" Type="{_LINKS}/worksheet" Target="worksheets/sheet{n}.xml"/>'
        for n in range(1, len(sheets) + 1)
    )
    kinds = "".join(
        f'<Override PartName="/xl/worksheets/sheet{n}.xml" ContentType="application/vnd.openxmlformats-officedocument'
        '.spreadsheetml.worksheet+xml"/>'
        for n in range(1, len(sheets) + 1)
    )
    return {
        "[Content_Types].xml": f'{_HEAD}<Types xmlns="{_PACKAGE}/content-types"><Default Extension="rels" ContentType='
        '"application/vnd.openxmlformats-package.relationships+xml"/><Override PartName="/xl/workbook.xml" ContentType='
        f'"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/>{kinds}</Types>',
        "_rels/.rels": f'{_HEAD}<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="w" Type='
        f'"{_LINKS}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'{_HEAD}<workbook xmlns="{_MAIN}" xmlns:r="{_LINKS}"><sheets>{listed}</sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f"{_HEAD}{_RELATED}{related}</Relationships>",
        **{f"xl/worksheets/sheet{n}.xml": text for n, text in enumerate(sheets.values(), 1)},
    }


def workbook(sheets: dict[str, str], more: dict[str, str] | None = None, hidden: str = "") -> bytes:
    whole = {**parts(sheets, hidden), **(more or {})}
    return packed(*((name, text.encode()) for name, text in whole.items() if text))


_ROWS = [["prompt", "response"], *map(list, pairs(4))]
_SHEET = sheet(_ROWS)
_OTHER = sheet([["frage", "antwort"], *([f"{q} Bitte?", a] for q, a in pairs(6))])
_NOTES = sheet([["These are notes"], ["nothing else"]])


def _shared(doctype: str, text: str) -> bytes:
    """A workbook whose texts lie in the table of shared texts."""
    texts = "".join(f"<si><t>{one}</t></si>" for one in ("prompt", "response", text))
    strings = f'{_HEAD}{doctype}<sst xmlns="{_MAIN}">{texts}</sst>'
    rows = [[f'<c t="s"><v>{n}</v></c>' for n in row] for row in ((0, 1), (2, 2), (2, 2), (2, 2))]
    whole = parts({"Sheet": sheet(rows)})
    whole["xl/_rels/workbook.xml.rels"] = whole["xl/_rels/workbook.xml.rels"].replace(
        "</Relationships>",
        f'<Relationship Id="s" Type="{_LINKS}/sharedStrings" Target="sharedStrings.xml"/></Relationships>',
    )
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"
    whole["[Content_Types].xml"] = whole["[Content_Types].xml"].replace(
        "</Types>", f'<Override PartName="/xl/sharedStrings.xml" ContentType="{kind}"/></Types>'
    )
    return packed(
        *((name, part.encode()) for name, part in {**whole, "xl/sharedStrings.xml": strings}.items())
    )


def _bomb(inner: bytes, times: int) -> bytes:
    """A workbook whose sheet is a gigabyte when unpacked."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts({"Sheet": "<x/>"}).items():
            if "sheet1" not in name:
                archive.writestr(zipfile.ZipInfo(name), text)
        info = zipfile.ZipInfo("xl/worksheets/sheet1.xml")
        info.compress_type = zipfile.ZIP_DEFLATED
        with archive.open(info, "w", force_zip64=True) as file:
            file.write(f'<worksheet xmlns="{_MAIN}"><sheetData>'.encode())
            for _ in range(times // 1_000):
                file.write(inner * 1_000)
            file.write(b"</sheetData></worksheet>")
    return buffer.getvalue()


def _row_bomb(path: Path) -> None:
    path.write_bytes(_bomb(b'<row><c t="inlineStr"><is><t>What is it?</t></is></c></row>', 17_000_000))


def _text_bomb(path: Path) -> None:
    path.write_bytes(_bomb(b"word " * 20, 10_000_000))


_FORMULA = "<c><f>1+1</f></c>"
_COUNTED = '<c t="str"><f>A1&amp;"!"</f><v>Counted, all is well.</v></c>'
_ERROR = '<c t="e"><v>#N/A</v></c>'
_FAR = '<row r="1048576"><c r="XFD1048576" t="inlineStr"><is><t>far away</t></is></c></row>'

CASES = [
    Case("a workbook", "a.xlsx", workbook({"Sheet": _SHEET}), Taken(4, detected={"Format": "Excel|XLSX"})),
    Case("a workbook named CSV", "a.csv", workbook({"Sheet": _SHEET}), Taken(4)),
    Case(
        "a workbook with a sheet chosen",
        "a.xlsx",
        workbook({"Notes": _NOTES, "Fragen": _OTHER}),
        Taken(6, detected={"Sheet": "Fragen"}),
        options={"sheet": "Fragen"},
    ),
    Case("a workbook with notes first", "a.xlsx", workbook({"Notes": _NOTES, "Fragen": _OTHER}), Taken(6)),
    Case(
        "a workbook with a sheet that is not there",
        "a.xlsx",
        workbook({"Sheet": _SHEET}),
        Refused("“Nothing”", "Sheet"),
        options={"sheet": "Nothing"},
    ),
    Case(
        "a workbook with a hidden sheet",
        "a.xlsx",
        workbook({"Secret": _OTHER, "Sheet": _SHEET}, hidden="Secret"),
        Taken(4),
    ),
    Case(
        "a workbook without rows",
        "a.xlsx",
        workbook({"Sheet": sheet([])}),
        Refused("empty|no (usable )?rows"),
    ),
    Case(
        "a workbook of a header",
        "a.xlsx",
        workbook({"Sheet": sheet(_ROWS[:1])}),
        Refused("no (usable )?rows"),
    ),
    Case(
        "numbers and truths in a workbook",
        "a.xlsx",
        workbook(
            {
                "Sheet": sheet(
                    [
                        *_ROWS,
                        ["How many are there?", 12],
                        ["How much is it?", 1.5],
                        ["Is it true?", '<c t="b"><v>1</v></c>'],
                    ]
                )
            }
        ),
        Taken(7),
    ),
    Case(
        "formulas that were counted",
        "a.xlsx",
        workbook({"Sheet": sheet([*_ROWS, ["What came of it?", _COUNTED]])}),
        Taken(5, holds="Counted, all is well."),
    ),
    Case(
        "formulas that were never counted",
        "a.xlsx",
        workbook({"Sheet": sheet([*_ROWS, ["What came of it?", _FORMULA]])}),
        Taken(4, {"empty_answer": [5]}),
    ),
    Case(
        "errors in cells",
        "a.xlsx",
        workbook({"Sheet": sheet([*_ROWS, ["What came of it?", _ERROR]])}),
        Taken(5),
    ),
    Case(
        "a workbook with macros",
        "a.xlsm",
        workbook({"Sheet": _SHEET}, {"xl/vbaProject.bin": "Sub AutoOpen()"}),
        Taken(4),
    ),
    Case(
        "a workbook with links abroad",
        "a.xlsx",
        workbook(
            {"Sheet": _SHEET},
            {
                "xl/externalLinks/externalLink1.xml": "<externalLink/>",
                "xl/externalLinks/_rels/externalLink1.xml.rels": f'{_RELATED}<Relationship Id="r1" '
                'Type="x" Target="http://127.0.0.1:9/x.xlsx" TargetMode="External"/></Relationships>',
            },
        ),
        Taken(4),
    ),
    Case(
        "a workbook that reads a file",
        "a.xlsx",
        workbook(
            {
                "Sheet": sheet(
                    [*_ROWS, ["What is in it?", '<c t="inlineStr"><is><t>&a;</t></is></c>']], doctype=_FILE
                )
            }
        ),
        Refused("sheet1.xml|Sheet|entit|damaged|cannot be read"),
    ),
    Case(
        "shared texts that read a file",
        "a.xlsx",
        _shared(_FILE, "&a;"),
        Refused("sharedStrings|entit|damaged|cannot be read"),
    ),
    Case(
        "shared texts that fetch",
        "a.xlsx",
        _shared(_ABROAD, "&a;"),
        Refused("sharedStrings|entit|damaged|cannot be read"),
    ),
    Case(
        "a billion laughs",
        "a.xlsx",
        _shared(_BOMB, "&i;"),
        Refused("sharedStrings|entit|damaged|cannot be read"),
        whole_way=True,
    ),
    Case(
        "a billion laughs in the workbook",
        "a.xlsx",
        workbook(
            {"Sheet": _SHEET},
            {
                "xl/workbook.xml": parts({"Sheet": ""})["xl/workbook.xml"]
                .replace(_HEAD, _HEAD + _BOMB)
                .replace('name="Sheet"', 'name="&i;"')
            },
        ),
        Refused("workbook.xml|entit|damaged|cannot be read"),
        whole_way=True,
    ),
    Case("a workbook bomb of rows", "a.xlsx", _row_bomb, Refused("MB|GB|times|sheet1.xml"), whole_way=True),
    Case(
        "a workbook bomb of a text", "a.xlsx", _text_bomb, Refused("MB|GB|times|sheet1.xml"), whole_way=True
    ),
    Case(
        "a workbook that says it is endless",
        "a.xlsx",
        workbook({"Sheet": sheet(_ROWS, before='<dimension ref="A1:XFD1048576"/>')}),
        Taken(4),
        whole_way=True,
    ),
    Case(
        "a cell at the far end",
        "a.xlsx",
        workbook({"Sheet": _SHEET.replace("</sheetData>", _FAR + "</sheetData>")}),
        Taken(4, {"broken_row": [1_048_575]}),
        whole_way=True,
    ),
    Case(
        "broken XML",
        "a.xlsx",
        workbook({"Sheet": _SHEET[:-60]}),
        Refused("damaged|cannot be read|sheet1.xml"),
    ),
    Case(
        "a workbook without its list of sheets",
        "a.xlsx",
        workbook({"Sheet": _SHEET}, {"xl/workbook.xml": ""}),
        Refused("damaged|cannot be read|without a workbook"),
    ),
    Case(
        "a workbook without its sheet",
        "a.xlsx",
        workbook({"Sheet": _SHEET}, {"xl/worksheets/sheet1.xml": ""}),
        Refused("damaged|cannot be read|no sheets|empty"),
    ),
    Case(
        "a workbook cut in half",
        "a.xlsx",
        workbook({"Sheet": _SHEET})[:-300],
        Refused("damaged|cannot be read|ZIP|archive"),
    ),
    Case(
        "a workbook with a password",
        "a.xlsx",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
        + bytes(504)
        + "EncryptedPackage".encode("utf-16-le")
        + bytes(400),
        Refused("password|old Excel", "password|Save"),
    ),
    Case(
        "a binary workbook",
        "a.xlsb",
        packed(("[Content_Types].xml", b"<Types/>"), ("xl/workbook.bin", b"\0\1")),
        Refused("workbook.bin|binary|no (data )?file|cannot be read|holds no|damaged"),
    ),
    Case(
        "an OpenDocument table",
        "a.ods",
        packed(("mimetype", b"application/vnd.oasis.opendocument.spreadsheet"), ("content.xml", b"<x/>")),
        Refused("OpenDocument|content.xml|no (data )?file|holds no", "XLSX|xlsx|CSV|Save|file"),
    ),
    Case("a workbook in a ZIP", "a.zip", packed(("inner/a.xlsx", workbook({"Sheet": _SHEET}))), Taken(4)),
]
