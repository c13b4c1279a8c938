"""The scorecard as a person meets it: the verdict at first glance, the rest with the keyboard and on a phone."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, Page, expect

from storage import adapters
from tests.journeys import tiny_studio
from tests.journeys.settling import settle
from tests.journeys.studio_process import Studio
from tests.journeys.test_accessibility import NAMELESS, violations
from tests.studio.compare import sample_card

pytestmark = pytest.mark.browser
FOLDS = ("rules", "prompting", "effects", "learned", "measures", "answers", "check", "study")


@pytest.fixture(scope="module")
def studio(shared_studio: Studio) -> Studio:
    """One with an adapter that was checked, and one that was not."""
    with tiny_studio.database_of(shared_studio):
        sample_card.add("checked", "mails")
        sample_card.add("unchecked", "letters", with_card=False)
    return shared_studio


def open_page(page: Page, adapter_id: str = "checked") -> None:
    page.goto(f"/compare?adapter={adapter_id}")
    expect(page.locator("#answer .answer")).not_to_be_empty()
    expect(page.locator("#scorecard")).not_to_be_empty()


def fold(page: Page, name: str) -> Locator:
    return page.locator(f"#{name}-fold > button")


def test_the_verdict_and_its_evidence_are_there_at_first_glance_and_the_rest_is_folded(page: Page) -> None:
    open_page(page)
    expect(page.locator("#answer strong")).to_have_text("Yes.")
    expect(page.get_by_role("region", name="Scorecard")).to_contain_text("the right fields")
    expect(page.get_by_role("region", name="Scorecard")).to_be_in_viewport()
    for inside in (
        "rules",
        "prompting",
        "side-effects",
        "learned",
        "measures",
        "all-answers",
        "check-dataset",
        "study",
    ):
        expect(page.locator(f"#{inside}")).to_be_hidden()
    expect(fold(page, "effects")).to_contain_text("hardly changed")


def test_a_rule_is_switched_with_the_keyboard_which_stays_where_it_was(page: Page) -> None:
    open_page(page)
    fold(page, "rules").press("Enter")
    page.locator("#rules").get_by_role("button", name="Switch off: the right fields").press("Enter")
    expect(page.get_by_role("region", name="Scorecard")).not_to_contain_text("the right fields")
    again = page.locator("#rules").get_by_role("button", name="Switch on: the right fields")
    expect(again).to_be_focused()
    page.reload()
    expect(page.locator("#answer .answer")).not_to_contain_text("the right fields")
    fold(page, "rules").press("Enter")
    again.press("Enter")
    expect(page.get_by_role("region", name="Scorecard")).to_contain_text("the right fields")


def test_two_rules_are_switched_in_quick_succession(page: Page) -> None:
    open_page(page)
    fold(page, "rules").click()
    off = page.locator("#rules button[aria-label^='Switch off']")
    expect(off.first).to_be_visible()
    names = [
        str(name).removeprefix("Switch off: ")
        for name in off.evaluate_all("(all) => all.map((b) => b.title)")
    ]
    off.evaluate_all("([first, second]) => { first.click(); setTimeout(() => second.click(), 30); }")
    for name in names[:2]:
        on = page.locator("#rules").get_by_role("button", name=f"Switch on: {name}", exact=True)
        expect(on).to_be_visible()
        on.click()
        expect(on).to_have_count(0)


def test_one_reads_the_rows_that_fail_adds_a_rule_and_takes_it_away_again(page: Page) -> None:
    open_page(page)
    fold(page, "rules").click()
    page.locator("#rules").get_by_role("button", name="Read the 3 rows that fail: the right fields").click()
    reader = page.locator("#reader")
    expect(reader).to_contain_text("1 of 3")
    reader.get_by_role("button", name="Next row").click()
    expect(reader).to_contain_text("2 of 3")
    expect(reader.locator("i")).to_have_count(0)  # a prompt with <i> in it is text
    page.get_by_label("Add a rule").click()
    page.get_by_role("option", name="Must contain", exact=True).click()
    form = page.locator("#rule-form")
    form.get_by_label("Texts, one a line").fill("topic")
    form.get_by_role("button", name="Add this rule").click()
    expect(page.locator("#rules")).to_contain_text("yours")
    expect(page.get_by_role("region", name="Scorecard")).to_contain_text("topic")
    page.locator("#rules").get_by_role("button", name="Remove: ").click()
    expect(page.locator("#rules")).not_to_contain_text("yours")


def test_an_instruction_that_is_kept_asks_for_another_check(page: Page) -> None:
    open_page(page)
    fold(page, "prompting").click()
    page.get_by_label("Written instruction").fill("Answer as a ticket.")
    page.get_by_role("button", name="Keep this instruction").click()
    expect(page.locator("#check-progress")).to_contain_text("Check again to know")
    page.get_by_role("button", name="Make it from the rules again").click()
    expect(page.get_by_label("Written instruction")).not_to_have_value("Answer as a ticket.")
    expect(page.locator("#check-progress")).to_be_hidden()


def test_a_check_shows_how_far_it_is_and_can_be_stopped(page: Page) -> None:
    open_page(page, "unchecked")
    expect(page.locator("#answer .answer")).to_contain_text("Not measured yet")
    page.locator("#check").click()
    expect(page.locator("#answer .answer")).to_contain_text("Being checked now")
    expect(page.locator("#check-progress")).not_to_be_empty()
    page.reload()
    page.locator("#check-stop").click()
    expect(page.locator("#check-progress")).to_contain_text("kept", timeout=60_000)
    expect(page.locator("#check")).to_be_visible(timeout=60_000)


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 390)])
def test_everything_unfolded_keeps_the_rules_of_accessibility_and_fits(
    page: Page, scheme: str, width: int
) -> None:
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
    page.set_viewport_size({"width": width, "height": 860})
    open_page(page)
    for name in FOLDS:
        fold(page, name).click()
    page.locator("#rules").get_by_role("button", name="Read the 3 rows").click()
    expect(page.locator("#reader")).to_contain_text("1 of 3")
    for summary in page.locator("#folds summary:visible").all():
        summary.click()
    settle(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert violations(page) == []
    assert NAMELESS.findall(page.locator("body").aria_snapshot()) == []


def test_a_strength_that_is_kept_makes_the_card_old_at_once(page: Page, studio: Studio) -> None:
    open_page(page)
    expect(page.locator("#check-progress")).to_be_empty()
    slider = page.locator("#strength input[type=range]")
    expect(slider).to_be_enabled()
    settle(page)
    slider.focus()
    slider.press("Home")
    try:
        page.locator("#keep-strength").click()
        expect(page.locator("#check-progress")).to_contain_text("now 0×, and these answers were given at 1×")
    finally:
        with tiny_studio.database_of(studio):
            adapters.set_strength("checked", 1.0)


def test_an_address_of_an_adapter_that_is_gone_shows_no_other_ones_verdict(page: Page) -> None:
    page.goto("/compare?adapter=gone")
    expect(page.locator("#compare-missing")).to_contain_text("no adapter “gone”")
    expect(page.locator("#answer .answer")).to_have_text("No adapter is chosen.")
    expect(page.locator("#scorecard")).to_be_hidden()
    page.locator("#compare-adapter input").click()
    page.get_by_role("option").first.click()
    expect(page.locator("#scorecard")).to_be_visible()
    expect(page.locator("#compare-missing")).to_be_hidden()
