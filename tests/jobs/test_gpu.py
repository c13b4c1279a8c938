"""Who holds a device, across processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from jobs import gpu
from jobs.executors.local import PROJECT_ROOT
from storage.errors import StudioError
from tests.jobs.waiting import until

HOLD = """
import sys, time
from pathlib import Path
from jobs import gpu
from storage import config
config.use(config.from_environment(data_dir=Path(sys.argv[1])))
with gpu.hold("cuda:0", "the other one"):
    time.sleep(60)
"""


def test_the_processor_is_always_there() -> None:
    devices = gpu.devices()
    assert devices[-1].id == "cpu" and devices[-1].memory_bytes > devices[-1].free_bytes > 0
    assert gpu.default_device() == devices[0].id


def test_a_held_device_names_its_holder_and_is_free_after(home: Path) -> None:
    with gpu.hold("cpu", "a training"):
        assert gpu.holder("cpu") == "a training"
        with pytest.raises(StudioError, match="in use by a training"), gpu.hold("cpu", "me", timeout=0.2):
            pass
        with gpu.hold("cuda:0", "beside it"):
            assert gpu.holder("cuda:0") == "beside it"
    assert gpu.holder("cpu") is None


def test_a_killed_holder_holds_nothing(home: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(home)], cwd=PROJECT_ROOT)
    until(lambda: gpu.holder("cuda:0") == "the other one")
    other.kill()
    other.wait()
    with gpu.hold("cuda:0", "me", timeout=1.0):
        assert gpu.holder("cuda:0") == "me"
