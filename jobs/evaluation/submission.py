"""A scorecard asked for: checked before it waits, and never two of the same at once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from jobs import gpu
from jobs.base_models import catalogue
from jobs.serving import side_names
from storage import adapters, datasets, jobs
from storage.adapters import Adapter
from storage.datasets import Dataset
from storage.errors import StudioError
from storage.jobs import Job

KIND = "scorecard"
# What the job leaves in its attempt's folder: the whole card, and before that the card so far.
CARD_FILE, PARTIAL_FILE = "card.json", "partial.json"
# In this order: who is at work comes before who waits.
OPEN = ("stopping", "running", "queued")
ROWS, MOST_ROWS = 40, 400
# Answers, the card so far and the card: a few megabytes, and some room for the others.
NEEDS_BYTES = 20_000_000
MOST_OTHERS = 4
NAMES = ("rows", "sides", "side_effects")


def submit(
    adapter_id: str,
    dataset_id: str | None = None,
    settings: Mapping[str, Any] | None = None,
    request_key: str | None = None,
) -> Job:
    """Queue a scorecard of an adapter on a dataset, by default its own.

    One of the same settings that is under way is returned, and one that has failed or was stopped goes on, with the
    answers that it has; one of other settings waits behind what is under way.
    Raises: StudioError for whatever would make it fail and can be known now.
    """
    adapter = adapters.get(adapter_id)
    dataset = datasets.get(dataset_id or adapter.dataset_id)
    asked = {"adapter_id": adapter_id, **checked(adapter, settings or {})}
    _check_material(adapter, dataset)
    # In this order: what another click queues in between is found here, or has the same key below.
    before = newest(adapter_id, dataset.id)
    same = [job for job in under_way(adapter_id, dataset.id) if job.settings == asked]
    if same:
        return same[0]
    if before and before.status in ("failed", "stopped") and before.settings == asked and not before.deleting:
        return jobs.retry(before.id)
    # The number makes two clicks at the same moment one job, and a new try later a new one.
    key = f"scorecard {dataset.id} {json.dumps(asked, sort_keys=True)} after {before.number if before else 0}"
    return jobs.add(
        KIND,
        f"Scorecard of {adapter.name}",
        gpu.EVALUATION,
        dataset_id=dataset.id,
        base_model_id=adapter.base_model_id,
        settings=asked,
        request_key=request_key or hashlib.sha256(key.encode()).hexdigest(),
        needs_bytes=NEEDS_BYTES,
    )


def after_training(job: Job, adapter_id: str) -> Job | None:
    """Queue the first scorecard of a training's adapter, once; None where none is wanted or none can be made."""
    if job.kind != "training" or not job.settings.get("scorecard", True):
        return None
    try:
        adapter = adapters.get(adapter_id)
        _check_material(adapter, datasets.get(adapter.dataset_id))
    except StudioError:
        return None
    return newest(adapter_id) or submit(adapter_id)


def newest(adapter_id: str, dataset_id: str | None = None) -> Job | None:
    """The newest job that made, makes or will make a card of this adapter, however it stands."""
    found = [
        job
        for job in jobs.list_all(kind=KIND, limit=10_000)
        if job.settings.get("adapter_id") == adapter_id and dataset_id in (None, job.dataset_id)
    ]
    return found[0] if found else None


def running(adapter_id: str, dataset_id: str | None = None) -> Job | None:
    """The job that makes a card of this adapter, or will make the next one; None where nobody does."""
    return next(iter(under_way(adapter_id, dataset_id)), None)


def under_way(adapter_id: str, dataset_id: str | None = None) -> list[Job]:
    """The jobs that make or will make a card of this adapter, one after the other."""
    return [
        job
        for status in OPEN
        for job in sorted(jobs.list_all(kind=KIND, status=status), key=lambda job: job.number)
        if job.settings.get("adapter_id") == adapter_id and dataset_id in (None, job.dataset_id)
    ]


def checked(adapter: Adapter, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a scorecard with what was left out; sides None are all that there can be.

    Raises: StudioError naming what cannot be.
    """
    unknown = sorted(set(settings) - set(NAMES))
    if unknown:
        raise StudioError(
            f"A scorecard has no setting “{unknown[0]}”.", f"The settings are {', '.join(NAMES)}."
        )
    rows, effects = settings.get("rows", ROWS), settings.get("side_effects", True)
    if isinstance(rows, bool) or not isinstance(rows, int | float) or rows not in range(1, MOST_ROWS + 1):
        raise StudioError(f"rows is {rows!r}.", f"Give a whole number from 1 to {MOST_ROWS}.")
    if not isinstance(effects, bool):
        raise StudioError(f"side_effects is {effects!r}.", "Say true or false.")
    return {"rows": int(rows), "sides": _sides(adapter, settings.get("sides")), "side_effects": effects}


def _sides(adapter: Adapter, sides: Any) -> list[str] | None:
    """The sides with the two that every card compares, in the order in which they are shown."""
    if sides is None:
        return None
    if not isinstance(sides, list | tuple) or not all(isinstance(side, str) for side in sides):
        raise StudioError(f"sides is {sides!r}.", "Give a list of sides, or leave it out.")
    named = [side for side in side_names.NAMED_SIDES if side in (*sides, "base", "adapted")]
    others = [side for side in dict.fromkeys(sides) if side not in side_names.NAMED_SIDES]
    if len(others) > MOST_OTHERS:
        raise StudioError(f"sides names {len(others)} other adapters.", f"Name at most {MOST_OTHERS}.")
    for part in (part for side in others for part in side_names.parts_of(side)):
        other = adapters.get(part.adapter_id)
        if other.base_model_id != adapter.base_model_id:
            raise StudioError(
                f"The adapter “{other.name}” was made for the base model {other.base_model_id}, "
                f"not for {adapter.base_model_id}.",
                "Compare adapters of the same base model.",
            )
    return [*named, *others]


def _check_material(adapter: Adapter, dataset: Dataset) -> None:
    if not dataset.held_out_rows:
        raise StudioError(
            f"The dataset “{dataset.name}” has no held-out examples.",
            "Add more examples; some of them are then kept aside for the test.",
        )
    if not catalogue.find(adapter.base_model_id).available:
        raise StudioError(
            f"The base model “{adapter.base_model_id}” is not on this computer.",
            "Fetch it first, on the Model page.",
        )
