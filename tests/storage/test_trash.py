"""What is deleted comes back to its place, nothing outside is touched, and no crash loses anything."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storage import config, files, trash
from storage.errors import DiskFull, StudioError
from tests.storage import disks

STEPS = ("mkdir", "rename", "rmdir", "unlink", "symlink", "utime", "chmod", "fsync", "open")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder without a database."""
    config.use(config.from_environment(tmp_path / "data"))
    files.make_folders()
    return tmp_path / "data"


@pytest.fixture
def run(data: Path) -> Path:
    """A run's folder with something in it."""
    folder = files.run_folder("bcdf") / "attempt-1"
    folder.mkdir(parents=True)
    (folder / "events.jsonl").write_text("precious")
    return folder.parent


def dying_at(step: int, action: Callable[[], object]) -> bool:
    """Do `action` in a process that dies before its `step`-th change of the disk; whether it came to its end."""
    child = os.fork()
    if child == 0:
        left = [step]
        for name in STEPS:
            setattr(os, name, _dying(left, getattr(os, name)))
        ended = 2
        try:
            action()
            ended = 0
        finally:
            os._exit(ended)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 9)
    return status == 0


def _dying(left: list[int], real: Callable[..., object]) -> Callable[..., object]:
    def call(*values: object, **named: object) -> object:
        left[0] -= 1
        if left[0] < 0:
            os._exit(9)
        return real(*values, **named)

    return call


def every_crash(action: Callable[[], object]) -> Iterator[None]:
    """One turn for each moment at which `action` can die, until it ends by itself."""
    for step in range(200):
        finished = dying_at(step, action)
        yield
        if finished:
            assert step > 3
            return
    raise AssertionError("it never came to its end")


def test_what_is_deleted_comes_back_as_it_was(run: Path) -> None:
    trash.to_trash(run)
    assert not run.exists()
    (item,) = trash.items()
    assert item.origin == Path("runs/bcdf") and item.size_bytes == 8
    assert abs(item.deleted_at - time.time()) < 60
    assert trash.restore(item.name) == run
    assert (run / "attempt-1" / "events.jsonl").read_text() == "precious"
    assert trash.items() == [] and list((files.root() / "trash").iterdir()) == []


def test_a_file_and_a_folder_deep_inside_know_their_places(data: Path, run: Path) -> None:
    (data / "notes.txt").write_text("note")
    trash.to_trash(data / "notes.txt")
    trash.to_trash(run / "attempt-1" / "events.jsonl")
    trash.to_trash(run / "attempt-1")
    origins = {item.origin.as_posix(): item.name for item in trash.items()}
    assert origins.keys() == {"notes.txt", "runs/bcdf/attempt-1/events.jsonl", "runs/bcdf/attempt-1"}
    trash.restore(origins["runs/bcdf/attempt-1/events.jsonl"])
    assert (run / "attempt-1" / "events.jsonl").read_text() == "precious"


def test_the_same_place_can_be_deleted_often_and_the_last_is_first(run: Path) -> None:
    for content in ("first", "second"):
        run.mkdir(exist_ok=True)
        (run / "content").write_text(content)
        trash.to_trash(run)
        time.sleep(0.02)
    newest, _ = trash.items()
    assert (trash.restore(newest.name) / "content").read_text() == "second"


def test_a_place_that_is_taken_is_not_overwritten(run: Path) -> None:
    trash.to_trash(run)
    (item,) = trash.items()
    run.mkdir()
    with pytest.raises(StudioError, match="something else at runs/bcdf"):
        trash.restore(item.name)
    assert list(run.iterdir()) == [] and trash.items() == [item]


@pytest.mark.parametrize("name", ["", "..", "../runs", "none", "bcdf.2", "bcdf.2/runs", "/etc"])
def test_only_items_can_be_restored(run: Path, name: str) -> None:
    with pytest.raises(StudioError):
        trash.restore(name)
    assert run.exists()


