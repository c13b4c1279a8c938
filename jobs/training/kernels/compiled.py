"""The functions of `portable` in C++, compiled once for the processor at hand; see `processor.cpp`."""

from __future__ import annotations

import ctypes
import logging
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from jobs.training.kernels import portable
from jobs.training.kernels.building import built

unpack_nf4 = portable.unpack_nf4

_log = logging.getLogger(__name__)

_SOURCE = Path(__file__).with_name("processor.cpp")
_SUFFIX = {torch.float32: "fp32", torch.bfloat16: "bf16"}


@cache
def load() -> str | None:
    """Compile, unless an earlier run did, and load; why that is impossible in words, None if it went well."""
    try:
        _library()
    except (OSError, subprocess.SubprocessError) as error:
        _log.warning("compiling %s: %s %s", _SOURCE.name, error, getattr(error, "stderr", None) or "")
        return "there is no C++ compiler that works here"
    return None


def compile_seconds() -> float | None:
    """What compiling took in this process after `load`; None if an earlier run did it."""
    return _library()[1]


@cache
def _library() -> tuple[ctypes.CDLL, float | None]:
    """The compiled functions, and how many seconds it took to compile them."""
    return built(_SOURCE)


@cache
def _function(name: str, dtype: torch.dtype) -> Callable[..., None]:
    address = ctypes.c_void_p.in_dll(_library()[0], f"{name}_{_SUFFIX[dtype]}").value
    assert address is not None
    return ctypes.CFUNCTYPE(None)(address)


def _call(name: str, dtype: torch.dtype, *arguments: Tensor | int | float | None) -> None:
    """Call a function of `processor.cpp`: tensors as pointers, None as the null pointer."""
    values = (_argument(argument) for argument in arguments)
    _function(name, dtype)(*values, ctypes.c_int64(torch.get_num_threads()))


def _argument(value: Tensor | int | float | None) -> ctypes.c_void_p | ctypes.c_int64 | ctypes.c_float:
    if isinstance(value, Tensor):
        assert value.stride(-1) == 1
        return ctypes.c_void_p(value.data_ptr())
    if value is None:
        return ctypes.c_void_p(None)
    return ctypes.c_int64(value) if isinstance(value, int) else ctypes.c_float(value)


def wide_copy(values: Tensor, extra: int) -> Tensor:
    """See `portable.wide_copy`."""
    rows, width = values.shape
    wide = values.new_empty(rows, width + extra)
    _call("copy_rows", wide.dtype, values, wide, rows, width, values.stride(0), wide.stride(0))
    return wide


def add_norm(
    residual: Tensor, delta: Tensor | None, weight: Tensor, eps: float, extra: int
) -> tuple[Tensor, Tensor, Tensor]:
    """See `portable.add_norm`."""
    rows, width = residual.shape
    total = residual if delta is None else residual.new_empty(rows, width)
    wide = residual.new_empty(rows, width + extra)
    inverse_rms = residual.new_empty(rows, dtype=torch.float32)
    added = residual if delta is None else delta
    _call(
        "add_norm", wide.dtype, residual, delta, weight, total, wide, inverse_rms, eps, rows, width,
        residual.stride(0), added.stride(0), wide.stride(0),
    )  # fmt: skip
    return total, wide, inverse_rms


def norm_again(total: Tensor, inverse_rms: Tensor, weight: Tensor, extra: int) -> Tensor:
    """See `portable.norm_again`."""
    rows, width = total.shape
    wide = total.new_empty(rows, width + extra)
    strides = total.stride(0), wide.stride(0)
    _call("norm_again", wide.dtype, total, inverse_rms, weight, wide, rows, width, *strides)
    return wide


def norm_backward(
    d_normed: Tensor,
    total: Tensor,
    inverse_rms: Tensor,
    weight: Tensor,
    d_residual: Tensor | None,
    extra: int,
) -> Tensor:
    """See `portable.norm_backward`."""
    rows, width = total.shape
    wide = total.new_empty(rows, width + extra)
    beside = d_normed if d_residual is None else d_residual
    _call(
        "norm_backward", wide.dtype, d_normed, total, inverse_rms, weight, d_residual, wide, rows, width,
        d_normed.stride(0), total.stride(0), beside.stride(0), wide.stride(0),
    )  # fmt: skip
    return wide


