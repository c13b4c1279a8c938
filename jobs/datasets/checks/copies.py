"""Rows that say the same: exact copies, the same question answered differently, training rows that the test asks."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from jobs.datasets.checks.problems import Problem, counted, problem


def copies(table: Any) -> Any:
    """A mask of the rows that repeat another exactly; of each group a held-out row stays, else the first."""
    return _later(table, table["whole"])


def leaks(table: Any) -> Any:
    """A mask of the training rows whose question a held-out row asks too."""
    import numpy as np

    held_out = table["split"] == 1
    return ~held_out & np.isin(table["opening"], np.unique(table["opening"][held_out]))


def problems(table: Any, near: Collection[int]) -> Iterator[Problem]:
    """The findings about copies; `near` are rows that nearly repeat another, which is said elsewhere."""
    import numpy as np

    leaking, repeated = leaks(table), copies(table)
    if leaking.any():
        many = counted(int(leaking.sum()), "row for learning asks", "rows for learning ask")
        yield problem(
            "leak",
            "warning",
            table["row"][leaking],
            f"{many} what a row kept aside to test on asks: the test would be too easy.",
            "“Leave out” takes the copies for learning away; the rows kept aside stay.",
        )
    repeated &= ~leaking
    if repeated.any():
        yield problem(
            "duplicate",
            "warning",
            table["row"][repeated],
            f"{counted(int(repeated.sum()), 'row repeats', 'rows repeat')} another one exactly.",
            "They weigh more than the others. “Keep one” leaves one of each.",
        )
    rest = table[~(repeated | leaking | np.isin(table["row"], np.array(sorted(near), "i8")))]
    # Grouped by what is asked; a group counts where at least two different answers are in it.
    _, group = np.unique(rest["asked"], return_inverse=True)
    pairs = np.unique(np.stack([group.astype("u8"), rest["answer"]], axis=1), axis=0)
    groups, answers = np.unique(pairs[:, 0], return_counts=True)
    differing = np.isin(group, groups[answers > 1])
    if differing.any():
        yield problem(
            "same_prompt",
            "warning",
            rest["row"][differing],
            f"{int(differing.sum()):,} rows ask the same as another row and answer differently.",
            "That is fine where several answers are right. If not, delete the wrong ones in the table.",
        )


def _later(table: Any, keys: Any) -> Any:
    """A mask of all rows of each group with the same key but one."""
    import numpy as np

    order = np.lexsort((table["row"], 1 - table["split"], keys))
    again = np.zeros(len(table), bool)
    sorted_keys = keys[order]
    again[order[1:]] = sorted_keys[1:] == sorted_keys[:-1]
    return again
