"""Real parts for every test: a data folder of its own, a migrated database, a tiny random model."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tiny import make_model

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")


@pytest.fixture(scope="session")
def new_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file of the newest tables without a row: to copy it takes less time than to migrate another one."""
    from storage import config, database

    before = config._current
    config.use(config.from_environment(data_dir=tmp_path_factory.mktemp("new-database")))
    database.connect()
    database.close()
    made = config.current().data_dir / "studio.db"
    config._current = before
    return made


@pytest.fixture
def home(tmp_path: Path, new_database: Path) -> Iterator[Path]:
    """An empty data folder that the process uses, with its database ready."""
    from storage import config, database, files

    config.use(config.from_environment(data_dir=tmp_path / "home"))
    files.make_folders()
    shutil.copyfile(new_database, tmp_path / "home" / "studio.db")
    database.connect()
    yield tmp_path / "home"
    database.close()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random two-layer Llama (fp32, about 60,000 values) and a real byte-level BPE tokenizer."""
    return make_model(tmp_path_factory.mktemp("tiny-model"))


@pytest.fixture(scope="session")
def starter_model() -> Path:
    """The folder of the real starter model, fetched once and kept between test runs."""
    from jobs.base_models import catalogue, fetching
    from storage import config, files

    cache = os.environ.get("LORA_TAILOR_TEST_CACHE") or Path.home() / ".cache" / "lora-tailor-tests"
    before = config._current
    config.use(config.from_environment(data_dir=cache))
    try:
        files.make_folders()
        return fetching.ensure(catalogue.STARTER_ID, lambda words, done, total: None)
    finally:
        config._current = before
