"""What an adapter's folder says of it beside PEFT's two files, so that the database can be made again from it."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from storage import adapters, files, lines, rebuilding
from storage.adapters import Adapter
from storage.errors import StudioError
from storage.evaluations import Evaluation
from storage.jobs import Job
from storage.votes import Vote

RECORD_FILE = "record.json"
SCORECARDS_FOLDER = "scorecards"
VOTES_FILE = "votes.jsonl"
WEIGHTS_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"
FACTS_FILE = "tailor.json"
# What a training says about its adapter in result.json; the rest follows from the job and the folder.
MADE_BY_TRAINING = (
    "rank",
    "alpha",
    "target_modules",
    "parameters",
    "base_weights_sha256",
    "held_out_loss",
    "best_step",
    "settings",
)
# A header of this many bytes describes a hundred thousand tensors.
LONGEST_HEADER_BYTES = 16_000_000


def described(folder: Path, job: Job, made: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The record of an attempt's adapter, which is in its folder from then on; a second time it is read there.

    Called with the folder before it is published, and once more after that.
    Raises KeyError when the training has not said everything, OSError when the weights are missing.
    """
    adapter_id = f"{job.id}-{job.attempt}"
    path = folder / RECORD_FILE
    try:
        record = _checked(path)
        if record["id"] == adapter_id:
            return record
    except (StudioError, OSError, TypeError):
        pass
    record = {
        "id": adapter_id,
        "name": name,
        "job_id": job.id,
        "dataset_id": job.dataset_id,
        "base_model_id": job.base_model_id,
        "size_bytes": _size_bytes(folder),
        "weights_sha256": files.sha256_of(folder / WEIGHTS_FILE),
        **{name: made[name] for name in MADE_BY_TRAINING},
        "created_at": time.time(),
        "strength": 1.0,
    }
    files.write_json(path, record)
    return record


def keep_strength(adapter_id: str, strength: float) -> Adapter:
    """Keep how strongly an adapter answers, in its folder and in the database.

    Raises StudioError for a strength outside of 0 to 1.5, and when there is no such adapter.
    """
    adapter = dataclasses.replace(adapters.get(adapter_id), strength=adapters.checked_strength(strength))
    folder = files.adapter_folder(adapter_id)
    # The folder first: what the database then lacks for a crash, a rebuild brings.
    if folder.is_dir():
        files.write_json(folder / RECORD_FILE, dataclasses.asdict(adapter))
    return adapters.set_strength(adapter_id, strength)


def keep_vote(vote: Vote) -> None:
    """Add a vote to its adapter's folder, whole and on the disk when this returns.

    Raises StudioError when the folder is gone, DiskFull.
    """
    folder = files.adapter_folder(vote.adapter_id)
    if not folder.is_dir():
        raise StudioError("The adapter's files are gone.", "Choose another adapter.")
    with files.locked("votes"):
        lines.append(folder / VOTES_FILE, [dataclasses.asdict(vote)])


def keep_scorecard(evaluation: Evaluation) -> None:
    """Write a scorecard into its adapter's folder, unless that is gone by now."""
    folder = files.adapter_folder(evaluation.adapter_id)
    if folder.is_dir():
        path = files.safe_join(folder, f"{SCORECARDS_FOLDER}/{evaluation.id}.json")
        files.write_json(path, dataclasses.asdict(evaluation))


def of_folder(folder: Path) -> dict[str, Any]:
    """The record of a published adapter: its own words, else what its files and its run's tell.

    Raises StudioError, or what reading a broken file raises, when that is not enough.
    """
    path = folder / RECORD_FILE
    if path.exists():
        record = _checked(path)
        if record["id"] != folder.name:
            raise StudioError(f"{RECORD_FILE} is of the adapter {record['id']}.")
        return record
    return _from_the_rest(folder)


def scorecards_of(folder: Path) -> Iterator[Path]:
    """The files of an adapter's scorecards."""
    return (path for path in sorted((folder / SCORECARDS_FOLDER).glob("[!.]*.json")) if path.is_file())


def votes_of(folder: Path) -> Iterator[dict[str, Any]]:
    """The votes in an adapter's folder, each once; a line that a power cut has cut short is none."""
    seen: set[str] = set()
    for values in lines.read(folder / VOTES_FILE):
        with suppress(StudioError):
            vote = rebuilding.checked(Vote, values)
            if vote["adapter_id"] == folder.name and vote["id"] not in seen:
                seen.add(vote["id"])
                yield vote


def _checked(path: Path) -> dict[str, Any]:
    return rebuilding.checked(Adapter, adapters.complete(files.read_json(path)))


def _from_the_rest(folder: Path) -> dict[str, Any]:
    """The record of an adapter that was published before there were records."""
    config, weights = files.read_json(folder / CONFIG_FILE), folder / WEIGHTS_FILE
    facts = _read_if_there(folder / FACTS_FILE)
    job_id, _, _ = folder.name.rpartition("-")
    spec = _read_if_there(files.run_folder(job_id) / "state.json") or _read_if_there(
        files.run_folder(job_id) / "job.json"
    )
    modules = config["target_modules"]
    from_config = {
        "rank": config["r"],
        "alpha": config["lora_alpha"],
        "target_modules": [modules] if isinstance(modules, str) else sorted(modules),
        "parameters": _parameters(weights),
        "base_weights_sha256": "",
        "held_out_loss": None,
        "best_step": None,
        "settings": {},
    }
    return {
        "id": folder.name,
        "name": spec.get("name") or folder.name,
        "job_id": job_id,
        "dataset_id": spec.get("dataset_id") or "",
        "base_model_id": spec.get("base_model_id") or config.get("base_model_name_or_path") or "",
        "size_bytes": _size_bytes(folder),
        "weights_sha256": files.sha256_of(weights),
        **{name: facts.get(name, value) for name, value in from_config.items()},
        "created_at": weights.stat().st_mtime,
        "strength": 1.0,
    }


def _size_bytes(folder: Path) -> int:
    """The bytes of the adapter itself, without what is written about it afterwards."""
    return sum(
        status.st_size
        for path, status in files.under(folder)
        if path.name not in (RECORD_FILE, VOTES_FILE) and path.parent.name != SCORECARDS_FOLDER
    )


def _parameters(weights: Path) -> int:
    """How many values a safetensors file holds, by its header alone."""
    with weights.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > LONGEST_HEADER_BYTES:
            raise StudioError(f"{weights.name} is no safetensors file.")
        header = json.loads(file.read(length))
    return sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")


def _read_if_there(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty where there is none that can be read."""
    try:
        found = files.read_json(path)
    except (StudioError, OSError):
        return {}
    return found if isinstance(found, dict) else {}
