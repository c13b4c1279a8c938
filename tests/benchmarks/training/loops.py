"""The contestants that go step by step: ours, through the engine of the product, and plain PEFT."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Protocol

import torch

from jobs.training.examples import Example
from jobs.training.packing import plan_run
from jobs.training.settings import TrainingSettings, fitted
from tests.benchmarks.training.cases import OURS, Case
from tests.benchmarks.training.shapes import LINEARS, random_model

LEARNING_RATE = 2e-4
NAIVE_ROWS = 8
EPOCHS = 50.0
IGNORED = -100


class Contestant(Protocol):
    """Somebody who trains a step when asked."""

    words: list[str]

    def step(self) -> tuple[int, int]:
        """One optimiser step; the real and the supervised tokens that it read."""
        ...


def base_of(case: Case) -> Any:
    """The frozen model of a case: on its device, or, where it is not to fit there, in the computer's memory."""
    dtype = torch.float32 if case.precision == "fp32" else torch.bfloat16
    base = random_model(case.model, case.device, dtype).requires_grad_(False).eval()
    if case.precision == "nf4" or case.leave_gib:
        base = base.to("cpu")
    if case.device.startswith("cuda"):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    return base


def contestant(case: Case, base: Any, examples: Sequence[Example]) -> Contestant:
    """The one whom the case names."""
    return (Ours if case.who in OURS else Naive)(case, base, examples)


def plan(case: Case, examples: Sequence[Example]) -> list[list[int]]:
    """The rows of every step, the same for all who go step by step."""
    lengths = [len(example.token_ids) for example in examples]
    return plan_run(lengths, EPOCHS, case.tokens_per_step, None, 0)


class Ours:
    """The product's engine, driven as its own loop drives it."""

    def __init__(self, case: Case, base: Any, examples: Sequence[Example]) -> None:
        self.examples = examples
        self.steps = itertools.cycle(plan(case, examples))
        self.rates = [LEARNING_RATE] * len(case.ranks)
        self.engine = engine_of(case, base, examples)
        self.words = list(self.engine.words)
        self.next = self.cut()

    def cut(self) -> tuple[list[int], list[Any]]:
        """The rows of the next step, and their packs."""
        rows = next(self.steps)
        return rows, list(self.engine.packs(self.examples, rows))

    def step(self) -> tuple[int, int]:
        while True:
            try:
                return self._step()
            except torch.OutOfMemoryError:
                pass
            # Out here nothing holds the tensors of the failed step any more.
            self.engine.weights.discard()
            words = self.engine.halve()
            if words is None:
                raise MemoryError("out of memory, with as little at once as there can be")
            self.words.append(words)
            self.next = (self.next[0], list(self.engine.packs(self.examples, self.next[0])))

    def _step(self) -> tuple[int, int]:
        rows, packs = self.next
        supervised = sum(self.examples[row].supervised_tokens for row in rows)
        losses = sum(self.engine.learn(pack, 1 / supervised) for pack in packs)
        self.engine.weights.move(self.rates)
        self.engine.refresh()
        self.next = self.cut()  # while the device still computes
        means = [loss / supervised for loss in losses.tolist()]  # type: ignore[union-attr]
        if not all(0 < mean < 50 for mean in means):
            raise ArithmeticError(f"the loss is {means}")
        return sum(len(self.examples[row].token_ids) for row in rows), supervised


def engine_of(case: Case, base: Any, examples: Sequence[Example]) -> Any:
    """The engine that the product chooses; the one place that knows how it is asked for."""
    from peft import LoraConfig

    from jobs.progress import Progress
    from jobs.training.engine import engine_for
    from jobs.training.model import with_adapters
    from jobs.training.settings import trials

    lengths = [len(example.token_ids) for example in examples]
    asked = TrainingSettings(
        # As a long run, for which compiling and recording pay.
        epochs=EPOCHS,
        tokens_per_step=case.tokens_per_step,
        learning_rate=LEARNING_RATE,
        precision=case.precision,
        try_ranks=case.ranks if len(case.ranks) > 1 else (),
    )
    settings = fitted(asked, lengths, rank=case.ranks[0])
    tried = trials(settings, case.ranks[0])
    configs = [
        LoraConfig(task_type="CAUSAL_LM", r=trial.rank, lora_alpha=trial.alpha, target_modules=LINEARS)
        for trial in tried
    ]
    model = with_adapters(base, configs, settings.seed)
    return engine_for(model, settings, tried, examples, Progress(), device=case.device)


class Naive:
    """A Hugging Face model with PEFT in a plain loop: padded batches, all logits, AdamW."""

    def __init__(self, case: Case, base: Any, examples: Sequence[Example]) -> None:
        from peft import LoraConfig, get_peft_model

        rank = case.ranks[0]
        config = LoraConfig(task_type="CAUSAL_LM", r=rank, lora_alpha=2 * rank, target_modules=LINEARS)
        self.model, self.examples = get_peft_model(base, config).train(), examples
        self.steps = itertools.cycle(plan(case, examples))
        learned = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(learned, lr=LEARNING_RATE)
        self.words = [f"padded batches of {NAIVE_ROWS} rows, all logits"]

    def step(self) -> tuple[int, int]:
        rows = next(self.steps)
        supervised = sum(self.examples[row].supervised_tokens for row in rows)
        for start in range(0, len(rows), NAIVE_ROWS):
            batch = padded(
                [self.examples[row] for row in rows[start : start + NAIVE_ROWS]], self.model.device
            )
            learned = int((batch["labels"][:, 1:] != IGNORED).sum())
            (self.model(**batch, use_cache=False).loss * learned / supervised).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return sum(len(self.examples[row].token_ids) for row in rows), supervised


def padded(examples: Sequence[Example], device: Any) -> dict[str, torch.Tensor]:
    """One batch as wide as its longest row."""
    width = max(len(example.token_ids) for example in examples)
    token_ids = torch.zeros(len(examples), width, dtype=torch.long)
    labels = torch.full_like(token_ids, IGNORED)
    for i, example in enumerate(examples):
        row, _ = example.tensors
        token_ids[i, : len(row)] = row
        labels[i, : len(row)] = torch.where(torch.tensor(example.learned), row, IGNORED)
    lengths = torch.tensor([len(example.token_ids) for example in examples])
    mask = (torch.arange(width) < lengths[:, None]).long()
    return {
        "input_ids": token_ids.to(device),
        "attention_mask": mask.to(device),
        "labels": labels.to(device),
    }
