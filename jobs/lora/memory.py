"""How much memory a training needs at its peak, and which way of computing is the fastest that fits.

The counts per value are those of mixed-precision training with AdamW (Rajbhandari et al. 2020, section 3.1); what
a decoder layer keeps for the backward pass is counted buffer by buffer for the lean engine
(`jobs.training.lean_layer`), and measured for the plain one. Attention scores are never stored by either.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from itertools import product
from pathlib import Path

from jobs.base_models.shapes import ModelShape
from storage.errors import StudioError

BYTES_PER_WEIGHT = {"fp32": 4.0, "bf16": 2.0, "nf4": 4.127 / 8}  # nf4: Dettmers et al. 2023, section 3
ADAMW_MOMENTS_BYTES = 8  # two moments in fp32
CPU_FLAGS = Path("/proc/cpuinfo")
# Architectures that the lean engine takes apart (jobs.training.lean_model).
LEAN = frozenset({"llama", "mistral", "qwen2", "qwen3", "smollm3", "phi3"})
# With norms on queries and keys both what goes in and what comes out of these is kept.
HEAD_NORMS = frozenset({"qwen3"})
# The loss looks at so many supervised tokens at a time: their scores, and fp32 work of the same size.
LOSS_ROWS = 2048
# Python with torch, transformers and peft: 363 MB measured on Linux; a CUDA context is about as large.
RUNTIME_BYTES = 400_000_000
# Measured on Llama shapes: values that autograd keeps of one layer for a token, in hidden and intermediate sizes.
PLAIN_HIDDEN_SIZES, PLAIN_INTERMEDIATE_SIZES = 12, 4
# One pass through the model where nothing better is known, and the most tokens that pay: measured on an H100, a
# small model gains 5 % from 32,768 tokens, 8 billion values lose from 4,096 to 8,192; on a processor products of
# 1,024 rows are at full speed.
USUAL_TOKENS = 512
MOST_TOKENS_SMALL, MOST_TOKENS_LARGE, MOST_TOKENS_CPU = 16_384, 8192, 2048
SMALL_PARAMETERS = 1_000_000_000
# Time of one token against keeping everything. A layer computed twice costs 2 FLOP a value beside 4; norms and
# activation functions alone very little; nf4 weights are unpacked for every pack (36 % slower in litgpt's table).
SLOWNESS = {"keep": 1.0, "selective": 1.04, "full": 1.45}
NF4_SLOWNESS = 1.2
# What a pack costs before its first token (launches, reading the weights), in tokens; more where it unpacks them.
PACK_OVERHEAD_TOKENS, NF4_OVERHEAD_TOKENS = 512, 2048
# An allocator cannot use its last bytes: pieces of the wrong size stay free.
USABLE_SHARE = 0.93
# A pack may be so much longer than asked for rather than leave a small rest.
FULLEST_PACK = 1.1


@dataclass(frozen=True)
class Memory:
    """Bytes by what they are for; `workspace` is needed for a moment only, `runtime` are the libraries."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    workspace: int = 0
    runtime: int = RUNTIME_BYTES

    @property
    def total(self) -> int:
        """All of it, at the peak."""
        return sum(getattr(self, field.name) for field in fields(self))


@dataclass(frozen=True)
class InputRanks:
    """The ranks of all modules and adapters that read the same input, summed: their A stand side by side."""

    qkv: int = 0
    out: int = 0
    gate_up: int = 0
    down: int = 0


NO_RANKS = InputRanks()


