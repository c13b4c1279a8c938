"""The job of kind "fetch": bring one base model onto this machine."""

from __future__ import annotations

from typing import Any

from jobs.base_models import fetching
from jobs.progress import Progress


class _Stopped(Exception):
    """The user has asked to stop."""


def run(spec: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Fetch the model that the job names; a stopped download goes on when it is asked for again."""

    def report(words: str, done_bytes: int | None, total_bytes: int | None) -> None:
        if progress.should_stop():
            raise _Stopped
        progress.phase(words, done_bytes, total_bytes)

    try:
        folder = fetching.ensure(spec["base_model_id"], report)
    except _Stopped:
        return {"status": "stopped"}
    return {"status": "finished", "folder": str(folder)}
