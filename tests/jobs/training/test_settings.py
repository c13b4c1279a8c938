"""Every setting is checked, explained and fitted."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from types import SimpleNamespace

import pytest

from jobs.training.settings import TrainingSettings, check_rank, fitted, from_json
from storage.errors import StudioError


def test_nothing_given_is_a_good_choice() -> None:
    assert from_json({}) == TrainingSettings()
    assert from_json(TrainingSettings().as_json()) == TrainingSettings()


def test_every_setting_explains_itself() -> None:
    for entry in dataclasses.fields(TrainingSettings):
        assert set(entry.metadata) == {"label", "help", "unit", "minimum", "maximum", "choices"}
        assert entry.metadata["label"] and entry.metadata["help"]


def test_numbers_may_come_as_text() -> None:
    settings = from_json(
        {"learning_rate": "1e-4", "epochs": "2", "alpha": "32", "seed": 7.0, "max_steps": "auto"}
    )
    assert (settings.learning_rate, settings.epochs, settings.alpha, settings.seed) == (1e-4, 2.0, 32, 7)
    assert isinstance(settings.alpha, int) and isinstance(settings.seed, int)
    assert settings.max_steps is None


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"learning_rate": 3}, ["learning_rate", "3", "0.1"]),
        ({"epochs": "many"}, ["epochs", "many", "100"]),
        ({"epochs": True}, ["epochs", "True"]),
        ({"max_steps": 2.5}, ["max_steps", "2.5", "whole"]),
        ({"learning_rate": "nan"}, ["learning_rate", "nan"]),
        ({"dropout": float("inf")}, ["dropout", "inf"]),
        ({"seed": -1}, ["seed", "-1"]),
        ({"seed": [1]}, ["seed", "[1]"]),
        ({"precision": "fp8"}, ["precision", "fp8", "bf16"]),
        ({"layers": "11-4"}, ["layers", "11-4"]),
        ({"layers": "some"}, ["layers", "some"]),
        ({"target_modules": []}, ["target_modules", "[]"]),
        ({"target_modules": ["q proj"]}, ["target_modules", "q proj"]),
        ({"target_modules": 3}, ["target_modules", "3"]),
        ({"learning_rat": 1e-4}, ["learning_rat", "learning_rate"]),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(values: dict, words: list[str]) -> None:
    with pytest.raises(StudioError) as caught:
        from_json(values)
    for word in words:
        assert word in str(caught.value)


def test_target_modules_and_layers_keep_their_forms() -> None:
    assert from_json({"target_modules": "attention"}).target_modules == "attention"
    assert from_json({"target_modules": "q_proj, v_proj"}).target_modules == ("q_proj", "v_proj")
    given = from_json({"target_modules": ["q_proj"], "layers": "4 - 11"})
    assert given.target_modules == ("q_proj",) and given.layers == "4-11"
    assert given.as_json()["target_modules"] == ["q_proj"]


def test_the_rank_is_bounded_by_the_models_width() -> None:
    assert check_rank("8") == 8
    for wrong in (0, 65, 1.5, "x", None, True):
        with pytest.raises(StudioError, match="rank"):
            check_rank(wrong, SimpleNamespace(hidden_size=64))


def epochs_steps(rows: int, tokens: int) -> tuple[float, float]:
    settings = fitted(TrainingSettings(), [tokens] * rows)
    return settings.epochs, rows * tokens / settings.tokens_per_step


def test_few_examples_are_seen_more_often_and_in_smaller_steps() -> None:
    assert epochs_steps(80, 100) == (4.0, 31.25)
    epochs, steps = epochs_steps(600, 150)
    assert epochs == 2.0 and steps >= 15
    assert epochs_steps(10_000, 200)[0] == 1.0
    assert fitted(TrainingSettings(), [200] * 10_000).tokens_per_step == 16_384
    assert fitted(TrainingSettings(), [20] * 10).tokens_per_step == 256


def test_the_learning_rate_and_alpha_follow_model_and_rank() -> None:
    small = fitted(TrainingSettings(), [100] * 80, rank=8, model_parameters=135_000_000)
    large = fitted(TrainingSettings(), [100] * 80, rank=8, model_parameters=8_000_000_000)
    assert (small.learning_rate, large.learning_rate, small.alpha) == (5e-4, 2e-4, 16)


def test_long_rows_are_bounded_by_what_the_model_reads() -> None:
    assert fitted(TrainingSettings(), [30, 90]).max_tokens == 90
    assert fitted(TrainingSettings(), [30, 9000], context_tokens=2048).max_tokens == 2048
    assert fitted(TrainingSettings(max_tokens=5000), [30], context_tokens=512).max_tokens == 512


def test_what_the_user_set_stays() -> None:
    given = TrainingSettings(
        epochs=7, learning_rate=1e-3, tokens_per_step=99, alpha=3, max_tokens=64, max_steps=5
    )
    assert fitted(given, [30] * 500) == given


def test_the_page_may_import_settings_and_chat_without_torch() -> None:
    code = (
        "import sys, jobs.training.settings, jobs.generation.chat;"
        "print({'torch', 'transformers'} & set(sys.modules))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"
