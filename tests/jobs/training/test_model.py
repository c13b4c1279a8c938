"""What the settings ask for is what PEFT builds, saves, loads again and goes on from."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from jobs.training.model import (
    adapted_model,
    adapter_names,
    adapter_parameters,
    initial_values,
    saved_name,
)
from jobs.training.settings import TrainingSettings, from_json
from storage.errors import StudioError

IDS = torch.arange(3, 40).view(1, -1)


def settings_of(**values: Any) -> TrainingSettings:
    return from_json({"precision": "fp32", **values})


def make(folder: Path, *ranks: int, warm_start: Path | None = None, **values: Any) -> Any:
    return adapted_model(folder, "cpu", ranks or (4,), settings_of(**values), warm_start=warm_start)


def moved(model: Any, name: str = "default", seed: int = 1) -> Any:
    """The model with an adapter that has learned something: random values added to every parameter."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in adapter_parameters(model, name).values():
            value += 0.05 * torch.randn(value.shape, generator=generator)
    return model


def saved(model: Any, folder: Path) -> Path:
    model.save_pretrained(folder, selected_adapters=["default"])
    return folder


@torch.no_grad()
def logits(model: Any) -> Tensor:
    return model.eval()(input_ids=IDS).logits  # type: ignore[no-any-return]


def config_in(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "adapter_config.json").read_text())  # type: ignore[no-any-return]


def scales(model: Any, name: str = "default") -> dict[str, float]:
    """Each adapted module's scale."""
    return {path: m.scaling[name] for path, m in model.named_modules() if isinstance(m, LoraLayer)}


KINDS: list[tuple[dict[str, Any], Mapping[str, Any]]] = [
    ({}, {"r": 4, "lora_alpha": 8, "use_rslora": False, "use_dora": False}),
    ({"use_rslora": True}, {"r": 4, "lora_alpha": 8, "use_rslora": True}),
    ({"use_dora": True, "target_modules": "query_value"}, {"use_dora": True}),
    ({"rank_pattern": "q_proj=2, down_proj=7"}, {"rank_pattern": {"q_proj": 2, "down_proj": 7}}),
    (
        {"rank_pattern": {"layers.1.self_attn.v_proj": 3}, "target_modules": "attention"},
        {"rank_pattern": {"layers.1.self_attn.v_proj": 3}},
    ),
    (
        {"use_rslora": True, "use_dora": True, "rank_pattern": "q_proj=2", "layers": "1", "alpha": 5},
        {"lora_alpha": 5, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {}, "layers_to_transform": [1]},
    ),
    ({"dropout": 0.2, "target_modules": ["o_proj", "up_proj"]}, {"lora_dropout": 0.2}),
]


@pytest.mark.parametrize(("values", "told"), KINDS)
def test_each_kind_stands_in_the_config_and_peft_loads_it_to_the_same_outputs(
    tiny_model: Path, tmp_path: Path, values: dict[str, Any], told: Mapping[str, Any]
) -> None:
    model = moved(make(tiny_model, **values))
    found = config_in(saved(model, tmp_path))
    assert told.items() <= found.items()
    loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), tmp_path)
    assert torch.equal(logits(loaded), logits(model))
    assert not torch.allclose(logits(loaded), logits(make(tiny_model, **values)))


def test_the_base_is_unchanged_by_a_fresh_adapter_of_any_kind(tiny_model: Path) -> None:
    base = logits(AutoModelForCausalLM.from_pretrained(tiny_model))
    for values, _ in KINDS:
        assert torch.equal(logits(make(tiny_model, **values)), base)


def test_an_open_alpha_gives_every_module_the_same_scale_and_a_given_one_is_taken_as_it_is(
    tiny_model: Path,
) -> None:
    values: dict[str, Any] = {"rank_pattern": "q_proj=2, v_proj=16", "target_modules": "attention"}
    assert set(scales(make(tiny_model, 8, **values)).values()) == {2.0}
    given = scales(make(tiny_model, 8, alpha=16, **values))
    assert {path.rpartition(".")[2]: scale for path, scale in given.items()} == {
        "q_proj": 8.0,
        "k_proj": 2.0,
        "v_proj": 1.0,
        "o_proj": 2.0,
    }


def test_rslora_divides_alpha_by_the_root_of_each_modules_rank(tiny_model: Path) -> None:
    found = scales(make(tiny_model, 9, use_rslora=True, alpha=6, rank_pattern="v_proj=4"))
    assert {s for path, s in found.items() if not path.endswith("v_proj")} == {6 / math.sqrt(9)}
    assert {s for path, s in found.items() if path.endswith("v_proj")} == {6 / math.sqrt(4)}


