"""The bytes a user brings, as text: or a sentence that says why they are no text."""

from __future__ import annotations

from pathlib import Path

from storage.errors import StudioError

LARGEST_BYTES = 200_000_000
AS_UTF8 = "Save it again as UTF-8 (in a spreadsheet: “CSV UTF-8”) and add it once more."
AS_TABLE = "Save the examples as CSV, TSV, JSON or JSONL and add that file."

# First bytes of the files that most often come under a wrong name.
_SIGNATURES = (
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook"),
    (b"PK\x05\x06", "an empty ZIP archive"),
    (b"%PDF-", "a PDF"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"PAR1", "a Parquet file"),
    (b"ARROW1", "an Arrow file"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!\x1a", "a RAR archive"),
    (b"\xd0\xcf\x11\xe0", "an old Excel or Word file"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"{\\rtf", "a rich text (RTF) document"),
)
# UTF-32 first: its little-endian mark begins with that of UTF-16.
_OTHER_UNICODE = (
    (b"\xff\xfe\0\0", "UTF-32"),
    (b"\0\0\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)


def read_bytes(path: Path, name: str) -> bytes:
    """The content of a file that is not too large.

    Raises StudioError when there is no such file, when it cannot be read or is over `LARGEST_BYTES`.
    """
    try:
        size_bytes = path.stat().st_size
        if path.is_dir():
            raise StudioError(f"{name} is a folder.", "Add one file of examples.")
        check_size(size_bytes, name)
        return path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StudioError(f"{name} cannot be read: {reason}.", "Check the file and add it again.") from error


def check_size(size_bytes: int, name: str) -> None:
    """Raises StudioError when there is nothing, or more than `LARGEST_BYTES`."""
    if size_bytes == 0:
        raise StudioError(f"{name} is empty.", "Add a file with at least two examples.")
    if size_bytes > LARGEST_BYTES:
        raise StudioError(
            f"{name} has {size_bytes / 1e6:,.0f} MB; at most {LARGEST_BYTES / 1e6:,.0f} MB can be read.",
            "Keep a part of it: some thousand good examples are plenty.",
        )


def text_of(data: bytes, name: str) -> str:
    """UTF-8 bytes, with or without a byte order mark, as text.

    Raises StudioError for known binary files, NUL bytes, and every other encoding.
    """
    for signature, what in _SIGNATURES:
        if data.startswith(signature):
            suffix = Path(name).suffix
            named = f"{name} is named {suffix} but" if suffix else name
            raise StudioError(f"{named} is {what}.", AS_TABLE)
    for mark, encoding in _OTHER_UNICODE:
        if data.startswith(mark):
            raise StudioError(f"{name} is {encoding} text, not UTF-8.", AS_UTF8)
    if (nul := data.find(b"\0")) >= 0:
        raise StudioError(
            f"{name} is not plain text: there is a NUL byte at offset {nul:,} (line {_line(data, nul)}).",
            f"{AS_TABLE} If it is text already: {AS_UTF8}",
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        at = len(data) - len(error.object) + error.start  # the codec counts from behind the mark
        raise StudioError(
            f"{name} is not UTF-8 text: byte 0x{data[at]:02x} at offset {at:,} (line {_line(data, at)}).",
            AS_UTF8,
        ) from error


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


def _line(data: bytes, offset: int) -> int:
    return data.count(b"\n", 0, offset) + 1
