from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jobs.datasets import importing
from storage import adapters, jobs
from storage.errors import StudioError
from studio import correcting
from studio.compare.scene import Scene, Turn

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
    dataset_id, note, _ = correcting.added(adapter.id, asked("Is it <new>?"), " It is new. ")
    assert "31 examples" not in note and "to learn from now" in note
    target = correcting.train_again(adapter.id, dataset_id)
    assert correcting.train_again(adapter.id, dataset_id) == target, "a second click is the same run"
    newest = jobs.list_all()[0]
    assert f"run={newest.id}" in target
    assert (newest.dataset_id, newest.rank, newest.settings["max_steps"]) == (dataset_id, 4, 7)


def test_what_is_corrected_is_that_sides_answer_behind_all_that_it_had_read(adapter: Any) -> None:
    scene = Scene((turn("One?", "first"),), turn("<b>Two?</b>", "second", system="Be kind."), goes_on=True)
    _, messages, question, text, *_ = correcting.begin(adapter.id, scene, clicked("adapted"))
    assert text == "second"
    assert [(one["role"], one["content"]) for one in messages] == [
        ("system", "Be kind."), ("user", "One?"), ("assistant", "first"), ("user", "<b>Two?</b>"),
    ]  # fmt: skip
    assert "&lt;b&gt;Two?&lt;/b&gt;" in question


def test_an_answer_that_is_gone_cannot_be_corrected(adapter: Any) -> None:
    for scene in (Scene(), Scene(now=turn("One?", "first", side="base"))):
        with pytest.raises(StudioError, match="gone"):
            correcting.begin(adapter.id, scene, clicked("adapted"))


def test_nothing_is_no_answer_to_learn_from(adapter: Any) -> None:
    with pytest.raises(StudioError, match="no answer"):
        correcting.added(adapter.id, asked("Is it new?"), "  ")
    with pytest.raises(StudioError, match="no answer"):
        correcting.added(adapter.id, None, "It is new.")
