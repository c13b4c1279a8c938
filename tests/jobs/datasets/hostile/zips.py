"""ZIP archives: bombs, paths that lead out, links, passwords, and a million names."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from collections.abc import Iterable
from pathlib import Path

from tests.jobs.datasets.hostile.cases import Case, Refused, Taken, csv, jsonl, later, records

Member = tuple[str | zipfile.ZipInfo, bytes]


def packed(*members: Member, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for member, data in members:
            info = member if isinstance(member, zipfile.ZipInfo) else zipfile.ZipInfo(member)
            archive.writestr(info, data, method)
    return buffer.getvalue()


def member(name: str, **attributes: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    for attribute, value in attributes.items():
        setattr(info, attribute, value)
    return info


GOOD = ("rows.csv", csv(4).encode())
_LINK = member("rows.csv", create_system=3, external_attr=(stat.S_IFLNK | 0o777) << 16)
_PIPE = member("rows.csv", create_system=3, external_attr=(stat.S_IFIFO | 0o777) << 16)


def _zeros(name: str, size: int) -> bytes:
    """A ZIP of one file of zeros: a thousandth of what is in it."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as file,
    ):
        for _ in range(size // 1_000_000):
            file.write(bytes(1_000_000))
    return buffer.getvalue()


def _text_bomb(size: int) -> bytes:
    """A table that is 1,000 times as large inside as outside."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open(member("rows.csv", compress_type=8), "w", force_zip64=True) as file,
    ):
        file.write(b"prompt,response\n")
        for _ in range(size // 1_000_000):
            file.write(b"What is it?,It is it.\n" * 45_000)
    return buffer.getvalue()


def _encrypted() -> bytes:
    data = bytearray(packed(GOOD))
    data[6] |= 1
    at = data.index(b"PK\x01\x02")
    data[at + 8] |= 1
    return bytes(data)


def _lies_about_size() -> bytes:
    """The directory says 100 bytes; 50 MB come out."""
    data = bytearray(packed(("rows.csv", b"prompt,response\n" + b"What?,That.\n" * 4_000_000)))
    at = data.index(b"PK\x01\x02")
    struct.pack_into("<I", data, at + 24, 100)
    struct.pack_into("<I", data, 22, 100)
    return bytes(data)


def _overlapping(count: int) -> bytes:
    """All names share one compressed file, so that it is unpacked `count` times."""
    data = packed(("rows.csv", b"prompt,response\n" + b"What?,That.\n" * 1_000_000))
    at, end = data.index(b"PK\x01\x02"), data.index(b"PK\x05\x06")
    entry = data[at:end]
    directory = b"".join(entry[:46] + f"r{n:03}.csv".encode() + entry[54:] for n in range(count))
    tail = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count, count, len(directory), at, 0)
    return data[:at] + directory + tail


def _many_names(count: int) -> Iterable[bytes]:
    """A ZIP of `count` empty files, written by hand: the library would take minutes."""
    for n in range(count):
        name = b"f%07d.csv" % n
        yield struct.pack("<4s5H3I2H", b"PK\x03\x04", 20, 0, 0, 0, 33, 0, 0, 0, len(name), 0) + name
    size = 30 + 12
    for n in range(count):
        name = b"f%07d.csv" % n
        yield (
            struct.pack(
                "<4s6H3I5H2I", b"PK\x01\x02", 20, 20, 0, 0, 0, 33, 0, 0, 0, len(name), 0, 0, 0, 0, 0, n * size
            )
            + name
        )
    start, length = count * size, count * (46 + 12)
    yield struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, length, start)
    yield struct.pack("<4sIQI", b"PK\x06\x07", 0, start + length, 1)
    yield struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)


def _million(path: Path) -> None:
    with open(path, "wb") as file:
        file.writelines(_many_names(1_000_000))


def _wrong_checksum() -> bytes:
    data = bytearray(packed(GOOD, method=zipfile.ZIP_STORED))
    at = data.index(b"Norway")
    data[at] ^= 1
    return bytes(data)


def _unknown_method() -> bytes:
    data = bytearray(packed(GOOD))
    at = data.index(b"PK\x01\x02")
    struct.pack_into("<H", data, at + 10, 99)
    struct.pack_into("<H", data, 8, 99)
    return bytes(data)


def _broken_stream() -> bytes:
    data = bytearray(packed(GOOD))
    data[40:80] = b"\xff" * 40
    return bytes(data)


_TWO = (("a/first.csv", csv(3).encode()), ("b/second.jsonl", jsonl(*records(6)[3:])))
_JUNK = (
    ("__MACOSX/._rows.csv", b"\0\5\x16\7"),
    (".DS_Store", b"\0\0\0\1Bud1"),
    ("folder/", b""),
    ("Thumbs.db", b"\xd0\xcf"),
)
_EVIL = csv(4).encode()

CASES = [
    Case("a ZIP", "a.zip", packed(GOOD), Taken(4, detected={"Format": "CSV|ZIP"})),
    Case("a ZIP named CSV", "a.csv", packed(GOOD), Taken(4)),
    Case("a ZIP of two", "a.zip", packed(*_TWO), Taken(6)),
    Case("a ZIP with one chosen", "a.zip", packed(*_TWO), Taken(3), options={"member": "b/second.jsonl"}),
    Case(
        "a ZIP with one chosen that is not there",
        "a.zip",
        packed(*_TWO),
        Refused("“?nothing.csv"),
        options={"member": "nothing.csv"},
    ),
    Case(
        "a ZIP with a way out chosen",
        "a.zip",
        packed(*_TWO),
        Refused("etc/passwd"),
        options={"member": "../../../etc/passwd"},
    ),
    Case("a ZIP from a Mac", "a.zip", packed(*_JUNK, GOOD), Taken(4)),
    Case("a ZIP behind a program", "a.zip", b"#!/bin/sh\nexit\n" + packed(GOOD), Refused(r"\w+")),
    Case("a ZIP with a comment", "a.zip", packed(GOOD)[:-2] + struct.pack("<H", 5) + b"hello", Taken(4)),
    Case("an empty ZIP", "a.zip", packed(), Refused("empty|no (data )?file|holds no", r"\w+")),
    Case(
        "a ZIP of pictures",
        "a.zip",
        packed(("a.png", b"\x89PNG\r\n\x1a\n"), ("b.jpg", b"\xff\xd8\xff")),
        Refused("a.png|no (data )?file|holds no"),
    ),
    Case("a ZIP in a ZIP", "a.zip", packed(("inner.zip", packed(GOOD))), Refused("inner.zip")),
    Case("a ZIP in a ZIP named CSV", "a.zip", packed(("rows.csv", packed(GOOD))), Refused("rows.csv")),
    Case("a way out", "a.zip", packed(("../../evil.csv", _EVIL)), Refused(r"\.\./\.\./evil\.csv")),
    Case("a way out deep down", "a.zip", packed(("a/b/../../../../evil.csv", _EVIL)), Refused("evil.csv")),
    Case("a way out with backslashes", "a.zip", packed(("..\\..\\evil.csv", _EVIL)), Refused("evil.csv")),
    Case("an absolute path", "a.zip", packed(("/tmp/evil.csv", _EVIL)), Refused("/tmp/evil.csv")),
    Case("a drive", "a.zip", packed(("C:\\evil.csv", _EVIL)), Refused("evil.csv")),
    Case("a link", "a.zip", packed((_LINK, b"/etc/passwd")), Refused("rows.csv.*link|link.*rows.csv")),
    Case("a pipe", "a.zip", packed((_PIPE, b"")), Refused("rows.csv")),
    Case(
        "a password",
        "a.zip",
        _encrypted(),
        Refused("rows.csv.*(password|encrypted)|(password|encrypted).*rows.csv", "password|without"),
    ),
    Case(
        "names that differ in case",
        "a.zip",
        packed(("Rows.csv", _EVIL), ("rows.csv", _EVIL)),
        Refused("rows.csv", "[Rr]ename|name"),
    ),
    Case(
        "the same name twice", "a.zip", packed(("rows.csv", _EVIL), ("rows.csv", _EVIL)), Refused("rows.csv")
    ),
    Case("a name with scripts", "a.zip", packed(("<img src=x onerror=alert(1)>.csv", _EVIL)), Taken(4)),
    Case("a name with a line end", "a.zip", packed(("a\nb\x1b[31m\u202evsc.csv", _EVIL)), Taken(4)),
    Case("a name of 60,000 characters", "a.zip", packed(("n" * 60_000 + ".csv", _EVIL)), Taken(4)),
    Case(
        "a ZIP bomb of zeros",
        "a.zip",
        later(_zeros, "rows.csv", 100_000_000),
        Refused("rows.csv"),
        whole_way=True,
    ),
    Case(
        "a ZIP bomb of rows",
        "a.zip",
        later(_text_bomb, 1_000_000_000),
        Refused("rows.csv.*(MB|GB|times)"),
        whole_way=True,
    ),
    Case("a size that lies", "a.zip", later(_lies_about_size), Refused("rows.csv"), whole_way=True),
    Case(
        "names that share their bytes",
        "a.zip",
        later(_overlapping, 500),
        Refused(r"r\d+.csv|500"),
        whole_way=True,
    ),
    Case("a million names", "a.zip", _million, Refused("1,000,000"), whole_way=True),
    Case("a wrong checksum", "a.zip", _wrong_checksum(), Refused("rows.csv")),
    Case("an unknown compression", "a.zip", _unknown_method(), Refused("rows.csv")),
    Case("a broken stream", "a.zip", _broken_stream(), Refused("rows.csv")),
    Case("a ZIP cut in half", "a.zip", packed(GOOD)[:-40], Refused("ZIP|archive")),
    Case("a ZIP of a mark only", "a.zip", b"PK\x03\x04\x14\0\6\0", Refused("ZIP|archive")),
    Case(
        "a damaged file in a ZIP",
        "a.zip",
        packed(GOOD, ("second.json", b'[{"prompt": ')),
        Refused("second.json.*line 1"),
    ),
    Case("a ZIP packed with LZMA", "a.zip", packed(GOOD, method=zipfile.ZIP_LZMA), Taken(4)),
    Case(
        "a directory far away", "a.zip", packed(GOOD)[:-6] + b"\xff\xff\xff\x7f\0\0", Refused("ZIP|archive")
    ),
]
