"""Checkpoints damaged in every way that a disk, a person or a program may think of."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from jobs.progress import Progress
from jobs.training import checkpoints, states
from jobs.training.checkpoints import Best, TrainingState
from storage.errors import StudioError

RUN = {"the examples": "e", "the settings": "s"}
FILES = (states.TENSORS_FILE, states.STATE_FILE, states.MANIFEST_FILE)
PLACES = 50
OLDER, NEWER = 3, 7  # the steps of the two states of each case


@dataclass(frozen=True)
class Case:
    """One way to damage a state: `file` is what has to be named, "" for the state as a whole."""

    name: str
    file: str
    damage: Callable[[Path], object]


class Notes(Progress):
    """Keeps what is said to the user."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, words: str) -> None:
        self.said.append(words)


def save(folder: Path, steps: int) -> Path:
    """A state of a run of RUN, as large as one of a small adapter."""
    tensors, python_random = checkpoints.random_state(torch.device("cpu"))
    state = TrainingState(
        steps=steps,
        tokens=1000 * steps,
        seconds=0.1 * steps,
        broken_steps=[0],
        last_losses=[1.0 / steps],
        first_loss=2.0,
        best=[Best(steps, 0.5)],
        held_out=[(steps, [0.5])],
        tensors={**tensors, "master": torch.arange(3000) / 7 + steps, "losses": torch.tensor([1.5])},
        python_random=python_random,
    )
    return states.save_state(folder, state, RUN)


def cases() -> Iterator[Case]:
    """Every file cut at 50 places, a bit flipped at 50, zeroed, deleted, longer; the manifest edited."""
    for file in FILES:
        for place in range(PLACES):
            share = place / PLACES
            yield Case(f"{file} cut at {share:.0%}", file, lambda at, f=file, s=share: _cut(at / f, s))
            yield Case(f"{file} flipped at {share:.0%}", file, lambda at, f=file, p=place: _flip(at / f, p))
        yield Case(f"{file} one byte short", file, lambda at, f=file: _write(at / f, lambda data: data[:-1]))
        yield Case(f"{file} zeroed", file, lambda at, f=file: _write(at / f, lambda data: bytes(len(data))))
        yield Case(f"{file} longer", file, lambda at, f=file: _write(at / f, lambda data: data + b"\0"))
        yield Case(f"{file} deleted", file, lambda at, f=file: (at / f).unlink())
    manifest = states.MANIFEST_FILE
    for entry, value in {"step": 10**30, "packs": 1, "run": "another", "files": {}, "parts": {}}.items():
        yield Case(
            f"manifest says {entry} {value!r:.20}", manifest, lambda at, e=entry, v=value: _edit(at, e, v)
        )
    yield Case("manifest as a list", manifest, lambda at: (at / manifest).write_text("[]"))
    yield Case(
        "a huge step in the name", manifest, lambda at: at.rename(at.with_name("step-99999999-000000"))
    )
    yield Case("an empty folder", manifest, lambda at: [(at / name).unlink() for name in FILES])
    yield Case("files of the older state", "", _of_the_older)


def check(case: Case, folder: Path) -> str | None:
    """None when the damage is found and named and the older state is chosen; else what happens instead."""
    whole = folder / "whole"
    if not whole.exists():
        save(whole, OLDER), save(whole, NEWER)
    place = folder / "damaged"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(whole, place)
    case.damage(sorted(place.iterdir())[-1])
    notes = Notes()
    found = states.newest_state(place, RUN, notes)
    if found is None or found.steps != OLDER:
        return f"{found and found.steps} is chosen"
    if len(notes.said) != 1 or case.file not in notes.said[0] or "is damaged" not in notes.said[0]:
        return f"it says {notes.said}"
    # And where it is the only one, nothing begins from the first step unasked.
    shutil.rmtree(place)
    place.mkdir()
    alone = shutil.copytree(whole / sorted(p.name for p in whole.iterdir())[-1], place / _newest(whole).name)
    if case.name.startswith("files of the older"):
        return None
    case.damage(alone)
    try:
        found = states.newest_state(place, RUN, Notes())
    except StudioError as error:
        if (
            error.message.startswith("No valid checkpoint of this run is left")
            and "first step" in error.remedy
        ):
            return None
        return f"it says {error}"
    return f"{found and found.steps} is begun from, unasked"


def _newest(folder: Path) -> Path:
    return sorted(folder.iterdir())[-1]


def _write(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def _cut(path: Path, share: float) -> None:
    _write(path, lambda data: data[: int(share * len(data))])


def _flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place * (len(data) - 1) // (PLACES - 1)] ^= 1 << place % 8
    path.write_bytes(data)


def _edit(state: Path, entry: str, value: object) -> None:
    path = state / states.MANIFEST_FILE
    path.write_text(json.dumps({**json.loads(path.read_bytes()), entry: value}, sort_keys=True))


def _of_the_older(state: Path) -> None:
    older = sorted(state.parent.iterdir())[0]
    shutil.copyfile(older / states.TENSORS_FILE, state / states.TENSORS_FILE)
