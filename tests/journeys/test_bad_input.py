"""What people do wrong: every wrong file and every wrong setting gets a sentence, and nothing of it stays."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from playwright.sync_api import Page, expect

from tests.journeys.studio_process import Studio
from tests.journeys.tiny_studio import Trained, ended

WRONG_FILES: dict[str, tuple[str, bytes]] = {
    "empty": ("empty.csv", b""),
    "blank": ("blank.jsonl", b"\n  \n\n"),
    "header only": ("header.csv", b"prompt,response\n"),
    "wrong extension": ("examples.pdf", b"%PDF-1.7 \x00\x01\x02 prompt,response"),
    "a program": ("examples.csv", b"\x7fELF" + bytes(range(256)) * 8),
    "a zip": ("examples.jsonl", b"PK\x03\x04" + bytes(200)),
    "not UTF-8": ("examples.csv", b"prompt,response\nH\x81\x8d\x8f\x90\x9d,ok\n" + b"\xff\xfe\x00" * 20),
    "broken JSON line": ("broken.jsonl", b'{"prompt": "a", "response": "b"}\n{"prompt": "c", \n'),
    "JSON without rows": ("object.json", b'{"title": "no rows here"}'),
    "deep JSON": ("deep.json", b"[" * 100_000),
    "no usable column": ("columns.csv", b"id,price,stock\n1,2,3\n4,5,6\n7,8,9\n"),
    "no column with text": ("numbers.csv", b"1\n2\n3\n"),
    "one row": ("one.csv", b"prompt,response\nHello,Hi there\n"),
    "answers empty": ("half.csv", b"prompt,response\n" + b"Hello,\n" * 10),
}
WRONG_RANKS = [0, -1, 10_000, 1.5, "abc", None, [8], True]
WRONG_SETTINGS: list[Any] = [
    {"learning_rat": 1e-4},
    {"learning_rate": 10},
    {"learning_rate": "fast"},
    {"learning_rate": "nan"},
    {"epochs": -1},
    {"max_steps": 0},
    {"max_steps": 2.5},
    {"target_modules": ["no_such_proj"]},
    {"target_modules": 7},
    {"layers": "9-4"},
    {"layers": "70-90"},
    {"precision": "fp8"},
    {"held_out_share": 0.9},
    {"seed": True},
    {"dropout": [0.1]},
    ["not", "an", "object"],
    "text",
]


@pytest.fixture(scope="module")
def dataset_id(trained: Trained) -> str:
    return trained.dataset_id


def add(client: Client, folder: Path, answers: list[str]) -> str:
    file = folder / "examples.jsonl"
    rows = [{"prompt": f"Question {n}?", "response": answer} for n, answer in enumerate(answers)]
    file.write_text("\n".join(map(json.dumps, rows)))
    return client.predict(handle_file(str(file)), "Good", api_name="/add_dataset")["dataset_id"]  # type: ignore[no-any-return]


def kept(studio: Studio) -> list[str]:
    """The datasets of a studio, and what an interrupted import would leave behind."""
    left = [*(studio.home / "datasets").iterdir()]
    return sorted(str(path) for path in left)


def refusal(client: Client, *values: Any, api_name: str) -> str:
    with pytest.raises(AppError) as caught:
        client.predict(*values, api_name=api_name)
    said = str(caught.value)
    assert "Traceback" not in said
    assert 'File "' not in said
    assert "Something unexpected" not in said
    assert re.match(r".{8,}[.!?]$", said.strip(), re.DOTALL), f"not a sentence: {said!r}"
    return said


@pytest.mark.parametrize("kind", WRONG_FILES)
def test_a_wrong_file_is_refused_in_words_and_leaves_nothing(
    client: Client, studio: Studio, tmp_path: Path, kind: str
) -> None:
    name, content = WRONG_FILES[kind]
    (tmp_path / name).write_bytes(content)
    before = kept(studio)
    said = refusal(client, handle_file(str(tmp_path / name)), "", api_name="/add_dataset")
    assert name in said, "it says which file"
    assert kept(studio) == before


@pytest.mark.parametrize("path", ["/etc/passwd", "storage/errors.py", "../../etc/passwd"])
def test_a_file_that_was_never_uploaded_cannot_be_named(studio: Studio, path: str) -> None:
    # By hand: gradio_client would upload a file of that name from its own machine.
    before = kept(studio)
    file = {"path": path, "orig_name": "mine.csv", "meta": {"_type": "gradio.FileData"}}
    endpoint = f"{studio.url}/gradio_api/call/add_dataset"
    asked = httpx.post(endpoint, json={"data": [file, ""]}, trust_env=False)
    answer = httpx.get(f"{endpoint}/{asked.json().get('event_id')}", trust_env=False, timeout=30).text
    assert "event: error" in answer or asked.status_code >= 400
    assert "root:" not in answer
    assert "class StudioError" not in answer
    assert kept(studio) == before


@pytest.mark.parametrize("rank", WRONG_RANKS)
def test_a_wrong_rank_is_refused_in_words(client: Client, dataset_id: str, rank: Any) -> None:
    assert "rank" in refusal(client, dataset_id, "starter", rank, {}, api_name="/start_job")
    assert "rank" in refusal(client, "starter", rank, "auto", dataset_id, api_name="/estimate")


@pytest.mark.parametrize("settings", WRONG_SETTINGS, ids=str)
def test_a_wrong_setting_is_refused_in_words(client: Client, dataset_id: str, settings: Any) -> None:
    said = refusal(client, dataset_id, "starter", 8, settings, api_name="/start_job")
    if isinstance(settings, dict):
        assert next(iter(settings)).replace("_", " ") in said.replace("_", " "), "it says which setting"


@pytest.mark.parametrize("modules", ["no_such_proj", ["no_such_proj"], [], 7, {"q": 1}, ""])
def test_wrong_target_modules_are_refused_in_words(client: Client, modules: Any) -> None:
    if modules == "":
        assert client.predict("starter", 8, modules, None, api_name="/estimate")["lora_parameters"] > 0
    else:
        refusal(client, "starter", 8, modules, None, api_name="/estimate")


def test_examples_that_are_all_too_long_end_in_words(client: Client, tmp_path: Path) -> None:
    dataset_id = add(client, tmp_path, [f"{n} " * 2000 for n in range(20)])
    job_id = client.predict(
        dataset_id,
        "starter",
        4,
        {"max_steps": 2, "max_tokens": 16, "scorecard": False},
        api_name="/start_job",
    )["job_id"]
    job = ended(client, job_id)
    if job["status"] == "failed":
        assert "Traceback" not in job["error"]["message"]
        assert job["error"]["remedy"]
    else:
        assert job["status"] == "finished"
        assert job["adapter_id"]


@pytest.mark.browser
def test_what_people_typed_is_shown_as_text(page: Page) -> None:
    page.goto("/")
    page.locator("#pasted textarea").fill(
        "<b id=bold>id</b>,<img src=x onerror=document.title=1>\n1,2\n3,4\n5,6\n"
    )
    page.get_by_role("button", name="Use the pasted text").click()
    step = page.locator("#mapping")
    expect(step).to_contain_text("<b id=bold>")
    assert page.locator("#bold").count() == 0
    assert step.locator("img[src=x]").count() == 0
