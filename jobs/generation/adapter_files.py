"""An adapter as its PEFT folder holds it: the two matrices of each module, and how strongly they count."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from storage.errors import StudioError

WEIGHTS_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"
# The model's own sizes of a linear layer, in torch and in GPT-2's transposed kind.
IN_SIZES, OUT_SIZES = ("in_features", "nx"), ("out_features", "nf")
# Other kinds of LoRA that PEFT knows would compute something else from the same matrices.
OTHER_KINDS = ("use_qalora", "alora_invocation_tokens", "lora_bias", "layer_replication")


@dataclass(frozen=True)
class Change:
    """What an adapter changes in one linear layer: W + scale · B A.

    Attributes:
        a: (rank, in).
        b: (out, rank).
        scale: alpha / rank, or alpha / √rank.
        lengths: (out,) in fp32, the learned lengths of DoRA's rows (arXiv 2402.09353); None for plain LoRA.
    """

    a: Tensor
    b: Tensor
    scale: float
    lengths: Tensor | None


def read_changes(folder: Path, modules: Mapping[str, nn.Module], base_name: str) -> dict[str, Change]:
    """The changes in an adapter's folder by module path ("model.layers.0.self_attn.q_proj").

    Args:
        modules: the base model's own by path.

    Raises:
        StudioError: the folder is unreadable, or its matrices do not fit the base model.
    """
    try:
        config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        with safe_open(folder / WEIGHTS_FILE, framework="pt") as weights:
            tensors = {name: weights.get_tensor(name) for name in weights.keys()}  # noqa: SIM118
    except (OSError, ValueError, SafetensorError) as error:
        raise StudioError(
            f"The adapter in {folder.name} cannot be read: {error}",
            "Train it again, or choose another one.",
        ) from error
    if not isinstance(config, dict):
        raise StudioError(
            f"The adapter in {folder.name} cannot be read: {CONFIG_FILE} holds no settings.",
            "Train it again, or choose another one.",
        )
    _check_kind(config, folder)
    _check_fits(tensors, config, modules, base_name)
    found: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        path, _, kind = name.removeprefix("base_model.model.").rpartition(".lora_")
        found.setdefault(path, {})[kind] = tensor
    _check_whole(found, config, folder)
    return {path: _change(path, parts, config) for path, parts in found.items()}


def _change(path: str, parts: Mapping[str, Tensor], config: Mapping[str, Any]) -> Change:
    a, b, lengths = parts["A.weight"], parts["B.weight"], parts.get("magnitude_vector")
    # The first pattern that is the end of the path counts (peft.utils.other.get_pattern_key).
    patterns = (config.get("alpha_pattern") or {}).items()
    matching = (alpha for end, alpha in patterns if re.match(rf"(.*\.)?({end})$", path))
    alpha = next(matching, config["lora_alpha"])
    divisor = math.sqrt(len(a)) if config.get("use_rslora") else len(a)
    return Change(a, b, alpha / divisor, None if lengths is None else lengths.float())


def _check_whole(found: Mapping[str, Mapping[str, Tensor]], config: Mapping[str, Any], folder: Path) -> None:
    """Refuse an adapter that lacks one of a module's two matrices, or says nothing of their scale."""
    halves = (path for path, parts in found.items() if not {"A.weight", "B.weight"} <= parts.keys())
    alone = next(halves, None)
    if alone is not None:
        missing = "B" if "A.weight" in found[alone] else "A"
        raise StudioError(
            f"The adapter in {folder.name} is not whole: {WEIGHTS_FILE} has no matrix {missing} for {alone}.",
            "Copy it again from where it came, or train it again.",
        )
    if not isinstance(config.get("lora_alpha"), int | float):
        raise StudioError(
            f"The adapter in {folder.name} is not whole: {CONFIG_FILE} has no lora_alpha.",
            "Copy it again from where it came, or train it again.",
        )


def _check_kind(config: Mapping[str, Any], folder: Path) -> None:
    unknown = [name for name in OTHER_KINDS if config.get(name)]
    if config.get("peft_type") != "LORA" or unknown:
        raise StudioError(
            f"The adapter in {folder.name} is of a kind that is not known here:"
            f" {', '.join(unknown) or config.get('peft_type')}.",
            "Choose a LoRA or DoRA adapter.",
        )


def _check_fits(
    tensors: Mapping[str, Tensor], config: Mapping[str, Any], modules: Mapping[str, nn.Module], base_name: str
) -> None:
    """Refuse an adapter of which any matrix has no place in the model."""
    for name, tensor in tensors.items():
        path, _, kind = name.removeprefix("base_model.model.").rpartition(".lora_")
        # A is (rank, in), B is (out, rank), DoRA's lengths are (out,); anything else is none of them.
        wanted = {"A.weight": IN_SIZES, "B.weight": OUT_SIZES, "magnitude_vector": OUT_SIZES}
        size = tensor.shape[-1] if kind == "A.weight" else tensor.shape[0]
        if size not in [getattr(modules.get(path), attribute, None) for attribute in wanted.get(kind, ())]:
            made_for = config.get("base_model_name_or_path")
            raise StudioError(
                f"This adapter was made for {made_for or 'another model'}, not for {base_name}:"
                f" its matrix {name} does not fit.",
                "Choose an adapter that was trained on this base model.",
            )
