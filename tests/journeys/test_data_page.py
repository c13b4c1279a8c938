"""The Data page in a real browser: a sloppy file is read, repaired, edited and undone, and nothing typed is lost."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from gradio_client import Client, handle_file
from playwright.sync_api import Page, expect

from tests.journeys.settling import settle
from tests.journeys.test_accessibility import check

pytestmark = pytest.mark.browser
# The page's stream of answers stops before the first that contains `window.holds`, until `window.release()`.
HOLDS_BACK = """
(() => {
  const real = window.fetch;
  window.fetch = async (asked, options) => {
    const answer = await real(asked, options);
    if (!new URL(asked.url ?? asked, location.href).pathname.endsWith("/queue/data")) return answer;
    return new Response(answer.body.pipeThrough(new TransformStream({
      async transform(chunk, passed) {
        if (window.holds && new TextDecoder().decode(chunk).includes(window.holds)) {
          window.holds = null;
          window.held = true;
          await new Promise((go) => { window.release = go; });
        }
        passed.enqueue(chunk);
      },
    })), { headers: answer.headers });
  };
})();
"""
WIDTHS = (1280, 390)


@pytest.fixture(scope="module")
def mails(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty mails with semicolons and headings in German; row 7 has no answer, rows 11 and 12 are the same."""
    answer = "Thanks for writing! Parcel {} comes within {} days."
    lines = [
        f"Where is parcel {n}? It was sent {n % 5 + 2} days ago.;{answer.format(n, n % 4 + 1)}"
        for n in range(1, 61)
    ]
    lines[6] = "What about the invoice?;"
    lines[11] = lines[10]
    file = tmp_path_factory.mktemp("mails") / "mails.csv"
    file.write_text("Kundenmail;Antwort\n" + "\n".join(lines), encoding="utf-8")
    return file


@pytest.fixture
def dataset_id(client: Client, mails: Path) -> str:
    options = {"mapping": {"prompt": "Kundenmail", "response": "Antwort"}}
    answer = client.predict(handle_file(str(mails)), "Mails", options, api_name="/import_file")
    return answer["dataset_id"]  # type: ignore[no-any-return]


def opened(page: Page, dataset_id: str) -> None:
    page.goto(f"/?dataset={dataset_id}")
    expect(page.locator("#answer")).to_contain_text("kept aside")


def sound(page: Page) -> None:
    """No broken rule of axe in any colours, no control without a name, nothing wider than the window."""
    check(page)
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


