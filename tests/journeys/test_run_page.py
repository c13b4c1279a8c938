"""The page of one run: it says how far the run is and how it computes, whatever becomes of the chart's script.

The test is the run’s process: it reports as a training does, and the studio's worker takes it in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Route, expect

from jobs.progress import RunFolderProgress
from storage import files, jobs, metrics
from tests.journeys import faulty_runs
from tests.journeys.settling import settle
from tests.journeys.studio_process import Studio

pytestmark = pytest.mark.browser
TOTAL = 60
SLOW = 20_000  # milliseconds: the machine may be busy
PACKS = "Examples are packed 16,384 tokens at a time; none sees another."
HALVED = "The memory was full at step 3: packs are half as long from there on."
TRIALS = [
    {"rank": 4, "learning_rate": 5e-4, "best_held_out_loss": 1.234, "best_step": 50},
    {"rank": 16, "learning_rate": 5e-4, "best_held_out_loss": 1.111, "best_step": 60},
]


def running_job(name: str) -> jobs.Job:
    """A job in its first attempt, whose process is this one."""
    # In one step: the studio's own worker would claim one that waits.
    of = {"dataset_id": "dataset", "base_model_id": "starter", "rank": 8, "settings": {"epochs": 3}}
    return jobs.get(faulty_runs.add(name, **faulty_runs.this_process(), device="cpu", **of))


def finished_job() -> jobs.Job:
    """A sweep that has ended, with a rehearsal before it."""
    job = running_job("finished")
    points = [(step, "loss", 3 - step / 40) for step in range(1, TOTAL + 1)]
    points += [(step, "held_out_loss", 3 - step / 50) for step in range(0, TOTAL + 1, 10)]
    told = {"step": TOTAL, "total_steps": TOTAL, "notes": [PACKS]}
    foreseen = {"foreseen_seconds": 100.0, "foreseen_peak_bytes": 2_100_000_000}
    metrics.take_in(job.id, job.attempt, points, 0, **told, **foreseen)
    rehearsal = {"seconds": 100.0, "peak_bytes": 2.1e9, "seconds_error": -0.03, "peak_error": 0.012}
    result = {"trials": TRIALS, "best_trial": 1, "rehearsal": rehearsal, "notes": [HALVED]}
    jobs.finish(job.id, job.attempt, "finished", result=result)
    return jobs.get(job.id)


@pytest.fixture(scope="module")
def studio(own_studio: Studio) -> Studio:
    return own_studio


@pytest.fixture(scope="module")
def ended(studio: Studio) -> jobs.Job:
    return finished_job()


@pytest.fixture
def live(studio: Studio) -> Iterator[tuple[jobs.Job, RunFolderProgress]]:
    """A run under way, and what it reports to."""
    job = running_job("live")
    progress = RunFolderProgress(files.attempt_folder(job.id, job.attempt), job.attempt)
    progress.total_steps(TOTAL)
    yield job, progress
    jobs.finish(job.id, job.attempt, "stopped")


def test_words_and_numbers_do_not_wait_for_the_chart(
    page: Page, live: tuple[jobs.Job, RunFolderProgress]
) -> None:
    job, progress = live
    held_back: list[Route] = []
    page.route("**/vendor/plotly.min.js", lambda route: held_back.append(route))
    page.goto(f"/train?run={job.id}", wait_until="commit")
    expect(page.locator("[data-part=step]")).to_have_text(f"Step 0 of {TOTAL}", timeout=SLOW)
    for step in range(1, 8):
        progress.metric(step, loss=3 - step / 10)
    expect(page.locator("[data-part=step]")).to_have_text(f"Step 7 of {TOTAL}", timeout=SLOW)
    expect(page.locator("#answer .answer")).to_contain_text("too early to tell")
    assert held_back, "the chart's script was never asked for"
    assert page.evaluate("window.Plotly === undefined")
    held_back[0].continue_()
    page.wait_for_function("document.querySelector('.live .chart').data?.[0].x.length >= 7", timeout=SLOW)
    progress.metric(8, loss=2.0)
    page.wait_for_function("document.querySelector('.live .chart').data[1].x.length >= 8", timeout=SLOW)
    for trace in (0, 1):
        drawn = page.evaluate(f"document.querySelector('.live .chart').data[{trace}].x")
        assert list(drawn) == list(range(1, 9)), "every step from the first, each once"


def test_the_chart_of_an_ended_run_comes_with_its_script(page: Page, ended: jobs.Job) -> None:
    held_back: list[Route] = []
    page.route("**/vendor/plotly.min.js", lambda route: held_back.append(route))
    page.goto(f"/train?run={ended.id}", wait_until="commit")
    expect(page.locator("[data-part=best]")).to_have_text(f"1.800 at step {TOTAL}", timeout=SLOW)
    held_back[0].continue_()
    page.wait_for_function("document.querySelector('.live .chart').data?.[0].x.length == 60", timeout=SLOW)


def test_the_first_html_says_how_far_the_run_is(page: Page, ended: jobs.Job) -> None:
    page.route("**/studio-assets/live.js", lambda route: route.abort())
    page.goto(f"/train?run={ended.id}")
    expect(page.locator("[data-part=step]")).to_have_text(f"Step {TOTAL} of {TOTAL}", timeout=SLOW)
    expect(page.locator("[data-part=meter]")).to_have_attribute("aria-valuenow", "100")
    expect(page.locator("[data-part=notes] li")).to_have_text([PACKS, HALVED])


def test_a_run_says_how_it_computes_while_it_does(
    page: Page, live: tuple[jobs.Job, RunFolderProgress]
) -> None:
    job, progress = live
    page.goto(f"/train?run={job.id}")
    expect(page.locator("[data-part=how]")).to_be_hidden(timeout=SLOW)
    progress.note(PACKS)
    progress.foreseen(100.0, 2_100_000_000)
    expect(page.locator("[data-part=notes] li")).to_have_text([PACKS], timeout=SLOW)
    expect(page.locator("[data-part=foreseen]")).to_have_text("Foreseen: about 1 minute 40, 2.1 GB.")
    progress.metric(1, loss=3.0)
    progress.note(HALVED)
    progress.note(PACKS)
    expect(page.locator("[data-part=notes] li")).to_have_text([PACKS, HALVED], timeout=SLOW)
    page.reload()
    expect(page.locator("[data-part=notes] li")).to_have_text([PACKS, HALVED], timeout=SLOW)


def test_an_ended_run_says_how_well_it_was_foreseen_and_what_was_tried(page: Page, ended: jobs.Job) -> None:
    page.goto(f"/train?run={ended.id}")
    expect(page.locator("[data-part=foreseen]")).to_have_text(
        "Foreseen: about 1 minute 40, 2.1 GB. It took 3 % longer than foreseen, and it needed 1 % less memory"
        " than foreseen.",
        timeout=SLOW,
    )
    rows = page.get_by_role("region", name="What was tried").locator("tbody tr")
    expect(rows).to_have_text([re.compile(r"1.*4.*0\.0005.*1\.234"), re.compile(r"2.*16.*1\.111.*kept")])


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_an_ended_run_passes_axe_and_fits_a_phone(
    page: Page, ended: jobs.Job, scheme: str, width: int, tmp_path: Path
) -> None:
    page.set_viewport_size({"width": width, "height": 860})
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
    page.goto(f"/train?run={ended.id}")
    expect(page.get_by_role("region", name="What was tried")).to_be_visible(timeout=SLOW)
    page.wait_for_function("document.querySelector('.live .chart').data?.length", timeout=SLOW)
    settle(page)
    broken = Axe().run(page).response["violations"]
    assert [(rule["id"], [node["html"][:200] for node in rule["nodes"]]) for rule in broken] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.screenshot(path=tmp_path / f"run-{scheme}-{width}.png", full_page=True)
