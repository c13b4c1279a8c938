"""Attention in packs is attention of each text alone, whatever computes it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from jobs.training import attention_blocks
from jobs.training.attention import attend, attend_backward, attend_forward, reads_borders_on_device
from jobs.training.packing import Layout, PackSize, Span, _filled, _layout

PREFIX = 9
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


def layout_of(lengths: Sequence[int], prefix: int = 0, size: PackSize | None = None) -> Layout:
    """Texts of these lengths, all but the first behind the first one if that is to be the prefix."""
    spans, start = [], 0
    for length in [prefix, *lengths] if prefix else lengths:
        spans.append(Span(start, length, prefix if start else 0))
        start += length
    return _layout(spans if size is None else _filled(spans, start, size, prefix), size)


def inputs(tokens: int, heads: int, kv_heads: int, width: int, dtype: torch.dtype) -> list[Tensor]:
    """query, key, value, and a gradient at the output."""
    torch.manual_seed(0)
    counts = (heads, kv_heads, kv_heads, heads)
    return [torch.randn(tokens, count, width, dtype=torch.float64).to(dtype) for count in counts]


def expected(
    query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float, window: int | None
) -> Tensor:
    """Each text by the definition (arXiv 1706.03762, equation 1)."""
    shared = query.shape[1] // key.shape[1]
    outs = []
    for span in layout.spans:
        seen = [*range(span.prefix), *range(span.start, span.start + span.length)]
        keys, values = (part[seen].repeat_interleave(shared, 1) for part in (key, value))
        own = query[span.start : span.start + span.length]
        scores = torch.einsum("qhd,khd->hqk", own, keys) * scale
        at, of = torch.arange(span.length)[:, None] + span.prefix, torch.arange(len(seen))[None]
        hidden = (of > at) | (at - of >= (window or len(seen)))
        outs.append(torch.einsum("hqk,khd->qhd", scores.masked_fill(hidden, -1e30).softmax(-1), values))
    return torch.cat(outs)


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("prefix", [0, PREFIX])
@pytest.mark.parametrize("window", [None, 7, 1])
@pytest.mark.parametrize("kept", [0, 20, 512])
def test_products_in_blocks_give_the_definitions_values_and_gradients(
    kv_heads: int, prefix: int, window: int | None, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So small that texts are cut into blocks, and groups of texts into parts.
    monkeypatch.setattr(attention_blocks, "OTHER_BLOCK_ON_CPU", 8)
    monkeypatch.setattr(attention_blocks, "SCORES_ON_CPU", 1 << 10)
    monkeypatch.setattr(attention_blocks, "LONGEST_KEPT", kept)
    layout = layout_of([33, 5, 5, 5, 5, 8, 8, 16, 1, 1, 0, 0], prefix)
    tokens = sum(span.length for span in layout.spans)
    query, key, value, d_out = inputs(tokens, 4, kv_heads, 10, torch.float64)
    leaves = [part.requires_grad_() for part in (query, key, value)]
    own = attend(query, key, value, layout, 0.3, window=window)
    theirs = expected(query, key, value, layout, 0.3, window)
    # What several blocks or texts add to is kept in fp32.
    torch.testing.assert_close(own, theirs, rtol=1e-10, atol=1e-12)
    gradients = torch.autograd.grad(own, leaves, d_out), torch.autograd.grad(theirs, leaves, d_out)
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-6)


def eager(query: Tensor, key: Tensor, value: Tensor, texts: int, scale: float) -> Tensor:
    """What transformers computes without a fused kernel: scores rounded, probabilities by an fp32 softmax."""
    shared = query.shape[1] // key.shape[1]
    whole = (query, key.repeat_interleave(shared, 1), value.repeat_interleave(shared, 1))
    query, key, value = (part.unflatten(0, (texts, -1)).transpose(1, 2) for part in whole)
    scores = query @ key.transpose(2, 3) * scale
    scores = scores + torch.full_like(scores[0, 0], -torch.inf).triu(1)
    probabilities = scores.softmax(-1, dtype=torch.float32).to(query.dtype)
    return (probabilities @ value).transpose(1, 2).flatten(0, 1)


def test_in_bf16_it_is_as_exact_as_transformers_own() -> None:
    layout = layout_of([130] * 2)
    query, key, value, d_out = inputs(260, 9, 3, 64, torch.bfloat16)
    out, saved = attend_forward(query, key, value, layout, 0.125)
    own = (out, *attend_backward(d_out, query, key, value, out, saved, layout, 0.125))
    leaves = [part.double().requires_grad_() for part in (query, key, value)]
    right = expected(*leaves, layout, 0.125, None)
    rights = (right, *torch.autograd.grad(right, leaves, d_out.double()))
    leaves = [part.requires_grad_() for part in (query, key, value)]
    theirs = eager(*leaves, 2, 0.125)
    for one, other, exact in zip(
        own, (theirs, *torch.autograd.grad(theirs, leaves, d_out)), rights, strict=True
    ):
        assert (one - exact).norm() <= 1.1 * (other - exact).norm()


def test_inputs_are_left_alone_also_where_heads_are_not_shared() -> None:
    layout = layout_of([5])
    query, key, value, d_out = inputs(5, 2, 2, 8, torch.float32)
    before = [part.clone() for part in (query, key, value, d_out)]
    out, saved = attend_forward(query, key, value, layout, 0.3)
    attend_backward(d_out, query, key, value, out, saved, layout, 0.3)
    assert all(torch.equal(a, b) for a, b in zip(before, (query, key, value, d_out), strict=True))


def on_gpu(layout: Layout) -> Layout:
    moved = {name: v.cuda() if isinstance(v, Tensor) else v for name, v in vars(layout).items()}
    moved.pop("groups", None)
    return Layout(**moved)


@needs_gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("width", [64, 20])
@pytest.mark.parametrize("prefix", [0, PREFIX])
@pytest.mark.parametrize("window", [None, 7])
@pytest.mark.parametrize("filled", [False, True])
def test_gpu_kernels_give_the_definitions_values_and_gradients(
    dtype: torch.dtype, width: int, prefix: int, window: int | None, filled: bool
) -> None:
    size = PackSize(tokens=160, supervised=1, texts=20, longest=40)
    layout = layout_of([33, 5, 5, 16, 1], prefix, size if filled else None)
    tokens = sum(span.length for span in layout.spans)
    query, key, value, d_out = (part.to(dtype) for part in inputs(tokens, 4, 2, width, torch.float32))
    # Memory that a kernel leaves unwritten must not be read: let it hold no numbers.
    torch.full((1 << 24,), torch.nan, device="cuda")
    moved = [part.cuda() for part in (query, key, value)]
    out, saved = attend_forward(*moved, on_gpu(layout), 0.3, window)
    own = (out, *attend_backward(d_out.cuda(), *moved, out, saved, on_gpu(layout), 0.3, window))
    leaves = [part.double().requires_grad_() for part in (query, key, value)]
    right = expected(*leaves, layout, 0.3, window)
    rights = (right, *torch.autograd.grad(right, leaves, d_out.double()))
    allowed = 1e-5 if dtype == torch.float32 else 2e-2
    for one, other in zip(own, rights, strict=True):
        assert (one.cpu().double() - other).norm() <= allowed * other.norm()


def test_only_kernels_that_read_borders_on_the_gpu_may_be_recorded() -> None:
    assert not reads_borders_on_device(torch.device("cpu"), torch.bfloat16, 64)
    assert not reads_borders_on_device(torch.device("cuda"), torch.float32, 64)
    assert not reads_borders_on_device(torch.device("cuda"), torch.bfloat16, 512)
