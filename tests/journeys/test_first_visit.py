"""A first visit in a real browser: every place, every look, by keyboard alone, and without a network."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from studio.layout import PLACES
from tests.journeys import studio_process, tiny_studio
from tests.journeys.settling import settle
from tests.journeys.studio_process import Studio

pytestmark = pytest.mark.browser
LOOKS = {
    "light": ("light", 1280),
    "dark": ("dark", 1280),
    "phone": ("light", 390),
    "phone, dark": ("dark", 390),
}
MOST_TABS = 60


@pytest.fixture(scope="module")
def studio(own_studio: Studio) -> Studio:
    return own_studio


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("path", list(PLACES))
def test_every_place_opens_with_its_question(page: Page, path: str, look: str) -> None:
    scheme, width = LOOKS[look]
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    large: list[str] = []
    page.on("request", lambda request: large.append(request.url) if "/vendor/" in request.url else None)
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.set_viewport_size({"width": width, "height": 860})
    page.goto(path)
    expect(page.get_by_role("heading", level=1)).to_have_text(PLACES[path].question)
    expect(page.locator("#answer .answer")).not_to_be_empty()
    settle(page)
    assert complaints == []
    assert large == [], "4.5 MB for a curve that is not there"
    assert page.title().startswith("LoRA Tailor")
    assert page.evaluate("document.body.classList.contains('dark')") is (scheme == "dark")
    assert page.evaluate("document.documentElement.lang") == "en"
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, "no sideways scrolling"


def tab_to(page: Page, wanted: Locator) -> None:
    """Press Tab until something has the focus, and see that it shows, as somebody without a mouse does."""
    expect(wanted).to_be_visible()
    for _ in range(MOST_TABS):
        page.keyboard.press("Tab")
        if wanted.evaluate("(element) => element === document.activeElement"):
            assert wanted.evaluate("(element) => getComputedStyle(element).outlineStyle") != "none"
            return
    raise AssertionError(f"{MOST_TABS} times Tab did not reach {wanted}")


def test_from_a_sample_to_a_running_training_with_the_keyboard_alone(page: Page) -> None:
    page.goto("/")
    tab_to(page, page.locator("#sample-tone"))
    page.keyboard.press("Enter")
    expect(page.locator("#answer")).to_contain_text("kept aside")
    tab_to(page, page.get_by_role("link", name="Next: choose a model"))
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/model"))
    expect(page.locator("#answer")).to_contain_text("is enough to start")
    tab_to(page, page.get_by_role("button", name="Start training"))
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/train.*run="))
    expect(page.locator("#run .live")).to_be_visible()


def test_the_first_tab_leads_past_the_bar(page: Page) -> None:
    page.goto("/")
    expect(page.locator("h1")).to_be_visible()
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the answer")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """A studio on a machine without network, before it ever had a model."""
    home = tmp_path_factory.mktemp("offline") / "home"
    running = studio_process.start(home, environment=tiny_studio.NO_NETWORK)
    yield running
    running.stop()


@pytest.fixture
def offline_page(browser: Browser, offline: Studio) -> Iterator[Page]:
    context = browser.new_context(base_url=offline.url)
    context.set_default_timeout(30_000)
    yield context.new_page()
    context.close()


def test_without_network_it_says_that_the_model_could_not_be_fetched(offline_page: Page) -> None:
    offline_page.goto("/system")
    problem = offline_page.get_by_role("alert")
    expect(problem).to_contain_text("The starter model could not be fetched", timeout=120_000)
    said = problem.inner_text()
    assert re.search(r"network|internet|reach", said), said
    assert "Traceback" not in offline_page.content()
    expect(offline_page.get_by_role("button", name=re.compile("fetch", re.I))).to_be_visible()


def test_without_a_model_examples_can_be_brought(offline_page: Page, tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("prompt,response\n" + "".join(f"Question {n}?,Answer {n}.\n" for n in range(30)))
    offline_page.goto("/")
    offline_page.locator("#data-file input[type=file]").set_input_files(file)
    expect(offline_page.locator("#answer")).to_contain_text("kept aside")
    expect(offline_page.locator("#examples")).to_contain_text("Question 1?")
    offline_page.get_by_role("button", name="Exact text the model reads").click()
    expect(offline_page.locator("#examples")).to_contain_text("starter model")


def test_without_a_model_the_calculator_calculates(offline_page: Page) -> None:
    offline_page.goto("/model")
    expect(offline_page.locator("#savings")).to_contain_text("not 135 million", timeout=15_000)
    offline_page.get_by_role("button", name=re.compile("Your own numbers")).click()
    expect(offline_page.locator("#own-result")).to_contain_text("400,000,000 → 100,000 (1/4,000)")
    offline_page.locator("#own-rank input").fill("4")
    offline_page.locator("#own-rank input").press("Tab")
    expect(offline_page.locator("#own-result")).to_contain_text("200,000 (1/2,000)")
