"""What the worker asks of a place where jobs run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Handle:
    """One process, never to be mistaken for a later one with the same number."""

    pid: int
    started: float
    boot_id: str


class Executor(Protocol):
    """Starts the process of a job and keeps hold of it."""

    def start(self, run_folder: Path, attempt: int) -> Handle:
        """Start the job whose job.json lies in the run folder.

        Raises StudioError when it cannot be started.
        """
        ...

    def prepare(self) -> None:
        """Make ready what can be ready before the next job; called again and again while no job computes."""
        ...

    def close(self) -> None:
        """Let go of what was made ready; jobs that have been started go on."""
        ...

    def stop(self, handle: Handle, force: bool = False) -> None:
        """Ask the job's process and its children to end (SIGTERM), or end them at once (`force`, SIGKILL)."""
        ...

    def is_alive(self, handle: Handle) -> bool:
        """Whether the job's process still runs; it need not have been started by this executor."""
        ...

    def exit_status(self, handle: Handle) -> int | None:
        """How a process that has ended did so, a signal as its negative number; None where nobody knows."""
        ...
