"""The live figures are those of the adapter that would be trained."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from jobs.base_models import catalogue
from jobs.lora import savings
from studio import charts, savings_view

STARTER = catalogue.STARTER_ID
QUERY, VALUE = "model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.v_proj"


def shown(rank_pattern: str = "", use_dora: bool = False, path: str = QUERY) -> tuple[str, str, object]:
    """The facts, the tables and the picture at rank 8."""
    _, picture, facts, tables = savings_view.show(STARTER, 8, "all_linear", "", rank_pattern, use_dora, path)
    return facts, tables, picture


def test_modules_of_another_rank_count_with_theirs(home: Path) -> None:
    facts, tables, picture = shown("q_proj=2")
    assert f"{2 * (576 + 576):,}, not" in facts
    total = savings.savings(catalogue.find(STARTER), 8, rank_pattern={"q_proj": 2})
    assert f"<td>{total.per_matrix[0]['lora_parameters']:,}</td>" in tables
    assert f'title="{total.lora_parameters:,}"' in facts or f"{total.lora_parameters:,}" in facts
    assert picture == charts.to_scale(576, 576, 2)
    facts, _, picture = shown("q_proj=2", path=VALUE)
    assert f"{8 * (192 + 576):,}, not" in facts and picture == charts.to_scale(192, 576, 8)


def test_doras_lengths_are_counted(home: Path) -> None:
    facts, tables, _ = shown(use_dora=True)
    assert f"{8 * (576 + 576) + 576:,}, not" in facts
    total = savings.savings(catalogue.find(STARTER), 8, use_dora=True)
    assert f"<td>{total.per_matrix[0]['lora_parameters']:,}</td>" in tables


def test_a_half_typed_rank_leaves_what_is_there(home: Path) -> None:
    for half in ("q_proj", "q_proj=", "q_pro=4", "q_proj=9999"):
        assert savings_view.show(STARTER, 8, "all_linear", "", half, False, QUERY) == (gr.skip(),) * 4
