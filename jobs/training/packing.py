"""Which rows each step reads, and how they are laid end to end in packs that a model reads without padding."""

from __future__ import annotations

import random
from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jobs.training.examples import Example, Examples

# A shared prefix costs a second reading of its keys for every text, and on a GPU the attention made for short
# texts; below this share of tokens saved that costs as much as it brings.
LEAST_SHARE_SAVED, LEAST_SHARE_SAVED_GPU = 0.1, 0.25


@dataclass(frozen=True)
class Span:
    """One text of a pack: its own tokens, and how many of the pack's first tokens it sees before them.

    Those first tokens are the shared prefix, itself the text at 0.
    """

    start: int
    length: int
    prefix: int = 0


@dataclass(frozen=True)
class Group:
    """Texts of one length that follow each other: `texts` × `length` tokens from `start` on."""

    start: int
    texts: int
    length: int
    prefix: int


@dataclass(frozen=True, eq=False)
class Layout:
    """Which tokens of a pack see which: every text itself from its start on, and the prefix it is behind.

    Attributes:
        spans: the texts in the order of the pack; empty ones (filling) at the end.
        query_offsets: (texts + 1,) int32, where each text's own tokens start.
        key_offsets: (texts + 1,) int32, where each text's keys (prefix, then own) start.
        longest_query: the most own tokens of a text, or a bound of it.
        longest_key: the most keys of a text, or a bound of it.
        key_index: (keys,) int64, the token that each key is taken from; None: the keys are the tokens.
        own_keys: (tokens,) int64, the key that each token is in its own text; None like `key_index`.
        prefix_keys: (texts behind the prefix, prefix) int64, the keys that are the prefix's tokens.
    """

    spans: tuple[Span, ...]
    query_offsets: Tensor
    key_offsets: Tensor
    longest_query: int
    longest_key: int
    key_index: Tensor | None = None
    own_keys: Tensor | None = None
    prefix_keys: Tensor | None = None

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """The texts that can be computed as one batch; empty ones are left out."""
        groups: list[Group] = []
        for span in self.spans:
            if not span.length:
                continue
            last = groups[-1] if groups else None
            if last and (last.length, last.prefix) == (span.length, span.prefix):
                groups[-1] = Group(last.start, last.texts + 1, span.length, span.prefix)
            else:
                groups.append(Group(span.start, 1, span.length, span.prefix))
        return tuple(groups)


@dataclass(frozen=True, eq=False)
class Pack:
    """Several examples end to end, on one device and without a batch dimension.

    Attributes:
        token_ids: (tokens,) int64.
        positions: (tokens,) int64, counted from the start of each text with its prefix.
        predicts: (supervised,) int64, the tokens whose hidden states predict a learned token.
        targets: (supervised,) int64, those learned tokens.
        weights: (supervised,) fp32, 1, or 0 for filling.
        rows: indices of its examples, in their order in the pack.
        real_tokens: tokens of its examples, a shared prefix counted in every one, without filling.
        supervised: learned tokens, without filling.
    """

    token_ids: Tensor
    positions: Tensor
    predicts: Tensor
    targets: Tensor
    weights: Tensor
    layout: Layout
    rows: tuple[int, ...]
    real_tokens: int
    supervised: int


@dataclass(frozen=True)
class PackSize:
    """The fixed shape that packs are filled up to, so that one recorded CUDA graph computes them all.

    Attributes:
        tokens: with filling, a shared prefix included.
        supervised: with filling.
        texts: with filling, a shared prefix included.
        longest: the most own tokens of a text.
    """

    tokens: int
    supervised: int
    texts: int
    longest: int


def plan_run(
    lengths: Sequence[int], epochs: float, tokens_per_step: int, max_steps: int | None, seed: int
) -> list[list[int]]:
    """The row indices of every step of a run.

    Rows come in a new random order each epoch and fill a step until one more would take it further from
    `tokens_per_step` than it is; at least one row makes a step. A short rest joins the step before it, so
    that no step moves the weights by the noise of a few rows.
    """
    steps: list[list[int]] = []
    step: list[int] = []
    tokens = 0
    for row in _stream(len(lengths), epochs, seed):
        if step and tokens + lengths[row] / 2 > tokens_per_step:
            steps.append(step)
            step, tokens = [], 0
        step.append(row)
        tokens += lengths[row]
    if steps and tokens < tokens_per_step / 2:
        steps[-1] += step
    else:
        steps.append(step)
    return steps[:max_steps]


def _stream(rows: int, epochs: float, seed: int) -> Iterator[int]:
    shuffler = random.Random(seed)
    left = max(1, round(rows * epochs))
    while left > 0:
        order = list(range(rows))
        shuffler.shuffle(order)
        yield from order[:left]
        left -= rows


