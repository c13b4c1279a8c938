"""The states of a run on the disk: published whole, checked before they are loaded, damaged ones set aside."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch

from jobs.progress import Progress
from jobs.training.checkpoints import Best, TrainingState
from jobs.training.fingerprint import refuse_another_run, whole
from storage import files
from storage.errors import StudioError

MANIFEST_FILE = "manifest.json"
STATE_FILE = "state.json"
TENSORS_FILE = "state.safetensors"
KEPT_STATES = 2
# Saving takes no larger share of the time than this.
STATE_SHARE = 0.02
# What a disk writes at least, until the first state has shown it.
DISK_BYTES_PER_SECOND = 5e8
_NAME = re.compile(r"step-(\d{8})-(\d{6})")
_TEMPORARY, _GONE, _DAMAGED = ".tmp-", ".gone-", "damaged-"


class States:
    """The states of one run in a folder, saved only as often as it costs little time."""

    def __init__(
        self, folder: Path | None, run: Mapping[str, str], state_bytes: int, progress: Progress
    ) -> None:
        """Begin with the run of fingerprint `run`; without a folder, nothing is ever saved.

        Args:
            state_bytes: about how large a state is.
            progress: hears of every saved state, and of damaged ones.
        """
        self._folder, self._run, self._progress = folder, run, progress
        self._cost_seconds = state_bytes / DISK_BYTES_PER_SECOND
        self._saved_at = time.perf_counter()

    def newest(self) -> TrainingState | None:
        """The newest sound state of this run; see `newest_state`."""
        return newest_state(self._folder, self._run, self._progress) if self._folder else None

    def forget(self) -> None:
        """Delete all states there are."""
        if self._folder:
            _clear(self._folder)
            for path in _states(self._folder):
                _delete(path)

    def save(self, make: Callable[[], TrainingState], after_seconds: float = 0.0) -> None:
        """Save what `make` gives if the last time is so long ago, and long enough to be worth it."""
        passed = time.perf_counter() - self._saved_at
        if self._folder and passed >= max(after_seconds, self._cost_seconds / STATE_SHARE):
            self.save_now(make)

    def save_now(self, make: Callable[[], TrainingState]) -> None:
        """Save what `make` gives, whenever the last time was; those before it go once it is published."""
        if self._folder:
            began = time.perf_counter()
            state = make()
            path = save_state(self._folder, state, self._run)
            kept = newest_whole(self._folder)
            self._progress.checkpoint(state.steps, _in_run(path), [_in_run(other) for other in kept])
            prune(self._folder, kept)
            self._saved_at = time.perf_counter()
            self._cost_seconds = self._saved_at - began


def _in_run(path: Path) -> str:
    """Where a state lies, relative to its run's folder: `attempt-1/states/step-…`."""
    return "/".join(path.parts[-3:])


# -- writing -------------------------------------------------------------------------------------------------


def save_state(folder: Path, state: TrainingState, run: Mapping[str, str]) -> Path:
    """Write `state` of the run with the fingerprint `run` into `folder`; returns where it lies.

    A power cut can harm none of it: first the files are on the disk, then the manifest that vouches for
    them, then the folder's list of names; only then has the state its name.

    Raises:
        DiskFull: nothing of it is left then.
    """
    final = folder / _name(state.steps, len(state.learned))
    _clear(folder)
    if final.exists():
        with contextlib.suppress(_Damaged):
            if _manifest(final)["run"] == whole(run):
                return final  # the same step of the same run is the same state
        _set_aside(final)
    content = {TENSORS_FILE: _tensors(state), STATE_FILE: _facts(state)}
    manifest = {
        "run": whole(run),
        "parts": dict(run),
        "step": state.steps,
        "packs": len(state.learned),
        "files": {name: {"bytes": len(data), "sha256": _sha256(data)} for name, data in content.items()},
    }
    temporary = folder / (_TEMPORARY + final.name)
    try:
        with files.full_disk_as_error(sum(map(len, content.values()))):
            _make_lasting(folder)
            temporary.mkdir()
            for name, data in {**content, MANIFEST_FILE: _signed(manifest)}.items():
                _write(temporary / name, data)
            files.publish_folder(temporary, final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return final


def newest_whole(folder: Path) -> list[Path]:
    """The states in `folder` that are kept, oldest first: the newest that are not cut short."""
    kept: list[Path] = []
    for path in reversed(_states(folder)):
        with contextlib.suppress(_Damaged):
            _manifest(path)
            kept.insert(0, path)
        if len(kept) == KEPT_STATES:
            break
    return kept


def prune(folder: Path, kept: Sequence[Path]) -> None:
    """Delete the states that are older than all of `kept`, unless these are fewer than there should be."""
    if len(kept) == KEPT_STATES:
        for path in _states(folder):
            if path.name < kept[0].name:
                _delete(path)


def _tensors(state: TrainingState) -> bytes:
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.tensors.items()}
    data: bytes = safetensors.torch.save(tensors)
    return data


