"""The files in which rows lie: one JSON object a line, where each line begins, and the text to search in.

Beside `rows.jsonl` (or `changes.jsonl`) lie `rows.index` with two numbers for each line, its offset and what it is,
and `rows.text` with what the row's messages say, in one case, made for searching.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

from storage import files
from storage.errors import StudioError

if TYPE_CHECKING:
    import numpy

    Numbers = numpy.ndarray[Any, Any]

ROWS, CHANGES = "rows", "changes"
# What a line is, in the lowest byte of its entry in the index; the row's number is in the others.
SPLITS = ("train", "held_out")
KINDS = (*SPLITS, "left_out", "gone")
# The text to search in is kept up to this size; sets with more are searched line by line.
MOST_TEXT_BYTES = 512_000_000
# Neither byte occurs in UTF-8: so no text can look like the end of a message or of a row.
_MESSAGE_END, _ROW_END = b"\xfe", b"\xff"
_ENTRY = struct.Struct("<QQ")
_BUFFER = 1 << 20
_READ = 1 << 18
_encode = json.JSONEncoder(ensure_ascii=False).encode


class RowsWriter:
    """Writes rows one by one, in the order of their numbers; with its index they are found again at once.

    After the `with` block everything is on the disk. `counts` says how many rows each kind has, `sha256` is that
    of the lines.
    """

    def __init__(self, folder: Path, name: str = ROWS) -> None:
        self.counts = dict.fromkeys(KINDS, 0)
        self.last_row = 0
        self._path = folder / f"{name}.jsonl"
        self._hash = hashlib.sha256()

    def __enter__(self) -> RowsWriter:
        self._lines = open(self._path, "xb", buffering=_BUFFER)  # closed in __exit__
        self._beside = _Beside(self._path)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:  # what is half written is of no use, and may not fit on the disk
            self._beside.abandon()
            with suppress(OSError):
                self._lines.close()
            return
        self._beside.close()
        _close(self._lines)

    @property
    def sha256(self) -> str:
        """The SHA-256 of the lines so far in hexadecimal."""
        return self._hash.hexdigest()

    def add(self, row: Mapping[str, Any]) -> None:
        """Write one row: {"row", "messages", "split"} and more; in a file of changes also {"row", "gone"}."""
        if row["row"] <= self.last_row:
            raise ValueError(f"row {row['row']} comes after row {self.last_row}")
        kind = "gone" if row.get("gone") else row["split"]
        line = (_encode(row) + "\n").encode("utf-8", "strict" if kind in SPLITS else "replace")
        self._lines.write(line)
        self._beside.add(row, KINDS.index(kind), len(line))
        self._hash.update(line)
        self.counts[kind] += 1
        self.last_row = row["row"]


class _Beside:
    """The index and the text of a file of rows, while they are written."""

    def __init__(self, lines: Path) -> None:
        self._index = open(lines.with_suffix(".index"), "wb", buffering=_BUFFER)  # noqa: SIM115  # closed in close
        self._text_path = lines.with_suffix(".text")
        self._text: BinaryIO | None = open(self._text_path, "wb", buffering=_BUFFER)  # noqa: SIM115  # as above
        self._text_bytes = self._offset = self._count = 0

    def add(self, row: Mapping[str, Any], kind: int, size: int) -> None:
        self._index.write(_ENTRY.pack(self._offset, row["row"] << 8 | kind))
        self._offset += size
        self._count += 1
        if self._text is not None:
            text = text_of(row)
            self._text_bytes += len(text)
            self._text.write(text)
            if self._text_bytes > MOST_TEXT_BYTES:
                self._text.close()
                self._text = None
                self._text_path.unlink()

    def abandon(self) -> None:
        for file in filter(None, (self._index, self._text)):
            with suppress(OSError):
                file.close()

    def close(self) -> None:
        self._index.write(_ENTRY.pack(self._offset, self._count))
        _close(self._index)
        if self._text is not None:
            _close(self._text)


def text_of(row: Mapping[str, Any]) -> bytes:
    """What is searched of one row."""
    messages = row.get("messages") or ()
    return _MESSAGE_END.join(searched(message["content"]) for message in messages) + _ROW_END


def searched(text: str) -> bytes:
    """A text with all differences taken away that a search does not make: case, and how accents are written."""
    folded = text.lower() if text.isascii() else unicodedata.normalize("NFC", text.casefold())
    return folded.encode("utf-8", "replace")


class Lines:
    """One file of rows with its index, to read any of its lines."""

    def __init__(self, path: Path, table: Numbers) -> None:
        self.path = path
        self.starts: Numbers = table[:, 0]
        self.numbers: Numbers = table[:-1, 1] >> 8
        self.kinds: Numbers = (table[:-1, 1] & 255).astype("u1")

    def read(self, wanted: Numbers) -> list[dict[str, Any]]:
        """The rows on these lines (0-based)."""
        with open(self.path, "rb") as file:
            return [self._line(file, int(line)) for line in wanted]

    def _line(self, file: BinaryIO, line: int) -> dict[str, Any]:
        start = int(self.starts[line])
        file.seek(start)
        return row_of(file.read(int(self.starts[line + 1]) - start), line + 1, self.path)

    def matching(self, text: str) -> Numbers:
        """The lines whose messages hold the text, whatever its case; other threads get their turns meanwhile."""
        import numpy as np

        found = self._in_text(searched(text)) if self._has_text() else self._in_lines(searched(text))
        return np.fromiter(found, "i8")

    def _has_text(self) -> bool:
        return self.path.with_suffix(".text").is_file()

    def _in_text(self, wanted: bytes) -> Iterator[int]:
        """Reads whole rows of about `_READ` bytes at a time; the ends of rows count the lines."""
        line, rest = 0, b""
        with open(self.path.with_suffix(".text"), "rb") as file:
            while more := file.read(_READ):
                end = more.rfind(_ROW_END) + 1
                block, rest = (rest + more[:end], more[end:]) if end else (b"", rest + more)
                place, counted = block.find(wanted), 0
                while place >= 0:
                    line += block.count(_ROW_END, counted, place)
                    yield line
                    counted = block.index(_ROW_END, place)  # the rest of this row is of no interest
                    place = block.find(wanted, counted)
                line += block.count(_ROW_END, counted)

    def _in_lines(self, wanted: bytes) -> Iterator[int]:
        for line, row in enumerate(read_lines(self.path)):
            if wanted in text_of(row):
                yield line


def open_lines(folder: Path, name: str = ROWS) -> Lines:
    """A file of rows, with its index, which is made where an older studio has written none.

    Raises StudioError when a line of it is damaged, FileNotFoundError when there is none.
    """
    path = folder / f"{name}.jsonl"
    status = path.stat()
    return _opened(path, status.st_size, status.st_mtime_ns, status.st_ino)


@lru_cache(maxsize=8)
def _opened(path: Path, size: int, _changed: int, _inode: int) -> Lines:
    index = path.with_suffix(".index")
    table = _table(index, size)
    if table is None:
        _write_beside(path)
        table = _table(index, size)
    if table is None:
        raise StudioError(f"{path.name} of {path.parent.name} changes while it is read.", "Try again.")
    return Lines(path, table)


def _table(index: Path, size: int) -> Numbers | None:
    """The entries of an index; None where it is not that of the file."""
    import numpy as np

    with suppress(FileNotFoundError):
        entries = np.fromfile(index, "<u8")
        if len(entries) >= 2 and entries[-2] == size and len(entries) == 2 * (int(entries[-1]) + 1):
            return entries.reshape(-1, 2)
    return None


def _write_beside(lines: Path) -> None:
    """Index and text of a file of an older studio; each is whole or not there."""
    folder = files.temporary_folder()
    try:
        with files.full_disk_as_error():
            beside = _Beside(folder / lines.name)
            with open(lines, "rb") as file:
                for number, line in enumerate(file, start=1):
                    row = row_of(line, number, lines)
                    beside.add(row, KINDS.index(row["split"]), len(line))
            beside.close()
            for suffix in (".text", ".index"):  # the index last: it says that both are there
                made = (folder / lines.name).with_suffix(suffix)
                if made.exists():
                    os.replace(made, lines.with_suffix(suffix))
            files.sync(lines.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """All rows of a file, one after the other; raises StudioError for a damaged line."""
    with open(path, "rb", buffering=_BUFFER) as file:
        for number, line in enumerate(file, start=1):
            yield row_of(line, number, path)


def row_of(line: bytes, number: int, path: Path) -> dict[str, Any]:
    """The row on a line.

    Raises StudioError when the line is damaged.
    """
    try:
        row: dict[str, Any] = json.loads(line)
    except ValueError as error:
        raise StudioError(
            f"Line {number} of {path} is damaged.", "Restore it from a copy, or add the examples again."
        ) from error
    return row


def _close(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
    file.close()
