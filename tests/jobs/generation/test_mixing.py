"""A layer that several adapters change beside each other."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from jobs.generation.adapter_files import Change
from jobs.generation.mixing import Mix, MixedLinear, Place


def test_rows_that_nobody_laid_out_are_refused_before_they_take_anothers_share() -> None:
    mix = Mix(shares=torch.tensor([[1.0], [0.5]]))
    layer = MixedLinear(nn.Linear(3, 2), mix)
    layer.put("a", Change(torch.ones(1, 3), torch.ones(2, 1), 1.0, None))
    layer.stack([Place("a")])
    assert layer(torch.ones(2, 4, 3)).shape == (2, 4, 2)
    with pytest.raises(RuntimeError, match="1 rows are read where 2 were laid out"):
        layer(torch.ones(1, 4, 3))


def test_a_layer_that_an_adapter_leaves_alone_takes_the_others_shares_only() -> None:
    mix, base = Mix(shares=torch.tensor([[1.0, 0.0], [0.5, 0.5]])), nn.Linear(3, 2)
    layer = MixedLinear(base, mix)
    layer.put("a", Change(torch.ones(1, 3), torch.ones(2, 1), 1.0, None))
    layer.stack([Place("elsewhere"), Place("a")])
    x = torch.ones(2, 4, 3)
    torch.testing.assert_close(layer(x) - base(x), torch.tensor([0.0, 1.5])[:, None, None].expand(2, 4, 2))
