"""Llama-like base models that answer on training's fast path, with adapters put on and taken off as they come."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from jobs.generation.adapter_files import Change
from jobs.generation.lean import Gains, LeanReader, LeanRows, Step
from jobs.generation.memory import ROOM_STEP, Memory
from jobs.generation.mixing import Shares
from jobs.generation.stepping import step_of
from jobs.training.lean_model import FUSED, modules_of, take_apart

# Room for four adapters of rank 16 on all linear layers; more is made when it is needed, which copies the model.
USUAL_RANK, USUAL_ADAPTERS = 16, 4
# What rows may be remembered in on a processor, beside the model.
MEMORY_BYTES_CPU = 1_500_000_000
# Positions whose scores are in memory at a time.
SCORED_TOGETHER = 128
_LAYER = re.compile(r"(?:.*\.)?layers\.(\d+)\.(.+)$")


class FastModel:
    """A base model taken apart, the columns of its adapters, and the memory of the rows that it answers."""

    def __init__(self, base: Any, device: str) -> None:
        """`base` is supported (see `lean_model.unsupported`); its own layers go on to compute with the same weights."""
        self._blocks = list(base.base_model.layers)
        self.modules = {kind: modules_of(kind, self._blocks[0]) for kind in FUSED}
        room = {kind: USUAL_ADAPTERS * USUAL_RANK * len(names) for kind, names in self.modules.items()}
        model = take_apart(base, [], [], torch.device(device), columns=room)
        self._linears = dict(zip(FUSED, model.linears, strict=True))
        self.reader = LeanReader(model)
        self._columns: dict[str, dict[str, slice]] = {}
        self._memory: Memory | None = None
        self._step: Step | None = None

    def takes(self, changes: Mapping[str, Change]) -> bool:
        """Whether an adapter changes nothing but what is computed here."""
        known = {name for names in self.modules.values() for name in names}
        return all(
            change.lengths is None and (match := _LAYER.match(path)) is not None and match[2] in known
            for path, change in changes.items()
        )

    def put(self, name: str, changes: Mapping[str, Change]) -> None:
        """Lay an adapter into columns that are free, or nothing of it where there is no room."""
        try:
            self._put(name, changes)
        except BaseException:
            self.remove(name)
            raise

    def _put(self, name: str, changes: Mapping[str, Change]) -> None:
        by_module: dict[str, dict[int, Change]] = {}
        for path, change in changes.items():
            match = _LAYER.match(path)
            assert match is not None
            by_module.setdefault(match[2], {})[int(match[1])] = change
        own = self._columns[name] = {}
        for kind, names in self.modules.items():
            # A module's rank may differ from layer to layer.
            ranks = [
                max((len(c.a) for c in by_module.get(module, {}).values()), default=0) for module in names
            ]
            if not sum(ranks):
                continue
            own[kind] = self._free(kind, sum(ranks))
            column, row = own[kind].start, 0
            for module, rank in zip(names, ranks, strict=True):
                outputs = _frozen(self._blocks[0].get_submodule(module)).out_features
                for layer, change in by_module.get(module, {}).items():
                    columns = slice(column, column + len(change.a))
                    self._linears[kind].write(
                        layer, slice(row, row + outputs), columns, change.a.float() * change.scale, change.b
                    )
                column, row = column + rank, row + outputs

    def remove(self, name: str) -> None:
        """Free an adapter's columns."""
        for kind, columns in self._columns.pop(name, {}).items():
            self._linears[kind].erase(columns)

    def begin(
        self,
        prompts: Sequence[Sequence[int]],
        shares: Sequence[Shares],
        tokens: int,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> LeanRows:
        """A batch of rows to answer; `tokens` is the most that a prompt and its answer can have."""
        memory = self._room_for(len(prompts), tokens)
        if self._step is None:
            self._step = step_of(self.reader, memory)
        return LeanRows(self.reader, prompts, self.gains(shares), memory, self._step, should_stop)

    def most_rows(self, tokens: int) -> int:
        """How many rows of `tokens` tokens may be remembered at once."""
        model, sizes = self.reader.model, self.reader.model.layers.sizes
        of_row = 2 * model.count * sizes.kv_heads * sizes.head_size * (tokens + ROOM_STEP)
        free = MEMORY_BYTES_CPU
        if self.reader.device.type == "cuda":
            free = torch.cuda.mem_get_info(self.reader.device)[0] // 2
        return max(1, free // (of_row * model.embeddings.element_size()))

    def scores(self, token_ids: Sequence[int], shares: Sequence[Shares], last: int) -> Iterator[Tensor]:
        """Logits (rows, some, vocabulary) of the last positions of one text, each row through its own adapters."""
        texts = [token_ids] * len(shares)
        hidden = dict(self.reader.read(texts, self.gains(shares)))
        behind = torch.stack([hidden[row][-last:] for row in range(len(shares))])
        for some in torch.split(behind, SCORED_TOGETHER, dim=1):
            yield self.reader.logits(some)

    def gains(self, shares: Sequence[Shares]) -> Gains:
        """What rows take of the columns; None where no row takes any."""
        if not any(share for row in shares for share in row.values()):
            return None
        gains = []
        for kind, linear in self._linears.items():
            rows = torch.zeros(len(shares), linear.rank)
            for row, own in zip(rows, shares, strict=True):
                for name, share in own.items():
                    if kind in self._columns[name]:
                        row[self._columns[name][kind]] = share
            gains.append(rows.to(self.reader.model.embeddings))
        return gains

    def _room_for(self, rows: int, tokens: int) -> Memory:
        """The memory of the batch before, where it is large enough: what was recorded for it still holds."""
        before = self._memory
        if before is not None and before.slots > rows and before.room >= tokens:
            return before
        # Forgotten first, with the step that was made for it, so that both are never held.
        before = self._memory = self._step = None
        model = self.reader.model
        # One more for rows that fill up a recording.
        self._memory = Memory.of(model.layers.sizes, model.count, rows + 1, tokens, model.embeddings)
        return self._memory

    def _free(self, kind: str, rank: int) -> slice:
        """The first free columns, made where there are none."""
        taken = sorted(
            (own[kind] for own in self._columns.values() if kind in own), key=lambda columns: columns.start
        )
        start = 0
        for columns in taken:
            if columns.start - start >= rank:
                break
            start = columns.stop
        linear = self._linears[kind]
        if start + rank > linear.rank:
            linear.widen(start + rank)
            self._show(kind)
            # It was made for the matrices where they were.
            self._step = None
        return slice(start, start + rank)

    def _show(self, kind: str) -> None:
        """Let the model's own layers compute with the weights where they are now."""
        linear = self._linears[kind]
        for layer, block in enumerate(self._blocks):
            row = 0
            for name in self.modules[kind]:
                module = _frozen(block.get_submodule(name))
                module.weight.data = linear.of(layer)[0][row : row + module.out_features, : linear.inputs]
                row += module.out_features


def _frozen(module: Any) -> Any:
    """The frozen layer itself, where another one stands around it."""
    found: nn.Module = getattr(module, "base_layer", module)
    return found
