"""A state is whole or not there, comes back as it was saved, and a damaged one is found, named and left out."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import random
import re
import resource
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from jobs.training import checkpoints, states
from jobs.training.checkpoints import Best, TrainingState
from jobs.training.states import States, adopt_states
from storage.errors import DiskFull, StudioError
from tests.jobs.training.row_engine import Recorder

CPU = torch.device("cpu")
RUN = {"the examples": "e", "the settings": "s"}
FILES = (states.TENSORS_FILE, states.STATE_FILE, states.MANIFEST_FILE)


def state_of(steps: int, learned: int = 0) -> TrainingState:
    tensors, python_random = checkpoints.random_state(CPU)
    return TrainingState(
        steps=steps,
        learned=[[3, i] for i in range(learned)],
        tokens=1000 * steps,
        seconds=0.1 * steps,
        broken_steps=[0, 2],
        last_losses=[0.1 + 0.2, math.nan],
        first_loss=2.0 / 3,
        best=[Best(3, 1 / 3), Best()],
        held_out=[(3, [1 / 3, math.inf])],
        tensors={**tensors, "master": torch.arange(7) / 3, "losses": torch.tensor([1.5, math.nan])},
        python_random=python_random,
    )


def save(folder: Path, *steps: int) -> Path:
    """States of these steps in `folder`; the last one's place."""
    for step in steps:
        States(folder, RUN, 0, Recorder()).save_now(partial(state_of, step))
    return folder / f"step-{steps[-1]:08d}-000000"


def newest(folder: Path, recorder: Recorder | None = None) -> int | None:
    """The step of the newest sound state."""
    state = states.newest_state(folder, RUN, recorder or Recorder())
    return state.steps if state else None


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# -- saving --------------------------------------------------------------------------------------------------


def test_a_state_comes_back_exactly_and_with_the_same_random_numbers(tmp_path: Path) -> None:
    torch.manual_seed(5)
    random.seed(5)
    saved = state_of(4, learned=2)
    expected = (torch.rand(3), random.random())
    path = states.save_state(tmp_path, saved, RUN)
    loaded = states.newest_state(tmp_path, RUN, Recorder())
    assert loaded is not None
    for entry in dataclasses.fields(saved):
        if entry.name not in ("tensors", "last_losses"):
            assert getattr(loaded, entry.name) == getattr(saved, entry.name), entry.name
    assert loaded.last_losses[0] == 0.1 + 0.2 and math.isnan(loaded.last_losses[1] or 0.0)
    assert loaded.tensors.keys() == saved.tensors.keys()
    for name, value in saved.tensors.items():
        assert torch.equal(loaded.tensors[name].nan_to_num(), value.nan_to_num()), name
    checkpoints.set_random_state(loaded, CPU)
    assert torch.equal(torch.rand(3), expected[0]) and random.random() == expected[1]
    for name in (states.STATE_FILE, states.MANIFEST_FILE):
        assert not re.search("NaN|Infinity", (path / name).read_text())


def test_only_the_newest_two_stay_and_the_newest_is_taken(tmp_path: Path) -> None:
    folder = tmp_path / "attempt-1" / "states"
    recorder = Recorder()
    for steps, learned in ((9, 0), (10, 0), (10, 3), (100, 0)):
        States(folder, RUN, 0, recorder).save_now(partial(state_of, steps, learned))
    own = ["step-00000009-000000", "step-00000010-000000", "step-00000010-000003", "step-00000100-000000"]
    assert names(folder) == own[2:] and newest(folder) == 100
    own = [f"attempt-1/states/{name}" for name in own]
    assert recorder.checkpoints == [
        (9, own[0], own[:1]), (10, own[1], own[:2]), (10, own[2], own[1:3]), (100, own[3], own[2:])
    ]  # fmt: skip


