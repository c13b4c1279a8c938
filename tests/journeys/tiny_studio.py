"""A studio for tests that need no real model: its starter is the tests' tiny random one, and nothing is fetched."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradio_client import Client, handle_file

from jobs.base_models import catalogue
from storage import config, database, files
from tests.journeys import studio_process
from tests.journeys.studio_process import Studio, wait_until

# Port 9 answers nobody: package index and hub are out of reach, as on a machine without a network.
NO_NETWORK = {
    "PIP_INDEX_URL": "http://127.0.0.1:9/",
    "PIP_NO_INDEX": "1",
    "PIP_RETRIES": "0",
    "HF_ENDPOINT": "http://127.0.0.1:9",
}


def examples_file(folder: Path) -> Path:
    """Forty short examples, and two rows at the end that cannot be used."""
    rows = [{"prompt": f"What is {n}?", "response": json.dumps({"number": n})} for n in range(40)]
    lines = [*map(json.dumps, rows), '{"prompt": "", "response": "x"}', '{"prompt": "only half"}']
    file = folder / "numbers.jsonl"
    file.write_text("\n".join(lines))
    return file


def add_folder(home: Path, tiny_model: Path) -> str:
    """Add the tiny model as a user's own folder; returns its id."""
    config.use(config.from_environment(data_dir=home))
    return catalogue.add_custom(str(tiny_model)).id


def start(home: Path, tiny_model: Path, *arguments: str) -> Studio:
    """Put the tiny model where the starter belongs and start a studio without a network."""
    before = config._current
    config.use(config.from_environment(data_dir=home))
    filled = files.temporary_folder()
    shutil.copytree(tiny_model, filled, dirs_exist_ok=True)
    catalogue.publish(catalogue.find(catalogue.STARTER_ID), filled, "a random model of the tests")
    config._current = before
    return studio_process.start(home, *arguments, environment=NO_NETWORK)


@contextmanager
def database_of(studio: Studio) -> Iterator[None]:
    """The studio's database, opened by this process beside it."""
    before = config._current
    config.use(config.from_environment(data_dir=studio.home))
    database.connect()
    yield
    database.close()
    config._current = before


@dataclass(frozen=True)
class Trained:
    """What has been done in a studio: the ids that the addresses of its pages carry."""

    dataset_id: str
    job_id: str
    adapter_id: str


def train(studio: Studio, folder: Path) -> Trained:
    """Bring `examples_file` into a studio and train its starter on it for three steps, without a scorecard."""
    client = Client(studio.url, verbose=False)
    dataset_id = client.predict(handle_file(examples_file(folder)), "Numbers", api_name="/add_dataset")[
        "dataset_id"
    ]
    settings = {"max_steps": 3, "scorecard": False}
    job_id = client.predict(dataset_id, catalogue.STARTER_ID, 4, settings, api_name="/start_job")["job_id"]
    job = ended(client, job_id)
    assert job["adapter_id"], job["error"]
    return Trained(dataset_id, job_id, job["adapter_id"])


def ended(client: Client, job_id: str, seconds: float = 240) -> dict[str, Any]:
    """The answer to /job once the job is over."""

    def over() -> dict[str, Any] | None:
        job: dict[str, Any] = client.predict(job_id, api_name="/job")
        return None if job["status"] in ("queued", "running", "stopping") else job

    return wait_until(over, seconds)  # type: ignore[no-any-return]
