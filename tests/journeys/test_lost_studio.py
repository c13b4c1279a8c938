"""A studio that is away, comes back, was restarted or is not well: every page says so by itself, and moves nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route, expect

from tests.journeys import studio_process, tiny_studio
from tests.journeys.settling import settle, watch

pytestmark = pytest.mark.browser
SLOW = 20_000  # milliseconds: the machine may be busy
LOST = "The studio does not answer. Training goes on; this page is trying again."


def strip(page: Page):  # type: ignore[no-untyped-def]
    return page.locator("#studio-strip")


def answer_with(page: Page, **changed: Any) -> None:
    """From now on /healthz says what the studio says, except for these fields."""

    def answer(route: Route) -> None:
        response = route.fetch()
        route.fulfill(response=response, body=json.dumps(response.json() | changed))

    page.route("**/healthz", answer)


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_a_studio_that_is_away_is_named_and_welcomed_back(
    page: Page, scheme: str, width: int, tmp_path: Path
) -> None:
    page.set_viewport_size({"width": width, "height": 860})
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
    page.goto("/")
    pasted = page.locator("#pasted textarea")
    pasted.click(timeout=SLOW)
    page.keyboard.type("half a sentence")
    settle(page)
    places = [page.locator(name).bounding_box() for name in ("#bar", "#answer h1", "#pasted")]
    expect(strip(page)).to_be_empty()
    page.route("**/healthz", lambda route: route.abort())
    expect(strip(page)).to_have_text(LOST, timeout=SLOW)
    assert [page.locator(name).bounding_box() for name in ("#bar", "#answer h1", "#pasted")] == places
    expect(pasted).to_be_focused()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    broken = Axe().run(page).response["violations"]
    assert [(rule["id"], [node["html"][:200] for node in rule["nodes"]]) for rule in broken] == []
    page.screenshot(path=tmp_path / f"lost-{scheme}-{width}.png")
    page.unroute("**/healthz")
    expect(strip(page)).to_have_text("The studio is back.", timeout=SLOW)
    expect(strip(page)).to_be_empty(timeout=SLOW)
    expect(pasted).to_have_value("half a sentence")


def test_a_database_in_trouble_is_named_with_the_way_to_the_system_page(page: Page) -> None:
    answer_with(page, status="degraded", database="The database is damaged. Press Rebuild.")
    page.goto("/explain")
    expect(strip(page)).to_contain_text("The database is damaged. Press Rebuild.", timeout=SLOW)
    strip(page).get_by_role("link", name="System").click()
    page.wait_for_url("**/system")
    expect(strip(page)).to_contain_text("The database is damaged.", timeout=SLOW)
    page.unroute("**/healthz")
    expect(strip(page)).to_be_empty(timeout=SLOW)


def test_what_everybody_is_to_know_is_told_until_it_is_closed(page: Page) -> None:
    answer_with(page, notice="The database was made again from its folders.")
    page.goto("/explain")
    expect(strip(page)).to_contain_text("The database was made again", timeout=SLOW)
    close = strip(page).get_by_role("button", name="Close")
    close.focus()
    page.keyboard.press("Enter")
    expect(strip(page)).to_be_empty()
    page.goto("/runs")
    settle(page)
    expect(strip(page)).to_be_empty()


def test_nobody_is_asked_while_nobody_looks(page: Page) -> None:
    asked: list[str] = []
    page.route("**/healthz", lambda route: (asked.append(route.request.url), route.continue_())[-1])
    page.clock.install()
    page.goto("/explain")
    settle(page)
    assert asked
    page.evaluate("Object.defineProperty(document, 'hidden', { value: true, configurable: true })")
    page.clock.run_for(60_000)
    settle(page)
    before = len(asked)
    page.clock.run_for(60_000)
    settle(page)
    assert len(asked) == before
    page.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    settle(page)
    assert len(asked) == before + 1


def test_a_restarted_studio_is_loaded_anew_where_nothing_was_typed(
    browser: Browser, tmp_path: Path, tiny_model: Path
) -> None:
    first = tiny_studio.start(tmp_path / "home", tiny_model)
    port = first.url.rsplit(":", 1)[1].rstrip("/")
    context = browser.new_context(base_url=first.url)
    reading, typing = context.new_page(), context.new_page()
    for page in (reading, typing):
        watch(page)
    typing.goto("/")
    typing.locator("#pasted textarea").click(timeout=SLOW)
    typing.keyboard.type("half a sentence")
    reading.goto("/runs")
    expect(reading.locator("#runs")).to_contain_text("Nothing has been trained yet", timeout=SLOW)
    reading.evaluate("window.old = true")
    for page in (reading, typing):
        page.bring_to_front()
        settle(page)
    os.kill(first.process.pid, 9)
    first.process.wait(15)
    for page in (reading, typing):
        page.bring_to_front()
        expect(strip(page)).to_have_text(LOST, timeout=SLOW)
    second = studio_process.start(first.home, "--port", port, environment=tiny_studio.NO_NETWORK)
    try:
        reading.bring_to_front()
        reading.wait_for_function("window.old === undefined", timeout=SLOW)
        expect(reading.locator("#runs")).to_contain_text("Nothing has been trained yet", timeout=SLOW)
        typing.bring_to_front()
        expect(strip(typing)).to_contain_text("The studio was restarted.", timeout=SLOW)
        expect(typing.locator("#pasted textarea")).to_have_value("half a sentence")
        strip(typing).get_by_role("button", name="Reload").click()
        expect(strip(typing)).to_be_empty(timeout=SLOW)
        # What was typed outlives the reload, too.
        expect(typing.locator("#pasted textarea")).to_have_value("half a sentence", timeout=SLOW)
    finally:
        context.close()
        second.stop()