def test_a_state_has_its_name_only_once_it_is_on_the_disk_and_the_older_ones_go_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, rename = os.fsync, os.rename

    def name_of(path: str | Path) -> str:
        name = os.path.relpath(path, tmp_path)
        return name.replace(".tmp-step-00000003-000000", "NEW").replace("run/attempt-1/states", "states")

    def seen_fsync(descriptor: int) -> None:
        done.append(f"fsync {name_of(os.readlink(f'/proc/self/fd/{descriptor}'))}")
        fsync(descriptor)

    def seen_rename(source: Path, target: Path) -> None:
        done.append(f"rename {name_of(source)} to {name_of(target)}")
        rename(source, target)

    class Watching(Recorder):
        def checkpoint(self, step: int, folder: str, kept: list[str]) -> None:
            done.append("say")

    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(os, "rename", seen_rename)
    folder = tmp_path / "run" / "attempt-1" / "states"
    save(folder, 1)
    assert {"fsync run/attempt-1", "fsync run", "fsync ."} <= set(done)
    save(folder, 2)
    done.clear()
    States(folder, RUN, 0, Watching()).save_now(lambda: state_of(3))
    order = [f"fsync states/NEW/{name}" for name in FILES]
    order += ["fsync states/NEW", "rename states/NEW to states/step-00000003-000000", "fsync states", "say"]
    places = [done.index(what) for what in order]
    assert places == sorted(places)
    assert done[-1] == "rename states/step-00000001-000000 to states/.gone-step-00000001-000000"
    assert names(folder) == ["step-00000002-000000", "step-00000003-000000"]
    manifest = json.loads((folder / "step-00000003-000000" / states.MANIFEST_FILE).read_bytes())
    assert manifest["step"] == 3 and len(manifest["run"]) == 64 and manifest["parts"] == RUN
    for name in FILES[:2]:
        data = (folder / "step-00000003-000000" / name).read_bytes()
        assert manifest["files"][name] == {"bytes": len(data), "sha256": states._sha256(data)}


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    save(tmp_path, 1)
    broken = state_of(2)
    broken.held_out = [(2, [object()])]  # type: ignore[list-item]
    with pytest.raises(TypeError):
        states.save_state(tmp_path, broken, RUN)
    assert names(tmp_path) == ["step-00000001-000000"]


