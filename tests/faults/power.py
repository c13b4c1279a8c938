"""Every state in which a power cut may leave the files, after what a recorded process has done to them.

As ALICE does it (Pillai et al., OSDI 2014): what a file held when it was last waited for (fsync) is on the disk,
and what was written later may be missing, cut short, or zeros; a name that was given, changed or taken is on the
disk once its folder was waited for, and until then may be or not, each for itself or in their order.
A rename is there as a whole or not at all.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.recording import DATABASE, ROOT, Op, Trace

# How the content of a file that nobody waited for looks: nothing new, all, zeros, a part, a part and zeros.
CONTENTS = ("old", "new", "zeros", "cut", "zero tail")


@dataclass
class State:
    """The files after one power cut at operation `cut`; `said` is what the process had marked by then."""

    cut: int
    how: str
    files: dict[str, bytes]
    folders: list[str]
    database: bytes
    said: list[tuple[str, Any]]

    def key(self) -> str:
        """The same for two states that are the same to whoever starts afterwards."""
        digest = hashlib.sha256(repr((self.said, sorted(self.folders))).encode())
        for name, content in sorted(self.files.items()):
            digest.update(f"\0{name}\0{len(content)}\0".encode() + content)
        digest.update(self.database)
        return digest.hexdigest()

    def write(self, root: Path, with_database: bool = True) -> None:
        """Put the files into an empty folder."""
        root.mkdir(parents=True)
        for name in self.folders:
            (root / name).mkdir(parents=True, exist_ok=True)
        for name, content in self.files.items():
            (root / name).write_bytes(content)
        if with_database and self.database:
            (root / DATABASE).write_bytes(self.database)


@dataclass
class _Disk:
    """What is on the disk for certain, and what may be."""

    synced: dict[int, bytes] = field(default_factory=dict)
    newest: dict[int, bytes] = field(default_factory=dict)
    names: list[tuple[Op, bool]] = field(default_factory=list)  # with whether it is certain
    database: bytes = b""
    said: list[tuple[str, Any]] = field(default_factory=list)

    def do(self, op: Op) -> None:
        if op.kind == "write":
            self.newest[op.node] = op.data
        elif op.kind == "sync":
            self.synced[op.node] = self.newest.get(op.node, b"")
            self.names = [(one, sure or op.node in _places(one)) for one, sure in self.names]
        elif op.kind == "database":
            if (
                not self.database
            ):  # SQLite waits for the folder of its first journal, whatever its journal's mode
                self.names = [(one, sure or ROOT in _places(one)) for one, sure in self.names]
            self.database = op.data
        elif op.kind == "mark":
            self.said.append((op.name, op.data))
        else:
            self.names.append((op, False))


def _places(op: Op) -> set[int]:
    return {op.place, op.new_place} if op.kind == "move" else {op.place}


def states(trace: Trace, seed: int, random_for_each: int = 2, every: int = 1) -> Iterator[State]:
    """Every different state of the kinds that are always looked at, and some of any kind, after each operation.

    Args:
        every: only after every so-manieth operation.
    """
    chance = random.Random(seed)
    disk, seen = _Disk(), set[str]()
    for cut, op in enumerate([*trace.ops, None]):
        if cut % every == 0 or op is None:
            for state in _after(trace, disk, cut, chance, random_for_each):
                if (key := state.key()) not in seen:
                    seen.add(key)
                    yield state
        if op is not None:
            disk.do(op)


def _after(
    trace: Trace, disk: _Disk, cut: int, chance: random.Random, random_for_each: int
) -> Iterator[State]:
    unsure = [number for number, (_, sure) in enumerate(disk.names) if not sure]
    for content in CONTENTS:
        yield _made(trace, disk, cut, f"all names, {content}", set(unsure), content, chance)
    yield _made(trace, disk, cut, "no names, old", set(), "old", chance)
    yield _made(trace, disk, cut, "no names, new", set(), "new", chance)
    for _ in range(random_for_each):
        # Of all that is unsure it is the last that is open: the rest has long been on the disk, or never comes.
        first = chance.randint(0, len(unsure))
        yield _made(trace, disk, cut, f"the first {first} names", set(unsure[:first]), None, chance)
        some = {number for number in unsure if chance.random() < 0.5}
        yield _made(trace, disk, cut, f"names {sorted(some)}", some, None, chance)
        last = set(unsure[:-8]) | {number for number in unsure[-8:] if chance.random() < 0.5}
        yield _made(trace, disk, cut, f"names {sorted(last)}", last, None, chance)


def _made(
    trace: Trace,
    disk: _Disk,
    cut: int,
    how: str,
    chosen: set[int],
    content: str | None,
    chance: random.Random,
) -> State:
    entries: dict[int, dict[str, int]] = {}
    for number, (op, sure) in enumerate(disk.names):
        if sure or number in chosen:
            _apply(op, entries)
    state = State(cut, how, {}, [], disk.database, list(disk.said))
    _collect(trace, disk, entries, ROOT, "", content, chance, state, {})
    return state


def _apply(op: Op, entries: dict[int, dict[str, int]]) -> None:
    here = entries.setdefault(op.place, {})
    if op.kind == "add":
        here[op.name] = op.node
        return
    if here.get(op.name) == op.node:
        del here[op.name]
    if op.kind == "move":
        entries.setdefault(op.new_place, {})[op.new_name] = op.node


def _collect(
    trace: Trace,
    disk: _Disk,
    entries: dict[int, dict[str, int]],
    place: int,
    path: str,
    content: str | None,
    chance: random.Random,
    state: State,
    made: dict[int, bytes],
) -> None:
    for name, node in entries.get(place, {}).items():
        if node in trace.folders:
            state.folders.append(f"{path}{name}")
            _collect(trace, disk, entries, node, f"{path}{name}/", content, chance, state, made)
        else:
            if node not in made:  # one file may have two names
                made[node] = _content(disk, node, content or chance.choice(CONTENTS), chance)
            state.files[f"{path}{name}"] = made[node]


def _content(disk: _Disk, node: int, content: str, chance: random.Random) -> bytes:
    old, new = disk.synced.get(node, b""), disk.newest.get(node, b"")
    if old == new or content == "new":
        return new
    if content == "old":
        return old
    kept = len(old) if new.startswith(old) else 0  # of a file that only grew, what it held is not touched
    if content == "zeros":
        return new[:kept] + bytes(len(new) - kept)
    end = chance.randint(kept, max(kept, len(new) - 1))
    return new[:end] + (bytes(len(new) - end) if content == "zero tail" else b"")
