"""Tokens of many rows in flat files: written once for one content, then read without being loaded into memory.

An entry is a folder of the data folder's cache, named by the hash of what it was made of:

- `token_ids`: uint32, the tokens of all rows end to end;
- `learned`: one byte for each token, 1 where it belongs to an answer;
- `rows`: one record of `ROW` for each row, in the order of the source;
- `entry.json`: sizes and hashes of these, and the reasons why rows have no tokens.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import shutil
import struct
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.datasets.row_files import KINDS
from jobs.generation.chat import BATCH_ROWS, ChatFormat
from storage import files
from storage.errors import StudioError

TRAIN, HELD_OUT, LEFT_OUT, GONE = range(len(KINDS))
# `end`: where its tokens end in the flat files. `used`: how many of them reach up to the last learned one, which
# is all that training reads. `learned`: how many the loss counts, which the first of a text never is.
# `reason`: index of why there are no tokens, else -1. `text`: a hash of its messages.
ROW = np.dtype(
    [
        ("row", "<i8"),
        ("end", "<i8"),
        ("text", "<u8"),
        ("used", "<i4"),
        ("learned", "<i4"),
        ("reason", "<i4"),
        ("split", "u1"),
    ]
)
_PACKED = struct.Struct("<qqQiiiB")  # ROW, made faster
MOST_BYTES = 20_000_000_000
# A template could put a row's own words into its refusal: beyond so many reasons the last stands for all.
_MOST_REASONS = 1000
TOKEN_IDS, LEARNED, ROWS = PARTS = ("token_ids", "learned", "rows")
_HEAD = "entry.json"
# Rows encoded together have at most so many characters, unless one alone has more.
_BATCH_CHARACTERS = 4_000_000
_FLUSH_TOKENS = 1 << 20

Tell = Callable[[int], None]
Found = tuple[Sequence[int], Sequence[bool]]
# For some rows and the hashes of their messages: the tokens of each, None where they are not known.
Earlier = Callable[[list[Mapping[str, Any]], list[int]], list[Found | None]]


class Stopped(Exception):
    """Whoever asked for the tokens does not want them any more."""


@dataclass(frozen=True, eq=False)
class TokenFiles:
    """One entry: (tokens,) ids and whether each is learned, (rows,) records of ROW, the reasons that they name."""

    token_ids: NDArray[np.uint32]
    learned: NDArray[np.bool_]
    rows: NDArray[Any]
    reasons: list[str]

    @property
    def starts(self) -> NDArray[np.int64]:
        """(rows,), where each row's tokens start."""
        ends: NDArray[np.int64] = self.rows["end"]
        return np.concatenate([np.zeros(min(1, len(ends)), np.int64), ends[:-1]])


def root() -> Path:
    """The folder with one folder for each entry."""
    return files.root() / "cache" / "tokens"


