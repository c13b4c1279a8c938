"""Whether speed costs quality: the held-out loss of ours beside TRL's SFTTrainer with PEFT, at equal epochs.

    python -m tests.benchmarks.quality --model FOLDER --data venue.jsonl gsm8k.jsonl --device cuda

Same rows, rank, matrices, peak learning rate, schedule and clipping; TRL gets as many rows a step as have
the tokens of one of our steps on average. Both adapters are measured by the same few lines of plain
transformers and PEFT, ours as read back from its file.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch.nn.functional import cross_entropy
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from jobs.base_models.weights import parameters
from jobs.generation.base import load_base
from jobs.generation.chat import ChatFormat
from jobs.progress import Progress
from jobs.training.checkpoints import save_adapter
from jobs.training.engine import engine_for
from jobs.training.examples import Example, tokenized
from jobs.training.loop import train
from jobs.training.model import adapted_model
from jobs.training.optimizer import learning_rate_at
from jobs.training.settings import TrainingSettings, fitted, trials
from tests.benchmarks.training.loops import IGNORED, padded
from tests.benchmarks.training.rows import line
from tests.benchmarks.training.shapes import LINEARS
from tests.benchmarks.training.trainers import dataset_of

HELD_OUT_SHARE, MOST_HELD_OUT = 0.1, 100
ROWS_MEASURED_AT_ONCE = 8


@dataclass(frozen=True)
class Task:
    """One dataset with one model: what both sides get."""

    model: Path
    device: str
    rank: int
    settings: TrainingSettings
    examples: list[Example]
    held_out: list[Example]


def main() -> None:
    """Measure from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.quality",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", type=Path, required=True, help="folder of the base model")
    parser.add_argument(
        "--data", type=Path, nargs="+", required=True, help="JSONL: messages or question/answer"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")
    parser.add_argument("--rows", type=int, help="use only so many rows (default: all)")
    parser.add_argument("--epochs", type=float, help="default: as fitted to the number of rows")
    parser.add_argument("--tokens-per-step", type=int, help="default: as fitted to the rows")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each (default 3)")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--precision", default="auto", help="auto, fp32 or bf16")
    arguments = parser.parse_args()
    for path in arguments.data:
        task = task_of(path, arguments)
        compare(path.name, task, arguments.seeds)


def task_of(path: Path, arguments: argparse.Namespace) -> Task:
    """The rows of a file, the same tenth of them always held out, and the settings that fit them."""
    objects = [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()]
    random.Random(0).shuffle(objects)
    rows = [
        {"row": n, "messages": messages_of(entry)} for n, entry in enumerate(objects[: arguments.rows], 1)
    ]
    examples, _ = tokenized(rows, ChatFormat.load(arguments.model))
    count = min(MOST_HELD_OUT, max(1, round(HELD_OUT_SHARE * len(examples))))
    held_out, examples = examples[:count], examples[count:]
    settings = fitted(
        TrainingSettings(
            epochs=arguments.epochs,
            precision=arguments.precision,
            tokens_per_step=arguments.tokens_per_step,
        ),
        [len(example.token_ids) for example in examples],
        rank=arguments.rank,
        model_parameters=parameters(arguments.model),
    )
    return Task(arguments.model, arguments.device, arguments.rank, settings, examples, held_out)


def messages_of(entry: dict[str, Any]) -> list[dict[str, str]]:
    """A row as a conversation."""
    if "messages" in entry:
        found: list[dict[str, str]] = entry["messages"]
        return found
    return [{"role": "user", "content": entry["question"]}, {"role": "assistant", "content": entry["answer"]}]


