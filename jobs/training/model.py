"""The base model with one or several adapters on it, fresh ones or an earlier one's."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedModel

from jobs.base_models import shapes, weights
from jobs.generation.base import load_base, number_format
from jobs.lora import memory
from jobs.lora.targets import Matrix, by_name, choose, matrices_of_folder, module_names
from jobs.lora.targets import ranks as matrix_ranks
from jobs.training.loss import check_output_layer
from jobs.training.settings import TrainingSettings, fitted_alpha
from jobs.training.warm_start import WEIGHTS_FILE, EarlierAdapter, check_fits, read_adapter

FIRST_ADAPTER = "default"
# While a model is taken apart some of it is in memory twice.
TWICE = 2.2
_IS_ADAPTER = re.compile(r"\.lora_(A|B|magnitude_vector)\.")


def adapted_model(
    folder: Path,
    device: str,
    ranks: Sequence[int],
    settings: TrainingSettings,
    base_name: str | None = None,
    warm_start: Path | None = None,
) -> Any:
    """The frozen base model of `folder` with one LoRA adapter for each rank, as `settings` (fitted) describe it.

    Args:
        folder: of the base model.
        device: where it is going to compute. A base model that the fast path takes apart on a GPU without room
            for both stays in main memory, from where that moves it piece by piece.
        ranks: of the adapters, which are called `adapter_names(len(ranks))`; the first is the active one.
        settings: of all of them; where ranks differ, an alpha of None gives each its own.
        base_name: what the saved adapter says it was made for.
        warm_start: PEFT folder of an earlier adapter, whose kind and values every adapter takes over.

    Returns:
        a `PeftModel`. Each adapter begins exactly as it would alone.

    Raises:
        StudioError: the base cannot be loaded, has no such modules, or the earlier adapter does not fit.
    """
    all_matrices = matrices_of_folder(folder)
    if warm_start is None:
        modules = settings.target_modules
        names = modules if isinstance(modules, str) else list(modules)
        chosen = choose(all_matrices, names, settings.layers)
        configs = [adapter_config(chosen, rank, settings) for rank in ranks]
    else:
        earlier = read_adapter(warm_start, all_matrices)
        check_fits(earlier, all_matrices, ranks, settings)
        configs = [_config_of(earlier, settings.dropout) for _ in ranks]
    base = _loaded(folder, device, settings)
    model = with_adapters(base, configs, settings.seed)
    for config in model.peft_config.values():
        # PEFT has written this machine's folder there.
        config.base_model_name_or_path = base_name or Path(folder).name
    if warm_start is not None:
        values = load_file(earlier.weights_path)
        for name in adapter_names(len(ranks)):
            set_peft_model_state_dict(model, values, adapter_name=name)
    return model


def _loaded(folder: Path, device: str, settings: TrainingSettings) -> PreTrainedModel:
    """The base model in the format that `device` computes in."""
    shape = shapes.from_config(weights.read_config(folder))
    takes_apart = memory.is_lean(shape) and not settings.dropout and not settings.use_dora
    if device.startswith("cuda") and takes_apart:
        asked = "auto" if settings.precision == "nf4" else settings.precision
        bits = torch.finfo(number_format(device, asked)).bits
        needed = TWICE * weights.parameters(folder) * bits / 8
        if settings.precision == "nf4" or needed > torch.cuda.mem_get_info(device)[0]:
            names = {torch.float32: "fp32", torch.bfloat16: "bf16"}
            precision = names.get(number_format(device, asked), "fp32")
            return load_base(folder, "cpu", precision, settings.max_tokens)
    base = load_base(folder, device, settings.precision, settings.max_tokens)
    check_output_layer(base)
    return base


def adapter_names(count: int) -> list[str]:
    """What the adapters of a model are called: "default", as PEFT calls a single one, then "trial1" …"""
    return [FIRST_ADAPTER, *(f"trial{number}" for number in range(1, count))]


def adapter_parameters(model: Any, name: str = FIRST_ADAPTER) -> dict[str, Tensor]:
    """One adapter's parameters (those that compute), under the names that the adapter "default" has."""
    found = (
        (path, value)
        for path, value in model.named_parameters()
        if f".{name}." in path and _IS_ADAPTER.search(path)
    )
    return {path.replace(f".{name}.", f".{FIRST_ADAPTER}."): value for path, value in found}