def test_a_rank_for_a_module_that_is_not_trained_is_refused(tiny_model: Path) -> None:
    with pytest.raises(StudioError, match="'up_proj'"):
        make(tiny_model, target_modules="attention", rank_pattern="up_proj=2")


@pytest.mark.parametrize("use_dora", [False, True])
def test_every_trial_begins_as_its_own_single_run(tiny_model: Path, use_dora: bool) -> None:
    ranks = (2, 4, 4, 16)
    values: dict[str, Any] = {"use_dora": use_dora, "rank_pattern": "o_proj=3", "seed": 7}
    together = make(tiny_model, *ranks, **values)
    assert adapter_names(4) == ["default", "trial1", "trial2", "trial3"] == list(together.peft_config)
    for name, rank in zip(adapter_names(4), ranks, strict=True):
        alone = make(tiny_model, rank, **values)
        found, expected = adapter_parameters(together, name), adapter_parameters(alone)
        assert list(found) == list(expected)
        assert all(torch.equal(found[path], expected[path]) for path in expected)
        assert scales(together, name) == scales(alone)
        assert any("lora_magnitude" in path for path in expected) == use_dora


def test_each_trial_computes_what_it_would_alone_once_they_have_learned(tiny_model: Path) -> None:
    together = make(tiny_model, 2, 8, use_rslora=True)
    for seed, name in enumerate(adapter_names(2)):
        moved(together, name, seed)
    for seed, (name, rank) in enumerate(zip(adapter_names(2), (2, 8), strict=True)):
        together.set_adapter(name)
        assert torch.equal(
            logits(together), logits(moved(make(tiny_model, rank, use_rslora=True), seed=seed))
        )


def test_names_in_a_file_are_those_that_peft_writes(tiny_model: Path, tmp_path: Path) -> None:
    model = moved(make(tiny_model, use_dora=True))
    written = load_file(saved(model, tmp_path) / "adapter_model.safetensors")
    ours = {saved_name(path): value for path, value in adapter_parameters(model).items()}
    assert ours.keys() == written.keys()
    assert all(torch.equal(ours[name], written[name]) for name in written)


@pytest.mark.parametrize(("values", "told"), KINDS)
def test_a_warm_start_begins_exactly_with_the_earlier_adapters_outputs(
    tiny_model: Path, tmp_path: Path, values: dict[str, Any], told: Mapping[str, Any]
) -> None:
    earlier = moved(make(tiny_model, **values))
    saved(earlier, tmp_path)
    # Nothing said, and the same said once more.
    for again in (make(tiny_model, warm_start=tmp_path), make(tiny_model, warm_start=tmp_path, **values)):
        assert torch.equal(logits(again), logits(earlier))
        assert scales(again) == scales(earlier)
        assert again.peft_config["default"].use_dora == earlier.peft_config["default"].use_dora
        assert all(value.requires_grad for value in adapter_parameters(again).values())


def test_all_trials_of_a_warm_start_begin_with_the_earlier_adapter(tiny_model: Path, tmp_path: Path) -> None:
    earlier = moved(make(tiny_model))
    model = make(tiny_model, 4, 4, warm_start=saved(earlier, tmp_path))
    for name in adapter_names(2):
        model.set_adapter(name)
        assert torch.equal(logits(model), logits(earlier))


def test_an_adapter_of_plain_peft_with_its_own_alphas_is_taken_over(tiny_model: Path, tmp_path: Path) -> None:
    config = LoraConfig(
        r=4,
        target_modules=["q_proj", "v_proj", "down_proj"],
        lora_alpha=12,
        alpha_pattern={"v_proj": 5},
        rank_pattern={r"layers\.0\..*v_proj": 6},
        exclude_modules=["model.layers.1.mlp.down_proj"],
        init_lora_weights="gaussian",
    )
    earlier = moved(get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model), config))
    again = make(tiny_model, warm_start=saved(earlier, tmp_path))
    assert torch.equal(logits(again), logits(earlier))
    assert scales(again) == scales(earlier)


