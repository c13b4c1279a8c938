"""Causal attention inside each text of a pack: flash attention on GPUs, batched matrix products elsewhere."""

from __future__ import annotations

from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import AttentionInterface

from jobs.training.attention_blocks import Saved, blocks_backward, blocks_forward
from jobs.training.packing import Layout

PACKED = "packed"

# The limits of torch's flash attention.
FLASH_FORMATS = (torch.float16, torch.bfloat16)
FLASH_CAPABILITY = (8, 0)
FLASH_WIDTH = 256
FLASH_WIDTH_STEP = 8

# Half the time of flash attention on an H100 with texts of 200 tokens; not measured on other GPUs.
SHORT_CAPABILITY = (9, 0)
SHORT_WIDTH = 128

# What some models' attention modules ask of an attention function besides (soft-capped scores, attention
# sinks, biases by position, …).
UNKNOWN_KINDS = ("softcap", "s_aux", "sinks", "position_bias", "indices", "block_indices")


def attend(
    query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float, *, window: int | None = None
) -> Tensor:
    """What every token reads from its own text up to itself, and from the prefix the text is behind.

    Args:
        query: (tokens, heads, width).
        key, value: (tokens, key-value heads, width); heads share them in consecutive groups.
        scale: of the scores.
        window: the most tokens, itself included, that a token sees; None: all.

    Returns:
        (tokens, heads, width), differentiable.
    """
    out: Tensor = _Attend.apply(query, key, value, layout, scale, window)  # type: ignore[no-untyped-call]
    return out


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float, window: int | None
    ) -> Tensor:
        out, saved = attend_forward(query, key, value, layout, scale, window)
        ctx.save_for_backward(query, key, value, out, *saved)
        ctx.arguments = (layout, scale, window)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, out, *saved = ctx.saved_tensors
        d_inputs = attend_backward(gradients[0], query, key, value, out, tuple(saved), *ctx.arguments)
        return (*d_inputs, None, None, None)


def attend_forward(
    query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float, window: int | None = None
) -> tuple[Tensor, Saved]:
    """`attend` without autograd: the output, and what `attend_backward` needs besides."""
    window = _effective(window, layout)
    if _short(query, layout, window):
        kernels = _short_kernels()
        out, log_sum_exp = kernels.attention_forward(
            query, key, value, layout.query_offsets, layout.longest_query, scale
        )
        return out, (log_sum_exp,)
    if _flash(query):
        return _flash_forward(query, key, value, layout, scale, window)
    return blocks_forward(query, key, value, layout, scale, window)


