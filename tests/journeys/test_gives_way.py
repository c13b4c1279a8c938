"""A question on the Compare page while a job has the device: it waits under a sentence, and is answered after.

The test starts the job's process itself, so that the job takes exactly as long as the test needs.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from jobs.base_models import catalogue
from tests.jobs.device_user import using
from tests.jobs.serving.parts import ADAPTERS, add_adapter, add_dataset
from tests.journeys.studio_process import Studio

pytestmark = pytest.mark.browser
SLOW = 60_000  # milliseconds: the model server imports torch first
BUSY = "The computer is busy with the job “Haiku & <b>tone</b>”."
ANSWERED = re.compile(r"wrote [1-9]\d* tokens")


@pytest.fixture(scope="module")
def studio(own_studio: Studio, tiny_model: Path) -> Studio:
    """One whose only adapter is in nobody's way."""
    add_dataset()
    add_adapter(ADAPTERS[0], catalogue.STARTER_ID, tiny_model, 0)
    return own_studio


def test_a_question_waits_for_a_job_and_its_answer_comes_by_itself(page: Page) -> None:
    with using("the job “Haiku & <b>tone</b>”") as job:
        page.goto("/compare")
        expect(page.locator("#busy")).to_contain_text(f"{BUSY} You may ask already", timeout=SLOW)
        page.locator("#prompt textarea").fill("Row 3?")
        page.locator("#ask").click()
        answers = page.locator("#answers")
        expect(answers.get_by_role("status")).to_have_text(
            f"{BUSY} Your answer comes by itself when it has finished.", timeout=SLOW
        )
        expect(answers.locator(".side")).to_have_count(3)
        expect(page.locator(".problem")).to_have_count(0)
        assert Axe().run(page).violations_count == 0
        # Stop ends the wait, and what was typed is still there to be asked again.
        page.locator("#stop").click()
        expect(answers).to_contain_text("Stopped before the answer.", timeout=SLOW)
        expect(page.locator("#stop")).to_be_disabled()
        page.locator("#ask").click()
        expect(answers.get_by_role("status")).to_contain_text(BUSY, timeout=SLOW)
        job.let_go()
        expect(answers.locator(".side").last).to_contain_text(ANSWERED, timeout=SLOW)
        expect(answers.locator(".said")).to_have_count(0)
        expect(page.locator("#busy")).not_to_contain_text("busy", timeout=SLOW)
    with using("the job “Haiku & <b>tone</b>”") as job:
        # The model is loaded now, and has to go at once.
        page.locator("#ask").click()
        expect(answers.get_by_role("status")).to_contain_text(BUSY, timeout=SLOW)
        job.let_go()
        expect(answers.locator(".side").last).to_contain_text(ANSWERED, timeout=SLOW)
