from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from jobs.datasets import importing
from storage import adapters, datasets, jobs
from storage.errors import StudioError
from studio import correcting
from studio.compare.scene import Scene, Turn
from studio.correcting import Stood

PAIRS = [(f"Where is parcel number {n}?", f"It comes within {n} days.") for n in range(1, 31)]
SETTINGS = {"max_steps": 7, "learning_rate": 0.001}


@pytest.fixture
def adapter(home: Path) -> adapters.Adapter:
    dataset = importing.add_rows(PAIRS, "Parcels")
    job = jobs.add("training", "first", "cpu", dataset.id, "starter", 4, SETTINGS)
    return adapters.add(
        id="adapter1", name="Parcels", job_id=job.id, dataset_id=dataset.id, base_model_id="starter", rank=4, alpha=8.0,
        target_modules=["q_proj"], parameters=1, size_bytes=1, weights_sha256="", base_weights_sha256="",
        held_out_loss=None, best_step=None, settings={},
    )  # fmt: skip


def asked(prompt: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}]


def turn(prompt: str, text: str, side: str = "adapted", **settings: Any) -> Turn:
    answer: Any = {"side": side, "text": text, "done": True}
    return Turn(asked(prompt), None, settings, [answer])


def clicked(side: str) -> Any:
    return SimpleNamespace(_data={"correct": side})


def test_a_corrected_answer_becomes_a_row_and_is_trained_on_with_the_same_settings(adapter: Any) -> None:
    dataset_id, note, *_ = correcting.added(adapter.id, asked("Is it <new>?"), " It is new. ")
    assert "31 examples" not in note and "to learn from now" in note
    target = correcting.train_again(adapter.id, dataset_id)
    assert correcting.train_again(adapter.id, dataset_id) == target, "a second click is the same run"
    newest = jobs.list_all()[0]
    assert f"run={newest.id}" in target
    assert (newest.dataset_id, newest.rank, newest.settings["max_steps"]) == (dataset_id, 4, 7)


def test_what_is_corrected_is_that_sides_answer_behind_all_that_it_had_read(adapter: Any) -> None:
    scene = Scene((turn("One?", "first"),), turn("<b>Two?</b>", "second", system="Be kind."), goes_on=True)
    _, messages, question, text, _, _, whose, *_ = correcting.begin(
        adapter.id, scene, "", None, clicked("adapted")
    )
    assert (text, whose) == ("second", adapter.id), "another adapter may be chosen while this is written"
    assert [(one["role"], one["content"]) for one in messages] == [
        ("system", "Be kind."), ("user", "One?"), ("assistant", "first"), ("user", "<b>Two?</b>"),
    ]  # fmt: skip
    assert "&lt;b&gt;Two?&lt;/b&gt;" in question


def test_an_example_is_added_once_until_its_answer_is_another(adapter: Any) -> None:
    messages = asked("Is it new?")
    opened = Stood("It is new.")
    assert correcting.may_be_added("It is new.", opened).interactive
    *_, button, stood = correcting.added(adapter.id, messages, "It is new.", opened)
    assert button.interactive is False
    before = len(datasets.list_all())
    with pytest.raises(StudioError, match="added already"):
        correcting.added(adapter.id, messages, " It is new. ", stood)
    assert len(datasets.list_all()) == before
    assert not correcting.may_be_added("It is new. ", stood).interactive
    assert correcting.may_be_added("It is old.", stood).interactive
    correcting.added(adapter.id, messages, "It is old.", stood)


def test_what_is_written_and_not_added_stays_when_another_answer_is_to_be_corrected(adapter: Any) -> None:
    scene = Scene((), turn("Two?", "second"))

    def opened(written: str, stood: Stood | None) -> tuple[Any, ...]:
        return correcting.begin(adapter.id, scene, written, stood, clicked("adapted"))

    kept = opened("My own words", Stood("It is new."))
    assert [value == gr.skip() for value in kept] == [True] * 4 + [False] + [True] * 4
    assert "not added yet" in kept[4]
    for written, stood in [
        ("It is new.", Stood("It is new.")),
        ("Mine", Stood("Mine", is_added=True)),
        ("Closed", None),
    ]:
        assert opened(written, stood)[3] == "second", "nothing is lost"
        assert opened(written, stood)[-1] == Stood("second")


def test_that_an_example_is_kept_aside_is_said_before_anything_is_written(adapter: Any) -> None:
    asked_now = turn("One?", "first")
    for now, words in ((asked_now, ""), (replace(asked_now, wanted="Yes."), "kept aside to test on")):
        note = correcting.begin(adapter.id, Scene(now=now), "", None, clicked("adapted"))[4]
        assert words in note and bool(words) == bool(note)


def test_an_answer_that_is_gone_cannot_be_corrected(adapter: Any) -> None:
    for scene in (Scene(), Scene(now=turn("One?", "first", side="base"))):
        with pytest.raises(StudioError, match="gone"):
            correcting.begin(adapter.id, scene, "", None, clicked("adapted"))


def test_nothing_is_no_answer_to_learn_from(adapter: Any) -> None:
    with pytest.raises(StudioError, match="no answer"):
        correcting.added(adapter.id, asked("Is it new?"), "  ")
    with pytest.raises(StudioError, match="no answer"):
        correcting.added(adapter.id, None, "It is new.")
    with pytest.raises(StudioError, match="no answer"):
        correcting.added(None, None, "It is new.")
