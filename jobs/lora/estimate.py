"""What a training run would cost on this machine, before it starts: values, bytes, memory, seconds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from jobs import gpu
from jobs.base_models import catalogue, weights
from jobs.datasets import lengths as counted_lengths
from jobs.datasets import rows
from jobs.lora import account, memory, savings
from jobs.lora.memory import Policy
from jobs.training import settings as training_settings
from jobs.training.settings import TrainingSettings
from jobs.training.warm_start import CONFIG_FILE
from storage import datasets, files, jobs
from storage.errors import StudioError

# Dense bf16 peaks in FLOP/s, from the makers' data sheets; the longest name that fits counts.
GPU_PEAKS = {
    "B200": 2.25e15, "H200": 9.89e14, "H100": 9.89e14, "A100": 3.12e14, "L40S": 3.62e14, "L40": 1.81e14,
    "L4": 1.21e14, "A10": 1.25e14, "A10G": 7.0e13, "T4": 6.5e13, "V100": 1.25e14, "RTX 5090": 2.1e14,
    "RTX 4090": 1.65e14, "RTX 4080": 9.7e13, "RTX 3090": 7.1e13, "RTX A6000": 1.55e14,
}  # fmt: skip
UNKNOWN_GPU_PEAK = 5e13
SHARE_OF_GPU_PEAK = 0.4
# From 400 tokens/s of the 135-million-value starter on 2 cores, at 4 FLOP a value and token.
CPU_CORE_FLOPS = 1.1e11
LOADING_SECONDS = 10
EARLIER_RUNS = 3
CHARACTERS_PER_TOKEN = 4
TEMPLATE_TOKENS_PER_MESSAGE = 5
# From so many training rows on, only some are read for an estimate, in parts from all over the set.
MANY_ROWS, SAMPLED_PARTS, PART_ROWS = 20_000, 20, 100
NONE: NDArray[np.int64] = np.empty(0, np.int64)
# Of the device's memory: up to here it fits easily, fits, is tight.
FIT_LIMITS = ((0.5, "fits easily"), (0.8, "fits"), (1.0, "tight"))


@dataclass(frozen=True)
class Speed:
    """How fast a training is, what it takes beside its steps, and how that is known."""

    tokens_per_second: float
    start_seconds: float
    source: str

    @property
    def words(self) -> str:
        """How it is known, as a sentence."""
        return {
            "earlier_runs": "The time is that of earlier runs of this model on this machine.",
            "rehearsal": "The time is that of an earlier run's first steps with this model on this machine.",
            "arithmetic": "The time is a calculation: no run of this model has been measured here yet.",
        }[self.source]


def estimate(
    base_model_id: str,
    rank: int,
    target_modules: str | Iterable[str] = "auto",
    dataset_id: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What the endpoint /estimate answers; `seconds` is None without a dataset.

    Beside its keys: `memory` (bytes by purpose, with LoRA and for everything) and `formula` (how it was
    counted), `fits` (in words), `tokens` in all and `tokens_per_pass`, `activations` and `precision` (how the
    run will compute), `words` (the same in sentences), `tokens_per_second`, `speed_from` ("earlier_runs",
    "rehearsal" or "arithmetic"; `measured`: not the last), `device`, and a `note` on the modules.
    Raises StudioError for an unknown model, rank, module or setting.
    """
    model = catalogue.find(base_model_id)
    asked = training_settings.from_json({**(settings or {}), "target_modules": _listed(target_modules)})
    rank = training_settings.check_ranks(asked, rank, model.shape)
    use_dora = asked.use_dora or (asked.start_from is not None and _has_dora(asked.start_from))
    saved = savings.savings(
        model, rank, asked.target_modules, asked.layers, rank_pattern=asked.rank_pattern, use_dora=use_dora
    )
    lengths, counted = (NONE, "") if dataset_id is None else token_lengths(dataset_id, model.id)
    fitted = training_settings.fitted(
        asked,
        lengths,
        rank=rank,
        model_parameters=saved.model_parameters,
        context_tokens=model.shape.positions if model.shape else None,
    )
    device = gpu.devices()[0]
    choice = account.Choice(
        [trial.rank for trial in training_settings.trials(fitted, rank)],
        fitted.target_modules, fitted.layers, fitted.rank_pattern, use_dora,
    )  # fmt: skip
    precision = memory.number_format(device.id, fitted.precision)
    policy = policy_for(model, choice, fitted, device, has_examples=len(lengths) > 0)
    full, lora = account.both(model, choice, policy, precision)
    side_by_side = len(choice.ranks)
    speed = measured_speed(model.id, device.id, precision, side_by_side)
    speed = speed or modelled_speed(device, saved, side_by_side)
    tokens = _tokens_in_all(fitted, lengths)
    return {
        "full_parameters": saved.full_parameters,
        "lora_parameters": saved.lora_parameters,
        "reduction": saved.reduction,
        "adapter_bytes": saved.adapter_bytes,
        "memory_bytes": lora.total,
        "seconds": None if dataset_id is None else speed.start_seconds + tokens / speed.tokens_per_second,
        "memory": {"lora": account.as_json(lora), "full": account.as_json(full)},
        "formula": account.formula(model, choice, policy, precision),
        "fits": fit_in_words(lora.total, device.memory_bytes),
        "tokens": tokens,
        "tokens_per_pass": policy.pack_tokens,
        "activations": policy.activations,
        "precision": "nf4" if policy.nf4 else precision,
        "words": [*policy.words, *filter(None, [counted]), speed.words],
        "tokens_per_second": speed.tokens_per_second,
        "speed_from": speed.source,
        "measured": speed.source != "arithmetic",
        "device": device.name,
        "note": saved.note,
    }


