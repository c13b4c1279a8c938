"""A Llama-like base model taken apart into the few large matrices that training computes with."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from jobs.lora.memory import LEAN
from jobs.training import kernels
from jobs.training.adapted_linear import AdaptedLinear, Part
from jobs.training.lean_layer import LayerWeights, LeanLayers, Sizes

# Modules that read the same input, by the matrix that they become; the first form that a model has counts.
FUSED = {
    "qkv": (("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), ("self_attn.qkv_proj",)),
    "out": (("self_attn.o_proj",),),
    "gate_up": (("mlp.gate_proj", "mlp.up_proj"), ("mlp.gate_up_proj",)),
    "down": (("mlp.down_proj",),),
}
KNOWN_FORMATS = (torch.float32, torch.bfloat16)
KNOWN_TURNS = ("default", "linear", "llama3", "yarn", "longrope")
_ADAPTED = re.compile(r"\.layers\.(\d+)\.(.+)\.lora_([AB])\.default\.weight$")


@dataclass
class LeanModel:
    """What is left of the base model: its layers, and what stands before and behind them."""

    layers: LeanLayers
    linears: tuple[AdaptedLinear, ...]
    count: int
    first_adapted: int
    embeddings: Tensor
    final_norm: Tensor
    head: Tensor
    rotary: nn.Module


def unsupported(base: Any, adapters: Sequence[Mapping[str, Tensor]], longest: int) -> str | None:
    """Why a model cannot be taken apart, in words; None if it can.

    Args:
        base: the transformers model, with or without PEFT's layers in it.
        adapters: what is trained, by parameter name as of the adapter "default"; none where it only answers.
        longest: the most tokens of a text.
    """
    config = base.config.get_text_config()
    kind = config.model_type
    turn = getattr(config, "rope_parameters", None) or {}
    window = getattr(config, "sliding_window", None)
    if not getattr(config, "use_sliding_window", True):
        window = None
    if base.dtype not in KNOWN_FORMATS:
        return "this GPU does not compute in bf16"
    if kind not in LEAN:
        return f"models of the kind {kind} are not known to the fast path"
    if turn.get("rope_type", "default") not in KNOWN_TURNS:
        return "its positions are computed in an unusual way"
    if turn.get("rope_type") == "longrope" and longest > turn.get("original_max_position_embeddings", 0):
        return f"its positions change beyond {turn.get('original_max_position_embeddings')} tokens"
    if window is not None and longest > window:
        return f"it sees only {window} tokens back, and the longest example has {longest}"
    if config.hidden_act != "silu":
        return f"its activation function {config.hidden_act} is not known to the fast path"
    if getattr(base.get_output_embeddings(), "bias", None) is not None:
        return "its output layer has a bias"
    return _unusual_adapters(adapters) if adapters else None


def _unusual_adapters(adapters: Sequence[Mapping[str, Tensor]]) -> str | None:
    known = {module for forms in FUSED.values() for form in forms for module in form}
    for names in adapters:
        shapes: dict[tuple[str, str], dict[int, torch.Size]] = {}
        for name, value in names.items():
            match = _ADAPTED.search(name)
            if match is None or match[2] not in known:
                return f"{name} is not a part of an adapter that the fast path knows"
            shapes.setdefault((match[2], match[3]), {})[int(match[1])] = value.shape
        for by_layer in shapes.values():
            gaps = sorted(by_layer) != list(range(min(by_layer), max(by_layer) + 1))
            if gaps or len(set(by_layer.values())) > 1:
                return "its adapter differs from layer to layer"
    ranges = {
        tuple(sorted({_layer(name) for name in names if _module(name) == module}))
        for names in adapters
        for module in {_module(name) for name in names}
    }
    return None if len(ranges) == 1 else "its adapters stand in different layers"


def _layer(name: str) -> int:
    match = _ADAPTED.search(name)
    assert match is not None
    return int(match[1])


def _module(name: str) -> str:
    match = _ADAPTED.search(name)
    assert match is not None
    return match[2]


def ordered(names: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """An adapter's parameters module by module, each from its lowest layer up, so that layers can be stacked."""

    return {name: names[name] for name in sorted(names, key=lambda name: (_module(name), _layer(name)))}


