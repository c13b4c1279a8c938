"""Every setting is checked, explained and fitted."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
from types import SimpleNamespace

import pytest

from jobs.training.settings import (
    TrainingSettings,
    Trial,
    as_text,
    check_rank,
    check_ranks,
    fitted,
    from_json,
    trials,
)
from storage.errors import StudioError


def test_nothing_given_is_a_good_choice() -> None:
    assert from_json({}) == TrainingSettings()
    assert from_json(TrainingSettings().as_json()) == TrainingSettings()


def test_every_setting_explains_itself() -> None:
    for entry in dataclasses.fields(TrainingSettings):
        assert set(entry.metadata) == {"label", "help", "unit", "minimum", "maximum", "choices", "empty"}
        assert entry.metadata["label"] and entry.metadata["help"] and entry.metadata["empty"]


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
        ({"use_dora": "perhaps"}, ["use_dora", "perhaps", "true or false"]),
        ({"use_rslora": 1}, ["use_rslora", "1", "true or false"]),
        ({"lora_plus_ratio": 0.5}, ["lora_plus_ratio", "0.5", "from 1"]),
        ({"rank_pattern": "q_proj=0"}, ["rank_pattern of q_proj", "0", "1,024"]),
        ({"rank_pattern": "q_proj=x"}, ["rank_pattern of q_proj", "x"]),
        ({"rank_pattern": "q_proj"}, ["rank_pattern of q_proj", "''"]),
        ({"rank_pattern": "q proj=4"}, ["rank_pattern", "q proj", "v_proj=16"]),
        ({"rank_pattern": "q_proj=4, q_proj=8"}, ["rank_pattern", "once"]),
        ({"rank_pattern": {"q_proj": True}}, ["rank_pattern of q_proj", "True"]),
        ({"rank_pattern": [4]}, ["rank_pattern", "[4]"]),
        ({"try_ranks": "2, four"}, ["try_ranks", "four", "1,024"]),
        ({"try_ranks": [2, 0]}, ["try_ranks", "0"]),
        ({"try_ranks": True}, ["try_ranks", "True"]),
        ({"try_ranks": list(range(1, 30))}, ["try_ranks", "29", "16"]),
        ({"try_ranks": "2, 4, 8, 16", "try_learning_rates": "1e-4,2e-4,3e-4,4e-4,5e-4"}, ["20", "16"]),
        ({"try_learning_rates": [1]}, ["try_learning_rates", "0.1"]),
        ({"start_from": "../secret"}, ["start_from", "../secret"]),
        ({"start_from": 3}, ["start_from", "3"]),
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


@pytest.mark.parametrize(
    ("name", "text", "value", "in_json"),
    [
        ("rank_pattern", "q_proj=4, v_proj=16", {"q_proj": 4, "v_proj": 16}, {"q_proj": 4, "v_proj": 16}),
        ("try_ranks", "2, 4, 8, 16", (2, 4, 8, 16), [2, 4, 8, 16]),
        ("try_learning_rates", "0.0001, 0.0005", (1e-4, 5e-4), [1e-4, 5e-4]),
        ("start_from", "c21e", "c21e", "c21e"),
        ("use_rslora", "yes", True, True),
        ("use_dora", "no", False, False),
        ("lora_plus_ratio", "16.0", 16.0, 16.0),
    ],
)
def test_each_kind_of_value_may_be_text_or_json_and_comes_back(
    name: str, text: str, value: object, in_json: object
) -> None:
    assert getattr(from_json({name: text}), name) == getattr(from_json({name: in_json}), name) == value
    as_json = from_json({name: text}).as_json()
    assert as_json[name] == in_json and as_text(value) == text
    assert from_json(json.loads(json.dumps(as_json))) == from_json({name: text})


def test_one_number_is_a_list_of_one_and_a_number_twice_is_tried_once() -> None:
    assert from_json({"try_ranks": 4}).try_ranks == from_json({"try_ranks": "4"}).try_ranks == (4,)
    assert from_json({"try_ranks": "8, 4, 8,"}).try_ranks == (8, 4)


def test_nothing_is_as_text_what_an_empty_field_says() -> None:
    assert [as_text(value) for value in (None, {}, ())] == ["", "", ""]


def test_ranks_to_try_and_of_single_modules_are_bounded_by_the_model_too() -> None:
    width = SimpleNamespace(hidden_size=64)
    assert check_ranks(from_json({"try_ranks": [2, 64], "rank_pattern": {"q_proj": 64}}), 8, width) == 8
    for values in ({"try_ranks": [2, 65]}, {"rank_pattern": {"q_proj": 65}}):
        with pytest.raises(StudioError, match="65"):
            check_ranks(from_json(values), 8, width)


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


def test_rslora_gets_the_scale_of_lora_at_rank_16_and_keeps_its_alpha() -> None:
    alphas = [fitted(TrainingSettings(use_rslora=True), [100], rank=rank).alpha for rank in (4, 16, 256)]
    assert alphas == [8, 8, 8] and 8 / math.sqrt(16) == 2


def test_with_lora_plus_the_two_rates_lie_around_the_usual_one() -> None:
    rate = fitted(TrainingSettings(lora_plus_ratio=16), [100], model_parameters=10**8).learning_rate
    assert math.sqrt(rate * (16 * rate)) == pytest.approx(5e-4)


def test_without_a_sweep_there_is_one_trial() -> None:
    assert trials(fitted(TrainingSettings(), [100], rank=8), 8) == [Trial(8, 2e-4, 16)]
    assert trials(fitted(TrainingSettings(alpha=3, learning_rate=1e-3), [100]), 8) == [Trial(8, 1e-3, 3)]


def test_each_trial_is_fitted_as_if_it_ran_alone() -> None:
    for rslora in (False, True):
        swept = TrainingSettings(try_ranks=(2, 64), try_learning_rates=(1e-4, 1e-3), use_rslora=rslora)
        alone = [
            trials(fitted(TrainingSettings(learning_rate=rate, use_rslora=rslora), [100], rank=rank), rank)
            for rank in (2, 64)
            for rate in (1e-4, 1e-3)
        ]
        assert [[trial] for trial in trials(fitted(swept, [100], rank=8), 8)] == alone


@pytest.mark.parametrize(
    "values", [{"start_from": "c21e"}, {"try_ranks": "2, 8"}, {"rank_pattern": "q_proj=2"}]
)
def test_alpha_stays_open_where_it_is_not_for_one_rank_to_say(values: dict) -> None:
    assert fitted(from_json(values), [100], rank=8).alpha is None
    assert fitted(from_json({**values, "alpha": 3}), [100], rank=8).alpha == 3


def test_all_ranks_of_a_sweep_learn_at_a_rate_that_suits_the_highest() -> None:
    settings = fitted(TrainingSettings(try_ranks=(8, 128)), [100], rank=8, model_parameters=10**8)
    assert [trial.learning_rate for trial in trials(settings, 8)] == [2e-4, 2e-4]


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
        "import sys, jobs.training.settings, jobs.training.warm_start, jobs.generation.chat;"
        "print({'torch', 'transformers'} & set(sys.modules))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"
