"""However a file is damaged: rows or a sentence, quickly, and no file anywhere else."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage import config
from tests.jobs.datasets import fuzzing, mutations
from tests.jobs.datasets.hostile import bringing
from tests.jobs.datasets.mutations import SUFFIXES, TEXTS, TOKENS, Mutant, mutant, valid_files

CASES, THROUGH_CHILD = 500, 6
# Places outside of an Arrow file, which ended the process; column names that are no text; a member without a name.
ONCE_BROKEN = (1781, 7783, 41963, 249481, 621161)
FUZZ = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
NAMES = st.sampled_from(["prompt", "response", "messages", "system", "input"]) | st.text(max_size=5)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=10)
VALUES = st.recursive(
    SCALARS | st.sampled_from(TEXTS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
CHANGES = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 6), st.sampled_from(TOKENS) | st.binary(max_size=4)), max_size=6
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the files are brought, and where whatever does not ask would write."""
    place = tmp_path / "fuzz"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    config.use(config.from_environment(data_dir=tmp_path / "home"))
    yield place
    assert list(place.iterdir()) == []


def bring(made: Mutant, folder: Path) -> None:
    outcome = fuzzing.bring(made, folder)
    assert outcome["outcome"] in ("taken", "refused"), outcome


def test_damaged_files_of_every_format_are_taken_or_explained(folder: Path) -> None:
    kinds = {mutant(number).kind for number in range(CASES)}
    assert kinds == {"bytes", "spliced", "member", "tree", "cells", "table", "options"}
    reader = fuzzing.Reader(whole_way=False)
    try:
        for number in range(CASES):
            outcome = reader.ask(number)
            assert outcome["outcome"] in ("taken", "refused"), (number, outcome)
    finally:
        reader.stop()


@pytest.mark.parametrize("number", ONCE_BROKEN)
def test_what_once_broke_stays_mended(number: int) -> None:
    reader = fuzzing.Reader(whole_way=False)  # a process of its own: some of them ended it
    try:
        assert reader.ask(number)["outcome"] in ("taken", "refused"), mutant(number)
    finally:
        reader.stop()


def test_damaged_files_leave_nothing_on_the_whole_way() -> None:
    tally = fuzzing.campaign(iter(range(THROUGH_CHILD)), whole_way=True, seconds=60, readers=1)
    assert tally.is_well() and tally.cases == THROUGH_CHILD


def test_the_same_number_is_the_same_file_everywhere() -> None:
    assert [mutant(number) for number in range(40)] == [mutant(number) for number in range(40)]


def test_sound_files_of_every_format_are_taken(folder: Path) -> None:
    for name, content in valid_files():
        outcome = fuzzing.bring(Mutant(name, content, "sound"), folder)
        assert outcome["outcome"] == "taken", (name, outcome)


@FUZZ
@given(data=st.binary(max_size=300), suffix=st.sampled_from(SUFFIXES))
def test_random_bytes_never_surprise(data: bytes, suffix: str, folder: Path) -> None:
    bring(Mutant(f"fuzz{suffix}", data, "random"), folder)


@FUZZ
@given(
    number=st.integers(0, len(valid_files()) - 1), changes=CHANGES, suffix=st.sampled_from(("", *SUFFIXES))
)
def test_a_few_changes_anywhere_never_surprise(
    number: int, changes: list[tuple[float, int, bytes]], suffix: str, folder: Path
) -> None:
    name, data = valid_files()[number]
    for share, removed, put in changes:
        at = int(share * len(data))
        data = data[:at] + put + data[at + removed :]
    bring(Mutant(f"fuzz{suffix}" if suffix else name, data, "changed"), folder)


@FUZZ
@given(rows=st.lists(st.dictionaries(NAMES, VALUES, max_size=5), max_size=6), form=st.sampled_from("\n ,"))
def test_any_json_never_surprises(rows: list[dict[str, object]], form: str, folder: Path) -> None:
    text = mutations.json_of(rows, form)
    bring(Mutant("fuzz.json", text.encode(), "json"), folder)


@FUZZ
@given(rows=st.lists(st.lists(st.sampled_from(TEXTS) | st.text(max_size=8), max_size=4), max_size=6))
def test_any_table_never_surprises(rows: list[list[str]], folder: Path) -> None:
    text = "\n".join(
        ",".join(f'"{cell}"' if "," in cell else cell for cell in row)
        for row in [["prompt", "response"], *rows]
    )
    bring(Mutant("fuzz.csv", text.encode("utf-8", "surrogatepass"), "table"), folder)


@FUZZ
@given(
    name=st.text(
        st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1, max_size=60
    )
)
def test_any_name_never_surprises(name: str, folder: Path) -> None:
    if name not in (".", "..") and len(os.fsencode(name)) <= 255:
        bring(Mutant(name, dict(valid_files())["a.csv"], "name"), folder)


class TestTheCampaignItself:
    """It would be worth nothing if it did not see what it looks for."""

    def test_a_traceback_is_seen(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def breaks(*arguments: object) -> None:
            raise KeyError("prompt")

        monkeypatch.setattr(bringing, "in_process", breaks)
        assert fuzzing.bring(mutant(0), folder)["outcome"] == "traceback"

    def test_a_new_file_is_seen(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def litters(*arguments: object) -> bringing.Came:
            (folder / "evil.csv").touch()
            return bringing.Came(0.0, told={"problems": []})

        monkeypatch.setattr(bringing, "in_process", litters)
        assert fuzzing.bring(mutant(0), folder)["outcome"] == "new_files"
        (folder / "evil.csv").unlink()

    def test_a_hang_and_a_crash_are_seen_and_the_next_case_goes_on(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(fuzzing, "HANG_SECONDS", 0.05)
        reader = fuzzing.Reader(whole_way=False)
        assert reader.ask(0)["outcome"] == "hang"  # Python alone takes longer to start
        monkeypatch.setattr(fuzzing, "HANG_SECONDS", 20)
        assert reader.ask(0)["outcome"] in ("taken", "refused")
        assert reader._process is not None
        reader._process.kill()
        assert reader.ask(1)["outcome"] == "crash"
        reader.stop()
