"""An earlier adapter as the start of a new run: its PEFT folder, held against the base model and the settings.

Free of torch, so that a run which does not fit is refused before it waits.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.base_models import weights
from jobs.lora import targets
from jobs.lora.targets import Matrix
from jobs.training.settings import TrainingSettings
from storage.errors import StudioError

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
_PART = re.compile(r"base_model\.model\.(.+)\.(lora_A\.weight|lora_B\.weight|lora_magnitude_vector)")
# What a LoRA adapter on linear layers needs, and what changes nothing by itself. PEFT's other settings stand
# for methods that train something else besides, or another way.
_PLAIN_KEYS = {
    "alpha_pattern", "auto_mapping", "base_model_name_or_path", "bias", "corda_config", "ensure_weight_tying",
    "eva_config", "exclude_modules", "fan_in_fan_out", "inference_mode", "init_lora_weights",
    "layers_pattern", "layers_to_transform", "loftq_config", "lora_alpha", "lora_dropout", "lora_ga_config",
    "megatron_config", "megatron_core", "peft_type", "peft_version", "qalora_group_size", "r", "rank_pattern",
    "revision", "runtime_config", "target_modules", "task_type", "use_dora", "use_rslora",
}  # fmt: skip
# Others (PiSSA, OLoRA, CorDA, LoftQ) change the base model itself, which then is not the one chosen here.
_PLAIN_BEGINNINGS = (True, False, "gaussian", "orthogonal", "eva")


@dataclass(frozen=True)
class EarlierAdapter:
    """What an adapter's folder says: the matrices it changes, the rank of each, PEFT's adapter_config.json."""

    folder: Path
    matrices: list[Matrix]
    ranks: list[int]
    config: dict[str, Any]

    @property
    def weights_path(self) -> Path:
        """Its values."""
        return self.folder / WEIGHTS_FILE


def read_adapter(folder: Path, all_matrices: Sequence[Matrix]) -> EarlierAdapter:
    """The adapter in a PEFT folder, made here or elsewhere, for a base model with these matrices.

    Raises:
        StudioError: files are missing or damaged, it is no plain LoRA or DoRA adapter, or it was made for a
            base model of other shapes.
    """
    missing = [name for name in (CONFIG_FILE, WEIGHTS_FILE) if not (folder / name).is_file()]
    if missing:
        raise StudioError(
            f"The earlier adapter has no file {missing[0]}.", "Choose another adapter, or start a fresh one."
        )
    config = weights.read_json(folder / CONFIG_FILE)
    _check_kind(config)
    by_path = {targets.path_in_layers(matrix.path): matrix for matrix in all_matrices}
    shapes: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, tensor in weights.headers(folder).items():
        part = _PART.fullmatch(name)
        path = targets.path_in_layers(part[1]) if part else ""
        if part is None or path not in by_path:
            module = name.removeprefix("base_model.model.")
            raise _other_base(f"it changes {module}, which is no matrix of this model's layers")
        shapes.setdefault(path, {})[part[2]] = tensor.shape
    for path, found in shapes.items():
        _check_shapes(by_path[path], found, bool(config.get("use_dora")))
    changed = [matrix for path, matrix in by_path.items() if path in shapes]
    ranks = [shapes[targets.path_in_layers(matrix.path)]["lora_A.weight"][0] for matrix in changed]
    return EarlierAdapter(folder, changed, ranks, config)


def check_fits(
    earlier: EarlierAdapter,
    all_matrices: Sequence[Matrix],
    ranks: Sequence[int],
    settings: TrainingSettings,
) -> None:
    """Refuse settings that ask for another kind of adapter than the earlier one.

    What the settings leave open ("auto" modules, no alpha, no rank per module) is the earlier adapter's own.

    Raises:
        StudioError: what differs, and what to choose instead.
    """
    config, own_rank = earlier.config, earlier.config.get("r")
    for rank in ranks:
        if rank != own_rank:
            raise _misfit(f"has rank {own_rank}, not {rank}", f"Choose rank {own_rank}")
    if settings.target_modules != "auto" or settings.layers != "all":
        wanted = settings.target_modules
        chosen = targets.choose(all_matrices, wanted, settings.layers)
        if set(chosen) != set(earlier.matrices):
            names = ", ".join(targets.module_names(earlier.matrices)[:8])
            raise _misfit("changes other modules than those chosen", f"Choose its own: {names}")
    if settings.rank_pattern:
        asked = targets.ranks(earlier.matrices, ranks[0], settings.rank_pattern)
        if asked != earlier.ranks:
            raise _misfit("has other ranks in some modules", "Leave the rank per module empty")
    if settings.alpha is not None and settings.alpha != config.get("lora_alpha"):
        remedy = "Leave alpha empty"
        raise _misfit(f"has alpha {config.get('lora_alpha')}, not {settings.alpha}", remedy)
    for key, word in (("use_rslora", "rsLoRA"), ("use_dora", "DoRA")):
        if getattr(settings, key) and not config.get(key):
            raise _misfit(f"was trained without {word}", f"Turn {word} off")


def _check_kind(config: dict[str, Any]) -> None:
    if str(config.get("peft_type")) != "LORA":
        raise _misfit(f"is of the kind {config.get('peft_type')!r}, not LoRA", "Choose a LoRA adapter")
    unusual = sorted(key for key, value in config.items() if value and key not in _PLAIN_KEYS)
    if config.get("bias", "none") != "none":
        unusual.append("bias")
    if config.get("init_lora_weights", True) not in _PLAIN_BEGINNINGS:
        unusual.append("init_lora_weights")
    if unusual:
        raise _misfit(f"uses {', '.join(unusual)}, which cannot be trained on here", "Choose a plain adapter")


def _check_shapes(matrix: Matrix, found: dict[str, tuple[int, ...]], use_dora: bool) -> None:
    """A (rank, in_features), B (out_features, rank) and with DoRA one length for each of W's rows."""
    rank = found.get("lora_A.weight", (0,))[0]
    expected: dict[str, tuple[int, ...]] = {
        "lora_A.weight": (rank, matrix.in_features),
        "lora_B.weight": (matrix.out_features, rank),
    }
    if use_dora:
        expected["lora_magnitude_vector"] = (matrix.out_features,)
    if found != expected:
        raise _other_base(
            f"its values for {matrix.path} are not of {matrix.out_features} × {matrix.in_features}"
        )


def _other_base(reason: str) -> StudioError:
    return StudioError(
        f"The earlier adapter does not fit this base model: {reason}.",
        "Choose the base model it was made for, or start a fresh adapter.",
    )


def _misfit(fact: str, remedy: str) -> StudioError:
    return StudioError(f"The earlier adapter {fact}.", f"{remedy}, or start a fresh adapter.")
