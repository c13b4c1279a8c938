"""A training in a process of its own, which a signal ends for real in the middle of a step.

`python -m tests.jobs.training.mortal RUN_FOLDER ATTEMPT SIGNAL STEP`: before the second pack of STEP, the process
sends itself SIGNAL.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from jobs.progress import RunFolderProgress
from jobs.training import job
from jobs.training.engine import engine_for
from storage import config, files

PACK_TOKENS = 64


class Mortal(RunFolderProgress):
    """Knows which step the training is at, and how many packs of it are learned."""

    signal_number, last_step = 0, 0
    step, packs = 1, 0

    def metric(self, step: int, **values: float) -> None:
        super().metric(step, **values)
        if "loss" in values:
            self.step, self.packs = step + 1, 0

    def pack(self) -> None:
        """A pack is about to be learned."""
        self.packs += 1
        if (self.step, self.packs) == (self.last_step, 2):
            os.kill(os.getpid(), self.signal_number)


def small_packs(model: Any, settings: Any, tried: Any, rows: Any, progress: Any, **options: Any) -> Any:
    """The engine of the job, made to need several packs a step."""
    engine = engine_for(model, settings, tried, rows, progress, **options)
    engine.pack_tokens = PACK_TOKENS
    learn = engine.learn

    def counted(pack: Any, share: float) -> Any:
        progress.pack()
        return learn(pack, share)

    engine.learn = counted  # type: ignore[method-assign]
    return engine


def train(folder: Path, progress: Mortal, attempt: int) -> None:
    """Train what job.json says, and leave result.json."""
    result = job.run({**json.loads((folder / "job.json").read_bytes()), "attempt": attempt}, progress)
    progress.close()
    files.write_json(folder / f"attempt-{attempt}" / "result.json", result)


# A state is saved after every step, and a step has several packs.
CHANGES = {
    "jobs.training.loop.STATE_SECONDS": 0.0,
    "jobs.training.states.STATE_SHARE": math.inf,
    "jobs.training.job.engine_for": small_packs,
}


def main() -> None:
    """Be the process."""
    folder, attempt = Path(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    config.use(config.from_environment(data_dir=folder.parent.parent))
    for place, value in CHANGES.items():
        module, _, name = place.rpartition(".")
        setattr(sys.modules[module], name, value)
    progress = Mortal(folder / f"attempt-{attempt}", attempt)
    signal.signal(signal.SIGTERM, lambda *_: setattr(progress, "terminated", True))
    progress.signal_number, progress.last_step = int(sys.argv[3]), int(sys.argv[4])
    train(folder, progress, attempt)


if __name__ == "__main__":
    main()
