"""What a training run would cost on this machine, before it starts: values, bytes, memory, seconds."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from typing import Any

import psutil

from jobs import gpu
from jobs.base_models import catalogue
from jobs.datasets import rows
from jobs.lora import memory, savings
from jobs.training import settings as training_settings
from jobs.training.settings import TrainingSettings
from storage import datasets, jobs

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
# Of the device's memory: up to here it fits easily, fits, is tight.
FIT_LIMITS = ((0.5, "fits easily"), (0.8, "fits"), (1.0, "tight"))


def estimate(
    base_model_id: str,
    rank: int,
    target_modules: str | Iterable[str] = "auto",
    dataset_id: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What the endpoint /estimate answers; `seconds` is None without a dataset.

    Beside its keys: `memory` (bytes by purpose, with LoRA and for everything), `fits` (in words), `tokens` in
    all and `tokens_per_pass`, `tokens_per_second` and whether that was `measured`, `device`, and a `note` on
    the modules.
    Raises StudioError for an unknown model, rank, module or setting.
    """
    model = catalogue.find(base_model_id)
    chosen_settings = training_settings.from_json(
        {**(settings or {}), "target_modules": _listed(target_modules)}
    )
    rank = training_settings.check_rank(rank, model.shape)
    saved = savings.savings(model, rank, chosen_settings.target_modules, chosen_settings.layers)
    lengths = [] if dataset_id is None else token_lengths(dataset_id)
    fitted = training_settings.fitted(
        chosen_settings,
        lengths,
        rank=rank,
        model_parameters=saved.model_parameters,
        context_tokens=model.shape.positions if model.shape else None,
    )
    device = gpu.devices()[0]
    tokens_per_pass = _tokens_per_pass(fitted) if lengths else memory.USUAL_TOKENS
    precision = memory.number_format(device.id, fitted.precision)
    full, lora = memory.both(
        model, rank, fitted.target_modules, fitted.layers, tokens=tokens_per_pass, precision=precision
    )
    speed = measured_speed(model.id, device.id)
    tokens_per_second = speed or modelled_speed(device, saved)
    tokens = _tokens_in_all(fitted, lengths)
    return {
        "full_parameters": saved.full_parameters,
        "lora_parameters": saved.lora_parameters,
        "reduction": saved.reduction,
        "adapter_bytes": saved.adapter_bytes,
        "memory_bytes": lora.total,
        "seconds": None if dataset_id is None else LOADING_SECONDS + tokens / tokens_per_second,
        "memory": {"lora": {**vars(lora), "total": lora.total}, "full": {**vars(full), "total": full.total}},
        "fits": fit_in_words(lora.total, device.memory_bytes),
        "tokens": tokens,
        "tokens_per_pass": tokens_per_pass,
        "precision": precision,
        "tokens_per_second": tokens_per_second,
        "measured": speed is not None,
        "device": device.name,
        "note": saved.note,
    }


def token_lengths(dataset_id: str) -> list[int]:
    """About how many tokens each training example has, from its characters: exact would take a tokenizer."""
    return [
        sum(
            TEMPLATE_TOKENS_PER_MESSAGE + len(message["content"]) // CHARACTERS_PER_TOKEN
            for message in example["messages"]
        )
        for example in rows.load_rows(datasets.get(dataset_id).id, split="train")
    ]


def measured_speed(base_model_id: str, device_id: str) -> float | None:
    """Tokens per second in the last finished trainings of this model on this device; None without any."""
    speeds = [
        job.tokens_per_second
        for job in jobs.list_all(kind="training", status="finished")
        if job.base_model_id == base_model_id and job.device == device_id and job.tokens_per_second
    ]
    return statistics.median(speeds[:EARLIER_RUNS]) if speeds else None


def modelled_speed(device: gpu.Device, saved: savings.Savings) -> float:
    """Tokens per second by the arithmetic alone.

    A frozen value takes 2 FLOP forward and 2 backward for each token, a trained one 2 more for its own
    gradient (Kaplan et al. 2020, section 2.1).
    """
    flop_per_token = 4 * saved.model_parameters + 6 * saved.lora_parameters
    return _flop_per_second(device) / flop_per_token


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
    return max(min(fitted.tokens_per_step or memory.USUAL_TOKENS, memory.MOST_TOKENS), fitted.max_tokens or 0)


def _tokens_in_all(fitted: TrainingSettings, lengths: list[int]) -> int:
    """The tokens that the run reads, over all passes and within its limit of steps."""
    one_pass = sum(min(length, fitted.max_tokens or length) for length in lengths)
    tokens = int((fitted.epochs or 1.0) * one_pass)
    return min(tokens, (fitted.max_steps or tokens) * (fitted.tokens_per_step or tokens))


def _listed(target_modules: str | Iterable[str]) -> str | list[str]:
    # What is neither a name nor names is refused, in words, by the settings.
    return list(target_modules) if isinstance(target_modules, (tuple, set)) else target_modules  # type: ignore[return-value]