def initial_values(
    model: Any, name: str = FIRST_ADAPTER, warm_start: Path | None = None
) -> dict[str, Tensor]:
    """What an adapter of `adapted_model` begins with, named and ordered as `adapter_parameters`.

    An earlier adapter's values come from its file: they are finer there than in a model that computes in bf16.
    """
    values = {path: value.detach() for path, value in adapter_parameters(model, name).items()}
    if warm_start is None:
        return values
    saved = load_file(warm_start / WEIGHTS_FILE)
    return {path: saved[saved_name(path)].to(value.device) for path, value in values.items()}


def saved_name(path: str) -> str:
    """A parameter's name in PEFT's files, which name no adapter; of DoRA's lengths they leave "weight" out."""
    named = path.replace(f".{FIRST_ADAPTER}.", ".")
    return named.removesuffix(".weight") if "lora_magnitude_vector" in named else named


def adapter_config(chosen: Sequence[Matrix], rank: int, settings: TrainingSettings) -> LoraConfig:
    """PEFT's description of a fresh adapter on the chosen matrices.

    Where alpha is left open, every module gets the one that suits its own rank (see `fitted_alpha`).
    """
    ranks = by_name(chosen, matrix_ranks(chosen, rank, settings.rank_pattern))
    other_ranks = {name: own for name, own in ranks.items() if own != rank}
    alphas = (
        {} if settings.alpha else {n: fitted_alpha(r, settings.use_rslora) for n, r in other_ranks.items()}
    )
    alpha = settings.alpha or fitted_alpha(rank, settings.use_rslora)
    names, layers = _targets(chosen)
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=rank,
        rank_pattern=other_ranks,
        lora_alpha=alpha,
        alpha_pattern={name: own for name, own in alphas.items() if own != alpha},
        use_rslora=settings.use_rslora,
        use_dora=settings.use_dora,
        lora_dropout=settings.dropout,
        target_modules=names,
        layers_to_transform=layers,
    )


def with_adapters(base: PreTrainedModel, configs: Sequence[LoraConfig], seed: int = 0) -> Any:
    """A `PeftModel` around `base`, each A drawn from `seed` and each B zero (arXiv 2106.09685, section 4.1)."""
    # The masters are in fp32 (see `AdapterWeights`); the copies that compute are in the base's own format.
    torch.manual_seed(seed)
    model = get_peft_model(base, configs[0], autocast_adapter_dtype=False)
    for name, config in zip(adapter_names(len(configs))[1:], configs[1:], strict=True):
        torch.manual_seed(seed)
        model.add_adapter(name, config, autocast_adapter_dtype=False)
    for path, value in model.named_parameters():
        if "lora_magnitude_vector" in path:
            # One step moves a length by less than bf16 can tell, and they are few.
            value.data = value.data.float()
    return model


def _config_of(earlier: EarlierAdapter, dropout: float) -> LoraConfig:
    """The earlier adapter's kind, on the matrices and with the ranks that its values have."""
    names, layers = _targets(earlier.matrices)
    rank = earlier.config["r"]
    ranks = by_name(earlier.matrices, earlier.ranks)
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=rank,
        rank_pattern={name: own for name, own in ranks.items() if own != rank},
        lora_alpha=earlier.config["lora_alpha"],
        alpha_pattern=earlier.config.get("alpha_pattern") or {},
        use_rslora=bool(earlier.config.get("use_rslora")),
        use_dora=bool(earlier.config.get("use_dora")),
        lora_dropout=dropout,
        target_modules=names,
        layers_to_transform=layers,
    )


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
