"""The studios that journeys are made in, and one browser; a fresh page for each journey."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from gradio_client import Client
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect, sync_playwright

from tests.journeys import settling, studio_process, tiny_studio
from tests.journeys.studio_process import Studio
from tests.journeys.tiny_studio import Trained

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


# The shared studios end with the journeys: they would go on working beside all tests that come after.


@pytest.fixture(scope="package")
def shared_studio(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[Studio]:
    """One for all files that can live with what others have left there: starting it takes its time."""
    running = tiny_studio.start(tmp_path_factory.mktemp("shared-studio") / "home", tiny_model)
    yield running
    running.stop()


@pytest.fixture(scope="package")
def starter_studio(tmp_path_factory: pytest.TempPathFactory, starter_model: Path) -> Iterator[Studio]:
    """One with the real starter model, for all files marked `starter`."""
    running = studio_process.start(tmp_path_factory.mktemp("starter-studio") / "home", starter=starter_model)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def own_studio(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[Studio]:
    """One for a single file; the test's own process has its database open."""
    running = tiny_studio.start(tmp_path_factory.mktemp("own-studio") / "home", tiny_model)
    with tiny_studio.database_of(running):
        yield running
    running.stop()


@pytest.fixture(scope="module")
def studio(request: pytest.FixtureRequest) -> Studio:
    """The studio whose pages a file opens; a file that needs `own_studio` says so by a fixture of this name."""
    is_real = request.node.get_closest_marker("starter")
    return request.getfixturevalue("starter_studio" if is_real else "shared_studio")  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def client(studio: Studio) -> Client:
    return Client(studio.url, verbose=False)


@pytest.fixture(scope="package")
def trained(shared_studio: Studio, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """An adapter of three steps in the shared studio, for whoever changes neither it nor its dataset."""
    return tiny_studio.train(shared_studio, tmp_path_factory.mktemp("examples"))


@pytest.fixture(scope="module")
def context(browser: Browser, studio: Studio) -> Iterator[BrowserContext]:
    """One window for all pages of a file: what is loaded once need not be loaded again."""
    context = browser.new_context(base_url=studio.url, viewport={"width": 1280, "height": 860})
    context.set_default_timeout(30_000)
    yield context
    context.close()


@pytest.fixture(scope="module")
def resident(context: BrowserContext) -> Page:
    """A page that stays, so that the window does, and by which the browser forgets what pages have kept."""
    page = context.new_page()
    page.goto("/healthz")
    return page


@pytest.fixture
def page(context: BrowserContext, resident: Page, studio: Studio) -> Iterator[Page]:
    """A page that fails the test when it asks anything of another address or when a script breaks."""
    context.clear_cookies()
    resident.evaluate("localStorage.clear()")
    page = context.new_page()
    settling.watch(page)
    foreign: list[str] = []
    broken: list[str] = []
    page.on(
        "request",
        lambda request: foreign.append(request.url) if not is_own(request.url, studio.url) else None,
    )
    page.on("pageerror", lambda error: broken.append(str(error)))
    yield page
    page.close()
    assert foreign == []
    assert broken == []


def is_own(url: str, own: str) -> bool:
    return url.startswith((own, "data:", "blob:", "about:"))
