"""The slowest engine there is (transformers and PEFT as they come, row by row), and one run of a tiny model."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from jobs.progress import Progress
from jobs.training import loop
from jobs.training.examples import Example
from jobs.training.loop import TrainingResult
from jobs.training.model import adapted_model, adapter_names, adapter_parameters, initial_values
from jobs.training.optimizer import AdapterWeights
from jobs.training.packing import Pack, best_fit, pack_of
from jobs.training.settings import TrainingSettings, trials

SETTINGS = TrainingSettings(
    epochs=3,
    learning_rate=0.05,
    tokens_per_step=256,
    target_modules=("q_proj", "v_proj", "down_proj"),
    max_tokens=128,
    seed=3,
    precision="fp32",
)


class RowEngine:
    """Computes packs of `pack_tokens` row by row; says of more than `fitting_tokens` that memory is short."""

    def __init__(self, model: Any, ratio: float = 1.0, pack_tokens: int = 64, fitting_tokens: int = 1 << 30):
        self.model, self.pack_tokens, self.fitting_tokens = model, pack_tokens, fitting_tokens
        self.names = adapter_names(len(model.peft_config))
        self.weights = AdapterWeights([initial_values(model, name) for name in self.names], ratio)
        self.device = model.device
        self.words = ["Row by row."]
        self.learned_packs = self.base_looks = 0
        self.refresh()

    def packs(self, examples: Sequence[Example], rows: Sequence[int]) -> Iterator[Pack]:
        lengths = [len(example.token_ids) for example in examples]
        for group in best_fit(rows, lengths, self.pack_tokens):
            yield pack_of(examples, group, self.device)

    def learn(self, pack: Pack, share: float) -> Tensor:
        self.model.train()
        losses = []
        for name, gradients in zip(self.names, self.weights.gradients, strict=True):
            self.model.set_adapter(name)
            parameters = adapter_parameters(self.model, name)
            loss = self._loss(pack)
            (loss * share).backward()
            for path, parameter in parameters.items():
                gradients[path] += parameter.grad
                parameter.grad = None
            losses.append(loss.detach())
        self.learned_packs += 1
        if pack.real_tokens > self.fitting_tokens:
            # As late as it can be: gradients are in the buffer already.
            raise torch.OutOfMemoryError("CUDA out of memory")
        return torch.stack(losses)

    @torch.no_grad()
    def losses(self, pack: Pack, base: bool = False) -> Tensor:
        self.model.eval()
        self.base_looks += base
        if base:
            with self.model.disable_adapter():
                return self._loss(pack).repeat(len(self.names))
        losses = []
        for name in self.names:
            self.model.set_adapter(name)
            losses.append(self._loss(pack))
        return torch.stack(losses)

    @torch.no_grad()
    def refresh(self) -> None:
        for name, masters in zip(self.names, self.weights.masters, strict=True):
            for path, parameter in adapter_parameters(self.model, name).items():
                parameter.copy_(masters[path])

    def halve(self) -> str | None:
        if self.pack_tokens <= 16:
            return None
        self.pack_tokens //= 2
        return f"{self.pack_tokens} tokens at once."

    def _loss(self, pack: Pack) -> Tensor:
        total = torch.zeros(())
        for span in pack.layout.spans:
            inside = (pack.predicts >= span.start) & (pack.predicts < span.start + span.length)
            token_ids = pack.token_ids[span.start : span.start + span.length]
            logits = self.model(input_ids=token_ids[None]).logits[0]
            total = total + cross_entropy(
                logits[pack.predicts[inside] - span.start], pack.targets[inside], reduction="sum"
            )
        return total


def row_engine(
    folder: Path, settings: TrainingSettings, ranks: Sequence[int] = (4,), **options: Any
) -> RowEngine:
    """A fresh one over the model in `folder`."""
    model = adapted_model(folder, "cpu", ranks, settings)
    return RowEngine(model, settings.lora_plus_ratio, **options)


class Recorder(Progress):
    """Keeps what is reported; asks to stop after so many questions."""

    def __init__(self, stop_after: float = math.inf) -> None:
        self.metrics: list[tuple[int, dict[str, float]]] = []
        self.notes: list[str] = []
        self.forecasts: list[tuple[float, int]] = []
        self.checkpoints: list[tuple[int, str, list[str]]] = []
        self.resumed_from: int | None = None
        self.lines: list[str] = []
        self.total = 0
        self.questions, self.stop_after = 0, stop_after

    def total_steps(self, count: int) -> None:
        self.total = count

    def metric(self, step: int, **values: float) -> None:
        self.metrics.append((step, values))

    def note(self, words: str) -> None:
        self.notes.append(words)

    def foreseen(self, seconds: float, peak_bytes: int, tokens_per_second: float | None = None) -> None:
        self.forecasts.append((seconds, peak_bytes))

    def checkpoint(self, step: int, folder: str, kept: list[str]) -> None:
        self.checkpoints.append((step, folder, kept))

    def resumed(self, step: int) -> None:
        self.resumed_from = step

    def log(self, text: str) -> None:
        self.lines.append(text)

    def should_stop(self) -> bool:
        self.questions += 1
        return self.questions > self.stop_after

    def all_of(self, name: str) -> list[tuple[int, float]]:
        return [(step, values[name]) for step, values in self.metrics if name in values]


class Ran:
    """One run of the tiny model, and all that it left."""

    def __init__(
        self,
        folder: Path,
        examples: list[Example],
        recorder: Recorder | None = None,
        *,
        rank: int = 4,
        held_out: int = 8,
        engine: RowEngine | None = None,
        states: Path | None = None,
        resume: bool = True,
        base_model: Mapping[str, str] | None = None,
        **changes: Any,
    ) -> None:
        settings = dataclasses.replace(SETTINGS, **changes)
        tried = trials(settings, rank)
        self.engine = engine or row_engine(folder, settings, [trial.rank for trial in tried])
        self.recorder = recorder or Recorder()
        self.saved: list[tuple[int, dict[str, Tensor]]] = []
        self.result: TrainingResult = loop.train(
            self.engine,
            examples[held_out:],
            examples[:held_out],
            settings,
            self.recorder,
            self._save,
            trials=tried,
            state_folder=states,
            resume=resume,
            base_model=base_model or {"weights": "own"},
        )

    def _save(self, trial: int, values: Mapping[str, Tensor]) -> None:
        self.saved.append((trial, {name: value.clone() for name, value in values.items()}))

    @property
    def losses(self) -> list[tuple[int, float]]:
        return self.recorder.all_of("loss")

    def master(self) -> Tensor:
        return self.engine.weights.master
