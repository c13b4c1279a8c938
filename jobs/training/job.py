"""A training job: from the dataset's rows and the base model to an adapter in the attempt's folder."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from jobs.base_models import catalogue, shapes, weights
from jobs.base_models.fetching import ensure
from jobs.datasets import tokens
from jobs.generation.chat import ChatFormat
from jobs.progress import Progress
from jobs.training import film_prompts
from jobs.training.checkpoints import save_adapter
from jobs.training.engine import Engine, engine_for
from jobs.training.examples import Example, LeftOut, shortened, token_lengths
from jobs.training.film import Film
from jobs.training.folders import ADAPTER_FOLDER, STATES_FOLDER
from jobs.training.looks import Looks
from jobs.training.loop import TrainingResult, train
from jobs.training.model import adapted_model, adapter_names
from jobs.training.reading import examples_of, split
from jobs.training.settings import TrainingSettings, check_rank, fitted, from_json, trials
from jobs.training.states import adopt_states
from storage import files
from storage.errors import StudioError

FACTS_FILE = "tailor.json"


def run(spec: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Train the adapter that `spec` (job.json) describes, on a device that the caller holds.

    Of several trials, the best one's adapter is kept. A later attempt goes on where the one before it ended.
    The states stay until the result is safe: whoever keeps it calls `jobs.training.folders.forget_states`.

    Returns result.json: how it went, and under "adapter" what is to be remembered of the adapter in the
    attempt's folder `adapter/` (None when it was stopped before its first step).
    """
    base_folder = ensure(spec["base_model_id"], progress.phase)
    asked = from_json(spec["settings"])
    warm_start = None if asked.start_from is None else _earlier_adapter(asked.start_from)
    progress.phase("Reading the examples")
    try:
        rows = _rows(spec, asked, base_folder, progress)
    except tokens.Stopped:
        return {"status": "stopped", "adapter": None}
    progress.log(
        f"{len(rows.train)} examples, {len(rows.left_out)} left out; settings: {rows.settings.as_json()}"
    )

    progress.phase("Loading the base model")
    base_name = catalogue.find(spec["base_model_id"]).public_name
    tried = trials(rows.settings, spec["rank"])
    names, ranks = adapter_names(len(tried)), [trial.rank for trial in tried]
    with ThreadPoolExecutor(1) as beside:  # reading all of a large model takes a while
        hashed = beside.submit(weights.weights_sha256, base_folder)
        model = adapted_model(base_folder, spec["device"], ranks, rows.settings, base_name, warm_start)
    base_sha256 = hashed.result()
    engine = engine_for(
        model, rows.settings, tried, rows.train, progress, device=spec["device"], warm_start=warm_start
    )

    attempt_folder = files.attempt_folder(spec["job_id"], spec["attempt"])
    folder, states = attempt_folder / ADAPTER_FOLDER, attempt_folder / STATES_FOLDER
    adopt_states(states, _earlier_states(spec["job_id"], spec["attempt"]), progress)
    run_folder = files.run_folder(spec["job_id"])
    looks = Looks(run_folder, progress)
    prompts = film_prompts.chosen(spec["dataset_id"])
    film = Film(run_folder, prompts, ChatFormat.load(base_folder), engine, progress)

    def seen(step: int, trial: int, values: Mapping[str, Tensor]) -> None:
        looks.keep(step, model.peft_config[names[trial]], values)
        film.seen(step, trial)

    result = train(
        engine,
        rows.train,
        rows.held_out,
        rows.settings,
        progress,
        lambda trial, values: save_adapter(folder, model.peft_config[names[trial]], values),
        trials=tried,
        state_folder=states,
        base_model={"weights": base_sha256, "config.json": files.sha256_of(base_folder / "config.json")},
        seen=seen,
    )
    adapter = None
    if result.best_trial is not None:
        config = model.peft_config[names[result.best_trial]]
        adapter = _adapter(config, engine, base_sha256, rows.settings, result)
        facts = {"base_model": base_name, "rows_trained": len(rows.train), **adapter}
        files.write_json(folder / FACTS_FILE, facts)
    return _outcome(result, adapter, rows)


