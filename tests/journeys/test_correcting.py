"""From a bad answer to a better dataset: an answer is corrected in Compare, learned from, and trained on again."""

from __future__ import annotations

import re

import pytest
from gradio_client import Client
from playwright.sync_api import Page, expect

from tests.journeys.settling import settle
from tests.journeys.test_accessibility import violations
from tests.journeys.tiny_studio import Trained

pytestmark = pytest.mark.browser


def test_a_corrected_answer_is_trained_on_in_one_click(page: Page, client: Client, trained: Trained) -> None:
    page.goto(f"/compare?run={trained.job_id}")
    settle(page)
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
    page.wait_for_url(re.compile(r"/train\?.*run=(?!" + trained.job_id + ")"))
    assert f"dataset={trained.dataset_id}" not in page.url, "the new version is trained on"
    client.predict(re.findall(r"run=(\w+)", page.url)[0], api_name="/delete_job")
