from __future__ import annotations

from pathlib import Path

import pytest

from storage import adapters
from studio.tabs import explain


@pytest.mark.parametrize("rank", [1, 8, 24])
def test_every_part_follows_the_rank(rank: int) -> None:
    values, ways, hold, large = explain.drawings(rank)
    assert f"rank {rank} learns" in values
    assert f"{rank} wide" in ways
    assert f"Rank {rank} holds" in hold
    assert f"× {rank} and" in large


def test_before_the_first_run_the_own_patch_says_so(home: Path) -> None:
    assert "After your first training run" in explain.last_patch()


def test_a_patch_outlives_its_base_model(home: Path) -> None:
    adapters.add(
        id="c21e", name="tone", job_id="run1", dataset_id="d", base_model_id="no such model", rank=8, alpha=16.0,
        target_modules=["q_proj"], parameters=2_451_968, size_bytes=9_800_000, weights_sha256="",
        base_weights_sha256="", held_out_loss=None, best_step=None, settings={},
    )  # fmt: skip
    shown = explain.last_patch()
    assert "no such model" in shown
    assert "2.5 million" in shown
    assert "/compare?adapter=c21e" in shown
