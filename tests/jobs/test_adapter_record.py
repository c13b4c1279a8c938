"""The record in an adapter's folder, written before the folder is published."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from jobs import adapter_record
from storage import adapters, evaluations, files, jobs, lines, votes
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


@pytest.fixture
def job(home: Path) -> Job:
    """A claimed job whose process has left an adapter."""
    jobs.add("training", "a name", "cpu", dataset_id="d", base_model_id="b", rank=8)
    job = jobs.claim(set())
    assert job
    files.write_bytes(draft(job) / "adapter_model.safetensors", b"weights")
    return job


def draft(job: Job) -> Path:
    return files.attempt_folder(job.id, job.attempt) / "adapter"


def test_a_record_is_written_once_and_goes_with_the_folder(job: Job) -> None:
    first = adapter_record.described(draft(job), job, MADE, "its name")
    folder = files.adapter_folder(first["id"])
    files.publish_folder(draft(job), folder)
    assert adapter_record.described(folder, job, MADE, "another name") == first
    assert adapter_record.of_folder(folder) == first
    assert first["name"] == "its name" and first["size_bytes"] == len(b"weights")
    adapter = adapters.add(**first)
    assert adapter.created_at == first["created_at"]


def test_a_record_of_something_else_is_written_anew(job: Job) -> None:
    for content in ("{", "{}", '{"id": "other"}', "[]"):
        (draft(job) / "record.json").write_text(content)
        assert adapter_record.described(draft(job), job, MADE, "n")["id"] == f"{job.id}-1"
        assert adapter_record.described(draft(job), job, MADE, "n")["weights_sha256"]


def test_a_scorecard_lies_in_its_adapters_folder_and_in_no_other(job: Job) -> None:
    record = adapter_record.described(draft(job), job, MADE, "n")
    folder = files.adapter_folder(record["id"])
    files.publish_folder(draft(job), folder)
    adapters.add(**record)
    card = evaluations.add(record["id"], {"verdict": "better"})
    adapter_record.keep_scorecard(card)
    (path,) = adapter_record.scorecards_of(folder)
    assert evaluations.Evaluation(**files.read_json(path)) == card
    (folder / "record.json").unlink()
    assert adapter_record.described(folder, job, MADE, "n")["size_bytes"] == len(b"weights")
    deleted = evaluations.Evaluation("e", "gone", {}, 1.0)
    adapter_record.keep_scorecard(deleted)
    assert not files.adapter_folder("gone").exists()


def test_a_record_of_another_adapter_is_refused(job: Job) -> None:
    adapter_record.described(draft(job), job, MADE, "n")
    files.publish_folder(draft(job), files.adapter_folder("copied"))
    with pytest.raises(StudioError, match="is of the adapter"):
        adapter_record.of_folder(files.adapter_folder("copied"))


def published(job: Job) -> Path:
    record = adapter_record.described(draft(job), job, MADE, "n")
    adapters.add(**record)
    folder = files.adapter_folder(record["id"])
    files.publish_folder(draft(job), folder)
    return folder


def a_vote(folder: Path, id: str, winner: str = "first") -> votes.Vote:
    return votes.Vote(id, folder.name, "base|adapted", None, "base", "adapted", "first", winner, {}, 1.0)


def test_a_record_from_before_strengths_is_as_trained(job: Job) -> None:
    folder = published(job)
    record = files.read_json(folder / "record.json")
    files.write_json(folder / "record.json", {name: record[name] for name in record if name != "strength"})
    assert adapter_record.of_folder(folder) == record
    assert adapter_record.described(folder, job, MADE, "another name") == record


def test_a_kept_strength_lies_in_the_adapters_folder_too(job: Job) -> None:
    folder = published(job)
    before = adapter_record.of_folder(folder)
    assert adapter_record.keep_strength(folder.name, 0.5).strength == 0.5
    assert adapter_record.of_folder(folder) == {**before, "strength": 0.5}
    (folder / "record.json").unlink()  # as of an adapter from before there were records
    adapter_record.keep_strength(folder.name, 1.5)
    assert adapter_record.of_folder(folder) == {**before, "strength": 1.5}


def test_votes_lie_in_their_adapters_folder_each_once(job: Job) -> None:
    folder = published(job)
    size = adapter_record._size_bytes(folder)
    assert list(adapter_record.votes_of(folder)) == []
    for vote in (a_vote(folder, "v1"), a_vote(folder, "v2", "tie"), a_vote(folder, "v1", "second")):
        adapter_record.keep_vote(vote)
    with (folder / "votes.jsonl").open("ab") as file:
        file.write(b'{"id": "v3", "adapt')
    adapter_record.keep_vote(a_vote(folder, "v4"))
    other = {**dataclasses.asdict(a_vote(folder, "v5")), "adapter_id": "other"}
    lines.append(folder / "votes.jsonl", [other, {"id": "v6"}, 7])
    found = list(adapter_record.votes_of(folder))
    assert [(vote["id"], vote["winner"]) for vote in found] == [
        ("v1", "first"),
        ("v2", "tie"),
        ("v4", "first"),
    ]
    assert votes.Vote(**found[1]) == a_vote(folder, "v2", "tie")
    assert adapter_record._size_bytes(folder) == size
    with pytest.raises(StudioError, match="files are gone"):
        adapter_record.keep_vote(dataclasses.replace(a_vote(folder, "v7"), adapter_id="gone"))


def test_a_strength_that_the_folder_cannot_keep_is_not_in_the_database_either(job: Job) -> None:
    record = adapter_record.described(draft(job), job, MADE, "one")
    adapters.add(**record)
    folder = files.adapter_folder(record["id"])
    (folder / adapter_record.RECORD_FILE / "in the way").mkdir(parents=True)
    with pytest.raises(OSError):
        adapter_record.keep_strength(record["id"], 0.5)
    assert adapters.get(record["id"]).strength == 1.0
    with pytest.raises(StudioError, match="strength is"):
        adapter_record.keep_strength(record["id"], 2)
