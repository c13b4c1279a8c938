"""A studio for tests that need no real model: its starter is the tests' tiny random one, and nothing is fetched."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from jobs.base_models import catalogue
from storage import config, files
from tests.journeys import studio_process
from tests.journeys.studio_process import Studio

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
    config.use(config.from_environment(data_dir=home))
    filled = files.temporary_folder()
    shutil.copytree(tiny_model, filled, dirs_exist_ok=True)
    catalogue.publish(catalogue.find(catalogue.STARTER_ID), filled, "a random model of the tests")
    return studio_process.start(home, *arguments, environment=NO_NETWORK)
