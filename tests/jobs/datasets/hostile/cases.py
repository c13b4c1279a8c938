"""What a case of the corpus is: a file, the way it is brought, and what must come of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Refused:
    """A StudioError whose message says `says` (a regular expression: what and where), its remedy `do`."""

    says: str
    do: str = r"\w+"


@dataclass(frozen=True)
class Taken:
    """A dataset with `rows` usable rows; left out are exactly these rows, and these other problems are named.

    `detected` is what the file was seen to be, `holds` a text that some message holds exactly so.
    """

    rows: int
    left_out: Mapping[str, list[int]] = field(default_factory=dict)
    problems: frozenset[str] = frozenset()
    detected: Mapping[str, str] = field(default_factory=dict)
    holds: str = ""


@dataclass(frozen=True)
class Case:
    """One file: its name, its bytes or who writes them, and what must come of it.

    `options` are a user's own choices. `whole_way` marks those whose point is a limit or a name: the tests
    bring them as the page does, the others to the function that the child process runs.
    """

    name: str
    file: str
    make: bytes | Callable[[Path], None]
    comes: Refused | Taken
    options: Mapping[str, Any] = field(default_factory=dict)
    whole_way: bool = False

    def write(self, folder: Path) -> Path:
        """Make the file in a folder of its own below `folder`; returns its path."""
        path = folder / self.name.replace(" ", "-").replace("/", "-") / self.file
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(self.make, bytes):
            path.write_bytes(self.make)
        else:
            self.make(path)
        return path


PAIRS = [
    ("Do you ship to Norway?", "We do, it takes about a week."),
    ("Is the shop open on Sunday?", "No, on weekdays only."),
    ("Can I return the lamp?", "Yes, within thirty days of the purchase."),
    ("Where is my parcel?", "It left our warehouse this morning."),
    ("Do you repair bicycles?", "Every day except Monday."),
    ("How long does paint dry?", "Give it one night to be safe."),
]


def pairs(count: int) -> list[tuple[str, str]]:
    """Different questions with different answers."""
    return [
        (f"{q} It is about order {1000 + n}.", f"{a} Ticket {n} is closed.")
        for n in range(count)
        for q, a in [PAIRS[n % len(PAIRS)]]
    ]


def records(count: int) -> list[dict[str, Any]]:
    return [{"prompt": q, "response": a} for q, a in pairs(count)]


def jsonl(*rows: Any) -> bytes:
    """Objects as JSON Lines; bytes are put in as they are."""
    return b"".join(row if isinstance(row, bytes) else json.dumps(row).encode() + b"\n" for row in rows)


def chat(*turns: tuple[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def csv(count: int, delimiter: str = ",", header: str = "prompt,response") -> str:
    lines = [header, *(f'"{q}"{delimiter}"{a}"' for q, a in pairs(count))]
    return "\n".join(lines).replace("prompt,response", f"prompt{delimiter}response") + "\n"


def pieces(*parts: bytes | tuple[bytes, int]) -> Callable[[Path], None]:
    """Writes a large file piece by piece; (bytes, times) is a piece many times over."""

    def make(path: Path) -> None:
        with open(path, "wb") as file:
            for part in parts:
                piece, times = part if isinstance(part, tuple) else (part, 1)
                at_once = max(1, 1_000_000 // max(1, len(piece)))
                for _ in range(times // at_once):
                    file.write(piece * at_once)
                file.write(piece * (times % at_once))

    return make


def later(build: Callable[..., bytes], *values: Any) -> Callable[[Path], None]:
    """Writes what a function returns; for bytes that take time or room to make."""
    return lambda path: (path.write_bytes(build(*values)), None)[1]
