"""The sets that rules are mined from in these tests: the studio's samples, and small ones that are invented."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from jobs.datasets import samples

Sample = tuple[str, str]
SMALL = Path(__file__).parent / "small_sets.json"
SAMPLES = ("format", "tone", "behaviour")


@cache
def all_sets() -> dict[str, list[Sample]]:
    """Every set by its name."""
    small = json.loads(SMALL.read_text("utf-8"))
    found = {name: [(prompt, answer) for prompt, answer in rows] for name, rows in small.items()}
    return found | {name: _sample(name) for name in SAMPLES}


def _sample(name: str) -> list[Sample]:
    lines = (Path(samples.__file__).parent / "samples" / f"{name}.jsonl").read_text("utf-8").splitlines()
    turns = [json.loads(line)["messages"] for line in lines]
    return [(row[-2]["content"], row[-1]["content"]) for row in turns]
