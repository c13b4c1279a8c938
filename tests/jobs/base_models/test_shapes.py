"""Counting a model from its config.json gives what transformers builds from it."""

from __future__ import annotations

import pytest

from jobs.base_models import shapes
from storage.errors import StudioError
from tests.jobs.architectures import CONFIGS, config_of, model_of


@pytest.mark.parametrize("name", CONFIGS)
def test_parameters_are_those_of_the_real_model(name: str) -> None:
    config = config_of(name)
    shape = shapes.from_config(config.to_dict())
    assert shapes.parameters(shape) == model_of(config).num_parameters()


def test_text_part_of_a_model_that_sees_pictures_is_read() -> None:
    text = {"model_type": "gemma3_text", **CONFIGS["gemma3_text"]}
    assert shapes.from_config({"model_type": "gemma3", "text_config": text}) == shapes.from_config(text)


def test_unknown_architecture_is_not_guessed() -> None:
    shape = shapes.from_config({**CONFIGS["llama"], "model_type": "novel"})
    assert shape.layers == 3
    with pytest.raises(StudioError, match="novel"):
        shapes.parameters(shape)


@pytest.mark.parametrize("wrong", [None, 0, -3, "many", True])
def test_config_without_a_usable_number_names_it(wrong: object) -> None:
    with pytest.raises(StudioError, match="num_hidden_layers"):
        shapes.from_config({**CONFIGS["llama"], "num_hidden_layers": wrong})
