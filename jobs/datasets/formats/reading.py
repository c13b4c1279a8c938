"""The file a user brings: what it is by its first bytes, and its text piece by piece."""

from __future__ import annotations

import codecs
import io
from pathlib import Path
from types import TracebackType

from jobs.datasets.formats.encodings import AS_TABLE, Encoding
from jobs.datasets.records import Progress
from storage.errors import StudioError

LARGEST_BYTES = 4_000_000_000
HEAD_BYTES = 1 << 18
# First bytes of the files that can be read …
_READABLE = (
    (b"PAR1", "parquet"),
    (b"ARROW1", "arrow"),
    (b"\xff\xff\xff\xff", "arrow stream"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"\x1f\x8b", "gzip"),
)
# … and of those that most often come under a wrong name.
_OTHER = (
    (b"%PDF-", "a PDF"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"FEA1", "a Feather file of the first version"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!\x1a", "a RAR archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\0", "an xz archive"),
    (b"(\xb5/\xfd", "a Zstandard archive"),
    (b"\xd0\xcf\x11\xe0", "an old Excel or Word file"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"{\\rtf", "a rich text (RTF) document"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x80\x04\x95", "a Python pickle, which could run any program"),
    (b"Obj\x01", "an Avro file"),
    (b"ORC", "an ORC file"),
)
NAMES = {
    "parquet": "a Parquet file",
    "arrow": "an Arrow file",
    "arrow stream": "an Arrow file",
    "zip": "a ZIP archive",
    "gzip": "a gzip archive",
}


def check_file(path: Path, name: str) -> None:
    """Raises StudioError unless there is a file that can be read, is not empty and not too large."""
    try:
        if path.is_dir():
            raise StudioError(f"{name} is a folder.", "Add one file of examples.")
        if path.exists() and not path.is_file():  # a named pipe would never begin
            raise StudioError(f"{name} is no file, but a device or a pipe.", "Add one file of examples.")
        with open(path, "rb"):
            check_size(path.stat().st_size, name)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StudioError(f"{name} cannot be read: {reason}.", "Check the file and add it again.") from error


def kind_of(path: Path, name: str) -> str:
    """What a file is by its first bytes: one of `NAMES`, or "text". Raises StudioError for what cannot be read."""
    with open(path, "rb") as file:
        head = file.read(512)
    for signature, kind in _READABLE:
        if head.startswith(signature):
            return kind
    for signature, what in _OTHER:
        if head.startswith(signature):
            remedy = "Save it as XLSX or CSV and add that file." if "Excel" in what else AS_TABLE
            raise StudioError(f"{named(name, what)}.", remedy)
    if head[257:262] == b"ustar":
        raise StudioError(
            f"{named(name, 'a tar archive')}.", "Unpack it and add the files in it, or pack them as ZIP."
        )
    return "text"


def named(name: str, what: str) -> str:
    """“a.csv is named .csv but is a PDF”, without the full stop."""
    suffix = Path(name.split(" in ")[0]).suffix
    return f"{name} is named {suffix} but is {what}" if suffix else f"{name} is {what}"


def head_of(path: Path, encoding: Encoding) -> str:
    """How a text begins, cut behind a whole line where there is one."""
    with open(path, "rb") as file:
        data = file.read(HEAD_BYTES)
    decoder = codecs.getincrementaldecoder(encoding.codec)(
        "surrogateescape" if encoding.errors != "strict" else "strict"
    )
    text = decoder.decode(data)
    if len(data) < HEAD_BYTES:
        return text + decoder.decode(b"", True)
    return text[: text.rfind("\n") + 1] or text


def check_size(size_bytes: int, name: str) -> None:
    """Raises StudioError when there is nothing, or more than `LARGEST_BYTES`."""
    if size_bytes == 0:
        raise StudioError(f"{name} is empty.", "Add a file with at least two examples.")
    if size_bytes > LARGEST_BYTES:
        raise StudioError(
            f"{name} has {size_bytes / 1e6:,.0f} MB; at most {LARGEST_BYTES / 1e6:,.0f} MB can be read.",
            "Keep a part of it: some thousand good examples are plenty.",
        )


def pasted_bytes(text: str, name: str) -> bytes:
    """Pasted text as the bytes of a UTF-8 file, so that one way leads on from here.

    Raises StudioError for halves of characters (lone surrogates), which no file can hold.
    """
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise StudioError(
            f"{name} holds half a character (a lone surrogate) at position {error.start + 1:,}.",
            "Delete that character and paste again.",
        ) from error


class TextFile(Progress):
    """A text file from its start, decoded piece by piece; line ends stay as they are."""

    def __init__(self, path: Path, encoding: Encoding) -> None:
        super().__init__(path.stat().st_size)
        self._raw = io.FileIO(path)
        buffered = io.BufferedReader(self._raw, 1 << 18)
        self.text = io.TextIOWrapper(buffered, encoding.codec, encoding.errors, newline="")

    def done_bytes(self) -> int:
        """Bytes read so far."""
        return 0 if self._raw.closed else self._raw.tell()

    def __enter__(self) -> TextFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.text.close()


def size_shown(size_bytes: int) -> str:
    """A size in the unit that reads best."""
    return f"{size_bytes / 1e6:,.0f} MB" if size_bytes >= 10e6 else f"{size_bytes / 1e3:,.0f} kB"
