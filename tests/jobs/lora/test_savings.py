"""The calculator's numbers are those of real models and real adapter files."""

from __future__ import annotations

from pathlib import Path

import pytest
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from jobs.base_models import catalogue
from jobs.lora import savings, targets
from storage.errors import StudioError


def test_the_textbook_example() -> None:
    assert savings.free_form(40_000, 10_000, 2) == {
        "full_parameters": 400_000_000,
        "lora_parameters": 100_000,
        "reduction": 4000,
    }


@pytest.mark.parametrize(
    ("rows", "columns", "rank", "named"),
    [
        (0, 10, 1, "rows"),
        (10, 2.5, 1, "columns"),
        (10, 20, 11, "rank"),
        (10, 20, None, "rank"),
        (10, 10, 0, "rank"),
    ],
)
def test_impossible_numbers_are_refused_with_the_range(
    rows: float, columns: float, rank: float, named: str
) -> None:
    with pytest.raises(StudioError, match=f"{named} cannot be .* from 1 to"):
        savings.free_form(rows, columns, rank)


def test_starter_at_rank_eight(home: Path) -> None:
    saved = savings.savings(catalogue.find(catalogue.STARTER_ID), 8)
    assert saved.full_parameters == saved.model_parameters == 134_515_008
    assert saved.lora_parameters == 2_442_240
    assert saved.reduction == pytest.approx(55.08, abs=0.01)
    for groups, count in ((saved.per_matrix, 7), (saved.per_layer, 30)):
        assert len(groups) == count
        assert sum(group["lora_parameters"] for group in groups) == saved.lora_parameters


@pytest.mark.parametrize(("target_modules", "layers"), [("auto", "all"), ("query_value", "1")])
def test_size_and_count_are_those_of_the_saved_adapter(
    home: Path, tiny_model: Path, tmp_path: Path, target_modules: str, layers: str
) -> None:
    model = catalogue.add_custom(str(tiny_model))
    saved = savings.savings(model, 4, target_modules, layers)
    chosen = targets.choose(targets.matrices_of_folder(tiny_model), target_modules, layers)
    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    adapted = get_peft_model(base, LoraConfig(r=4, target_modules=targets.module_names(chosen)))
    adapted.save_pretrained(tmp_path)
    assert saved.lora_parameters == adapted.get_nb_trainable_parameters()[0]
    assert saved.full_parameters == base.num_parameters() - saved.lora_parameters
    file = "adapter_model.safetensors"
    assert saved.adapter_bytes == (tmp_path / file).stat().st_size


@pytest.mark.parametrize("use_dora", [False, True])
def test_a_rank_per_module_and_dora_count_as_in_the_saved_adapter(
    home: Path, tiny_model: Path, tmp_path: Path, use_dora: bool
) -> None:
    pattern = {"q_proj": 2, "layers.1.mlp.down_proj": 7}
    model = catalogue.add_custom(str(tiny_model))
    saved = savings.savings(model, 4, "auto", rank_pattern=pattern, use_dora=use_dora)
    chosen = targets.choose(targets.matrices_of_folder(tiny_model))
    config = LoraConfig(
        r=4, target_modules=targets.module_names(chosen), rank_pattern=pattern, use_dora=use_dora
    )
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model), config)
    adapted.save_pretrained(tmp_path)
    assert saved.lora_parameters == adapted.get_nb_trainable_parameters()[0]
    for groups in (saved.per_matrix, saved.per_layer):
        assert sum(group["lora_parameters"] for group in groups) == saved.lora_parameters
    assert saved.adapter_bytes == (tmp_path / "adapter_model.safetensors").stat().st_size


@pytest.mark.parametrize("rank", [0, -1, 2.5, "many", 577])
def test_rank_outside_the_model_is_refused_with_the_range(home: Path, rank: int) -> None:
    with pytest.raises(StudioError, match="from 1 to 576"):
        savings.savings(catalogue.find(catalogue.STARTER_ID), rank)


def test_model_of_unknown_shape_asks_to_be_fetched(home: Path) -> None:
    with pytest.raises(StudioError, match="Fetch it first"):
        savings.savings(catalogue.add_custom("someone/some-model"), 8)
