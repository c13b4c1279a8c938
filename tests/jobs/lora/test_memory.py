"""Memory is counted from the parts that a training really allocates, and the fastest way that fits is chosen."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from peft import LoraConfig, get_peft_model

from jobs.base_models import shapes
from jobs.base_models.shapes import ModelShape
from jobs.lora import memory, savings, targets
from jobs.lora.memory import InputRanks, Policy
from storage.errors import StudioError
from tests.jobs.architectures import config_of, model_of

SMALL = ModelShape("llama", 576, 30, 9, 3, 64, 1536, 49_152, tied=True)
LARGE = ModelShape("llama", 4096, 32, 32, 8, 128, 14_336, 128_256, tied=False)
SMALL_VALUES, LARGE_VALUES = shapes.parameters(SMALL), shapes.parameters(LARGE)
GIB = 1 << 30


def choose(shape: ModelShape, memory_gib: float, **changes: object) -> Policy:
    values, trainable = shapes.parameters(shape), 40_000_000 if shape is LARGE else 4_900_000
    known = {"memory_bytes": int(memory_gib * GIB), "longest_example": 750, **changes}
    return memory.choose_policy(shape, values, trainable, **known)  # type: ignore[arg-type]


def test_counts_are_those_of_a_real_training_step() -> None:
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

    trainable = savings.trainable(chosen, 4)
    counted = memory.peak(shape, shapes.parameters(shape), trainable, Policy("plain", 8), "fp32")
    # The exact adapter, which the optimiser moves, stands beside the copy in the model.
    assert counted.weights == sum(value.nbytes for value in model.parameters()) + 4 * trainable
    assert counted.gradients == sum(value.grad.nbytes for value in trained if value.grad is not None)
    moments = [state[name] for state in optimizer.state.values() for name in ("exp_avg", "exp_avg_sq")]
    assert counted.optimizer == sum(moment.nbytes for moment in moments)


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_training_everything_takes_sixteen_bytes_a_value(precision: str) -> None:
    full = memory.full_memory(SMALL, 1000, precision=precision)
    assert full.weights + full.gradients + full.optimizer == 16_000


def test_what_a_layer_keeps_is_counted_buffer_by_buffer() -> None:
    hidden, inner, query, key, ranks = 576, 1536, 576, 192, InputRanks(48, 16, 32, 16)
    one = {
        name: memory.activation_bytes(SMALL, 1, 2, name, ranks, layers=1)
        for name in ("keep", "selective", "full")
    }
    statistics = 4 * (9 + 2)
    always = hidden + (query + 2 * key) + (query + 16) + hidden + 2 * inner
    assert one["selective"] == 2 * always + statistics
    assert one["keep"] == one["selective"] + 2 * ((hidden + 48) + (hidden + 32) + (inner + 16))
    assert one["full"] == 2 * hidden


def test_norms_on_queries_and_keys_keep_both_sides_of_them() -> None:
    normed = dataclasses.replace(SMALL, architecture="qwen3")
    more = memory.activation_bytes(normed, 1, 2, layers=1) - memory.activation_bytes(SMALL, 1, 2, layers=1)
    assert more == 2 * (576 + 192) + 4 * (9 + 3)


def test_activations_grow_with_tokens_and_with_layers_above_the_lowest_adapter() -> None:
    assert memory.activation_bytes(SMALL, 200, 2) == 2 * memory.activation_bytes(SMALL, 100, 2)
    assert memory.activation_bytes(SMALL, 100, 2, layers=15) == memory.activation_bytes(SMALL, 100, 2) / 2


def test_a_layer_that_is_computed_again_needs_what_keeping_it_needs() -> None:
    kept = memory.activation_bytes(LARGE, 4096, 2, "keep", layers=1)
    least = memory.activation_bytes(LARGE, 4096, 2, "full", layers=1)
    more = memory.workspace_bytes(LARGE, 4096, 2, "full") - memory.workspace_bytes(LARGE, 4096, 2, "keep")
    loss = 2048 * 128_256 * (2 + 4)
    backward = 2 * 4096 * (2 * 4096 + 3 * 14_336 + 4096 + 2 * 1024)
    assert more == max(loss, backward + kept - least) - max(loss, backward)


@pytest.mark.parametrize(
    ("shape", "trainable", "activations", "tokens", "measured_gib"),
    [
        (SMALL, 4_900_000, "keep", 16_384, 9.2),
        (LARGE, 42_000_000, "keep", 4096, 34.8),
        (LARGE, 42_000_000, "keep", 8192, 53.9),
        (LARGE, 42_000_000, "plain", 4096, 42.6),
    ],
)
def test_what_was_measured_on_a_gpu_is_foreseen_within_a_tenth(
    shape: ModelShape, trainable: int, activations: str, tokens: int, measured_gib: float
) -> None:
    # An H100's allocated memory in rank 16 on all linear layers: a CUDA context is not in it.
    policy, ranks = Policy(activations, tokens), InputRanks(48, 16, 32, 16)
    made = memory.peak(shape, shapes.parameters(shape), trainable, policy, ranks=ranks)
    assert (made.total - made.runtime) / GIB == pytest.approx(measured_gib, rel=0.1)


@pytest.mark.parametrize(
    ("shape", "memory_gib", "activations", "nf4"),
    [
        (SMALL, 80, "keep", False),
        (LARGE, 80, "keep", False),
        (LARGE, 35, "selective", False),
        (LARGE, 20, "full", False),
        (LARGE, 16, "full", True),
        (LARGE, 8, "full", True),
    ],
)
def test_the_fastest_way_that_fits_is_chosen(
    shape: ModelShape, memory_gib: float, activations: str, nf4: bool
) -> None:
    policy = choose(shape, memory_gib, may_use_nf4=True)
    assert (policy.activations, policy.nf4) == (activations, nf4)


@pytest.mark.parametrize("memory_gib", [8, 9, 12, 17, 20, 30, 40, 80])
def test_what_is_chosen_fits(memory_gib: float) -> None:
    policy = choose(LARGE, memory_gib, may_use_nf4=True)
    assert memory.peak(LARGE, LARGE_VALUES, 40_000_000, policy).total <= 0.95 * memory_gib * GIB
    assert policy.pack_tokens >= 750
    assert str(policy.pack_tokens) in policy.words[0].replace(",", "")


def test_more_memory_is_never_slower() -> None:
    slowness = [choose(LARGE, gib).slowness for gib in range(20, 90, 3)]
    assert slowness == sorted(slowness, reverse=True)
    assert len(set(slowness)) > 4


def test_packs_are_no_longer_than_pays_or_than_a_step_and_never_shorter_than_an_example() -> None:
    assert choose(SMALL, 80).pack_tokens == 16_384
    assert choose(LARGE, 80).pack_tokens <= 8192
    assert choose(SMALL, 80, device="cpu", precision="fp32").pack_tokens == 2048
    assert choose(SMALL, 80, step_tokens=1000).pack_tokens == 1000
    assert choose(SMALL, 80, step_tokens=1000, longest_example=5000).pack_tokens == 5000


def test_nf4_is_taken_only_where_it_is_allowed() -> None:
    with pytest.raises(StudioError, match=r"needs at least \d+\.\d GB of memory, and 12\.9 GB are free"):
        choose(LARGE, 12)
    assert choose(LARGE, 80, precision="nf4").nf4


def test_where_nothing_fits_a_sentence_says_how_much_would() -> None:
    with pytest.raises(StudioError, match="max_tokens") as caught:
        choose(LARGE, 4, may_use_nf4=True)
    needed = float(caught.value.message.split("at least ")[1].split()[0])
    assert choose(LARGE, 1.01 * needed * 1e9 / GIB, may_use_nf4=True).nf4
