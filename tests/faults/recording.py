"""What a process does to the files of a folder, operation by operation, so that a power cut can be played.

Wrapped around the functions of `os` in the process that is watched, on every machine alike: around each call that
changes names or waits for the disk, the folder is looked at, and the differences are the operations. What the
database does to its own files is left out: its content is noted whenever it is between two transactions.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

DATABASE = "studio.db"
# Locks hold nothing; the beat is for the same run of the computer only.
LEFT_OUT = {"locks", "worker.beat", "worker.lock", "page.lock", f"{DATABASE}-journal", "copy.db-journal"}
ROOT = 0  # the number of the folder itself
CALLS = (
    "rename", "replace", "link", "symlink", "mkdir", "unlink", "remove", "rmdir", "truncate", "ftruncate",
    "fsync", "fdatasync",
)  # fmt: skip


@dataclass(frozen=True)
class Op:
    """One operation. `node` is a file or folder, numbered in the order in which they came to be.

    add and remove: the name `name` in the folder `place`; move: from there to `new_name` in `new_place`;
    write: all of the new content is `data`; sync; database: the content of its file; mark: the process has said
    `name` about `data` to somebody, who may rely on it.
    """

    kind: Literal["add", "remove", "move", "write", "sync", "database", "mark"]
    node: int = ROOT
    place: int = ROOT
    name: str = ""
    new_place: int = ROOT
    new_name: str = ""
    data: Any = None


@dataclass
class Trace:
    """The operations in their order; `folders` says which nodes are folders. It begins with an empty folder."""

    ops: list[Op] = field(default_factory=list)
    folders: set[int] = field(default_factory=lambda: {ROOT})


@dataclass
class _Seen:
    """The folder as it was at one moment."""

    entries: dict[tuple[int, str], int]
    contents: dict[int, bytes]
    elsewhere: set[int]  # links to files that were on the disk before


class Recorder:
    """Watches one folder while `watching` is entered."""

    def __init__(self, root: Path) -> None:
        self.trace = Trace()
        self._root = root
        self._numbers: dict[int, int] = {}  # by the number of the file system
        self._next = ROOT + 1
        self._seen = _Seen({}, {}, set())
        self._database = b""
        self._busy = False

    def mark(self, name: str, about: Any = None) -> None:
        """Note that from here on somebody relies on something."""
        self._look()
        self.trace.ops.append(Op("mark", name=name, data=about))

    @contextmanager
    def watching(self) -> Iterator[Recorder]:
        """Record what this process does meanwhile."""
        real = {name: getattr(os, name) for name in CALLS}
        for name in CALLS:
            setattr(os, name, self._wrapped(name, real[name]))
        try:
            self._look()
            yield self
            self._look()
        finally:
            for name, function in real.items():
                setattr(os, name, function)

    def _wrapped(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(real)
        def call(*arguments: Any, **named: Any) -> Any:
            if self._busy:
                return real(*arguments, **named)
            self._look()
            try:
                return real(*arguments, **named)
            finally:
                self._look()
                if name in ("fsync", "fdatasync"):
                    node = self._numbers.get(os.fstat(arguments[0]).st_ino)
                    if node is not None:
                        self.trace.ops.append(Op("sync", node))

        return call

    def _look(self) -> None:
        self._busy = True
        try:
            self._note(self._snapshot())
            self._note_database()
        finally:
            self._busy = False

    def _snapshot(self) -> _Seen:
        seen, present = _Seen({}, {}, set()), {os.stat(self._root).st_ino}
        self._numbers.setdefault(os.stat(self._root).st_ino, ROOT)
        self._walk(self._root, ROOT, seen, present)
        for gone in set(self._numbers) - present:
            del self._numbers[gone]  # the file system may give the number to another file
        return seen

    def _walk(self, folder: Path, place: int, seen: _Seen, present: set[int]) -> None:
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            if entry.name in LEFT_OUT or (place == ROOT and entry.name == DATABASE):
                continue
            inode = entry.stat(follow_symlinks=False).st_ino
            present.add(inode)
            node = self._numbers.get(inode)
            if node is None:
                node = self._numbers[inode] = self._next
                self._next += 1
            seen.entries[place, entry.name] = node
            if entry.is_dir(follow_symlinks=False):
                self.trace.folders.add(node)
                self._walk(Path(entry), node, seen, present)
            else:
                seen.contents[node] = Path(entry).read_bytes()
                if entry.is_symlink():
                    seen.elsewhere.add(node)

    def _note(self, now: _Seen) -> None:
        before, ops = self._seen, self.trace.ops
        gone = {key: node for key, node in before.entries.items() if now.entries.get(key) != node}
        came = {key: node for key, node in now.entries.items() if before.entries.get(key) != node}
        for key, node in came.items():
            source = next((old for old, other in gone.items() if other == node), None)
            if source is None:
                ops.append(Op("add", node, *key))
            else:
                del gone[source]
                ops.append(Op("move", node, *source, *key))
            gone.pop(key, None)  # replaced in the same moment
        # What was in a folder goes before the folder.
        for key, node in sorted(gone.items(), key=lambda item: -item[0][0]):
            ops.append(Op("remove", node, *key))
        for node, content in now.contents.items():
            if before.contents.get(node, b"") != content:
                ops.append(Op("write", node, data=content))
                if node in now.elsewhere:
                    ops.append(Op("sync", node))
        self._seen = now

    def _note_database(self) -> None:
        file = self._root / DATABASE
        if file.exists() and not file.with_name(f"{DATABASE}-journal").exists():
            content = file.read_bytes()
            if content != self._database:
                self._database = content
                self.trace.ops.append(Op("database", data=content))
