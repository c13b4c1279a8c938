"""What a user sees of faults on the pages of the runs: interrupted, paused, hanging, waiting, deleted ones."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Page, Route, expect

from storage import checkpoints, files, jobs, trash
from tests.journeys import faulty_runs
from tests.journeys.settling import settle
from tests.journeys.studio_process import Studio, wait_until

pytestmark = pytest.mark.browser
SLOW = 20_000  # milliseconds: the machine may be busy
RESUMED = "Interrupted at step 120; resumed from 100 (attempt 2)."


@pytest.fixture(scope="module")
def studio(own_studio: Studio) -> Studio:
    return own_studio


@pytest.fixture(autouse=True)
def only_own_runs(studio: Studio) -> Iterator[None]:
    """The device is taken as long as a test lasts, so that what waits goes on waiting; no run outlasts a test."""
    faulty_runs.add("busy", **faulty_runs.this_process())
    yield
    for job in jobs.list_all():
        faulty_runs.change(job.id, status="stopped")
        jobs.remove(job.id)


def own_runs() -> list[jobs.Job]:
    """All but the one that keeps the device, in the order of the queue."""
    return sorted((job for job in jobs.list_all() if job.name != "busy"), key=lambda job: job.position)


def button(page: Page, name: str):  # type: ignore[no-untyped-def]
    return page.get_by_role("button", name=name, exact=True)


def five_quick_clicks(page: Page, selector: str) -> None:
    expect(page.locator(selector)).to_be_visible(timeout=SLOW)
    page.evaluate(f"() => {{ for (let i = 0; i < 5; i++) document.querySelector({selector!r})?.click(); }}")


def test_an_interrupted_run_says_so_and_goes_on_once_however_often_it_is_clicked(page: Page) -> None:
    job_id = faulty_runs.ended("tone")
    page.goto(f"/train?run={job_id}")
    expect(page.locator("[data-part=faults] li")).to_have_text([RESUMED], timeout=SLOW)
    expect(button(page, "Go on from step 100")).to_have_class(re.compile("primary"))
    expect(button(page, "Start it again")).to_have_class(re.compile("secondary"))
    five_quick_clicks(page, "#go-on")
    expect(page.locator("[data-part=waits]")).to_have_text("Waiting: next in the queue.", timeout=SLOW)
    expect(page.locator("#go-on")).to_be_hidden()
    expect(page.locator("#stop")).to_be_visible()
    assert [(job.id, job.status) for job in own_runs()] == [(job_id, "queued")]


def test_buttons_follow_what_happens_while_the_page_is_open(page: Page, context: BrowserContext) -> None:
    job_id = faulty_runs.add("tone")
    page.goto(f"/train?run={job_id}")
    expect(page.locator("[data-part=waits]")).to_have_text("Waiting: next in the queue.", timeout=SLOW)
    expect(page.locator("#stop")).to_be_visible()
    faulty_runs.change(job_id, **faulty_runs.this_process())
    expect(page.locator("[data-part=waits]")).to_have_text("", timeout=SLOW)
    faulty_runs.change(job_id, **faulty_runs.PAUSED)
    sentence = f"{faulty_runs.FULL} It goes on by itself when there is room."
    expect(page.locator("[data-part=waits]")).to_have_text(sentence, timeout=SLOW)
    expect(page.locator("#answer .answer")).to_contain_text("until there is room on the disk")
    faulty_runs.change(
        job_id, status="failed", error_message="Interrupted.", paused_for=None, needs_bytes=None
    )
    expect(page.locator("#again")).to_be_visible(timeout=SLOW)
    expect(page.locator("#stop")).to_be_hidden()
    faulty_runs.change(job_id, status="queued", error_message=None)  # told to go on in another window
    expect(page.locator("#stop")).to_be_visible(timeout=SLOW)
    expect(page.locator("#again")).to_be_hidden()
    faulty_runs.change(job_id, status="stopped")
    expect(page.locator("#delete-run")).to_be_visible(timeout=SLOW)
    jobs.remove(job_id)
    expect(page.locator("#answer .answer")).to_have_text("This run has been deleted.", timeout=SLOW)
    for name in ("stop", "again", "go-on", "delete-run"):
        expect(page.locator(f"#{name}")).to_be_hidden(timeout=SLOW)


def test_a_silent_run_is_called_so_without_moving_the_page(page: Page) -> None:
    job_id = faulty_runs.add("tone", **faulty_runs.this_process(), step=3, total_steps=9)
    said = False

    def silent(route: Route) -> None:
        answer = route.fetch()
        news = {"v": "silent", "w": "No progress for 12 minutes. If that is not expected, Stop ends it."}
        route.fulfill(response=answer, body=json.dumps(answer.json() | (news if said else {})))

    page.route("**/points?*", silent)
    page.goto(f"/train?run={job_id}")
    expect(page.locator("#stop")).to_be_visible(timeout=SLOW)
    settle(page)
    place = page.get_by_role("heading", name="This run").bounding_box()
    said = True
    expect(page.locator("[data-part=waits]")).to_contain_text("No progress for 12 minutes.", timeout=SLOW)
    expect(page.locator("#answer .answer")).to_have_text("Nothing has been heard of it for a while.")
    assert page.get_by_role("heading", name="This run").bounding_box() == place


def test_a_run_is_deleted_with_the_keyboard_alone_after_a_question(page: Page) -> None:
    job_id = faulty_runs.ended("tone")
    page.goto(f"/train?run={job_id}")
    delete = button(page, "Delete this run")
    delete.focus(timeout=SLOW)
    page.keyboard.press("Enter")
    question = page.get_by_text("Delete this run? Its curve")
    expect(question).to_be_focused(timeout=SLOW)
    for _ in range(4):
        page.keyboard.press("Enter")  # answers nothing
    page.keyboard.press("Tab")
    expect(button(page, "Delete the run")).to_be_focused()
    page.keyboard.press("Tab")
    expect(button(page, "Keep it")).to_be_focused()
    page.keyboard.press("Enter")
    expect(question).to_be_hidden()
    expect(delete).to_be_focused()
    assert jobs.get(job_id).status == "stopped"
    page.keyboard.press("Enter")
    expect(question).to_be_focused()
    five_quick_clicks(page, "#delete-run-yes")
    page.wait_for_url("**/runs", timeout=SLOW)
    assert own_runs() == [] and not files.run_folder(job_id).exists()
    assert [item.origin.name for item in trash.items()].count(job_id) == 1
    page.goto(f"/train?run={job_id}")
    expect(page.get_by_role("link", name="See all runs")).to_be_visible(timeout=SLOW)


def test_waiting_runs_change_places_on_their_own_page(page: Page) -> None:
    first, second = faulty_runs.add("first"), faulty_runs.add("second")
    page.goto(f"/train?run={second}")
    expect(page.locator("[data-part=waits]")).to_have_text("Waiting: 2nd in the queue.", timeout=SLOW)
    expect(page.locator("#later")).to_be_hidden()
    button(page, "Sooner").click()
    expect(page.locator("[data-part=waits]")).to_have_text("Waiting: next in the queue.", timeout=SLOW)
    expect(page.locator("#later")).to_be_visible(timeout=SLOW)
    expect(page.locator("#sooner")).to_be_hidden()
    assert [job.id for job in own_runs()] == [second, first]


def test_the_list_of_runs_moves_them_and_keeps_the_keyboards_place(page: Page) -> None:
    ids = [faulty_runs.add(name) for name in ("first", "second", "third")]
    page.goto("/runs")
    expect(page.locator("#runs")).to_contain_text("3rd in the queue", timeout=SLOW)
    page.get_by_role("button", name="Sooner: third").focus()
    page.keyboard.press("Enter")
    order = [ids[0], ids[2], ids[1]]
    wait_until(lambda: [job.id for job in own_runs()] == order, 20)
    expect(page.locator("#runs tr", has_text="third")).to_contain_text("2nd in the queue", timeout=SLOW)
    expect(page.get_by_role("button", name="Sooner: third")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#runs tr", has_text="third")).to_contain_text("next in the queue", timeout=SLOW)


def test_two_quick_clicks_move_a_run_twice(page: Page) -> None:
    ids = [faulty_runs.add(name) for name in ("first", "second", "third")]
    page.goto("/runs")
    sooner = page.get_by_role("button", name="Sooner: third")
    expect(sooner).to_be_visible(timeout=SLOW)
    sooner.evaluate("(button) => { button.click(); setTimeout(() => button.click(), 30); }")
    expect(page.locator("#runs tr", has_text="third")).to_contain_text("next in the queue", timeout=SLOW)
    assert [job.id for job in own_runs()] == [ids[2], ids[0], ids[1]]


def test_the_list_of_runs_tells_paused_and_second_attempts(page: Page) -> None:
    faulty_runs.ended("interrupted")
    faulty_runs.add("no room", **faulty_runs.PAUSED)
    page.goto("/runs")
    expect(page.locator("#runs tr", has_text="interrupted")).to_contain_text("attempt 2", timeout=SLOW)
    expect(page.locator("#runs tr", has_text="no room")).to_contain_text(
        "goes on by itself when there is room"
    )


def test_the_system_page_empties_clears_backs_up_and_puts_back(page: Page, tmp_path: Path) -> None:
    job_id = faulty_runs.ended("tone", state_bytes=2_000_000)
    deleted = faulty_runs.ended("deleted one")
    trash.to_trash(files.run_folder(deleted))
    jobs.remove(deleted)
    page.goto("/system")
    row = page.locator("#trash tr", has_text="deleted one")
    row.get_by_role("button").click(timeout=SLOW)
    wait_until(lambda: any(job.id == deleted for job in jobs.list_all()), 20)
    expect(row).to_be_hidden(timeout=SLOW)
    page.locator("#clear-checkpoints").click()
    five_quick_clicks(page, "#clear-checkpoints-yes")
    expect(page.locator("#clear-checkpoints")).to_be_hidden(timeout=SLOW)
    assert checkpoints.list_of(job_id) == [] and not list(files.run_folder(job_id).rglob("*.safetensors"))
    page.locator("#back-up").click()
    link = page.locator("#backups").get_by_role("link")
    expect(link).to_have_count(1, timeout=SLOW)
    with page.expect_download() as download:
        link.click()
    download.value.save_as(tmp_path / "copy.db")
    assert (tmp_path / "copy.db").read_bytes().startswith(b"SQLite format 3")
    trash.to_trash(files.run_folder(deleted))
    page.reload()
    page.locator("#empty-trash").click(timeout=SLOW)
    button(page, "Delete it for good").click()
    expect(page.locator("#empty-trash")).to_be_hidden(timeout=SLOW)
    assert trash.items() == []


def test_the_database_is_rebuilt_from_the_page(page: Page) -> None:
    job_id = faulty_runs.ended("tone")
    page.goto("/system")
    button(page, "Rebuild the database from its folders").click(timeout=SLOW)
    button(page, "Rebuild it").click()
    expect(page.locator("#rebuilt")).to_contain_text("The database was made again", timeout=60_000)
    expect(page.locator("#database")).to_contain_text("SQLite")
    assert jobs.get(job_id).name == "tone"


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_pages_pass_axe_and_fit_a_phone(page: Page, scheme: str, width: int, tmp_path: Path) -> None:
    ended, _, waiting = faulty_runs.ended("tone"), faulty_runs.add("first"), faulty_runs.add("second")
    trash.to_trash(_file(files.root() / "logs" / "old.log"))
    page.set_viewport_size({"width": width, "height": 860})
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
    for name, address, ready, opens in (
        ("ended", f"/train?run={ended}", "#delete-run", "#delete-run"),
        ("waiting", f"/train?run={waiting}", "#sooner", None),
        ("runs", "/runs", "#runs [data-sends]", None),
        ("system", "/system", "#empty-trash", "#empty-trash"),
    ):
        page.goto(address)
        expect(page.locator(ready).first).to_be_visible(timeout=SLOW)
        if opens:
            page.locator(opens).click()
            expect(page.locator(f"{opens}-sure")).to_be_visible()
        settle(page)
        broken = Axe().run(page).response["violations"]
        assert [(rule["id"], [node["html"][:200] for node in rule["nodes"]]) for rule in broken] == [], name
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        for found in page.locator(".foot button:visible, .foot a:visible").all():
            box = found.bounding_box()
            assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= width, name
        page.screenshot(path=tmp_path / f"{name}-{scheme}-{width}.png", full_page=True)


def _file(path: Path) -> Path:
    path.write_text("x" * 1000)
    return path
