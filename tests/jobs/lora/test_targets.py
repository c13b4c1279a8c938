"""The counted matrices are those that PEFT adapts, for every architecture, preset and range of layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from peft import LoraConfig, get_peft_model

from jobs.base_models import shapes
from jobs.lora import savings, targets
from storage.errors import StudioError
from tests.jobs.architectures import CONFIGS, config_of, model_of

RANK = 3


def adapted(name: str, chosen: list[targets.Matrix], layers: list[int] | None = None) -> Any:
    """The real model with an adapter that PEFT put where `chosen` says."""
    config = LoraConfig(
        r=RANK,
        target_modules=targets.module_names(chosen),
        layers_to_transform=layers,
        fan_in_fan_out=name == "gpt2",
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model_of(config_of(name)), config)


@pytest.mark.parametrize("layers", ["all", "1", "1-2"])
@pytest.mark.parametrize("preset", targets.PRESETS)
@pytest.mark.parametrize("name", CONFIGS)
def test_peft_adapts_exactly_the_chosen_matrices(name: str, preset: str, layers: str) -> None:
    chosen = targets.choose(targets.matrices(shapes.from_config(config_of(name).to_dict())), preset, layers)
    model = adapted(name, chosen)
    assert model.get_nb_trainable_parameters()[0] == savings.trainable(chosen, RANK)
    places = {key.removeprefix("base_model.model.").rpartition(".lora_A")[0] for key in _lora_keys(model)}
    assert places == {matrix.path for matrix in chosen}


def _lora_keys(model: Any) -> list[str]:
    return [key for key, value in model.named_parameters() if value.requires_grad and ".lora_A" in key]


def test_names_agree_with_peft_also_beside_a_list_of_layers() -> None:
    chosen = targets.choose(targets.matrices(shapes.from_config(config_of("llama").to_dict())), "auto", "1-2")
    model = adapted("llama", chosen, layers=[1, 2])
    assert model.get_nb_trainable_parameters()[0] == savings.trainable(chosen, RANK)


@pytest.mark.parametrize("name", CONFIGS)
def test_files_of_a_model_say_the_same_as_its_shape(name: str, tmp_path: Path) -> None:
    config = config_of(name)
    model_of(config, device="cpu").save_pretrained(tmp_path)
    by_path = sorted(targets.matrices_of_folder(tmp_path), key=lambda matrix: matrix.path)
    assert by_path == sorted(
        targets.matrices(shapes.from_config(config.to_dict())), key=lambda matrix: matrix.path
    )


def test_whole_kinds_are_named_shortly_and_parts_by_their_path() -> None:
    every = targets.matrices(shapes.from_config(config_of("llama").to_dict()))
    assert targets.module_names(targets.choose(every, ["v_proj", "q_proj"])) == ["q_proj", "v_proj"]
    assert targets.module_names(targets.choose(every, ["q_proj"], "1")) == ["layers.1.self_attn.q_proj"]


def test_gpt2_tells_its_two_c_proj_apart() -> None:
    every = targets.matrices(shapes.from_config(config_of("gpt2").to_dict()))
    assert {matrix.name for matrix in every} == {"c_attn", "attn.c_proj", "c_fc", "mlp.c_proj"}
    assert len(targets.choose(every, ["mlp.c_proj"])) == 3
    assert len(targets.choose(every, ["c_proj"])) == 6


def test_auto_means_all_linear() -> None:
    every = targets.matrices(shapes.from_config(config_of("qwen3").to_dict()))
    assert targets.choose(every, "auto") == targets.choose(every, ["auto"]) == every


@pytest.mark.parametrize(("name", "fused"), [("phi3", "qkv_proj"), ("gpt2", "c_attn")])
def test_fused_query_and_value_are_taken_whole_and_said_so(name: str, fused: str) -> None:
    chosen = targets.choose(targets.matrices(shapes.from_config(config_of(name).to_dict())), "query_value")
    assert {matrix.name for matrix in chosen} == {fused}
    assert fused in targets.note(chosen, "query_value")
    assert targets.note(chosen, "attention") == ""


@pytest.mark.parametrize("wrong", ["nonsense", [], ["q_proj", "x_proj"], "proj"])
def test_unknown_module_is_refused_with_those_that_exist(wrong: Any) -> None:
    every = targets.matrices(shapes.from_config(config_of("llama").to_dict()))
    with pytest.raises(StudioError, match="q_proj, k_proj"):
        targets.choose(every, wrong)


@pytest.mark.parametrize("wrong", ["3", "2-1", "0-3", "-1", "first", "1,2", ""])
def test_layers_that_do_not_exist_are_refused_with_the_range(wrong: str) -> None:
    every = targets.matrices(shapes.from_config(config_of("llama").to_dict()))
    with pytest.raises(StudioError, match="from 0 to 2"):
        targets.choose(every, "auto", wrong)


def test_unknown_architecture_is_not_guessed() -> None:
    shape = shapes.from_config({**CONFIGS["llama"], "model_type": "novel"})
    with pytest.raises(StudioError, match="novel"):
        targets.matrices(shape)


def test_ranks_follow_the_first_name_that_means_a_matrix() -> None:
    every = targets.matrices(shapes.from_config(config_of("gpt2").to_dict()))
    chosen = targets.choose(every, ["c_proj", "c_fc"])
    ranks = targets.ranks(chosen, 8, {"mlp.c_proj": 2, "c_proj": 4})
    assert {(matrix.name, own) for matrix, own in zip(chosen, ranks, strict=True)} == {
        ("attn.c_proj", 4),
        ("mlp.c_proj", 2),
        ("c_fc", 8),
    }
    assert targets.by_name(chosen, ranks) == {"attn.c_proj": 4, "mlp.c_proj": 2, "c_fc": 8}


def test_a_kind_with_several_ranks_is_named_by_path() -> None:
    every = targets.matrices(shapes.from_config(config_of("llama").to_dict()))
    chosen = targets.choose(every, ["q_proj"], "0-1")
    ranks = targets.ranks(chosen, 8, {"layers.1.self_attn.q_proj": 2})
    assert targets.by_name(chosen, ranks) == {
        "layers.0.self_attn.q_proj": 8,
        "layers.1.self_attn.q_proj": 2,
    }


def test_a_rank_for_a_module_that_is_not_chosen_is_refused() -> None:
    every = targets.matrices(shapes.from_config(config_of("llama").to_dict()))
    with pytest.raises(StudioError, match=r"'up_proj'.*Choose from q_proj, v_proj"):
        targets.ranks(targets.choose(every, "query_value"), 8, {"q_proj": 2, "up_proj": 4})
