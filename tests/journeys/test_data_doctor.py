"""A support team's spreadsheet as it really comes: brought, looked at, mended with one click, and trained on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from gradio_client import Client
from playwright.sync_api import Page, expect

from tests.journeys import sloppy
from tests.journeys.studio_process import Studio
from tests.journeys.tiny_studio import ended

pytestmark = pytest.mark.browser
SLOW = 60_000  # milliseconds: the machine may be busy
# What stands on the page for each kind of defect that the file has and that a rule can mend.
SAID = {
    "empty_answer": "the answer is empty",
    "system_spacing": "system prompt that differs",
    "duplicate": "repeat another one exactly",
    "html_remains": "remains of a web page",
    "mojibake": "wrong encoding",
    "card_number": "card number",
    "email_address": "e-mail address",
    "phone_number": "phone number",
    "control_characters": "control characters",
}


def shown_dataset(page: Page) -> str:
    expect(page).to_have_url(re.compile(r"dataset=\w+"), timeout=SLOW)
    found = re.search(r"dataset=(\w+)", page.url)
    assert found
    return found[1]


def bring(page: Page, file: Path) -> None:
    """Choose a file, and agree to the columns that the studio has guessed."""
    page.goto("/")
    page.locator("#data-file input[type=file]").set_input_files(file)
    page.get_by_role("button", name="Use these columns").click(timeout=SLOW)
    expect(page.locator("#mapping")).to_be_hidden(timeout=SLOW)
    expect(page.locator(".found")).to_contain_text("the answer is empty", timeout=SLOW)


def kept(studio: Studio) -> set[Path]:
    return set((studio.home / "datasets").iterdir())


def test_a_sloppy_spreadsheet_is_mended_with_one_click_and_trained_on(
    page: Page, studio: Studio, client: Client, tmp_path: Path
) -> None:
    others = kept(studio)
    bring(page, sloppy.write(tmp_path / "Support mails.csv"))
    expect(page.locator("#answer")).to_contain_text("Almost.", timeout=SLOW)
    found = page.locator(".found")
    for words in SAID.values():
        expect(found).to_contain_text(words)
    assert found.locator("li").count() >= 5
    before = shown_dataset(page)

    page.get_by_role("button", name=re.compile("^Fix all")).click()
    expect(page.locator(".changed")).to_contain_text("Version 2", timeout=SLOW)
    for words in SAID.values():
        expect(found).not_to_contain_text(words)
    after = shown_dataset(page)
    assert after != before
    assert len(kept(studio) - others) == 2, "the first version stays as it was"

    page.get_by_role("link", name="Next: choose a model").click()
    expect(page.locator("#answer")).to_contain_text("is enough to start", timeout=SLOW)
    page.get_by_role("button", name="Start training").click()
    page.wait_for_url(re.compile("/train.*run="), timeout=SLOW)
    run = re.search(r"run=(\w+)", page.url)
    assert run
    job = ended(client, run[1], 400)
    assert job["status"] == "finished", job["error"]
    assert job["adapter_id"]
    told = "".join(file.read_text() for file in (studio.home / "runs" / run[1]).rglob("*.json"))
    assert after in told and before not in told, "the mended version is what was trained on"


def test_undo_brings_the_file_back_as_it_was(page: Page, tmp_path: Path) -> None:
    bring(page, sloppy.write(tmp_path / "Mails again.csv"))
    first = shown_dataset(page)
    found = page.locator(".found").inner_text()
    page.get_by_role("button", name=re.compile("^Fix all")).click()
    expect(page.locator(".changed")).to_contain_text("Version 2", timeout=SLOW)
    page.get_by_role("button", name=re.compile("^Undo")).click()
    expect(page.locator(".found")).to_have_text(re.compile("the answer is empty"), timeout=SLOW)
    assert shown_dataset(page) == first
    assert page.locator(".found").inner_text() == found
    page.get_by_role("button", name=re.compile("^Redo")).click()
    expect(page.locator(".changed")).to_contain_text("Version 2", timeout=SLOW)