def compare(data: str, task: Task, seeds: int) -> None:
    """Both sides with every seed, then mean and spread of each and how they differ."""
    conditions = {
        "model": task.model.name,
        "data": data,
        "rows": len(task.examples),
        "held_out_rows": len(task.held_out),
        "rank": task.rank,
        "epochs": task.settings.epochs,
        "learning_rate": task.settings.learning_rate,
        "tokens_per_step": task.settings.tokens_per_step,
        "precision": task.settings.precision,
        "torch": torch.__version__,
    }
    base = load_base(task.model, task.device, task.settings.precision)
    line(f"{data}: base model", task.device, held_out_loss(base, task.held_out), "nats/token", conditions)
    sides: dict[str, Callable[[Task, int, Path], tuple[Any, int]]] = {"ours": ours, "trl": trl}
    losses: dict[str, list[float]] = {side: [] for side in sides}
    for seed in range(seeds):
        for side, trained in sides.items():
            about = {**conditions, "seed": seed}
            began = time.perf_counter()
            try:
                with tempfile.TemporaryDirectory() as folder:
                    model, steps = trained(task, seed, Path(folder))
                    about |= {"steps": steps, "seconds": round(time.perf_counter() - began, 1)}
                    losses[side].append(held_out_loss(model, task.held_out))
            except Exception as error:  # noqa: BLE001 - a side that fails is a line, and the others go on
                about["reason"] = f"{type(error).__name__}: {error}"[:600]
                line(f"{data}: {side}", task.device, None, "failed", about)
                continue
            line(f"{data}: {side}", task.device, round(losses[side][-1], 5), "nats/token", about)
    for side, values in losses.items():
        if values:
            spread = {"lowest": min(values), "highest": max(values), "runs": len(values)}
            mean = round(statistics.mean(values), 5)
            line(f"{data}: {side}, mean", task.device, mean, "nats/token", {**conditions, **spread})
    if all(losses.values()):
        difference = statistics.mean(losses["ours"]) - statistics.mean(losses["trl"])
        line(f"{data}: ours − trl", task.device, round(difference, 5), "nats/token", conditions)


def ours(task: Task, seed: int, folder: Path) -> tuple[Any, int]:
    """Train as the product does, to the end; the adapter from its file, on a fresh base."""
    settings = TrainingSettings(**{**vars(task.settings), "seed": seed})
    tried = trials(settings, task.rank)
    model = adapted_model(task.model, task.device, [task.rank], settings)
    engine = engine_for(model, settings, tried, task.examples, Progress())
    config = model.peft_config["default"]
    result = train(
        engine,
        task.examples,
        [],  # nothing held out: the last state is kept, as the peer's is
        settings,
        Progress(),
        lambda trial, values: save_adapter(folder / "adapter", config, values),
        trials=tried,
    )
    base = load_base(task.model, task.device, settings.precision)
    return PeftModel.from_pretrained(base, folder / "adapter"), result.steps


def trl(task: Task, seed: int, folder: Path) -> tuple[Any, int]:
    """Train with SFTTrainer and PEFT."""
    from transformers import AutoTokenizer, PrinterCallback
    from trl import SFTConfig, SFTTrainer

    settings, rows = task.settings, len(task.examples)
    assert settings.tokens_per_step and settings.learning_rate and settings.epochs
    mean_tokens = sum(len(example.token_ids) for example in task.examples) / rows
    batch = max(1, round(settings.tokens_per_step / mean_tokens))
    steps = math.ceil(settings.epochs * rows / batch)
    base = load_base(task.model, task.device, settings.precision)
    torch.manual_seed(seed)
    kind = LoraConfig(task_type="CAUSAL_LM", r=task.rank, lora_alpha=settings.alpha, target_modules=LINEARS)
    model = get_peft_model(base, kind)
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = AdamW(learned, lr=settings.learning_rate, weight_decay=0.0, fused=True)
    schedule = LambdaLR(optimizer, lambda step: learning_rate_at(step + 1, steps, 1.0))
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            output_dir=str(folder),
            max_steps=steps,
            per_device_train_batch_size=batch,
            gradient_checkpointing=False,
            max_length=None,
            bf16=base.dtype == torch.bfloat16,
            seed=seed,
            use_cpu=task.device == "cpu",
            logging_strategy="no",
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
        ),
        train_dataset=dataset_of(task.examples),
        processing_class=AutoTokenizer.from_pretrained(task.model),
        optimizers=(optimizer, schedule),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return trainer.model, steps


@torch.no_grad()
def held_out_loss(model: Any, examples: Sequence[Example]) -> float:
    """Mean cross entropy (nats) over the learned tokens, by the model's own logits in padded batches."""
    model.eval()
    total, count = 0.0, 0
    ordered = sorted(examples, key=lambda example: len(example.token_ids))
    for start in range(0, len(ordered), ROWS_MEASURED_AT_ONCE):
        batch = padded(ordered[start : start + ROWS_MEASURED_AT_ONCE], model.device)
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        labels = batch["labels"][:, 1:]
        learned = labels != IGNORED
        total += float(cross_entropy(logits[:, :-1][learned].float(), labels[learned], reduction="sum"))
        count += int(learned.sum())
    return total / count


if __name__ == "__main__":
    main()
