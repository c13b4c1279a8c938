"""Datasets are remembered, and kept while a job needs them."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError

from storage import database, datasets, files, jobs, rebuilding
from storage.errors import StudioError
from storage.tables import DatasetRow


def add(id: str, **more: Any) -> datasets.Dataset:
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
        **more,
    )


def version(id: str, number: int, family: str = "bcdf", parent: str = "bcdf") -> datasets.Dataset:
    """Remember a later version."""
    return add(id, family=family, version=number, parent_id=parent, change=f"Change {number}.")


def current(family: str = "bcdf") -> list[str]:
    return [one.id for one in datasets.versions(family) if one.is_current]


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


def test_a_dataset_without_versions_is_its_own_family(home: Path) -> None:
    dataset = add("bcdf", left_out_rows=3, summary={"kinds": {"list": 2}})
    assert (dataset.family, dataset.version, dataset.parent_id, dataset.change) == ("bcdf", 1, None, "")
    assert dataset.is_current and dataset.left_out_rows == 3 and dataset.summary == {"kinds": {"list": 2}}
    assert datasets.versions("bcdf") == datasets.families() == [dataset]
    assert datasets.versions("nonesuch") == []


def test_the_newest_version_is_the_one_that_is_shown(home: Path) -> None:
    add("bcdf")
    other = add("ghjk")
    second = version("bcdg", 2)
    third = version("bcdh", 3, parent="bcdg")
    assert [one.id for one in datasets.versions("bcdf")] == ["bcdh", "bcdg", "bcdf"]
    assert current() == ["bcdh"] and not datasets.get("bcdg").is_current
    assert datasets.families() == [third, other], "what was changed last comes first"
    assert datasets.make_current(second.id).is_current
    assert current() == ["bcdg"]
    assert [one.id for one in datasets.families()] == ["bcdg", "ghjk"], "going back moves nothing in the list"
    with pytest.raises(StudioError, match="no dataset"):
        datasets.make_current("nonesuch")
    assert current() == ["bcdg"]


def test_the_database_takes_no_two_current_versions_and_no_number_twice(home: Path) -> None:
    add("bcdf")
    version("bcdg", 2)
    with pytest.raises(IntegrityError), database.session() as session:
        session.execute(update(DatasetRow).values(is_current=True))
    with pytest.raises(IntegrityError):
        version("bcdh", 2)
    assert current() == ["bcdg"]


def test_the_current_version_stands_in_the_family_s_folder_too(home: Path) -> None:
    folder = files.dataset_folder("bcdf")
    add("bcdf")
    version("bcdg", 2)
    assert not folder.exists(), "no folder is made for a dataset that has none"
    folder.mkdir()
    datasets.make_current("bcdf")
    assert datasets.read_current("bcdf") == "bcdf"
    version("bcdh", 3)
    assert datasets.read_current("bcdf") == "bcdh"
    for damaged in (b"", b"\xff\xfe", b"\n"):
        (folder / datasets.CURRENT_FILE).write_bytes(damaged)
        assert datasets.read_current("bcdf") is None
    assert datasets.read_current("../bcdf") is None


def test_a_new_database_has_one_current_version_of_each_family(home: Path) -> None:
    values = {
        **{
            "name": "tone",
            "source_name": "t.csv",
            "format": "csv",
            "columns": [],
            "rows": 2,
            "train_rows": 1,
        },
        **{"held_out_rows": 1, "problems": [], "sha256": "a" * 64, "created_at": 1.0},
    }
    files.dataset_folder("bcdf").mkdir()
    files.write_text(files.dataset_folder("bcdf") / datasets.CURRENT_FILE, "bcdg\n")
    files.dataset_folder("ghjk").mkdir()
    files.write_text(files.dataset_folder("ghjk") / datasets.CURRENT_FILE, "gone\n")
    with rebuilding.new_database() as new:
        new.add_dataset({**values, "id": "bcdf"})
        for id, number, family in (("bcdh", 3, "bcdf"), ("bcdg", 2, "bcdf"), ("ghjm", 2, "ghjk")):
            of_family = {"family": family, "version": number, "parent_id": family, "is_current": True}
            new.add_dataset({**values, "id": id, **of_family})
        new.add_dataset({**values, "id": "ghjk"})
        with pytest.raises(StudioError):  # a copied folder
            new.add_dataset({**values, "id": "copy", "family": "bcdf", "version": 2})
    assert current() == ["bcdg"], "the one that the family's folder names"
    assert current("ghjk") == ["ghjm"], "else the highest"


@pytest.mark.parametrize("job_needs", ["bcdf", "bcdg"])
def test_a_family_stays_while_a_job_needs_one_of_its_versions(home: Path, job_needs: str) -> None:
    add("bcdf")
    version("bcdg", 2)
    add("ghjk")
    job = jobs.add("training", "tone", "cpu", job_needs)
    for refused in (datasets.check_unneeded, datasets.remove_family):
        with pytest.raises(StudioError, match="still needs"):
            refused("bcdf")
    datasets.remove_family("ghjk")
    jobs.request_stop(job.id)
    datasets.check_unneeded("bcdf")
    datasets.remove_family("bcdf")
    datasets.remove_family("bcdf")
    assert datasets.list_all() == []


def test_versions_that_are_added_and_chosen_at_once_leave_one_current(
    home: Path, child: Callable[..., subprocess.Popen[str]]
) -> None:
    add("bcdf")
    script = """
from storage import datasets
for number in range({first}, {first} + 4):
    values = dict(name="t", source_name="t", format="csv", columns=[], rows=1, train_rows=1, held_out_rows=0)
    datasets.add(id=f"v{{number}}", **values, problems=[], sha256="", family="bcdf", version=number)
    datasets.make_current("bcdf")
"""
    together = time.time() + 1.5
    started = [child(script.format(first=first), together=together) for first in (2, 6, 10)]
    for process in started:
        process.communicate()
        assert process.returncode == 0
    assert len(datasets.versions("bcdf")) == 13 and len(current()) == 1
