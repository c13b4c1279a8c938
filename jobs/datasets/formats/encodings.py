"""In which encoding a text file is written: told by its bytes, never by replacing what does not fit."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from pathlib import Path

from storage.errors import StudioError

AS_UTF8 = "Save it again as UTF-8 (in a spreadsheet: “CSV UTF-8”) and add it once more."
AS_TABLE = "Save the examples as CSV, TSV, JSON, JSONL, Parquet or XLSX and add that file."
_CHUNK_BYTES = 1 << 20
_HEAD_BYTES = 1 << 16
# UTF-32 first: its little-endian mark begins with that of UTF-16.
_MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_LIKELY = (
    *("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "koi8_r"),
    *("cp932", "euc_jp", "gb18030", "big5", "cp949", "mac_roman", "cp437", "cp850"),
)
_NO_TEXT = (
    "unicode-escape",
    "unicode_escape",
    "raw-unicode-escape",
    "raw_unicode_escape",
    "idna",
    "punycode",
    "undefined",
)
_SHOWN = {
    **{"utf-8": "UTF-8", "utf-8-sig": "UTF-8 with a byte order mark", "utf-16": "UTF-16", "utf-32": "UTF-32"},
    **{"utf-16-le": "UTF-16", "utf-16-be": "UTF-16", "utf-32-le": "UTF-32", "utf-32-be": "UTF-32"},
    **{"iso8859-1": "Latin-1", "cp932": "Shift JIS", "gb18030": "GB 18030", "mac-roman": "Mac Roman"},
    **{"koi8-r": "KOI8-R", "big5": "Big5", "cp949": "Korean (CP949)", "euc-jp": "EUC-JP"},
}
_ESCAPED = re.compile("[\udc80-\udcff]")  # bytes that did not fit, as `surrogateescape` hands them on
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
# A capital or a sign in the middle of a word is what other encodings look like when read as Windows-1252.
_ODD_IN_1252 = re.compile("(?<=[a-zß-ÿ])[À-ÞŠŽŸ¿¡¹²³¼½¾¬¤¦¨¸¯]|[¹²³¼½¾¬¤¦¨¸¯](?=[a-zß-ÿ])")
# Where several encodings of East Asia fit, the one that gives the language's commonest characters is meant.
_COMMONEST = {
    "gb18030": "的一是不了在有我他这你好请么个们中来上大为和国地到说时要就出会可也",
    "big5": "的一是不了在有我他這你好請麼個們中來上大為和國地到說時要就出會可也",
    "cp949": "이다는을가에니하세요고의지를도로한은기사시",
    "cp932": "のにをはがとでたしていますかなもこれあるん",
    "euc_jp": "のにをはがとでたしていますかなもこれあるん",
}


@dataclass(frozen=True)
class Encoding:
    """How to decode a file. `damage` says where the first byte is that does not fit, "" when all do."""

    codec: str
    guessed: bool = False
    damage: str = ""
    has_nul: bool = False

    @property
    def errors(self) -> str:
        """How open() has to treat bytes that do not fit, so that their rows can be found and left out."""
        return "surrogateescape" if self.damage or self.guessed else "strict"

    @property
    def shown(self) -> str:
        """The encoding as people know it."""
        name = _SHOWN.get(self.codec, self.codec.upper())
        return re.sub(r"^CP(125\d)$", r"Windows-\1", name) + (" (guessed)" if self.guessed else "")


def detect(path: Path, name: str, wanted: str | None = None) -> Encoding:
    """The encoding of a text file, after a look at all its bytes.

    Raises StudioError when it is no text, or not in the encoding that was asked for.
    """
    with open(path, "rb") as file:
        head = file.read(_HEAD_BYTES)
    if wanted is not None:
        return _scan(path, name, _known(wanted))
    for mark, codec in _MARKS:
        if head.startswith(mark):
            return _scan(path, name, codec)
    if codec := _wide_without_mark(head):
        return _scan(path, name, codec)
    nul = head.find(b"\0")
    full_of_nul = nul >= 0 and 1000 * head.count(b"\0") > len(head) > 1000
    if full_of_nul or 20 * len(_CONTROL.findall(head)) > len(head) > 20:
        where = f"there is a NUL byte at offset {nul:,}" if nul >= 0 else "it is full of control characters"
        raise StudioError(
            f"{name} is not plain text: {where}.", f"{AS_TABLE} If it is text already: {AS_UTF8}"
        )
    return _scan(path, name, "utf-8", may_be_other=True)


def escaped_byte(text: str) -> str:
    """The first byte in a text that did not fit the encoding, as "0xfc"; "" when there is none."""
    found = None if text.isascii() else _ESCAPED.search(text)
    return f"0x{ord(found[0]) - 0xDC00:02x}" if found else ""


def _known(wanted: str) -> str:
    try:
        codec = codecs.lookup(wanted.strip())
        if not codec._is_text_encoding or codec.name in _NO_TEXT:
            raise LookupError
    except (LookupError, ValueError) as error:
        raise StudioError(
            f"There is no encoding “{wanted[:40]}”.", "Choose one such as utf-8, utf-16, cp1252 or latin-1."
        ) from error
    return "utf-8-sig" if codec.name == "utf-8" else codec.name


def _wide_without_mark(head: bytes) -> str:
    """UTF-16 or UTF-32 by where the NUL bytes of Western text fall; "" when they do not fall so."""
    head = head[: len(head) // 4 * 4]
    if len(head) < 8 or not head.count(b"\0"):
        return ""
    empty = [head[at::4].count(b"\0") * 4 / len(head) for at in range(4)]
    low, high = min(empty), sorted(empty)
    if high[1] > 0.9 and low < 0.3:
        return "utf-32-le" if empty[0] == low else "utf-32-be"
    if empty[1] > 0.4 and empty[3] > 0.4 and empty[0] < 0.1 and empty[2] < 0.1:
        return "utf-16-le"
    if empty[0] > 0.4 and empty[2] > 0.4 and empty[1] < 0.1 and empty[3] < 0.1:
        return "utf-16-be"
    return ""


def _scan(path: Path, name: str, codec: str, may_be_other: bool = False) -> Encoding:
    """Decode the whole file once, to know of every byte that does not fit before a row is taken."""
    # A mark at the start is one more character here; the codec that skips it miscounts where errors are.
    reading = "utf-8" if codec == "utf-8-sig" else codec
    decoder = codecs.getincrementaldecoder(reading)("strict")
    wide = codec.startswith(("utf-16", "utf-32"))
    offset, line, broken, fitting = 0, 1, 0, 0
    damage, samples, has_nul = "", list[bytes](), False
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            rest = decoder.getstate()[0]
            if wide or not chunk.isascii() or rest:
                data, last = rest + chunk, not file.peek(1)
                try:
                    text = decoder.decode(chunk, last)
                except UnicodeDecodeError as error:
                    at = offset - len(rest) + error.start
                    if wide:
                        raise _half_a_character(name, codec, at) from error
                    line_of_it = line + data.count(b"\n", 0, error.start)
                    damage = (
                        damage or f"byte 0x{data[error.start]:02x} at offset {at:,} (line {line_of_it:,})"
                    )
                    text = data.decode(reading, "surrogateescape")
                    broken += len(_ESCAPED.findall(text))
                    samples.append(data)
                    decoder.reset()
                except UnicodeError as error:  # UTF-16 was asked for, and nothing says which byte comes first
                    raise StudioError(
                        f"{name} is not {_SHOWN.get(codec, codec)} text: {error}.", AS_UTF8
                    ) from error
                fitting += len(data) - len(text)
                has_nul = has_nul or (wide and "\0" in text)
            has_nul = has_nul or (not wide and b"\0" in chunk)
            offset, line = offset + len(chunk), line + chunk.count(b"\n")
            if len(samples) == 4 and may_be_other:
                break
    if may_be_other and broken > fitting // 2:
        return _other(b"".join(samples), name, damage, has_nul)
    return Encoding(codec, damage=damage, has_nul=has_nul)


def _half_a_character(name: str, codec: str, offset: int) -> StudioError:
    what = f"{name} is not {_SHOWN[codec]} text all through: half a character at offset {offset:,}."
    return StudioError(what, AS_UTF8)


def _other(data: bytes, name: str, damage: str, has_nul: bool) -> Encoding:
    """An encoding for text that is not UTF-8: Windows-1252 where it reads well, else the most likely one.

    Bytes that do not even fit this one are found row by row.
    """
    import charset_normalizer

    # A line that is UTF-8 by itself was wrongly decoded once before, and tells nothing of this file's encoding.
    lines = b"\n".join(line for line in data.split(b"\n") if not _is_utf8(line))[:_HEAD_BYTES]
    codec = "cp1252" if _reads_well(lines) else _of_east_asia(lines)
    if not codec:
        best = charset_normalizer.from_bytes(lines, cp_isolation=list(_LIKELY), threshold=0.3).best()
        if best is None:
            raise StudioError(f"{name} is not UTF-8 text: {damage}; no other encoding fits.", AS_UTF8)
        codec = codecs.lookup(best.encoding).name
    try:
        data.decode(codec)
        damage = ""
    except UnicodeDecodeError:
        pass
    return Encoding(codec, guessed=True, damage=damage, has_nul=has_nul)


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _reads_well(data: bytes) -> bool:
    """Whether bytes make sense as Windows-1252: accents are few, and nothing odd stands inside words."""
    text = data.decode("cp1252", "surrogateescape")
    other = sum(not c.isascii() for c in text)
    accents, letters = sum(c.isalpha() and not c.isascii() for c in text), sum(map(str.isalpha, text))
    odd = len(_ODD_IN_1252.findall(text)) + len(_ESCAPED.findall(text))
    return 3 * accents < letters + 6 and 20 * odd <= other


def _of_east_asia(data: bytes) -> str:
    """The encoding of Chinese, Korean or Japanese text, by its commonest characters; "" for other text."""
    shares = {}
    for codec, common in _COMMONEST.items():
        text = data.decode(codec, "replace")
        other = [c for c in text if not c.isascii()]
        shares[codec] = sum(c in common for c in other) / (len(other) or 1) - 2 * text.count("\ufffd") / len(
            text
        )
    best = max(shares, key=lambda codec: shares[codec])
    return best if shares[best] > 0.08 else ""
