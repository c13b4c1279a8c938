"""What a choice means on a model is counted as the adapters are made, and shown with its numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.base_models import catalogue
from jobs.lora import account, savings
from jobs.lora.account import Choice
from jobs.lora.memory import InputRanks, Policy
from storage.errors import StudioError

USUAL = Policy("keep", 512)


def test_one_adapter_is_that_of_the_calculator(home: Path) -> None:
    model = catalogue.find(catalogue.STARTER_ID)
    made = account.adapters(model, Choice([8]))
    assert made.trainable == savings.savings(model, 8).lora_parameters
    assert made.ranks == InputRanks(qkv=24, out=8, gate_up=16, down=8)
    assert made.layers == 30


def test_adapters_side_by_side_are_all_in_memory(home: Path) -> None:
    model = catalogue.find(catalogue.STARTER_ID)
    one, two = (account.adapters(model, Choice([rank])) for rank in (4, 16))
    both = account.adapters(model, Choice([4, 16]))
    assert both.trainable == one.trainable + two.trainable
    assert both.ranks == InputRanks(qkv=60, out=20, gate_up=40, down=20)


def test_modules_layers_and_their_own_ranks_count(home: Path) -> None:
    model = catalogue.find(catalogue.STARTER_ID)
    made = account.adapters(model, Choice([8], "query_value", "20-29", {"q_proj": 2}))
    assert made.ranks == InputRanks(qkv=10)
    assert made.layers == 10
    assert made.trainable == 10 * (2 * (576 + 576) + 8 * (576 + 192))


def test_lora_needs_less_and_nf4_least(home: Path) -> None:
    model = catalogue.find("meta-llama/Llama-3.1-8B-Instruct")
    lora = [account.both(model, Choice([16]), USUAL, precision)[1] for precision in ("fp32", "bf16", "nf4")]
    totals = [memory.total for memory in lora]
    assert totals == sorted(totals, reverse=True)
    assert totals[0] < account.both(model, Choice([16]), USUAL, "fp32")[0].total
    # Llama 3.1 8B in nf4: about 7 billion values at half a byte, 1.05 billion of embeddings at two.
    assert 5e9 < lora[2].weights < 6.5e9


@pytest.mark.parametrize("policy", [USUAL, Policy("full", 512), Policy("keep", 512, nf4=True)])
def test_formula_shows_the_numbers_of_both(home: Path, policy: Policy) -> None:
    model = catalogue.find(catalogue.STARTER_ID)
    full, lora = account.both(model, Choice([8]), policy, "bf16")
    text = account.formula(model, Choice([8]), policy, "bf16")
    counted = (full.total, lora.total, full.optimizer, lora.weights, lora.activations, lora.workspace)
    for value in (*counted, 134_515_008, 2_442_240):
        assert f"{value:,}" in text


def test_model_of_unknown_shape_asks_to_be_fetched(home: Path) -> None:
    with pytest.raises(StudioError, match="Fetch it first"):
        account.both(catalogue.add_custom("someone/some-model"), Choice([8]), USUAL, "bf16")
