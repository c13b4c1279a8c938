"""The lengths of a DoRA adapter (arXiv 2402.09353, section 4) on a base model that answers.

DoRA gives every row of W + scale · B A a learned length.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft.utils.integrations import dequantize_module_weight
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import Parameter

LENGTHS = ".lora_magnitude_vector"


@dataclass(frozen=True)
class Lengths:
    """One matrix's: as the model reads them now, of the base's rows, and as learned, (out_features,) each."""

    current: Parameter
    of_base: Tensor
    learned: Tensor


def load_lengths(model: Any, adapter_id: str, weights_path: Path) -> list[Lengths]:
    """Put an adapter's lengths on the `PeftModel` as exactly as they were saved; [] for one without any.

    In fp32, as in training: PEFT has rounded them to the base's number format, and in bf16 that moves a row
    by up to 0.4 %, which is more than a short training does.
    """
    found = []
    for name, learned in load_file(weights_path).items():
        path, is_length, _ = name.partition(LENGTHS)
        if not is_length:
            continue
        layer = model.get_submodule(path)
        vector = layer.lora_magnitude_vector[adapter_id]
        weight = dequantize_module_weight(layer.get_base_layer()).to(layer.lora_A[adapter_id].weight.dtype)
        # As PEFT calculates it in every pass, so that a strength of 0 is exactly the base.
        of_base = vector.get_weight_norm(weight, lora_weight=0.0, scaling=0.0).detach().float()
        vector.weight.data = learned.float().to(of_base.device)
        found.append(Lengths(vector.weight, of_base, vector.weight.data))
    return found


def set_strength(lengths: Iterable[Lengths], strength: float) -> None:
    """Go only part of the way from the base's lengths to the learned ones; 1 is all of it."""
    for matrix in lengths:
        whole = strength == 1.0
        matrix.current.data = matrix.learned if whole else matrix.of_base.lerp(matrix.learned, strength)
