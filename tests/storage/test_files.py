"""Names cannot leave the data folder, and what was half written is never seen under its final name."""

from __future__ import annotations

import errno
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import config, files
from storage.errors import DiskFull, StudioError
from tests.storage import disks

ESCAPES = ["..", "../other", "/etc/passwd", "a/../../other", "", ".", "a/..", "nul\0byte"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder without a database."""
    config.use(config.from_environment(tmp_path / "data"))
    files.make_folders()
    return tmp_path / "data"


@pytest.mark.parametrize("name", ESCAPES)
def test_no_name_leads_out_of_its_folder(data: Path, name: str) -> None:
    with pytest.raises(StudioError):
        files.safe_join(data, name)


def test_a_link_does_not_lead_out_either(data: Path, tmp_path: Path) -> None:
    (data / "link").symlink_to(tmp_path)
    with pytest.raises(StudioError):
        files.safe_join(data, "link/secret")


def test_names_below_the_folder_are_fine(data: Path) -> None:
    assert files.safe_join(data, "original/rows.jsonl") == data / "original" / "rows.jsonl"


@pytest.mark.parametrize("name", [*ESCAPES, "a/b"])
@pytest.mark.parametrize(
    "folder_of", [files.dataset_folder, files.model_folder, files.run_folder, files.adapter_folder]
)
def test_an_id_is_one_name_in_its_own_folder(data: Path, folder_of: Callable[[str], Path], name: str) -> None:
    with pytest.raises(StudioError):
        folder_of(name)


def test_attempts_of_a_run_share_no_folder(data: Path) -> None:
    assert files.attempt_folder("bcdf", 1) == data / "runs" / "bcdf" / "attempt-1"
    assert files.attempt_folder("bcdf", 2) != files.attempt_folder("bcdf", 1)


def test_the_data_folder_is_for_its_owner_only(data: Path) -> None:
    assert stat.S_IMODE(data.stat().st_mode) == 0o700


def test_a_data_folder_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    config.use(config.from_environment(tmp_path / "file" / "data"))
    with pytest.raises(StudioError, match="--data-dir"):
        files.make_folders()


def test_ids_are_short_words_without_vowels() -> None:
    ids = {files.new_id() for _ in range(2000)}
    assert len(ids) == 2000
    assert all(len(id) == 8 and id[0].isalpha() and not set(id) & set("aeiou01") for id in ids)


@given(st.text())
def test_a_slug_is_always_one_plain_visible_name(text: str) -> None:
    name = files.slug(text)
    assert name and len(name) <= 101 and Path(name).name == name and not name.startswith(".")
    assert all(letter.isascii() and (letter.isalnum() or letter in "._-") for letter in name)


def test_slugs_keep_what_people_recognise() -> None:
    assert files.slug("org/Model-1.5B") == "org--Model-1.5B"
    assert files.slug("org/model") != files.slug("org-model")
    assert files.slug("Café für alle") == "Cafe-fur-alle"
    assert files.slug("CON.txt") != "CON.txt"
    assert files.slug("../..") == files.slug("") == "unnamed"


def test_written_json_reads_back_with_null_for_nan(data: Path) -> None:
    files.write_json(
        data / "new" / "a.json", {"loss": float("nan"), "all": [1, float("inf"), "é"], "ok": 0.5}
    )
    assert files.read_json(data / "new" / "a.json") == {"loss": None, "all": [1, None, "é"], "ok": 0.5}


def test_damaged_json_is_named(data: Path) -> None:
    (data / "a.json").write_text('{"half": ')
    with pytest.raises(StudioError, match=r"a\.json is damaged"):
        files.read_json(data / "a.json")
    with pytest.raises(FileNotFoundError):
        files.read_json(data / "none.json")


def test_a_secret_is_never_readable_by_others(data: Path) -> None:
    files.write_json(data / "token.json", {}, mode=0o600)
    assert stat.S_IMODE((data / "token.json").stat().st_mode) == 0o600


def test_content_is_on_the_disk_before_its_name_and_its_name_before_the_return(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []
    sync, replace = os.fsync, os.replace

    def noted_sync(descriptor: int) -> None:
        happened.append("sync folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "sync file")
        sync(descriptor)

    def noted_replace(source: Path, target: Path) -> None:
        happened.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(os, "replace", noted_replace)
    files.write_text(data / "a.txt", "content")
    assert happened == ["sync file", "rename", "sync folder"]


def test_a_failed_write_leaves_the_old_content_and_nothing_else(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.write_text(data / "logs" / "a.txt", "old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StudioError, match=r"The disk is full: needs 3 bytes, .* free\."):
        files.write_text(data / "logs" / "a.txt", "new")
    assert (data / "logs" / "a.txt").read_text() == "old"
    assert os.listdir(data / "logs") == ["a.txt"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG, errno.EDQUOT])
def test_every_kind_of_full_disk_is_said_in_words(data: Path, number: int) -> None:
    with pytest.raises(DiskFull, match=r"needs 1\.2 GB, ") as caught, files.full_disk_as_error(1_200_000_000):
        raise OSError(number, "full")
    assert caught.value.needed_bytes == 1_200_000_000 and caught.value.free_bytes > 0


@pytest.mark.parametrize(
    ("needed", "free", "words"),
    [
        (1_200_000_000, 300_000_000, "needs 1.2 GB, 0.3 GB free."),
        (1_200_000_000, 40_000_000, "needs 1.2 GB, 40.0 MB free."),
        (1_200_000_000, 0, "needs 1.2 GB, 0 bytes free."),
        (3, 60_000_000_000, "needs 3 bytes, 60.0 GB free."),
        (2_000_000, 1_999, "needs 2.0 MB, 2.0 kB free."),
        (None, 1_500_000, "The disk is full: 1.5 MB free."),
    ],
)
def test_both_numbers_stand_in_one_unit_where_that_hides_nothing(
    data: Path, monkeypatch: pytest.MonkeyPatch, needed: int | None, free: int, words: str
) -> None:
    monkeypatch.setattr(files, "free_bytes", lambda: free)
    assert files.full_disk(needed).message.endswith(words)


def test_a_disk_that_is_really_full_is_said(tmp_path: Path) -> None:
    with disks.small_disk(tmp_path / "data", "1m") as disk:
        config.use(config.from_environment(disk))
        files.make_folders()
        with pytest.raises(DiskFull, match=r"needs 2\.0 MB, 1\.0 MB free"):
            files.write_bytes(disk / "logs" / "big", b"x" * 2_000_000)
        assert os.listdir(disk / "logs") == []


def chained(error: Exception, cause: Exception | None = None, handled: Exception | None = None) -> Exception:
    error.__cause__, error.__context__ = cause, handled
    error.__suppress_context__ = False
    return error


FULL = OSError(errno.ENOSPC, "No space left on device")
RUST = "Error while serializing: I/O error: No space left on device (os error 28)"


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (FULL, True),
        (DiskFull("full"), True),
        (RuntimeError(RUST), True),
        (sqlite3.OperationalError("database or disk is full"), True),
        (chained(ValueError("a"), cause=chained(KeyError("b"), cause=FULL)), True),
        (chained(ValueError("a"), handled=FULL), True),
        (PermissionError(errno.EACCES, "no"), False),
        (StudioError("Row 7 says: No space left on device."), False),
        (ValueError("os error 280"), False),
    ],
)
def test_a_full_disk_is_known_by_number_by_words_and_behind_other_errors(
    error: Exception, full: bool
) -> None:
    assert files.is_full_disk(error) is full


def test_an_error_that_causes_itself_is_looked_at_once() -> None:
    error = ValueError("round")
    error.__cause__ = KeyError("and round")
    error.__cause__.__cause__ = error
    assert not files.is_full_disk(error)
    assert not files.is_full_disk(None)


def test_a_library_s_own_error_becomes_the_same_words(data: Path) -> None:
    with pytest.raises(DiskFull, match=r"needs 5 bytes"), files.full_disk_as_error(5):
        raise RuntimeError(RUST)
    first = files.full_disk(7)
    with pytest.raises(DiskFull) as caught, files.full_disk_as_error(5):
        raise first
    assert caught.value is first


def test_a_lock_that_finds_no_room_says_so(tmp_path: Path) -> None:
    with disks.small_disk(tmp_path / "data") as disk:
        config.use(config.from_environment(disk))
        files.make_folders()
        subprocess.run(["mount", "-o", "remount,nr_inodes=12", str(disk)], check=True)
        with pytest.raises(DiskFull):
            for n in range(20):
                with files.locked(f"{n}"):
                    pass


def test_a_lock_on_a_disk_that_may_not_be_written_is_explained(tmp_path: Path) -> None:
    with disks.small_disk(tmp_path / "data") as disk:
        config.use(config.from_environment(disk))
        files.make_folders()
        disks.make_read_only(disk)
        with pytest.raises(StudioError, match="cannot be written: Read-only"), files.locked("database"):
            pass


def test_other_faults_of_the_system_stay_what_they_are(data: Path) -> None:
    with pytest.raises(PermissionError), files.full_disk_as_error():
        raise PermissionError(errno.EACCES, "no")


def test_a_writer_killed_at_any_moment_leaves_a_whole_file(data: Path) -> None:
    """The file holds one version entirely, and whatever else lies there is hidden and marked as temporary."""
    target = data / "logs" / "state.json"
    script = (
        "import sys; from pathlib import Path; from storage import config, files\n"
        f"config.use(config.from_environment({str(data)!r}))\n"
        "n = 0\n"
        "while True:\n"
        "    n += 1\n"
        f"    files.write_json(Path({str(target)!r}), [n] * 50_000)\n"
    )
    for milliseconds in (0, 7, 13, 29, 61):
        target.unlink(missing_ok=True)
        writer = subprocess.Popen([sys.executable, "-c", script], cwd=Path(__file__).parents[2])
        while not target.exists():
            time.sleep(0.002)
        time.sleep(milliseconds / 1000)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        values = files.read_json(target)
        assert len(values) == 50_000 and len(set(values)) == 1
        others = [name for name in os.listdir(target.parent) if name != "state.json"]
        assert all(name.startswith(".") and name.endswith(".tmp") for name in others)


def test_a_folder_is_published_whole_with_everything_synced_first(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []
    sync, rename = os.fsync, os.rename

    def noted_sync(descriptor: int) -> None:
        happened.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        sync(descriptor)

    def noted_rename(source: Path, target: Path) -> None:
        happened.append("rename")
        rename(source, target)

    folder = files.temporary_folder()
    (folder / "deep").mkdir()
    (folder / "deep" / "weights").write_bytes(b"1")
    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(os, "rename", noted_rename)
    files.publish_folder(folder, files.adapter_folder("bcdf"))
    assert set(happened[:3]) == {"weights", "deep", folder.name}
    assert happened[3:] == ["rename", "adapters"]
    assert (data / "adapters" / "bcdf" / "deep" / "weights").read_bytes() == b"1"
    assert not folder.exists()


def test_what_is_published_is_never_replaced(data: Path) -> None:
    for content in ("first", "second"):
        folder = files.temporary_folder()
        (folder / "weights").write_text(content)
        if content == "first":
            files.publish_folder(folder, files.adapter_folder("bcdf"))
        else:
            with pytest.raises(FileExistsError):
                files.publish_folder(folder, files.adapter_folder("bcdf"))
    assert (data / "adapters" / "bcdf" / "weights").read_text() == "first"


def test_measures_files(data: Path) -> None:
    (data / "logs" / "a").write_bytes(b"abc")
    (data / "logs" / "deep").mkdir()
    (data / "logs" / "deep" / "b").write_bytes(b"defg")
    (data / "logs" / "link").symlink_to("/")
    assert files.sha256_of(data / "logs" / "a").startswith("ba7816bf")
    assert files.folder_bytes(data / "logs") == 7
    assert files.free_bytes() > 0


def test_works_on_a_machine_without_a_database_package() -> None:
    script = "import sys; from storage import files; assert 'sqlalchemy' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[2], check=True)
