"""The same tests on SQLite and on PostgreSQL.

The tests start a PostgreSQL of their own, or use the one that LORA_TAILOR_TEST_POSTGRES is the URL of: what is in
its database is deleted. Where there is neither, those variants are skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storage import config, database, files, jobs
from tests.storage import postgres

POSTGRES = os.environ.get("LORA_TAILOR_TEST_POSTGRES")
PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.Server]:
    """The server of these tests' own, which they may also stop and start."""
    if reason := postgres.missing():
        pytest.skip(reason)
    with postgres.running() as server:
        yield server


@pytest.fixture
def postgres_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty PostgreSQL database."""
    url = POSTGRES or request.getfixturevalue("postgres_server").url
    postgres.empty(url)
    return str(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """An empty data folder with its database, on each kind of database in turn."""
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else None
    config.use(config.from_environment(tmp_path / "home", url))
    if url is None:
        files.make_folders()
        shutil.copyfile(request.getfixturevalue("new_database"), tmp_path / "home" / "studio.db")
    database.connect()
    yield tmp_path / "home"
    database.close()


@pytest.fixture
def running_job(home: Path) -> jobs.Job:
    """A job in its first attempt."""
    jobs.add("training", "tone", "cpu", "dataset", "starter", 8, {"epochs": 3})
    job = jobs.claim(set())
    assert job is not None
    return job


@pytest.fixture
def child() -> Callable[..., subprocess.Popen[str]]:
    """Start a Python process that runs `script` on this test's data folder.

    With `together`, processes begin their script at that time of the clock, so that they really meet.
    """

    def start(script: str, connect: bool = True, together: float = 0) -> subprocess.Popen[str]:
        current = config.current()
        opening = (
            "import time; from storage import config, database, files, jobs\n"
            f"config.use(config.from_environment({str(current.data_dir)!r}, {current.database_url!r}))\n"
        )
        opening += "database.connect()\n" if connect else ""
        opening += f"time.sleep(max(0, {together} - time.time()))\n"
        return subprocess.Popen(
            [sys.executable, "-c", opening + script], cwd=PROJECT, stdout=subprocess.PIPE, text=True
        )

    return start
