"""From a bad answer to a better dataset: an answer is corrected in Compare, learned from, and trained on again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from gradio_client import Client, handle_file
from playwright.sync_api import Page, expect

from tests.journeys import tiny_studio
from tests.journeys.studio_process import Studio, wait_until
from tests.journeys.test_accessibility import violations

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[Studio]:
    running = tiny_studio.start(tmp_path_factory.mktemp("correcting") / "home", tiny_model)
    yield running
    running.stop()


def test_a_corrected_answer_is_trained_on_in_one_click(page: Page, studio: Studio, tmp_path: Path) -> None:
    client = Client(studio.url, verbose=False)
    file = handle_file(str(tiny_studio.examples_file(tmp_path)))
    dataset = client.predict(file, "Numbers", api_name="/add_dataset")
    job_id = client.predict(
        dataset["dataset_id"], "starter", 4, {"max_steps": 3, "scorecard": False}, api_name="/start_job"
    )["job_id"]
    wait_until(lambda: client.predict(job_id, api_name="/job")["adapter_id"], 240)
    page.goto(f"/compare?run={job_id}")
    page.locator("#prompt textarea").fill("What is a hundred?")
    page.get_by_role("button", name="Ask", exact=True).click()
    page.get_by_role("button", name="Correct the adapter’s answer").click(timeout=120_000)
    written = page.locator("#corrected textarea")
    expect(written).to_be_focused()
    written.fill('{"number": 100}')
    assert violations(page) == []
    page.get_by_role("button", name="Add as an example").click()
    expect(page.locator("#correction-note")).to_contain_text("corrected in Compare")
    page.get_by_role("button", name="Train again with it").click()
    page.wait_for_url(re.compile(r"/train\?.*run=(?!" + job_id + ")"))
    assert f"dataset={dataset['dataset_id']}" not in page.url, "the new version is trained on"
