from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from jobs.training.settings import from_json
from storage import adapters, files
from studio import forms
from studio.tabs import model


def add_adapter(id: str, base_model_id: str = "starter", rank: int = 8, **settings: Any) -> adapters.Adapter:
    return adapters.add(
        id=id, name=f"Adapter {id}", job_id=f"run-{id}", dataset_id="d1", base_model_id=base_model_id, rank=rank,
        alpha=16.0, target_modules=["q_proj"], parameters=10, size_bytes=40, weights_sha256="a",
        base_weights_sha256="b", held_out_loss=1.0, best_step=3, settings=from_json(settings).as_json(),
    )  # fmt: skip


def test_only_adapters_of_the_same_base_model_are_offered_as_a_start(home: Path) -> None:
    add_adapter("c21e")
    add_adapter("d3f0", base_model_id="another")
    add_adapter("e111")
    assert [value for _, value in model.earlier_adapters("starter").choices] == ["", "e111", "c21e"]


def test_a_run_from_an_earlier_adapter_gets_its_rank_modules_and_kind(home: Path) -> None:
    asked = {"target_modules": "query_value", "alpha": 12, "rank_pattern": {"q_proj": 4}, "use_dora": True}
    add_adapter("c21e", rank=128, layers="0-3", **asked)
    rank, targets, *kind = model.as_before("c21e")
    assert (rank.value, rank.maximum, targets) == (128, 128, "query_value")
    said = from_json(forms.filled_in(model.OF_THE_ADAPTER, kind))
    assert said == from_json({"layers": "0-3", "alpha": 12, "rank_pattern": {"q_proj": 4}, "use_dora": True})


def test_a_fresh_adapter_leaves_the_form_as_it_is() -> None:
    assert list(model.as_before("")) == [gr.skip()] * (2 + len(model.OF_THE_ADAPTER))


@pytest.mark.parametrize(("ranks", "some"), [(model.SWEEP, True), ("4", True), ("", False), (" ", False)])
def test_ranks_to_try_tick_the_choice_and_take_the_rank_out_of_play(ranks: str, some: bool) -> None:
    ticked, rank = model.several_named(ranks)
    assert ticked is some and rank.interactive is not some


def test_the_room_on_the_disk_is_said_and_too_little_of_it_stands_out(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "free_bytes", lambda: 61_000_000_000)
    one = model.disk_words("starter", 8, {})
    assert one.startswith("It needs about ") and one.endswith(" of disk, 61.0 GB free.")
    assert model.disk_words("starter", 64, {}) != one, "more values need more room"
    monkeypatch.setattr(files, "free_bytes", lambda: 1_000_000)
    assert 'class="wrong"' in model.disk_words("starter", 8, {})
