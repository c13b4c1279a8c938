"""Real processes that do what they are told, what they must not, or nothing at all."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

from jobs.datasets import child
from jobs.datasets.child import Cancelled, Limits
from storage.errors import DiskFull, StudioError
from tests.jobs.datasets.child_tasks import MODULE
from tests.jobs.waiting import until

LIMITS = Limits(memory_bytes=600_000_000, stall_seconds=20)


def run(task: str, limits: Limits = LIMITS, should_stop: Any = None, **spec: Any) -> dict[str, Any]:
    with child.staging() as folder:
        return child.run(
            MODULE,
            {"task": task, **spec},
            folder,
            limits=limits,
            subject="Reading “mails.csv”",
            should_stop=should_stop,
        )


def is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def left(home: Path) -> list[Path]:
    return list((home / "tmp").iterdir())


class TestWork:
    def test_gives_its_result_and_its_folder(self, home: Path) -> None:
        with child.staging() as folder:
            result = child.run(MODULE, {"task": "count", "count": 3}, folder)
            assert (folder / "numbers").read_text() == "1 2 3"
        assert result["counted"] == 3
        assert left(home) == []

    def test_gives_way_to_everybody_else_in_a_session_of_its_own(self, home: Path) -> None:
        result = run("count", count=1)
        assert result["nice"] == min(19, os.nice(0) + 10)
        assert result["session"] == result["pid"]

    def test_reports_on_the_way(self, home: Path) -> None:
        heard: list[tuple[str, int | None, int | None]] = []
        with child.staging() as folder:
            spec = {"task": "count", "count": 1}
            child.run(MODULE, spec, folder, report=lambda *told: heard.append(told))
        assert heard[0] == ("Counting", 0, 3)
        assert ("Counting", 2, 3) in heard
        assert heard[-1] == ("Writing", None, None)

    def test_arrow_works_within_the_limit_of_memory(self, home: Path) -> None:
        assert run("use_arrow") == {"rows": 10_000}


class TestRefusals:
    def test_come_in_their_own_words(self, home: Path) -> None:
        with pytest.raises(StudioError, match="Row 7 is odd") as caught:
            run("refuse")
        assert caught.value.remedy == "Correct row 7."
        assert left(home) == []

    def test_a_full_disk_is_one(self, home: Path) -> None:
        with pytest.raises(DiskFull):
            run("fill_the_disk")

    def test_a_fault_is_a_sentence_and_its_traceback_is_in_the_log(
        self, home: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.ERROR), pytest.raises(StudioError) as caught:
            run("fail")
        assert "Reading “mails.csv”" in caught.value.message
        assert "Traceback" not in str(caught.value) and "division" not in str(caught.value)
        (error_id,) = [record.args[0] for record in caplog.records if record.args]
        assert str(error_id) in caught.value.message
        assert "ZeroDivisionError" in caplog.text


class TestLimits:
    def test_memory_that_is_asked_for_at_once(self, home: Path) -> None:
        with pytest.raises(StudioError, match=r"“mails.csv” was stopped.* more than 0.6 GB of memory"):
            run("take_memory", bytes=5_000_000_000)

    def test_memory_that_the_system_does_not_count(self, home: Path) -> None:
        with pytest.raises(StudioError, match="memory"):
            run("share_memory", Limits(memory_bytes=200_000_000), bytes=400_000_000)

    def test_a_file_that_grows_and_grows(self, home: Path) -> None:
        with pytest.raises(StudioError, match="GB of disk"):
            run("write_much", Limits(file_bytes=50_000_000))
        assert left(home) == []

    def test_room_on_the_disk_that_others_need(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        usage = child.files.shutil.disk_usage(home)
        free = [1_000_000_000, 1_000_000_000, 400_000_000]
        monkeypatch.setattr(
            child.files.shutil,
            "disk_usage",
            lambda _: usage._replace(free=free.pop(0) if len(free) > 1 else free[0]),
        )
        with pytest.raises(DiskFull):
            run("write_much", Limits(file_bytes=2_000_000_000))

    def test_standing_still(self, home: Path, tmp_path: Path) -> None:
        with pytest.raises(StudioError, match="nothing moved for 1 seconds"):
            run("wait", Limits(stall_seconds=1), told=str(tmp_path / "told"))

    def test_computing_without_end(self, home: Path) -> None:
        with pytest.raises(StudioError, match="seconds of computing"):
            run("compute", Limits(cpu_seconds=1))


class TestAnEnd:
    def test_cancel_ends_the_process_and_those_that_it_started(self, home: Path, tmp_path: Path) -> None:
        told = tmp_path / "told"
        with pytest.raises(Cancelled):
            run("start_another", should_stop=told.exists, told=str(told))
        until(lambda: all(is_gone(int(pid)) for pid in told.read_text().split()), 10)
        assert left(home) == []

    def test_a_killed_process_is_said_with_what_it_did(self, home: Path, tmp_path: Path) -> None:
        told = tmp_path / "told"

        def kill() -> None:
            until(told.exists)
            os.kill(int(told.read_text()), signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        with pytest.raises(StudioError, match=r"Reading “mails.csv” .*SIGKILL"):
            run("wait", told=str(told))
        killer.join()
        assert left(home) == []

    def test_a_crash_is_said(self, home: Path) -> None:
        with pytest.raises(StudioError, match=r"Reading “mails.csv” .*SIGSEGV"):
            run("crash")

    @pytest.mark.parametrize("task", ["wait_without_signal", "wait_in_c"])
    def test_of_the_page_ends_the_process_too(self, task: str, home: Path, tmp_path: Path) -> None:
        told = tmp_path / "told"
        page = _page(home, task, told)
        pid = int(told.read_text())
        page.kill()
        page.wait()
        until(lambda: is_gone(pid), 5.0)

    def test_of_the_page_leaves_a_folder_that_is_known_to_be_nobodys(
        self, home: Path, tmp_path: Path
    ) -> None:
        page = _page(home, "wait", tmp_path / "told")
        assert list(child.abandoned()) == []
        page.kill()
        page.wait()
        (folder,) = child.abandoned()
        assert folder.is_dir() and folder.parent == home / "tmp"


def _page(home: Path, task: str, told: Path) -> subprocess.Popen[bytes]:
    """A process that runs a child, which has said who it is."""
    code = (
        "from storage import config\n"
        "from jobs.datasets import child\n"
        f"config.use(config.from_environment(data_dir={str(home)!r}))\n"
        "with child.staging() as folder:\n"
        f"    child.run({MODULE!r}, {{'task': {task!r}, 'told': {str(told)!r}}}, folder)\n"
    )
    page = subprocess.Popen([sys.executable, "-c", code], cwd=child.PROJECT_ROOT)
    until(told.exists)
    return page
