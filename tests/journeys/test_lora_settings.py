"""The kinds of LoRA on the Model page: trying several ranks by keyboard, and going on from an earlier adapter."""

from __future__ import annotations

import pytest
from gradio_client import Client
from playwright.sync_api import Page, expect

from tests.journeys.tiny_studio import Trained, ended

pytestmark = pytest.mark.browser
SWEEP = "Try ranks 2, 4, 8, 16 and keep the best on held-out examples"


@pytest.fixture(scope="module")
def dataset_id(trained: Trained) -> str:
    return trained.dataset_id


def opened(page: Page, dataset_id: str) -> None:
    page.goto(f"/model?dataset={dataset_id}")
    expect(page.locator("#answer .answer")).to_contain_text("is enough to start")
    page.locator("#advanced button.label-wrap").click()
    # Fields that open while the page still fills itself are made anew, with what stood in them before.
    expect(page.get_by_label("Another rank for some modules")).to_be_visible()
    expect(page.locator("#start-problem .progress-text")).to_have_count(0)
    expect(page.locator(".js-plotly-plot").first).to_be_visible(timeout=20_000)


def test_several_ranks_are_tried_by_keyboard(page: Page, dataset_id: str) -> None:
    opened(page, dataset_id)
    sweep, ranks = page.get_by_label(SWEEP), page.get_by_label("Ranks to try")
    rank = page.locator("#rank input[type=range]")
    sweep.focus()
    page.keyboard.press("Space")
    expect(ranks).to_have_value("2, 4, 8, 16")
    expect(rank).to_be_disabled()
    ranks.focus()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.press("Delete")
    expect(sweep).not_to_be_checked()
    expect(rank).to_be_enabled()


def test_a_rank_that_cannot_be_is_named_before_start(page: Page, dataset_id: str) -> None:
    opened(page, dataset_id)
    page.get_by_label("Another rank for some modules").fill("q_proj=0")
    expect(page.locator("#start-problem")).to_contain_text(
        "rank_pattern of q_proj cannot be '0'", timeout=20_000
    )


def test_a_run_that_goes_on_from_an_earlier_adapter_gets_its_rank_and_modules(
    page: Page, client: Client, dataset_id: str
) -> None:
    settings = {"max_steps": 2, "target_modules": "query_value", "layers": "1", "scorecard": False}
    job_id = client.predict(dataset_id, "starter", 4, settings, api_name="/start_job")["job_id"]
    adapter_id = ended(client, job_id)["adapter_id"]
    opened(page, dataset_id)
    page.get_by_label("Go on from an earlier adapter").click()
    page.get_by_role("option", name=adapter_id).click()
    expect(page.locator("#rank input[type=number]")).to_have_value("4")
    expect(page.get_by_label("Query and value only")).to_be_checked()
    expect(page.get_by_label("Which layers")).to_have_value("1")