@pytest.mark.usefixtures("home")
def test_a_full_disk_leaves_what_was_there_and_says_what_it_needs(tmp_path: Path) -> None:
    save(tmp_path / "states", 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(DiskFull) as caught:
            save(tmp_path / "states", 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.needed_bytes and caught.value.needed_bytes > 5000
    assert names(tmp_path / "states") == ["step-00000001-000000"]


def test_what_a_crash_left_behind_is_cleared_by_the_next_save_and_never_loaded(tmp_path: Path) -> None:
    path = save(tmp_path, 1)
    shutil.copytree(path, tmp_path / ".tmp-step-00000009-000000")
    shutil.copytree(path, tmp_path / ".gone-step-00000008-000000")
    assert newest(tmp_path) == 1
    save(tmp_path, 2)
    assert names(tmp_path) == ["step-00000001-000000", "step-00000002-000000"]


def test_states_that_are_cut_short_do_not_count_among_the_kept(tmp_path: Path) -> None:
    path = save(tmp_path, 1, 2)
    (path / states.TENSORS_FILE).write_bytes(b"short")
    (save(tmp_path, 3) / states.STATE_FILE).write_bytes(b"short")
    assert newest(tmp_path) == 1


def test_the_same_step_is_not_written_twice_but_over_a_damaged_one(tmp_path: Path) -> None:
    path = save(tmp_path, 1)
    before = path.stat().st_ino
    save(tmp_path, 1)
    assert path.stat().st_ino == before
    (path / states.STATE_FILE).unlink()
    save(tmp_path, 1)
    assert newest(tmp_path) == 1 and names(tmp_path) == ["damaged-step-00000001-000000", path.name]


def test_states_are_saved_only_as_often_as_it_pays(tmp_path: Path) -> None:
    made: list[int] = []

    def make() -> TrainingState:
        made.append(len(made) + 1)
        return state_of(len(made))

    # So large that it takes two seconds at least: not before a hundred have passed.
    large = States(tmp_path / "a", RUN, int(2 * states.DISK_BYTES_PER_SECOND), Recorder())
    large.save(make)
    assert not made
    small = States(tmp_path / "b", RUN, 0, Recorder())
    small.save(make, after_seconds=60)
    assert not made
    small.save(make)
    assert made == [1]
    small.save(make)  # what it cost is known now
    assert made == [1]
    small.save_now(make)
    assert made == [1, 2]
    nowhere = States(None, RUN, 0, Recorder())
    nowhere.save_now(make)
    nowhere.forget()
    assert made == [1, 2] and nowhere.newest() is None


# -- damage --------------------------------------------------------------------------------------------------


def flip(path: Path, place: float) -> None:
    data = bytearray(path.read_bytes())
    data[int(place * (len(data) - 1))] ^= 1 << int(place * 1000) % 8
    path.write_bytes(data)


def cut(path: Path, place: float) -> None:
    path.write_bytes(path.read_bytes()[: int(place * path.stat().st_size)])


DAMAGES: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: path.unlink(),
    "zeroed": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "nested": lambda path: path.write_bytes(b"[" * 100_000),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_state_is_named_and_gives_way_to_the_one_before_it(
    tmp_path: Path, name: str, damage: str
) -> None:
    path = save(tmp_path, 1, 2)
    DAMAGES[damage](path / name)
    recorder = Recorder()
    assert newest(tmp_path, recorder) == 1
    (note,) = recorder.notes
    assert note.startswith(f"The checkpoint of step 2 is damaged ({name}") and note in recorder.lines[0]
    assert note.endswith("; it was left out.")
    assert names(tmp_path) == [f"damaged-{path.name}", "step-00000001-000000"]
    # Its name is free again, and the damaged one is not heard of a second time.
    save(tmp_path, 2)
    recorder = Recorder()
    assert newest(tmp_path, recorder) == 2 and not recorder.notes


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", [flip, cut])
def test_damage_at_any_place_is_found(
    tmp_path: Path, name: str, damage: Callable[[Path, float], None]
) -> None:
    whole = save(tmp_path / "whole", 1, 2)
    for i in range(50):
        folder = tmp_path / str(i)
        shutil.copytree(whole.parent, folder)
        damage(folder / whole.name / name, i / 50)
        recorder = Recorder()
        assert newest(folder, recorder) == 1, i
        assert len(recorder.notes) == 1 and name in recorder.notes[0]


def test_a_step_that_is_not_its_own_is_found_and_what_is_unknown_is_ignored(tmp_path: Path) -> None:
    path = save(tmp_path, 1)
    (path / "unknown").write_bytes(b"?")
    (tmp_path / "step-1").mkdir()
    (tmp_path / "other").write_bytes(b"?")
    assert newest(tmp_path) == 1
    shutil.copytree(path, tmp_path / "step-99999999-000000")
    shutil.copytree(path, tmp_path / "step-00000001-000004")
    (tmp_path / "step-00000005-000000").mkdir()
    (tmp_path / "step-00000004-000000").write_bytes(b"?")
    recorder = Recorder()
    assert newest(tmp_path, recorder) == 1
    assert [note.split(" is damaged")[0][-8:] for note in recorder.notes] == [
        "99999999", "f step 5", "f step 4", "f step 1"
    ]  # fmt: skip
    assert "it is of step 1" in recorder.notes[0] and "manifest.json is missing" in recorder.notes[1]


def test_without_a_sound_state_a_person_decides_and_then_it_is_the_first_step(tmp_path: Path) -> None:
    assert newest(tmp_path / "nothing") is None
    path = save(tmp_path, 1, 2)
    flip(path / states.TENSORS_FILE, 0.9)
    (path.with_name("step-00000001-000000") / states.MANIFEST_FILE).unlink()
    with pytest.raises(StudioError) as caught:
        newest(tmp_path)
    assert caught.value.message == (
        "No valid checkpoint of this run is left (step 2: state.safetensors: its checksum differs; step 1:"
        " manifest.json is missing)."
    )
    assert caught.value.remedy == "Start it again from the first step."
    assert newest(tmp_path) is None


def test_another_runs_state_is_refused_by_the_name_of_what_changed(tmp_path: Path) -> None:
    save(tmp_path, 3)
    with pytest.raises(StudioError, match="step 3 is of another run: the examples changed"):
        states.newest_state(tmp_path, {**RUN, "the examples": "other"}, Recorder())
    assert newest(tmp_path) == 3


# -- earlier attempts ----------------------------------------------------------------------------------------


def test_a_later_attempt_takes_over_the_newest_earlier_states(tmp_path: Path) -> None:
    first, second, third, fourth = (tmp_path / name for name in "abcd")
    save(first, 5)
    save(second, 7, 8)
    adopt_states(fourth, [third, second, first], Recorder())
    assert newest(fourth) == 8 and names(fourth) == names(second)
    for name in FILES:  # linked: they take no place
        own, other = (folder / "step-00000008-000000" / name for folder in (fourth, second))
        assert own.samefile(other)
    save(fourth, 9)
    adopt_states(fourth, [second, first], Recorder())
    assert newest(fourth) == 9 and len(names(second)) == 2 and newest(second) == 8


def test_states_are_copied_where_the_disk_knows_no_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    save(tmp_path / "a", 5)
    adopt_states(tmp_path / "b", [tmp_path / "a"], Recorder())
    shutil.rmtree(tmp_path / "a")
    assert newest(tmp_path / "b") == 5


def test_damaged_states_of_earlier_attempts_are_named_and_only_sound_ones_taken(tmp_path: Path) -> None:
    first, second, third, fourth = (tmp_path / name for name in "abcd")
    save(first, 5)
    flip(save(second, 7, 8) / states.TENSORS_FILE, 0.5)
    recorder = Recorder()
    adopt_states(third, [second, first], recorder)
    assert names(third) == ["step-00000007-000000"]
    flip(second / "step-00000007-000000" / states.STATE_FILE, 0.5)
    shutil.rmtree(third)
    adopt_states(third, [second, first], recorder)
    assert names(third) == ["step-00000005-000000"]
    assert [note[:24] for note in recorder.notes] == ["The checkpoint of step 8", "The checkpoint of step 7"]
    flip(first / "step-00000005-000000" / states.STATE_FILE, 0.5)
    shutil.rmtree(third)
    with pytest.raises(StudioError, match=r"No valid checkpoint of this run is left \(step 5"):
        adopt_states(third, [second, first], Recorder())
    adopt_states(fourth, [third, second, first], Recorder())
    assert newest(fourth) is None
