"""Sets of prompts as a job: nothing is answered twice, nothing is lost, whatever is killed meanwhile."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from jobs import adapter_record, gpu, rebuild, run_folder
from jobs.evaluation import prompt_lists, prompt_sets, prompts_job
from jobs.executors.local import PROJECT_ROOT
from jobs.progress import Progress, RunFolderProgress
from jobs.serving import client
from jobs.serving.schema import CompareSettings
from storage import adapters, database, files, jobs, lines, plans, waiting
from storage.errors import StudioError
from storage.jobs import Job
from storage.plans import Plan
from tests.jobs.serving.parts import ADAPTERS, DATASET_ID

ONE, OTHER = ADAPTERS
PROMPTS = [f"Row {number}?" for number in range(100, 106)]
SHORT = {"max_new_tokens": 4}


def submitted(prompts: list[Any] = PROMPTS, key: str | None = None, **settings: Any) -> Job:
    asked = prompt_lists.of_values(prompts)
    return prompt_sets.submit(ONE, asked, {**SHORT, **settings}, request_key=key)


def spec_of(job: Job, attempt: int = 1) -> dict[str, Any]:
    files.attempt_folder(job.id, attempt).mkdir(parents=True, exist_ok=True)
    return {"job_id": job.id, "attempt": attempt, "settings": job.settings}


def run(job: Job, attempt: int = 1, progress: Progress | None = None) -> dict[str, Any]:
    return prompts_job.run(spec_of(job, attempt), progress or Progress())


def answers_file(job: Job, attempt: int = 1) -> Path:
    return files.attempt_folder(job.id, attempt) / prompt_sets.ANSWERS_FILE


@pytest.mark.usefixtures("base_model_id")
def test_every_side_answers_every_prompt() -> None:
    job = submitted(sides=["base", "few_shot", "adapted", OTHER])
    assert (job.kind, job.device, job.status) == ("prompts", gpu.PROMPTS, "queued")
    assert job.name == f"6 prompts · {adapters.get(ONE).name}"
    before = prompt_sets.page(job.id)
    assert [one.prompt for one in before] == PROMPTS and all(one.answers == {} for one in before)
    progress = RunFolderProgress(files.attempt_folder(job.id, 1), 1)
    assert run(job, progress=progress) == {"status": "finished", "answers": 24}
    found = prompt_sets.page(job.id, offset=4, limit=10)
    assert [one.number for one in found] == [5, 6]
    for one in found:
        assert (
            list(prompt_sets.labels(job))
            == ["base", "few_shot", "adapted", OTHER]
            == sorted(one.answers, key=list(prompt_sets.labels(job)).index)
        )
        assert {answer["finish_reason"] for answer in one.answers.values()} <= {"stop", "length"}
        assert one.answers["base"]["weights"] != one.answers["adapted"]["weights"]
        assert one.answers["few_shot"]["prompt_tokens"] > one.answers["base"]["prompt_tokens"]
    events = list(lines.read(files.attempt_folder(job.id, 1) / "events.jsonl"))
    assert (events[-1]["words"], events[-1]["done"], events[-1]["total"]) == ("Answering", 24, 24)
    table = list(prompt_sets.table(job))
    assert table[0][:2] == [1, PROMPTS[0]] and len(table) == 6 and all(table[0][2:])
    assert list(prompt_sets.header(job))[:3] == ["number", "prompt", "Base model"]


@pytest.mark.usefixtures("base_model_id")
def test_the_answers_are_those_of_a_comparison_and_the_system_message_stands_before() -> None:
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}]
    whole = [*turns, {"role": "user", "content": "Row 7?"}]
    for system in ("Be brief, and kind to everybody.", None):
        job = submitted([whole], system=system)
        run(job)
        (one,) = prompt_sets.page(job.id)
        compared = client.compare_all(ONE, whole, CompareSettings.from_json(job.settings["comparison"]))
        assert one.prompt == "Row 7?" and len(one.messages) == 3
        for answer in compared:
            kept = one.answers[answer["side"]]
            assert kept == {name: answer[name] for name in prompts_job.KEPT}  # type: ignore[literal-required]


@pytest.mark.usefixtures("base_model_id")
def test_what_is_kept_meanwhile_changes_no_column_half_way() -> None:
    plans.put(DATASET_ID, Plan(instruction="Say one word."))
    sides = ["instruction", "adapted", OTHER]
    first, again = submitted(sides=sides), submitted(sides=sides)
    run(first)
    try:
        adapter_record.keep_strength(ONE, 0.25)
        adapter_record.keep_strength(OTHER, 0.25)
        plans.put(DATASET_ID, Plan(instruction="Say a hundred words, and then some more of them."))
        run(again)
    finally:
        adapter_record.keep_strength(ONE, 1.0)
        adapter_record.keep_strength(OTHER, 1.0)
        plans.put(DATASET_ID, Plan())
    assert list(prompt_sets.table(again)) == list(prompt_sets.table(first))
    for one, other in zip(prompt_sets.every(first.id), prompt_sets.every(again.id), strict=True):
        assert one.answers["instruction"]["prompt_tokens"] == other.answers["instruction"]["prompt_tokens"]


@pytest.mark.usefixtures("base_model_id")
def test_the_table_says_which_weights_answered() -> None:
    job = submitted(PROMPTS[:1])
    run(job)
    (row,) = prompt_sets.table(job)
    cells = dict(zip(prompt_sets.header(job), row, strict=True))
    (one,) = prompt_sets.every(job.id)
    for side, label in prompt_sets.labels(job).items():
        assert cells[f"weights of {label}"] == one.answers[side]["weights"] != ""


@pytest.mark.usefixtures("base_model_id")
def test_a_prompt_that_is_too_long_costs_only_itself() -> None:
    job = submitted(["Row 1?", "long " * 600, "Row 2?"])
    assert run(job)["status"] == "finished"
    rows = prompt_sets.page(job.id)
    assert "tokens" in rows[1].answers["base"]["error"] and "512" in rows[1].answers["base"]["error"]
    assert rows[0].answers["base"]["text"] is not None and "error" not in rows[2].answers["adapted"]
    assert str(list(prompt_sets.table(job))[1][2]).startswith("[The prompt has ")


@pytest.mark.usefixtures("base_model_id")
def test_a_later_attempt_asks_only_what_is_missing() -> None:
    job = submitted()
    run(job)
    whole = answers_file(job).read_bytes().splitlines(keepends=True)
    answers_file(job).write_bytes(b"".join(whole[:5]) + whole[5][:20])
    assert run(job, attempt=2) == {"status": "finished", "answers": 12}
    assert len(list(lines.read(answers_file(job, 2)))) == 7
    assert all(len(one.answers) == 2 for one in prompt_sets.page(job.id))


@pytest.mark.usefixtures("base_model_id")
def test_a_stop_keeps_what_is_there() -> None:
    job = submitted(PROMPTS * 20, max_new_tokens=24)

    class Stopping(Progress):
        """Stops as soon as there are some answers."""

        def should_stop(self) -> bool:
            return answers_file(job).exists() and answers_file(job).stat().st_size > 0

    ended = run(job, progress=Stopping())
    assert ended["status"] == "stopped" and 0 < ended["answers"] < 240
    kept = sum(len(one.answers) for one in prompt_sets.every(job.id))
    assert kept == ended["answers"]


class Telling(Progress):
    """Keeps what is said, and calls `when` with it."""

    def __init__(self, when: Callable[[str], object] = lambda words: None) -> None:
        self.said: list[str] = []
        self._when = when
        self.stopped = False

    def phase(self, words: str, done: int | None = None, total: int | None = None) -> None:
        self.said.append(words)
        self._when(words)

    def should_stop(self) -> bool:
        return self.stopped


@pytest.fixture
def scorecard() -> Iterator[Job]:
    """One that is being made."""
    added = jobs.add("scorecard", "Scorecard", gpu.EVALUATION)
    running = jobs.claim({gpu.PROMPTS, gpu.NETWORK, "cpu"})
    assert running is not None and running.id == added.id
    yield running
    jobs.finish(running.id, running.attempt, "finished")


@pytest.mark.usefixtures("base_model_id")
def test_a_set_under_way_lets_a_scorecard_go_first(scorecard: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompts_job, "PAUSE_SECONDS", 0.01)
    job = submitted()
    waited = 0

    def when(words: str) -> None:
        nonlocal waited
        if words == prompts_job.COMES_FIRST:
            assert not answers_file(job).exists()
            waited += 1
            if waited == 3:
                jobs.finish(scorecard.id, scorecard.attempt, "finished")

    progress = Telling(when)
    assert run(job, progress=progress) == {"status": "finished", "answers": 12}
    assert waited == 3 and progress.said[-1] == "Answering"


@pytest.mark.usefixtures("base_model_id")
def test_a_set_that_lets_a_scorecard_go_first_can_be_stopped(scorecard: Job) -> None:
    progress = Telling()
    progress._when = lambda words: setattr(progress, "stopped", words == prompts_job.COMES_FIRST)
    assert run(submitted(), progress=progress) == {"status": "stopped", "answers": 0}


@pytest.mark.usefixtures("base_model_id")
def test_a_set_in_the_lane_of_scorecards_does_not_wait_for_itself() -> None:
    """As one that was queued before sets had a lane of their own."""
    job = submitted(PROMPTS[:1])
    waiting.reassign(job.id, gpu.EVALUATION)
    running = jobs.claim({gpu.PROMPTS, gpu.NETWORK, "cpu"})
    assert running is not None and running.id == job.id
    progress = Telling()
    progress._when = lambda words: setattr(progress, "stopped", words == prompts_job.COMES_FIRST)
    assert run(running, progress=progress)["status"] == "finished"
    jobs.finish(running.id, running.attempt, "finished")


@pytest.mark.usefixtures("base_model_id")
def test_a_killed_process_goes_on_where_it_was() -> None:
    """The entry point of jobs itself, killed in the midst of answering, and the next attempt after it."""
    job = submitted(PROMPTS * 30, max_new_tokens=24)
    folder = files.run_folder(job.id)
    command = [sys.executable, "-m", "jobs.run_job", str(folder)]
    spec = {**spec_of(job), "kind": job.kind, "name": job.name, "device": job.device}
    files.write_json(folder / run_folder.JOB_FILE, spec)
    first = subprocess.Popen([*command, "1"], cwd=PROJECT_ROOT, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not answers_file(job).exists() or answers_file(job).stat().st_size < 2000:
        assert first.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    before = list(lines.read(answers_file(job)))
    files.write_json(folder / run_folder.JOB_FILE, {**spec, "attempt": 2})
    done = subprocess.run([*command, "2"], cwd=PROJECT_ROOT, capture_output=True, timeout=300, text=True)
    assert done.returncode == 0, done.stderr
    assert files.read_json(files.attempt_folder(job.id, 2) / "result.json")["status"] == "finished"
    after = list(lines.read(answers_file(job, 2)))
    assert len(before) + len(after) == 360 and len(before) > 0
    asked = [(line["place"], line["side"]) for line in (*before, *after)]
    assert len(set(asked)) == 360


@pytest.mark.usefixtures("base_model_id")
def test_the_same_request_is_the_same_set_and_leaves_no_folder() -> None:
    before = set((files.root() / "runs").iterdir())
    first = submitted(key="once")
    assert submitted(key="once").id == first.id
    assert set((files.root() / "runs").iterdir()) - before == {files.run_folder(first.id)}
    assert prompt_sets.of_adapter(ONE)[0].id == first.id
    assert first.id not in [job.id for job in prompt_sets.of_adapter(OTHER)]


@pytest.mark.usefixtures("base_model_id")
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"temperature": -1}, r"Temperature \(temperature\) is -1"),
        ({"max_new_tokens": 10_000}, r"Longest answer \(max_new_tokens\) is 10000"),
        ({"sides": ["nobody-1"]}, "no adapter 'nobody-1'"),
        ({"sides": ["base", "base"]}, "same side twice"),
        ({"sides": []}, "sides is"),
        ({"colour": 1}, "not a setting"),
    ],
)
def test_what_would_fail_is_said_before_it_waits(settings: dict[str, Any], words: str) -> None:
    before = set((files.root() / "runs").iterdir())
    with pytest.raises(StudioError, match=words):
        submitted(**settings)
    assert set((files.root() / "runs").iterdir()) == before


@pytest.mark.usefixtures("base_model_id")
def test_a_set_that_the_queue_refuses_leaves_no_folder() -> None:
    before = set((files.root() / "runs").iterdir())
    with closing(sqlite3.connect(files.root() / "studio.db")) as connection:
        connection.execute("CREATE TRIGGER full BEFORE INSERT ON jobs BEGIN SELECT RAISE(ABORT, 'full'); END")
        connection.commit()
        with pytest.raises(Exception, match="full"):
            submitted()
        connection.execute("DROP TRIGGER full")
        connection.commit()
    assert set((files.root() / "runs").iterdir()) == before


@pytest.mark.usefixtures("base_model_id")
def test_other_jobs_are_no_sets() -> None:
    other = jobs.add("training", "tone", "cpu")
    with pytest.raises(StudioError, match="no set of prompts"):
        prompt_sets.page(other.id)
    with pytest.raises(StudioError, match="no job 'nonesuch'"):
        prompt_sets.page("nonesuch")


@pytest.mark.usefixtures("base_model_id")
def test_a_set_comes_back_with_a_rebuilt_database() -> None:
    job = submitted()
    run(job)
    database.close()
    for path in files.root().glob("studio.db*"):
        path.unlink()
    rebuild.rebuild()
    database.connect()
    found = prompt_sets.get(job.id)
    assert (found.kind, found.settings) == (job.kind, job.settings)
    assert all(len(one.answers) == 2 for one in prompt_sets.page(job.id))
