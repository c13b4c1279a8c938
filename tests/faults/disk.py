"""A full disk at every moment of a training: it pauses, loses nothing, says what it needs, and goes on with room."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from jobs import queue, run_state, worker
from storage import backups, datasets, files, jobs
from storage.errors import StudioError
from storage.jobs import Job
from tests.faults import points
from tests.faults.studio import SETTINGS, Outcome, Studio, check, finished, outcome, told, until
from tests.storage import disks

SIZE = "256m"  # more than a job that was paused asks for; only what is filled takes memory
# Room for a line of events or a transaction, and for no checkpoint.
SCRAPS = 40_000
PAUSED = re.compile(
    r"The disk is full: needs [\d.]+ \w+, [\d.]+ \w+ free\. Run paused, last checkpoint kept\."
)
SENTENCE = re.compile(r"The disk is full: needs [\d.]+ \w+, [\d.]+ \w+ free\.")
PAUSES_SECONDS = 60.0
# Who is at work when the disk is full, how much is left, and whether the run pauses then. Where it does not, its work
# is done, and the worker's transactions wait for room.
MOMENTS: dict[str, tuple[int, bool]] = {
    "loading": (0, True),
    "first step": (SCRAPS, True),  # its lines of events fit, the first state does not
    "checkpoint file": (0, True),
    "before the marker": (0, True),
    "adapter saved": (0, True),
    "result": (0, False),
    "checkpoint heard of": (0, False),
    "job gone": (0, False),
    "adapter unpublished": (0, False),
    "adapter published": (0, False),
    "adapter recorded": (0, False),
}


@contextmanager
def small_studio(folder: Path) -> Iterator[Studio]:
    """A studio that is started, whose data folder is on a disk of its own."""
    with disks.small_disk(folder / "disk", SIZE) as place:
        studio = Studio(place / "home")
        try:
            studio.start()
            yield studio
        finally:
            make_room()
            left = studio.close()
        assert not left, f"processes without a page and without work: {left}"


def submit(studio: Studio) -> Job:
    """Queue a training that needs room to begin, as every one does that is asked for on the page."""
    asked = (studio.dataset, studio.model, 4, SETTINGS)
    job = jobs.add("training", "numbers", "cpu", *asked, needs_bytes=queue.RUN_BYTES)
    run_state.write(job.id)
    return job


def fill(leave: int = 0) -> None:
    """Take all the room of the data folder's disk but `leave` bytes."""
    with _filling().open("wb") as file, suppress(OSError):  # a job that runs takes some meanwhile
        os.posix_fallocate(file.fileno(), 0, max(1, files.free_bytes() - 65_536))
    disks.fill(files.root())
    (files.root() / "filling").rename(_filling().with_name("rest"))
    os.truncate(_filling(), max(0, _filling().stat().st_size - leave))


def make_room() -> None:
    """Give back what `fill` took."""
    for name in ("filling", "filling to the brim", "rest"):
        (files.root() / name).unlink(missing_ok=True)


def _filling() -> Path:
    return files.root() / "filling to the brim"


def full_at(studio: Studio, point: str, whole: Outcome) -> list[str]:
    """Fill the disk while a fresh job or its worker is at `point`; what the user reads of it, then and afterwards."""
    leave, pauses = MOMENTS[point]
    armed = points.arm(point)
    try:
        job = submit(studio)
        until(armed.pid)
        fill(leave)
    finally:
        armed.release()
    try:
        seen = [_paused(job)] if pauses else []
        _nobody_gives_up(job)
    finally:
        make_room()
    job = finished(job)
    check(job, whole)
    seen += told(job)
    if pauses:
        assert len(seen) == 2 and seen[1].startswith("Paused by a full disk"), seen
    return seen


def _paused(job: Job) -> str:
    """What a paused job says, while the disk is still full."""
    words = until(lambda: jobs.get(job.id).paused_for, PAUSES_SECONDS)
    assert words is not None and PAUSED.fullmatch(words), words
    assert "needs 50.0 MB" in words, f"it waits for what it asked for at first, and says: {words}"
    return words


def _nobody_gives_up(job: Job) -> None:
    """Look on for a few rounds of the worker."""
    rounds = 0

    def look() -> bool:
        nonlocal rounds
        rounds += 1
        status = jobs.get(job.id).status
        assert status in ("queued", "running", "finished"), status
        return rounds > 40

    until(look, every=0.1)
    until(worker.worker_is_alive)
    attempt = jobs.get(job.id).attempt
    assert attempt <= 2, f"attempt {attempt} on a full disk"


def actions(studio: Studio) -> dict[str, str]:
    """What every action that needs room says on a full disk, by its name; each works again with room."""
    from studio import dataset_endpoints, endpoints

    upload = Path(tempfile.mkdtemp()) / "more.jsonl"
    upload.write_text(
        "".join(json.dumps({"prompt": f"{n}?", "response": "y" * 9000}) + "\n" for n in range(9))
    )
    every: dict[str, Callable[[], object]] = {
        "add_dataset": lambda: dataset_endpoints.add_dataset(str(upload), "more"),
        "back_up": endpoints.back_up,
        "start_job": lambda: endpoints.start_job(studio.dataset, studio.model, 4, {}),
    }
    before = _there()
    fill()
    try:
        said = {name: _said(act) for name, act in every.items()}
        assert _there() == before, "something half made was left"
    finally:
        make_room()
    for name in ("add_dataset", "back_up"):
        every[name]()
    shutil.rmtree(upload.parent)
    return said


def _there() -> tuple[list[str], list[Path], list[Path], int]:
    return (
        sorted(dataset.id for dataset in datasets.list_all()),
        sorted((files.root() / "datasets").iterdir()),
        [backup.path for backup in backups.list_all()],
        len(jobs.list_all()),
    )


def _said(act: Callable[[], object]) -> str:
    """The sentence by which an action refuses."""
    try:
        act()
    except StudioError as error:
        return error.message
    return "nothing"


def every_moment(folder: Path) -> Iterator[tuple[str, bool]]:
    """Each moment with whether it was survived."""
    waiting = list(MOMENTS)
    number = 0
    while waiting:
        number += 1
        try:
            with small_studio(folder / str(number)) as studio:
                whole = outcome(finished(studio.submit()))
                for name, said in actions(studio).items():
                    yield name, SENTENCE.fullmatch(said) is not None
                while waiting:
                    point = waiting.pop(0)
                    try:
                        full_at(studio, point, whole)
                    except AssertionError:
                        yield point, False
                        raise
                    yield point, True
        except AssertionError:
            import traceback

            traceback.print_exc()  # this one is lost; the others get a fresh studio