def policy_for(
    model: catalogue.BaseModel,
    choice: account.Choice,
    fitted: TrainingSettings,
    device: gpu.Device,
    has_examples: bool = True,
) -> Policy:
    """How a run with these settings will compute on a device; the leanest way where none fits."""
    tokens = _tokens_per_pass(fitted) if has_examples else memory.USUAL_TOKENS
    if model.shape is None or model.parameters is None or not memory.is_lean(model.shape):
        return Policy("plain", tokens, fitted.precision == "nf4")
    if choice.use_dora or fitted.dropout:  # as jobs.training.engine decides
        return Policy("plain", tokens, fitted.precision == "nf4")
    made = account.adapters(model, choice)
    # Adapters trained side by side read every example each for itself.
    count = max(1, len(choice.ranks))
    longest = count * min(fitted.max_tokens or tokens, tokens)
    may_use_nf4 = device.id != "cpu" and fitted.precision == "auto"
    try:
        return memory.choose_policy(
            model.shape,
            model.parameters,
            made.trainable,
            memory_bytes=device.memory_bytes,
            longest_example=longest,
            precision=memory.number_format(device.id, fitted.precision),
            device=device.id,
            ranks=made.ranks,
            layers=made.layers,
            step_tokens=max(count * (fitted.tokens_per_step or tokens), longest)
            if has_examples
            else count * tokens,
            may_use_nf4=may_use_nf4,
        )
    except StudioError:  # what does not fit is said with the numbers of what comes closest
        return memory.leanest(longest, nf4=fitted.precision == "nf4" or may_use_nf4)


def _has_dora(adapter_id: str) -> bool:
    """Whether the adapter to start from is one with DoRA, which the run then keeps; a lost one is none."""
    path = files.adapter_folder(adapter_id) / CONFIG_FILE
    return path.is_file() and bool(weights.read_json(path).get("use_dora"))


