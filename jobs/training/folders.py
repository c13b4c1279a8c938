"""What a training leaves in its run's folder, by name; free of torch, so that the worker can tidy up."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

from storage import files
from storage.errors import StudioError

ADAPTER_FOLDER = "adapter"
STATES_FOLDER = "states"
# The adapter as it was at some looks at the held-out rows, and what it answered to three of them on its way.
LOOKS_FOLDER = "looks"
MOST_LOOKS = 8
FILM_FILE = "film.json"
_LOOK = re.compile(r"step-(\d{6,})")


def forget_states(run_folder: Path) -> None:
    """Delete the states of all attempts: a run whose end is written down never goes on; harmless to repeat."""
    for states in run_folder.glob(f"attempt-*/{STATES_FOLDER}"):
        shutil.rmtree(states, ignore_errors=True)


def looks(run_folder: Path) -> list[tuple[int, Path]]:
    """(step, PEFT folder) of every saved look of a run, the first step's first."""
    matches = (
        (_LOOK.fullmatch(folder.name), folder) for folder in (run_folder / LOOKS_FOLDER).glob("step-*")
    )
    return sorted((int(match[1]), folder) for match, folder in matches if match)


def look_name(step: int) -> str:
    """The name of the folder of the look after `step` steps."""
    return f"step-{step:06d}"


def film(run_folder: Path) -> dict[str, Any] | None:
    """The film strip of a run as far as it goes: {"prompts": [{"row", "prompt", "wanted", "frames"}]}; else None.

    `frames` are {"step", "text"}, the base model's first as step 0.
    """
    try:
        found = files.read_json(run_folder / FILM_FILE)
        steps = [[frame["step"] for frame in prompt["frames"]] for prompt in found["prompts"]]
        return found if steps and all(one == steps[0] for one in steps) else None
    except (OSError, StudioError, KeyError, TypeError):
        return None