@dataclass(frozen=True)
class Policy:
    """How a run computes: what is kept for the backward pass, tokens at a time, and whether weights are in nf4."""

    activations: str
    pack_tokens: int
    nf4: bool = False

    @property
    def words(self) -> list[str]:
        """The same for the run page, a sentence each."""
        kept = {
            "keep": "Everything that the backward pass needs is kept in memory, so nothing is computed twice.",
            "selective": "Norms and activation functions are computed a second time, which saves memory"
            " and costs little time.",
            "full": "Every layer is computed a second time for the backward pass, because not everything fits"
            " into memory at once.",
            "plain": "Each layer keeps what it needs for the backward pass.",
        }[self.activations]
        said = [f"Up to {self.pack_tokens:,} tokens are computed at a time.", kept]
        if self.nf4:
            said.append("The base model's weights are held in 4 bits (nf4).")
        return said

    @property
    def slowness(self) -> float:
        """About how long one token takes, against the fastest way in endless packs."""
        overhead = NF4_OVERHEAD_TOKENS if self.nf4 else PACK_OVERHEAD_TOKENS
        factor = SLOWNESS[self.activations] * (NF4_SLOWNESS if self.nf4 else 1.0)
        return factor * (1 + overhead / self.pack_tokens)


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
        activations=activation_bytes(shape, tokens, width, "plain"),
        workspace=_loss_bytes(shape, tokens, width),
    )


def peak(
    shape: ModelShape,
    parameters: int,
    trainable: int,
    policy: Policy,
    precision: str = "bf16",
    ranks: InputRanks = NO_RANKS,
    layers: int | None = None,
) -> Memory:
    """Training adapters of `trainable` values in fp32 beside frozen weights; in nf4 the embeddings stay in bf16.

    Args:
        precision: of the base model, "fp32" or "bf16"; "nf4" is the same as a policy with nf4.
        layers: how many the backward pass goes through, from the lowest adapted one up; None: all.
    """
    precision = "nf4" if policy.nf4 else precision
    width = 4 if precision == "fp32" else 2
    embeddings = shape.vocab_size * shape.hidden_size * (1 if shape.tied else 2)
    kept = embeddings if precision == "nf4" else 0
    # The matrices that share an input are one, and are unpacked for each product.
    unpacked = width * 2 * shape.intermediate_size * shape.hidden_size if precision == "nf4" else 0
    tokens = policy.pack_tokens
    return Memory(
        # Of every adapter a copy to compute with, and the exact one that the optimiser moves.
        weights=round(BYTES_PER_WEIGHT[precision] * (parameters - kept) + 2 * kept) + (width + 4) * trainable,
        gradients=4 * trainable,
        optimizer=ADAMW_MOMENTS_BYTES * trainable,
        activations=activation_bytes(shape, tokens, width, policy.activations, ranks, layers),
        workspace=unpacked + workspace_bytes(shape, tokens, width, policy.activations, ranks),
    )


def activation_bytes(
    shape: ModelShape,
    tokens: int,
    width: int,
    activations: str = "keep",
    ranks: InputRanks = NO_RANKS,
    layers: int | None = None,
) -> int:
    """What the layers keep of `tokens` until the backward pass, with `width` bytes a value.

    `activations` is "keep", "selective" or "full" of the lean engine, or "plain" for autograd's own choice.
    """
    layers = shape.layers if layers is None else layers
    return layers * tokens * _layer_bytes(shape, width, activations, ranks)


def workspace_bytes(
    shape: ModelShape, tokens: int, width: int, activations: str = "keep", ranks: InputRanks = NO_RANKS
) -> int:
    """What is needed for a moment: by the loss, then by the backward pass of one layer at a time."""
    loss = _loss_bytes(shape, tokens, width)
    if activations == "plain":
        return loss
    # The last hidden states and their gradient are there from the loss to the end.
    last = 2 * width * tokens * shape.hidden_size
    gradients = 2 * shape.hidden_size + 3 * shape.intermediate_size + shape.query_size + 2 * shape.key_size
    again = _layer_bytes(shape, width, "keep", ranks) - _layer_bytes(shape, width, activations, ranks)
    return last + max(loss, tokens * (width * gradients + again))


