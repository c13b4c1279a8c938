"""A studio whose database is damaged or gone, and a studio that is told to end with its jobs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from jobs import queue
from jobs.base_models import catalogue
from jobs.datasets import importing
from jobs.executors import processes
from storage import config, database, datasets, files, jobs
from tests.journeys import studio_process, tiny_studio
from tests.journeys.studio_process import ROOT, wait_until

PASTED = "prompt,response\n" + "".join(f"What is {number}?,It is {number}\n" for number in range(200))
# About 18,000 steps: longer than any test waits.
LONG = {"epochs": 100, "tokens_per_step": 16}
BUTTON = "Rebuild the database from its folders"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A data folder with a dataset in it; afterwards nothing of it runs."""
    home = tmp_path / "home"
    config.use(config.from_environment(data_dir=home))
    database.connect()
    importing.add_pasted(PASTED, "Kept")
    database.close()
    yield home
    database.close()
    studio_process.kill_all_of(home)


def health(url: str) -> dict[str, object]:
    answer: dict[str, object] = httpx.get(f"{url}/healthz", trust_env=False).json()
    return answer


@pytest.fixture
def damaged(home: Path, tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address and the process of a studio that found its database damaged."""
    files.database_path().write_bytes(b"no database" * 1000)
    words = (tmp_path / "words").open("w+")
    process = subprocess.Popen(
        [sys.executable, "app.py", "--no-browser", "--port", "0", "--data-dir", str(home)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=words,
        text=True,
        env={**os.environ, **tiny_studio.NO_NETWORK},
    )

    def said() -> str:
        words.seek(0)
        return words.read()

    told = wait_until(lambda: said() if "http://" in said() else None, 60)
    assert told.startswith("The database is damaged") and "Traceback" not in told
    yield told.split()[-1], process
    process.send_signal(signal.SIGINT)
    process.wait(20)
    words.close()


@pytest.mark.browser
def test_a_damaged_database_is_rebuilt_with_one_key(
    browser: Browser, damaged: tuple[str, subprocess.Popen[str]], tmp_path: Path
) -> None:
    url, process = damaged
    for scheme in ("light", "dark"):
        context = browser.new_context(color_scheme=scheme, viewport={"width": 390, "height": 700})  # type: ignore[arg-type]
        page = context.new_page()
        page.goto(url)
        button = page.get_by_role("button", name=BUTTON)
        expect(button).to_be_focused()
        expect(page.get_by_role("status")).to_contain_text("The database is damaged")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        background = page.evaluate("getComputedStyle(document.querySelector('button')).backgroundColor")
        assert background == "rgb(15, 118, 110)"
        page.screenshot(path=tmp_path / f"{scheme}.png")
        if scheme == "light":
            context.close()
    assert process.poll() is None
    page.keyboard.press("Enter")
    page.wait_for_url(f"{url}/**")
    wait_until(lambda: "version" in health(url), 60)
    assert process.stdout and process.stdout.readline() == f"LoRA Tailor is ready at {url}\n"
    opened(page)
    context.close()
    database.connect()
    assert [one.name for one in datasets.list_all()] == ["Kept"]
    (kept,) = files.root().glob("backups/replaced-*/studio.db")
    assert kept.read_bytes().startswith(b"no database")


def opened(page: Page) -> None:
    """The splash has given way to the studio by itself."""
    expect(page.get_by_role("button", name=BUTTON)).to_have_count(0, timeout=20_000)
    expect(page).not_to_have_title("LoRA Tailor is starting", timeout=20_000)


def test_a_database_that_is_gone_is_rebuilt_at_the_start(home: Path) -> None:
    files.database_path().unlink()
    studio = studio_process.start(home, environment=tiny_studio.NO_NETWORK)
    database.connect()
    assert [one.name for one in datasets.list_all()] == ["Kept"]
    notice = "The database was made again from its folders: 1 dataset, 0 jobs, "
    assert notice in files.log_path("studio").read_text()
    told = health(studio.url)
    assert "notice" in told
    assert str(told["notice"]).startswith(notice)
    studio.stop()


def test_it_can_be_rebuilt_by_an_argument(home: Path) -> None:
    database.connect()
    datasets.remove(datasets.list_all()[0].id)
    database.close()
    studio = studio_process.start(home, "--rebuild-database", environment=tiny_studio.NO_NETWORK)
    database.connect()
    assert [one.name for one in datasets.list_all()] == ["Kept"]
    studio.stop()


@pytest.mark.parametrize("end_jobs", [True, False])
def test_told_to_end_a_container_lets_its_jobs_save_first(
    home: Path, tiny_model: Path, end_jobs: bool
) -> None:
    model = tiny_studio.add_folder(home, tiny_model)
    environment = {**tiny_studio.NO_NETWORK, **({"LORA_TAILOR_STOP_JOBS": "1"} if end_jobs else {})}
    studio = studio_process.start(home, environment=environment)
    database.connect()
    assert catalogue.find(model).available
    job = queue.submit_training(datasets.list_all()[0].id, model, 4, LONG)
    wait_until(lambda: jobs.get(job.id).step > 3 or jobs.get(job.id).finished_at, 60)
    job = jobs.get(job.id)
    assert job.pid
    began = time.monotonic()
    studio.process.send_signal(signal.SIGTERM)
    studio.process.wait(30)
    assert time.monotonic() - began < 28
    if not end_jobs:
        assert processes.handle_of(job.pid), "only the page ends"
        return
    assert studio.process.returncode == 128 + signal.SIGTERM
    assert processes.handle_of(job.pid) is None
    attempt = files.attempt_folder(job.id, 1)
    assert files.read_json(attempt / "result.json")["status"] == "interrupted"
    assert list(attempt.glob("states/step-*")), "it has saved where it is"
    studio = studio_process.start(home, environment=environment)
    wait_until(lambda: jobs.get(job.id).attempt == 2 and jobs.get(job.id).resumed_from, 120)
    studio.stop()
