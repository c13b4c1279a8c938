"""How many values LoRA trains in place of all: per matrix, per layer, in a model, for any two numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.base_models import catalogue
from jobs.lora import targets
from jobs.lora.targets import Matrix
from jobs.training.settings import check_rank
from storage.errors import StudioError

# Adapters are trained and saved in fp32, whatever the base model's format.
BYTES_PER_VALUE = 4
SAME_RANK: Mapping[str, int] = {}


@dataclass(frozen=True)
class Savings:
    """What an adapter costs beside its model.

    `per_matrix` (one entry for each kind, all layers together) and `per_layer` hold `name`, `full_parameters`
    and `lora_parameters`; `note` says when the choice of modules means more than was asked for.
    """

    model_parameters: int
    lora_parameters: int
    adapter_bytes: int
    per_matrix: list[dict[str, Any]]
    per_layer: list[dict[str, Any]]
    note: str = ""

    @property
    def full_parameters(self) -> int:
        """What full fine-tuning would train: every value, with embeddings and norms."""
        return self.model_parameters

    @property
    def reduction(self) -> float:
        """How many times fewer values are trained."""
        return self.full_parameters / self.lora_parameters


def lora_parameters(out_features: int, in_features: int, rank: int, use_dora: bool = False) -> int:
    """The values of B (out_features, rank) and A (rank, in_features), which together stand in for W.

    DoRA has the length of each of W's rows besides (arXiv 2402.09353, section 4).
    """
    return rank * (out_features + in_features) + out_features * use_dora


def savings(
    model: catalogue.BaseModel,
    rank: int,
    target_modules: str | Iterable[str] = "auto",
    layers: str = "all",
    *,
    rank_pattern: Mapping[str, int] = SAME_RANK,
    use_dora: bool = False,
) -> Savings:
    """What an adapter of this rank on these modules of the model trains, and how large its file is.

    Raises StudioError for a rank, module or layer that the model does not have, or a model not yet known.
    """
    rank = check_rank(rank, model.shape)
    chosen = targets.choose(known_matrices(model), target_modules, layers)
    counts = counts_of(chosen, rank, rank_pattern, use_dora)
    if model.parameters is None:
        raise StudioError(f"The size of “{model.name}” is unknown until it is fetched.", "Fetch it first.")
    return Savings(
        model_parameters=model.parameters,
        lora_parameters=sum(counts),
        adapter_bytes=adapter_bytes(chosen, rank, rank_pattern, use_dora),
        per_matrix=_totals(chosen, counts, [matrix.name for matrix in chosen]),
        per_layer=_totals(chosen, counts, [f"layer {matrix.layer}" for matrix in chosen]),
        note=targets.note(chosen, target_modules),
    )


def known_matrices(model: catalogue.BaseModel) -> list[Matrix]:
    """The model's matrices.

    Raises StudioError when they are not known before it is fetched.
    """
    found = catalogue.matrices_of(model)
    if not found:
        raise StudioError(f"The layers of “{model.name}” are unknown until it is fetched.", "Fetch it first.")
    return found


def counts_of(
    chosen: Sequence[Matrix],
    rank: int,
    rank_pattern: Mapping[str, int] = SAME_RANK,
    use_dora: bool = False,
) -> list[int]:
    """The values that an adapter trains for each of these matrices.

    Raises StudioError for a rank of a module that is not chosen.
    """
    ranks = targets.ranks(chosen, rank, rank_pattern)
    return [
        lora_parameters(matrix.out_features, matrix.in_features, own, use_dora)
        for matrix, own in zip(chosen, ranks, strict=True)
    ]


def trainable(
    chosen: Sequence[Matrix],
    rank: int,
    rank_pattern: Mapping[str, int] = SAME_RANK,
    use_dora: bool = False,
) -> int:
    """The values that an adapter of this rank on these matrices trains."""
    return sum(counts_of(chosen, rank, rank_pattern, use_dora))


def adapter_bytes(
    chosen: Sequence[Matrix],
    rank: int,
    rank_pattern: Mapping[str, int] = SAME_RANK,
    use_dora: bool = False,
) -> int:
    """The size of adapter_model.safetensors: 8 bytes of length, a JSON header padded to 8, the values."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for matrix, own in zip(chosen, targets.ranks(chosen, rank, rank_pattern), strict=True):
        shapes = {
            "lora_A.weight": [own, matrix.in_features],
            "lora_B.weight": [matrix.out_features, own],
            **({"lora_magnitude_vector": [matrix.out_features]} if use_dora else {}),
        }
        for part, shape in shapes.items():
            end = offset + BYTES_PER_VALUE * math.prod(shape)
            name = f"base_model.model.{matrix.path}.{part}"
            header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, end]}
            offset = end
    length = len(json.dumps(header, separators=(",", ":")))
    return 8 + (length + 7) // 8 * 8 + offset


def free_form(rows: float, columns: float, rank: float) -> dict[str, Any]:
    """The counts for one matrix of any size, as `full_parameters`, `lora_parameters` and `reduction`.

    Raises StudioError for numbers that no matrix has.
    """
    rows, columns = _whole("rows", rows, 10**9), _whole("columns", columns, 10**9)
    rank = _whole("rank", rank, min(rows, columns))
    full, lora = rows * columns, lora_parameters(rows, columns, rank)
    return {"full_parameters": full, "lora_parameters": lora, "reduction": full / lora}


def _whole(name: str, value: Any, highest: int) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        number = 0
    if number != value or not 1 <= number <= highest:
        raise StudioError(f"{name} cannot be {value!r}.", f"Give a whole number from 1 to {highest:,}.")
    return number


def _totals(chosen: Sequence[Matrix], counts: Sequence[int], names: Sequence[str]) -> list[dict[str, Any]]:
    """The counts summed over matrices of the same name, in the order of their first appearance."""
    totals: dict[str, dict[str, Any]] = {}
    for name, matrix, count in zip(names, chosen, counts, strict=True):
        entry = totals.setdefault(name, {"name": name, "full_parameters": 0, "lora_parameters": 0})
        entry["full_parameters"] += matrix.parameters
        entry["lora_parameters"] += count
    return list(totals.values())
