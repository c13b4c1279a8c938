"""A state is whole or not there, belongs to one run, and comes back as it was saved."""

from __future__ import annotations

import dataclasses
import json
import math
import random
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel
from transformers import AutoModelForCausalLM

from jobs.generation.base import load_base
from jobs.training import checkpoints
from jobs.training.checkpoints import Best, States, TrainingState
from jobs.training.examples import Example
from jobs.training.model import adapter_parameters, with_adapters
from storage.errors import StudioError

CPU = torch.device("cpu")


def state_of(steps: int, learned: int = 0) -> TrainingState:
    tensors, python_random = checkpoints.random_state(CPU)
    return TrainingState(
        steps=steps,
        learned=[[3, i] for i in range(learned)],
        tokens=1000 * steps,
        seconds=0.1 * steps,
        broken_steps=[0, 2],
        last_losses=[0.1 + 0.2, math.nan],
        first_loss=2.0 / 3,
        best=[Best(3, 1 / 3), Best()],
        held_out=[(3, [1 / 3, math.inf])],
        tensors={**tensors, "master": torch.arange(7) / 3, "losses": torch.tensor([1.5, math.nan])},
        python_random=python_random,
    )


def test_a_state_comes_back_exactly_and_with_the_same_random_numbers(tmp_path: Path) -> None:
    torch.manual_seed(5)
    random.seed(5)
    saved = state_of(4, learned=2)
    expected = (torch.rand(3), random.random())
    checkpoints.save_state(tmp_path, saved, "run")
    loaded = checkpoints.newest_state(tmp_path, "run")
    assert loaded is not None
    for entry in dataclasses.fields(saved):
        if entry.name not in ("tensors", "last_losses"):
            assert getattr(loaded, entry.name) == getattr(saved, entry.name), entry.name
    assert loaded.last_losses[0] == 0.1 + 0.2 and math.isnan(loaded.last_losses[1] or 0.0)
    assert loaded.tensors.keys() == saved.tensors.keys()
    for name, value in saved.tensors.items():
        assert torch.equal(loaded.tensors[name].nan_to_num(), value.nan_to_num()), name
    checkpoints.set_random_state(loaded, CPU)
    assert torch.equal(torch.rand(3), expected[0]) and random.random() == expected[1]


def test_only_the_newest_two_stay_and_the_newest_is_taken(tmp_path: Path) -> None:
    for steps, learned in ((9, 0), (10, 0), (10, 3), (100, 0)):
        checkpoints.save_state(tmp_path, state_of(steps, learned), "run")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "step-00000010-000003",
        "step-00000100-000000",
    ]
    newest = checkpoints.newest_state(tmp_path, "run")
    assert newest and newest.steps == 100


@pytest.mark.parametrize("name", [checkpoints.STATE_FILE, checkpoints.TENSORS_FILE])
@pytest.mark.parametrize("content", [b"", b"half", None])
def test_a_damaged_state_gives_way_to_the_one_before_it(
    tmp_path: Path, name: str, content: bytes | None
) -> None:
    for steps in (1, 2):
        checkpoints.save_state(tmp_path, state_of(steps), "run")
    newest = max(tmp_path.iterdir()) / name
    newest.unlink() if content is None else newest.write_bytes(content)
    state = checkpoints.newest_state(tmp_path, "run")
    assert state and state.steps == 1
    # Its name is free again.
    checkpoints.save_state(tmp_path, state_of(2), "run")
    state = checkpoints.newest_state(tmp_path, "run")
    assert state and state.steps == 2


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints.save_state(tmp_path, state_of(1), "run")
    broken = state_of(2)
    broken.held_out = [(2, [object()])]  # type: ignore[list-item]
    with pytest.raises(TypeError):
        checkpoints.save_state(tmp_path, broken, "run")
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001-000000"]


def test_another_runs_state_is_refused_in_words(tmp_path: Path) -> None:
    checkpoints.save_state(tmp_path, state_of(3), "run")
    with pytest.raises(StudioError, match="step 3 is of another run"):
        checkpoints.newest_state(tmp_path, "other")
    assert list(tmp_path.iterdir())


def test_the_fingerprint_tells_runs_apart() -> None:
    def of(rate: float = 1.0, tokens: list[int] | None = None, learned: bool = True) -> str:
        return checkpoints.fingerprint({"rate": rate}, [Example(1, tokens or [1, 2], [False, learned])], [])

    assert of() == of()
    assert len({of(), of(2.0), of(tokens=[1, 3]), of(learned=False)}) == 4
    row = Example(1, [1], [True])
    assert checkpoints.fingerprint({}, [row], []) != checkpoints.fingerprint({}, [], [row])


def test_states_are_saved_only_as_often_as_it_pays(tmp_path: Path) -> None:
    made: list[int] = []

    def make() -> TrainingState:
        made.append(len(made) + 1)
        return state_of(len(made))

    # So large that it takes two seconds at least: not before a hundred have passed.
    large = States(tmp_path / "a", "run", int(2 * checkpoints.DISK_BYTES_PER_SECOND))
    large.save(make)
    assert not made
    small = States(tmp_path / "b", "run", 0)
    small.save(make, after_seconds=60)
    assert not made
    small.save(make)
    assert made == [1]
    small.save(make)  # what it cost is known now
    assert made == [1]
    small.save_now(make)
    assert made == [1, 2]
    States(None, "run", 0).save_now(make)
    assert made == [1, 2] and States(None, "run", 0).newest() is None


def test_a_later_attempt_takes_over_the_newest_earlier_states(tmp_path: Path) -> None:
    first, second, third, fourth = (tmp_path / name for name in "abcd")
    checkpoints.save_state(first, state_of(5), "run")
    for steps in (7, 8):
        checkpoints.save_state(second, state_of(steps), "run")
    checkpoints.adopt_states(fourth, [third, second, first])
    state = checkpoints.newest_state(fourth, "run")
    assert state and state.steps == 8 and len(list(fourth.iterdir())) == 2
    checkpoints.save_state(fourth, state_of(9), "run")
    checkpoints.adopt_states(fourth, [third, second, first])
    state = checkpoints.newest_state(fourth, "run")
    assert state and state.steps == 9
    assert len(list(second.iterdir())) == 2


@pytest.mark.parametrize("dora", [False, True])
def test_a_saved_adapter_loads_in_peft_and_is_the_same_file_each_time(
    tiny_model: Path, tmp_path: Path, dora: bool
) -> None:
    config = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=["v_proj", "q_proj"], use_dora=dora)
    model = with_adapters(load_base(tiny_model, "cpu", "fp32"), [config])
    for parameter in adapter_parameters(model).values():
        parameter.data += 0.1 * torch.randn_like(parameter)
    for name in "ab":
        checkpoints.save_adapter(tmp_path / name, model.peft_config["default"], adapter_parameters(model))
    for file in (checkpoints.CONFIG_FILE, checkpoints.WEIGHTS_FILE):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    loaded = PeftModel.from_pretrained(base, tmp_path / "a").eval()
    token_ids = torch.arange(6)[None]
    torch.testing.assert_close(loaded(input_ids=token_ids).logits, model.eval()(input_ids=token_ids).logits)
    assert json.loads((tmp_path / "a" / checkpoints.CONFIG_FILE).read_text())["inference_mode"] is True
