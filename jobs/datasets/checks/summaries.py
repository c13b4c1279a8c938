"""What a set consists of, in numbers a page can draw: kinds, languages, openings, lengths, turns, system prompts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jobs.datasets.checks.kinds import kinds_of, shown
from jobs.datasets.checks.languages import name_of
from jobs.datasets.checks.shapes import SHAPE

_MOST = 10
_EDGES = (0, 50, 100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600)
_SHAPES = (
    ("JSON", SHAPE["json_object"] | SHAPE["json_list"]),
    ("a number", SHAPE["number"]),
    ("code", SHAPE["code_block"]),
    ("a list", SHAPE["bullets"]),
    ("one sentence", SHAPE["one_sentence"]),
)


def summary(table: Any, names: Mapping[int, str], left_out: int) -> dict[str, Any]:
    """The summary as it is stored and shown; counts are rows, lists are sorted by count."""
    import numpy as np

    held_out = int((table["split"] == 1).sum())
    kinds_by, kinds, sizes = kinds_of(table)
    return {
        "rows": len(table),
        "train_rows": len(table) - held_out,
        "held_out_rows": held_out,
        "left_out_rows": left_out,
        "kinds": {
            "by": kinds_by,
            "groups": _named(kinds, sizes, names, _MOST),
            "answers": _shapes(table),
            "multi_turn": int((table["turns"] > 1).sum()),
            "with_system": int((table["system"] != 0).sum()),
        },
        "languages": {"prompts": _languages(table, "prompt"), "answers": _languages(table, "answer")},
        "openings": _common(table["prompt_words"], names),
        "answer_openings": _common(table["answer_words"], names),
        "systems": _common(table["system"], names, least=1),
        "characters": {
            "edges": list(_EDGES),
            "prompts": _histogram(table["prompt_chars"]),
            "answers": _histogram(table["answer_chars"]),
            "median_prompt": float(np.median(table["prompt_chars"])) if len(table) else 0.0,
            "median_answer": float(np.median(table["answer_chars"])) if len(table) else 0.0,
            "longest_answer": int(table["answer_chars"].max()) if len(table) else 0,
        },
        "turns": {
            str(int(n)): int(c) for n, c in zip(*np.unique(table["turns"], return_counts=True), strict=True)
        },
    }


def _histogram(lengths: Any) -> list[int]:
    """Rows from each edge up to the next; the last has no upper edge."""
    import numpy as np

    places = np.searchsorted(_EDGES, lengths, side="right") - 1
    return np.bincount(places, minlength=len(_EDGES)).tolist()  # type: ignore[no-any-return]


def _languages(table: Any, side: str) -> dict[str, int]:
    import numpy as np

    codes, counts = np.unique(table[f"{side}_language"], return_counts=True)
    found = {name_of(code.decode()): int(n) for code, n in zip(codes, counts, strict=True) if code}
    sure = dict(sorted(found.items(), key=lambda item: -item[1])[:_MOST])
    unsure = len(table) - sum(sure.values())
    return {**sure, "not sure": unsure} if unsure else sure


def _shapes(table: Any) -> dict[str, int]:
    left, found = table["shape"], {}
    for words, bits in _SHAPES:
        has = (left & bits) != 0
        if has.any():
            found[words] = int(has.sum())
        left = left[~has]
    return {**found, "text": len(left)} if len(left) else found


def _common(column: Any, names: Mapping[int, str], least: int = 2) -> list[list[Any]]:
    import numpy as np

    values, counts = np.unique(column, return_counts=True)
    real = (values != 0) & (counts >= least)
    return _named(values[real], counts[real], names, _MOST)


def _named(values: Any, counts: Any, names: Mapping[int, str], most: int) -> list[list[Any]]:
    import numpy as np

    order = np.argsort(-counts.astype("i8"), kind="stable")
    listed = [(names.get(int(values[n])), int(counts[n])) for n in order[: 3 * most]]
    return [[shown(text, 120), count] for text, count in listed if text][:most]
