"""GGUF files by their header alone: refused early when they are not what they say."""

from __future__ import annotations

import struct
from pathlib import Path

from storage.errors import StudioError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MOST_TENSORS = 100_000
MOST_KEYS = 10_000
# A tensor's entry takes at least 8 (name length) + 1 + 4 + 8 + 4 + 8 bytes, a key's at least 8 + 1 + 4 + 1.
_TENSOR_ENTRY_BYTES = 33
_KEY_ENTRY_BYTES = 14


def check(path: Path) -> None:
    """Refuse a file that is no GGUF model, by its header alone (GGUF specification, "File Structure").

    The libraries that read GGUF trust its counts; a few wrong bytes make them run for hours.
    Raises StudioError saying what is wrong.
    """
    with open(path, "rb") as file:
        start = file.read(24)
    if len(start) < 24 or start[:4] != MAGIC:
        raise StudioError(f"{path.name} is not a GGUF file.", "Choose a file that ends in .gguf, complete.")
    version, tensors, keys = struct.unpack("<IQQ", start[4:])
    if version not in VERSIONS:
        raise StudioError(
            f"{path.name} says it is GGUF version {version}; versions 2 and 3 can be read.",
            "Choose a newer file of this model (little-endian).",
        )
    least = 24 + tensors * _TENSOR_ENTRY_BYTES + keys * _KEY_ENTRY_BYTES
    if not 0 < tensors <= MOST_TENSORS or not 0 < keys <= MOST_KEYS or least > path.stat().st_size:
        raise StudioError(
            f"{path.name} is damaged or cut off: it claims {tensors:,} tensors and {keys:,} facts.",
            "Download it again.",
        )
