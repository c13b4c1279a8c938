"""Two changes at once, a kill at any moment, the trash and back: no version is ever lost or half there."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs import rebuild
from jobs.datasets import families, importing, publishing, versions
from jobs.datasets.rows import load_rows
from jobs.executors.local import PROJECT_ROOT
from storage import database, datasets, files, jobs, trash
from storage.datasets import Dataset
from storage.errors import StudioError
from tests.jobs.datasets.changing import add, at_once, numbers, pasted, said

STEPS = ("mkdir", "rename", "replace", "unlink", "fsync", "open", "rmdir")


def test_two_changes_at_once_lose_nothing(dataset: Dataset) -> None:
    made: list[Dataset] = []

    def change(number: int) -> None:
        made.append(versions.apply(dataset.id, add(f"At once {number}?")))

    threads = [threading.Thread(target=change, args=[number]) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    family = versions.history(dataset.id)
    assert sorted(one.version for one in family) == [1, 2, 3, 4] and len(made) == 3
    assert all(one.parent_id == dataset.id for one in made)
    assert [one.id for one in family if one.is_current] == [family[0].id], "the last is the one that is shown"
    assert len({numbers(one.id)[-1] for one in made}) == 3, "no two rows have one number"


def test_a_dataset_goes_to_the_trash_with_all_its_versions_and_comes_back(dataset: Dataset) -> None:
    new = at_once(at_once(dataset.id, add("Two?")).id, add("Three?"))
    versions.undo(new.id)
    other = importing.add_pasted(pasted(), "Other")
    before = versions.history(dataset.id)
    rows = {one.id: load_rows(one.id) for one in before}
    job = jobs.add("training", "tone", "cpu", new.id)
    with pytest.raises(StudioError, match="still needs"):
        versions.delete(dataset.id)
    jobs.request_stop(job.id)
    versions.delete(new.id)
    versions.delete(new.id)
    assert datasets.list_all() == [other] and [
        path.name for path in (files.root() / "datasets").iterdir()
    ] == [other.id]
    (item,) = trash.items()
    assert item.origin == Path("datasets") / dataset.id
    trash.restore(item.name)
    rebuild.rebuild()
    database.connect()
    assert versions.history(dataset.id) == before
    assert {one.id: load_rows(one.id) for one in before} == rows
    assert not (files.dataset_folder(dataset.id) / "versions").exists()


def test_no_crash_while_deleting_loses_anything(dataset: Dataset) -> None:
    new = at_once(dataset.id, add("Two?"))
    rows = load_rows(new.id)
    for _ in every_crash(lambda: versions.delete(dataset.id)):
        for item in trash.items():
            trash.restore(item.name)
        families.put_back()
        if not datasets.list_all():
            rebuild.rebuild()
            database.connect()
        assert [one.id for one in versions.history(dataset.id)] == [new.id, dataset.id]
        assert load_rows(new.id) == rows and trash.items() == []


def every_crash(action: Callable[[], object]) -> Iterator[None]:
    """One turn for each moment at which `action` can die, until it ends by itself."""
    for step in range(400):
        database.close()
        finished = _dying_at(step, action)
        database.connect()
        yield
        if finished:
            assert step > 8
            return
    raise AssertionError("it never came to its end")


def _dying_at(step: int, action: Callable[[], object]) -> bool:
    """Do it in a process that dies before its `step`-th change of the disk; whether it came to its end."""
    process = os.fork()
    if process == 0:
        ended = 2
        try:
            database.connect()
            left = [step]
            for name in STEPS:
                setattr(os, name, _counted(left, getattr(os, name)))
            action()
            ended = 0
        finally:
            os._exit(ended)
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    assert status in (0, 9)
    return status == 0


def _counted(left: list[int], real: Callable[..., Any]) -> Callable[..., Any]:
    def call(*values: Any, **named: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            os._exit(9)
        return real(*values, **named)

    return call


def is_whole(dataset: Dataset, rows: list[dict[str, Any]]) -> bool:
    """Whether a family is as it was, or has one whole version more that is the current one; and nothing half done."""
    publishing.tidy()
    family = versions.history(dataset.id)
    current = [one for one in family if one.is_current]
    assert len(current) == 1 and load_rows(dataset.id) == rows
    assert {path.name for path in (files.root() / "datasets").iterdir()} == {one.id for one in family}
    # What was killed before it could say whose it is has no rows, and goes after a day.
    assert not list((files.root() / "tmp").rglob("*.jsonl"))
    for one in family:
        assert len(load_rows(one.id)) == one.rows
    if len(family) == 1:
        return False
    assert current[0] == family[0] and load_rows(current[0].id)[-1]["messages"] == said("Killed?")
    return True


def test_killed_at_any_step_the_family_is_whole(dataset: Dataset) -> None:
    rows = load_rows(dataset.id)
    at_once(dataset.id, add("Warm up?"))  # what is imported on the way is imported now
    for one in versions.history(dataset.id)[:1]:
        shutil.rmtree(files.dataset_folder(one.id))
        datasets.remove(one.id)
    datasets.make_current(dataset.id)
    seen = set()
    for _ in every_crash(lambda: at_once(dataset.id, add("Killed?"))):
        seen.add(is_whole(dataset, rows))
        for one in versions.history(dataset.id)[:-1]:
            shutil.rmtree(files.dataset_folder(one.id))
            datasets.remove(one.id)
        datasets.make_current(dataset.id)
    assert seen == {True, False}


@pytest.mark.parametrize("seconds", [0.02, 0.15, 0.3, 0.45, 0.7])
def test_killed_with_its_process_the_family_is_whole(dataset: Dataset, seconds: float) -> None:
    rows = load_rows(dataset.id)
    change = {"kind": "add", "messages": said("Killed?")}
    script = (
        "from jobs.datasets import versions; from storage import config, database\n"
        f"config.use(config.from_environment({str(files.root())!r})); database.connect(); print(flush=True)\n"
        f"versions.apply({dataset.id!r}, {change!r})"
    )
    page = subprocess.Popen([sys.executable, "-c", script], cwd=PROJECT_ROOT, stdout=subprocess.PIPE)
    assert page.stdout is not None
    page.stdout.readline()
    time.sleep(seconds)
    page.send_signal(signal.SIGKILL)
    page.communicate()
    deadline = time.monotonic() + 10  # its process ends with it
    while any(_is_change_of(files.root(), pid) for pid in _processes()) and time.monotonic() < deadline:
        time.sleep(0.02)
    is_whole(dataset, rows)
    new = versions.apply(versions.history(dataset.id)[0].id, add("And on?"))
    assert load_rows(new.id)[-1]["messages"] == said("And on?")


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _is_change_of(home: Path, pid: int) -> bool:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode()
    except OSError:
        return False
    return "change_process" in command and str(home) in command
