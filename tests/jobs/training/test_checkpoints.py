"""What is drawn after a resumption is what would have been drawn; an adapter on the disk is one that PEFT loads."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel
from transformers import AutoModelForCausalLM

from jobs.generation.base import load_base
from jobs.training import checkpoints
from jobs.training.checkpoints import TrainingState
from jobs.training.model import adapter_parameters, with_adapters


def test_random_numbers_go_on_where_they_stood() -> None:
    cpu = torch.device("cpu")
    random.gauss(0, 1)  # which keeps a second number for the next call
    tensors, python_random = checkpoints.random_state(cpu)
    expected = (torch.rand(3), random.gauss(0, 1), random.random())
    state = TrainingState(tensors=tensors, python_random=json.loads(json.dumps(python_random)))
    checkpoints.set_random_state(state, cpu)
    assert torch.equal(torch.rand(3), expected[0]) and (random.gauss(0, 1), random.random()) == expected[1:]


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
