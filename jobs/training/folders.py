"""What a training leaves in its run's folder, by name; free of torch, so that the worker can tidy up."""

from __future__ import annotations

import shutil
from pathlib import Path

ADAPTER_FOLDER = "adapter"
STATES_FOLDER = "states"


def forget_states(run_folder: Path) -> None:
    """Delete the states of all attempts: a run whose end is written down never goes on; harmless to repeat."""
    for states in run_folder.glob(f"attempt-*/{STATES_FOLDER}"):
        shutil.rmtree(states, ignore_errors=True)
