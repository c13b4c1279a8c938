"""The last step of a job, cut short between any two of its parts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jobs import finishing
from jobs.base_models import catalogue
from storage import adapters, checkpoints, datasets, evaluations, files, jobs, metrics
from storage.errors import StudioError
from storage.jobs import Job

MADE = {
    "rank": 8,
    "alpha": 16.0,
    "target_modules": ["q_proj"],
    "parameters": 7,
    "base_weights_sha256": "ba5e",
    "held_out_loss": None,
    "best_step": None,
    "settings": {},
}


def trained(base_model_id: str = "b", made: dict[str, Any] = MADE, **settings: Any) -> Job:
    """A claimed job whose process has left an adapter and a result."""
    of = {"dataset_id": "d", "base_model_id": base_model_id, "rank": 8, "settings": settings}
    jobs.add("training", "a name", "cpu", **of)
    job = jobs.claim(set())
    assert job
    folder = files.attempt_folder(job.id, job.attempt)
    files.write_bytes(folder / "adapter" / "adapter_model.safetensors", b"weights")
    files.write_json(folder / "result.json", {"status": "finished", "adapter": made})
    return job


@pytest.fixture
def job(home: Path) -> Job:
    return trained()


def crash(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """The studio dies of it when it wants to write down how the job ended."""

    def busy(*_values: object, **_more: object) -> bool:
        raise StudioError("The database is busy.", "Try again in a moment.")

    with monkeypatch.context() as patch:
        patch.setattr(jobs, "finish", busy)
        with pytest.raises(StudioError, match="busy"):
            finishing.finish(job)
    assert jobs.get(job.id).status == "running"


def test_a_crash_after_the_move_is_made_good(job: Job) -> None:
    folder = files.attempt_folder(job.id, job.attempt)
    files.publish_folder(folder / "adapter", files.adapter_folder(f"{job.id}-1"))
    assert finishing.finish(job)
    assert jobs.get(job.id).adapter_id == adapters.list_all()[0].id


def test_a_busy_database_fails_no_job(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(**_values: object) -> None:
        raise StudioError("The database is busy.", "Try again in a moment.")

    with monkeypatch.context() as patch:
        patch.setattr(adapters, "add", busy)
        with pytest.raises(StudioError, match="busy"):
            finishing.finish(job)
    assert jobs.get(job.id).status == "running"
    assert finishing.finish(job)
    assert jobs.get(job.id).status == "finished" and len(adapters.list_all()) == 1


def test_an_old_attempt_finishes_nothing(job: Job) -> None:
    jobs.requeue(job.id, job.attempt)
    assert jobs.claim(set())
    assert not finishing.finish(job)
    assert jobs.get(job.id).status == "running"
    assert adapters.list_all() == [] and not files.adapter_folder(f"{job.id}-1").exists()


@pytest.mark.parametrize(
    "content",
    ["{", "{}", json.dumps({"status": "finished", "adapter": {}}), json.dumps({"status": "failed"})],
)
def test_a_damaged_result_is_a_failure_in_words(job: Job, content: str) -> None:
    (files.attempt_folder(job.id, job.attempt) / "result.json").write_text(content)
    assert finishing.finish(job)
    ended = jobs.get(job.id)
    assert ended.status == "failed" and ended.error_message and ended.error_remedy
    assert adapters.list_all() == []


def test_an_adapter_without_weights_is_a_failure(job: Job) -> None:
    (files.attempt_folder(job.id, job.attempt) / "adapter" / "adapter_model.safetensors").unlink()
    assert finishing.finish(job)
    assert jobs.get(job.id).status == "failed" and adapters.list_all() == []


def test_an_adapter_of_a_sweep_has_the_rank_that_was_kept(home: Path) -> None:
    for tried, name in (([2, 4], "a name · rank 4"), ([4], "a name"), ([], "a name")):
        job = trained(made={**MADE, "rank": 4}, try_ranks=tried)
        assert finishing.finish(job)
        adapter = adapters.get(f"{job.id}-1")
        assert (adapter.rank, adapter.name) == (4, name)


def with_states(job: Job, *steps: int) -> list[Path]:
    """A job with so many reported checkpoints, and their folders."""
    places = [f"attempt-1/states/step-{step:08d}-000000" for step in steps]
    saved = [{"step": step, "folder": place, "at": 7.0} for step, place in zip(steps, places, strict=True)]
    metrics.take_in(job.id, 1, [], 1, saved=saved)
    found = [files.run_folder(job.id) / place for place in places]
    for folder in found:
        files.write_bytes(folder / "state.json", b"{}")
    return found


def test_a_finished_run_leaves_no_states_and_a_stopped_one_keeps_them(job: Job) -> None:
    folders = with_states(job, 10, 20)
    files.write_json(files.attempt_folder(job.id, 1) / "result.json", {"status": "stopped"})
    assert finishing.finish(job)
    assert all(folder.exists() for folder in folders)
    assert [state.step for state in checkpoints.list_of(job.id)] == [20, 10]
    jobs.retry(job.id)
    again = jobs.claim(set())
    assert again
    files.write_json(files.attempt_folder(job.id, 2) / "result.json", {"status": "finished"})
    assert finishing.finish(again)
    assert not any(folder.exists() for folder in folders) and checkpoints.list_of(job.id) == []


def test_a_checkpoint_that_was_set_aside_is_offered_no_more(job: Job) -> None:
    newest = with_states(job, 10, 20)[1]
    newest.rename(newest.with_name(f"damaged-{newest.name}"))
    error = {"message": "No valid checkpoint of this run is left.", "remedy": "Start it again."}
    files.write_json(files.attempt_folder(job.id, 1) / "result.json", {"status": "failed", "error": error})
    assert finishing.finish(job)
    assert [state.step for state in checkpoints.list_of(job.id)] == [10]


@pytest.fixture
def judged(home: Path, tiny_model: Path) -> Job:
    """As `job`, of a dataset and a base model that a scorecard can be made with."""
    base = catalogue.add_custom(str(tiny_model)).id
    datasets.add(
        id="d", name="Tone", source_name="t.csv", format="csv", columns=["prompt", "response"], rows=9, train_rows=6,
        held_out_rows=3, problems=[], sha256="0" * 64,
    )  # fmt: skip
    return trained(base)


def test_a_crash_before_the_end_is_written_down_leaves_one_scorecard(
    judged: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash(judged, monkeypatch)
    (waiting,) = jobs.list_all(kind="scorecard")
    assert waiting.status == "queued", "from then on no crash can lose it"
    assert finishing.finish(judged)
    assert jobs.get(judged.id).status == "finished"
    assert jobs.list_all(kind="scorecard") == [waiting]
    assert waiting.settings["adapter_id"] == jobs.get(judged.id).adapter_id
    assert (files.run_folder(waiting.id) / "state.json").is_file()


def test_a_stopped_training_is_not_judged_by_itself(judged: Job) -> None:
    folder = files.attempt_folder(judged.id, judged.attempt)
    files.write_json(folder / "result.json", {"status": "stopped", "adapter": MADE})
    assert finishing.finish(judged)
    assert jobs.get(judged.id).adapter_id and jobs.list_all(kind="scorecard") == []


def with_card(judged: Job) -> tuple[Job, Path]:
    """A claimed scorecard of a finished training, whose process has left its card and a result."""
    assert finishing.finish(judged)
    job = jobs.claim(set())
    assert job and job.kind == "scorecard"
    folder = files.attempt_folder(job.id, job.attempt)
    card = {"adapter_id": job.settings["adapter_id"], "dataset_id": "d", "verdict": {"code": "works"}}
    files.write_json(folder / "card.json", card)
    files.write_json(folder / "result.json", {"status": "finished", "card": "card.json"})
    return job, folder / "card.json"


def test_a_card_is_kept_once_whatever_crashes(judged: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    job, left = with_card(judged)
    crash(job, monkeypatch)
    assert left.exists()
    assert finishing.finish(job)
    assert jobs.get(job.id).status == "finished" and not left.exists()
    kept = evaluations.latest(job.settings["adapter_id"])
    assert kept is not None and (kept.id, kept.card["verdict"]) == (f"{job.id}-1", {"code": "works"})
    in_folder = files.adapter_folder(kept.adapter_id) / "scorecards"
    assert [path.stem for path in in_folder.iterdir()] == [kept.id]
    assert "card" not in jobs.get(job.id).result, "a database of cards needs them once"


def test_a_card_of_an_adapter_that_was_deleted_meanwhile_fails_in_words(judged: Job) -> None:
    job, _ = with_card(judged)
    adapters.remove(job.settings["adapter_id"])
    assert finishing.finish(job)
    ended = jobs.get(job.id)
    assert ended.status == "failed" and "adapter was deleted" in (ended.error_message or "")


def test_a_card_that_is_not_there_is_a_failure_in_words(judged: Job) -> None:
    job, left = with_card(judged)
    left.unlink()
    assert finishing.finish(job)
    assert jobs.get(job.id).status == "failed" and jobs.get(job.id).error_message
    assert evaluations.latest(job.settings["adapter_id"]) is None


def test_a_card_of_an_old_attempt_is_not_kept(judged: Job) -> None:
    job, _ = with_card(judged)
    jobs.requeue(job.id, job.attempt)
    assert jobs.claim(set())
    assert not finishing.finish(job)
    assert evaluations.latest(job.settings["adapter_id"]) is None
