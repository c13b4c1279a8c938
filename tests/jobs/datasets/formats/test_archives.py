"""ZIP and gzip archives: the files in them arrive, and whatever would do harm is named and not unpacked."""

from __future__ import annotations

import gzip
import io
import stat
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest

from jobs.datasets.formats import archives
from storage.errors import StudioError
from tests.jobs.datasets.formats.test_workbooks import workbook
from tests.jobs.datasets.opened import opened

CSV = "prompt,response\na,b\nc,d\n"
JSONL = (
    '{"prompt": "e", "response": "f"}\n{"prompt": "g", "response": ""}\n{"prompt": "i", "response": "j"}\n'
)
OTHER = "question,answer,note\nk l,m n,o p\n"


def packed(*members: tuple[str | zipfile.ZipInfo, str | bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content, method)
    return buffer.getvalue()


def member(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, mode << 16
    return info


def test_one_file_arrives_and_what_systems_put_beside_it_is_passed_over(tmp_path: Path) -> None:
    beside = [
        ("__MACOSX/._a.csv", b"\0\5"),
        (".DS_Store", b"\0"),
        ("Thumbs.db", b"\xd0"),
        ("README.md", "Q: x\nA: y\n"),
    ]
    found = opened(
        tmp_path, "a.zip", packed(("folder/", ""), *beside, ("folder/a.csv", CSV), ("b.png", b"\x89PNG"))
    )
    assert found.pairs == [("a", "b"), ("c", "d")] and "folder/a.csv" in found.detected["Archive"]


def test_files_with_the_same_columns_arrive_together_and_their_rows_count_on(tmp_path: Path) -> None:
    content = packed(
        ("one.csv", CSV),
        ("two.jsonl", JSONL),
        ("three.xlsx", workbook({"S": [["prompt", "response"], ["x", "y"]]})),
    )
    found = opened(tmp_path, "a.zip", content)
    assert found.pairs == [("a", "b"), ("c", "d"), ("e", "f"), ("i", "j"), ("x", "y")]
    assert list(found.values) == [1, 2, 3, 4, 5, 6] and found.codes() == {4: "empty_answer"}


def test_files_with_different_columns_have_to_be_chosen_from(tmp_path: Path) -> None:
    content = packed(("one.csv", CSV), ("two.csv", OTHER))
    found = opened(tmp_path, "a.zip", content)
    assert found.why is not None and "one.csv has “prompt”, “response”, two.csv has" in found.why.message
    assert found.choices["member"] == ["one.csv", "two.csv"] and not found.certain
    assert opened(tmp_path, "a.zip", content, member="two.csv").pairs == [("k l", "m n")]
    with pytest.raises(StudioError, match=r"no file “\.\./three\.csv”"):
        opened(tmp_path, "a.zip", content, member="../three.csv")


def test_a_gzip_archive_of_one_file_arrives(tmp_path: Path) -> None:
    found = opened(tmp_path, "a.csv.gz", gzip.compress(CSV.encode()))
    assert found.pairs == [("a", "b"), ("c", "d")] and found.detected["Archive"] == "gzip"
    assert opened(tmp_path, "a.zip", packed(("a.jsonl", JSONL), method=zipfile.ZIP_LZMA)).pairs == [
        ("e", "f"),
        ("i", "j"),
    ]


def test_odd_names_are_shown_harmlessly_and_can_be_chosen(tmp_path: Path) -> None:
    content = packed(("a\nb\x1b[31m.csv", CSV), ("n" * 5_000 + ".csv", OTHER))
    names = opened(tmp_path, "a.zip", content).choices["member"]
    assert all(name.isprintable() and len(name) <= 90 for name in names)
    assert opened(tmp_path, "a.zip", content, member=names[1]).pairs == [("k l", "m n")]


def _bomb(size: int) -> bytes:
    return packed(("rows.csv", bytes(size)))


def _encrypted() -> bytes:
    data = bytearray(packed(("rows.csv", CSV)))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def _lying() -> bytes:
    data = bytearray(packed(("rows.csv", CSV * 1_000)))
    struct.pack_into("<I", data, data.index(b"PK\x01\x02") + 24, 100)
    struct.pack_into("<I", data, 22, 100)
    return bytes(data)


def _sharing() -> bytes:
    data = packed(("rows.csv", CSV))
    at, end = data.index(b"PK\x01\x02"), data.index(b"PK\x05\x06")
    directory = b"".join(data[at : at + 46] + f"r{n:03}.csv".encode() + data[at + 54 : end] for n in range(3))
    return data[:at] + directory + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 3, 3, len(directory), at, 0)


HARMFUL: dict[str, tuple[bytes, str]] = {
    "a way out": (packed(("../../evil.csv", CSV)), r"“\.\./\.\./evil\.csv”, a path that leads out"),
    "a way out with backslashes": (packed(("..\\evil.csv", CSV)), "evil.csv”, a path that leads out"),
    "an absolute path": (packed(("/tmp/evil.csv", CSV)), "“/tmp/evil.csv”"),
    "a drive": (packed(("C:\\evil.csv", CSV)), "evil.csv”, a path that leads out"),
    "a link": (packed((member("rows.csv", stat.S_IFLNK | 0o777), "/etc/passwd")), "“rows.csv”, a link"),
    "a pipe": (packed((member("rows.csv", stat.S_IFIFO | 0o777), "")), "“rows.csv”, which is no plain file"),
    "a password": (_encrypted(), "“rows.csv” in a.zip is protected by a password"),
    "names that differ in case": (packed(("Rows.csv", CSV), ("rows.csv", CSV)), "“Rows.csv” and “rows.csv”"),
    "far more inside": (
        _bomb(60_000_000),
        r"“rows.csv” in a.zip is 1,\d\d\d times as large inside \(60 MB\)",
    ),
    "a size that lies": (_lying(), "“rows.csv” in a.zip"),
    "shared bytes": (_sharing(), "“r001.csv” in a.zip shares its bytes"),
    "an archive in it": (packed(("inner.zip", packed(("a.csv", CSV)))), "“inner.zip”"),
    "an archive under another name": (
        packed(("a.csv", packed(("b.csv", CSV)))),
        "an archive inside an archive",
    ),
    "a wrong checksum": (
        packed(("rows.csv", CSV), method=0).replace(b"a,b", b"a,x", 1),
        "“rows.csv” in a.zip.*damaged",
    ),
    "a damaged file": (
        packed(("rows.csv", CSV), ("b.json", "[{")),
        "b.json in a.zip is not valid JSON at line 1",
    ),
    "nothing": (packed(), "a.zip holds no file"),
    "pictures only": (packed(("a.png", b"\x89PNG")), "no data file, only “a.png”"),
    "cut in half": (packed(("rows.csv", CSV))[:-40], "a ZIP archive, and it is damaged"),
    "a Word document": (packed(("[Content_Types].xml", ""), ("word/document.xml", "")), "a Word document"),
    "an OpenDocument table": (packed(("mimetype", "x"), ("content.xml", "")), "an OpenDocument file"),
    "a checkpoint": (packed(("archive/data.pkl", b"\x80")), "a PyTorch checkpoint"),
}


@pytest.mark.parametrize("case", HARMFUL)
def test_what_would_do_harm_is_named_and_nothing_is_unpacked(case: str, tmp_path: Path) -> None:
    content, says = HARMFUL[case]
    with pytest.raises(StudioError, match=says) as caught:
        opened(tmp_path, "a.zip", content)
    assert caught.value.remedy
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert left == [tmp_path / "a.zip"] and not (tmp_path.parent / "evil.csv").exists()


def test_too_many_names_are_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MOST_FILES", 3)
    with pytest.raises(StudioError, match="holds 5 files; at most 3"):
        opened(tmp_path, "a.zip", packed(*((f"{n}.csv", CSV) for n in range(5))))


@pytest.mark.parametrize("size", [70_000_000])
def test_a_gzip_bomb_is_stopped_while_it_is_unpacked(size: int, tmp_path: Path) -> None:
    with pytest.raises(StudioError, match="larger than 50 MB when unpacked"):
        opened(tmp_path, "a.csv.gz", gzip.compress(bytes(size)))
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["a.csv.gz"]


@pytest.mark.parametrize(
    "content",
    [b"\x1f\x8b\x08\0", gzip.compress(CSV.encode())[:-12], gzip.compress(CSV.encode())[:-8] + bytes(8)],
    # Named, as a gzip header holds the time and each worker of the tests makes its own.
    ids=["header alone", "cut short", "wrong checksum"],
)
def test_a_damaged_gzip_archive_is_said(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(StudioError, match="gzip archive, and it is damaged"):
        opened(tmp_path, "a.csv", content)


def test_choices_that_a_file_does_not_offer_are_refused(tmp_path: Path) -> None:
    options: list[tuple[dict[str, Any], str]] = [
        ({"sheet": "S"}, "no workbook"),
        ({"member": "x"}, "no archive"),
    ]
    for given, says in options:
        with pytest.raises(StudioError, match=says):
            opened(tmp_path, "a.csv", CSV, **given)