def _facts(state: TrainingState) -> bytes:
    """All but the tensors as JSON; NaN and infinities, which JSON does not have, are words."""
    facts = {entry.name: getattr(state, entry.name) for entry in dataclasses.fields(state)}
    del facts["tensors"]
    facts["best"] = [dataclasses.asdict(best) for best in state.best]
    return json.dumps(_in_words(facts), allow_nan=False).encode()


def _in_words(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {name: _in_words(item) for name, item in value.items()}
    return [_in_words(item) for item in value] if isinstance(value, list | tuple) else value


def _signed(manifest: Mapping[str, Any]) -> bytes:
    """The manifest with its own checksum, so that a flipped bit makes it damaged and not another run's."""
    own = _sha256(json.dumps(manifest, sort_keys=True).encode())
    return json.dumps({**manifest, "sha256": own}, sort_keys=True).encode()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _make_lasting(folder: Path) -> None:
    """Make `folder`; what is in it lasts only if the names of the folders above it do, the run's included."""
    if folder.is_dir():
        return
    folder.mkdir(parents=True)
    for above in list(folder.parents)[:3]:
        descriptor = os.open(above, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _delete(path: Path) -> None:
    """Delete a state; it loses its name first, since half of it would look like a damaged one."""
    gone = path.with_name(_GONE + path.name)
    path.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def _clear(folder: Path) -> None:
    """Delete what a crash left of states that were being written or deleted."""
    for start in (_TEMPORARY, _GONE):
        for path in folder.glob(f"{start}*"):
            shutil.rmtree(path, ignore_errors=True)


# -- reading -------------------------------------------------------------------------------------------------


class _Damaged(Exception):
    """Why a state cannot be used, in words."""


def newest_state(folder: Path, run: Mapping[str, str], progress: Progress) -> TrainingState | None:
    """The newest sound state in `folder`; None where there is none at all. Damaged ones are named and set aside.

    Raises:
        StudioError: every state is damaged, or the newest sound one is of a run with another fingerprint.
    """
    damaged: list[str] = []
    for _, manifest, state in _sound(folder, progress, damaged):
        refuse_another_run(state.steps, manifest["parts"], run)
        return state
    _refuse_all(damaged)
    return None


def adopt_states(folder: Path, earlier: Iterable[Path], progress: Progress) -> None:
    """Take the sound states of the newest earlier attempt that has any into `folder`, unless it has its own.

    They are linked where the disk can do that: nobody ever changes them.

    Args:
        earlier: state folders, the newest attempt's first.

    Raises:
        StudioError: there are earlier states, but every one is damaged.
    """
    damaged: list[str] = []
    if _states(folder):
        return
    for source in earlier:
        for path, _, _ in _sound(
            source, progress, damaged
        ):  # the newest first: after a crash that one is there
            _adopt(folder, path)
        if _states(folder):
            return
    _refuse_all(damaged)


def _adopt(folder: Path, path: Path) -> None:
    _clear(folder)
    with files.full_disk_as_error():
        _make_lasting(folder)
        temporary = folder / (_TEMPORARY + path.name)
        temporary.mkdir()
        for name in (TENSORS_FILE, STATE_FILE, MANIFEST_FILE):
            try:
                os.link(path / name, temporary / name)
            except OSError:
                shutil.copyfile(path / name, temporary / name)
        files.publish_folder(temporary, folder / path.name)


def _sound(
    folder: Path, progress: Progress, damaged: list[str]
) -> Iterator[tuple[Path, dict[str, Any], TrainingState]]:
    """The sound states in `folder` with their manifests, newest first.

    The others are set aside, named to `progress`, and added to `damaged`.
    """
    for path in reversed(_states(folder)):
        try:
            manifest, state = _loaded(path)
        except _Damaged as why:
            words = f"The checkpoint of step {_step(path)} is damaged ({why}); it was left out."
            progress.note(words)
            progress.log(f"{words} ({path})")
            _set_aside(path)
            damaged.append(f"step {_step(path)}: {why}")
        else:
            yield path, manifest, state


def _refuse_all(damaged: Sequence[str]) -> None:
    if damaged:
        raise StudioError(
            f"No valid checkpoint of this run is left ({'; '.join(damaged)}).",
            "Start it again from the first step.",
        )


def _loaded(path: Path) -> tuple[dict[str, Any], TrainingState]:
    """A state with its manifest, once every byte is what was written."""
    manifest = _manifest(path)
    content: dict[str, bytes] = {}
    for name in (TENSORS_FILE, STATE_FILE):
        content[name] = _bytes_of(path / name)
        if _sha256(content[name]) != manifest["files"][name]["sha256"]:
            raise _Damaged(f"{name}: its checksum differs")
    try:
        facts = json.loads(content[STATE_FILE])
        facts["best"] = [Best(**best) for best in facts["best"]]
        state = TrainingState(**facts, tensors=safetensors.torch.load(content[TENSORS_FILE]))
        state.first_loss = _number(state.first_loss)
        state.last_losses = [_number(loss) for loss in state.last_losses]
        state.held_out = [(step, [float(loss) for loss in losses]) for step, losses in state.held_out]
    except (ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        raise _Damaged(f"it was written in another format: {type(error).__name__}") from error
    return manifest, state


def _number(written: Any) -> float | None:
    return None if written is None else float(written)


def _manifest(path: Path) -> dict[str, Any]:
    """The manifest of a state whose files have their full size."""
    raw = _bytes_of(path / MANIFEST_FILE)
    try:
        manifest: dict[str, Any] = json.loads(raw)
        del manifest["sha256"]
        sizes = {name: int(manifest["files"][name]["bytes"]) for name in (TENSORS_FILE, STATE_FILE)}
        sound = _signed(manifest) == raw
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        sound = False
    if not sound:
        raise _Damaged(f"{MANIFEST_FILE}: its checksum differs")
    if path.name != _name(manifest["step"], manifest["packs"]):
        raise _Damaged(f"{MANIFEST_FILE}: it is of step {manifest['step']}")
    for name, size in sizes.items():
        try:
            found = (path / name).stat().st_size
        except OSError as error:
            raise _unreadable(path / name, error) from error
        if found != size:
            raise _Damaged(f"{name}: {found} of {size} bytes")
    return manifest


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> _Damaged:
    missing = isinstance(error, FileNotFoundError)
    return _Damaged(f"{path.name} is missing" if missing else f"{path.name}: {error.strerror}")


def _set_aside(path: Path) -> None:
    """Keep a damaged state for a look, under a name by which it is never loaded."""
    aside = path.with_name(_DAMAGED + path.name)
    path.rename(aside if not aside.exists() else aside.with_name(f"{aside.name}-{files.new_id()}"))


def _states(folder: Path) -> list[Path]:
    """The states in `folder`, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))


def _name(steps: int, packs: int) -> str:
    return f"step-{steps:08d}-{packs:06d}"


def _step(path: Path) -> int:
    return int(path.name.split("-")[1])
