"""Attention inside each text of a pack by matrix products, over equal texts at once, a block of queries at a time.

For processors, where torch's own fused attention is slow backward in bf16, and for GPUs and number formats
that flash attention does not know.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from jobs.training.packing import Group, Layout

# What a call keeps for its backward besides inputs and output.
Saved = tuple[Tensor, ...]

# Queries computed at once, and scores (heads × queries × keys) at once. On a processor they should stay in
# its caches, and short blocks of queries skip most of what causality hides; measured in
# tests/benchmarks/README.md. A GPU wants few, large products.
BLOCK_ON_CPU = {torch.float32: 64}
OTHER_BLOCK_ON_CPU = 128
SCORES_ON_CPU = 1 << 19
BLOCK_ON_GPU = 512
SCORES_ON_GPU = 1 << 24
# Probabilities of texts up to this many keys are kept for the backward; longer ones would take more memory
# than all else together and are computed again.
LONGEST_KEPT = 512


def blocks_forward(
    query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float, window: int | None
) -> tuple[Tensor, Saved]:
    """The output (tokens, heads, width), and the probabilities that are kept for the backward."""
    out = torch.empty_like(query, memory_format=torch.contiguous_format)
    kept: list[Tensor] = []
    for part in _parts(layout, query):
        keys, values = _keys(key, part), _keys(value, part)
        outs = _heads(out, part, key.shape[1])
        queries = _heads(query, part, key.shape[1])
        for block in _blocks(part, query, window):
            _, probabilities = _probabilities(queries, keys, part, block, scale, window)
            result = torch.bmm(probabilities, values[:, block.first_key : block.after_key])
            outs[:, :, :, block.first : block.after] = result.view(*outs.shape[:3], -1, outs.shape[-1])
            if _keeps(part):
                kept.append(probabilities)
    return out, tuple(kept)


def blocks_backward(
    d_out: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    saved: Saved,
    layout: Layout,
    scale: float,
    window: int | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients at query, key and value."""
    d_query, d_key, d_value = (
        torch.empty_like(t, memory_format=torch.contiguous_format) for t in (query, key, value)
    )
    prefix = max(span.prefix for span in layout.spans)
    d_prefix = torch.zeros(2, prefix, *key.shape[1:], dtype=torch.float32, device=key.device)
    kept = iter(saved)
    kv_heads = key.shape[1]
    for part in _parts(layout, query):
        keys, values = _keys(key, part), _keys(value, part)
        queries, d_queries = _heads(query, part, kv_heads), _heads(d_query, part, kv_heads)
        d_outs = _heads(d_out, part, kv_heads)
        blocks = list(_blocks(part, query, window))
        # Several blocks add to the same keys: in fp32.
        d_keys, d_values = (
            torch.zeros_like(keys, dtype=torch.float32 if len(blocks) > 1 else keys.dtype) for _ in range(2)
        )
        for block in blocks:
            if _keeps(part):
                taken, probabilities = _taken(queries, block, scale), next(kept)
            else:
                taken, probabilities = _probabilities(queries, keys, part, block, scale, window)
            seen = slice(block.first_key, block.after_key)
            d_taken = _taken(d_outs, block)
            d_values[:, seen] += torch.bmm(probabilities.transpose(1, 2), d_taken)
            d_probabilities = torch.bmm(d_taken, values[:, seen].transpose(1, 2))
            d_scores = torch._softmax_backward_data(d_probabilities, probabilities, -1, query.dtype)
            d_keys[:, seen] += torch.bmm(d_scores.transpose(1, 2), taken)
            result = torch.bmm(d_scores, keys[:, seen]).mul_(scale)
            d_queries[:, :, :, block.first : block.after] = result.view(
                *d_queries.shape[:3], -1, d_queries.shape[-1]
            )
        for whole, of_prefix, gradient in ((d_key, d_prefix[0], d_keys), (d_value, d_prefix[1], d_values)):
            gradient = gradient.view(part.texts, kv_heads, *gradient.shape[1:]).transpose(1, 2)
            _own(whole, part)[:] = gradient[:, part.prefix :]
            of_prefix[: part.prefix] += gradient[:, : part.prefix].sum(0)
    for whole, of_prefix in ((d_key, d_prefix[0]), (d_value, d_prefix[1])):
        whole[:prefix] = whole[:prefix] + of_prefix
    return d_query, d_key, d_value


