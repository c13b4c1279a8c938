"""The base model with a fresh adapter on it, and how much of a step fits into the device's memory at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import PreTrainedModel

from jobs.generation.base import load_base
from jobs.lora.targets import Matrix, choose, matrices_of_folder, module_names
from jobs.training.loss import check_output_layer
from jobs.training.settings import TrainingSettings

# Beyond this a processor gains nothing from larger micro-batches.
CPU_TOKENS = 2048
# What activations may take of the GPU memory that is free once the weights are there; the rest is for the
# logits of a chunk, the optimiser and the allocator's gaps.
SHARE_FOR_ACTIVATIONS = 0.6
# Below this many tokens at once a GPU idles: recomputing activations costs less.
FEWEST_TOKENS = 1024


def adapted_model(
    folder: Path, device: str, rank: int, settings: TrainingSettings, base_name: str | None = None
) -> Any:
    """The frozen base model of `folder` with a LoRA adapter as `settings` (fitted) describe it.

    Returns a `PeftModel`. `base_name` is what the saved adapter says it was made for.
    """
    base = load_base(folder, device, settings.precision, settings.max_tokens)
    check_output_layer(base)
    target_modules = settings.target_modules
    chosen = choose(
        matrices_of_folder(folder),
        target_modules if isinstance(target_modules, str) else list(target_modules),
        settings.layers,
    )
    names, layers = _targets(chosen)
    alpha = settings.alpha or 2 * rank
    model = add_adapter(base, rank, alpha, names, layers, settings.dropout, settings.seed)
    model.peft_config["default"].base_model_name_or_path = base_name or Path(folder).name
    return model


def _targets(chosen: Sequence[Matrix]) -> tuple[list[str], list[int] | None]:
    """The chosen matrices as PEFT's `target_modules` and `layers_to_transform`.

    A range of layers is said as such, because other programs do not read paths as target modules.
    """
    kinds = list(dict.fromkeys(matrix.name for matrix in chosen))
    layers = sorted({matrix.layer for matrix in chosen if matrix.layer is not None})
    names = module_names(chosen)
    if names != kinds and len(chosen) == len(kinds) * len(layers):
        return kinds, layers
    return names, None


def add_adapter(
    base: PreTrainedModel,
    rank: int,
    alpha: int,
    target_modules: Sequence[str],
    layers: Sequence[int] | None = None,
    dropout: float = 0.0,
    seed: int = 0,
) -> Any:
    """A `PeftModel` around `base`, A drawn from `seed` and B zero (arXiv 2106.09685, section 4.1)."""
    torch.manual_seed(seed)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=list(target_modules),
        layers_to_transform=None if layers is None else list(layers),
    )
    # The masters are in fp32 (see `AdapterWeights`); the copies that compute are in the base's own format.
    return get_peft_model(base, config, autocast_adapter_dtype=False)


def micro_batch_tokens(model: PreTrainedModel, longest_row: int) -> int:
    """How many tokens a micro-batch may have; turns on activation checkpointing where memory is short.

    Activations of a decoder layer take about 12 hidden + 4 intermediate sizes for each token, and with
    checkpointing 2 hidden sizes (measured on 0.1 B and 8 B Llama shapes).
    """
    if model.device.type != "cuda":
        return max(CPU_TOKENS, longest_row)
    config = model.config.get_text_config()
    value_bytes = torch.finfo(model.dtype).bits // 8
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    layer_bytes = (12 * config.hidden_size + 4 * inner) * value_bytes
    free = SHARE_FOR_ACTIVATIONS * torch.cuda.mem_get_info(model.device)[0]
    tokens = int(free / (layer_bytes * config.num_hidden_layers))
    if tokens < max(FEWEST_TOKENS, longest_row):
        model.gradient_checkpointing_enable({"use_reentrant": False})
        kept_bytes = 2 * config.hidden_size * value_bytes
        tokens = int(free / (layer_bytes + kept_bytes * config.num_hidden_layers))
    return max(tokens, longest_row)
