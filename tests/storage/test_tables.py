"""What databases and JSON cannot hold is replaced on the way in."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage import jobs


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_json_does_not_have_become_none(running_job: jobs.Job, value: float) -> None:
    assert jobs.update(running_job.id, 1, loss=value, result={"losses": [value, 1.5]})
    job = jobs.get(running_job.id)
    assert job.loss is None and job.result == {"losses": [None, 1.5]}


def test_text_that_databases_refuse_becomes_storable(home: Path) -> None:
    job = jobs.add("training", "a\0b\ud800c", "cpu", settings={"name": "\ud800"})
    assert jobs.get(job.id).name == job.name == "a�b�c"
    assert job.settings == {"name": "\ud800"}