@dataclass(frozen=True)
class _Block:
    """Queries `first` … `after` - 1 of a text, and the keys of it that any of them sees."""

    first: int
    after: int
    first_key: int
    after_key: int


def _parts(layout: Layout, query: Tensor) -> Iterator[Group]:
    """The groups of the layout, cut so that one block's scores stay within bounds."""
    limit = SCORES_ON_GPU if query.is_cuda else SCORES_ON_CPU
    for group in layout.groups:
        scores = query.shape[1] * min(_block(query), group.length) * (group.prefix + group.length)
        most = max(1, limit // scores)
        for first in range(0, group.texts, most):
            texts = min(most, group.texts - first)
            yield Group(group.start + first * group.length, texts, group.length, group.prefix)


def _blocks(part: Group, query: Tensor, window: int | None) -> Iterator[_Block]:
    size = _block(query)
    for first in range(0, part.length, size):
        after = min(part.length, first + size)
        first_key = 0 if window is None else max(0, part.prefix + first - window + 1)
        yield _Block(first, after, first_key, part.prefix + after)


def _block(query: Tensor) -> int:
    return BLOCK_ON_GPU if query.is_cuda else BLOCK_ON_CPU.get(query.dtype, OTHER_BLOCK_ON_CPU)


def _keeps(part: Group) -> bool:
    return part.prefix + part.length <= LONGEST_KEPT


def _own(heads: Tensor, part: Group) -> Tensor:
    """The part's own tokens of (tokens, heads, width) as a view (texts, length, heads, width)."""
    own = heads[part.start : part.start + part.texts * part.length]
    return own.view(part.texts, part.length, *own.shape[1:])


def _heads(heads: Tensor, part: Group, kv_heads: int) -> Tensor:
    """The same as a view (texts, key-value heads, heads that share one, length, width)."""
    own = _own(heads, part)
    return own.view(*own.shape[:2], kv_heads, -1, own.shape[-1]).permute(0, 2, 3, 1, 4)


def _keys(heads: Tensor, part: Group) -> Tensor:
    """Keys or values that the part sees: (texts × key-value heads, prefix + length, width)."""
    own = _own(heads, part).transpose(1, 2)
    if part.prefix:
        prefix = heads[: part.prefix].transpose(0, 1).expand(part.texts, -1, -1, -1)
        own = torch.cat([prefix, own], dim=2)
    return own.flatten(0, 1)


def _taken(heads: Tensor, block: _Block, scale: float = 1.0) -> Tensor:
    """The block's queries as rows that share keys: a copy (texts × key-value heads, rows, width), scaled."""
    block_heads = heads[:, :, :, block.first : block.after]
    copy = torch.empty(block_heads.shape, dtype=heads.dtype, device=heads.device)
    return torch.mul(block_heads, scale, out=copy).view(-1, copy.shape[2] * copy.shape[3], copy.shape[4])


def _probabilities(
    queries: Tensor, keys: Tensor, part: Group, block: _Block, scale: float, window: int | None
) -> tuple[Tensor, Tensor]:
    """The block's scaled queries, and what share of every key each of them reads."""
    taken = _taken(queries, block, scale)
    scores = torch.bmm(taken, keys[:, block.first_key : block.after_key].transpose(1, 2))
    rows, width = block.after - block.first, block.after_key - block.first_key
    hidden = torch.full((rows, width), -math.inf, dtype=scores.dtype, device=scores.device)
    by_query = scores.view(-1, rows, width)
    # Of the keys, only as many as there are queries lie behind the first query.
    by_query[:, :, width - rows :] += hidden[:, width - rows :].triu(1)
    if window is not None:
        by_query += hidden.tril_(part.prefix + block.first - block.first_key - window)
    # Sums are in fp32 in this kernel whatever the format.
    return taken, torch.softmax(scores, -1)
