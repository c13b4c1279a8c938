"""A download goes on where it stopped, keeps only what was published, and names what went wrong."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jobs.base_models import download
from storage import files
from storage.errors import StudioError
from tests.jobs.base_models.servers import serving

CONTENT = bytes(range(256)) * 20_000  # 5 MB
SHA256 = hashlib.sha256(CONTENT).hexdigest()

Reports = list[tuple[str, int | None, int | None]]


def fetch(url: str, target: Path, sha256: str = SHA256) -> Reports:
    reports: Reports = []
    download.fetch(url, target, sha256, lambda *report: reports.append(report), "Fetching")
    return reports


def test_file_arrives_with_its_bytes_counted(home: Path, tmp_path: Path) -> None:
    with serving({"model": CONTENT}) as place:
        reports = fetch(f"{place.url}/model", tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == CONTENT
    assert ("Fetching", len(CONTENT), len(CONTENT)) in reports
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["model"]


def test_cut_download_goes_on_where_it_stopped(home: Path, tmp_path: Path) -> None:
    with serving({"model": CONTENT}) as place:
        place.cut_after = 3_000_000
        with pytest.raises(download.Unreachable, match="goes on where it stopped"):
            fetch(f"{place.url}/model", tmp_path / "model")
        assert not (tmp_path / "model").exists()
        reports = fetch(f"{place.url}/model", tmp_path / "model")
        assert place.requests[-1][2] == "bytes=3000000-"
    assert reports[0] == ("Fetching", 3_000_000, len(CONTENT))
    assert (tmp_path / "model").read_bytes() == CONTENT


def test_killed_download_goes_on_where_it_stopped(home: Path, tmp_path: Path) -> None:
    """kill -9 in the middle, as a power switch would do it."""
    program = (
        "import sys, time; from pathlib import Path\n"
        "from storage import config; config.use(config.from_environment(data_dir=sys.argv[3]))\n"
        "from jobs.base_models import download\n"
        "slowly = lambda words, done, total: time.sleep(0.3)\n"
        "download.fetch(sys.argv[1], Path(sys.argv[2]), 'x', slowly, 'Fetching')\n"
    )
    part = tmp_path / "model.part"
    with serving({"model": CONTENT}) as place:
        arguments = [f"{place.url}/model", str(tmp_path / "model"), str(home)]
        child = subprocess.Popen([sys.executable, "-c", program, *arguments])
        while not part.exists() or part.stat().st_size == 0:
            assert child.poll() is None
            time.sleep(0.01)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        kept = part.stat().st_size
        assert 0 < kept < len(CONTENT)
        fetch(f"{place.url}/model", tmp_path / "model")
        assert place.requests[-1][2] == f"bytes={kept}-"
    assert (tmp_path / "model").read_bytes() == CONTENT


def test_server_without_ranges_starts_again(home: Path, tmp_path: Path) -> None:
    (tmp_path / "model.part").write_bytes(b"other bytes")
    with serving({"model": CONTENT}) as place:
        place.knows_ranges = False
        fetch(f"{place.url}/model", tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == CONTENT


def test_complete_part_is_only_checked(home: Path, tmp_path: Path) -> None:
    (tmp_path / "model.part").write_bytes(CONTENT)
    with serving({"model": CONTENT}) as place:
        fetch(f"{place.url}/model", tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == CONTENT


def test_wrong_content_is_refused_and_removed(home: Path, tmp_path: Path) -> None:
    with serving({"model": CONTENT[:-1] + b"!"}) as place, pytest.raises(StudioError, match="checksum"):
        fetch(f"{place.url}/model", tmp_path / "model")
    assert not [path for path in tmp_path.iterdir() if path.is_file()]


def test_no_network_is_a_sentence(home: Path, tmp_path: Path) -> None:
    with serving({}) as place:
        gone = f"{place.url}/model"
    with pytest.raises(download.Unreachable, match=r"127\.0\.0\.1 did not work: .*refused"):
        fetch(gone, tmp_path / "model")


def test_missing_file_on_the_server_is_a_sentence(home: Path, tmp_path: Path) -> None:
    with serving({}) as place, pytest.raises(download.Unreachable, match="it answered 404"):
        fetch(f"{place.url}/model", tmp_path / "model")


def test_disk_that_is_too_small_is_known_before(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "free_bytes", lambda: 1_000_000)
    with (
        serving({"model": CONTENT}) as place,
        pytest.raises(StudioError, match=r"disk is full: needs 5\.1 MB"),
    ):
        fetch(f"{place.url}/model", tmp_path / "model")
    assert not (tmp_path / "model.part").exists()


def test_pip_that_reaches_no_index_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving({}) as place:
        monkeypatch.setenv("PIP_INDEX_URL", f"{place.url}/simple")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(download.Unreachable, match="pip cannot reach"):
        download.find_wheel("a-package-of-these-tests==1.0")
