"""Answers from one base model and any number of adapters on it, all sides decoded together and streamed.

The base model is loaded once. Rows of one batch go through different adapters (PEFT's mixed batch), so that
sides differ by their adapter's weights and by nothing else. PEFT mixes no DoRA adapters: the rows of each one
are a batch of their own, a token at a time beside the others.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError, safe_open
from torch import Tensor

from jobs.base_models.weights import weights_sha256
from jobs.generation.base import load_base
from jobs.generation.chat import ChatFormat
from jobs.generation.dora import Lengths, load_lengths, set_strength
from storage import files
from storage.errors import StudioError

BASE_ROWS = "__base__"  # PEFT's name for rows that no adapter touches
WEIGHTS_FILE = "adapter_model.safetensors"
SHORT_HASH = 8
UNFINISHED_CHARACTER = "\ufffd"


@dataclass(frozen=True)
class Request:
    """One conversation to answer; without `adapter_id` the base model answers."""

    side_label: str
    adapter_id: str | None
    messages: Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class Delta:
    """What one row has gained: `text` is new, `tokens` counts all of its answer so far.

    `row` is the index of its request; `finish_reason` is "" until done, then "stop" (the model ended its
    answer), "length" (cut at the longest answer or the model's context) or "stopped" (by the user).
    """

    row: int
    side_label: str
    text: str
    tokens: int
    prompt_tokens: int
    done: bool
    finish_reason: str


class _Row:
    """One answer while it grows."""

    def __init__(self, index: int, request: Request, prompt_ids: list[int]) -> None:
        self.index, self.request, self.prompt_ids = index, request, prompt_ids
        self.token_ids: list[int] = []
        self.shown = ""
        self.finish_reason = ""

    def delta(self, chat: ChatFormat) -> Delta:
        """The text since the last one; bytes of an unfinished character wait for their rest."""
        text = chat.decode(self.token_ids)
        if not self.finish_reason:
            text = text.rstrip(UNFINISHED_CHARACTER)
        new = text[len(self.shown) :]
        self.shown += new
        return Delta(
            self.index,
            self.request.side_label,
            new,
            len(self.token_ids),
            len(self.prompt_ids),
            bool(self.finish_reason),
            self.finish_reason,
        )


@dataclass
class _Batch:
    """Rows that go through the model together, and what it keeps of their tokens (`cache`).

    `token_ids` (rows, new tokens) are still to be read, `mask` (rows, all tokens) is 0 on what fills up a
    prompt in front. `dora` is the one DoRA adapter of all rows, or None.
    """

    rows: list[_Row]
    token_ids: Tensor
    mask: Tensor
    dora: str | None
    cache: Any = None

    def go_on(self, chosen: Sequence[int]) -> None:
        """Read the `chosen` tokens next; answers that are done leave, so that others do not wait for them."""
        going = [i for i, row in enumerate(self.rows) if not row.finish_reason]
        if 0 < len(going) < len(self.rows):
            self.cache.batch_select_indices(torch.tensor(going, device=self.mask.device))
        self.rows = [self.rows[i] for i in going]
        self.token_ids = torch.tensor([[chosen[i]] for i in going], device=self.mask.device)
        self.mask = torch.cat([self.mask[going], self.mask.new_ones(len(going), 1)], dim=1)


class Engine:
    """One base model in memory with adapters on top; one thread at a time may use it."""

    def __init__(self, folder: Path, device: str, precision: str = "auto") -> None:
        self._folder = Path(folder)
        self._device = device
        self.chat = ChatFormat.load(self._folder)
        self._model: Any = load_base(self._folder, device, precision)
        self._context_tokens = getattr(self._model.config, "max_position_embeddings", None) or 1 << 30
        self._adapter_hashes: dict[str, str] = {}
        self._lengths: dict[str, list[Lengths]] = {}  # of the DoRA adapters

    def load_adapter(self, adapter_id: str, folder: Path) -> None:
        """Put a PEFT LoRA or DoRA folder on the base model under the name `adapter_id`; loaded ones stay.

        Raises:
            StudioError: the folder is unreadable, or its matrices do not fit this base model.
        """
        if adapter_id in self._adapter_hashes:
            return
        folder = Path(folder)
        self._check_fits(folder)
        if isinstance(self._model, PeftModel):
            self._model.load_adapter(str(folder), adapter_name=adapter_id, autocast_adapter_dtype=False)
        else:
            # In the base's number format, as in training: what was measured there is what answers here.
            self._model = PeftModel.from_pretrained(
                self._model, str(folder), adapter_name=adapter_id, autocast_adapter_dtype=False
            )
        self._model.eval()
        if lengths := load_lengths(self._model, adapter_id, folder / WEIGHTS_FILE):
            self._lengths[adapter_id] = lengths
        self._adapter_hashes[adapter_id] = files.sha256_of(folder / WEIGHTS_FILE)

    def unload_adapter(self, adapter_id: str) -> None:
        """Take an adapter off and free its memory; an unknown one changes nothing."""
        if self._adapter_hashes.pop(adapter_id, None) is None:
            return
        self._lengths.pop(adapter_id, None)
        if self._adapter_hashes:
            self._model.set_adapter(next(iter(self._adapter_hashes)))
            self._model.delete_adapter(adapter_id)
        else:
            self._model = self._model.unload()

    def weights_of(self, adapter_id: str | None) -> str:
        """Short hash of the weights that answer: "3f9a12cd" (base), "3f9a12cd+c21e00aa" (adapted)."""
        base = weights_sha256(self._folder)[:SHORT_HASH]
        return base if adapter_id is None else f"{base}+{self._adapter_hashes[adapter_id][:SHORT_HASH]}"

    @torch.inference_mode()
    def generate(
        self,
        requests: Sequence[Request],
        max_new_tokens: int = 256,
        temperature: float = 0.0,
        seed: int = 0,
        strength: float = 1.0,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[list[Delta]]:
        """Answer all requests side by side, a list of deltas for every token step.

        At temperature 0 the likeliest token is taken. Above it, each step draws one noise vector from `seed`
        and uses it for all rows (Gumbel-max), so that equal weights give equal answers side by side.

        Raises:
            StudioError: a prompt leaves no room in the model's context, or the device runs out of memory.
        """
        rows = [_Row(i, request, self._prompt_ids(request)) for i, request in enumerate(requests)]
        noise = torch.Generator().manual_seed(seed)
        batches = self._batches(rows)
        while batches:
            logits = torch.cat([self._forward(batch, strength) for batch in batches])
            chosen = _choose(logits, temperature, noise).tolist()
            stopped = should_stop()
            stepped = [row for batch in batches for row in batch.rows]
            for row, token_id in zip(stepped, chosen, strict=True):
                self._take(row, token_id, max_new_tokens, stopped)
            yield [row.delta(self.chat) for row in sorted(stepped, key=lambda row: row.index)]
            for batch in batches:
                ours, chosen = chosen[: len(batch.rows)], chosen[len(batch.rows) :]
                batch.go_on(ours)
            batches = [batch for batch in batches if batch.rows]

    def _take(self, row: _Row, token_id: int, max_new_tokens: int, stopped: bool) -> None:
        if token_id in self.chat.stop_ids:
            row.finish_reason = "stop"
            return
        row.token_ids.append(token_id)
        length = len(row.prompt_ids) + len(row.token_ids)
        if len(row.token_ids) >= max_new_tokens or length >= self._context_tokens:
            row.finish_reason = "length"
        elif stopped:
            row.finish_reason = "stopped"

    def _prompt_ids(self, request: Request) -> list[int]:
        prompt_ids = self.chat.prompt_ids(request.messages)
        if len(prompt_ids) >= self._context_tokens:
            raise StudioError(
                f"The prompt has {len(prompt_ids):,} tokens.",
                f"Shorten it: this model reads at most {self._context_tokens:,}.",
            )
        return prompt_ids

    def _batches(self, rows: Sequence[_Row]) -> list[_Batch]:
        """The rows that can go through the model together; padded in front, so that answers start together."""
        by_dora: dict[str | None, list[_Row]] = {}
        for row in rows:
            adapter_id = row.request.adapter_id
            by_dora.setdefault(adapter_id if adapter_id in self._lengths else None, []).append(row)
        batches = []
        for dora, together in by_dora.items():
            longest = max(len(row.prompt_ids) for row in together)
            fill = [longest - len(row.prompt_ids) for row in together]
            pairs = list(zip(fill, together, strict=True))
            ids = [[self.chat.pad_id] * count + row.prompt_ids for count, row in pairs]
            mask = [[0] * count + [1] * len(row.prompt_ids) for count, row in pairs]
            token_ids, seen = (torch.tensor(values, device=self._device) for values in (ids, mask))
            batches.append(_Batch(together, token_ids, seen, dora))
        return batches

    def _forward(self, batch: _Batch, strength: float) -> Tensor:
        """Logits of the last position, (rows, vocabulary) in fp32; the batch's cache grows."""
        positions = (batch.mask.cumsum(dim=1) - 1).clamp(min=0)[:, -batch.token_ids.shape[1] :]
        mixed = {}
        if batch.dora is not None:
            self._model.set_adapter(batch.dora)
        elif isinstance(self._model, PeftModel):
            mixed = {"adapter_names": [row.request.adapter_id or BASE_ROWS for row in batch.rows]}
        try:
            with self._scaled(strength):
                output = self._model(
                    input_ids=batch.token_ids,
                    attention_mask=batch.mask,
                    position_ids=positions,
                    past_key_values=batch.cache,
                    use_cache=True,
                    logits_to_keep=1,
                    **mixed,
                )
        except torch.OutOfMemoryError as error:
            raise StudioError(
                f"The device {self._device} has too little memory for {len(batch.rows)} answers at once.",
                "Compare fewer sides, shorten the prompt, or choose a smaller base model.",
            ) from error
        batch.cache = output.past_key_values
        logits: Tensor = output.logits[:, -1]
        return logits.float()

    @contextmanager
    def _scaled(self, strength: float) -> Iterator[None]:
        """All adapters at `strength` times their own change."""
        if strength == 1.0:
            yield
            return
        try:
            self._set_strength(strength)
            yield
        finally:
            self._set_strength(1.0)

    def _set_strength(self, strength: float) -> None:
        for module in self._model.modules():
            if isinstance(module, LoraLayer):
                for name in self._adapter_hashes:
                    module.set_scale(name, strength)
        for lengths in self._lengths.values():
            set_strength(lengths, strength)

    def _check_fits(self, folder: Path) -> None:
        """Compare the adapter's matrices with the base model's, which PEFT would only do half-way through."""
        base = self._model.get_base_model() if isinstance(self._model, PeftModel) else self._model
        try:
            made_for = json.loads((folder / "adapter_config.json").read_text()).get("base_model_name_or_path")
            with safe_open(folder / WEIGHTS_FILE, framework="pt") as weights:
                shapes = {name: list(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118
        except (OSError, ValueError, SafetensorError) as error:
            raise StudioError(
                f"The adapter in {folder.name} cannot be read: {error}",
                "Train it again, or choose another one.",
            ) from error
        modules = {name.replace(".base_layer", ""): module for name, module in base.named_modules()}
        for name, shape in shapes.items():
            path, _, kind = name.removeprefix("base_model.model.").rpartition(".lora_")
            # A is (rank, in), B is (out, rank), DoRA's lengths are (out,); anything else is neither.
            of_rows = ("out_features", "nf")
            wanted = {"A.weight": ("in_features", "nx"), "B.weight": of_rows, "magnitude_vector": of_rows}
            size = shape[-1] if kind == "A.weight" else shape[0]
            if size not in [
                getattr(modules.get(path), attribute, None) for attribute in wanted.get(kind, ())
            ]:
                raise StudioError(
                    f"This adapter was made for {made_for or 'another model'}, not for {self._folder.name}:"
                    f" its matrix {name} does not fit.",
                    "Choose an adapter that was trained on this base model.",
                )


def _choose(logits: Tensor, temperature: float, noise: torch.Generator) -> Tensor:
    """One token for each row of `logits` (rows, vocabulary)."""
    if temperature == 0:
        return logits.argmax(dim=-1)
    # Drawn on the processor, so that a seed means the same on every device.
    gumbel = -torch.empty(logits.shape[-1]).exponential_(generator=noise).log()
    return (logits / temperature + gumbel.to(logits.device)).argmax(dim=-1)
