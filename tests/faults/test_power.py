"""What a power cut leaves is enough to go on: no state of the files that it may leave loses what was reported."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.faults import afterwards, power, recorded
from tests.faults.power import State
from tests.faults.recording import Recorder, Trace


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trace, afterwards.Memory]:
    """What a studio did to its files, from the first example to the backup."""
    folder = tmp_path_factory.mktemp("power")
    trace = recorded.record(folder / "home", folder / "model")
    return trace, afterwards.Memory.of(trace, folder / "home")


def test_every_kind_of_promise_is_among_the_recorded(life: tuple[Trace, afterwards.Memory]) -> None:
    said = [op.name for op in life[0].ops if op.kind == "mark"]
    assert set(said) == {"dataset", "submitted", "state", "finished", "backup", "deleted", "end"}
    assert said.count("state") > 6 and sum(op.kind == "sync" for op in life[0].ops) > 100


def test_whatever_a_power_cut_leaves_the_studio_goes_on_from_it(
    life: tuple[Trace, afterwards.Memory],
) -> None:
    trace, memory = life
    seed = int(os.environ.get("LORA_TAILOR_TEST_SEED", "0"))
    some = power.states(trace, seed, random_for_each=1, every=19)
    for state, what, found in afterwards.all_problems(some, memory, rebuilt_each=6):
        assert not found, f"seed {seed}, after operation {state.cut}, {state.how}, {what}: {found}"


def after(folder: Path, *, waits: bool, folder_waits: bool) -> list[State]:
    """The states after a file was written beside its place and renamed, having waited for the disk or not."""
    recorder = Recorder(folder)
    with recorder.watching():
        with open(folder / ".draft", "wb") as file:
            file.write(b"0123456789")
            if waits:
                file.flush()
                os.fsync(file.fileno())
        os.replace(folder / ".draft", folder / "final")
        if folder_waits:
            place = os.open(folder, os.O_RDONLY)
            os.fsync(place)
            os.close(place)
        recorder.mark("written")
    return [state for state in power.states(recorder.trace, 0) if state.said]


def test_only_what_was_waited_for_is_sure(tmp_path: Path) -> None:
    for number, (waits, folder_waits) in enumerate(
        [(True, True), (True, False), (False, True), (False, False)]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        contents = {
            state.files.get("final") for state in after(folder, waits=waits, folder_waits=folder_waits)
        }
        assert b"0123456789" in contents
        assert (None in contents) != folder_waits
        assert ({b"", bytes(10)} <= contents) != waits
        assert any(one and one != bytes(10) and one.endswith(b"\0") for one in contents) != waits
