"""How a filled folder becomes a dataset: wholly, whatever is killed meanwhile."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs.datasets import child
from storage import datasets, files
from storage.errors import StudioError
from storage.rebuilding import checked

_ANNOUNCED = "publishing.json"


def publish(staged: Path, told: Mapping[str, Any]) -> datasets.Dataset:
    """Give the folder of `child.staging` its place and remember it; `told` is dataset.json, the row is a part of it.

    The announcement beside the folder outlives a kill between the two steps; `tidy` then does the second one.
    On an error the folder is back where it was.
    """
    final = files.dataset_folder(told["id"])
    files.write_json(staged / "dataset.json", told)
    files.write_json(child.beside(staged) / _ANNOUNCED, {"dataset": told["id"]})
    files.publish_folder(staged, final)
    try:
        return _add(told)
    except BaseException:
        os.rename(final, staged)
        raise


def tidy() -> None:
    """Finish or delete what processes that were killed have left half done; called when the studio starts."""
    for folder in child.abandoned():
        beside = child.beside(folder)
        if (beside / _ANNOUNCED).is_file():
            _remember(files.read_json(beside / _ANNOUNCED)["dataset"])
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(beside, ignore_errors=True)


def _remember(dataset_id: str) -> None:
    """Add a dataset whose folder was published and whose row was not."""
    told = files.dataset_folder(dataset_id) / "dataset.json"
    if not told.is_file():
        return
    try:
        datasets.get(dataset_id)
    except StudioError:
        _add(files.read_json(told))


def _add(told: Mapping[str, Any]) -> datasets.Dataset:
    """Remember a dataset by its dataset.json."""
    values = checked(datasets.Dataset, {**told, "is_current": True})
    return datasets.add(**{name: value for name, value in values.items() if name != "is_current"})