def best_fit(rows: Sequence[int], lengths: Sequence[int] | Mapping[int, int], tokens: int) -> list[list[int]]:
    """`rows` in few groups of at most `tokens` tokens, by best-fit decreasing; a longer row goes alone.

    Takes time in proportion to n log n (Johnson et al. 1974, https://doi.org/10.1137/0203025, say how near it
    comes to the fewest groups: at most 11/9 of them).
    """
    groups: list[list[int]] = []
    # (free tokens, group), ascending: the first one that is large enough is the tightest.
    free: list[tuple[int, int]] = []
    for row in sorted(rows, key=lambda row: -lengths[row]):
        at = bisect_left(free, (lengths[row], 0))
        if at < len(free):
            space, group = free.pop(at)
        else:
            space, group = tokens, len(groups)
            groups.append([])
        groups[group].append(row)
        if space > lengths[row]:
            insort(free, (space - lengths[row], group))
    return groups


def shared_prefix(examples: Sequence[Example], least_saved: float = LEAST_SHARE_SAVED) -> list[int]:
    """The tokens that most examples begin with and that are worth reading once for many; [] if none are.

    Worth it is what saves `least_saved` of all tokens. An example keeps the token that predicts its first learned
    one for itself, so nothing of the prefix is ever supervised.
    """
    flat = Examples.of(examples)
    shareable = np.fromiter((_shareable(example) for example in flat), np.int64, len(flat))
    prefix: list[int] = []
    best, most_saved = 0, 0
    alike = np.arange(len(flat))
    while True:
        # Those that begin with the prefix and go on behind it.
        alike = alike[shareable[alike] > len(prefix)]
        if 2 * len(alike) <= len(flat):
            break
        following = _tokens_at(flat, alike, len(prefix))
        # What more than half of them have, the middle one has.
        token = int(np.partition(following, len(following) // 2)[len(following) // 2])
        alike = alike[following == token]
        if 2 * len(alike) <= len(flat):
            break
        prefix.append(token)
        if len(prefix) * (len(alike) - 1) > most_saved:
            best, most_saved = len(prefix), len(prefix) * (len(alike) - 1)
    pays = most_saved >= least_saved * int(flat.lengths.sum())
    return prefix[:best] if pays else []


def _tokens_at(examples: Examples, places: NDArray[np.int64], at: int) -> NDArray[np.uint32]:
    """(places,), the token at the same place `at` of several examples."""
    tokens = np.empty(len(places), np.uint32)
    for number, (token_ids, _) in enumerate(examples.sources):
        own = examples.source[places] == number
        tokens[own] = token_ids[examples.starts[places[own]] + at]
    return tokens


def _shareable(example: Example) -> int:
    """How many first tokens lie before the one that predicts the first learned token."""
    learned = example.learned[1:]
    if not len(learned):
        return 0
    first = int(learned.argmax())
    return first if learned[first] else len(learned)


def begins_with(example: Example, prefix: Sequence[int]) -> bool:
    """Whether the example can be laid behind the shared `prefix`."""
    return not prefix or (
        len(prefix) <= _shareable(example) and example.token_ids[: len(prefix)].tolist() == list(prefix)
    )


def packs_of(
    examples: Sequence[Example], rows: Sequence[int], tokens: int, prefix: Sequence[int] = ()
) -> list[tuple[list[int], list[int]]]:
    """`rows` cut into packs of at most `tokens` tokens: (rows of a pack, the prefix they share or []).

    Rows that do not begin with `prefix` get packs of their own. A longer row goes alone.
    """
    chosen = {row: examples[row] for row in rows}
    lengths = {row: len(one.token_ids) for row, one in chosen.items()}
    if not prefix:
        return [(group, []) for group in best_fit(rows, lengths, tokens)]
    behind = [row for row in rows if begins_with(chosen[row], prefix)]
    alone = set(rows) - set(behind)
    whole = [row for row in rows if row in alone]
    own = {row: length - len(prefix) for row, length in lengths.items()}
    shared = best_fit(behind, own, max(1, tokens - len(prefix)))
    return [
        *((group, list(prefix)) for group in shared),
        *((group, []) for group in best_fit(whole, lengths, tokens)),
    ]


def pack_of(
    examples: Sequence[Example],
    rows: Sequence[int],
    device: str | torch.device,
    prefix: Sequence[int] = (),
    size: PackSize | None = None,
) -> Pack:
    """The examples of `rows` as one pack on `device`.

    Those that begin with `prefix` are laid behind one copy of it, the others go in whole. Texts come by
    falling length, so that equal ones are computed together.

    Args:
        size: the shape to fill up to, with texts of token 0, targets of weight 0, and empty texts. With a
            prefix too, filling is laid behind it like the rows, so that the number of keys is fixed as well.

    Raises:
        ValueError: the rows do not fit into `size`, or not all of them begin with `prefix` there.
    """
    prefix, chosen = list(prefix), {row: examples[row] for row in rows}
    shared = {row: len(prefix) if begins_with(one, prefix) else 0 for row, one in chosen.items()}
    prefix = prefix if any(shared.values()) else []
    rows = sorted(rows, key=lambda row: (not shared[row], shared[row] - len(chosen[row].token_ids)))
    spans = [Span(0, len(prefix))] if prefix else []
    start, token_ids, predicts, targets = len(prefix), [torch.tensor(prefix, dtype=torch.long)], [], []
    for row in rows:
        ids, learned = chosen[row].tensors
        own = ids[shared[row] :]
        spans.append(Span(start, len(own), shared[row]))
        token_ids.append(own)
        predicts.append(learned + (start - 1 - shared[row]))
        targets.append(ids[learned])
        start += len(own)
    real_tokens = sum(len(chosen[row].token_ids) for row in rows)
    supervised = sum(len(learned) for learned in targets)
    if size is not None:
        if prefix and not all(shared.values()):
            raise ValueError("Packs of a fixed size hold only rows that begin with the shared prefix.")
        if supervised > size.supervised:
            raise ValueError(f"{supervised} learned tokens do not fit into {size}.")
        spans = _filled(spans, start, size, len(prefix))
        token_ids.append(torch.zeros(size.tokens - start, dtype=torch.long))
        predicts.append(torch.full((size.supervised - supervised,), size.tokens - 1))
        targets.append(torch.zeros(size.supervised - supervised, dtype=torch.long))
    indices = [torch.cat(parts) for parts in (token_ids, predicts, targets)]
    weights = torch.zeros(len(indices[2]))
    weights[:supervised] = 1
    positions = torch.cat([torch.arange(span.prefix, span.prefix + span.length) for span in spans])
    pack = Pack(
        indices[0],
        positions,
        indices[1],
        indices[2],
        weights,
        _layout(spans, size),
        tuple(rows),
        real_tokens,
        supervised,
    )
    return pack if torch.device(device).type == "cpu" else _moved(pack, torch.device(device))


def _filled(spans: list[Span], tokens: int, size: PackSize, prefix: int) -> list[Span]:
    """The spans, then filling texts up to `size.tokens`, then empty ones up to `size.texts`."""
    filled = list(spans)
    for start in range(tokens, size.tokens, size.longest):
        filled.append(Span(start, min(size.longest, size.tokens - start), prefix))
    own = max((span.length for span in spans[bool(prefix) :]), default=0)
    if tokens > size.tokens or len(filled) > size.texts or own > size.longest:
        raise ValueError(
            f"{len(spans)} texts of {tokens} tokens, the longest of {own}, do not fit into {size}."
        )
    return filled + [Span(size.tokens, 0, prefix)] * (size.texts - len(filled))


def _layout(spans: Sequence[Span], size: PackSize | None) -> Layout:
    own = torch.tensor([span.length for span in spans])
    shared = torch.tensor([span.prefix for span in spans])
    query_offsets, key_offsets = _offsets(own), _offsets(own + shared)
    prefix = int(shared.max())
    longest = int(own.max()) if size is None else max(size.longest, prefix)
    key_index = own_keys = prefix_keys = None
    if prefix:
        texts = [range(span.start, span.start + span.length) for span in spans]
        key_index = torch.cat(
            [torch.tensor([*range(span.prefix), *text]) for span, text in zip(spans, texts, strict=True)]
        ).long()
        # Every token before a text's own ones pushes them back by one key.
        own_keys = torch.arange(int(own.sum())) + shared.cumsum(0).repeat_interleave(own)
        prefix_keys = key_offsets[:-1][shared > 0, None] + torch.arange(prefix)
    return Layout(
        tuple(spans),
        query_offsets.int(),
        key_offsets.int(),
        longest,
        longest + prefix if size is not None else int((own + shared).max()),
        key_index,
        own_keys,
        prefix_keys,
    )


def _offsets(lengths: Tensor) -> Tensor:
    return torch.cat([torch.zeros(1, dtype=torch.long), lengths.cumsum(0)])


def _moved(pack: Pack, device: torch.device) -> Pack:
    """The pack on `device`, by one transfer that the host does not wait for."""
    # Wider formats first, so that every part stays aligned.
    tensors = sorted(
        (
            (name, value)
            for part in (pack, pack.layout)
            for name, value in vars(part).items()
            if isinstance(value, Tensor)
        ),
        key=lambda item: -item[1].element_size(),
    )
    flat = torch.cat([tensor.contiguous().view(-1).view(torch.uint8) for _, tensor in tensors])
    if device.type == "cuda":
        flat = flat.pin_memory()
    flat, start = flat.to(device, non_blocking=True), 0
    moved: dict[str, Any] = {}
    for name, tensor in tensors:
        size = tensor.numel() * tensor.element_size()
        moved[name] = flat[start : start + size].view(tensor.dtype).view(tensor.shape)
        start += size
    layout = {name: moved.pop(name) for name in list(moved) if name in vars(pack.layout)}
    return replace(pack, layout=replace(pack.layout, **layout), **moved)
