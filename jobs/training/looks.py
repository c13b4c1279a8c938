"""The adapter as it is at the looks at the held-out rows, kept so that its way can be seen afterwards."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from jobs.progress import Progress
from jobs.training import folders
from jobs.training.checkpoints import CONFIG_FILE, WEIGHTS_FILE, config_text, weights_bytes
from storage import files
from storage.errors import DiskFull

_TEMPORARY, _GONE = ".tmp-", ".gone-"


class Looks:
    """Saves looks as PEFT folders in bf16, each published whole."""

    def __init__(self, run_folder: Path, progress: Progress) -> None:
        """Save into the folder of a run; what an interrupted attempt left there is overwritten name by name."""
        self._folder, self._progress = run_folder / folders.LOOKS_FOLDER, progress

    def keep(self, step: int, config: Any, weights: Mapping[str, Tensor]) -> None:
        """Save the adapter of `step`; a full disk costs the look and not the run.

        Args:
            config: the adapter's `LoraConfig`.
            weights: on the processor, by parameter name as of the adapter "default".
        """
        try:
            self._write(step, config, weights)
            self._thin()
        except (OSError, DiskFull) as error:
            self._progress.log(f"The look at step {step} was not kept: {error}.")

    def _write(self, step: int, config: Any, weights: Mapping[str, Tensor]) -> None:
        final = self._folder / folders.look_name(step)
        temporary = self._folder / (_TEMPORARY + final.name)
        files.make_lasting(self._folder)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        try:
            (temporary / WEIGHTS_FILE).write_bytes(weights_bytes(weights))
            (temporary / CONFIG_FILE).write_text(config_text(config))
            _remove(final)
            files.publish_folder(temporary, final)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _thin(self) -> None:
        """Of too many, one goes whose neighbours are the closest together; the first and the last stay."""
        kept = sorted((int(path.name.partition("-")[2]), path) for path in self._folder.glob("step-*"))
        while len(kept) > folders.MOST_LOOKS:
            inner = range(1, len(kept) - 1)
            closest = min(inner, key=lambda place: kept[place + 1][0] - kept[place - 1][0])
            _remove(kept.pop(closest)[1])


def _remove(folder: Path) -> None:
    """Delete a look; it loses its name first, so that nobody finds half of it."""
    gone = folder.with_name(_GONE + folder.name)
    shutil.rmtree(gone, ignore_errors=True)
    with suppress(FileNotFoundError):
        folder.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)
