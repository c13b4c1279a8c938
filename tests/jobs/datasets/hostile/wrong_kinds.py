"""Files that are not what their name says, among them programs and pickles that nobody may run."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import zipfile
from pathlib import Path

from tests.jobs.datasets.hostile.cases import Case, Refused, Taken, csv, jsonl, records

# A pickle that writes this file when anybody loads it; the tests look that nobody does.
CANARY = Path("/tmp/lora-tailor-tests-a-pickle-was-loaded")


class _WritesCanary:
    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(CANARY), "w")


def canary_pickle() -> bytes:
    return pickle.dumps(_WritesCanary())


def torch_checkpoint() -> bytes:
    """A ZIP with a pickle in it, as torch.save writes it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("archive/data.pkl"), canary_pickle())
        archive.writestr(zipfile.ZipInfo("archive/version"), b"3\n")
    return buffer.getvalue()


def word_document() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("[Content_Types].xml"), "<Types/>")
        archive.writestr(zipfile.ZipInfo("word/document.xml"), "<w:document>Question? Answer.</w:document>")
    return buffer.getvalue()


_LOGIN = (
    "<!DOCTYPE html>\n<html><head><title>Sign in</title></head>\n<body><form>Password</form></body></html>\n"
)
_HTML_TABLE = (
    "<html><table><tr><td>prompt</td><td>response</td></tr><tr><td>a</td><td>b</td></tr></table></html>"
)
_ELF = b"\x7fELF\x02\x01\x01" + bytes(range(256)) * 8

CASES = [
    Case(
        "a PDF",
        "a.jsonl",
        b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj",
        Refused("a.jsonl is named .jsonl but is a PDF", "Save"),
    ),
    Case("a picture", "a.json", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", Refused("PNG")),
    Case("a photo", "a.csv", b"\xff\xd8\xff\xe0\0\x10JFIF", Refused("JPEG")),
    Case(
        "an old workbook",
        "a.csv",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600),
        Refused("old Excel", "xlsx|CSV"),
    ),
    Case("a rich text", "a.txt", b"{\\rtf1\\ansi Question? Answer.}", Refused("RTF")),
    Case("a database", "a.csv", b"SQLite format 3\0" + bytes(100), Refused("SQLite")),
    Case("a gzip archive", "a.csv", gzip.compress(csv(4).encode(), mtime=0), Taken(4)),
    Case("a 7-Zip archive", "a.csv", b"7z\xbc\xaf\x27\x1c\0\4" + bytes(60), Refused("7-Zip")),
    Case("a RAR archive", "a.csv", b"Rar!\x1a\7\1\0" + bytes(60), Refused("RAR")),
    Case(
        "a tar archive",
        "a.csv",
        b"examples.csv".ljust(257, b"\0") + b"ustar\x0000" + bytes(247),
        Refused("tar|NUL"),
    ),
    Case("a program", "a.csv", _ELF, Refused("program|NUL|not (plain )?text")),
    Case(
        "a script",
        "a.csv",
        b"#!/bin/sh\ntouch /tmp/oops; rm -rf ~\necho done\n",
        Refused("column|cannot be told|example"),
    ),
    Case("a pickle", "a.json", canary_pickle(), Refused("pickle|NUL|not (plain )?text|offset")),
    Case(
        "a torch checkpoint",
        "a.zip",
        torch_checkpoint(),
        Refused("archive/data.pkl|data.pkl|no (data )?file|checkpoint"),
    ),
    Case(
        "a Word document", "a.docx", word_document(), Refused("Word|document.xml|no (data )?file", "[Ss]ave")
    ),
    Case("a web page", "a.csv", _LOGIN.encode(), Refused("web page|HTML", "[Dd]ownload")),
    Case("a web page as a workbook", "a.xls", _HTML_TABLE.encode(), Refused("web page|HTML", "XLSX")),
    Case(
        "safetensors",
        "a.json",
        (64).to_bytes(8, "little") + b'{"w":{"dtype":"F32"}}'.ljust(64),
        Refused("NUL|text|JSON"),
    ),
    Case("GGUF", "a.csv", b"GGUF\3\0\0\0" + bytes(64), Refused("GGUF|NUL|text")),
    Case("an ORC file", "a.orc", b"ORC" + bytes(40), Refused("ORC|NUL|text")),
    Case("JSON named CSV", "a.csv", json.dumps(records(4)).encode(), Taken(4)),
    Case("CSV named JSONL", "a.jsonl", csv(4).encode(), Taken(4)),
    Case("CSV named XLSX", "a.xlsx", csv(4).encode(), Taken(4)),
    Case("CSV named Parquet", "a.parquet", csv(4).encode(), Taken(4)),
    Case("JSONL without a suffix", "README", jsonl(*records(4)), Taken(4)),
]
