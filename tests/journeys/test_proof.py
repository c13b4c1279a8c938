"""A scorecard of the real starter model that must find nothing good: an adapter of answers to other questions."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from gradio_client import Client, handle_file

from jobs.datasets import samples
from tests.journeys.studio_process import Studio, wait_until

pytestmark = pytest.mark.starter


def shuffled(path: Path) -> Path:
    """The sample set for a format, with every answer at another question."""
    lines = samples.find("format").path.read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line)["messages"] for line in lines]
    answers = [turns[-1]["content"] for turns in rows]
    random.Random(0).shuffle(answers)
    for turns, answer in zip(rows, answers, strict=True):
        turns[-1]["content"] = answer
    path.write_text("\n".join(json.dumps({"messages": turns}) for turns in rows), encoding="utf-8")
    return path


def test_shuffled_answers_are_no_success_however_valid_they_look(studio: Studio, tmp_path: Path) -> None:
    client = Client(studio.url, verbose=False)
    dataset = client.predict(
        handle_file(shuffled(tmp_path / "shuffled.jsonl")), "Shuffled", api_name="/add_dataset"
    )
    started = client.predict(
        dataset["dataset_id"], "starter", 8, {"epochs": 2, "scorecard": False}, api_name="/start_job"
    )

    def job() -> dict:
        return client.predict(started["job_id"], api_name="/job")

    wait_until(lambda: job()["status"] not in ("queued", "running"), 400)
    adapter_id = job()["adapter_id"]
    asked = {"sides": ["base", "adapted"], "side_effects": False}
    client.predict(adapter_id, None, asked, api_name="/start_scorecard")
    card = client.predict(adapter_id, api_name="/scorecard")
    valid = next(rule for rule in card["rules"] if rule["name"] == "valid_json")["sides"]
    assert valid["adapted"]["rate"] > valid["base"]["rate"] + 0.4, "it has learned the form"
    assert card["verdict"]["code"] in ("worse", "no_effect"), card["verdict"]
