"""The playground in a browser: columns, a conversation, the strength dial by keyboard, and what people do wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from jobs.base_models import catalogue
from jobs.serving import client
from storage import adapters
from tests.jobs.serving.parts import ADAPTERS, add_adapter, add_dataset
from tests.journeys.settling import settle, watch
from tests.journeys.studio_process import Studio, wait_until
from tests.journeys.test_accessibility import NAMELESS, violations

pytestmark = pytest.mark.browser
SLOW = 90_000  # milliseconds: the model server imports torch first
ANSWERED = re.compile(r"wrote [1-9]\d* tokens · .* tokens/s")


@pytest.fixture(scope="module")
def studio(own_studio: Studio, tiny_model: Path) -> Studio:
    """One with two adapters that nothing has trained."""
    add_dataset()
    for seed, adapter_id in enumerate(ADAPTERS):
        add_adapter(adapter_id, catalogue.STARTER_ID, tiny_model, seed)
    return own_studio


def opened(page: Page) -> Page:
    page.goto(f"/compare?adapter={ADAPTERS[0]}")
    expect(page.locator("#columns")).to_contain_text("Adapter", timeout=SLOW)
    settle(page)
    page.get_by_role("button", name="Advanced").click()
    settle(page)  # quicker than any hand, this would type into fields that are still being made
    field(page, "Longest answer").fill("12")
    return page


def field(page: Page, label: str) -> Locator:
    return page.get_by_role("textbox", name=re.compile(f"^{label}"))


def asked(page: Page, prompt: str) -> None:
    page.locator("#prompt textarea").fill(prompt)
    page.locator("#prompt textarea").press("Control+Enter")
    answered(page)


def answered(page: Page) -> None:
    expect(page.locator("#answers")).to_contain_text("All have answered.", timeout=SLOW)
    expect(page.locator("#stop")).to_be_disabled(timeout=SLOW)
    expect(page.locator("#answers .problem")).to_have_count(0)


def text_of(page: Page, column: str) -> str:
    return page.get_by_role("region", name=column, exact=True).locator(".text").inner_text()


def choose(page: Page, name: str) -> None:
    field = page.get_by_label("Who answers")
    field.click()
    page.get_by_role("option", name=name).click()
    field.press("Escape")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_four_columns_answer_together_and_are_checked_and_marked(page: Page, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
    opened(page)
    choose(page, "Numbers 1")
    page.locator("#next").click()
    answered(page)
    sides = page.locator("#answers .side")
    expect(sides).to_have_count(4)
    for number in range(4):
        expect(sides.nth(number)).to_contain_text(ANSWERED)
        expect(sides.nth(number)).to_contain_text("the wanted answer")
        expect(sides.nth(number).locator(".checks")).to_contain_text("valid JSON")
    assert violations(page) == []
    assert NAMELESS.findall(page.locator("#playground").aria_snapshot()) == []
    page.get_by_label("Mark what differs from").click()
    page.get_by_role("option", name="nothing").click()
    expect(page.locator("#answers")).not_to_contain_text("the wanted answer")


def test_a_conversation_goes_on_until_a_new_one_begins(page: Page) -> None:
    opened(page)
    page.get_by_label("As a conversation").check()
    asked(page, "First question?")
    prompt = page.locator("#prompt textarea")
    expect(prompt).to_have_value("")
    asked(page, "Second question?")
    expect(page.locator("#answers .asked")).to_have_count(2)
    answered(page)
    expect(page.get_by_role("region", name="Adapter, turn 1")).to_be_visible()
    assert violations(page) == []
    page.get_by_role("button", name="New conversation").click()
    expect(page.locator("#answers .side")).to_have_count(0)
    expect(prompt).to_be_focused()
    asked(page, "Third question?")
    expect(page.locator("#answers .asked")).to_have_count(1)


def test_the_dial_answers_anew_by_keyboard_and_its_place_is_kept(page: Page) -> None:
    opened(page)
    asked(page, "Row 3?")
    base, adapted = text_of(page, "Base model"), text_of(page, "Adapter")
    assert base != adapted
    slider = page.locator("#strength input[type=range]")
    slider.focus()
    slider.press("Home")
    # At 0 the adapter is the base model.
    expect(page.get_by_role("region", name="Adapter", exact=True).locator(".text")).to_have_text(
        base, timeout=SLOW
    )
    for _ in range(24):
        slider.press("ArrowRight")
    keep = page.locator("#keep-strength")
    expect(keep).to_be_enabled()
    keep.click()
    expect(keep).to_have_text("Kept with the adapter")
    assert adapters.get(ADAPTERS[0]).strength == 1.2
    page.reload()
    expect(page.locator("#strength input[type=number]")).to_have_value("1.2", timeout=SLOW)


def test_two_adapters_answer_as_one_blend(page: Page) -> None:
    opened(page)
    asked(page, "Row 3?")
    page.get_by_label("Blend with").click()
    page.get_by_role("option", name="Numbers 1").click()
    blend = page.get_by_role("region", name="Blend")
    expect(blend).to_contain_text(ANSWERED, timeout=SLOW)
    expect(blend).to_contain_text("0.5 × Numbers 1")
    expect(page.locator("#answers .side")).to_have_count(4)
    page.keyboard.press("Escape")
    slider = page.get_by_role("slider", name="Strength of Numbers 1")
    slider.focus()
    slider.press("Home")
    # Without the other one it is the adapter alone.
    alone = text_of(page, "Adapter")
    expect(blend.locator(".text")).to_have_text(alone, timeout=SLOW)
    assert violations(page) == []


def test_another_seed_gives_another_answer_and_the_same_seed_the_same(page: Page) -> None:
    opened(page)
    field(page, "Temperature").fill("1.5")
    asked(page, "Row 3?")
    first = text_of(page, "Base model")
    page.get_by_role("button", name="Answer again").click()
    expect(field(page, "Seed")).to_have_value("1")
    region = page.get_by_role("region", name="Base model", exact=True)
    expect(region.locator(".text")).not_to_have_text(first, timeout=SLOW)
    answered(page)
    field(page, "Seed").fill("0")
    asked(page, "Row 3?")
    expect(region.locator(".text")).to_have_text(first, timeout=SLOW)


def test_a_reload_loses_neither_what_is_typed_nor_what_was_answered(page: Page) -> None:
    opened(page)
    page.locator("#next").click()
    answered(page)
    text = text_of(page, "Adapter")
    prompt = page.locator("#prompt textarea")
    prompt.fill("Half a thought")
    page.reload()
    expect(page.locator("#answers .side")).to_have_count(3, timeout=SLOW)
    assert text_of(page, "Adapter") == text
    expect(prompt).to_have_value("Half a thought")
    expect(page.locator("#held-out")).to_contain_text("held-out 1 of")
    # It is not only drawn: it can be asked and gone on from, set as it was.
    page.locator("#ask").click()
    expect(page.locator("#held-out")).not_to_contain_text("held-out", timeout=SLOW)
    answered(page)
    page.locator("#next").click()
    expect(page.locator("#held-out")).to_contain_text("held-out 2 of", timeout=SLOW)
    answered(page)
    page.get_by_role("button", name="Advanced").click()
    expect(field(page, "Longest answer")).to_have_value("12")
    page.get_by_role("button", name="New conversation").click()
    expect(prompt).to_be_focused()
    page.reload()
    expect(page.locator("#columns")).to_contain_text("Adapter", timeout=SLOW)
    settle(page)
    expect(page.locator("#answers .side")).to_have_count(0)
    expect(prompt).to_have_value("")


def test_folds_tell_whether_they_are_open_and_lists_close_behind_the_keyboard(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    opened(page)
    fold = page.get_by_role("button", name="Advanced")
    expect(fold).to_have_attribute("aria-expanded", "true")
    fold.press("Enter")
    expect(fold).to_have_attribute("aria-expanded", "false")
    adapter = page.get_by_label("Adapter", exact=True)
    adapter.focus()
    expect(page.get_by_role("option").first).to_be_visible()
    adapter.press("Tab")
    expect(page.get_by_role("option")).to_have_count(0)
    # The arrow is turned about its middle: one as high as two lines would be turned out of its fold.
    for arrow in page.locator("#compare button.label-wrap .icon").all():
        box = arrow.bounding_box()
        assert box is None or box["width"] < 30
    # Gradio may forget that a button is hidden.
    page.evaluate("document.querySelector('#dial-turned').classList.remove('hidden')")
    expect(page.locator("#dial-turned")).to_be_hidden()


WRONG = [
    ("", "", "The prompt is empty."),
    ("Row 3? " * 400, "", "tokens"),
    ("Row 3?", "-1", "temperature"),
]


@pytest.mark.parametrize(("prompt", "temperature", "words"), WRONG)
def test_what_cannot_be_asked_is_said_in_place_of_the_answers(
    page: Page, prompt: str, temperature: str, words: str
) -> None:
    opened(page)
    if temperature:
        field(page, "Temperature").fill(temperature)
    page.locator("#prompt textarea").fill(prompt)
    page.locator("#ask").click()
    expect(page.locator("#answers").get_by_role("alert")).to_contain_text(words, timeout=SLOW)
    expect(page.locator("#prompt textarea")).to_have_value(prompt)
    expect(page.locator("#stop")).to_be_disabled()
    field(page, "Longest answer").fill("10000")
    field(page, "Temperature").fill("0")
    page.locator("#prompt textarea").fill("Row 3?")
    page.locator("#ask").click()
    expect(page.locator("#answers").get_by_role("alert")).to_contain_text("max_new_tokens", timeout=SLOW)


def test_a_script_in_a_prompt_is_text(page: Page) -> None:
    opened(page)
    page.get_by_label("As a conversation").check()
    hostile = '<img src=x onerror="window.broken = 1"><script>window.broken = 1</script>'
    asked(page, hostile)
    expect(page.locator("#answers .asked")).to_contain_text(hostile)
    expect(page.locator("#answers :is(img, script)")).to_have_count(0)
    assert page.evaluate("window.broken") is None


def test_a_phone_shows_one_column_under_the_other(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    opened(page)
    page.locator("#next").click()
    answered(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    tops = [side.bounding_box()["y"] for side in page.locator("#answers .side").all()]  # type: ignore[index]
    assert tops == sorted(tops) and len(set(tops)) == 3
    assert violations(page) == []


def test_an_answer_ends_when_its_browser_is_closed_and_another_tab_is_not_disturbed(
    page: Page, browser: Browser, studio: Studio
) -> None:
    opened(page)
    asked(page, "Row 3?")  # the model is loaded now
    other = browser.new_context(base_url=studio.url).new_page()
    watch(other)
    opened(other)
    field(other, "Longest answer").fill("400")
    other.locator("#prompt textarea").fill("Row 5?")
    other.locator("#ask").click()
    expect(other.locator("#answers .side").first).to_be_visible()
    other.context.close()
    wait_until(lambda: not client.status()["generating"], 20)  # type: ignore[index]
    asked(page, "Row 4?")


def test_an_adapter_that_is_gone_is_named_where_the_answers_would_be(page: Page) -> None:
    opened(page)
    page.locator("#prompt textarea").fill("Row 3?")
    adapters.remove(ADAPTERS[0])
    page.locator("#ask").click()
    expect(page.locator("#answers").get_by_role("alert")).to_contain_text(ADAPTERS[0], timeout=SLOW)
