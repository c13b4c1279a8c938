"""A dataset's tokens for one base model: made once for its content, kept in the cache, and overlaid with the changes.

A version's base is read from `rows.jsonl`, what it changed from `changes.jsonl`; each has an entry of its own, so
a corrected row does not make a million others be tokenised again. Free of torch, because the page reads counts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.datasets import child, rows, token_files
from jobs.datasets.row_files import read_lines
from jobs.datasets.token_files import GONE, HELD_OUT, TRAIN, Stopped, TokenFiles
from jobs.generation import chat as chat_module
from jobs.generation.chat import ChatFormat
from storage import files
from storage.errors import StudioError

__all__ = ["HELD_OUT", "TRAIN", "Stopped", "Tokens", "forget", "keys", "make", "read"]

# What a base model's text and tokens hang on.
_FORMAT_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja",
    "generation_config.json", "config.json",
)  # fmt: skip

_MOST_ANCESTORS = 20
_INDEX_BYTES = 16  # of each line, and of the end

Report = Callable[[str, int | None, int | None], None]


@dataclass(frozen=True, eq=False)
class Tokens:
    """All rows of a dataset in their order, left-out ones too.

    Attributes:
        sources: the flat files that hold the tokens.
        source: (rows,), which of them holds a row's.
        starts: (rows,), where its tokens start there.
        lengths: (rows,), how many it has.
        rows: (rows,) records of `token_files.ROW`; their `end` is that of their own source.
        made: how many rows were tokenised for this, since the cache did not have them.
    """

    sources: list[TokenFiles]
    source: NDArray[np.uint8]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    rows: NDArray[Any]
    made: int = 0

    def of_split(self, split: int) -> NDArray[np.int64]:
        """The places (not the numbers) of a split's rows."""
        return np.flatnonzero(self.rows["split"] == split)

    def reason(self, place: int) -> str | None:
        """Why a row has no tokens; None where that is not because the template refuses it."""
        named = int(self.rows["reason"][place])
        return None if named < 0 else self.sources[int(self.source[place])].reasons[named]


def make(
    dataset_id: str,
    model_folder: Path,
    chat: ChatFormat | None = None,
    report: Report | None = None,
    should_stop: Callable[[], bool] | None = None,
    folder: Path | None = None,
) -> Tokens:
    """The dataset's tokens, from the cache where they are there, else tokenised now and kept.

    Args:
        folder: where to write them first; None: in a temporary one.

    Raises:
        StudioError: the rows are gone or damaged, or the model has no tokenizer.
        Stopped: `should_stop` said so.
    """
    formatted = format_hash(model_folder)
    found: list[TokenFiles] = []
    made = 0
    for part in parts_of(dataset_id, as_recorded=False):
        key = part.key(formatted)
        entry = token_files.read(key)
        if entry is None:
            chat = chat or ChatFormat.load(model_folder)
            with nullcontext(folder) if folder else child.staging() as staged:
                filled = staged / f"tokens-{len(found)}"
                tell = None if report is None else part.teller(report)
                earlier = _of_ancestors(dataset_id, formatted)
                lines = read_lines(part.path)
                made += token_files.write(
                    filled, lines, chat, tell, should_stop, earlier, made_of=part.sha256
                )
                token_files.publish(filled, key)
            token_files.keep_to(but=key)
            entry = token_files.read(key)
            if entry is None:
                raise StudioError(
                    "The tokens were written and could not be read back.",
                    "Check the disk of the data folder.",
                )
        found.append(entry)
    return _overlaid(found, made)


def keys(dataset_id: str, model_folder: Path) -> dict[str, Path]:
    """The names of the entries that a dataset's tokens are in, with the file of each one's rows.

    The same names are the same tokens. Raises StudioError when the rows are gone.
    """
    formatted = format_hash(model_folder)
    return {part.key(formatted): part.path for part in parts_of(dataset_id)}


def read(names: Iterable[str], parts: Sequence[str] = token_files.PARTS) -> Tokens | None:
    """The tokens of `keys` if the cache has all of them; None if not.

    Args:
        parts: which files of each entry to look at; how many tokens there are stands in its `ROWS`.
    """
    found = [token_files.read(name, parts) for name in names]
    return None if None in found else _overlaid([entry for entry in found if entry is not None])


def forget(dataset_ids: Iterable[str]) -> None:
    """Delete the tokens of datasets that are deleted: they are their text in another form."""
    hashes: list[str] = []
    for dataset_id in dataset_ids:
        with suppress(StudioError):  # its rows are gone already
            hashes += [part.sha256 for part in parts_of(dataset_id)]
    token_files.forget_made_of(hashes)