def _turn(
    source: Tensor, target: Tensor, cos: Tensor, sin: Tensor, sign: float, heads: int, size: int
) -> None:
    """Turn heads of `source`, (tokens, heads, size) or flat, into `target` (tokens, at least heads × size)."""
    head_stride = source.stride(1) if source.dim() == 3 else size
    _call(
        "turn", target.dtype, source, target, cos, sin, sign, len(source), heads, size, cos.shape[1] // 2,
        source.stride(0), head_stride, target.stride(0), cos.stride(0),
    )  # fmt: skip


def rotate_(qkv: Tensor, cos: Tensor, sin: Tensor, heads: int, head_size: int) -> None:
    """See `portable.rotate_`."""
    _turn(qkv, qkv, cos, sin, 1.0, heads, head_size)


def rotate_backward(
    d_query: Tensor, d_key: Tensor, d_value: Tensor, cos: Tensor, sin: Tensor, extra: int
) -> Tensor:
    """See `portable.rotate_backward`."""
    rows, heads, size = d_query.shape
    kv_heads = d_key.shape[1]
    wide = d_query.new_empty(rows, (heads + 2 * kv_heads) * size + extra)
    _turn(d_query, wide, cos, sin, -1.0, heads, size)
    _turn(d_key, wide[:, heads * size :], cos, sin, -1.0, kv_heads, size)
    wide[:, (heads + kv_heads) * size : (heads + 2 * kv_heads) * size] = d_value.flatten(1)
    return wide


def norm_rotate(
    qkv: Tensor,
    q_weight: Tensor,
    k_weight: Tensor,
    eps: float,
    cos: Tensor,
    sin: Tensor,
    heads: int,
    kv_heads: int,
) -> tuple[Tensor, Tensor]:
    """See `portable.norm_rotate`."""
    size, both = q_weight.shape[0], heads + kv_heads
    turned = qkv.new_empty(len(qkv), both * size)
    inverse_rms = qkv.new_empty(len(qkv), both, dtype=torch.float32)
    for weight, first, count in ((q_weight, 0, heads), (k_weight, heads, kv_heads)):
        start = first * size
        _call(
            "norm_rotate", qkv.dtype, qkv[:, start:], weight, cos, sin, turned[:, start:],
            inverse_rms[:, first:], eps, len(qkv), count, size, cos.shape[1] // 2,
            qkv.stride(0), turned.stride(0), both, cos.stride(0),
        )  # fmt: skip
    return turned, inverse_rms


def norm_rotate_backward(
    d_query: Tensor,
    d_key: Tensor,
    d_value: Tensor,
    qkv: Tensor,
    inverse_rms: Tensor,
    q_weight: Tensor,
    k_weight: Tensor,
    cos: Tensor,
    sin: Tensor,
    extra: int,
) -> Tensor:
    """See `portable.norm_rotate_backward`."""
    heads, kv_heads, size = d_query.shape[1], d_key.shape[1], d_query.shape[2]
    wide = rotate_backward(d_query, d_key, d_value, cos, sin, extra)
    for weight, first, count in ((q_weight, 0, heads), (k_weight, heads, kv_heads)):
        start = first * size
        _call(
            "head_norm_backward", qkv.dtype, wide[:, start:], qkv[:, start:], inverse_rms[:, first:], weight,
            len(qkv), count, size, wide.stride(0), qkv.stride(0), inverse_rms.stride(0),
        )  # fmt: skip
    return wide


def swiglu(gate_up: Tensor, extra: int) -> Tensor:
    """See `portable.swiglu`."""
    rows, width = len(gate_up), gate_up.shape[1] // 2
    wide = gate_up.new_empty(rows, width + extra)
    _call("swiglu", wide.dtype, gate_up, wide, rows, width, gate_up.stride(0), wide.stride(0))
    return wide


def swiglu_backward(d_product: Tensor, gate_up: Tensor, extra: int) -> Tensor:
    """See `portable.swiglu_backward`."""
    rows, width = len(gate_up), gate_up.shape[1] // 2
    wide = gate_up.new_empty(rows, 2 * width + extra)
    strides = d_product.stride(0), gate_up.stride(0), wide.stride(0)
    _call("swiglu_backward", wide.dtype, d_product, gate_up, wide, rows, width, *strides)
    return wide


def cross_entropy_(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """See `portable.cross_entropy_`."""
    losses = logits.new_empty(len(logits), dtype=torch.float32)
    rows, vocabulary = logits.shape
    _call("cross_entropy", logits.dtype, logits, targets, weights, losses, rows, vocabulary, logits.stride(0))
    return losses
