"""The memory of one training of one model: with LoRA and for everything, and how it was counted, with its numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jobs.base_models.catalogue import BaseModel
from jobs.lora import memory, savings, targets
from jobs.lora.memory import InputRanks, Memory, Policy
from storage.errors import StudioError

# Which modules read the same input: the layer's, the attention's output, the MLP's, its product.
SAME_INPUT = {
    "qkv": {"q_proj", "k_proj", "v_proj", "qkv_proj", "c_attn"},
    "out": {"o_proj", "attn.c_proj"},
    "gate_up": {"gate_proj", "up_proj", "gate_up_proj", "c_fc"},
    "down": {"down_proj", "mlp.c_proj"},
}


@dataclass(frozen=True)
class Choice:
    """What is trained: modules and layers as for `targets.choose`; several ranks are adapters side by side."""

    ranks: Sequence[int]
    target_modules: str | Iterable[str] = "auto"
    layers: str = "all"
    rank_pattern: Mapping[str, int] = field(default_factory=dict)
    use_dora: bool = False


@dataclass(frozen=True)
class Adapters:
    """The adapters of a choice on a model: their values, their ranks by input, the layers they reach down to."""

    trainable: int
    ranks: InputRanks
    layers: int


def adapters(model: BaseModel, choice: Choice) -> Adapters:
    """What a choice means on a model.

    Raises StudioError for a choice that the model does not have, or a model not yet known.
    """
    chosen = targets.choose(savings.known_matrices(model), choice.target_modules, choice.layers)
    lowest = min(matrix.layer or 0 for matrix in chosen)
    by_input = dict.fromkeys(SAME_INPUT, 0)
    for rank in choice.ranks:
        for matrix, own in zip(chosen, targets.ranks(chosen, rank, choice.rank_pattern), strict=True):
            for name, modules in SAME_INPUT.items():
                if matrix.layer == lowest and matrix.name in modules:
                    by_input[name] += own
    return Adapters(
        trainable=sum(
            savings.trainable(chosen, rank, choice.rank_pattern, choice.use_dora) for rank in choice.ranks
        ),
        ranks=InputRanks(**by_input),
        layers=(model.shape.layers if model.shape else lowest + 1) - lowest,
    )


def both(model: BaseModel, choice: Choice, policy: Policy, precision: str) -> tuple[Memory, Memory]:
    """The memory to train everything with the same tokens at a time, and with LoRA as the policy says.

    Raises StudioError for a choice that the model does not have, or a model not yet known.
    """
    made = adapters(model, choice)
    if model.shape is None or model.parameters is None:
        raise StudioError(f"The size of “{model.name}” is unknown until it is fetched.", "Fetch it first.")
    return (
        memory.full_memory(model.shape, model.parameters, policy.pack_tokens, precision),
        memory.peak(
            model.shape, model.parameters, made.trainable, policy, precision, made.ranks, made.layers
        ),
    )


def formula(model: BaseModel, choice: Choice, policy: Policy, precision: str) -> str:
    """How `both` counted, with the numbers filled in, for people who want to check."""
    full, lora = both(model, choice, policy, precision)
    values, trainable = model.parameters or 0, lora.gradients // 4
    width = 4 if precision == "fp32" else 2
    master = 0 if precision == "fp32" else 4
    frozen = "nf4" if policy.nf4 else precision
    return "\n".join(
        (
            f"{values:,} values in the model, {trainable:,} in the adapter,"
            f" {policy.pack_tokens:,} tokens in one pass",
            "",
            "Everything trained:",
            f"  weights      {values:,} × {full.weights // values} bytes = {full.weights:,}",
            f"  gradients    {values:,} × {full.gradients // values} bytes = {full.gradients:,}",
            f"  optimiser    {values:,} × {master + memory.ADAMW_MOMENTS_BYTES} bytes (AdamW)"
            f" = {full.optimizer:,}",
            *_shared_lines(full, "plain"),
            "",
            "With LoRA:",
            f"  weights      frozen in {frozen}: {lora.weights - (width + 4) * trainable:,}"
            f" + {trainable:,} × ({width} + 4) bytes = {lora.weights:,}",
            f"  gradients    {trainable:,} × 4 bytes = {lora.gradients:,}",
            f"  optimiser    {trainable:,} × {memory.ADAMW_MOMENTS_BYTES} bytes = {lora.optimizer:,}",
            *_shared_lines(lora, policy.activations),
        )
    )


def _shared_lines(counted: Memory, activations: str) -> tuple[str, ...]:
    how = {"keep": "all kept", "selective": "norms computed twice", "full": "layers computed twice"}
    said = f" ({how[activations]})" if activations in how else ""
    return (
        f"  activations  about {counted.activations:,}{said}",
        f"  workspace    about {counted.workspace:,}",
        f"  libraries    about {counted.runtime:,}",
        f"  together     {counted.total:,} bytes",
    )


def as_json(counted: Memory) -> dict[str, Any]:
    """Bytes by purpose, and all together."""
    return {**vars(counted), "total": counted.total}
