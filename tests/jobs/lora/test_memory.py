"""Memory is counted from the parts that a training really allocates."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model

from jobs.base_models import catalogue, shapes
from jobs.lora import memory, savings, targets
from storage.errors import StudioError
from tests.jobs.architectures import config_of, model_of


def test_lora_counts_are_those_of_a_real_training_step() -> None:
    config = config_of("llama")
    shape = shapes.from_config(config.to_dict())
    chosen = targets.choose(targets.matrices(shape), "auto")
    model = get_peft_model(
        model_of(config, "cpu"), LoraConfig(r=4, target_modules=targets.module_names(chosen))
    )
    trained = [value for value in model.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(trained)
    model(input_ids=torch.arange(8)[None], labels=torch.arange(8)[None]).loss.backward()
    optimizer.step()

    counted = memory.lora_memory(shape, shapes.parameters(shape), savings.trainable(chosen, 4), 8, "fp32")
    assert counted.weights == sum(value.nbytes for value in model.parameters())
    assert counted.gradients == sum(value.grad.nbytes for value in trained if value.grad is not None)
    moments = [state[name] for state in optimizer.state.values() for name in ("exp_avg", "exp_avg_sq")]
    assert counted.optimizer == sum(moment.nbytes for moment in moments)


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_training_everything_takes_sixteen_bytes_a_value(precision: str) -> None:
    shape = shapes.from_config(config_of("llama").to_dict())
    full = memory.full_memory(shape, 1000, precision=precision)
    assert full.weights + full.gradients + full.optimizer == 16_000


def test_lora_needs_less_and_nf4_least(home: Path) -> None:
    model = catalogue.find("meta-llama/Llama-3.1-8B-Instruct")
    totals = [memory.both(model, 16, precision=precision)[1].total for precision in ("fp32", "bf16", "nf4")]
    assert totals == sorted(totals, reverse=True)
    assert totals[0] < memory.both(model, 16)[0].total
    # Llama 3.1 8B in nf4: about 7 billion values at half a byte, 1.05 billion of embeddings at two.
    assert 5e9 < memory.both(model, 16, precision="nf4")[1].weights < 6.5e9


def test_activations_grow_with_the_tokens_of_a_pass() -> None:
    shape = shapes.from_config(config_of("llama").to_dict())
    small, large = (memory.activation_bytes(shape, tokens, 2) for tokens in (100, 200))
    assert large == 2 * small


def test_formula_shows_the_numbers_of_both(home: Path) -> None:
    model = catalogue.find(catalogue.STARTER_ID)
    full, lora = memory.both(model, 8, precision="bf16")
    text = memory.formula(model, 8, precision="bf16")
    for value in (full.total, lora.total, full.optimizer, lora.weights, 134_515_008, 2_442_240):
        assert f"{value:,}" in text


def test_model_of_unknown_shape_asks_to_be_fetched(home: Path) -> None:
    with pytest.raises(StudioError, match="Fetch it first"):
        memory.both(catalogue.add_custom("someone/some-model"), 8)