def attend_backward(
    d_out: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    saved: Saved,
    layout: Layout,
    scale: float,
    window: int | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients at query, key and value for `d_out` at the output of `attend_forward`."""
    window = _effective(window, layout)
    if _short(query, layout, window):
        gradients: tuple[Tensor, Tensor, Tensor] = _short_kernels().attention_backward(
            d_out, query, key, value, out, saved[0], layout.query_offsets, layout.longest_query, scale
        )
        return gradients
    if _flash(query):
        return _flash_backward(d_out, query, key, value, out, saved, layout, scale, window)
    return blocks_backward(d_out, query, key, value, saved, layout, scale, window)


def _effective(window: int | None, layout: Layout) -> int | None:
    return window if window is not None and window < layout.longest_key else None


def _short(query: Tensor, layout: Layout, window: int | None) -> bool:
    """Whether our own kernels compute this: made for short texts, and measured on this kind of GPU."""
    return (
        query.is_cuda
        and query.dtype in FLASH_FORMATS
        and window is None
        and layout.key_index is None
        and query.shape[-1] <= SHORT_WIDTH
        and _capability(query.device.index) == SHORT_CAPABILITY
    )


def _short_kernels() -> ModuleType:
    # Triton is there only where a GPU is.
    from jobs.training.kernels import attention

    return attention


def _flash(query: Tensor) -> bool:
    return reads_borders_on_device(query.device, query.dtype, query.shape[-1])


def reads_borders_on_device(device: torch.device, dtype: torch.dtype, width: int) -> bool:
    """Whether attention there finds the borders of texts on the device, so that a recorded graph may be replayed.

    Everywhere else the host reads them, and a recording would hold those of the first pack for ever.
    """
    return (
        device.type == "cuda"
        and dtype in FLASH_FORMATS
        and width <= FLASH_WIDTH
        and _capability(device.index or 0) >= FLASH_CAPABILITY
    )


@cache
def _capability(device: int) -> tuple[int, int]:
    return torch.cuda.get_device_capability(device)


# Flash attention as torch.nn.attention.varlen calls it; the parameters given here are in torch 2.11 to 2.13.


def _flash_forward(
    query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float, window: int | None
) -> tuple[Tensor, Saved]:
    out, log_sum_exp, random_state, *_ = torch.ops.aten._flash_attention_forward(
        _even(query),
        _even(_per_text(key, layout)),
        _even(_per_text(value, layout)),
        layout.query_offsets,
        layout.key_offsets,
        layout.longest_query,
        layout.longest_key,
        0.0,
        window is None,
        False,
        scale=scale,
        **_flash_window(window),
    )
    return out[..., : query.shape[-1]], (log_sum_exp, random_state)


def _flash_backward(
    d_out: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    saved: Saved,
    layout: Layout,
    scale: float,
    window: int | None,
) -> tuple[Tensor, Tensor, Tensor]:
    log_sum_exp, random_state = saved
    d_query, d_key, d_value = torch.ops.aten._flash_attention_backward(
        _even(d_out),
        _even(query),
        _even(_per_text(key, layout)),
        _even(_per_text(value, layout)),
        _even(out),
        log_sum_exp,
        layout.query_offsets,
        layout.key_offsets,
        layout.longest_query,
        layout.longest_key,
        0.0,
        window is None,
        random_state,
        torch.empty(0, device=query.device),
        scale=scale,
        **_flash_window(window),
    )
    width = query.shape[-1]
    return (
        d_query[..., :width],
        _per_token(d_key[..., :width], layout),
        _per_token(d_value[..., :width], layout),
    )


def _flash_window(window: int | None) -> dict[str, int]:
    # Counted without the token itself; the causal flag alone bounds the right side.
    return {} if window is None else {"window_size_left": window - 1, "window_size_right": 0}


def _even(heads: Tensor) -> Tensor:
    """(tokens, heads, width), zeros behind a width that the kernel does not take."""
    missing = -heads.shape[-1] % FLASH_WIDTH_STEP
    return pad(heads, (0, missing)) if missing else heads


def _per_text(heads: Tensor, layout: Layout) -> Tensor:
    """Keys or values (tokens, …) as (keys, …): every text behind the prefix gets a copy of it."""
    return heads if layout.key_index is None else heads.index_select(0, layout.key_index)


def _per_token(gradient: Tensor, layout: Layout) -> Tensor:
    """The gradient (keys, …) of what `_per_text` returns, at its argument (tokens, …).

    The prefix's copies are added up in fp32 and in a fixed order, which index_add on a GPU would not do.
    """
    if layout.own_keys is None or layout.prefix_keys is None:
        return gradient
    tokens = gradient.index_select(0, layout.own_keys)
    texts, prefix = layout.prefix_keys.shape
    copies = gradient.index_select(0, layout.prefix_keys.flatten()).view(texts, prefix, *gradient.shape[1:])
    tokens[:prefix] = tokens[:prefix] + copies.sum(0, dtype=torch.float32)
    return tokens


def _packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    layout: Layout | None = None,
    is_causal: bool | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """`attend` as transformers' attention modules call it: heads (1, heads, tokens, width).

    Raises:
        ValueError: the model asks for something else than plain causal attention, or gives no layout.
    """
    name = type(module).__name__
    asked = [kind for kind in UNKNOWN_KINDS if others.get(kind) is not None]
    asked += ["dropout"] * bool(dropout) + ["a mask"] * (attention_mask is not None)
    if asked:
        raise ValueError(f"{name} asks for {', '.join(asked)}")
    if layout is None:
        raise ValueError(f"{name} is not told where texts begin")
    if not (getattr(module, "is_causal", True) if is_causal is None else is_causal):
        raise ValueError(f"{name} looks ahead")
    if value.shape[-1] != query.shape[-1]:
        raise ValueError(f"{name} has values of another width than its keys")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    query, key, value = (heads[0].transpose(0, 1) for heads in (query, key, value))
    return attend(query, key, value, layout, scale, window=sliding_window)[None], None


AttentionInterface.register(PACKED, _packed_attention)
