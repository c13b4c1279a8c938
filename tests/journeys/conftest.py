"""One studio and one browser for all journeys; a fresh browser context for each."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect, sync_playwright

from tests.journeys import studio_process
from tests.journeys.studio_process import Studio

# Milliseconds; the machine may be busy with other tests.
expect.set_options(timeout=20_000)

CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def launch(playwright: Playwright) -> Browser:
    """The machine's own Chromium, headless."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    return playwright.chromium.launch(executable_path=path, args=CHROMIUM_ARGUMENTS)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory, starter_model: Path) -> Iterator[Studio]:
    """A studio whose starter model is already there."""
    running = studio_process.start(tmp_path_factory.mktemp("studio") / "home", starter=starter_model)
    yield running
    running.stop()


@pytest.fixture
def context(browser: Browser, studio: Studio) -> Iterator[BrowserContext]:
    context = browser.new_context(base_url=studio.url, viewport={"width": 1280, "height": 860})
    context.set_default_timeout(30_000)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, studio: Studio) -> Iterator[Page]:
    """A page that fails the test when it asks anything of another address or when a script breaks."""
    page = context.new_page()
    foreign: list[str] = []
    broken: list[str] = []
    page.on(
        "request",
        lambda request: foreign.append(request.url) if not is_own(request.url, studio.url) else None,
    )
    page.on("pageerror", lambda error: broken.append(str(error)))
    yield page
    assert foreign == []
    assert broken == []


def is_own(url: str, own: str) -> bool:
    return url.startswith((own, "data:", "blob:", "about:"))