def write(
    folder: Path,
    rows: Iterable[Mapping[str, Any]],
    chat: ChatFormat,
    tell: Tell | None = None,
    should_stop: Callable[[], bool] | None = None,
    earlier: Earlier | None = None,
    made_of: str = "",
) -> int:
    """Fill an empty folder with the tokens of `rows`, in memory that does not grow with them.

    Rows have "row", "messages" and "split"; those left out, or with "gone" set, get a record without tokens.

    Args:
        tell: gets the number of rows done, now and then.
        earlier: gives the tokens of rows that have been tokenised before.
        made_of: the hash of all rows, by which `forget_made_of` finds the entry.

    Returns how many rows were tokenised.

    Raises:
        Stopped: `should_stop` said so.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with files.full_disk_as_error(), _Writer(folder, made_of) as writer:
        done = tokenised = 0
        for batch in _batches(rows):
            # A first few rows are sooner done than stopped.
            if done and should_stop is not None and should_stop():
                raise Stopped
            splits = [GONE if row.get("gone") else KINDS.index(row["split"]) for row in batch]
            usable = [row for row, split in zip(batch, splits, strict=True) if split <= HELD_OUT]
            texts = [hash_of(row["messages"]) for row in usable]
            known: list[Found | None] = earlier(usable, texts) if earlier else [None] * len(usable)
            new = (row["messages"] for row, own in zip(usable, known, strict=True) if own is None)
            found = _filled(known, chat.examples(new))
            hashed = iter(texts)
            for row, split in zip(batch, splits, strict=True):
                if split <= HELD_OUT:
                    writer.add(row["row"], split, next(hashed), next(found))
                else:
                    writer.add(row["row"], split, 0, ([], []))
            done += len(batch)
            tokenised += known.count(None)
            if tell is not None:
                tell(done)
        return tokenised


def _filled(known: list[Found | None], new: Iterator[Found | StudioError]) -> Iterator[Found | StudioError]:
    """What is known, and the next new one wherever something is not."""
    return (next(new) if own is None else own for own in known)


def hash_of(messages: Any) -> int:
    """64 bits of a hash of a row's messages; rows are only compared with those of the same number."""
    text = json.dumps(messages, sort_keys=True).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def _batches(rows: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    batch: list[Mapping[str, Any]] = []
    characters = 0
    for row in rows:
        batch.append(row)
        characters += sum(len(message["content"]) for message in row.get("messages", ()))
        if len(batch) >= BATCH_ROWS or characters >= _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


class _Writer:
    """Appends rows to the three flat files, and hashes them meanwhile."""

    def __init__(self, folder: Path, made_of: str) -> None:
        self._folder, self._made_of = folder, made_of
        self._reasons: dict[str, int] = {}
        self._end = 0
        # The items' sizes are those of the files on every machine that Python knows.
        self._ids, self._learned, self._rows = array("I"), bytearray(), bytearray()

    def __enter__(self) -> _Writer:
        self._files = {name: (self._folder / name).open("wb", buffering=0) for name in PARTS}
        self._hashes = {name: hashlib.sha256() for name in self._files}
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._flush()
                self._write_head()
        finally:
            for file in self._files.values():
                file.close()

    def add(self, row: int, split: int, text: int, found: Found | StudioError) -> None:
        """Append one row; an error stands for no tokens."""
        reason, used, count = -1, 0, 0
        if isinstance(found, StudioError):
            known = self._reasons
            if found.message not in known and len(known) < _MOST_REASONS:
                known[found.message] = len(known)
            reason = known.get(found.message, len(known) - 1)
        else:
            token_ids, learned = found
            flags = bytes(learned)
            used, count = flags.rfind(1) + 1, flags.count(1, 1)
            self._ids.extend(token_ids)
            self._learned += flags
            self._end += len(token_ids)
        self._rows += _PACKED.pack(row, self._end, text, used, count, reason, split)
        if len(self._ids) >= _FLUSH_TOKENS:
            self._flush()

    def _flush(self) -> None:
        parts: dict[str, bytes | bytearray] = {
            "token_ids": self._ids.tobytes(),
            "learned": self._learned,
            "rows": self._rows,
        }
        for name, part in parts.items():
            view: memoryview = memoryview(part)
            self._hashes[name].update(view)
            while view:
                view = view[self._files[name].write(view) :]
            view.release()
        self._ids, self._learned, self._rows = array("I"), bytearray(), bytearray()

    def _write_head(self) -> None:
        described = {
            name: {"bytes": file.tell(), "sha256": self._hashes[name].hexdigest()}
            for name, file in self._files.items()
        }
        head = {"made_of": self._made_of, "files": described, "reasons": list(self._reasons)}
        files.write_json(self._folder / _HEAD, head)


def publish(filled: Path, key: str) -> None:
    """Put a filled folder into the cache; another process may have been first, with the same content."""
    with suppress(FileExistsError):
        files.publish_folder(filled, root() / key)
    shutil.rmtree(filled, ignore_errors=True)


# What this process has found whole, by file and its state: hashing 300 million tokens takes seconds.
_found_whole: dict[Path, tuple[int, int, int]] = {}


def read(key: str, parts: Sequence[str] = PARTS) -> TokenFiles | None:
    """The entry, mapped into memory; None where there is none. A damaged one is deleted and there is none then.

    Args:
        parts: which of its files to look at; the arrays of others are empty.
    """
    folder = root() / key
    try:
        head = files.read_json(folder / _HEAD)
        found = {name: _mapped(folder / name, head["files"][name]) for name in parts}
        reasons = [str(reason) for reason in head["reasons"]]
    except FileNotFoundError:
        if folder.exists():
            forget(key)
        return None
    except (StudioError, OSError, KeyError, TypeError, ValueError):
        forget(key)
        return None
    with suppress(OSError):  # what is used stays longest
        os.utime(folder / _HEAD)
    return TokenFiles(
        np.frombuffer(found.get(TOKEN_IDS, b""), np.dtype("<u4")),
        np.frombuffer(found.get(LEARNED, b""), np.bool_),
        np.frombuffer(found.get(ROWS, b""), ROW),
        reasons,
    )


def _mapped(path: Path, described: Mapping[str, Any]) -> mmap.mmap | bytes:
    """A file's bytes without loading them.

    Raises ValueError when they are not those that were written.
    """
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        if status.st_size != described["bytes"]:
            raise ValueError(f"{path} has {status.st_size} bytes, not {described['bytes']}.")
        state = (status.st_ino, status.st_mtime_ns, status.st_size)
        if _found_whole.get(path) != state:
            if hashlib.file_digest(file, "sha256").hexdigest() != described["sha256"]:
                raise ValueError(f"{path} has another hash than when it was written.")
            _found_whole[path] = state
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if status.st_size else b""


def has(key: str) -> bool:
    """Whether there is an entry, whole or not."""
    return (root() / key / _HEAD).exists()


def forget(key: str) -> None:
    """Delete an entry; whoever reads it goes on undisturbed."""
    # Out of sight first: half an entry would be taken for a damaged one.
    gone = files.root() / "tmp" / files.new_id()
    with suppress(OSError):
        os.rename(root() / key, gone)
    shutil.rmtree(gone, ignore_errors=True)


def forget_made_of(hashes: Iterable[str]) -> None:
    """Delete the entries of rows with these hashes, for every base model."""
    wanted = set(hashes)
    for _, _, key in list(_entries()):
        with suppress(OSError, StudioError, KeyError, TypeError):
            if files.read_json(root() / key / _HEAD)["made_of"] in wanted:
                forget(key)


def keep_to(most_bytes: int = MOST_BYTES, but: str = "") -> list[str]:
    """Delete the entries that were used longest ago until the rest takes at most `most_bytes`; which ones."""
    entries = sorted(_entries(), reverse=True)
    total, gone = 0, []
    for _, size, key in entries:
        total += size
        if total > most_bytes and key != but:
            forget(key)
            gone.append(key)
    return gone


def _entries() -> Iterator[tuple[float, int, str]]:
    """(last use, bytes, key) of each."""
    with suppress(FileNotFoundError):
        for folder in root().iterdir():
            used = time.time()
            with suppress(OSError):
                used = (folder / _HEAD).stat().st_mtime
            yield used, files.folder_bytes(folder), folder.name
