"""The fast path: training steps of Llama-like models with nothing in them that adapters do not need."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from jobs.lora.memory import FULLEST_PACK
from jobs.training import kernels
from jobs.training.examples import Example
from jobs.training.lean_layer import Kept, Positions
from jobs.training.lean_model import LeanModel
from jobs.training.optimizer import AdapterWeights
from jobs.training.packing import Layout, Pack, PackSize, Span, begins_with, pack_of
from jobs.training.recording import Recording, recorded

# Rows of scores that are in memory at a time.
HEAD_ROWS_GPU, HEAD_ROWS_CPU = 2048, 256
ROUNDED_TO = 64


class LeanEngine:
    """Computes losses and adapter gradients of packs; see `jobs.training.engine.Engine`."""

    def __init__(
        self,
        model: LeanModel,
        weights: AdapterWeights,
        pack_tokens: int,
        activations: str = "keep",
        prefix: Sequence[int] = (),
    ) -> None:
        """Train `weights`, whose parameters stand in the order of `lean_model.ordered`.

        Args:
            pack_tokens: about how many tokens to compute at once.
            activations: what is kept for the backward pass; see `LeanLayers`.
            prefix: tokens that are read once for all examples of a pack that begin with them.
        """
        self.model, self.weights = model, weights
        self.pack_tokens = pack_tokens
        self.words: list[str] = []
        self.device = model.embeddings.device
        self.adapters = len(weights.masters)
        model.layers.activations = activations
        self._prefix = list(prefix) if self.adapters == 1 else []
        self._kernels = kernels.for_device(self.device)
        self._size: PackSize | None = None
        self._recorded: Sequence[Example] = ()
        self._recording: Recording | None = None
        self._recorded_refresh: torch.cuda.CUDAGraph | None = None
        self._longest = 0
        self._turns: tuple[Tensor, Tensor] | None = None
        self.refresh()

    # -- the engine's side of the contract -------------------------------------------------------------------

    def packs(self, examples: Sequence[Example], rows: Sequence[int]) -> Iterator[Pack]:
        """`rows` in packs of about equal size, of the recorded shape where there is one."""
        for prefix, group in self.groups(examples, rows):
            yield pack_of(examples, group, self.device, prefix, self._size_for(examples, prefix, group))

    def learn(self, pack: Pack, share: float) -> Tensor:
        """(adapters,) summed losses; `share` times their gradient is added to the weights'."""
        self._ensure_turns(pack.layout.longest_key)
        pack = replace(pack, weights=pack.weights * share)
        if self._recording is not None and self._recording.fits(pack):
            return self._recording.replay(pack) / share
        if self._recording is None and self._is_filled(pack):
            self._recording = Recording(self._learn, pack, self.weights.gradient)
            self._recorded_refresh, _ = recorded(self._refresh)
            return self._recording.replay(pack) / share
        return self._learn(pack) / share

    def losses(self, pack: Pack, base: bool = False) -> Tensor:
        """(adapters,) summed losses; with `base`, of the base model without adapters."""
        self._ensure_turns(pack.layout.longest_key)
        for linear in self.model.linears:
            linear.off = base
        try:
            return self._run(pack, learn=False)
        finally:
            for linear in self.model.linears:
                linear.off = False

    def refresh(self) -> None:
        """Copy the masters into the matrices."""
        if self._recorded_refresh is None:
            self._refresh()
        else:
            self._recorded_refresh.replay()

    def _refresh(self) -> None:
        for linear in self.model.linears:
            linear.refresh(self.weights)

    def halve(self) -> str | None:
        """Take less memory: compute more again, then fewer tokens at once; the sentence for the user."""
        self.forget_recording()
        if self.model.layers.activations != "full":
            self.model.layers.activations = "full"
            return "The GPU ran out of memory: from here on it computes more again and keeps less."
        if self.pack_tokens <= max(ROUNDED_TO, self._longest):
            return None
        self.pack_tokens = max(self._longest, self.pack_tokens // 2)
        self._size = None
        return (
            f"The GPU ran out of memory: from here on it reads at most {self.pack_tokens:,} tokens at once."
        )

    # -- shapes ----------------------------------------------------------------------------------------------

    def groups(self, examples: Sequence[Example], rows: Sequence[int]) -> list[tuple[list[int], list[int]]]:
        """(prefix, rows) of every pack."""
        behind = [row for row in rows if self._prefix and begins_with(examples[row], self._prefix)]
        alone = set(rows) - set(behind)
        lengths = {row: len(examples[row].token_ids) for row in rows}
        self._longest = max([self._longest, *lengths.values()])
        own = {row: lengths[row] - len(self._prefix) for row in behind}
        room = max(ROUNDED_TO, self.pack_tokens - len(self._prefix))
        found = [(self._prefix, group) for group in _balanced(behind, own, room)]
        rest = [row for row in rows if row in alone]
        return found + [([], group) for group in _balanced(rest, lengths, self.pack_tokens)]

    def record_for(self, examples: Sequence[Example], plan: Sequence[Sequence[int]]) -> None:
        """Fix one shape that nearly all packs of a run fit into, so that a step is one recorded CUDA graph."""
        packs = [_Measured.of(examples, *group) for rows in plan for group in self.groups(examples, rows)]
        with_prefix = [pack for pack in packs if pack.prefix]
        packs = with_prefix or packs
        self._recorded = examples
        tokens = _rounded(max(pack.tokens for pack in packs))
        longest = max(pack.longest for pack in packs)
        self._size = PackSize(
            tokens=tokens,
            supervised=_rounded(max(pack.supervised for pack in packs)),
            texts=max(pack.texts + -(-(tokens - pack.tokens) // longest) for pack in packs),
            longest=longest,
        )

    def _is_filled(self, pack: Pack) -> bool:
        """Whether the pack was laid out in the fixed shape."""
        size = self._size
        return size is not None and (
            (len(pack.token_ids), len(pack.predicts), len(pack.layout.spans), pack.layout.longest_query)
            == (size.tokens, size.supervised, size.texts, max(size.longest, len(self._prefix)))
        )

    def forget_recording(self) -> None:
        """Give back what a recording holds."""
        self._recording = self._recorded_refresh = None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _size_for(self, examples: Sequence[Example], prefix: list[int], group: list[int]) -> PackSize | None:
        """The recorded shape, if the pack fits in."""
        size = self._size
        if size is None or examples is not self._recorded:
            return None
        pack = _Measured.of(examples, prefix, group)
        if pack.tokens > size.tokens or bool(prefix) != bool(self._prefix):
            return None
        filling = -(-(size.tokens - pack.tokens) // size.longest)
        fits = pack.supervised <= size.supervised and pack.longest <= size.longest
        return size if fits and pack.texts + filling <= size.texts else None

    # -- computing -------------------------------------------------------------------------------------------

    def _learn(self, pack: Pack) -> Tensor:
        losses = self._run(pack, learn=True)
        for linear in self.model.linears:
            linear.collect(self.weights)
        return losses

    @torch.no_grad()
    def _run(self, pack: Pack, learn: bool) -> Tensor:
        """(adapters,) weighted losses; with `learn`, the gradients are left in the linear layers."""
        model, count = self.model, self.model.count
        positions = self._positions(pack)
        residual, delta = model.embeddings[pack.token_ids].repeat(self.adapters, 1), None
        kept: list[Kept | None] = []
        for layer in range(count):
            residual, delta, own = model.layers.forward(
                layer, residual, delta, positions, learn and layer >= model.first_adapted
            )
            kept.append(own)
        assert delta is not None
        losses, d_wide = self._head(pack, residual, delta, learn)
        del residual, delta
        for layer in reversed(range(model.first_adapted, count) if learn else ()):
            own = kept.pop()
            assert own is not None and d_wide is not None
            d_wide = model.layers.backward(layer, d_wide, own, positions, through=layer > model.first_adapted)
        return losses

    def _head(self, pack: Pack, residual: Tensor, delta: Tensor, learn: bool) -> tuple[Tensor, Tensor | None]:
        """The losses, and the gradient at the last layer's output (tokens, hidden + rank of its last linear).

        Scores are computed only where a token is learned, some rows at a time, and become their own gradient.
        """
        model, eps = self.model, self.model.layers.sizes.eps
        rows = torch.cat([pack.predicts + i * len(pack.token_ids) for i in range(self.adapters)])
        total, normed, inverse_rms = self._kernels.add_norm(
            residual[rows], delta[rows], model.final_norm, eps, 0
        )
        targets, weights = pack.targets.repeat(self.adapters), pack.weights.repeat(self.adapters)
        losses, chunk = [], HEAD_ROWS_GPU if self.device.type == "cuda" else HEAD_ROWS_CPU
        for start in range(0, len(rows), chunk):
            part = slice(start, start + chunk)
            scores = normed[part] @ model.head.T
            losses.append(self._kernels.cross_entropy_(scores, targets[part], weights[part]))
            if learn:
                normed[part] = scores @ model.head
        summed = torch.cat(losses).view(self.adapters, -1).sum(1)
        if not learn:
            return summed, None
        gradient = self._kernels.norm_backward(normed, total, inverse_rms, model.final_norm, None, 0)
        hidden = residual.shape[1]
        d_wide = residual.new_zeros(len(residual), hidden + model.layers.weights.down.rank)
        # Filling points at a token that predicts nothing, or at filling, and its gradient is zero.
        d_wide[:, :hidden].index_copy_(0, rows, gradient)
        return summed, d_wide

    def _positions(self, pack: Pack) -> Positions:
        assert self._turns is not None
        cos, sin = (side[pack.positions].repeat(self.adapters, 1) for side in self._turns)
        return Positions(cos, sin, _repeated(pack.layout, len(pack.token_ids), self.adapters))

    @torch.no_grad()
    def _ensure_turns(self, longest: int) -> None:
        """Tables of the turn of every position, long enough for `longest` tokens."""
        if self._turns is None or len(self._turns[0]) < longest:
            self.forget_recording()
            places = torch.arange(longest, device=self.device)[None]
            cos, sin = self.model.rotary(self.model.embeddings[:1], places)
            self._turns = cos[0].contiguous(), sin[0].contiguous()


@dataclass(frozen=True)
class _Measured:
    """The size of one pack before it is laid out; `longest` is the most own tokens of a text."""

    prefix: bool
    tokens: int
    supervised: int
    texts: int
    longest: int

    @classmethod
    def of(cls, examples: Sequence[Example], prefix: Sequence[int], rows: Sequence[int]) -> _Measured:
        own = [len(examples[row].token_ids) - len(prefix) for row in rows]
        return cls(
            prefix=bool(prefix),
            tokens=sum(own) + len(prefix),
            supervised=sum(examples[row].supervised_tokens for row in rows),
            texts=len(rows) + bool(prefix),
            longest=max(own),
        )


def _balanced(rows: Sequence[int], lengths: Mapping[int, int], tokens: int) -> list[list[int]]:
    """`rows` in few groups of about `tokens` tokens, as equal as they get (longest first, Graham 1969).

    Only a row that is longer alone makes a group larger than `FULLEST_PACK` allows.
    """
    if not rows:
        return []
    longest_first = sorted(rows, key=lambda row: -lengths[row])
    count = max(1, math.ceil(sum(lengths[row] for row in rows) / (FULLEST_PACK * tokens)))
    while True:
        groups: list[list[int]] = [[] for _ in range(min(count, len(rows)))]
        filled = [(0, number) for number in range(len(groups))]
        for row in longest_first:
            tokens_before, number = heapq.heappop(filled)
            groups[number].append(row)
            heapq.heappush(filled, (tokens_before + lengths[row], number))
        if all(size <= FULLEST_PACK * tokens or len(groups[number]) == 1 for size, number in filled):
            return groups
        count += 1


def _rounded(count: int) -> int:
    return -(-count // ROUNDED_TO) * ROUNDED_TO


def _repeated(layout: Layout, tokens: int, times: int) -> Layout:
    """The layout of `times` copies of a pack of `tokens` tokens, one after the other; it shares no prefix."""
    if times == 1:
        return layout
    starts = [copy * tokens for copy in range(times)]
    ends = torch.cat([layout.query_offsets[1:] + start for start in starts])
    offsets = torch.cat([layout.query_offsets[:1], ends])
    spans = tuple(Span(span.start + start, span.length) for start in starts for span in layout.spans)
    return Layout(spans, offsets, offsets, layout.longest_query, layout.longest_key)
