"""The card of many prompts: what is queued, what is seen of it, what can be done with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.evaluation import prompt_sets as sets
from jobs.evaluation import prompts_job
from jobs.progress import Progress
from storage import files, jobs
from storage.errors import StudioError
from studio.compare import prompt_sets, prompts_view
from tests.jobs.serving.parts import ADAPTERS

ONE = ADAPTERS[0]
SHORT = ("", "3", "", "")
PROGRESS, TABLE, DOWNLOADS, EARLIER, LATER, STOP, GO_ON, TIMER = range(8)


def started(text: str = "One?\nTwo <b>?\n", path: str | None = None, **changed: Any) -> tuple[Any, ...]:
    given = {"separated": "lines", "column": None, "chosen": ["base", "adapted"], **changed}
    return prompt_sets.start(ONE, text, given["separated"], path, given["column"], given["chosen"], *SHORT)


def answered(job_id: str) -> None:
    files.attempt_folder(job_id, 1).mkdir(parents=True, exist_ok=True)
    settings = jobs.get(job_id).settings
    prompts_job.run({"job_id": job_id, "attempt": 1, "settings": settings}, Progress())


@pytest.mark.usefixtures("base_model_id")
def test_pasted_prompts_are_queued_and_seen() -> None:
    note, chosen, number, *view = started()
    job_id = chosen["value"]
    assert "2 prompts queued." in note and number == 0
    assert jobs.get(job_id).settings["comparison"]["max_new_tokens"] == 3
    assert "queued" in view[PROGRESS] and view[TABLE].count("not yet") == 4
    assert "Two &lt;b&gt;?" in view[TABLE] and view[STOP]["visible"] and view[TIMER]["active"]
    assert view[DOWNLOADS] == "" and not view[LATER]["visible"]


@pytest.mark.usefixtures("base_model_id")
def test_answers_appear_page_by_page_as_text() -> None:
    *_, chosen, _ = started("\n".join(f"Row {number}?" for number in range(25)))[:3]
    job_id = chosen["value"]
    answered(job_id)
    first, second = prompt_sets.view(job_id, 0), prompt_sets.view(job_id, 1)
    assert "Prompts 1 to 20 of 25" in first[TABLE] and "not yet" not in first[TABLE]
    assert (first[EARLIER]["interactive"], first[LATER]["interactive"]) == (False, True)
    assert "Prompts 21 to 25 of 25" in second[TABLE]
    assert (second[EARLIER]["interactive"], second[LATER]["interactive"]) == (True, False)


@pytest.mark.usefixtures("base_model_id")
def test_files_are_offered_once_there_are_answers_and_say_how_many() -> None:
    job = replace(jobs.get(started()[1]["value"]), status="stopped", phase_done=1, phase_total=4)
    part = prompts_view.downloads(job)
    assert f"/download/prompts/{job.id}.csv" in part and "So far: 1 of 4 answers." in part
    assert prompts_view.downloads(replace(job, phase_done=0)) == ""
    whole = prompts_view.downloads(replace(job, status="finished", phase_done=4))
    assert f"/download/prompts/{job.id}.jsonl" in whole and "So far" not in whole


@pytest.mark.usefixtures("base_model_id")
def test_a_stopped_set_can_go_on() -> None:
    job_id = started()[1]["value"]
    stopped = prompt_sets.stop(job_id, 0)
    assert "stopped" in stopped[PROGRESS] and stopped[GO_ON]["visible"] and not stopped[STOP]["visible"]
    again = prompt_sets.go_on(job_id, 0)
    assert "queued" in again[PROGRESS] and not again[GO_ON]["visible"]


@pytest.mark.usefixtures("base_model_id")
def test_nobody_to_answer_is_said_in_words() -> None:
    with pytest.raises(StudioError, match="Nobody is chosen"):
        started(chosen=[])


@pytest.mark.usefixtures("base_model_id")
def test_a_set_that_was_deleted_meanwhile_is_said_once_and_not_looked_for_again() -> None:
    said = prompt_sets.ticked("nonesuch", 0)
    assert 'class="problem"' in said[PROGRESS] and said[TIMER]["active"] is False


@pytest.mark.usefixtures("base_model_id")
def test_a_file_says_where_its_prompts_are(tmp_path: Path) -> None:
    path = tmp_path / "asked.csv"
    path.write_text("id,Question\n1,One?\n2,\n")
    column, note = prompt_sets.look_into(str(path))
    assert (column["value"], column["visible"]) == ("Question", True) and "“Question”" in note
    assert "1 prompt queued. 1 row had none." in started("", str(path))[0]
    with pytest.raises(StudioError, match="pasted prompts and a file"):
        started("One?", str(path))
    path.write_text("alpha,beta\nx,y\nz,w\n")
    column, note = prompt_sets.look_into(str(path))
    assert column["value"] is None and "choose the column" in note
    assert jobs.get(started("", str(path), column="beta")[1]["value"]).settings["source"] == "asked.csv"
    assert prompt_sets.look_into(None)[1] == ""


@pytest.mark.usefixtures("base_model_id")
def test_the_card_shows_the_newest_set_of_its_adapter() -> None:
    newest = started("Last one?")[1]["value"]
    chosen, offered, number, *view = prompt_sets.choose(ONE)
    assert chosen["value"] == ["base", "adapted"] and offered["value"] == newest and number == 0
    assert "Last one?" in view[TABLE]
    assert prompt_sets.choose(ADAPTERS[1])[3] == "", "another adapter has none"
    assert prompt_sets.choose(None)[3] == ""


@pytest.mark.usefixtures("base_model_id")
def test_what_a_side_could_not_read_stands_in_its_cell() -> None:
    job = sets.get(started("x\n" + "long " * 600)[1]["value"])
    answered(job.id)
    shown = prompts_view.table(job, sets.page(job.id), 2)
    assert '<span class="wrong">The prompt has' in shown and "Cut at the longest answer." in shown


@pytest.mark.usefixtures("base_model_id")
def test_a_table_shows_text_and_says_not_yet_only_as_long_as_an_answer_may_come() -> None:
    job = sets.get(started()[1]["value"])
    image = "<img src=x>"
    named = {**job.settings, "labels": dict.fromkeys(job.settings["labels"], image)}
    answers = {"base": {"text": image, "finish_reason": "stop"}, "adapted": {"error": image}}
    found = [sets.Answered(1, [{"role": "user", "content": image}], answers)]
    shown = prompts_view.table(replace(job, settings=named), found, 1) + prompts_view.note(image)
    assert "<img" not in shown and shown.count("&lt;img") >= 5
    empty = [sets.Answered(1, [{"role": "user", "content": "One?"}], {})]
    assert prompts_view.table(job, empty, 1).count("not yet") == 2
    assert "not yet" not in prompts_view.table(replace(job, status="stopped"), empty, 1)
    begun = replace(job, phase_done=1, phase_total=4)
    assert 'role="progressbar"' in prompts_view.progress(begun, None)
    assert 'role="progressbar"' not in prompts_view.progress(replace(begun, status="finished"), None)
