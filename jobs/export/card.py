"""The model card of an exported adapter: what it is, where it came from, how it did."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from jobs.base_models.catalogue import BaseModel
from storage import adapters, datasets, evaluations
from storage.adapters import Adapter
from storage.errors import StudioError


def model_card(adapter: Adapter, base: BaseModel, config: Mapping[str, Any]) -> str:
    """The README.md of an adapter, with the YAML header that model hubs read.

    `config` is the adapter_config.json that lies beside it, at the strength kept with the adapter. What it is stands
    there: its settings say what was asked for, and an adapter that went on from another one is of that one's kind.
    """
    licence = base.licence or "unknown"
    header = {
        "base_model": base.public_name,
        "library_name": "peft",
        "license": licence.lower(),
        "tags": ["lora", "lora-tailor"],
    }
    lines = [
        "---",
        # Any JSON value is YAML too, so that no name can break the header.
        *(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in header.items()),
        "---",
        f"# {adapter.name}",
        "",
        f"A {'DoRA' if config.get('use_dora') else 'LoRA'} adapter for `{base.public_name}` "
        f"(licence of the base model: {licence}), "
        f"made with LoRA Tailor: {adapter.parameters:,} values on {', '.join(adapter.target_modules)}.",
        _rank_line(config),
        *_strength_lines(adapter.strength, config),
        "`load_adapter.py` shows how to use it.",
        "",
        "## Training",
        "",
        _dataset_line(adapter.dataset_id),
        *_start_lines(adapter.settings.get("start_from")),
        *_sweep_lines(adapter.settings),
        "",
        *_table(("setting", "value"), sorted(_settings(adapter, config).items())),
        "",
        f"Held-out loss: {_number(adapter.held_out_loss)} at step {_number(adapter.best_step)}.",
        f"SHA-256 of the adapter's weights: `{adapter.weights_sha256}`; "
        f"of the base model's: `{adapter.base_weights_sha256}`.",
        *_scores(adapter.id),
    ]
    return "\n".join(lines) + "\n"


def _rank_line(config: Mapping[str, Any]) -> str:
    """Rank and scale, and the modules where they are others."""
    steady = bool(config.get("use_rslora"))
    ranks, alphas = config.get("rank_pattern") or {}, config.get("alpha_pattern") or {}
    others = [
        f"`{name}` has rank {ranks.get(name, config['r'])} and alpha"
        f" {alphas.get(name, config['lora_alpha']):g}"
        for name in dict.fromkeys((*ranks, *alphas))
    ]
    return (
        f"Rank {config['r']}, alpha {config['lora_alpha']:g}, so the change is scaled by "
        f"{'alpha / √rank (rsLoRA)' if steady else 'alpha / rank'}.{_listed(others)}"
    )


def _strength_lines(strength: float, config: Mapping[str, Any]) -> list[str]:
    """How strongly it answers, where that is not as it was trained."""
    if strength == 1:
        return []
    if config.get("use_dora"):
        return [
            f"In LoRA Tailor it answers at the strength {strength:g}×, which is not in these files: no setting of a "
            "DoRA adapter weakens the lengths that it has learned. Elsewhere it answers as it was trained (1×)."
        ]
    return [
        f"It answers at the strength {strength:g}×, which was kept with it: alpha is {strength:g} times the one that "
        "it was trained with, and the weights are as trained."
    ]


def _listed(others: list[str]) -> str:
    return f" Not everywhere: {'; '.join(others)}." if others else ""


def _settings(adapter: Adapter, config: Mapping[str, Any]) -> dict[str, Any]:
    """What was set or fitted, as the adapter has it; what stayed empty is left out."""
    found = {
        **adapter.settings,
        "rank": adapter.rank,
        "alpha": adapter.alpha,
        "use_rslora": bool(config.get("use_rslora")),
        "use_dora": bool(config.get("use_dora")),
        "rank_pattern": config.get("rank_pattern"),
    }
    return {name: value for name, value in found.items() if value not in (None, "", [], {})}


def _start_lines(start_from: str | None) -> list[str]:
    """Which adapter this one went on from."""
    if start_from is None:
        return []
    try:
        earlier = adapters.get(start_from)
    except StudioError:
        return ["It goes on from an earlier adapter that has been deleted since."]
    return [
        f"It goes on from the adapter “{earlier.name}” (SHA-256 of its weights: `{earlier.weights_sha256}`)."
    ]


def _sweep_lines(settings: Mapping[str, Any]) -> list[str]:
    """Of how many it is the best one."""
    tried = [
        f"{words} {', '.join(map(str, values))}"
        for name, words in (("try_ranks", "ranks"), ("try_learning_rates", "learning rates"))
        if len(values := settings.get(name) or ()) > 1
    ]
    return [f"The best on held-out examples of several adapters: {', '.join(tried)}."] if tried else []


def _dataset_line(dataset_id: str) -> str:
    try:
        dataset = datasets.get(dataset_id)
    except StudioError:
        return "Examples: a dataset that has been deleted since."
    return (
        f"Examples: “{dataset.name}”, {dataset.train_rows} rows for training and "
        f"{dataset.held_out_rows} held out (SHA-256 `{dataset.sha256}`)."
    )


def _scores(adapter_id: str) -> list[str]:
    evaluation = evaluations.latest(adapter_id)
    if evaluation is None:
        return []
    card = evaluation.card
    labels = [side["label"] for side in card["sides"]]
    rows = [
        (rule["words"], *(_rate(rule["sides"][side["side"]]) for side in card["sides"]))
        for rule in card["rules"]
    ]
    return ["", "## Scores", "", card["verdict"]["sentence"], "", *_table(("rule", *labels), rows)]


def _rate(score: dict[str, Any]) -> str:
    return f"{score['rate']:.0%} ({score['low']:.0%} to {score['high']:.0%})"


def _table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> list[str]:
    cells = [head, tuple("---" for _ in head), *rows]
    return ["| " + " | ".join(_cell(value) for value in row) + " |" for row in cells]


def _cell(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.replace("|", "\\|").replace("\n", " ")


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4g}"
