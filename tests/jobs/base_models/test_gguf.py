"""A GGUF file that is not one is refused at once; a real one becomes a model that can be trained."""

from __future__ import annotations

import struct
import time
from pathlib import Path

import pytest

from jobs.base_models import gguf
from storage.errors import StudioError


def header(magic: bytes = b"GGUF", version: int = 3, tensors: int = 1, keys: int = 1) -> bytes:
    return magic + struct.pack("<IQQ", version, tensors, keys) + bytes(100)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a GGUF file"),
        (b"GGUF", "not a GGUF file"),
        (header(magic=b"GGML"), "not a GGUF file"),
        (header(version=1), "version 1"),
        (header(version=50331648), "version 50331648"),  # big-endian 3
        (header(tensors=0), "damaged"),
        (header(tensors=2**63), "damaged"),
        (header(keys=2**63), "damaged"),
        (header(tensors=100), "damaged or cut off: it claims 100 tensors"),
    ],
)
def test_damaged_header_is_refused_at_once(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    started = time.monotonic()
    with pytest.raises(StudioError, match=said):
        gguf.check(path)
    assert time.monotonic() - started < 1


def test_plausible_header_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(header())
    gguf.check(path)
