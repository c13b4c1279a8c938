"""What the page knows of one adapter's scorecard at a moment: its card, whether that still holds, and its job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    """`card` is the stored one, or, with `is_partial`, what the job that runs has counted so far.

    `outdated_by` is what has changed since its answers were given; a card of an earlier version of the studio is none,
    and `is_of_before` says that there is one. `job` makes the next card, or made the last one; so many more are
    `waiting` behind it.
    """

    adapter: Adapter
    dataset_id: str
    dataset: Dataset | None
    card: Mapping[str, Any] | None
    is_partial: bool
    outdated_by: Sequence[str]
    job: Job | None
    waiting: int = 0
    is_of_before: bool = False

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
    under_way = scorecard.under_way(adapter_id, dataset_id)
    job = under_way[0] if under_way else scorecard.newest(adapter_id, dataset_id)
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
        scorecard.outdated_by(card) if card is not None else [],
        job,
        len(under_way[1:]),
        card is None and scorecard.is_of_before(adapter_id, dataset_id),
    )


def _dataset(dataset_id: str) -> Dataset | None:
    """The examples; None when they have been deleted, which takes nothing from a card that was made."""
    try:
        return datasets.get(dataset_id)
    except StudioError:
        return None
