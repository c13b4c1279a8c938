"""The endpoints of blind pairs, prompt sets and the kept strength, and the files of votes and answers."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from gradio_client import Client as GradioClient

from jobs.evaluation import prompts_job
from jobs.progress import Progress
from jobs.serving import client as serving
from storage import adapters, files, jobs
from storage.errors import StudioError
from studio import endpoints as all_endpoints
from studio import playground_endpoints as endpoints
from studio import routes
from studio.notices import told
from tests.jobs.serving.parts import ADAPTERS, base_model_id

__all__ = ["base_model_id"]
ONE, OTHER = ADAPTERS
ANN: Any = SimpleNamespace(session_hash="ann")


@pytest.fixture
def client(base_model_id: str) -> TestClient:
    application = FastAPI()
    routes.add(application)
    return TestClient(application)


def answered(job_id: str) -> None:
    files.attempt_folder(job_id, 1).mkdir(parents=True, exist_ok=True)
    prompts_job.run({"job_id": job_id, "attempt": 1, "settings": jobs.get(job_id).settings}, Progress())


@pytest.mark.usefixtures("base_model_id")
def test_a_pair_its_vote_and_how_it_stands() -> None:
    settings = {"sides": ["base", OTHER], "max_new_tokens": 6}
    pair = endpoints.blind_pair(ANN, ONE, settings)
    assert set(pair) == {"pair_id", "row", "prompt", "messages", "wanted", "answers", "are_the_same"}
    assert OTHER not in json.dumps(pair) and "Base model" not in json.dumps(pair)
    counted = endpoints.blind_vote(pair["pair_id"], 2)  # type: ignore[arg-type]
    assert counted["winner"] == counted["sides"][1]["side"]
    assert {side["side"] for side in counted["sides"]} == {"base", OTHER}
    standing = endpoints.blind_standing(ONE, settings | {"sides": [OTHER, "base"]})
    assert standing == counted["standing"] and standing["wins"]["first"] + standing["wins"]["second"] == 1
    assert standing["share"]["low"] <= standing["share"]["value"] <= standing["share"]["high"]
    assert standing["not_counted"] == 0
    at_length_7 = endpoints.blind_standing(ONE, settings | {"max_new_tokens": 7})
    assert (at_length_7["share"], at_length_7["not_counted"]) == (None, 1)
    (vote,) = endpoints.all_votes(ONE)
    assert vote["id"] == pair["pair_id"] and vote["details"]["prompt"] == pair["prompt"]
    assert endpoints.all_votes(ONE, offset=1) == [] and json.dumps(vote)


@pytest.mark.usefixtures("base_model_id")
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"sides": "base"}, "sides is 'base'"),
        ({"sides": ["base"]}, "1 sides were named"),
        ({"colour": 1}, "“colour” is not a setting"),
        ({"temperature": 9}, r"Temperature \(temperature\) is 9"),
    ],
)
def test_settings_of_a_pair_are_checked(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(StudioError, match=words):
        endpoints.blind_pair(ANN, ONE, settings)


@pytest.mark.usefixtures("base_model_id")
def test_a_pair_that_cannot_be_made_says_why() -> None:
    with pytest.raises(StudioError, match="no adapter 'nonesuch-1'"):
        endpoints.blind_pair(ANN, ONE, {"sides": ["base", "nonesuch-1@3"]})


def test_every_client_has_his_own_turn_at_the_model(
    base_model_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through Gradio, which knows who calls."""
    asked: list[str] = []
    real = serving.stream

    def stream(base: Any, requests: Any, settings: Any, background: bool = False, asker: str = "") -> Any:
        asked.append(asker)
        return real(base, requests, settings, background, asker)

    monkeypatch.setattr(serving, "stream", stream)
    with gr.Blocks() as page:
        gr.api(told(all_endpoints.compare), api_name="compare")
        gr.api(told(endpoints.blind_pair), api_name="blind_pair")
    page.launch(prevent_thread_lock=True, quiet=True)
    try:
        ann, ben = (GradioClient(page.local_url, verbose=False) for _ in range(2))
        short = {"sides": ["base", "adapted"], "max_new_tokens": 2}
        assert len(ann.predict(ONE, "Row 3?", short, api_name="/compare")) == 2
        ben.predict(ONE, "Row 3?", short, api_name="/compare")
        ann.predict(ONE, short, api_name="/blind_pair")
    finally:
        page.close()
    assert asked == [ann.session_hash, ben.session_hash, ann.session_hash] and asked[0] != asked[1]


