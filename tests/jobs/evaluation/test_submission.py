"""What may be asked of a scorecard, and that one click, or one training, is one scorecard."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs import gpu, queue
from jobs.base_models import catalogue
from jobs.evaluation import submission
from storage import adapters, datasets, files, jobs
from storage.adapters import Adapter
from storage.errors import StudioError
from storage.jobs import Job
from tests.storage.test_adapters import add as add_adapter


@pytest.fixture
def adapter(home: Path, tiny_model: Path) -> Iterator[Adapter]:
    """An adapter on the tiny model, whose dataset has held-out rows."""
    base = catalogue.add_custom(str(tiny_model)).id
    add_dataset("d1")
    yield add("bcdf", base_model_id=base, dataset_id="d1")


def add(id: str, **different: Any) -> Adapter:
    """An adapter like any other, but for what is said."""
    like = add_adapter(f"{id}x")
    adapters.remove(like.id)
    values = {**vars(like), "id": id, **different}
    return adapters.add(**values)


def add_dataset(id: str, held_out_rows: int = 3) -> None:
    datasets.add(
        id=id, name="Tone", source_name="t.csv", format="csv", columns=["prompt", "response"], rows=9, train_rows=6,
        held_out_rows=held_out_rows, problems=[], sha256="0" * 64,
    )  # fmt: skip


def ended(job: Job, status: Any) -> None:
    claimed = jobs.claim(set())
    assert claimed is not None and claimed.id == job.id
    jobs.finish(job.id, claimed.attempt, status)


def training(adapter_id: str, **settings: Any) -> Job:
    job = jobs.add("training", "tone", "cpu", dataset_id="d1", settings=settings)
    jobs.request_stop(job.id)
    return replace(job, adapter_id=adapter_id)


def test_a_scorecard_waits_with_everything_it_needs(adapter: Adapter) -> None:
    job = queue.submit_scorecard(adapter.id)
    assert (job.kind, job.status, job.device, job.dataset_id) == ("scorecard", "queued", gpu.EVALUATION, "d1")
    assert job.base_model_id == adapter.base_model_id and job.needs_bytes
    assert job.settings == {"adapter_id": "bcdf", "rows": 40, "sides": None, "side_effects": True}
    assert (files.run_folder(job.id) / "state.json").is_file(), "no loss of the database can take it away"
    assert submission.running("bcdf") == submission.newest("bcdf") == job
    assert submission.running("other") is None and submission.newest("bcdf", "d2") is None


def test_clicked_five_times_at_once_it_is_one_job(adapter: Adapter) -> None:
    clicks = [threading.Thread(target=queue.submit_scorecard, args=["bcdf"]) for _ in range(5)]
    for click in clicks:
        click.start()
    for click in clicks:
        click.join()
    assert len(jobs.list_all()) == 1


def test_a_click_while_another_one_is_looked_into_is_the_same_job(
    adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, others = submission.running, []

    def slow(adapter_id: str, dataset_id: str | None = None) -> Any:
        found = real(adapter_id, dataset_id)
        if not others:
            others.append(adapter_id)
            queue.submit_scorecard(adapter_id)
        return found

    monkeypatch.setattr(submission, "running", slow)
    queue.submit_scorecard("bcdf")
    assert len(jobs.list_all()) == 1


def test_after_one_that_is_done_comes_a_new_one(adapter: Adapter) -> None:
    first = queue.submit_scorecard("bcdf")
    ended(first, "finished")
    second = queue.submit_scorecard("bcdf")
    assert second.id != first.id
    ended(second, "finished")
    jobs.remove(first.id)  # fewer of them than before do not make the next one an old one
    assert queue.submit_scorecard("bcdf").status == "queued"


def test_one_that_was_stopped_or_failed_goes_on_and_other_settings_begin_anew(adapter: Adapter) -> None:
    first = queue.submit_scorecard("bcdf")
    queue.stop(first.id)
    assert queue.submit_scorecard("bcdf").id == first.id and jobs.get(first.id).status == "queued"
    ended(first, "failed")
    assert queue.submit_scorecard("bcdf").id == first.id
    queue.stop(first.id)
    assert queue.submit_scorecard("bcdf", settings={"rows": 8}).id != first.id


def test_one_of_other_settings_waits_behind_the_one_under_way(adapter: Adapter) -> None:
    first = queue.submit_scorecard("bcdf")
    other = queue.submit_scorecard("bcdf", settings={"rows": 100})
    assert other.id != first.id and (other.status, other.settings["rows"]) == ("queued", 100)
    assert queue.submit_scorecard("bcdf", settings={"rows": 100}).id == other.id
    assert queue.submit_scorecard("bcdf").id == first.id
    assert [job.id for job in submission.under_way("bcdf", "d1")] == [first.id, other.id]
    claimed = jobs.claim(set())
    assert claimed is not None and claimed.id == first.id
    running = submission.running("bcdf")
    assert running is not None and running.id == first.id, "who is at work comes before who waits"


def test_clicks_for_different_cards_at_once_are_a_job_for_each(adapter: Adapter) -> None:
    clicks = [
        threading.Thread(target=queue.submit_scorecard, args=["bcdf"], kwargs={"settings": {"rows": rows}})
        for rows in (10, 20, 30, 10)
    ]
    for click in clicks:
        click.start()
    for click in clicks:
        click.join()
    assert sorted(job.settings["rows"] for job in jobs.list_all()) == [10, 20, 30]


def test_every_dataset_has_scorecards_of_its_own(adapter: Adapter) -> None:
    add_dataset("d2")
    own, other = queue.submit_scorecard("bcdf"), queue.submit_scorecard("bcdf", "d2")
    assert own.id != other.id and other.dataset_id == "d2"
    assert submission.running("bcdf", "d2") == other and submission.running("bcdf", "d1") == own


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rows": 0}, "rows is 0"),
        ({"rows": 401}, "from 1 to 400"),
        ({"rows": 2.5}, "rows is 2.5"),
        ({"rows": True}, "rows is True"),
        ({"rows": "all"}, "rows is 'all'"),
        ({"rows": float("nan")}, "rows is nan"),
        ({"side_effects": "yes"}, "side_effects"),
        ({"sides": "base"}, "sides is 'base'"),
        ({"sides": [1]}, "sides is"),
        ({"sides": ["nosuchid"]}, "nosuchid"),
        ({"sides": ["No such side"]}, "No such side"),
        ({"sides": ["a1", "a2", "a3", "a4", "a5"]}, "5 other adapters"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_cannot_be_is_refused_in_words(adapter: Adapter, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(StudioError, match=said) as refused:
        queue.submit_scorecard("bcdf", settings=settings)
    assert refused.value.remedy
    assert jobs.list_all() == []


def test_the_sides_that_every_card_compares_are_always_there(adapter: Adapter) -> None:
    add("bcdg", base_model_id=adapter.base_model_id)
    job = queue.submit_scorecard("bcdf", settings={"sides": ["bcdg", "few_shot", "bcdg"], "rows": 8.0})
    assert job.settings["sides"] == ["base", "few_shot", "adapted", "bcdg"] and job.settings["rows"] == 8


def test_an_adapter_of_another_base_model_is_named(adapter: Adapter) -> None:
    add("bcdg", base_model_id="starter", name="Haiku")
    with pytest.raises(StudioError, match="“Haiku” was made for the base model starter"):
        queue.submit_scorecard("bcdf", settings={"sides": ["bcdg"]})


def test_without_rows_or_base_model_it_is_refused_at_the_click(adapter: Adapter) -> None:
    add_dataset("d2", held_out_rows=0)
    with pytest.raises(StudioError, match="“Tone” has no held-out examples"):
        queue.submit_scorecard("bcdf", "d2")
    add("bcdg", base_model_id="starter", dataset_id="d1")
    with pytest.raises(StudioError, match="“starter” is not on this computer"):
        queue.submit_scorecard("bcdg")
    for adapter_id, dataset_id in (("nosuchid", None), ("bcdf", "nosuchid")):
        with pytest.raises(StudioError, match="nosuchid"):
            queue.submit_scorecard(adapter_id, dataset_id)


def test_a_training_is_followed_by_one_scorecard_however_often_it_ends(adapter: Adapter) -> None:
    done = training("bcdf")
    job = submission.after_training(done, "bcdf")
    assert job is not None and job.settings["adapter_id"] == "bcdf"
    assert submission.after_training(done, "bcdf") == job
    ended(job, "stopped")
    again = submission.after_training(done, "bcdf")
    assert again is not None and again.id == job.id and again.status == "stopped", (
        "what a user stopped stays so"
    )


def test_a_training_is_followed_by_none_where_none_is_wanted_or_can_be_made(adapter: Adapter) -> None:
    assert submission.after_training(training("bcdf", scorecard=False), "bcdf") is None
    assert submission.after_training(replace(training("bcdf"), kind="adapt"), "bcdf") is None
    add("bcdg", base_model_id="starter", dataset_id="d1")
    add("bcdh", base_model_id=adapter.base_model_id, dataset_id="gone")
    for adapter_id in ("bcdg", "bcdh", "nosuchid"):
        assert submission.after_training(training(adapter_id), adapter_id) is None
    assert jobs.list_all(kind="scorecard") == []
