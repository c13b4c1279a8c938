"""What a run leaves on the disk: its best adapter as a PEFT folder, and states from which it goes on."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import random
import re
import shutil
import time
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from jobs.training.examples import Example
from jobs.training.model import saved_name
from storage import files
from storage.errors import StudioError

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
STATE_FILE = "state.json"
TENSORS_FILE = "state.safetensors"
KEPT_STATES = 2
# Saving takes no larger share of the time than this.
STATE_SHARE = 0.02
# What a disk writes at least, until the first state has shown it.
DISK_BYTES_PER_SECOND = 5e8
_STATE_NAME = re.compile(r"step-\d{8}-\d{6}")


def save_adapter(folder: Path, config: Any, weights: Mapping[str, Tensor]) -> None:
    """Write or replace the adapter in `folder`; each file is replaced in one moment, the weights last.

    Args:
        folder: made if missing.
        config: the adapter's `LoraConfig`.
        weights: by parameter name as in the `PeftModel`, of an adapter called "default".
    """
    folder.mkdir(parents=True, exist_ok=True)
    described = {**config.to_dict(), "inference_mode": True}
    # PEFT keeps names in sets; sorted, the same adapter is the same file.
    described = {name: sorted(v) if isinstance(v, set) else v for name, v in described.items()}
    files.write_text(folder / CONFIG_FILE, json.dumps(described, indent=2, sort_keys=True))
    named = {saved_name(name): value.detach().cpu().contiguous() for name, value in weights.items()}
    files.write_bytes(folder / WEIGHTS_FILE, safetensors.torch.save(named, metadata={"format": "pt"}))


@dataclass
class Best:
    """The best that one trial has been so far; a loss of None says that nothing was held out."""

    step: int | None = None
    loss: float | None = None


@dataclass
class TrainingState:
    """Everything that the rest of a run depends on beside its plan, between two packs or two steps.

    Attributes:
        steps: finished ones.
        learned: the rows of each pack of the next step that is in the gradient already.
        tokens, seconds: trained in those steps, and the time they took.
        broken_steps: for each trial, how many of its last steps in a row gave no finite number.
        last_losses: for each trial, that of the last step.
        first_loss: of the base model on the held-out rows.
        best: for each trial.
        held_out: (step, loss of each trial) of every look at the held-out rows.
        tensors: the optimiser's (`AdapterWeights.state`), "losses" of the packs in `learned`, "best.N" for
            each trial that was kept, and "random.cpu", "random.cuda".
        python_random: the state of Python's generator.
    """

    steps: int = 0
    learned: list[list[int]] = field(default_factory=list)
    tokens: int = 0
    seconds: float = 0.0
    broken_steps: list[int] = field(default_factory=list)
    last_losses: list[float | None] = field(default_factory=list)
    first_loss: float | None = None
    best: list[Best] = field(default_factory=list)
    held_out: list[tuple[int, list[float]]] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    python_random: list[Any] = field(default_factory=list)


def random_state(device: torch.device) -> tuple[dict[str, Tensor], list[Any]]:
    """Where all random generators stand: torch's as tensors, Python's as plain values."""
    tensors = {"random.cpu": torch.get_rng_state()}
    if device.type == "cuda":
        tensors["random.cuda"] = torch.cuda.get_rng_state(device)
    version, numbers, gauss = random.getstate()
    return tensors, [version, list(numbers), gauss]


def set_random_state(state: TrainingState, device: torch.device) -> None:
    """Put all random generators where they stood."""
    torch.set_rng_state(state.tensors["random.cpu"])
    if device.type == "cuda" and "random.cuda" in state.tensors:
        torch.cuda.set_rng_state(state.tensors["random.cuda"], device)
    version, numbers, gauss = state.python_random
    random.setstate((version, tuple(numbers), gauss))


def fingerprint(described: Mapping[str, Any], *sets: Sequence[Example]) -> str:
    """What makes a run this run: `described` (plain JSON) and all tokens of its examples, as one hash."""
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    for examples in sets:
        digest.update(f"{len(examples)} examples".encode())
        for example in examples:
            digest.update(array("q", example.token_ids).tobytes())
            digest.update(bytes(example.learned))
    return digest.hexdigest()


def save_state(folder: Path, state: TrainingState, run: str) -> None:
    """Write `state` of the run with the fingerprint `run` into `folder`, and forget all but the newest two.

    A state has its name only once all of it is on the disk.
    """
    final = folder / f"step-{state.steps:08d}-{len(state.learned):06d}"
    temporary = folder / f".{final.name}.{files.new_id()}"
    temporary.mkdir(parents=True)
    facts = {entry.name: getattr(state, entry.name) for entry in dataclasses.fields(state)}
    tensors = {name: value.detach().cpu().contiguous() for name, value in facts.pop("tensors").items()}
    facts["best"] = [dataclasses.asdict(best) for best in state.best]
    try:
        with files.full_disk_as_error(sum(value.nbytes for value in tensors.values())):
            safetensors.torch.save_file(tensors, temporary / TENSORS_FILE)
            # Python's own NaN is kept here, which nobody but `newest_state` reads.
            (temporary / STATE_FILE).write_text(json.dumps({"run": run, **facts}), encoding="utf-8")
        # The same step of the same run is the same state.
        with contextlib.suppress(FileExistsError):
            files.publish_folder(temporary, final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    for old in _states(folder)[:-KEPT_STATES]:
        shutil.rmtree(old, ignore_errors=True)


def newest_state(folder: Path, run: str) -> TrainingState | None:
    """The newest whole state in `folder`; None without one. Damaged ones are deleted.

    Raises:
        StudioError: it belongs to a run with another fingerprint than `run`.
    """
    for path in reversed(_states(folder)):
        try:
            facts = json.loads((path / STATE_FILE).read_text(encoding="utf-8"))
            found_run = facts.pop("run")
            state = TrainingState(**facts, tensors=safetensors.torch.load_file(path / TENSORS_FILE))
            state.best = [Best(**best) for best in facts["best"]]
            state.held_out = [(step, losses) for step, losses in facts["held_out"]]
        except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError):
            shutil.rmtree(path, ignore_errors=True)
            continue
        if found_run != run:
            raise StudioError(
                f"The state saved at step {state.steps} is of another run: its examples, its settings or its"
                " base model differ.",
                "Start a new run, or give the earlier examples and settings.",
            )
        return state
    return None


class States:
    """The states of one run in a folder, saved only as often as it costs little time."""

    def __init__(self, folder: Path | None, run: str, state_bytes: int) -> None:
        """Begin with the run of fingerprint `run`; without a folder, nothing is ever saved.

        Args:
            state_bytes: about how large a state is.
        """
        self._folder, self._run = folder, run
        self._cost_seconds = state_bytes / DISK_BYTES_PER_SECOND
        self._saved_at = time.perf_counter()

    def newest(self) -> TrainingState | None:
        """The newest whole state of this run; see `newest_state`."""
        return newest_state(self._folder, self._run) if self._folder else None

    def save(self, make: Callable[[], TrainingState], after_seconds: float = 0.0) -> None:
        """Save what `make` gives if the last time is so long ago, and long enough to be worth it."""
        passed = time.perf_counter() - self._saved_at
        if self._folder and passed >= max(after_seconds, self._cost_seconds / STATE_SHARE):
            self.save_now(make)

    def save_now(self, make: Callable[[], TrainingState]) -> None:
        """Save what `make` gives, whenever the last time was."""
        if self._folder:
            began = time.perf_counter()
            save_state(self._folder, make(), self._run)
            self._saved_at = time.perf_counter()
            self._cost_seconds = self._saved_at - began


def adopt_states(folder: Path, earlier: Iterable[Path]) -> None:
    """Copy the states of the newest earlier attempt that has any into `folder`, unless it has its own.

    Args:
        earlier: state folders, the newest attempt's first.
    """
    source = next((other for other in earlier if _states(other)), None)
    if source is None or _states(folder):
        return
    for path in _states(source):
        temporary = folder / f".{path.name}.{files.new_id()}"
        shutil.copytree(path, temporary)
        files.publish_folder(temporary, folder / path.name)


def _states(folder: Path) -> list[Path]:
    """The states in `folder`, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _STATE_NAME.fullmatch(path.name))