def test_a_warm_start_keeps_the_exact_values_beside_a_model_in_bf16(tiny_model: Path, tmp_path: Path) -> None:
    earlier = moved(make(tiny_model, use_dora=True))
    saved(earlier, tmp_path)
    again = make(tiny_model, warm_start=tmp_path, precision="bf16")
    exact = initial_values(again, "default", tmp_path)
    computing, wanted = adapter_parameters(again), adapter_parameters(earlier)
    assert list(exact) == list(computing)
    for path, value in exact.items():
        assert value.dtype == torch.float32 and torch.equal(value, wanted[path])
        is_length = "magnitude" in path
        assert computing[path].dtype == (torch.float32 if is_length else torch.bfloat16)
        assert torch.equal(computing[path], value.to(computing[path].dtype))
    logits(again)  # both formats in one pass


def test_without_a_warm_start_the_initial_values_are_the_models(tiny_model: Path) -> None:
    model = make(tiny_model, 2, 4)
    for name in adapter_names(2):
        computing = adapter_parameters(model, name)
        assert all(value is computing[path] or torch.equal(value, computing[path])
                   for path, value in initial_values(model, name).items())  # fmt: skip


@pytest.mark.parametrize(
    ("ranks", "values", "words"),
    [
        ((8,), {}, ["rank 4, not 8", "Choose rank 4"]),
        ((4, 16), {}, ["rank 4, not 16"]),
        ((4,), {"target_modules": "all_linear"}, ["other modules", "q_proj, v_proj"]),
        ((4,), {"layers": "0"}, ["other modules"]),
        ((4,), {"alpha": 32}, ["alpha 8, not 32", "Leave alpha empty"]),
        ((4,), {"rank_pattern": "q_proj=2"}, ["other ranks"]),
        ((4,), {"use_rslora": True}, ["without rsLoRA"]),
        ((4,), {"use_dora": True}, ["without DoRA"]),
    ],
)
def test_settings_that_ask_for_another_kind_of_adapter_are_refused(
    tiny_model: Path, tmp_path: Path, ranks: tuple[int, ...], values: dict[str, Any], words: list[str]
) -> None:
    saved(make(tiny_model, target_modules="query_value"), tmp_path)
    with pytest.raises(StudioError) as caught:
        make(tiny_model, *ranks, warm_start=tmp_path, **values)
    for word in words:
        assert word in str(caught.value)


def changed_config(folder: Path, **values: Any) -> None:
    (folder / "adapter_config.json").write_text(json.dumps({**config_in(folder), **values}))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"peft_type": "LOHA"}, "'LOHA'"),
        ({"bias": "all"}, "bias"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"use_qalora": True}, "use_qalora"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights"),
        ({"something_newer": {"a": 1}}, "something_newer"),
        ({"use_dora": True}, "does not fit this base model"),
    ],
)
def test_an_adapter_of_another_kind_is_refused(
    tiny_model: Path, tmp_path: Path, values: dict[str, Any], words: str
) -> None:
    changed_config(saved(make(tiny_model), tmp_path), **values)
    with pytest.raises(StudioError, match=words):
        make(tiny_model, warm_start=tmp_path)


def without_b(values: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in values.items() if "q_proj.lora_B" not in name}


def of_another_width(values: dict[str, Tensor]) -> dict[str, Tensor]:
    return {n: v[:, :-1].contiguous() if "q_proj.lora_A" in n else v for n, v in values.items()}


def of_a_deeper_model(values: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.replace("layers.1.", "layers.9."): value for name, value in values.items()}


def of_the_head(values: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**values, "base_model.model.lm_head.lora_A.weight": torch.zeros(4, 32)}


@pytest.mark.parametrize("spoil", [without_b, of_another_width, of_a_deeper_model, of_the_head])
def test_an_adapter_for_other_shapes_is_refused(tiny_model: Path, tmp_path: Path, spoil: Any) -> None:
    path = saved(make(tiny_model), tmp_path) / "adapter_model.safetensors"
    save_file(spoil(load_file(path)), path)
    with pytest.raises(StudioError, match=r"does not fit this base model.*Choose the base model") as caught:
        make(tiny_model, warm_start=tmp_path)
    assert "base_model.model" not in str(caught.value)


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_missing_or_damaged_file_is_named(tiny_model: Path, tmp_path: Path, name: str) -> None:
    whole = saved(make(tiny_model), tmp_path / "whole")
    shutil.copytree(whole, tmp_path / "cut")
    (tmp_path / "cut" / name).write_bytes((whole / name).read_bytes()[:-20])
    (whole / name).unlink()
    for folder in (whole, tmp_path / "cut"):
        with pytest.raises(StudioError, match=name):
            make(tiny_model, warm_start=folder)
