"""Scorecards through the real worker and model server: made by themselves, and nothing kills them."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jobs import queue, worker
from jobs.base_models import catalogue
from jobs.datasets import families, importing
from jobs.evaluation import asking, scorecard
from jobs.serving import address, client
from jobs.serving.schema import CompareSettings
from storage import adapters, config, database, files, jobs, lines, plans
from storage.errors import StudioError
from storage.jobs import Job
from storage.plans import Plan
from tests.jobs.serving.parts import add_adapter
from tests.jobs.waiting import ended, kill, processes_of_home, until

ROWS, HELD_OUT_ROWS = 80, 20
SETTINGS = {"max_steps": 4, "tokens_per_step": 200, "precision": "fp32", "learning_rate": "5e-3"}
# A machine may do many other things beside this.
SECONDS = 240.0


@dataclass(frozen=True)
class Studio:
    """A data folder with a worker that lives, and the adapter of one training."""

    model: str
    dataset: str
    training: Job
    adapter: str


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[Studio]:
    config.use(config.from_environment(data_dir=tmp_path_factory.mktemp("scorecards") / "home"))
    files.make_folders()
    database.connect()
    model = catalogue.add_custom(str(tiny_model)).id
    rows = [{"prompt": f"What is {n}?", "response": json.dumps({"number": n})} for n in range(ROWS)]
    dataset = importing.add_pasted("\n".join(map(json.dumps, rows))).id
    worker.hold_page_lock()
    worker.start_worker()
    training = ended(queue.submit_training(dataset, model, 4, SETTINGS).id, SECONDS)
    assert training.status == "finished" and training.adapter_id, training.error_message
    yield Studio(model, dataset, training, training.adapter_id)
    worker._page_locks.pop().close()
    for pid in processes_of_home():
        kill(pid)
    database.close()


@pytest.fixture
def fresh(studio: Studio) -> Studio:
    """The studio with its worker, without anything under way, and without answers that others could use."""
    alive()  # without a worker nothing below would end
    for job in jobs.list_all():
        if job.status in ("queued", "running", "stopping"):
            queue.stop(job.id)
            ended(job.id, SECONDS)
        asking.forget(files.run_folder(job.id))
    return studio


def alive() -> None:
    def look() -> bool:
        worker.start_worker()  # as the page does, again and again
        return worker.worker_is_alive()

    until(look, SECONDS)


def finished(job: Job) -> dict[str, Any]:
    """The card of a job that nobody stops."""
    done = ended(job.id, SECONDS)
    assert done.status == "finished", (done.status, done.error_message, done.error_remedy)
    card = scorecard.of(done.settings["adapter_id"])
    assert card is not None
    return card


def kept(job: Job) -> list[str]:
    """What was answered, one key for every line of every attempt."""
    found = sorted(files.run_folder(job.id).glob(f"attempt-*/{asking.ANSWERS_FILE}"))
    return [line["key"] for file in found for line in lines.read(file)]


def in_the_middle(job: Job, answers: int) -> Job:
    """The job once it has so many answers, and before it has all."""

    def look() -> Job | None:
        now = jobs.get(job.id)
        assert now.finished_at is None, "it was too quick to be disturbed"
        return now if len(kept(job)) >= answers and now.pid else None

    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.01)
    raise AssertionError("it did not come so far")


def whole(card: dict[str, Any], job: Job) -> None:
    """What is true of a card however often its job was disturbed."""
    assert card["rows"] == len(card["answers"]) == HELD_OUT_ROWS and card["verdict"]["code"]
    sides = [side["side"] for side in card["sides"]]
    assert all(list(row["answers"]) == sides for row in card["answers"])
    assert card["side_effects"]["prompts"] >= 50
    twice = [key for key, times in Counter(kept(job)).items() if times > 1]
    assert not twice, f"{len(twice)} answers were asked for twice"


# The first test comes first: what it looks at was made by itself when the studio began.


def test_a_card_is_made_by_itself_after_a_training(studio: Studio) -> None:
    job = until(lambda: scorecard.newest(studio.adapter))
    assert (job.kind, job.device, job.dataset_id) == ("scorecard", "evaluation", studio.dataset)
    card = finished(job)
    whole(card, job)
    assert [side["side"] for side in card["sides"]] == [
        "base", "instruction", "few_shot", "similar", "constrained", "adapted",
    ]  # fmt: skip
    assert card["curve"]["sentence"] and len(card["film"]["prompts"]) == 3
    assert card["film"]["prompts"][0]["frames"][0]["step"] == 0
    assert scorecard.is_fresh(card) and scorecard.running(studio.adapter) is None
    done = jobs.get(job.id)
    assert done.attempt == 1 and done.phase_done == done.phase_total
    assert len(jobs.list_all(kind="scorecard")) == 1
    # The light process: a training takes ten times as much.
    log = (files.run_folder(job.id) / "log.txt").read_text()
    assert "Traceback" not in log


def test_killed_in_the_middle_it_goes_on_and_asks_nothing_twice(fresh: Studio) -> None:
    job = queue.submit_scorecard(fresh.adapter)
    first = in_the_middle(job, 10)
    assert first.pid
    kill(first.pid)
    until(lambda: jobs.get(job.id).attempt == 2, SECONDS)
    second = in_the_middle(job, len(kept(job)) + 5)
    assert second.pid and second.pid != first.pid
    kill(second.pid)
    card = finished(job)
    assert jobs.get(job.id).attempt == 3
    whole(card, job)
    by_attempt = [len(list(lines.read(file))) for file in sorted(
        files.run_folder(job.id).glob(f"attempt-*/{asking.ANSWERS_FILE}"))]  # fmt: skip
    assert len(by_attempt) == 3 and all(by_attempt), "each attempt has brought something"


def test_without_worker_and_model_server_it_goes_on_with_the_next_ones(fresh: Studio) -> None:
    job = queue.submit_scorecard(fresh.adapter)
    pid = in_the_middle(job, 10).pid
    kill(int(files.read_json(files.root() / "worker.json")["pid"]))
    server = address.read()
    assert server is not None
    kill(server.process.pid)
    alive()
    card = finished(job)
    whole(card, job)
    assert (jobs.get(job.id).attempt, jobs.get(job.id).pid) == (1, pid), "its own process never noticed"


def test_stopped_it_leaves_no_card_and_goes_on_when_asked_again(fresh: Studio) -> None:
    before = scorecard.of(fresh.adapter)
    job = queue.submit_scorecard(fresh.adapter)
    assert queue.submit_scorecard(fresh.adapter).id == job.id, "one at a time"
    in_the_middle(job, 10)
    queue.stop(job.id)
    assert ended(job.id, SECONDS).status == "stopped"
    assert scorecard.of(fresh.adapter) == before and scorecard.running(fresh.adapter) is None
    answered = kept(job)
    again = queue.submit_scorecard(fresh.adapter)
    assert again.id == job.id
    whole(finished(again), job)
    assert kept(job)[: len(answered)] == answered


def test_a_question_of_a_person_goes_before_and_the_card_is_whole(fresh: Studio) -> None:
    job = queue.submit_scorecard(fresh.adapter)
    in_the_middle(job, 10)
    (answer, *_) = client.compare_all(fresh.adapter, "What is 7?", CompareSettings(max_new_tokens=8))
    assert answer["done"] and jobs.get(job.id).finished_at is None, "the answer came first"
    whole(finished(job), job)


def test_an_adapter_without_any_effect_is_told_so(fresh: Studio, tiny_model: Path) -> None:
    add_adapter("dzer2222", fresh.model, tiny_model, seed=0, dataset_id=fresh.dataset, is_fresh=True)
    card = finished(queue.submit_scorecard("dzer2222"))
    assert card["verdict"]["code"] == "no_effect" and "word for word" in card["verdict"]["sentence"]
    assert card["side_effects"]["unchanged"] == card["side_effects"]["prompts"]
    few = finished(queue.submit_scorecard("dzer2222", settings={"rows": 3, "side_effects": False}))
    assert few["rows"] == 3 and few["verdict"]["code"] in ("no_effect", "cannot_tell")


def test_an_effect_on_a_handful_of_rows_cannot_be_told(fresh: Studio, tiny_model: Path) -> None:
    add_adapter("drnd2222", fresh.model, tiny_model, seed=1, dataset_id=fresh.dataset)
    settings = {"rows": 4, "side_effects": False, "sides": ["few_shot"]}
    card = finished(queue.submit_scorecard("drnd2222", settings=settings))
    assert card["verdict"]["code"] == "cannot_tell" and "4 held-out examples" in card["verdict"]["sentence"]


def test_a_dataset_is_kept_while_it_is_asked_about(fresh: Studio) -> None:
    job = queue.submit_scorecard(fresh.adapter)
    with pytest.raises(StudioError, match=r"“Scorecard of .*” still needs this dataset"):
        families.delete(fresh.dataset)
    queue.stop(job.id)
    ended(job.id, SECONDS)


def test_what_is_not_wanted_is_not_made(fresh: Studio) -> None:
    before = len(jobs.list_all(kind="scorecard"))
    unwanted = queue.submit_training(fresh.dataset, fresh.model, 4, {**SETTINGS, "scorecard": False})
    assert ended(unwanted.id, SECONDS).status == "finished"
    assert len(jobs.list_all(kind="scorecard")) == before
    assert adapters.get(jobs.get(unwanted.id).adapter_id or "")


def test_a_prompt_of_ones_own_that_is_too_long_does_not_end_the_check(fresh: Studio) -> None:
    plans.put(fresh.dataset, Plan(must_not_change=["Who are you?", "word " * 3000]))
    card = finished(queue.submit_scorecard(fresh.adapter))
    plans.put(fresh.dataset, Plan())
    assert card["side_effects"]["own"]["prompts"] == 1
