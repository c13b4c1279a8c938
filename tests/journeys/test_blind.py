"""Blind A/B and many prompts in a real browser, by keyboard alone, and what is left of them afterwards."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from gradio_client import Client
from playwright.sync_api import Page, expect

from tests.journeys.settling import settle
from tests.journeys.studio_process import Studio
from tests.journeys.test_accessibility import NAMELESS, violations
from tests.journeys.tiny_studio import Trained

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def adapter_id(trained: Trained) -> str:
    return trained.adapter_id


def open_tab(page: Page, adapter_id: str, name: str) -> None:
    page.goto(f"/compare?adapter={adapter_id}")
    settle(page)
    page.get_by_role("tab", name=name).click()


def choose_itself(page: Page) -> None:
    """The base model against itself, which the page then draws at a temperature above 0."""
    page.locator("#blind-other input").click()
    page.get_by_role("option", name="Base model", exact=True).click()
    expect(page.locator("#blind-temperature").get_by_role("textbox")).to_have_value("0.7")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_voting_by_keyboard_alone(page: Page, client: Client, adapter_id: str, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
    given = client.predict(adapter_id, 0, 1000, api_name="/votes")
    before, ties = len(given), sum(one["winner"] == "tie" for one in given)
    open_tab(page, adapter_id, "Blind A/B")
    expect(page.locator("#blind")).to_contain_text("without names")
    choose_itself(page)
    page.locator("#blind-next").focus()
    page.keyboard.press("Enter")
    pair = page.locator("#blind .pair")
    expect(pair).to_contain_text("Which answer is better?", timeout=90_000)
    expect(pair).not_to_contain_text("Base model")
    expect(pair).to_be_focused()
    assert violations(page) == []
    for count, key in enumerate("120", start=1):
        expect(page.locator("#blind-0")).to_be_enabled()
        page.keyboard.press(key)
        expect(pair.locator(".whose")).to_have_count(2)
        expect(page.locator("#blind-next")).to_be_focused()
        said = page.locator("#blind-standing")
        ties += key == "0"
        expect(said).to_contain_text(f"{before + count - ties} decided vote")
        expect(said).to_contain_text(f"ties: {ties}")
        page.keyboard.press(key)  # nothing is open to vote on
        if count == 1:
            assert violations(page) == []
            assert NAMELESS.findall(page.locator("body").aria_snapshot()) == []
        page.keyboard.press("Enter")
        expect(pair).to_contain_text("Which answer is better?", timeout=60_000)
        expect(pair).to_be_focused()
    found = client.predict(adapter_id, 0, 1000, api_name="/votes")
    assert len(found) == before + 3 and found[-1]["winner"] == "tie"
    assert {found[-2]["winner"], found[-3]["winner"]} <= {"first", "second"}


def test_keys_are_text_where_somebody_types(page: Page, client: Client, adapter_id: str) -> None:
    before = len(client.predict(adapter_id, 0, 1000, api_name="/votes"))
    open_tab(page, adapter_id, "Blind A/B")
    choose_itself(page)
    page.locator("#blind-next").click()
    expect(page.locator("#blind .pair")).to_be_focused(timeout=90_000)
    # Another temperature is another contest, so its pair goes; but nothing has been voted.
    typed = page.locator("#blind-temperature").get_by_role("textbox")
    typed.press("End")
    typed.press("1")
    expect(typed).to_have_value("0.71")
    expect(page.locator("#blind")).to_contain_text("without names")
    page.locator("#blind-next").click()
    expect(page.locator("#blind .pair")).to_be_focused(timeout=90_000)
    page.get_by_role("combobox", name="Other side").press_sequentially("2")
    page.keyboard.press("Escape")
    page.locator("#answer h1").click()
    page.keyboard.press("1")  # the focus is outside of the card
    page.locator("#blind .pair").click()
    page.keyboard.press("Control+1")
    settle(page)
    assert len(client.predict(adapter_id, 0, 1000, api_name="/votes")) == before
    page.locator("#blind .pair").click()
    page.keyboard.press("0")
    expect(page.locator("#blind .pair")).to_contain_text("You called it a tie.")
    assert len(client.predict(adapter_id, 0, 1000, api_name="/votes")) == before + 1


def test_votes_survive_and_are_downloaded(page: Page, studio: Studio, adapter_id: str) -> None:
    open_tab(page, adapter_id, "Blind A/B")
    choose_itself(page)
    expect(page.locator("#blind-standing")).to_contain_text("votes")
    with page.expect_download() as download:
        page.get_by_role("link", name="All votes as CSV").click()
    with open(download.value.path(), encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    kept = (studio.home / "adapters" / adapter_id / "votes.jsonl").read_text().splitlines()
    assert [row["id"] for row in rows] == [json.loads(line)["id"] for line in kept] != []


def test_many_prompts_pasted_stopped_gone_on_and_downloaded(page: Page, adapter_id: str) -> None:
    open_tab(page, adapter_id, "Many prompts")
    page.locator("#prompts-text textarea").fill("\n".join(f"What is {n}?" for n in range(150)))
    page.get_by_role("button", name="Ask them all").click()
    expect(page.locator("#prompts-note")).to_contain_text("150 prompts queued.")
    table = page.locator("#prompt-table")
    expect(table).to_contain_text("Prompts 1 to 20 of 150")
    expect(page.locator("#prompts-progress")).to_contain_text("running", timeout=240_000)
    page.locator("#prompts-stop").click()
    expect(page.locator("#prompts-progress")).to_contain_text("stopped", timeout=60_000)
    page.reload()
    page.get_by_role("tab", name="Many prompts").click()
    expect(page.locator("#prompts-progress")).to_contain_text("stopped")
    page.get_by_role("button", name="Go on").click()
    expect(page.locator("#prompts-progress")).to_contain_text("finished", timeout=240_000)
    expect(table).not_to_contain_text("not yet")
    page.get_by_role("button", name="Later prompts").click()
    expect(table).to_contain_text("Prompts 21 to 40 of 150")
    assert violations(page) == []
    assert NAMELESS.findall(page.locator("body").aria_snapshot()) == []
    with page.expect_download() as download:
        page.get_by_role("link", name="Prompts and answers as CSV").click()
    with open(download.value.path(), encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))
    assert len(rows) == 151 and all(all(row) or row[2:] for row in rows) and rows[150][1] == "What is 149?"


def test_a_file_of_prompts(page: Page, adapter_id: str, tmp_path: Path) -> None:
    path = tmp_path / "asked.csv"
    path.write_text('id,Question\n1,"=1+1"\n2,Second <b>one</b>?\n3,\n')
    open_tab(page, adapter_id, "Many prompts")
    page.locator("#prompts-file input[type=file]").set_input_files(path)
    expect(page.locator("#prompts-note")).to_contain_text("the prompts are in “Question”")
    page.get_by_role("button", name="Ask them all").click()
    expect(page.locator("#prompts-note")).to_contain_text("2 prompts queued. 1 row had none.")
    expect(page.locator("#prompt-table")).to_contain_text("Second <b>one</b>?")


def test_a_phone_shows_one_answer_below_the_other(page: Page, adapter_id: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    open_tab(page, adapter_id, "Blind A/B")
    choose_itself(page)
    page.locator("#blind-next").click()
    sides = page.locator("#blind .pair .side")
    expect(sides).to_have_count(2, timeout=90_000)
    # Both at one moment: the row with Stop goes away above them.
    first, second = sides.evaluate_all("all => all.map((one) => one.getBoundingClientRect().toJSON())")
    assert second["top"] >= first["bottom"]
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    vote = page.locator("#blind-1").bounding_box()
    assert vote and vote["height"] >= 32
