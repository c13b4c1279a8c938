"""What a user may do with a run now: for the page's buttons, and for the live picture that refreshes them."""

from __future__ import annotations

import zlib
from dataclasses import astuple, dataclass

from storage import checkpoints, waiting
from storage.jobs import Job

ENDED = ("finished", "failed", "stopped")


@dataclass(frozen=True)
class Offers:
    """`place` is 1 for the next of the queue; `checkpoint_step` is where a run that has ended can go on."""

    status: str
    attempt: int
    adapter_id: str | None
    place: int | None
    stop: bool
    sooner: bool
    later: bool
    checkpoint_step: int | None
    start_again: bool
    delete: bool

    def key(self) -> str:
        """Differs whenever anything that the page offers does."""
        return f"{zlib.crc32(repr(astuple(self)).encode()):x}"


def of(job: Job) -> Offers:
    """What may be done with this job as it is."""
    kept = not job.deleting
    place = waiting.place(job.id) if job.status == "queued" else None
    again = kept and job.kind == "training" and job.status in ("failed", "stopped")
    saved = checkpoints.list_of(job.id) if again else []
    return Offers(
        status=job.status,
        attempt=job.attempt,
        adapter_id=job.adapter_id,
        place=place,
        stop=kept and job.status in ("queued", "running"),
        sooner=place is not None and place > 1,
        later=place is not None and place < len(waiting.in_order(job.device)),
        checkpoint_step=saved[0].step if saved else None,
        start_again=again,
        delete=kept and job.status in ENDED,
    )