def take_apart(
    base: Any,
    adapters: Sequence[Mapping[str, Tensor]],
    scales: Sequence[Mapping[str, float]],
    device: torch.device,
    in_4_bits: bool = False,
    columns: Mapping[str, int] | None = None,
) -> LeanModel:
    """The model's weights moved into fused matrices on `device`; `base` computes with views of them from then on.

    Args:
        base: supported (see `unsupported`).
        adapters: what is trained, in the order of `ordered`.
        scales: for each adapter, its scale by module ("self_attn.q_proj").
        in_4_bits: keep the layers' frozen matrices in NF4.
        columns: the least room for adapters by kind of matrix (see FUSED).
    """
    config, decoder = base.config.get_text_config(), base.base_model
    blocks = list(decoder.layers)
    like = torch.empty(0, dtype=base.dtype, device=device)
    first = min((_layer(name) for name in adapters[0]), default=0) if adapters else 0
    room = columns or {}
    linears = {
        kind: _fused(kind, blocks, adapters, scales, first, like, in_4_bits, room.get(kind, 0))
        for kind in FUSED
    }
    base.to(device)
    attention = blocks[0].self_attn
    sizes = Sizes(
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_size=attention.head_dim,
        eps=config.rms_norm_eps,
        scale=attention.scaling,
    )
    has_head_norms = hasattr(attention, "q_norm")
    weights = LayerWeights(
        **linears,
        first_norm=torch.stack([block.input_layernorm.weight for block in blocks]),
        second_norm=torch.stack([block.post_attention_layernorm.weight for block in blocks]),
        query_norm=torch.stack([b.self_attn.q_norm.weight for b in blocks]) if has_head_norms else None,
        key_norm=torch.stack([b.self_attn.k_norm.weight for b in blocks]) if has_head_norms else None,
        turns=tuple(bool(getattr(block.self_attn, "use_rope", True)) for block in blocks),
    )
    return LeanModel(
        layers=LeanLayers(sizes, weights, kernels.for_device(device)),
        linears=tuple(linears.values()),
        count=len(blocks),
        first_adapted=first,
        embeddings=decoder.embed_tokens.weight,
        final_norm=decoder.norm.weight,
        head=base.get_output_embeddings().weight,
        rotary=decoder.rotary_emb,
    )


def _fused(
    kind: str,
    blocks: Sequence[nn.Module],
    adapters: Sequence[Mapping[str, Tensor]],
    scales: Sequence[Mapping[str, float]],
    first: int,
    like: Tensor,
    in_4_bits: bool,
    columns: int,
) -> AdaptedLinear:
    """The fused matrices of one kind over all layers; the model's own weights become views of them."""
    modules = modules_of(kind, blocks[0])
    layers = [[_linear(block, module) for module in modules] for block in blocks]
    outputs = [linear.out_features for linear in layers[0]]
    parts = _parts(modules, outputs, adapters, scales)
    sizes = (len(blocks), sum(outputs), layers[0][0].in_features)
    fused = AdaptedLinear(sizes, parts, len(adapters), first, like, in_4_bits, columns)
    for number, block in enumerate(blocks):
        replacements = fused.take_over(number, layers[number])
        for module, replacement in zip(modules, replacements, strict=True):
            _put(block, module, replacement)
    return fused


def modules_of(kind: str, block: nn.Module) -> tuple[str, ...]:
    """The modules of a decoder layer that one kind of matrix is made of, in the order of its rows."""
    return next(form for form in FUSED[kind] if _linear(block, form[0]) is not None)


def _put(block: nn.Module, path: str, replacement: nn.Module) -> None:
    """Set the frozen linear layer at `path`, inside PEFT's wrapping where there is one."""
    parent_path, _, name = path.rpartition(".")
    parent = block.get_submodule(parent_path)
    wrapped = getattr(parent, name)
    if hasattr(wrapped, "base_layer"):
        parent, name = wrapped, "base_layer"
    setattr(parent, name, replacement)


def _linear(block: nn.Module, path: str) -> Any:
    """The frozen linear layer at `path`, out of PEFT's wrapping; None if there is none."""
    module: Any = block
    for name in path.split("."):
        module = getattr(module, name, None)
        if module is None:
            return None
    return getattr(module, "base_layer", module)


def _parts(
    modules: Sequence[str],
    outputs: Sequence[int],
    adapters: Sequence[Mapping[str, Tensor]],
    scales: Sequence[Mapping[str, float]],
) -> list[Part]:
    parts, column = [], 0
    for adapter, names in enumerate(adapters):
        row = 0
        for module, width in zip(modules, outputs, strict=True):
            a_names, b_names = (
                tuple(name for name in names if f".{module}.lora_{side}." in name) for side in "AB"
            )
            if a_names:
                rank = names[a_names[0]].shape[0]
                columns = slice(column, column + rank)
                rows = slice(row, row + width)
                parts.append(Part(adapter, a_names, b_names, rows, columns, scales[adapter][module]))
                column += rank
            row += width
    return parts


def scales_of(base: Any, name: str) -> dict[str, float]:
    """PEFT's scale of an adapter by module ("self_attn.q_proj"), taken from the first layer that has it."""
    scales: dict[str, float] = {}
    for block in base.base_model.layers:
        for path, module in block.named_modules():
            scaling = getattr(module, "scaling", None)
            if isinstance(scaling, dict) and name in scaling:
                scales.setdefault(path, float(scaling[name]))
    return scales
