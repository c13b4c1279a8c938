"""Answers of any model that transformers runs: rows padded in front, its own cache, adapters mixed in row by row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from jobs.generation.adapter_files import Change
from jobs.generation.mixing import Mix, MixedLinear, Place, Shares

# Of all rows together, the answers counted with the prompts.
MOST_TOKENS = 32_768


class PlainModel:
    """One transformers model in memory with adapters beside its linear layers."""

    def __init__(self, base: Any) -> None:
        self.base = base
        self._mix = Mix()
        self._mixed: dict[str, MixedLinear] = {}
        self._with_lengths: set[str] = set()

    def modules(self) -> dict[str, nn.Module]:
        """The model's own modules by path."""
        return {name.replace(".base_layer", ""): module for name, module in self.base.named_modules()}

    def put(self, name: str, changes: Mapping[str, Change]) -> None:
        """Put an adapter beside the layers that it changes, or nothing of it where there is no room."""
        try:
            self._put(name, changes)
        except BaseException:
            self.remove(name)
            raise

    def _put(self, name: str, changes: Mapping[str, Change]) -> None:
        for path, change in changes.items():
            if path not in self._mixed:
                self._mixed[path] = MixedLinear(self.base.get_submodule(path), self._mix)
                self._set(path, self._mixed[path])
            self._mixed[path].put(name, change)
        if any(change.lengths is not None for change in changes.values()):
            self._with_lengths.add(name)
        self._forget_places()

    def remove(self, name: str) -> None:
        """Take an adapter off; layers that none changes are the model's own again."""
        self._with_lengths.discard(name)
        for path, mixed in list(self._mixed.items()):
            if not mixed.remove(name):
                self._set(path, mixed.base_layer)
                del self._mixed[path]
        self._forget_places()

    def begin(
        self,
        prompts: Sequence[Sequence[int]],
        shares: Sequence[Shares],
        tokens: int,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> PlainBatch:
        """A batch of rows to answer; `tokens` is the most that a prompt and its answer can have."""
        del tokens, should_stop  # transformers' cache grows, and all prompts are read at once
        return PlainBatch(self, prompts, shares)

    def most_rows(self, tokens: int) -> int:
        """How many rows may be answered at once; transformers' cache asks for memory as it grows."""
        return max(1, MOST_TOKENS // tokens)

    def scores(self, token_ids: Sequence[int], shares: Sequence[Shares], last: int) -> Iterator[Tensor]:
        """Logits (rows, some, vocabulary) of the last positions of one text, each row through its own adapters."""
        self.lay_out(shares)
        ids = torch.tensor([list(token_ids)] * len(shares), device=self.base.device)
        yield self.base(input_ids=ids, use_cache=False, logits_to_keep=last).logits

    def lay_out(self, shares: Sequence[Shares]) -> None:
        """Let the rows of the next passes go through these adapters."""
        lengths = self._with_lengths
        wanted = dict.fromkeys(
            Place(name, share if name in lengths else None) for row in shares for name, share in row.items()
        )
        if list(wanted) != self._mix.places:
            self._mix.places = list(wanted)
            for mixed in self._mixed.values():
                mixed.stack(self._mix.places)
        self._mix.shares = None
        if wanted:
            rows = [[_share(row, place) for place in self._mix.places] for row in shares]
            self._mix.shares = torch.tensor(rows, device=self.base.device)

    def _forget_places(self) -> None:
        self._mix.places, self._mix.shares = [], None
        for mixed in self._mixed.values():
            mixed.stack([])

    def _set(self, path: str, module: nn.Module) -> None:
        parent, _, name = path.rpartition(".")
        setattr(self.base.get_submodule(parent), name, module)


def _share(row: Shares, place: Place) -> float:
    share = row.get(place.name, 0.0)
    if place.strength is None:
        return share
    # DoRA's strength is in its matrices already.
    return 1.0 if place.name in row and share == place.strength else 0.0


class PlainBatch:
    """Rows that go through the model together, and what it keeps of their tokens."""

    def __init__(self, model: PlainModel, prompts: Sequence[Sequence[int]], shares: Sequence[Shares]) -> None:
        self._model, self._shares = model, list(shares)
        device = model.base.device
        longest = max(len(prompt) for prompt in prompts)
        # In front, so that answers start together; what is not seen may hold any token.
        self._ids = torch.tensor([[0] * (longest - len(ids)) + list(ids) for ids in prompts], device=device)
        self._mask = torch.tensor(
            [[0] * (longest - len(ids)) + [1] * len(ids) for ids in prompts], device=device
        )
        self._cache: Any = None

    def read(self) -> Tensor:
        """Logits (rows, vocabulary) in fp32 behind the prompts, or behind the tokens given last."""
        self._model.lay_out(self._shares)
        positions = (self._mask.cumsum(dim=1) - 1).clamp(min=0)[:, -self._ids.shape[1] :]
        output = self._model.base(
            input_ids=self._ids,
            attention_mask=self._mask,
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        self._cache = output.past_key_values
        logits: Tensor = output.logits[:, -1]
        return logits.float()

    def go_on(self, going: Sequence[int], chosen: Sequence[int]) -> None:
        """Only the rows `going` go on, each with the token chosen for it; the others leave."""
        if len(going) < len(self._mask):
            self._cache.batch_select_indices(torch.tensor(going, device=self._mask.device))
            self._shares = [self._shares[i] for i in going]
        self._ids = torch.tensor([[token] for token in chosen], device=self._mask.device)
        self._mask = torch.cat([self._mask[list(going)], self._mask.new_ones(len(going), 1)], dim=1)
