"""Answers from one base model and any number of adapters on it, all sides decoded together and streamed.

The base model is loaded once. Every row of a batch goes through adapters of its own, at strengths of its own, so
that sides differ by their weights and by nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jobs.base_models.weights import weights_sha256
from jobs.generation.adapter_files import WEIGHTS_FILE, Change, read_changes
from jobs.generation.base import load_base
from jobs.generation.chat import ChatFormat
from jobs.generation.constrained import Grammar, Held, hold_all
from jobs.generation.fast import FastModel
from jobs.generation.growing import GrowingText
from jobs.generation.lean import ReadingStopped
from jobs.generation.plain import PlainModel
from jobs.training.lean_model import unsupported
from storage import files
from storage.errors import StudioError

SHORT_HASH = 8


@dataclass(frozen=True)
class Request:
    """One conversation to answer.

    Attributes:
        adapters: strength by the name of a loaded adapter; {} is the base model, several are a blend (the sum of
            their changes).
        schema: a JSON schema that the answer has to follow.
        max_new_tokens: of this answer, in place of the batch's.
    """

    side_label: str
    adapters: Mapping[str, float]
    messages: Sequence[Mapping[str, str]]
    schema: Mapping[str, Any] | None = None
    max_new_tokens: int | None = None


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


@dataclass(frozen=True)
class Continuation:
    """An answer that is given, whose likelihood is asked; `adapters` as in `Request`."""

    adapters: Mapping[str, float]
    messages: Sequence[Mapping[str, str]]
    answer: str


@dataclass(frozen=True)
class Likelihood:
    """How likely weights find an answer, over its `tokens`, the end of its turn included.

    Attributes:
        nats: summed negative log-likelihood.
        divergence: summed KL(base ‖ these weights) of what comes next at the same places; 0 of the base itself.
    """

    tokens: int
    nats: float
    divergence: float


@dataclass
class _Row:
    """One answer while it grows."""

    index: int
    request: Request
    prompt_ids: list[int]
    most_tokens: int
    text: GrowingText
    held: Held | None = None
    token_ids: list[int] = field(default_factory=list)
    finish_reason: str = ""

    @property
    def longest(self) -> int:
        """The most tokens of its prompt and its answer."""
        return len(self.prompt_ids) + self.most_tokens

    def delta(self) -> Delta:
        """What there is since the last one."""
        return Delta(
            self.index,
            self.request.side_label,
            self.text.news(self.token_ids, is_whole=bool(self.finish_reason)),
            len(self.token_ids),
            len(self.prompt_ids),
            bool(self.finish_reason),
            self.finish_reason,
        )


@dataclass
class _Adapter:
    """One that is loaded, and on which of the two paths it has been put."""

    sha256: str
    changes: Mapping[str, Change]
    fast: bool = False
    plain: bool = False


class Engine:
    """One base model in memory with adapters on top; one thread at a time may use it."""

    def __init__(self, folder: Path, device: str, precision: str = "auto") -> None:
        self._folder = Path(folder)
        self._device = device
        self.chat = ChatFormat.load(self._folder)
        base: Any = load_base(self._folder, device, precision)
        self._context_tokens = getattr(base.config, "max_position_embeddings", None) or 1 << 30
        # Why this model answers on the plain path; None: on the fast one.
        self.plain_because = _plain_because(base, precision, self._context_tokens)
        self._fast = FastModel(base, device) if self.plain_because is None else None
        self._plain = PlainModel(base)
        self._adapters: dict[str, _Adapter] = {}
        self._grammar: Grammar | None = None

    def load_adapter(self, name: str, folder: Path) -> None:
        """Put a PEFT LoRA or DoRA folder on the base model under a name; loaded ones stay.

        Raises:
            StudioError: the folder is unreadable, or its matrices do not fit this base model.
        """
        if name in self._adapters:
            return
        folder = Path(folder)
        changes = read_changes(folder, self._plain.modules(), self._folder.name)
        adapter = _Adapter(files.sha256_of(folder / WEIGHTS_FILE), changes)
        if self._fast is not None and self._fast.takes(changes):
            self._fast.put(name, changes)
            adapter.fast = True
        else:
            self._plain.put(name, changes)
            adapter.plain = True
        self._adapters[name] = adapter

    def unload_adapter(self, name: str) -> None:
        """Take an adapter off and free its memory; an unknown one changes nothing."""
        adapter = self._adapters.pop(name, None)
        if adapter is not None and adapter.plain:
            self._plain.remove(name)
        if adapter is not None and adapter.fast and self._fast is not None:
            self._fast.remove(name)

    def _model_for(self, shares: Iterable[Mapping[str, float]]) -> FastModel | PlainModel:
        """The fast path, unless an adapter that it cannot compute takes part."""
        names = dict.fromkeys(name for row in shares for name in row)
        if self._fast is not None and all(self._adapters[name].fast for name in names):
            return self._fast
        self._put_on_plain(names)
        return self._plain

    def _put_on_plain(self, names: Iterable[str]) -> None:
        for name in names:
            if not self._adapters[name].plain:
                self._plain.put(name, self._adapters[name].changes)
                self._adapters[name].plain = True

    def weights_of(self, name: str | None) -> str:
        """Short hash of the weights that answer: "3f9a12cd" (base), "3f9a12cd+c21e00aa" (adapted)."""
        base = weights_sha256(self._folder)[:SHORT_HASH]
        return base if name is None else f"{base}+{self._adapters[name].sha256[:SHORT_HASH]}"

    @torch.inference_mode()
    def generate(
        self,
        requests: Sequence[Request],
        max_new_tokens: int = 256,
        temperature: float = 0.0,
        seed: int = 0,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[list[Delta]]:
        """Answer all requests side by side, a list of deltas for every token step.

        At temperature 0 the likeliest token is taken. Above it, each step draws one noise vector from `seed`
        and uses it for all rows (Gumbel-max), so that equal weights give equal answers side by side.

        Raises:
            StudioError: a prompt leaves no room in the model's context, an answer cannot be held to its schema,
                or the device runs out of memory.
        """
        rows = [self._row(i, request, max_new_tokens) for i, request in enumerate(requests)]
        if not rows:
            return
        model = self._model_for([row.request.adapters for row in rows])
        together = model.most_rows(max(row.longest for row in rows))
        for first in range(0, len(rows), together):
            if first and should_stop():
                yield _stopped(rows[first:])
                return
            yield from self._answer(model, rows[first : first + together], temperature, seed, should_stop)

    def _answer(
        self,
        model: FastModel | PlainModel,
        rows: list[_Row],
        temperature: float,
        seed: int,
        should_stop: Callable[[], bool],
    ) -> Iterator[list[Delta]]:
        """The answers of rows that fit into memory together."""
        noise = torch.Generator().manual_seed(seed)
        shares = [row.request.adapters for row in rows]
        prompts, longest = [row.prompt_ids for row in rows], max(row.longest for row in rows)
        with self._lack_of_memory_in_words(len(rows)):
            batch = model.begin(prompts, shares, longest, should_stop)
        while True:
            try:
                with self._lack_of_memory_in_words(len(rows)):
                    logits = batch.read()
            except ReadingStopped:
                yield _stopped(rows)
                return
            hold_all([row.held for row in rows], logits)
            chosen = _choose(logits, temperature, noise).tolist()
            stopped = should_stop()
            for row, token_id in zip(rows, chosen, strict=True):
                self._take(row, token_id, stopped)
            yield [row.delta() for row in rows]
            going = [i for i, row in enumerate(rows) if not row.finish_reason]
            if not going:
                return
            batch.go_on(going, [chosen[i] for i in going])
            rows = [rows[i] for i in going]

    @torch.inference_mode()
    def likelihoods(
        self, continuations: Sequence[Continuation], should_stop: Callable[[], bool] = lambda: False
    ) -> list[Likelihood]:
        """How likely each answer is, in the order given.

        Raises:
            StudioError: it was stopped, or a conversation is longer than the model's context.
        """
        found = []
        for one in continuations:
            if should_stop():
                raise StudioError("The measuring was stopped.", "Start it again when you want its result.")
            found.append(self._likelihood(one))
        return found

    def _likelihood(self, one: Continuation) -> Likelihood:
        token_ids, answer = self.chat.prompt_and_answer(one.messages, one.answer)
        self._check_fits_context(len(token_ids))
        shares = [one.adapters, {}] if one.adapters else [{}]
        targets, nats, divergence = token_ids[-answer:], 0.0, 0.0
        for logits in self._model_for(shares).scores(token_ids[:-1], shares, answer):
            scores = logits.float().log_softmax(dim=-1)
            some, targets = targets[: scores.shape[1]], targets[scores.shape[1] :]
            taken = scores[0].gather(1, torch.tensor(some, device=scores.device)[:, None])
            nats -= float(taken.double().sum())
            if one.adapters:
                divergence += float((scores[1].exp() * (scores[1] - scores[0])).sum(dim=-1).double().sum())
        return Likelihood(answer, nats, max(0.0, divergence))

    def _held(self, schema: Mapping[str, Any]) -> Held:
        if self._grammar is None:
            vocabulary = self._plain.base.get_output_embeddings().weight.shape[0]
            self._grammar = Grammar(self._folder, vocabulary, self.chat.stop_ids)
        return self._grammar.held(schema)

    @contextmanager
    def _lack_of_memory_in_words(self, rows: int) -> Iterator[None]:
        try:
            yield
        except torch.OutOfMemoryError as error:
            raise StudioError(
                f"The device {self._device} has too little memory for {rows} answers at once.",
                "Compare fewer sides, shorten the prompt, or choose a smaller base model.",
            ) from error

    def _take(self, row: _Row, token_id: int, stopped: bool) -> None:
        if token_id in self.chat.stop_ids:
            row.finish_reason = "stop"
            return
        row.token_ids.append(token_id)
        if row.held is not None:
            row.held.take(token_id)
        if len(row.token_ids) >= row.most_tokens:
            row.finish_reason = "length"
        elif stopped:
            row.finish_reason = "stopped"

    def _row(self, index: int, request: Request, max_new_tokens: int) -> _Row:
        prompt_ids = self.chat.prompt_ids(request.messages)
        self._check_fits_context(len(prompt_ids) + 1)
        room = self._context_tokens - len(prompt_ids)
        most_tokens = min(request.max_new_tokens or max_new_tokens, room)
        held = None if request.schema is None else self._held(request.schema)
        return _Row(index, request, prompt_ids, most_tokens, GrowingText(self.chat), held)

    def _check_fits_context(self, tokens: int) -> None:
        if tokens > self._context_tokens:
            raise StudioError(
                f"The prompt has {tokens - 1:,} tokens.",
                f"Shorten it: this model reads at most {self._context_tokens:,}.",
            )


def _stopped(rows: Sequence[_Row]) -> list[Delta]:
    """The end of rows whose prompts have not all been read."""
    for row in rows:
        row.finish_reason = "stopped"
    return [row.delta() for row in rows]


def _plain_because(base: Any, precision: str, context_tokens: int) -> str | None:
    if precision == "nf4":
        return "its weights are in 4 bits"
    return unsupported(base, [], context_tokens)


def _choose(logits: Tensor, temperature: float, noise: torch.Generator) -> Tensor:
    """One token for each row of `logits` (rows, vocabulary)."""
    if temperature == 0:
        return logits.argmax(dim=-1)
    # Drawn on the processor, so that a seed means the same on every device.
    gumbel = -torch.empty(logits.shape[-1]).exponential_(generator=noise).log()
    # Not divided by the temperature: next to 0 that would make all likely tokens infinite.
    return (logits + temperature * gumbel.to(logits.device)).argmax(dim=-1)