@dataclass(frozen=True)
class _Rows:
    """What is trained on, and the settings fitted to it."""

    train: Sequence[Example]
    held_out: Sequence[Example]
    left_out: list[LeftOut]
    settings: TrainingSettings


def _rows(spec: Mapping[str, Any], asked: TrainingSettings, base_folder: Path, progress: Progress) -> _Rows:
    """The dataset's rows as tokens."""
    shape = shapes.from_config(weights.read_config(base_folder))
    for rank in (spec["rank"], *asked.try_ranks):
        check_rank(rank, shape)
    found = _tokens(spec["dataset_id"], base_folder, progress)
    train_places, kept_places = split(found, spec["dataset_id"], asked.held_out_share, asked.train_share)
    read, left_out = examples_of(found, train_places)
    settings = fitted(
        asked,
        token_lengths(read),
        rank=spec["rank"],
        model_parameters=weights.parameters(base_folder),
        context_tokens=shape.positions,
    )
    train_examples, too_long = shortened(read, settings.max_tokens)
    held_out: Sequence[Example] = []
    try:
        held_out = shortened(examples_of(found, kept_places)[0], settings.max_tokens)[0]
    except StudioError:
        progress.note(
            "None of the held-out examples has an answer within the longest example (max_tokens), so nothing is"
            " tested during this run and its last state is kept."
        )
    return _Rows(train_examples, held_out, left_out + too_long, settings)


def _tokens(dataset_id: str, base_folder: Path, progress: Progress) -> tokens.Tokens:
    """The dataset's tokens, made now or kept from before; the log says which."""

    def report(_words: str, done: int | None, total: int | None) -> None:
        progress.phase("Reading the examples", done, total)

    began = time.perf_counter()
    found = tokens.make(dataset_id, base_folder, report=report, should_stop=progress.should_stop)
    seconds = time.perf_counter() - began
    if found.made:
        progress.log(f"{found.made:,} rows tokenised in {seconds:.1f} s and kept for the next run.")
    else:
        progress.log(f"The tokens of all rows were there from before, read in {seconds:.1f} s.")
    return found


def _earlier_adapter(adapter_id: str) -> Path:
    """The folder of the adapter to start from."""
    folder = files.adapter_folder(adapter_id)
    if not folder.is_dir():
        raise StudioError(
            f"There is no adapter {adapter_id!r} to start from.",
            "Choose another one, or leave start_from empty for a fresh adapter.",
        )
    return folder


def _earlier_states(job_id: str, attempt: int) -> list[Path]:
    """Where earlier attempts of the job saved their states, the newest first."""
    return [files.attempt_folder(job_id, earlier) / STATES_FOLDER for earlier in range(attempt - 1, 0, -1)]


def _adapter(
    config: Any, engine: Engine, base_sha256: str, settings: TrainingSettings, result: TrainingResult
) -> dict[str, Any]:
    """What is to be remembered of the best trial's adapter."""
    assert result.best_trial is not None
    kept = dataclasses.replace(settings, learning_rate=result.trials[result.best_trial].learning_rate)
    return {
        "rank": config.r,
        "alpha": config.lora_alpha,
        "target_modules": sorted(config.target_modules),
        "parameters": sum(value.numel() for value in engine.weights.masters[result.best_trial].values()),
        "base_weights_sha256": base_sha256,
        "held_out_loss": result.best_held_out_loss,
        "best_step": result.best_step,
        "settings": kept.as_json(),
    }


def _outcome(result: TrainingResult, adapter: dict[str, Any] | None, rows: _Rows) -> dict[str, Any]:
    return {
        "status": "stopped" if result.stopped else "finished",
        **dataclasses.asdict(result),
        "tokens_per_second": result.tokens_per_second,
        "rows_trained": len(rows.train),
        "rows_left_out": [dataclasses.asdict(row) for row in rows.left_out],
        "adapter": adapter,
    }
