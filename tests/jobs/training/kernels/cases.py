"""One call of every function between the matrix products, for any of the modules that have them."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import torch
from torch import Tensor

TOKENS, HIDDEN, EXTRA = 7, 48, 8
HEADS, KV_HEADS, HEAD = 6, 2, 16
EPS = 1e-5

# A call with a module, giving what it computed without the uninitialised columns.
Case = Callable[[ModuleType], list[Tensor]]


def wide(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Random values in the first columns of a wider tensor, as the matrix products hand them on."""
    return torch.randn(*shape[:-1], shape[-1] + EXTRA).to(dtype)[..., : shape[-1]]


def turns(rotated: int = HEAD, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Cosines and sines (TOKENS, rotated)."""
    angles = torch.rand(TOKENS, rotated // 2).repeat(1, 2) * 6
    return angles.cos().to(dtype), angles.sin().to(dtype)


def cases(dtype: torch.dtype) -> dict[str, Case]:
    """Every function by name, on the same random values each time."""
    torch.manual_seed(0)
    residual, delta, d_normed, d_residual = (wide(TOKENS, HIDDEN, dtype=dtype) for _ in range(4))
    norm, q_norm, k_norm = (torch.rand(size).to(dtype) + 0.5 for size in (HIDDEN, HEAD, HEAD))
    total = (residual + delta).contiguous()
    inverse_rms = torch.rsqrt(total.float().square().mean(1) + EPS)
    qkv = wide(TOKENS, (HEADS + 2 * KV_HEADS) * HEAD, dtype=dtype)
    head_rms = torch.rand(TOKENS, HEADS + KV_HEADS) + 0.5
    d_query, d_key, d_value = (torch.randn(TOKENS, n, HEAD).to(dtype) for n in (HEADS, KV_HEADS, KV_HEADS))
    gate_up, d_product = wide(TOKENS, 2 * HIDDEN, dtype=dtype), wide(TOKENS, HIDDEN, dtype=dtype)
    logits, targets = 3 * wide(TOKENS, 5000, dtype=dtype), torch.randint(0, 5000, (TOKENS,))
    weights = torch.tensor([1, 1, 0, 1, 1, 0.5, 1])
    cos, sin = turns(dtype=dtype)
    some_cos, some_sin = turns(HEAD - 4, dtype)
    codes = torch.randint(0, 256, (TOKENS, HIDDEN), dtype=torch.uint8)
    scales, levels = torch.rand(TOKENS, 3).bfloat16(), torch.linspace(-1, 1, 16)

    def rotated(kernels: ModuleType, cos: Tensor, sin: Tensor) -> list[Tensor]:
        turned = qkv.clone()
        kernels.rotate_(turned, cos, sin, HEADS + KV_HEADS, HEAD)
        return [turned]

    def crossed(kernels: ModuleType) -> list[Tensor]:
        scores = logits.clone()
        return [kernels.cross_entropy_(scores, targets, weights), scores]

    def unpacked(kernels: ModuleType) -> list[Tensor]:
        target = wide(TOKENS, 2 * HIDDEN, dtype=dtype)
        kernels.unpack_nf4(codes, scales, levels, target)
        return [target]

    def without_extra(result: Tensor) -> list[Tensor]:
        return [result[:, :-EXTRA]]

    def added(kernels: ModuleType, delta: Tensor | None) -> list[Tensor]:
        total, normed, inverse = kernels.add_norm(residual, delta, norm, EPS, EXTRA)
        return [total, normed[:, :-EXTRA], inverse]

    def normed_back(kernels: ModuleType, beside: Tensor | None) -> list[Tensor]:
        return without_extra(kernels.norm_backward(d_normed, total, inverse_rms, norm, beside, EXTRA))

    heads = d_query, d_key, d_value
    return {
        "wide_copy": lambda k: without_extra(k.wide_copy(residual, EXTRA)),
        "add_norm": lambda k: added(k, delta),
        "add_norm of nothing": lambda k: added(k, None),
        "norm_again": lambda k: without_extra(k.norm_again(total, inverse_rms, norm, EXTRA)),
        "norm_backward": lambda k: normed_back(k, d_residual),
        "norm_backward of nothing beside": lambda k: normed_back(k, None),
        "rotate_": lambda k: rotated(k, cos, sin),
        "rotate_ of a part": lambda k: rotated(k, some_cos, some_sin),
        "rotate_backward": lambda k: without_extra(k.rotate_backward(*heads, cos, sin, EXTRA)),
        "rotate_backward of a part": lambda k: without_extra(
            k.rotate_backward(*heads, some_cos, some_sin, EXTRA)
        ),
        "norm_rotate": lambda k: list(k.norm_rotate(qkv, q_norm, k_norm, EPS, cos, sin, HEADS, KV_HEADS)),
        "norm_rotate_backward": lambda k: without_extra(
            k.norm_rotate_backward(*heads, qkv, head_rms, q_norm, k_norm, cos, sin, EXTRA)
        ),
        "swiglu": lambda k: without_extra(k.swiglu(gate_up, EXTRA)),
        "swiglu_backward": lambda k: without_extra(k.swiglu_backward(d_product, gate_up, EXTRA)),
        "cross_entropy_": crossed,
        "unpack_nf4": unpacked,
    }


def error(own: list[Tensor], others: list[Tensor]) -> float:
    """The largest difference of two results, relative to the largest value of the tensor it is in."""
    return max(
        float((one.double() - other.double()).abs().max() / other.double().abs().max())
        for one, other in zip(own, others, strict=True)
    )