def _of_ancestors(dataset_id: str, formatted: str) -> token_files.Earlier | None:
    """The tokens of the nearest earlier version that has some, for rows that are still as they were there."""
    for _ in range(_MOST_ANCESTORS):
        parent = _record(dataset_id).get("parent_id")
        if not parent or not files.dataset_folder(parent).is_dir():
            return None
        found = read([part.key(formatted) for part in parts_of(parent)])
        if found is not None:
            return _Earlier(found)
        dataset_id = parent
    return None


class _Earlier:
    """Looks rows up among those of another version."""

    def __init__(self, found: Tokens) -> None:
        self._found = found
        usable = (found.rows["split"] <= HELD_OUT) & (found.rows["reason"] < 0)
        self._numbers, self._texts = found.rows["row"], np.where(usable, found.rows["text"], 0)

    def __call__(self, wanted: list[Mapping[str, Any]], texts: list[int]) -> list[token_files.Found | None]:
        numbers = np.array([row["row"] for row in wanted], np.int64)
        places = np.minimum(np.searchsorted(self._numbers, numbers), max(0, len(self._numbers) - 1))
        if not len(self._numbers):
            return [None] * len(wanted)
        same = (self._numbers[places] == numbers) & (self._texts[places] == np.array(texts, np.uint64))
        return [self._tokens(place) if known else None for place, known in zip(places, same, strict=True)]

    def _tokens(self, place: int) -> token_files.Found:
        source, start = self._found.sources[self._found.source[place]], int(self._found.starts[place])
        end = start + int(self._found.lengths[place])
        return source.token_ids[start:end].tolist(), source.learned[start:end].tolist()


@dataclass(frozen=True)
class Part:
    """One file of rows, with the hash of its content."""

    path: Path
    sha256: str

    def key(self, formatted: str) -> str:
        """The name of its entry for a base model's format."""
        return hashlib.sha256(f"{self.sha256} {formatted}".encode()).hexdigest()[:40]

    def teller(self, report: Report) -> Callable[[int], None]:
        """Passes on how many rows are done, of how many where the index says so."""
        index = self.path.with_suffix(".index")
        total = index.stat().st_size // _INDEX_BYTES - 1 if index.is_file() else None
        return lambda done: report("Counting tokens", done, total)


def parts_of(dataset_id: str, as_recorded: bool = True) -> list[Part]:
    """The base's rows, and the changes of a version that has some.

    Args:
        as_recorded: take the hash that was written down when the rows were; else hash them as they are now.

    Raises StudioError when the rows are gone.
    """
    path, changes = rows.rows_path(dataset_id), rows.changes_path(dataset_id)
    recorded = _record(path.parent.name).get("rows_sha256") if as_recorded else None
    parts = [Part(path, recorded or _sha256_of(path))]
    return parts if changes is None else [*parts, Part(changes, _sha256_of(changes))]


def _record(dataset_id: str) -> dict[str, Any]:
    """What the folder of a version says of it; nothing where an older studio wrote nothing."""
    path = files.dataset_folder(dataset_id) / rows.RECORD_FILE
    return dict(files.read_json(path)) if path.is_file() else {}


def format_hash(model_folder: Path) -> str:
    """The hash of everything that decides which tokens a conversation becomes for a base model."""
    paths = [model_folder / name for name in _FORMAT_FILES]
    own = [(path.name, _sha256_of(path)) for path in paths if path.is_file()]
    today = chat_module.today_of(model_folder)
    return hashlib.sha256(json.dumps([own, today, *_code()]).encode()).hexdigest()


@cache
def _code() -> tuple[str, ...]:
    """What else the tokens hang on: our own code and the libraries'."""
    own = (_sha256_of(Path(str(module.__file__))) for module in (chat_module, token_files))
    return *own, version("tokenizers"), version("jinja2")


def _sha256_of(path: Path) -> str:
    status = path.stat()
    return _hashed(path, status.st_ino, status.st_mtime_ns, status.st_size)


# By its state, so that a file of gigabytes is read once in a process's life.
@lru_cache(maxsize=256)
def _hashed(path: Path, *_state: int) -> str:
    return files.sha256_of(path)


def _overlaid(found: list[TokenFiles], made: int = 0) -> Tokens:
    """The base's rows with the changes in their places; both come in the order of row numbers."""
    base = found[0]
    records, starts = base.rows, base.starts
    source = np.zeros(len(records), np.uint8)
    for number, changes in enumerate(found[1:], start=1):
        kept = ~np.isin(records["row"], changes.rows["row"])
        stays = changes.rows["split"] != GONE
        joined = np.concatenate([records["row"][kept], changes.rows["row"][stays]])
        order = np.argsort(joined, kind="stable")
        records = np.concatenate([records[kept], changes.rows[stays]])[order]
        starts = np.concatenate([starts[kept], changes.starts[stays]])[order]
        source = np.concatenate([source[kept], np.full(int(stays.sum()), number, np.uint8)])[order]
    return Tokens(found, source, starts, records["end"] - starts, records, made)
