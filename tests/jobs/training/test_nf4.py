"""Weights in 4 bits come back nearly as they were, and everything computes with what comes back."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from jobs.training.model import adapter_parameters
from jobs.training.nf4 import BLOCK_VALUES, LEVELS, ROWS_AT_ONCE, PackedLinear, levels, pack
from jobs.training.packing import pack_of
from tests.jobs.training.lean_cases import (
    CPU,
    adapted,
    assert_all_near,
    assert_near,
    base_of,
    lean_of,
    learned,
    texts,
    truth,
)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, ROWS_AT_ONCE + 3])
def test_normal_values_come_back_within_a_tenth(rows: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    weight = (0.02 * torch.randn(rows, 128)).to(dtype)
    packed = pack(weight)
    back = packed.unpacked(dtype)
    assert back.dtype == dtype and back.shape == weight.shape and packed.outputs == rows
    assert float((back - weight).float().norm() / weight.float().norm()) < 0.1
    # 4 bits a value and 16 bits a block.
    assert packed.codes.numel() * 2 == weight.numel() == packed.scales.numel() * BLOCK_VALUES
    assert (packed.codes.element_size(), packed.scales.element_size()) == (1, 2)


def test_the_levels_times_the_blocks_largest_come_back_exactly() -> None:
    torch.manual_seed(0)
    scales = torch.tensor([[0.25, 3.0], [2**-9, 1.5]])
    order = torch.stack([torch.randperm(BLOCK_VALUES) % 16 for _ in range(4)]).view(2, 2, -1)
    weight = (torch.tensor(LEVELS)[order] * scales[:, :, None]).flatten(1)
    assert torch.equal(pack(weight).unpacked(torch.float32), weight)
    assert torch.equal(pack(torch.zeros(2, 64)).unpacked(torch.float32), torch.zeros(2, 64))


def test_every_value_comes_back_as_its_nearest_level() -> None:
    torch.manual_seed(0)
    weight = torch.randn(8, 192)
    packed = pack(weight)
    table = levels(CPU) * packed.scales.float().unflatten(1, (-1, 1))[..., None]
    blocks = weight.view(8, -1, BLOCK_VALUES)
    nearest = (blocks[..., None] - table).abs().argmin(3)
    expected = torch.gather(table.expand(-1, -1, BLOCK_VALUES, -1), 3, nearest[..., None])
    assert torch.equal(packed.unpacked(torch.float32), expected.view(8, 192))
    assert levels(CPU) is levels(CPU)


def test_unpacking_into_rows_that_lie_apart_writes_nothing_else() -> None:
    weight = torch.randn(5, 64)
    packed, whole = pack(weight), torch.full((7, 80), 9.0)
    packed.unpack_into(whole[1:6, :64])
    assert torch.equal(whole[1:6, :64], packed.unpacked(torch.float32))
    whole[1:6, :64] = 9.0
    assert (whole == 9.0).all()


@pytest.mark.parametrize("has_bias", [False, True])
def test_a_packed_layer_computes_the_unpacked_product(has_bias: bool) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(64, 24, bias=has_bias).requires_grad_(False)
    packed = pack(linear.weight)
    layer = PackedLinear(packed, linear.bias, torch.float32)
    linear.weight.copy_(packed.unpacked(torch.float32))
    values = torch.randn(2, 5, 64, requires_grad=True)
    own, true = layer(values), linear(values)
    torch.testing.assert_close(own, true)
    d_own, d_true = (torch.autograd.grad(out.square().sum(), values)[0] for out in (own, true))
    torch.testing.assert_close(d_own, d_true)
    assert (layer.in_features, layer.out_features, layer.weight.dtype) == (64, 24, torch.float32)


@pytest.mark.parametrize("activations", ["keep", "full"])
@pytest.mark.parametrize("kind", ["llama with biases", "qwen3"])
def test_the_fast_path_over_packed_weights_computes_what_the_model_does(kind: str, activations: str) -> None:
    peft, examples = (
        adapted(base_of(kind), {"layers_to_transform": [1, 2], "target_modules": ["q_proj", "down_proj"]}),
        texts(),
    )
    exact = truth(peft, examples)[0].sum()
    engine = lean_of(peft, in_4_bits=True, activations=activations)
    layers = [module for module in peft.modules() if isinstance(module, PackedLinear)]
    assert len(layers) == 7 * 3
    # From here on the model computes with the packed weights as well.
    losses, gradient = truth(peft, examples)
    assert float((losses.sum() - exact).abs() / exact) > 5e-5
    pack_ = pack_of(examples, range(8), "cpu")
    own_loss, own = learned(engine, pack_)
    assert_near(own_loss, losses.sum())
    assert_all_near(own, gradient)
    engine.weights.master += 0.05
    engine.refresh()
    for name, value in engine.weights.masters[0].items():
        adapter_parameters(peft)[name].data.copy_(value)
    assert_near(engine.losses(pack_)[0], truth(peft, examples)[0].sum())


def test_packed_weights_take_the_place_of_one_layers_matrix() -> None:
    engine = lean_of(adapted(base_of()), in_4_bits=True)
    assert [len(linear._matrix) for linear in engine.model.linears] == [1] * 4
