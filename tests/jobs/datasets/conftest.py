"""An imported dataset, made once and copied for each test that changes it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.datasets import Dataset


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of an imported dataset."""
    from jobs.datasets import importing
    from storage import config, database, files
    from tests.jobs.datasets.changing import pasted

    config.use(config.from_environment(tmp_path_factory.mktemp("template")))
    database.connect()
    folder = files.dataset_folder(importing.add_pasted(pasted(), "Mine").id)
    database.close()
    yield folder


@pytest.fixture
def dataset(template: Path, home: Path) -> Dataset:
    """A dataset without a second version."""
    from tests.jobs.datasets.changing import copy_of

    return copy_of(template)
