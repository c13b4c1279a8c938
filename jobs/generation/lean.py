"""Answers of Llama-like models on training's own fast path: `LeanModel` reads prompts in packs, then steps.

Adapters stand as columns beside the frozen matrices (`jobs.training.adapted_linear`). In training every token
passes only through its own adapter's columns; here a row's gains say how much of each column it takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import accumulate, repeat

import torch
from torch import Tensor

from jobs.generation.memory import Memory, Reading, Stepping, look_back
from jobs.training import kernels
from jobs.training.lean_layer import LeanLayers, Positions
from jobs.training.lean_model import LeanModel
from jobs.training.packing import Layout, Span

# Tokens that are read at once.
READ_TOKENS_GPU, READ_TOKENS_CPU = 8192, 1024

# What the rows take of the columns of each of a model's fused matrices, (rows, rank) each; None: the base.
Gains = Sequence[Tensor] | None
# From the tokens just chosen to what the next ones are chosen from, (rows, vocabulary).
Step = Callable[[Tensor, Tensor, Tensor, Gains], Tensor]


class ReadingStopped(Exception):
    """Nobody waits any longer for what is being read."""


class LeanReader:
    """A `LeanModel` that reads texts without learning from them; the model may be in the midst of a training."""

    def __init__(self, model: LeanModel) -> None:
        self.model = model
        self.device = model.embeddings.device
        self.kernels = kernels.for_device(self.device)
        self._turns: tuple[Tensor, Tensor] | None = None

    def turns(self, tokens: int) -> tuple[Tensor, Tensor]:
        """Tables (at least `tokens`, rotated) of the cosine and sine of every position's turn."""
        if self._turns is None or len(self._turns[0]) < tokens:
            places = torch.arange(tokens, device=self.device)[None]
            cos, sin = self.model.rotary(self.model.embeddings[:1], places)
            self._turns = cos[0].contiguous(), sin[0].contiguous()
        return self._turns

    def read(
        self,
        texts: Sequence[Sequence[int]],
        gains: Gains,
        memory: Memory | None = None,
        slots: Sequence[int] = (),
        should_stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[tuple[int, Tensor]]:
        """(index, hidden values (tokens, hidden) behind the last norm) of every text, some texts at a time.

        Args:
            gains: a row for each text.
            memory: where keys and values are kept, in the texts' `slots`.

        Raises:
            ReadingStopped: `should_stop` said so before all were read.
        """
        most = READ_TOKENS_GPU if self.device.type == "cuda" else READ_TOKENS_CPU
        for number, group in enumerate(_groups([len(text) for text in texts], most)):
            if number and should_stop():
                raise ReadingStopped
            lengths = [len(texts[i]) for i in group]
            flat = torch.tensor([token for i in group for token in texts[i]], device=self.device)
            places = torch.cat([torch.arange(length) for length in lengths]).to(self.device)
            row_of = torch.tensor(group, device=self.device).repeat_interleave(
                torch.tensor(lengths, device=self.device)
            )
            cos, sin = (side[places] for side in self.turns(max(lengths)))
            layout = _layout(lengths, self.device)
            positions = Positions(cos, sin, layout)
            if memory is not None:
                own_slots = torch.tensor(slots, device=self.device)[row_of]
                positions = Reading(cos, sin, layout, memory, own_slots, places)
            with self._taking(gains and [gain[row_of] for gain in gains]):
                hidden = self.through(flat, positions)
            yield from zip(group, torch.split(hidden, lengths), strict=True)

    def step(self, tokens: Tensor, memory: Memory, slots: Tensor, lengths: Tensor, gains: Gains) -> Tensor:
        """Logits (rows, vocabulary) behind one more token (rows,) of every row."""
        cos, sin = (side[lengths] for side in self.turns(memory.room))
        positions = Stepping(cos, sin, _layout([], self.device), memory, slots, lengths, look_back)
        with self._taking(gains):
            return self.logits(self.through(tokens, positions))

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of the vocabulary in fp32 from values behind the last norm."""
        return (hidden @ self.model.head.T).float()

    def through(self, tokens: Tensor, positions: Positions, layers: LeanLayers | None = None) -> Tensor:
        """(tokens, hidden) behind the last norm, by `layers` or the model's own, within `_taking`."""
        model = self.model
        residual, delta = model.embeddings[tokens], None
        for layer in range(model.count):
            residual, delta, _ = (layers or model.layers).forward(
                layer, residual, delta, positions, learn=False
            )
        eps = model.layers.sizes.eps
        hidden: Tensor = self.kernels.add_norm(residual, delta, model.final_norm, eps, 0)[1]
        return hidden

    @contextmanager
    def _taking(self, gains: Gains) -> Iterator[None]:
        with ExitStack() as stack:
            for linear, gain in zip(self.model.linears, gains or repeat(None), strict=False):
                stack.enter_context(linear.taking(gain))
            yield


class LeanRows:
    """Rows that are answered together."""

    def __init__(
        self,
        reader: LeanReader,
        prompts: Sequence[Sequence[int]],
        gains: Gains,
        memory: Memory,
        step: Step | None = None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """`memory` has a slot for each of `prompts` and room for its answer."""
        self._reader, self._prompts, self._memory = reader, prompts, memory
        self._should_stop = should_stop
        self._gains = gains
        self._step = step or (
            lambda tokens, slots, lengths, gains: reader.step(tokens, memory, slots, lengths, gains)
        )
        device = reader.device
        self._slots = torch.arange(len(prompts), device=device)
        self._lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
        self._tokens: Tensor | None = None

    def read(self) -> Tensor:
        """Logits (rows, vocabulary) in fp32 behind the prompts, or behind the tokens given last.

        Raises:
            ReadingStopped: it was stopped between the prompts.
        """
        if self._tokens is None:
            slots = range(len(self._prompts))
            last: list[Tensor] = [self._lengths] * len(self._prompts)
            read = self._reader.read(self._prompts, self._gains, self._memory, slots, self._should_stop)
            for i, hidden in read:
                last[i] = hidden[-1]
            return self._reader.logits(torch.stack(last))
        logits = self._step(self._tokens, self._slots, self._lengths, self._gains)
        self._lengths = self._lengths + 1
        return logits

    def go_on(self, going: Sequence[int], chosen: Sequence[int]) -> None:
        """Only the rows `going` go on, each with the token chosen for it; the others leave."""
        if len(going) < len(self._slots):
            kept = torch.tensor(list(going), device=self._slots.device)
            self._slots, self._lengths = self._slots[kept], self._lengths[kept]
            self._gains = self._gains and [gain[kept] for gain in self._gains]
        self._tokens = torch.tensor(list(chosen), device=self._slots.device)


@torch.no_grad()
def answers(
    model: LeanModel,
    prompt_ids: Sequence[Sequence[int]],
    shares: Sequence[Sequence[float]] | None,
    max_new_tokens: int,
    stop_ids: frozenset[int],
    should_stop: Callable[[], bool] = lambda: False,
) -> list[list[int]]:
    """The likeliest answer to each prompt by a model that is in the midst of a training, which goes on unchanged.

    Args:
        shares: for each prompt how much it takes of each adapter that is trained (1 and 0s for one of them);
            None: the base model answers.
        stop_ids: tokens that end an answer; they are no part of it.
    """
    reader = LeanReader(model)
    room = max(len(prompt) for prompt in prompt_ids) + max_new_tokens
    memory = Memory.of(model.layers.sizes, model.count, len(prompt_ids), room, model.embeddings)
    gains = None
    if shares is not None:
        taken = torch.tensor([list(row) for row in shares], device=reader.device)
        gains = [linear.gains(taken) for linear in model.linears]
    rows = LeanRows(reader, prompt_ids, gains, memory)
    found: list[list[int]] = [[] for _ in prompt_ids]
    open_rows = list(range(len(prompt_ids)))
    for _ in range(max_new_tokens):
        chosen = rows.read().argmax(-1).tolist()
        going = [i for i, token in enumerate(chosen) if token not in stop_ids]
        for i in going:
            found[open_rows[i]].append(chosen[i])
        if not going or should_stop():
            break
        rows.go_on(going, [chosen[i] for i in going])
        open_rows = [open_rows[i] for i in going]
    return found


def _groups(lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Texts in groups of about `tokens` tokens, equal lengths beside each other, where they are computed as one."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    groups: list[list[int]] = []
    filled = 0
    for i in order:
        if not groups or filled + lengths[i] > tokens:
            groups.append([])
            filled = 0
        groups[-1].append(i)
        filled += lengths[i]
    return groups


def _layout(lengths: Sequence[int], device: torch.device) -> Layout:
    starts = [0, *accumulate(lengths)]
    offsets = torch.tensor(starts, dtype=torch.int32, device=device)
    spans = tuple(Span(start, length) for start, length in zip(starts, lengths, strict=False))
    longest = max(lengths, default=0)
    return Layout(spans, offsets, offsets, longest, longest)
