"""Every file of the corpus: what must come of it comes of it, quickly, in little memory, and nothing else stays."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.jobs.datasets.hostile import bringing
from tests.jobs.datasets.hostile.bringing import Came, left_behind
from tests.jobs.datasets.hostile.corpus import CASES

MOST_SECONDS = 10  # of computing: twice what is promised, since cores that are shared are slower
MOST_PAGE_BYTES = 100_000_000
WHOLE_WAY = [name for name, case in CASES.items() if case.whole_way]
IN_PROCESS = [name for name, case in CASES.items() if not case.whole_way]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for everything that does not ask where to write; it stays empty."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield folder
    assert list(folder.iterdir()) == []


def check(name: str, came: Came) -> None:
    bringing.assert_sound(came)
    bringing.assert_expected(CASES[name], came)
    assert came.seconds < MOST_SECONDS


@pytest.mark.parametrize("name", IN_PROCESS)
def test_a_file_becomes_what_it_must(name: str, tmp_path: Path) -> None:
    path = CASES[name].write(tmp_path / "files")
    check(name, bringing.in_process(path, CASES[name].options, tmp_path / "staged"))
    assert {entry.name for entry in tmp_path.iterdir()} == {"files", "staged", "elsewhere"}


@pytest.mark.parametrize("name", WHOLE_WAY)
def test_a_file_that_wants_too_much_leaves_nothing(name: str, home: Path, tmp_path: Path) -> None:
    path = CASES[name].write(tmp_path / "files")
    before = most_memory_from_here()
    came = bringing.through_child(path, CASES[name].options)
    assert most_memory() - before < MOST_PAGE_BYTES
    check(name, came)
    path.unlink()
    if came.error is not None:
        assert (left_behind(home), bringing.stored()) == ([], 0)
    else:
        assert (len(left_behind(home)), bringing.stored()) == (1, 1)
    assert {entry.name for entry in tmp_path.iterdir()} == {"files", "home", "elsewhere"}


def most_memory_from_here() -> int:
    """Forget the highest use of memory so far; returns the present one."""
    Path("/proc/self/clear_refs").write_text("5")
    return most_memory()


def most_memory() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def test_the_corpus_is_large_and_the_same_every_time(tmp_path: Path) -> None:
    assert len(CASES) >= 60
    for name in ("a ZIP of two", "Parquet", "a workbook", "names that share their bytes"):
        first, again = (CASES[name].write(tmp_path / folder).read_bytes() for folder in ("1", "2"))
        assert first == again


def test_a_named_pipe_and_other_odd_paths_are_explained(home: Path, tmp_path: Path) -> None:
    pipe, link, loop = tmp_path / "pipe.csv", tmp_path / "link.csv", tmp_path / "loop.csv"
    os.mkfifo(pipe)
    link.symlink_to(tmp_path / "nowhere")
    loop.symlink_to(loop)
    for path in (
        pipe,
        link,
        loop,
        tmp_path,
        tmp_path / "gone.csv",
        Path("a\0b"),
        Path("/dev/zero"),
        tmp_path / ("n" * 300),
    ):
        came = bringing.through_child(path, {})
        assert came.error is not None
        bringing.assert_sound(came)
    assert (left_behind(home), bringing.stored()) == ([], 0)
