"""What of a run can be kept: its best adapter as a PEFT folder, and everything that its rest depends on."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from jobs.training.model import saved_name
from storage import files

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"


def save_adapter(folder: Path, config: Any, weights: Mapping[str, Tensor]) -> None:
    """Write or replace the adapter in `folder`; each file is replaced in one moment, the weights last.

    Args:
        folder: made if missing.
        config: the adapter's `LoraConfig`.
        weights: by parameter name as in the `PeftModel`, of an adapter called "default".
    """
    files.make_lasting(folder)
    files.write_text(folder / CONFIG_FILE, config_text(config))
    files.write_bytes(folder / WEIGHTS_FILE, weights_bytes(weights))


def config_text(config: Any) -> str:
    """adapter_config.json of a `LoraConfig`."""
    described = {**config.to_dict(), "inference_mode": True}
    # PEFT keeps names in sets; sorted, the same adapter is the same file.
    described = {name: sorted(v) if isinstance(v, set) else v for name, v in described.items()}
    return json.dumps(described, indent=2, sort_keys=True)


def weights_bytes(weights: Mapping[str, Tensor]) -> bytes:
    """adapter_model.safetensors of weights named as in `save_adapter`."""
    named = {saved_name(name): value.detach().cpu().contiguous() for name, value in weights.items()}
    data: bytes = safetensors.torch.save(named, metadata={"format": "pt"})
    return data


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
        pack_tokens: how many were computed at once.
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
    pack_tokens: int = 0
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
