"""The rows as a Hugging Face dataset hold exactly what was imported."""

from __future__ import annotations

import json
from pathlib import Path

from jobs.datasets.arrow import load_split
from jobs.datasets.importing import add_pasted
from jobs.datasets.rows import load_rows


def test_a_split_holds_its_rows_and_dates_stay_text(home: Path) -> None:
    lines = (json.dumps({"prompt": f"Day {n}?", "response": f"2024-01-{n:02}"}) for n in range(1, 31))
    dataset_id = add_pasted("\n".join(lines)).id
    for split in ("train", "held_out"):
        assert load_split(dataset_id, split).to_list() == load_rows(dataset_id, split)


def test_an_empty_split_keeps_its_columns(home: Path) -> None:
    dataset_id = add_pasted('{"prompt": "Same", "response": "a"}\n{"prompt": "Same", "response": "b"}').id
    held_out = load_split(dataset_id, "held_out")
    assert (len(held_out), held_out.column_names) == (0, ["row", "messages", "split"])