def choose_policy(
    shape: ModelShape,
    parameters: int,
    trainable: int,
    *,
    memory_bytes: int,
    longest_example: int,
    precision: str = "bf16",
    device: str = "cuda",
    ranks: InputRanks = NO_RANKS,
    layers: int | None = None,
    step_tokens: int | None = None,
    may_use_nf4: bool = False,
) -> Policy:
    """The fastest way for the lean engine to compute a run within `memory_bytes`.

    Args:
        memory_bytes: what the run may have in all. Where its weights are loaded already: the free bytes and theirs.
        longest_example: tokens; a pack is never shorter.
        precision: of the base model, "fp32", "bf16" or "nf4".
        step_tokens: of the longest step; longer packs would never be full.
        may_use_nf4: whether weights that do not fit may be held in 4 bits.

    Raises:
        StudioError: nothing fits.
    """
    quantized = (True,) if precision == "nf4" else (False, True) if may_use_nf4 else (False,)
    lengths = list(_pack_lengths(most_tokens(parameters, device), longest_example, step_tokens))

    def needed(policy: Policy) -> int:
        fullest = replace(policy, pack_tokens=int(FULLEST_PACK * policy.pack_tokens))
        return peak(shape, parameters, trainable, fullest, precision, ranks, layers).total

    # Weights in 4 bits cost exactness as well: only where nothing else fits.
    for nf4 in quantized:
        ways = [Policy(kept, tokens, nf4) for kept, tokens in product(SLOWNESS, lengths)]
        fitting = [way for way in ways if needed(way) <= USABLE_SHARE * memory_bytes]
        if fitting:
            return min(fitting, key=lambda way: way.slowness)
    least = needed(leanest(longest_example, quantized[-1])) / USABLE_SHARE
    raise StudioError(
        f"This run needs at least {least / 1e9:.1f} GB of memory, and {memory_bytes / 1e9:.1f} GB are free.",
        f"Choose a smaller base model, set max_tokens (longest example) below {longest_example:,}, or close"
        " other programs that use this memory.",
    )


def leanest(longest_example: int, nf4: bool = False) -> Policy:
    """The way that needs the least memory."""
    return Policy("full", longest_example, nf4)


def most_tokens(parameters: int, device: str) -> int:
    """The longest pack that pays on a kind of device."""
    if device.startswith("cpu"):
        return MOST_TOKENS_CPU
    return MOST_TOKENS_SMALL if parameters <= SMALL_PARAMETERS else MOST_TOKENS_LARGE


def is_lean(shape: ModelShape) -> bool:
    """Whether the lean engine knows models of this architecture."""
    return shape.architecture in LEAN


def number_format(device_id: str, precision: str = "auto") -> str:
    """The format that "auto" means on a device: bf16 where the hardware multiplies in it, else fp32."""
    if precision != "auto":
        return precision
    if device_id != "cpu":
        return "bf16"
    flags = CPU_FLAGS.read_text().split() if CPU_FLAGS.exists() else []
    return "bf16" if {"avx512_bf16", "amx_bf16"} & set(flags) else "fp32"


def _pack_lengths(most: int, longest: int, step_tokens: int | None) -> Iterator[int]:
    """Lengths to choose from: the most that pays or that a step has, its halves, and the longest example."""
    tokens = min(most, step_tokens or most)
    while tokens > longest:
        yield tokens
        tokens //= 2
    yield longest


def _layer_bytes(shape: ModelShape, width: int, activations: str, ranks: InputRanks) -> int:
    """What one layer keeps of one token."""
    hidden, inner, query, key = shape.hidden_size, shape.intermediate_size, shape.query_size, shape.key_size
    if activations == "plain":
        return width * (PLAIN_HIDDEN_SIZES * hidden + PLAIN_INTERMEDIATE_SIZES * inner)
    if activations == "full":
        return width * hidden
    values = {
        "layer's input": hidden,
        "queries, keys, values": query + 2 * key,
        "attention's output": query + ranks.out,
        "middle of the layer": hidden,
        "gate and up": 2 * inner,
    }
    statistics = shape.heads + 2  # of the attention's softmax, and of two norms
    if shape.architecture in HEAD_NORMS:
        values["normed queries and keys"] = query + key
        statistics += shape.heads + shape.kv_heads
    if activations == "keep":
        values["normed input"] = hidden + ranks.qkv
        values["normed middle"] = hidden + ranks.gate_up
        values["gate times up"] = inner + ranks.down
    return width * sum(values.values()) + 4 * statistics


def _loss_bytes(shape: ModelShape, tokens: int, width: int) -> int:
    """Scores of all words for a chunk of tokens, and the same in fp32."""
    return min(tokens, LOSS_ROWS) * shape.vocab_size * (width + 4)
