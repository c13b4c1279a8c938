"""The same run by TRL's SFTTrainer and PEFT: same model, rows in the same order, seed and settings (fp32, CPU)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader
from transformers import AutoTokenizer
from trl import SFTConfig, SFTTrainer

from jobs.progress import Progress
from jobs.training.engine import engine_for
from jobs.training.examples import Example
from jobs.training.loop import train
from jobs.training.optimizer import learning_rate_at
from jobs.training.packing import plan_run
from jobs.training.settings import TrainingSettings, fitted, trials
from tests.benchmarks.training.trainers import dataset_of

RANK = 4
TOKENS_PER_STEP = 100
EMBEDDINGS_TIMES = 20


class _Curve(Progress):
    """Remembers the loss of every step."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def metric(self, step: int, **values: float) -> None:
        if "loss" in values:
            self.losses.append(values["loss"])


class _SameOrder(SFTTrainer):
    """Reads the rows of our plan, step by step."""

    plan: list[list[int]]

    def get_train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.train_dataset, batch_sampler=self.plan, collate_fn=self.data_collator)


@pytest.fixture
def settings(examples: list[Example]) -> TrainingSettings:
    """A short run at a rate that moves the loss far."""
    asked = TrainingSettings(epochs=3, learning_rate=2e-2, tokens_per_step=TOKENS_PER_STEP, precision="fp32")
    return fitted(asked, [len(example.token_ids) for example in examples], rank=RANK)


def fresh(adapted: Callable[..., Any], settings: TrainingSettings) -> Any:
    """A fresh adapter on a base whose scores are far enough apart for an adapter to matter."""
    model = adapted(rank=RANK, alpha=settings.alpha, target_modules=["q_proj", "v_proj", "down_proj"])
    with torch.no_grad():
        model.get_input_embeddings().weight.mul_(EMBEDDINGS_TIMES)
    return model


def our_losses(model: Any, examples: list[Example], settings: TrainingSettings) -> list[float]:
    """The loss curve of the product."""
    curve, tried = _Curve(), trials(settings, RANK)
    engine = engine_for(model, settings, tried, examples, curve)
    train(engine, examples, [], settings, curve, lambda trial, values: None, trials=tried)
    return curve.losses


def trl_losses(
    model: Any,
    examples: list[Example],
    settings: TrainingSettings,
    tokenizer: Path,
    folder: Path,
    **options: Any,
) -> list[float]:
    """TRL's loss curve over the same steps, with the same schedule."""
    lengths = [len(example.token_ids) for example in examples]
    plan = plan_run(lengths, settings.epochs or 1, TOKENS_PER_STEP, None, settings.seed)
    rate = settings.learning_rate or 0.0
    optimizer = AdamW([p for p in model.parameters() if p.requires_grad], lr=rate, weight_decay=0.0)
    schedule = LambdaLR(optimizer, lambda step: learning_rate_at(step + 1, len(plan), rate) / rate)
    trainer = _SameOrder(
        model=model,
        args=SFTConfig(
            output_dir=str(folder),
            max_steps=len(plan),
            max_length=None,
            gradient_checkpointing=False,
            logging_steps=1,
            bf16=False,
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            **options,
        ),
        train_dataset=dataset_of(examples),
        processing_class=AutoTokenizer.from_pretrained(tokenizer),
        optimizers=(optimizer, schedule),
    )
    trainer.plan = plan
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize("options", [{}, {"padding_free": True}], ids=["padded", "padding free"])
def test_loss_curve_is_that_of_trl(
    options: dict[str, Any],
    adapted: Callable[..., Any],
    examples: list[Example],
    settings: TrainingSettings,
    tiny_model: Path,
    tmp_path: Path,
) -> None:
    theirs = trl_losses(fresh(adapted, settings), examples, settings, tiny_model, tmp_path, **options)
    ours = our_losses(fresh(adapted, settings), examples, settings)
    assert len(ours) == len(theirs) > 10
    assert ours[-1] < 0.8 * ours[0], "the run must learn for the curves to mean anything"
    # In bf16 the curves may be 1 % apart; in fp32 only rounding is between them.
    torch.testing.assert_close(torch.tensor(ours), torch.tensor(theirs), rtol=1e-4, atol=1e-5)
