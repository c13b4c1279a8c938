"""How much memory a training needs, with LoRA and without: weights, gradients, optimiser state, activations.

The counts per value are those of mixed-precision training with AdamW (Rajbhandari et al. 2020, section 3.1).
Activations are an estimate: what a decoder layer keeps for the backward pass, without attention scores, which
fused attention never stores.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from jobs import gpu
from jobs.base_models.catalogue import BaseModel
from jobs.base_models.shapes import ModelShape
from jobs.lora import savings, targets
from storage.errors import StudioError

BYTES_PER_WEIGHT = {"fp32": 4.0, "bf16": 2.0, "nf4": 4.127 / 8}  # nf4: Dettmers et al. 2023, section 3
ADAMW_MOMENTS_BYTES = 8  # two moments in fp32
CPU_FLAGS = Path("/proc/cpuinfo")
# One pass through the model: with few examples, and the most that training takes on a processor.
USUAL_TOKENS = 512
MOST_TOKENS = 2048
# Measured on Llama shapes: values that one layer keeps for a token, in hidden and in intermediate sizes.
HIDDEN_SIZES_KEPT, INTERMEDIATE_SIZES_KEPT = 12, 4
# The loss takes the vocabulary's scores for so many values at a time, in fp32, with their gradient.
SCORES_AT_A_TIME = 1 << 26
# Python with torch, transformers and peft: 363 MB measured on Linux; a CUDA context is about as large.
RUNTIME_BYTES = 400_000_000


@dataclass(frozen=True)
class Memory:
    """Bytes by what they are for; `runtime` are the libraries themselves."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    runtime: int = RUNTIME_BYTES

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.runtime


def full_memory(
    shape: ModelShape, parameters: int, tokens: int = USUAL_TOKENS, precision: str = "bf16"
) -> Memory:
    """Training every value: 16 bytes for each, in mixed precision as in fp32."""
    width = 4 if precision == "fp32" else 2
    # In bf16 the optimiser keeps an exact fp32 copy of the weights beside its moments.
    master = 0 if width == 4 else 4
    return Memory(
        weights=width * parameters,
        gradients=width * parameters,
        optimizer=(master + ADAMW_MOMENTS_BYTES) * parameters,
        activations=activation_bytes(shape, tokens, width),
    )


def lora_memory(
    shape: ModelShape, parameters: int, trainable: int, tokens: int = USUAL_TOKENS, precision: str = "bf16"
) -> Memory:
    """Training an adapter in fp32 beside frozen weights; in nf4 the embeddings stay in bf16."""
    embeddings = shape.vocab_size * shape.hidden_size * (1 if shape.tied else 2)
    kept = embeddings if precision == "nf4" else 0
    return Memory(
        weights=round(BYTES_PER_WEIGHT[precision] * (parameters - kept) + 2 * kept) + 4 * trainable,
        gradients=4 * trainable,
        optimizer=ADAMW_MOMENTS_BYTES * trainable,
        activations=activation_bytes(shape, tokens, 4 if precision == "fp32" else 2),
    )


def activation_bytes(shape: ModelShape, tokens: int, width: int) -> int:
    """What a pass over `tokens` keeps, with `width` bytes a value, and one chunk of the loss."""
    a_layer = HIDDEN_SIZES_KEPT * shape.hidden_size + INTERMEDIATE_SIZES_KEPT * shape.intermediate_size
    scores = 2 * 4 * min(tokens * shape.vocab_size, SCORES_AT_A_TIME)
    return width * tokens * shape.layers * a_layer + scores


def number_format(device_id: str, precision: str = "auto") -> str:
    """The format that "auto" means on a device: bf16 where the hardware multiplies in it, else fp32."""
    if precision != "auto":
        return precision
    if device_id != "cpu":
        return "bf16"
    flags = CPU_FLAGS.read_text().split() if CPU_FLAGS.exists() else []
    return "bf16" if {"avx512_bf16", "amx_bf16"} & set(flags) else "fp32"


def both(
    model: BaseModel,
    rank: int,
    target_modules: str | Iterable[str] = "auto",
    layers: str = "all",
    *,
    tokens: int = USUAL_TOKENS,
    precision: str | None = None,
) -> tuple[Memory, Memory]:
    """The memory to train everything, and with LoRA; by default in this machine's own number format.

    Raises StudioError for a choice that the model does not have, or a model not yet known.
    """
    chosen = targets.choose(savings.known_matrices(model), target_modules, layers)
    if model.shape is None or model.parameters is None:
        raise StudioError(f"The size of “{model.name}” is unknown until it is fetched.", "Fetch it first.")
    trainable = savings.trainable(chosen, rank)
    precision = precision or number_format(gpu.default_device())
    return (
        full_memory(model.shape, model.parameters, tokens, precision),
        lora_memory(model.shape, model.parameters, trainable, tokens, precision),
    )


def formula(
    model: BaseModel,
    rank: int,
    target_modules: str | Iterable[str] = "auto",
    layers: str = "all",
    *,
    tokens: int = USUAL_TOKENS,
    precision: str | None = None,
) -> str:
    """How `both` counted, with the numbers filled in, for people who want to check."""
    precision = precision or number_format(gpu.default_device())
    full, lora = both(model, rank, target_modules, layers, tokens=tokens, precision=precision)
    values, trainable = model.parameters or 0, lora.gradients // 4
    master = 0 if precision == "fp32" else 4
    per_value = full.weights // values
    return "\n".join(
        (
            f"{values:,} values in the model, {trainable:,} in the adapter, {tokens:,} tokens in one pass",
            "",
            "Everything trained:",
            f"  weights      {values:,} × {per_value} bytes = {full.weights:,}",
            f"  gradients    {values:,} × {per_value} bytes = {full.gradients:,}",
            f"  optimiser    {values:,} × {master + ADAMW_MOMENTS_BYTES} bytes (AdamW) = {full.optimizer:,}",
            *_shared_lines(full),
            "",
            "With LoRA:",
            f"  weights      frozen in {precision}: {lora.weights - 4 * trainable:,}"
            f" + {trainable:,} × 4 bytes = {lora.weights:,}",
            f"  gradients    {trainable:,} × 4 bytes = {lora.gradients:,}",
            f"  optimiser    {trainable:,} × {ADAMW_MOMENTS_BYTES} bytes = {lora.optimizer:,}",
            *_shared_lines(lora),
        )
    )


def _shared_lines(memory: Memory) -> tuple[str, str, str]:
    return (
        f"  activations  about {memory.activations:,}",
        f"  libraries    about {memory.runtime:,}",
        f"  together     {memory.total:,} bytes",
    )
