"""A dataset goes to the trash with all of its versions, as one thing, and comes back as it was."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from jobs.datasets import tokens
from storage import datasets, files, trash
from storage.errors import StudioError

# In the first version's folder, only while it is in the trash: the folders of the others.
VERSIONS = "versions"


def delete(dataset_id: str) -> None:
    """Put a dataset with all its versions into the trash; nothing happens when it is already gone.

    Raises StudioError while a job that has not ended needs one of them.
    """
    try:
        family = datasets.get(dataset_id).family
    except StudioError:
        return
    datasets.check_unneeded(family)
    with files.locked("dataset-versions"):
        folder = files.dataset_folder(family)
        inside = folder / VERSIONS
        tokens.forget(version.id for version in datasets.versions(family))
        for version in datasets.versions(family):
            if version.id != family and files.dataset_folder(version.id).is_dir():
                inside.mkdir(parents=True, exist_ok=True)
                os.rename(files.dataset_folder(version.id), inside / version.id)
        if inside.is_dir():
            files.sync(inside)
            files.sync(folder.parent)
        trash.to_trash(folder)
        try:
            datasets.remove_family(family)
        except BaseException:  # a job was queued in this moment
            _restore(folder)
            raise


def put_back() -> None:
    """Give the versions in folders that came back from the trash, or never got there, their own places again."""
    for inside in (files.root() / "datasets").glob(f"*/{VERSIONS}"):
        if inside.is_symlink() or inside.parent.is_symlink():
            continue
        for version in sorted(inside.iterdir()):
            with suppress(OSError):  # what has taken its place meanwhile stays
                os.rename(version, files.dataset_folder(version.name))
        with suppress(OSError):
            inside.rmdir()
        files.sync(inside.parent)
        files.sync(inside.parent.parent)


def _restore(folder: Path) -> None:
    for item in trash.items():
        if item.origin == folder.relative_to(files.root()):
            trash.restore(item.name)
            put_back()
            return
