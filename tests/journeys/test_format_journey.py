"""The whole way in a real browser with the real starter model: sample set → training → better answers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from gradio_client import Client
from playwright.sync_api import Page, expect

from tests.journeys.studio_process import Studio, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.starter]
TRAINING_MINUTES = 8
SLOW = 20_000  # milliseconds: a training computes on the same cores as the page


class CountedClicks:
    """Clicks as a user makes them, counted."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.count = 0

    def __call__(self, role: str, name: str | re.Pattern[str]) -> None:
        self.page.get_by_role(role, name=name).first.click()  # type: ignore[arg-type]
        self.count += 1


def test_from_the_first_page_to_compared_answers(page: Page, studio: Studio, tmp_path: Path) -> None:
    click = CountedClicks(page)
    page.goto("/")
    click("button", re.compile("^Format:"))
    expect(page.locator("#answer")).to_contain_text("kept aside to test on", timeout=SLOW)
    click("link", "Next: choose a model")
    expect(page.locator("#answer")).to_contain_text("is enough to start", timeout=SLOW)
    click("button", "Start training")
    page.wait_for_url(re.compile(r"/train\?.*run="))
    run_id = re.search(r"run=(\w+)", page.url)[1]

    client = Client(studio.url, verbose=False)
    wait_until(lambda: client.predict(run_id, api_name="/job")["step"] >= 2, 120)
    expect(page.locator("[data-part=step]")).to_contain_text("Step", timeout=SLOW)
    before = client.predict(run_id, api_name="/job")
    page.reload()
    expect(page.locator("#run .live")).to_have_attribute("data-run", run_id, timeout=SLOW)
    expect(page.locator("[data-part=step]")).to_contain_text(f"of {before['total_steps']}", timeout=SLOW)

    wait_until(
        lambda: client.predict(run_id, api_name="/job")["status"] not in ("queued", "running"),
        60 * TRAINING_MINUTES,
    )
    job = client.predict(run_id, api_name="/job")
    assert job["status"] == "finished", job["error"]
    compare = page.get_by_role("link", name="Compare answers")
    expect(compare).to_have_attribute("href", re.compile("/compare"), timeout=SLOW)
    click("link", "Compare answers")
    page.wait_for_url(re.compile("/compare"))
    click("button", re.compile("Next held-out"))
    adapted = page.get_by_role("region", name="Adapter")
    expect(adapted).to_contain_text(re.compile(r'\{"topic"'), timeout=120_000)
    assert click.count <= 6

    card = client.predict(job["adapter_id"], api_name="/scorecard")
    valid = next(rule for rule in card["rules"] if rule["name"] == "valid_json")["sides"]
    assert valid["adapted"]["rate"] >= 0.8
    assert valid["adapted"]["rate"] > valid["base"]["rate"]
    # The right values are the adapter's own; valid JSON is to be had by prompting, and the card says so.
    assert card["verdict"]["code"] == "works", card["verdict"]
    gained, _, prompted = card["verdict"]["sentence"].partition(" For ")
    assert "“the right ‘" in gained and "“valid JSON”" in prompted and "more tokens a call" in prompted
    page.reload()
    expect(page.locator("#answer")).to_contain_text(card["verdict"]["sentence"], timeout=SLOW)


def test_closing_the_browser_changes_nothing_for_a_run(page: Page, studio: Studio) -> None:
    client = Client(studio.url, verbose=False)
    page.goto("/")
    page.get_by_role("button", name=re.compile("^Tone:")).click()
    expect(page.locator("#answer")).to_contain_text("kept aside", timeout=SLOW)
    expect(page).to_have_url(re.compile("dataset="), timeout=SLOW)
    dataset = re.search(r"dataset=(\w+)", page.url)[1]
    job_id = client.predict(
        dataset, "starter", 2, {"max_steps": 60, "scorecard": False}, api_name="/start_job"
    )["job_id"]
    page.goto(f"/train?run={job_id}")
    wait_until(lambda: client.predict(job_id, api_name="/job")["step"] >= 1, 120)
    page.close()
    seen = client.predict(job_id, api_name="/job")["step"]
    wait_until(lambda: client.predict(job_id, api_name="/job")["step"] > seen, 60)
    assert client.predict(job_id, api_name="/stop_job")["status"] in ("stopping", "stopped")
    wait_until(lambda: client.predict(job_id, api_name="/job")["status"] == "stopped", 90)
    stopped = client.predict(job_id, api_name="/job")
    assert stopped["adapter_id"], "Stop keeps what is best so far"
