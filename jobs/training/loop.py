"""The training of one adapter, from its first held-out loss to its best checkpoint."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from jobs.progress import Progress
from jobs.training.checkpoints import save_adapter
from jobs.training.examples import Example, batch_of
from jobs.training.loss import completion_loss
from jobs.training.model import micro_batch_tokens
from jobs.training.optimizer import AdapterWeights, learning_rate_at
from jobs.training.packing import micro_batches, plan_run
from jobs.training.settings import TrainingSettings
from storage.errors import StudioError

HELD_OUT_LOOKS = 6
# More rows make the loss no more telling, only later.
HELD_OUT_ROWS = 128
BROKEN_STEPS_ALLOWED = 2


@dataclass(frozen=True)
class TrainingResult:
    """How a run went; losses are means over supervised tokens, step 0 is the base model.

    `best_step` is None where nothing was trained, and `best_held_out_loss` where nothing was held out.
    `tokens` counts real (not padded) tokens; `seconds` is the wall time of the steps without evaluations.
    """

    best_step: int | None
    best_held_out_loss: float | None
    first_held_out_loss: float | None
    last_loss: float | None
    steps: int
    stopped: bool
    tokens: int
    seconds: float

    @property
    def tokens_per_second(self) -> float:
        """Real tokens trained in a second."""
        return self.tokens / self.seconds if self.seconds else 0.0


def train(
    model: Any,
    train_examples: Sequence[Example],
    held_out_examples: Sequence[Example],
    settings: TrainingSettings,
    progress: Progress,
    output_folder: Path,
) -> TrainingResult:
    """Train the adapter of `model` (a `PeftModel`) and keep its best state in `output_folder` in PEFT format.

    Best is what has the lowest held-out loss; without held-out examples, the last state. A stop keeps the
    best so far.

    Args:
        settings: fitted (see `jobs.training.settings.fitted`).

    Raises:
        StudioError: there is nothing to learn, the loss is no number any more, or memory runs out.
    """
    if not sum(example.supervised_tokens for example in train_examples):
        raise StudioError(
            f"None of the {len(train_examples)} examples has an answer to learn.",
            "Raise max_tokens (longest example), or add answers.",
        )
    try:
        return _Run(model, train_examples, held_out_examples, settings, progress, output_folder).run()
    except torch.OutOfMemoryError as error:
        raise StudioError(
            "The GPU has too little memory for this run.",
            f"Set tokens_per_step below {settings.tokens_per_step} or max_tokens below {settings.max_tokens},"
            " close other programs that use the GPU, or choose a smaller base model.",
        ) from error


class _Run:
    """The state of one training run."""

    def __init__(
        self,
        model: Any,
        train_examples: Sequence[Example],
        held_out_examples: Sequence[Example],
        settings: TrainingSettings,
        progress: Progress,
        output_folder: Path,
    ) -> None:
        torch.manual_seed(settings.seed)
        self.peft, self.model = model, model.get_base_model()
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.weights = AdapterWeights(list(self.parameters.values()))
        self.examples, self.settings = train_examples, settings
        count = min(HELD_OUT_ROWS, len(held_out_examples))
        self.held_out = random.Random(settings.seed).sample(list(held_out_examples), count)
        self.progress, self.output_folder = progress, output_folder
        self.lengths = [len(example.token_ids) for example in train_examples]
        self.micro_tokens = micro_batch_tokens(self.model, max(self.lengths))
        self.plan = plan_run(
            self.lengths,
            settings.epochs or 1.0,
            settings.tokens_per_step or sum(self.lengths),
            settings.max_steps,
            settings.seed,
        )
        self.first_loss: float | None = None
        self.best_loss: float | None = None
        self.best_step: int | None = None
        self.last_loss: float | None = None
        self.steps = self.tokens = self.broken_steps = 0
        self.seconds = 0.0

    def run(self) -> TrainingResult:
        """All steps, with a look at the held-out examples every now and then."""
        total = len(self.plan)
        look_every = max(1, total // HELD_OUT_LOOKS)
        self.progress.total_steps(total)
        self.progress.phase("Measuring the base model")
        self.first_loss = self.held_out_loss(0)
        self.progress.phase("Training")
        for step, rows in enumerate(self.plan, start=1):
            if not self.train_step(step, rows):
                break
            if step % look_every == 0 or step == total:
                self.keep_if_best(step)
        stopped = self.steps < total
        if self.steps and self.best_step is None:
            self.require_finite()
            # Nothing held out, or stopped before the first look: the last state is the best there is.
            self.keep(self.steps)
        return TrainingResult(
            self.best_step,
            self.best_loss,
            self.first_loss,
            self.last_loss,
            self.steps,
            stopped,
            self.tokens,
            self.seconds,
        )

    def train_step(self, step: int, rows: Sequence[int]) -> bool:
        """One step: gradients of all its micro-batches, then one move. False when a stop was asked for."""
        began = time.perf_counter()
        learning_rate = learning_rate_at(step, len(self.plan), self.settings.learning_rate or 0.0)
        supervised = sum(self.examples[row].supervised_tokens for row in rows)
        loss_sum = torch.zeros((), device=self.model.device)
        self.model.train()
        for group in micro_batches(rows, self.lengths, self.micro_tokens):
            batch = batch_of([self.examples[row] for row in group], self.model.device)
            hidden = self.model.base_model(
                input_ids=batch.token_ids, attention_mask=batch.mask, use_cache=False
            ).last_hidden_state
            answers = hidden.flatten(0, 1)[batch.positions]
            loss, gradient = completion_loss(self.model, answers.detach(), batch.targets)
            # Divided by the supervised tokens of the whole step: every one counts the same, however cut.
            answers.backward(gradient / supervised)
            self.weights.collect()
            loss_sum += loss
            if self.progress.should_stop():
                self.weights.discard()
                return False
        mean_loss = float(loss_sum) / supervised
        grad_norm = self.weights.step(learning_rate)
        seconds, tokens = time.perf_counter() - began, sum(self.lengths[row] for row in rows)
        self.steps, self.last_loss = step, mean_loss
        # A broken step has moved nothing; several in a row mean that no step ever will again.
        is_broken = not (math.isfinite(mean_loss) and math.isfinite(grad_norm))
        self.broken_steps = self.broken_steps + 1 if is_broken else 0
        self.seconds += seconds
        self.tokens += tokens
        self.progress.metric(
            step,
            loss=mean_loss,
            learning_rate=learning_rate,
            grad_norm=grad_norm,
            tokens_per_second=tokens / seconds,
        )
        self.require_finite(BROKEN_STEPS_ALLOWED)
        return True

    def require_finite(self, broken_steps_allowed: int = 0) -> None:
        """End the run when its last steps were all broken."""
        if self.broken_steps > broken_steps_allowed:
            raise StudioError(
                f"The loss is no number any more since step {self.steps - self.broken_steps + 1}.",
                f"Lower the learning rate (it was {self.settings.learning_rate:g}) and start again.",
            )

    @torch.no_grad()
    def held_out_loss(self, step: int) -> float | None:
        """The mean loss over the held-out examples; None without any, or when a stop was asked for."""
        if not self.held_out:
            return None
        self.model.eval()
        lengths = [len(example.token_ids) for example in self.held_out]
        loss_sum = torch.zeros((), device=self.model.device)
        for group in micro_batches(range(len(lengths)), lengths, self.micro_tokens):
            batch = batch_of([self.held_out[i] for i in group], self.model.device)
            hidden = self.model.base_model(
                input_ids=batch.token_ids, attention_mask=batch.mask, use_cache=False
            ).last_hidden_state
            loss_sum += completion_loss(self.model, hidden.flatten(0, 1)[batch.positions], batch.targets)[0]
            if self.progress.should_stop():
                return None
        loss = float(loss_sum) / sum(example.supervised_tokens for example in self.held_out)
        self.progress.metric(step, held_out_loss=loss)
        return loss

    def keep_if_best(self, step: int) -> None:
        """Save the adapter if the held-out loss says that it is the best so far."""
        loss = self.held_out_loss(step)
        if loss is None:
            return
        if math.isfinite(loss) and (self.best_loss is None or loss < self.best_loss):
            self.best_loss = loss
            self.keep(step)

    def keep(self, step: int) -> None:
        """Save the adapter as it is now."""
        self.best_step = step
        weights = dict(zip(self.parameters, self.weights.masters, strict=True))
        save_adapter(self.output_folder, self.peft.peft_config["default"], weights)
