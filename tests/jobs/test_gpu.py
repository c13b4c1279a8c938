"""Who holds a device, across processes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from jobs import gpu
from storage.errors import StudioError
from tests.jobs.device_user import DeviceUser, using
from tests.jobs.waiting import until

UUIDS = ["GPU-1a2b", "GPU-1a3c", "GPU-5d6e"]


@pytest.fixture
def users(home: Path) -> Iterator[list[DeviceUser]]:
    """Processes that are ended with the test."""
    started: list[DeviceUser] = []
    yield started
    for user in started:
        user.kill()


def taken(**changes: Any) -> Any:
    """`gpu.take` where nothing has to be freed and nobody stops."""
    usual: dict[str, Any] = {
        "device": "cpu",
        "who": "the job “Mine”",
        "free": lambda: None,
        "should_stop": lambda: False,
        "say": lambda words: None,
    }
    return gpu.take(**usual | changes)


def test_the_processor_is_always_there() -> None:
    devices = gpu.devices()
    assert devices[-1].id == "cpu" and devices[-1].memory_bytes > devices[-1].free_bytes > 0
    assert gpu.default_device() == devices[0].id


@pytest.mark.parametrize(
    ("setting", "seen"),
    [
        (None, [0, 1, 2]),
        ("", []),
        ("-1", []),
        ("none", []),
        ("2,0", [2, 0]),
        (" 1 , 2", [1, 2]),
        ("0,-1,2", [0]),
        ("1,7,0", [1]),
        ("1,1", []),
        ("GPU-5d6e,GPU-1a2b", [2, 0]),
        ("GPU-5", [2]),
        ("GPU-1a", []),  # fits two
        ("GPU-5d6e,GPU-ffff,GPU-1a2b", [2]),
        ("GPU-5d6e,GPU-5d", []),
        ("GPU-5d6e,0", [2]),
        ("MIG-77,MIG-78", ["MIG-77"]),
    ],
)
def test_the_gpus_that_torch_sees_are_numbered_as_torch_numbers_them(
    setting: str | None, seen: list[int | str]
) -> None:
    assert gpu.visible(setting, UUIDS) == seen


def test_a_held_device_names_its_holder_and_is_free_after(home: Path) -> None:
    with gpu.hold("cpu", "a training"):
        assert gpu.holder("cpu") == gpu.busy_with("cpu") == "a training"
        with pytest.raises(gpu.Busy, match="busy with a training"), gpu.hold("cpu", "me", timeout=0.2):
            pass
        with gpu.hold("cuda:0", "beside it"):
            assert gpu.holder("cuda:0") == "beside it"
    assert gpu.holder("cpu") is None


def test_the_model_server_keeps_nobody_from_asking_it(home: Path) -> None:
    with gpu.hold("cpu", gpu.MODEL_SERVER):
        assert gpu.holder("cpu") == gpu.MODEL_SERVER
        assert gpu.busy_with("cpu") is None


def test_a_killed_holder_holds_nothing(home: Path) -> None:
    with using("the job “Foxes”", "cuda:0") as other:
        assert gpu.holder("cuda:0") == gpu.wanted_by("cuda:0") == "the job “Foxes”"
        assert gpu.holder("cpu") is None
        other.kill()
        assert gpu.busy_with("cuda:0") is None
        with gpu.hold("cuda:0", "me", timeout=1.0):
            assert gpu.holder("cuda:0") == "me"


def test_jobs_that_want_one_device_have_it_one_after_the_other(users: list[DeviceUser]) -> None:
    users += [DeviceUser("the job “First”")]
    users[0].gets_it()
    users += [DeviceUser("the job “Second”"), DeviceUser("the job “Third”")]
    for waiting in users[1:]:
        assert waiting.says() == "Waiting for the device: in use by the job “First”"
    users[0].let_go()
    until(lambda: gpu.holder("cpu") in ("the job “Second”", "the job “Third”"))
    second, third = sorted(users[1:], key=lambda user: gpu.holder("cpu") not in user.process.args[-2])  # type: ignore[index]
    second.gets_it()
    assert third.says() == f"Waiting for the device: in use by {gpu.holder('cpu')}"
    assert third.lines.empty()
    second.kill()
    third.gets_it()


def test_a_job_that_waits_hears_a_stop_within_a_second(users: list[DeviceUser]) -> None:
    users += [DeviceUser("the job “First”")]
    users[0].gets_it()
    users += [DeviceUser("the job “Second”")]
    assert users[1].says().startswith("Waiting")
    begun = time.monotonic()
    users[1].stop()
    assert users[1].says() == "stopped"
    assert time.monotonic() - begun < 1.0
    assert gpu.holder("cpu") == "the job “First”"


def test_a_stop_is_heard_while_the_model_server_is_still_leaving(home: Path) -> None:
    left = threading.Event()
    begun = time.monotonic()
    with (
        pytest.raises(gpu.WaitStopped),
        taken(free=left.wait, should_stop=lambda: time.monotonic() > begun + 0.3),
    ):
        raise AssertionError("the server was still there")
    assert time.monotonic() - begun < 1.3
    assert gpu.busy_with("cpu") is None
    left.set()


def test_the_model_server_does_not_come_back_in_between(home: Path) -> None:
    with ExitStack() as servers_own:
        servers_own.enter_context(gpu.hold("cpu", gpu.MODEL_SERVER))
        refused: list[str] = []

        def leave() -> None:
            servers_own.close()
            # The device is free now; this is the moment of which a page could make use.
            with pytest.raises(gpu.Busy) as busy, gpu.hold("cpu", gpu.MODEL_SERVER, timeout=5.0):
                pass
            refused.append(busy.value.message)

        begun = time.monotonic()
        with taken(free=leave):
            assert gpu.holder("cpu") == gpu.wanted_by("cpu") == "the job “Mine”"
    assert refused == ["The computer is busy with the job “Mine”."]
    assert time.monotonic() - begun < 4.0  # refused at once
    assert gpu.busy_with("cpu") is None


def test_a_job_begins_only_when_the_model_server_has_left(home: Path) -> None:
    left = threading.Event()

    def leave() -> None:
        time.sleep(0.5)
        left.set()

    with taken(free=leave):
        assert left.is_set()


def test_a_server_that_does_not_answer_is_left_to_the_lock_and_a_fault_is_not_hidden(home: Path) -> None:
    def silent() -> None:
        raise StudioError("The model server did not answer.")

    def broken() -> None:
        raise ZeroDivisionError

    with taken(free=silent):
        assert gpu.holder("cpu") == "the job “Mine”"
    with pytest.raises(ZeroDivisionError), taken(free=broken):
        pass
    assert gpu.busy_with("cpu") is None


def test_a_model_server_whose_process_still_ends_is_named(home: Path) -> None:
    said: list[str] = []
    with taken(free=lambda: time.sleep(1.5), say=said.append):
        pass
    assert said == ["Waiting for the device: in use by the model server"]


def test_a_short_wait_is_not_mentioned(home: Path) -> None:
    said: list[str] = []
    with taken(free=lambda: time.sleep(0.3), say=said.append):
        pass
    assert said == []