@pytest.mark.usefixtures("base_model_id")
def test_a_strength_is_kept() -> None:
    assert endpoints.keep_strength(OTHER, "0.75") == {"strength": 0.75}  # type: ignore[arg-type]
    assert adapters.get(OTHER).strength == 0.75
    for wrong in ("much", None, 2):
        with pytest.raises(StudioError, match="strength is"):
            endpoints.keep_strength(OTHER, wrong)  # type: ignore[arg-type]


@pytest.mark.usefixtures("base_model_id")
def test_prompts_are_queued_answered_and_read(tmp_path: Path) -> None:
    started = endpoints.start_prompts(ONE, ["One?", "=2"], {"max_new_tokens": 3}, "key")
    assert started["prompts"] == 2
    assert endpoints.start_prompts(ONE, "One?\n=2", {"max_new_tokens": 3}, "key") == started
    answered(started["job_id"])
    found = endpoints.prompt_answers(started["job_id"], 1, 5)
    assert found["total"] == 2 and list(found["sides"]) == ["base", "adapted"]
    assert found["rows"][0]["number"] == 2 and "text" in found["rows"][0]["answers"]["adapted"]
    assert json.dumps(found)
    path = tmp_path / "asked.csv"
    path.write_text("id,Question\n1,One?\n2,\n")
    from_file = endpoints.start_prompt_file(str(path), ONE, {"sides": ["base"]})
    assert (from_file["prompts"], from_file["column"], from_file["left_out"]) == (1, "Question", 1)
    listed = endpoints.all_prompt_sets(ONE)
    assert [one["job_id"] for one in listed[:2]] == [from_file["job_id"], started["job_id"]]
    with pytest.raises(StudioError, match="prompts are no list"):
        endpoints.start_prompts(ONE, 7)  # type: ignore[arg-type]


def test_votes_and_answers_are_files(client: TestClient) -> None:
    job_id = endpoints.start_prompts(ONE, ["=HYPERLINK(1)", "Hello"], {"max_new_tokens": 3})["job_id"]
    answered(job_id)
    got = client.get(f"/download/prompts/{job_id}.csv")
    assert got.headers["content-type"] == "text/csv; charset=utf-8"
    assert got.headers["content-disposition"].endswith(f'{job_id}.csv"')
    rows = list(csv.reader(io.StringIO(got.content.decode("utf-8-sig"))))
    assert rows[0][:3] == ["number", "prompt", "Base model"] and rows[1][:2] == ["1", "'=HYPERLINK(1)"]
    lines = [json.loads(line) for line in client.get(f"/download/prompts/{job_id}.jsonl").text.splitlines()]
    assert lines[0]["messages"][0]["content"] == "=HYPERLINK(1)" and len(lines) == 2
    endpoints.blind_vote(endpoints.blind_pair(ANN, ONE, {"max_new_tokens": 4})["pair_id"], "0")
    votes = list(
        csv.DictReader(io.StringIO(client.get(f"/download/votes/{ONE}.csv").content.decode("utf-8-sig")))
    )
    assert votes[-1]["winner"] == "tie" and votes[-1]["first side"] == "Base model"
    assert json.loads(client.get(f"/download/votes/{ONE}.jsonl").text.splitlines()[-1])["winner"] == "tie"


@pytest.mark.parametrize(
    "path",
    ["votes/nonesuch.csv", "votes/dptr2222.txt", "votes/dptr2222", "prompts/nonesuch.csv", "prompts/.csv"],
)
def test_a_file_that_is_not_there_is_said(client: TestClient, path: str) -> None:
    answer = client.get(f"/download/{path}")
    assert answer.status_code == 404 and answer.json()["error"]["remedy"]
