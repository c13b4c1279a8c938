"""Make the README's pictures: `python -m tests.journeys.screenshots --starter FOLDER [--out docs folder]`.

Drives a studio of its own through the format sample set and photographs the four steps and the Explain page, and
before that a sloppy file as it comes and with its problems fixed.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from pathlib import Path

from gradio_client import Client
from playwright.sync_api import Page, expect, sync_playwright

from tests.journeys import sloppy, studio_process
from tests.journeys.conftest import launch
from tests.journeys.studio_process import wait_until

OUT = Path(__file__).parent / "pictures"


def main() -> None:
    """Start, drive, photograph, stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starter", type=Path, required=True, help="folder of the converted starter model")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        studio = studio_process.start(Path(folder) / "home", starter=options.starter)
        try:
            browser = launch(playwright)
            page = browser.new_page(base_url=studio.url, viewport={"width": 1280, "height": 860})
            photograph_repair(page, sloppy.write(Path(folder) / "support_mails.csv"), options.out)
            photograph(page, Client(studio.url, verbose=False), options.out)
            browser.close()
        finally:
            studio.stop()


def photograph_repair(page: Page, file: Path, out: Path) -> None:
    """A sloppy file's problems, and what one click leaves of them."""
    page.goto("/")
    page.locator("#data-file input[type=file]").set_input_files(file)
    page.get_by_role("button", name="Use these columns").click()
    page.get_by_role("button", name="Fix all").wait_for()
    page.wait_for_timeout(4000)
    page.screenshot(path=out / "6-sloppy.png")
    page.get_by_role("button", name="Fix all").click()
    page.get_by_role("button", name=re.compile("^Undo")).wait_for()
    page.wait_for_timeout(4000)
    page.screenshot(path=out / "7-fixed.png")


def photograph(page: Page, client: Client, out: Path) -> None:
    """The five pictures, in the order in which a user sees the pages."""
    page.goto("/")
    page.get_by_role("button", name=re.compile("^Format:")).click()
    expect(page.locator("#examples")).to_contain_text("format.jsonl")
    page.wait_for_timeout(1500)
    page.screenshot(path=out / "1-data.png")
    page.get_by_role("link", name="Next: choose a model").click()
    expect(page.locator("#answer")).to_contain_text("is enough to start")
    page.wait_for_timeout(1500)
    page.screenshot(path=out / "2-model.png")
    page.get_by_role("button", name="Start training").click()
    page.wait_for_url(re.compile("/train"))
    run_id = re.search(r"run=(\w+)", page.url)[1]  # type: ignore[index]
    job = lambda: client.predict(run_id, api_name="/job")  # noqa: E731
    wait_until(lambda: job()["total_steps"] and job()["step"] > 0.6 * job()["total_steps"], 900, every=1)
    page.wait_for_timeout(2500)
    page.screenshot(path=out / "3-train.png")
    wait_until(lambda: job()["status"] == "finished", 900, every=1)
    client.predict(job()["adapter_id"], api_name="/scorecard")
    page.goto(f"/compare?run={run_id}")
    page.get_by_role("button", name="Next held-out example ›").click()
    expect(page.get_by_role("region", name="Adapter")).to_contain_text("}", timeout=240_000)
    page.wait_for_timeout(4000)
    page.screenshot(path=out / "4-compare.png", full_page=True)
    page.goto("/explain")
    page.wait_for_timeout(2500)
    page.screenshot(path=out / "5-explain.png", full_page=True)


if __name__ == "__main__":
    main()