def test_columns_that_cannot_be_told_are_asked_for_with_a_preview(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "odd.csv"
    rows = [f"{n},Say {n} in words please,It is number {n} of course,{n}" for n in range(30)]
    file.write_text("a,first,second,b\n" + "\n".join(rows))
    page.goto("/")
    page.locator("#data-file input[type=file]").set_input_files(file)
    step = page.locator("#mapping")
    expect(step).to_contain_text("How to read odd.csv")
    expect(page.locator("#onward")).to_be_hidden()  # one thing to decide at a time
    for label, column in (("Prompt", "second"), ("Answer", "first")):
        step.get_by_role("listbox", name=re.compile(f"^{label}")).or_(
            step.locator(f"#map-{'prompt' if label == 'Prompt' else 'response'} input")
        ).first.click()
        # The list of the one before may still be closing.
        page.get_by_role("option", name=column, exact=True).last.click()
        expect(page.get_by_role("option")).to_have_count(0)
    expect(page.locator("#mapping-preview .said").first).to_have_text("It is number 0 of course")
    expect(page.locator("#mapping-preview .learned").first).to_have_text("Say 0 in words please")
    page.reload()
    expect(step).to_contain_text("How to read odd.csv")
    step.get_by_role("button", name="Use these columns").click()
    expect(page.locator("#answer")).to_contain_text("kept aside")
    expect(step).to_be_hidden()


def test_fix_all_undo_and_redo(page: Page, dataset_id: str) -> None:
    opened(page, dataset_id)
    expect(page.locator("#answer")).to_contain_text("59 of 60 examples are ready")
    page.get_by_role("button", name="Fix all").click()
    expect(page.locator("#changed")).to_contain_text("Version 2")
    expect(page.locator("#answer")).to_contain_text("58 examples are ready")
    assert dataset_id not in page.url
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#answer")).to_contain_text("59 of 60")
    page.get_by_role("button", name="Redo").click()
    expect(page.locator("#answer")).to_contain_text("58 examples")
    page.reload()
    expect(page.locator("#changed")).to_contain_text("Version 2")


def test_a_row_is_found_repaired_and_learned_from(page: Page, dataset_id: str) -> None:
    opened(page, dataset_id)
    page.get_by_role("button", name=re.compile("^Show rows: 1 row left out")).click()
    expect(page.locator("#rows tbody tr")).to_have_count(1)
    page.get_by_role("button", name="7: open this row", exact=True).click()
    expect(page.locator("#editor textarea").first).to_be_focused()
    page.locator("#editor textarea").nth(1).fill("It is in your <b>account</b>.")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#answer")).to_contain_text("60 examples are ready")
    expect(page.locator("#editor textarea")).to_have_count(0)
    page.get_by_label("Search").fill("your <b>account")
    page.get_by_label("Search").press("Enter")
    expect(page.locator("#rows tbody tr")).to_have_count(1)
    expect(page.locator("#rows tbody")).to_contain_text("It is in your <b>account</b>.")


def test_a_search_while_the_rows_problem_is_being_mended_ends_in_what_its_fields_say(
    page: Page, dataset_id: str
) -> None:
    page.add_init_script(HOLDS_BACK)
    opened(page, dataset_id)
    page.get_by_role("button", name=re.compile("^Show rows: 1 row left out")).click()
    expect(page.locator("#rows tbody tr")).to_have_count(1)
    page.evaluate("window.holds = 'Version 2'")
    page.get_by_role("button", name=re.compile("^Delete: 1 row left out")).click()
    page.wait_for_function("window.held")  # the studio knows what the page does not see yet
    page.get_by_label("Search").fill("parcel 3")
    with page.expect_response("**/queue/join*"):
        page.get_by_label("Search").press("Enter")
    page.wait_for_timeout(500)
    page.evaluate("window.release()")
    expect(page.locator("#changed")).to_contain_text("Version 2")
    settle(page)
    expect(page.locator("#rows tbody tr")).to_have_count(11)
    expect(page.get_by_label("Search")).to_have_value("parcel 3")
    expect(page.locator(".toast-body")).to_have_count(0)


def test_what_is_typed_survives_a_refusal_and_a_reload(page: Page, dataset_id: str) -> None:
    opened(page, dataset_id)
    page.get_by_role("button", name="Edit rows").click()
    page.get_by_label("Go to row").fill("3")
    page.get_by_label("Go to row").press("Enter")
    answer = page.locator("#editor textarea").nth(1)
    answer.fill("   ")
    page.locator("#editor").get_by_role("button", name="Save: row 3").click()
    expect(page.locator("#under-way").get_by_role("alert")).to_be_visible()
    expect(answer).to_have_value("   ")
    answer.press_sequentially("not yet saved")
    page.reload()
    expect(page.locator("#answer")).to_contain_text("kept aside")
    page.get_by_role("button", name="Edit rows").click()
    page.get_by_label("Go to row").fill("3")
    page.get_by_label("Go to row").press("Enter")
    expect(page.locator("#editor textarea").nth(1)).to_have_value("   not yet saved")
    expect(page.locator("#editor")).to_contain_text("has not been saved")


def test_a_row_that_is_kept_aside_is_locked(page: Page, client: Client, dataset_id: str) -> None:
    held_out = client.predict(dataset_id, 0, 1, "", "", "held_out", api_name="/rows")["rows"][0]["row"]
    opened(page, dataset_id)
    page.get_by_role("button", name="Edit rows").click()
    page.get_by_label("Go to row").fill(str(held_out))
    page.get_by_label("Go to row").press("Enter")
    expect(page.locator("#editor")).to_contain_text("kept aside to test on")
    expect(page.locator("#editor textarea")).to_have_count(0)
    expect(page.locator("#editor").get_by_role("button", name="Delete")).to_be_visible()


def test_typed_rows_become_examples(page: Page) -> None:
    page.goto("/")
    page.get_by_role("button", name="Type a few examples").click()
    cells = page.locator("#grid textarea")
    for number in range(3):
        cells.nth(2 * number).fill(f"What is {number} plus one?")
        cells.nth(2 * number + 1).fill(f"It is {number + 1}.")
    page.get_by_role("button", name="More rows").click()
    expect(cells).to_have_count(30)
    page.get_by_role("button", name="Use these rows").click()
    expect(page.locator("#answer")).to_contain_text("3 examples")


def test_the_versions_say_what_changed_and_lead_back(page: Page, client: Client, dataset_id: str) -> None:
    messages = [{"role": "user", "content": "New?"}, {"role": "assistant", "content": "Yes, new."}]
    second = client.predict(dataset_id, messages, api_name="/add_row")["dataset_id"]
    opened(page, second)
    page.get_by_role("button", name="Versions").click()
    page.get_by_role("button", name="What changed: version 2").click()
    expect(page.locator("#diff")).to_contain_text("1 row added")
    expect(page.locator("#diff ins").last).to_have_text("Yes, new.")
    page.get_by_role("button", name="Go to it: version 1").click()
    expect(page).to_have_url(re.compile(dataset_id))


def test_a_change_asked_for_while_a_look_is_still_being_answered_happens_too(
    page: Page, client: Client, dataset_id: str
) -> None:
    messages = [{"role": "user", "content": "New?"}, {"role": "assistant", "content": "Yes, new."}]
    opened(page, client.predict(dataset_id, messages, api_name="/add_row")["dataset_id"])
    page.get_by_role("button", name="Versions").click()
    both = (
        "(names) => names.forEach((name) => document.querySelector(`button[aria-label^='${name}']`).click())"
    )
    for name in (names := ["What changed: version 2", "Go to it: version 1"]):
        expect(page.get_by_role("button", name=name)).to_be_visible()
    page.evaluate(both, names)
    expect(page).to_have_url(re.compile(dataset_id))
    expect(page.locator("#answer")).to_contain_text("59 of 60 examples are ready")
    for name in (names := ["Show rows: 1 row left out", "Delete: 1 row left out"]):
        expect(page.get_by_role("button", name=name)).to_be_visible()
    page.evaluate(both, names)
    expect(page.locator("#changed")).to_contain_text("Version")
    expect(page.locator("#answer")).to_contain_text("59 examples are ready")


@pytest.mark.parametrize("width", WIDTHS)
def test_every_part_is_sound_in_every_look(page: Page, dataset_id: str, width: int) -> None:
    page.emulate_media(color_scheme="light", reduced_motion="reduce")
    page.set_viewport_size({"width": width, "height": 860})
    opened(page, dataset_id)
    page.get_by_role("button", name=re.compile("^Show rows: 1 row left out")).click()
    page.get_by_role("button", name="7: open this row", exact=True).click()
    expect(page.locator("#editor textarea")).to_have_count(2)
    for closed in ("Type a few examples", "From the Hugging Face hub"):
        page.get_by_role("button", name=closed).click()
    sound(page)
    page.get_by_role("button", name="Read it differently").click()
    expect(page.locator("#mapping")).to_contain_text("How to read mails.csv")
    sound(page)
