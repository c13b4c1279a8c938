"""Datasets are remembered, and kept while a job needs them."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage import datasets, jobs
from storage.errors import StudioError


def add(id: str) -> datasets.Dataset:
    """Remember a dataset with plausible values."""
    return datasets.add(
        id=id,
        name="tone",
        source_name="tone.csv",
        format="csv",
        columns=["question", "answer"],
        rows=100,
        train_rows=90,
        held_out_rows=10,
        problems=[{"code": "duplicate", "severity": "warning", "rows": [3, 7], "message": "m", "fix": "f"}],
        sha256="a" * 64,
    )


def test_a_dataset_reads_back_as_it_was_added(home: Path) -> None:
    dataset = add("bcdf")
    assert datasets.get("bcdf") == dataset
    assert dataset.columns == ["question", "answer"] and dataset.problems[0]["rows"] == [3, 7]


def test_lists_are_newest_first(home: Path) -> None:
    first, second = add("bcdf"), add("ghjk")
    assert datasets.list_all() == [second, first]


def test_an_unknown_dataset_is_explained(home: Path) -> None:
    with pytest.raises(StudioError, match="no dataset 'nonesuch'"):
        datasets.get("nonesuch")


def test_a_dataset_stays_while_a_job_needs_it(home: Path) -> None:
    add("bcdf")
    job = jobs.add("training", "tone", "cpu", "bcdf")
    with pytest.raises(StudioError, match="still needs"):
        datasets.remove("bcdf")
    jobs.request_stop(job.id)
    datasets.remove("bcdf")
    datasets.remove("bcdf")
    assert datasets.list_all() == []
    assert jobs.get(job.id).dataset_id == "bcdf", "the history remembers what it was trained on"
