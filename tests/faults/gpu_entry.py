"""The studio's processes for `tests.faults.gpus`: the product's own, beside what is measured in a job's process.

`python -m tests.faults.gpu_entry page DATA_FOLDER` holds the page's lock and keeps a worker, as the page does;
`… --data-dir D` is a worker; `… RUN_FOLDER ATTEMPT` and `… --wait DATA_FOLDER` are a job's process; and
`… fill DEVICE` takes the memory of a GPU away.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jobs import run_job, worker
from jobs.executors import local
from jobs.executors.local import LocalExecutor
from jobs.kinds import KINDS
from jobs.progress import Progress
from storage import config, files
from tests.faults import gpu_probe, points

MODULE = "tests.faults.gpu_entry"
KEEP_SECONDS = 0.3
MEASURED_FILE = "measured.json"
FILL_BLOCKS = (256 << 20, 16 << 20, 2 << 20)


def page(data_dir: Path) -> int:
    """Do what `studio.server` does for the worker, without a page."""
    config.use(config.from_environment(data_dir))
    worker.hold_page_lock()
    while True:
        worker.start_worker(MODULE)
        time.sleep(KEEP_SECONDS)


def be_worker() -> int:
    """Be a worker that ends soon after the last page."""
    worker.IDLE_SECONDS = 1.0
    if os.environ.get("FAULTS_PROCESSOR"):
        local.SPARE_NEEDS_BYTES = 0
    return worker.main(LocalExecutor(MODULE))


# -- a job ---------------------------------------------------------------------------------------------------


def training(spec: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """The real training, measured, which does to itself what the plan of its name asks for."""
    from jobs.training import job

    measured = _Measured(files.attempt_folder(spec["job_id"], spec["attempt"]) / MEASURED_FILE)
    measured.content["used_at_start"] = gpu_probe.used_bytes()
    plan = plan_of(spec["name"])
    _measure_saving(measured, plan)
    what, moment, step = plan.get("at", {}).get(str(spec["attempt"]), ("", "", 0))
    if what:
        _wrap(moment, _once(lambda: _do(what, spec, progress)), int(step))
    try:
        return job.run(spec, progress)
    finally:
        measured.write()


def plan_of(name: str) -> dict[str, Any]:
    """What is to happen to the jobs of this name; see `gpu_studio.GpuStudio.submit`."""
    path = points.folder() / f"{name}.json"
    plan: dict[str, Any] = json.loads(path.read_bytes()) if path.exists() else {}
    return plan


class _Measured:
    """What a job's process found out about itself, written at every state, since it may be killed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.content: dict[str, Any] = {"saves": []}
        self.parts: dict[str, float] = {}

    def timed(self, owner: Any, name: str) -> None:
        """Add up the time of every call of `owner.name`."""
        real = getattr(owner, name)

        def wrapped(*arguments: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                return real(*arguments, **named)
            finally:
                self.parts[name] = self.parts.get(name, 0.0) + time.perf_counter() - began

        setattr(owner, name, wrapped)

    def write(self) -> None:
        """Leave it where the program finds it."""
        self.path.write_text(json.dumps(self.content))


def _measure_saving(measured: _Measured, plan: dict[str, Any]) -> None:
    from jobs.training import loop, states

    loop.STATE_SECONDS = plan.get("state_seconds", loop.STATE_SECONDS)
    states.STATE_SHARE = plan.get("state_share", states.STATE_SHARE)
    for owner, name in (
        (loop._Run, "whole_state"),
        (states, "_tensors"),
        (states, "_sha256"),
        (states, "_write"),
        (files, "publish_folder"),
        (states, "prune"),
    ):
        measured.timed(owner, name)
    real = states.States.save_now

    def save_now(self: states.States, make: Callable[[], Any]) -> None:
        measured.parts.clear()
        began = time.perf_counter()
        real(self, make)
        seconds = time.perf_counter() - began
        measured.content["saves"].append({"seconds": seconds, **measured.parts})
        measured.write()

    states.States.save_now = save_now  # type: ignore[method-assign]


def _once(act: Callable[[], None]) -> Callable[[], None]:
    done: list[bool] = []

    def do() -> None:
        if not done:
            done.append(True)
            act()

    return do


def _do(what: str, spec: dict[str, Any], progress: Progress) -> None:
    """Say when, then end here and now, or wait until the program says go."""
    said = points.folder() / f"{spec['name']}-{spec['attempt']}.there"
    draft = said.with_suffix(".draft")
    draft.write_text(str(time.time()))
    draft.rename(said)
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    while not said.with_suffix(".go").exists():
        time.sleep(0.005)


def _wrap(moment: str, act: Callable[[], None], step: int) -> None:
    """Call `act` at `moment`, the first time after `step`."""
    import torch

    from jobs.training import job, lean, loop, plain, recording, states

    running: list[loop._Run] = []
    real_begin = loop._Run.begin

    def begin(run: loop._Run, resume: bool) -> None:
        running[:] = [run]
        real_begin(run, resume)

    loop._Run.begin = begin  # type: ignore[method-assign]

    def due() -> bool:
        return not step or bool(running and running[-1].state.steps >= step)

    def beside(owner: Any, name: str, before: bool, when: Callable[..., bool] = lambda *_: True) -> None:
        real = getattr(owner, name)

        def wrapped(*arguments: Any, **named: Any) -> Any:
            if before and due() and when(*arguments):
                act()
            result = real(*arguments, **named)
            if not before and due() and when(*arguments):
                act()
            return result

        setattr(owner, name, wrapped)

    if moment == "loading":
        beside(job, "adapted_model", before=True)
    elif moment == "rehearsing":
        beside(loop, "rehearse", before=True)
    elif moment == "recording":
        real_graph = torch.cuda.graph

        @contextmanager
        def graph(*arguments: Any) -> Iterator[None]:
            with real_graph(*arguments):
                act()
                yield

        torch.cuda.graph = graph  # type: ignore[assignment,misc]
    elif moment == "replay":  # the graph has been launched, and the device computes
        beside(recording.Recording, "replay", before=False)
    elif moment == "learn":
        beside(lean.LeanEngine, "learn", before=False)
        beside(plain.PlainEngine, "learn", before=False)
    elif moment == "look":
        beside(loop._Run, "held_out_losses", before=True, when=lambda run, base=False: not base)
    elif moment == "saving":
        beside(states, "_write", before=True, when=lambda path, _: path.name == "manifest.json")
    else:
        raise ValueError(moment)


# -- a program that takes the memory of a GPU ----------------------------------------------------------------


def fill(device: str) -> int:
    """Read from the standard input how many bytes to leave free, take the rest by plain allocations, say so."""
    import torch

    taken: list[torch.Tensor] = []
    for line in sys.stdin:
        leave = int(line)
        taken.clear()
        torch.cuda.empty_cache()
        if device != "cpu":
            torch.cuda.synchronize(device)
            for block in FILL_BLOCKS:
                while torch.cuda.mem_get_info(device)[0] - block > leave:
                    try:
                        taken.append(torch.empty(block, dtype=torch.uint8, device=device))
                    except torch.OutOfMemoryError:
                        break
        print(torch.cuda.mem_get_info(device)[0] if device != "cpu" else 0, flush=True)
    return 0


def main() -> int:
    """Be what the arguments say."""
    if sys.argv[1] == "page":
        return page(Path(sys.argv[2]))
    if sys.argv[1] == "fill":
        return fill(sys.argv[2])
    if "--data-dir" in sys.argv:
        return be_worker()
    return run_job.main(sys.argv[1:], {**KINDS, "training": f"{MODULE}:training"})


if __name__ == "__main__":
    sys.exit(main())
