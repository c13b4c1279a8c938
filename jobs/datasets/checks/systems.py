"""System prompts that differ only in case, spaces and punctuation: which of them is meant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from jobs.datasets.checks.problems import Problem, counted, problem


def wanted(table: Any) -> dict[int, int]:
    """For each system prompt that is a variant of a more common one, the one that is meant."""
    import numpy as np

    given = table[table["system"] != 0]
    exact, first, counts = np.unique(given["system"], return_index=True, return_counts=True)
    if len(exact) < 2:
        return {}
    same = given["system_alike"][first]
    # The most common of each group first; at a tie the one that comes first in the data.
    order = np.lexsort((first, -counts.astype("i8"), same))
    meant: dict[int, int] = {}
    best: dict[int, int] = {}
    for n in order.tolist():
        usual = best.setdefault(int(same[n]), int(exact[n]))
        if usual != int(exact[n]):
            meant[int(exact[n])] = usual
    return meant


def problems(table: Any, meant: Mapping[int, int]) -> Iterator[Problem]:
    """The finding about rows whose system prompt is a variant."""
    import numpy as np

    if not meant:
        return
    variants = np.isin(table["system"], np.array(sorted(meant), "u8"))
    yield problem(
        "system_spacing",
        "warning",
        table["row"][variants],
        f"{counted(int(variants.sum()), 'row has', 'rows have')} a system prompt that differs from a more common one "
        "only in case, spaces or punctuation.",
        "“Repair” writes the more common one everywhere, so that it means the same in every row.",
    )
