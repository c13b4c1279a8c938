"""What the page knows of one adapter's scorecard at a moment: its card, whether that still holds, and its job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jobs.evaluation import scorecard
from storage import adapters, datasets
from storage.adapters import Adapter
from storage.datasets import Dataset
from storage.errors import StudioError
from storage.jobs import Job
from studio.charts import OPEN


@dataclass(frozen=True)
class Seen:
    """`card` is the stored one, or, with `is_partial`, what the job that runs has counted so far."""

    adapter: Adapter
    dataset_id: str
    dataset: Dataset | None
    card: Mapping[str, Any] | None
    is_partial: bool
    is_fresh: bool
    job: Job | None

    @property
    def is_running(self) -> bool:
        """Whether a card is being made, or waits for its turn."""
        return self.job is not None and self.job.status in OPEN

    @property
    def can_check(self) -> bool:
        """Whether there is anything to check on."""
        return self.dataset is not None and self.dataset.held_out_rows > 0


def of(adapter_id: str, dataset_id: str | None = None) -> Seen:
    """What is known now; `dataset_id` None stands for the adapter's own examples."""
    adapter = adapters.get(adapter_id)
    dataset_id = dataset_id or adapter.dataset_id
    job = scorecard.newest(adapter_id, dataset_id)
    card = scorecard.of(adapter_id, dataset_id)
    partial = None
    if job is not None and job.status in OPEN and card is None:
        partial = scorecard.partial(adapter_id, dataset_id)
    return Seen(
        adapter,
        dataset_id,
        _dataset(dataset_id),
        card or partial,
        card is None and partial is not None,
        card is not None and scorecard.is_fresh(card),
        job,
    )


def _dataset(dataset_id: str) -> Dataset | None:
    """The examples; None when they have been deleted, which takes nothing from a card that was made."""
    try:
        return datasets.get(dataset_id)
    except StudioError:
        return None
