"""The model card of an exported adapter: what it is, where it came from, how it did."""

from __future__ import annotations

import json
from typing import Any

from jobs.base_models.catalogue import BaseModel
from storage import datasets, evaluations
from storage.adapters import Adapter
from storage.errors import StudioError


def model_card(adapter: Adapter, base: BaseModel, base_name: str) -> str:
    """The README.md of an adapter, with the YAML header that model hubs read.

    `base_name` is how others find the base model: its hub id, or its plain name.
    """
    licence = base.licence or "unknown"
    header = {
        "base_model": base_name,
        "library_name": "peft",
        "license": licence.lower(),
        "tags": ["lora", "lora-tailor"],
    }
    settings = {"rank": adapter.rank, "alpha": adapter.alpha, **adapter.settings}
    lines = [
        "---",
        # Any JSON value is YAML too, so that no name can break the header.
        *(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in header.items()),
        "---",
        f"# {adapter.name}",
        "",
        f"A LoRA adapter for `{base_name}` (licence of the base model: {licence}), "
        f"made with LoRA Tailor: {adapter.parameters:,} values on {', '.join(adapter.target_modules)}.",
        "`load_adapter.py` shows how to use it.",
        "",
        "## Training",
        "",
        _dataset_line(adapter.dataset_id),
        "",
        *_table(("setting", "value"), sorted(settings.items())),
        "",
        f"Held-out loss: {_number(adapter.held_out_loss)} at step {_number(adapter.best_step)}.",
        f"SHA-256 of the adapter's weights: `{adapter.weights_sha256}`; "
        f"of the base model's: `{adapter.base_weights_sha256}`.",
        *_scores(adapter.id),
    ]
    return "\n".join(lines) + "\n"


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
