"""The lengths that DoRA learned are those that answer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from jobs.generation.dora import load_lengths, set_strength
from jobs.generation.engine import WEIGHTS_FILE
from tests.jobs.generation.test_engine import save_adapter


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    return save_adapter(tiny_model, tmp_path / "dora", 1, 0.3, use_dora=True)


def in_bf16(tiny_model: Path, folder: Path) -> PeftModel:
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.bfloat16)
    return PeftModel.from_pretrained(base, folder, adapter_name="a", autocast_adapter_dtype=False).eval()


def test_a_base_in_bf16_reads_lengths_in_fp32(tiny_model: Path, folder: Path) -> None:
    model = in_bf16(tiny_model, folder)
    lengths = load_lengths(model, "a", folder / WEIGHTS_FILE)
    saved = {name: value for name, value in load_file(folder / WEIGHTS_FILE).items() if "magnitude" in name}
    assert len(lengths) == len(saved) == 6  # three modules in each of two layers
    for name, value in saved.items():
        vector = model.get_submodule(name).get_submodule("a").weight
        assert vector.dtype == torch.float32 and torch.equal(vector, value)


def test_lengths_of_strength_zero_are_those_of_the_bases_rows(tiny_model: Path, folder: Path) -> None:
    model = in_bf16(tiny_model, folder)
    lengths = load_lengths(model, "a", folder / WEIGHTS_FILE)
    layer = model.base_model.model.model.layers[0].self_attn.q_proj
    rows = layer.get_base_layer().weight.float().norm(dim=1)
    learned = layer.lora_magnitude_vector["a"].weight.clone()
    for strength, wanted in ((0.0, rows), (0.5, (rows + learned) / 2)):
        set_strength(lengths, strength)
        torch.testing.assert_close(layer.lora_magnitude_vector["a"].weight, wanted, rtol=5e-3, atol=0)
    set_strength(lengths, 1.0)
    assert torch.equal(layer.lora_magnitude_vector["a"].weight, learned)


def test_an_adapter_without_lengths_has_none(tiny_model: Path, tmp_path: Path) -> None:
    folder = save_adapter(tiny_model, tmp_path / "plain", 1, 0.3)
    assert load_lengths(in_bf16(tiny_model, folder), "a", folder / WEIGHTS_FILE) == []