def test_an_item_does_not_come_back_through_a_link(run: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    trash.to_trash(run)
    (item,) = trash.items()
    run.parent.rmdir()
    run.parent.symlink_to(tmp_path / "outside")
    with pytest.raises(StudioError, match="leads out"):
        trash.restore(item.name)
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_link_is_moved_and_not_what_it_points_to(data: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("keep")
    link = data / "runs" / "bcdf"
    link.symlink_to(tmp_path / "precious")
    trash.to_trash(link)
    assert not os.path.lexists(link)
    (item,) = trash.items()
    assert trash.restore(item.name).is_symlink()
    trash.to_trash(link)
    trash.empty()
    assert (tmp_path / "precious" / "file").read_text() == "keep" and trash.items() == []


def test_takes_nothing_from_outside_and_none_of_its_own_folders(data: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (data / "runs" / "out").symlink_to(tmp_path)
    (data / "trash" / "old").mkdir()
    outside = [tmp_path / "precious", data / ".." / "precious", data, data / "runs" / "out" / "precious"]
    for path in (*outside, data / "runs" / "..", data / "..", data / "runs", data / "trash" / "old"):
        with pytest.raises(StudioError):
            trash.to_trash(path)
    assert (tmp_path / "precious").exists() and (data / "runs").exists()


def test_can_be_asked_twice(run: Path) -> None:
    trash.to_trash(run)
    trash.to_trash(run)
    assert len(list((files.root() / "trash").iterdir())) == 1


def test_no_crash_while_deleting_loses_anything(run: Path) -> None:
    for _ in every_crash(lambda: trash.to_trash(run)):
        if not run.exists():
            (item,) = trash.items()
            trash.restore(item.name)
        assert trash.items() == []
        assert (run / "attempt-1" / "events.jsonl").read_text() == "precious"


def test_no_crash_while_restoring_loses_anything(run: Path) -> None:
    def restore_it() -> None:
        for item in trash.items():
            trash.restore(item.name)

    trash.to_trash(run)
    for _ in every_crash(restore_it):
        places = [*(item.origin for item in trash.items()), *([run] if run.exists() else [])]
        assert len(places) == 1
        if run.exists():
            assert (run / "attempt-1" / "events.jsonl").read_text() == "precious"
            trash.to_trash(run)
    assert len(trash.items()) == 1


def test_what_is_deleted_for_good_is_never_half_there(run: Path) -> None:
    for n in range(5):
        (run / f"file-{n}").write_text("x")
    whole = files.folder_bytes(run)
    trash.to_trash(run)
    for _ in every_crash(trash.empty):
        assert [item.size_bytes for item in trash.items()] in ([whole], [])
    assert list((files.root() / "trash").iterdir()) == []


def test_the_item_s_folder_is_on_the_disk_before_the_item(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[str] = []
    sync, rename = os.fsync, os.rename

    def noted_sync(descriptor: int) -> None:
        happened.append(os.path.relpath(os.readlink(f"/proc/self/fd/{descriptor}"), files.root()))
        sync(descriptor)

    def noted_rename(source: Path, target: Path) -> None:
        happened.append("rename")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(os, "rename", noted_rename)
    trash.to_trash(run)
    (item,) = trash.items()
    entry = f"trash/{item.name}"
    assert set(happened[: happened.index("rename")]) == {f"{entry}/runs", entry, "trash"}
    assert set(happened[happened.index("rename") + 1 :]) == {f"{entry}/runs", "runs"}


def test_from_another_disk_it_is_copied_whole_or_not_at_all(
    data: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with disks.small_disk(data / "models"):
        model = files.model_folder("tiny")
        model.mkdir()
        (model / "weights").write_bytes(b"x" * 1000)
        (model / "link").symlink_to("/nowhere")
        for _ in every_crash(lambda: trash.to_trash(model)):
            if not (model / "weights").exists() or not (model / "link").is_symlink():
                (item,) = trash.items()
                trash._remove(model)
                trash.restore(item.name)
            assert (model / "weights").read_bytes() == b"x" * 1000
            assert os.readlink(model / "link") == "/nowhere"
            for item in trash.items():  # the copy was whole, but the original was not deleted yet
                assert item.size_bytes == files.folder_bytes(model)
            trash.empty()


def test_no_room_for_a_copy_leaves_everything_as_it_was(data: Path) -> None:
    with disks.small_disk(data / "trash", "1m"):
        dataset = files.dataset_folder("bcdf")
        dataset.mkdir()
        (dataset / "rows").write_bytes(b"x" * 2_000_000)
        with pytest.raises(DiskFull):
            trash.to_trash(dataset)
        assert (dataset / "rows").stat().st_size == 2_000_000
        assert trash.items() == [] and list((data / "trash").iterdir()) == []


def test_emptying_says_how_much_it_freed(run: Path) -> None:
    trash.to_trash(run)
    (files.root() / "trash" / "from-an-older-version").write_text("12345")
    assert trash.empty() == 8 + 5
    assert trash.empty() == 0


def test_emptying_goes_on_after_what_cannot_be_deleted(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        (files.root() / name).write_text(name)
        trash.to_trash(files.root() / name)
    real = os.unlink

    def unlink(path: str, *values: object, **named: object) -> None:
        if path == "one":
            raise PermissionError(errno.EPERM, "Operation not permitted", path)
        real(path, *values, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "unlink", unlink)
    with pytest.raises(StudioError, match="one cannot be deleted: Operation not permitted"):
        trash.empty()
    assert trash.items() == []
    assert not list((files.root() / "trash").rglob("two"))


def test_tidy_deletes_only_what_is_old(data: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    old, new = files.temporary_folder(), files.temporary_folder()
    (data / "backups" / ".half").mkdir(parents=True)
    (data / "backups" / "studio.db").write_text("whole")
    (data / "trash" / "link").symlink_to(tmp_path / "precious")
    (data / "trash" / "file").write_text("old")
    (data / "trash" / "fresh").write_text("new")
    aged = [old, data / "trash" / "link", data / "trash" / "file", *(data / "backups").iterdir()]
    for path in aged:
        os.utime(path, (0, 0), follow_symlinks=False)
    trash.tidy()
    assert new.exists() and not old.exists()
    assert [path.name for path in (data / "trash").iterdir()] == ["fresh"]
    assert [path.name for path in (data / "backups").iterdir()] == ["studio.db"]
    assert (tmp_path / "precious").exists()


def test_what_is_deleted_stays_for_a_week_however_old_it_is(run: Path) -> None:
    os.utime(run, (0, 0))
    trash.to_trash(run)
    trash.tidy()
    (item,) = trash.items()
    assert abs(item.deleted_at - time.time()) < 60
    assert trash.restore(item.name).stat().st_mtime == 0
    trash.to_trash(run)
    (item,) = trash.items()
    week_ago = time.time() - 7 * 24 * 3600
    os.utime(files.root() / "trash" / item.name, (week_ago, week_ago))
    trash.tidy()
    assert trash.items() == []


def test_somebodys_own_folder_is_never_emptied_through_a_link(data: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("keep")
    os.utime(tmp_path / "precious" / "file", (0, 0))
    for name in ("trash", "tmp"):
        (data / name).rmdir()
        (data / name).symlink_to(tmp_path / "precious")
    trash.tidy()
    with pytest.raises(StudioError, match="is a link"):
        trash.empty()
    assert (tmp_path / "precious" / "file").read_text() == "keep"