def token_lengths(dataset_id: str, base_model_id: str) -> tuple[NDArray[np.int64], str]:
    """How many tokens each training example has, and a sentence where that is known otherwise than by characters.

    Exact where they have been counted for this base model, else by the characters, which takes no tokenizer: of
    all rows, or of some where they are many.
    """
    dataset = datasets.get(dataset_id)
    found = counted_lengths.counts(dataset.id, base_model_id)
    if found is not None:
        return found.trained, "The tokens of all examples are counted."
    if dataset.train_rows < MANY_ROWS:
        every = [_about_tokens(row) for row in rows.load_rows(dataset.id, split="train")]
        return np.array(every, np.int64), ""
    apart = dataset.train_rows // SAMPLED_PARTS
    firsts = range(apart // 2 - PART_ROWS // 2, dataset.train_rows, apart)[:SAMPLED_PARTS]
    pages = [rows.page_of_rows(dataset.id, first, PART_ROWS, split="train").rows for first in firsts]
    some = np.array([_about_tokens(row) for page in pages for row in page], np.int64)
    words = f"The tokens are guessed from {len(some):,} of {dataset.train_rows:,} examples, until all are counted."
    return np.resize(some, dataset.train_rows), words


def _about_tokens(row: Mapping[str, Any]) -> int:
    return sum(
        TEMPLATE_TOKENS_PER_MESSAGE + len(message["content"]) // CHARACTERS_PER_TOKEN
        for message in row["messages"]
    )


def measured_speed(base_model_id: str, device_id: str, precision: str, side_by_side: int = 1) -> Speed | None:
    """The speed of the last trainings of this model on this device in this precision; None without any.

    Only those with as many adapters side by side are alike. Runs that have finished count first, since they
    tell the whole time; then what rehearsals and first steps of other runs have measured.
    """
    alike = [
        job
        for job in jobs.list_all(kind="training")
        if job.base_model_id == base_model_id
        and job.device == device_id
        and memory.number_format(device_id, job.settings.get("precision") or "auto") == precision
        and _side_by_side(job) == side_by_side
    ]
    finished = [job for job in alike if job.status == "finished"]
    for source, found in (("earlier_runs", finished), ("rehearsal", alike)):
        speeds = [
            speed for job in found if (speed := job.result.get("tokens_per_second") or job.tokens_per_second)
        ]
        if speeds:
            starts = [seconds for job in found if (seconds := _seconds_beside_steps(job)) is not None]
            return Speed(
                statistics.median(speeds[:EARLIER_RUNS]),
                statistics.median(starts[:EARLIER_RUNS]) if starts else LOADING_SECONDS,
                source,
            )
    return None


def modelled_speed(device: gpu.Device, saved: savings.Savings, side_by_side: int = 1) -> Speed:
    """Tokens per second by the arithmetic alone.

    A frozen value takes 2 FLOP forward and 2 backward for each token, a trained one 2 more for its own
    gradient (Kaplan et al. 2020, section 2.1); each of several adapters side by side takes all of it.
    """
    flop_per_token = side_by_side * (4 * saved.model_parameters + 6 * saved.lora_parameters)
    return Speed(_flop_per_second(device) / flop_per_token, LOADING_SECONDS, "arithmetic")


def _side_by_side(job: jobs.Job) -> int:
    """How many adapters a run trains."""
    tried = (job.settings.get(name) for name in ("try_ranks", "try_learning_rates"))
    return math.prod(len(values or "1") for values in tried)


def _seconds_beside_steps(job: jobs.Job) -> float | None:
    """What a finished run took beside its steps: loading, looks at held-out examples, saving."""
    steps_seconds = job.result.get("seconds")
    if steps_seconds is None or job.started_at is None or job.finished_at is None or job.attempt > 1:
        return None
    return max(job.finished_at - job.started_at - float(steps_seconds), 0.0)


def fit_in_words(needed_bytes: int, memory_bytes: int) -> str:
    """How well a training fits into a device's memory."""
    share = needed_bytes / memory_bytes
    return next((words for limit, words in FIT_LIMITS if share <= limit), "does not fit")


def _flop_per_second(device: gpu.Device) -> float:
    if device.id == "cpu":
        return CPU_CORE_FLOPS * (psutil.cpu_count(logical=False) or psutil.cpu_count() or 1)
    names = [name for name in GPU_PEAKS if name in device.name]
    return SHARE_OF_GPU_PEAK * (GPU_PEAKS[max(names, key=len)] if names else UNKNOWN_GPU_PEAK)


def _tokens_per_pass(fitted: TrainingSettings) -> int:
    """A step's tokens, in parts where it has many; never less than the longest example."""
    most = min(fitted.tokens_per_step or memory.USUAL_TOKENS, memory.MOST_TOKENS_CPU)
    return max(most, fitted.max_tokens or 0)


def _tokens_in_all(fitted: TrainingSettings, lengths: NDArray[np.int64]) -> int:
    """The tokens that the run reads, over all passes and within its limit of steps."""
    one_pass = int((np.minimum(lengths, fitted.max_tokens) if fitted.max_tokens else lengths).sum())
    tokens = int((fitted.epochs or 1.0) * one_pass)
    return min(tokens, (fitted.max_steps or tokens) * (fitted.tokens_per_step or tokens))


def _listed(target_modules: str | Iterable[str]) -> str | list[str]:
    # What is neither a name nor names is refused, in words, by the settings.
    return list(target_modules) if isinstance(target_modules, (tuple, set)) else target_modules  # type: ignore[return-value]
