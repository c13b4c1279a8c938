"""Adapters and their scorecards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from storage import adapters, evaluations
from storage.errors import StudioError


def add(id: str, **changed: Any) -> adapters.Adapter:
    """Remember an adapter with plausible values."""
    values: dict[str, Any] = {
        "name": "tone",
        "job_id": "job",
        "dataset_id": "dataset",
        "base_model_id": "starter",
        "rank": 8,
        "alpha": 16,
        "target_modules": ["q_proj", "v_proj"],
        "parameters": 3_000_000_000,
        "size_bytes": 6_000_000_000,
        "weights_sha256": "a" * 64,
        "base_weights_sha256": "b" * 64,
        "held_out_loss": float("nan"),
        "best_step": 20,
        "settings": {"epochs": 3},
    }
    return adapters.add(id=id, **{**values, **changed})


def test_an_adapter_reads_back_as_it_was_added(home: Path) -> None:
    adapter = add("bcdf")
    assert adapters.get("bcdf") == adapter
    assert adapter.size_bytes == 6_000_000_000 and adapter.held_out_loss is None
    assert adapter.target_modules == ["q_proj", "v_proj"]


def test_added_again_it_stays_as_it_is(home: Path) -> None:
    first = add("bcdf")
    assert add("bcdf", name="other") == first
    assert adapters.list_all() == [first]


def test_lists_are_newest_first_and_by_base_model(home: Path) -> None:
    first, second = add("bcdf"), add("ghjk", base_model_id="org/other")
    assert adapters.list_all() == [second, first]
    assert adapters.list_all(base_model_id="starter") == [first]


def test_an_unknown_adapter_is_explained(home: Path) -> None:
    with pytest.raises(StudioError, match="no adapter 'nonesuch'"):
        adapters.get("nonesuch")


def test_a_strength_is_kept_within_its_limits(home: Path) -> None:
    assert add("bcdf").strength == 1.0
    assert adapters.set_strength("bcdf", 0.7).strength == 0.7
    for wrong in (-0.1, 1.6, float("nan")):
        with pytest.raises(StudioError, match="strength is"):
            adapters.set_strength("bcdf", wrong)
    assert adapters.get("bcdf").strength == 0.7
    with pytest.raises(StudioError, match="no adapter"):
        adapters.set_strength("nonesuch", 1.0)


def test_removing_takes_the_scorecards_along(home: Path) -> None:
    add("bcdf")
    evaluations.add("bcdf", {"verdict": "better"})
    adapters.remove("bcdf")
    adapters.remove("bcdf")
    assert adapters.list_all() == [] and evaluations.latest("bcdf") is None
