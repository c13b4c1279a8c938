"""The endpoints of blind pairs, prompt sets and the kept strength, and the files of votes and answers."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from jobs.evaluation import prompts_job
from jobs.progress import Progress
from storage import adapters, files, jobs
from storage.errors import StudioError
from studio import playground_endpoints as endpoints
from studio import routes
from tests.jobs.serving.parts import ADAPTERS, base_model_id

__all__ = ["base_model_id"]
ONE, OTHER = ADAPTERS


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
    pair = endpoints.blind_pair(ONE, settings)
    assert set(pair) == {"pair_id", "row", "prompt", "messages", "wanted", "answers", "are_the_same"}
    assert OTHER not in json.dumps(pair) and "Base model" not in json.dumps(pair)
    counted = endpoints.blind_vote(pair["pair_id"], 2)  # type: ignore[arg-type]
    assert counted["winner"] == counted["sides"][1]["side"]
    assert {side["side"] for side in counted["sides"]} == {"base", OTHER}
    standing = endpoints.blind_standing(ONE, settings | {"sides": [OTHER, "base"]})
    assert standing == counted["standing"] and standing["wins"]["first"] + standing["wins"]["second"] == 1
    assert standing["share"]["low"] <= standing["share"]["value"] <= standing["share"]["high"]
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
        endpoints.blind_pair(ONE, settings)


@pytest.mark.usefixtures("base_model_id")
def test_a_pair_that_cannot_be_made_says_why() -> None:
    with pytest.raises(StudioError, match="no adapter 'nonesuch-1'"):
        endpoints.blind_pair(ONE, {"sides": ["base", "nonesuch-1@3"]})


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
    endpoints.blind_vote(endpoints.blind_pair(ONE, {"max_new_tokens": 4})["pair_id"], "0")
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
