"""A training job: from the dataset's rows and the base model to an adapter in the attempt's folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs.base_models import catalogue, shapes, weights
from jobs.base_models.fetching import ensure
from jobs.datasets.arrow import load_split
from jobs.datasets.conversations import Example as Conversation
from jobs.datasets.splitting import held_out_rows
from jobs.export.adapter import public_name
from jobs.generation.chat import ChatFormat
from jobs.progress import Progress
from jobs.training.examples import Example, LeftOut, shortened, tokenized
from jobs.training.loop import TrainingResult, train
from jobs.training.model import adapted_model
from jobs.training.settings import TrainingSettings, check_rank, fitted, from_json
from storage import files

ADAPTER_FOLDER = "adapter"
FACTS_FILE = "tailor.json"


def run(spec: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Train the adapter that `spec` (job.json) describes, on a device that the caller holds.

    Returns result.json: how it went, and under "adapter" what is to be remembered of the adapter in the
    attempt's folder `adapter/` (None when it was stopped before its first step).
    """
    folder = files.attempt_folder(spec["job_id"], spec["attempt"]) / ADAPTER_FOLDER
    base_folder = ensure(spec["base_model_id"], progress.phase)
    shape = shapes.from_config(weights.read_config(base_folder))
    rank = check_rank(spec["rank"], shape)

    progress.phase("Reading the examples")
    asked = from_json(spec["settings"])
    chat = ChatFormat.load(base_folder)
    train_rows, held_out = _split(spec["dataset_id"], asked.held_out_share)
    read, left_out = tokenized(train_rows, chat)
    settings = fitted(
        asked,
        [len(example.token_ids) for example in read],
        rank=rank,
        model_parameters=weights.parameters(base_folder),
        context_tokens=shape.positions,
    )
    examples, too_long = shortened(read, settings.max_tokens)
    left_out += too_long
    held_out_examples = shortened(tokenized(held_out, chat)[0], settings.max_tokens)[0]
    progress.log(f"{len(examples)} examples, {len(left_out)} left out; settings: {settings.as_json()}")

    progress.phase("Loading the base model")
    base_name = public_name(catalogue.find(spec["base_model_id"]))
    model = adapted_model(base_folder, spec["device"], rank, settings, base_name)
    result = train(model, examples, held_out_examples, settings, progress, folder)
    adapter = None if result.best_step is None else _adapter(model, base_folder, settings, result)
    if adapter:
        facts = {"base_model": base_name, "rank": rank, "rows_trained": len(examples), **adapter}
        files.write_json(folder / FACTS_FILE, facts)
    return _outcome(result, adapter, examples, left_out)


def _split(dataset_id: str, held_out_share: float) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """The rows to train on and those held out: all that were held out at import, and more for a larger share."""
    train_rows, held_out = (list(load_split(dataset_id, split)) for split in ("train", "held_out"))
    conversations = [Conversation(row["row"], row["messages"]) for row in train_rows + held_out]
    conversations.sort(key=lambda conversation: conversation.row)
    wanted = held_out_rows(conversations, held_out_share)
    held_out += [row for row in train_rows if row["row"] in wanted]
    return [row for row in train_rows if row["row"] not in wanted], held_out


def _adapter(
    model: Any, base_folder: Path, settings: TrainingSettings, result: TrainingResult
) -> dict[str, Any]:
    config = model.peft_config["default"]
    return {
        "alpha": config.lora_alpha,
        "target_modules": sorted(config.target_modules),
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "base_weights_sha256": weights.weights_sha256(base_folder),
        "held_out_loss": result.best_held_out_loss,
        "best_step": result.best_step,
        "settings": settings.as_json(),
    }


def _outcome(
    result: TrainingResult,
    adapter: dict[str, Any] | None,
    examples: list[Example],
    left_out: list[LeftOut],
) -> dict[str, Any]:
    return {
        "status": "stopped" if result.stopped else "finished",
        **dataclasses.asdict(result),
        "tokens_per_second": result.tokens_per_second,
        "rows_trained": len(examples),
        "rows_left_out": [dataclasses.asdict(row) for row in left_out],
        "adapter": adapter,
    }
