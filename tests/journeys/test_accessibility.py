"""axe-core's rules on every place, in light and dark, before a run and after one; and a name for every control."""

from __future__ import annotations

import re
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from gradio_client import Client
from playwright.sync_api import Page, expect

from studio.layout import PLACES
from tests.journeys.settling import settle
from tests.journeys.tiny_studio import Trained

pytestmark = pytest.mark.browser
# A control in Playwright's picture of what a screen reader is told, without a name in quotes behind its role.
NAMELESS = re.compile(
    r"^ *- (?:button|link|textbox|combobox|checkbox|radio|slider|spinbutton|switch|tab)(?: \[.*\])?(?::.*)?$",
    re.M,
)

# The notice that closes itself and has a close button inside: Gradio's own, and both do the same.
GRADIOS_OWN = ("nested-interactive", [".toast-header"])
# A page follows its user's choice while it is open: it is opened once and looked at in both.
SCHEMES = ("light", "dark")
IS_SHOWN_IN = "scheme => document.body.classList.contains('dark') === (scheme === 'dark')"


@pytest.fixture(scope="module")
def checked(client: Client, trained: Trained) -> Trained:
    """A finished run with its adapter and its scorecard."""
    client.predict(trained.adapter_id, api_name="/scorecard")
    return trained


@pytest.fixture(scope="module")
def dataset_id(trained: Trained) -> str:
    return trained.dataset_id


def violations(page: Page) -> list[str]:
    """Every broken rule with the elements that break it."""
    found: dict[str, Any] = Axe().run(page).response
    return [
        f"{rule['id']}: {node['target']} {node['html'][:200]} {node.get('failureSummary', '')[:300]}"
        for rule in found["violations"]
        for node in rule["nodes"]
        if (rule["id"], node["target"]) != GRADIOS_OWN
    ]


def open_page(page: Page, address: str) -> None:
    """Open an address, and wait until it is whole."""
    page.emulate_media(color_scheme="light", reduced_motion="reduce")
    page.goto(address)
    expect(page.locator("#answer .answer")).not_to_be_empty()
    settle(page)
    # Until a chart is drawn, Gradio's own sign for none has a label where axe wants none.
    expect(page.locator(".empty.unpadded_box")).to_have_count(0)


def check(page: Page) -> None:
    """Hold an open page against axe's rules in each colour scheme, and every control must have a name."""
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.wait_for_function(IS_SHOWN_IN, arg=scheme)
        settle(page)
        assert violations(page) == [], scheme
    assert NAMELESS.findall(page.locator("body").aria_snapshot()) == [], "a control without a name"


@pytest.mark.parametrize("path", list(PLACES))
def test_a_place_with_examples_but_without_a_run(page: Page, dataset_id: str, path: str) -> None:
    open_page(page, f"{path}?dataset={dataset_id}")
    check(page)


def test_the_exact_text(page: Page, dataset_id: str) -> None:
    open_page(page, f"/?dataset={dataset_id}")
    page.get_by_role("button", name="Exact text the model reads").click()
    expect(page.locator("#examples")).to_contain_text("What the model will read")
    check(page)


def test_every_hidden_part_of_the_model_page(page: Page, dataset_id: str) -> None:
    open_page(page, f"/model?dataset={dataset_id}")
    for closed in page.locator("button.label-wrap:visible").all():
        closed.click()
    settle(page)
    check(page)


def test_what_went_wrong(page: Page) -> None:
    open_page(page, "/")
    page.locator("#pasted textarea").fill("prompt,response\nonly one,example\n")
    page.get_by_role("button", name="Use the pasted text").click()
    expect(page.locator("#under-way").get_by_role("alert")).to_contain_text("at least 2 are needed")
    check(page)


def test_an_error_notice(page: Page) -> None:
    open_page(page, "/")
    page.get_by_role("button", name="Type a few examples").click()
    page.get_by_role("button", name="Use these rows").click()
    expect(page.get_by_test_id("toast-body")).to_contain_text("Nothing has been typed yet")
    check(page)
    expect(page.get_by_test_id("toast-body")).to_be_visible()


@pytest.mark.parametrize("path", list(PLACES))
def test_a_place_after_a_run(page: Page, checked: Trained, path: str) -> None:
    open_page(page, f"{path}?dataset={checked.dataset_id}&run={checked.job_id}&adapter={checked.adapter_id}")
    check(page)


def test_answers_side_by_side(page: Page, checked: Trained) -> None:
    open_page(page, f"/compare?adapter={checked.adapter_id}")
    page.get_by_role("button", name="Next held-out example").click()
    expect(page.get_by_role("region", name="Adapter")).to_contain_text("wrote", timeout=60_000)
    check(page)
