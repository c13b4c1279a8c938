"""The strength dial: what can be blended with an adapter, and what keeping a strength says."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage import adapters, files
from studio.compare import playground, strength
from tests.studio.compare.test_playground import TAB

NAME = "<b>Parcels</b>"


def add_adapter(id: str, base_model_id: str = "starter") -> None:
    adapters.add(
        id=id, name=f"{NAME} {id}", job_id=f"job-{id}", dataset_id="", base_model_id=base_model_id, rank=8, alpha=16.0,
        target_modules=["q_proj"], parameters=1, size_bytes=1, weights_sha256="", base_weights_sha256="",
        held_out_loss=None, best_step=None, settings={},
    )  # fmt: skip


def test_an_adapter_is_blended_with_others_of_its_base_model_where_there_are_any(home: Path) -> None:
    add_adapter("c21e")
    add_adapter("e43a", "another")
    assert strength.of(adapters.get("c21e"))[1].visible is False
    add_adapter("d32f")
    blend_with = strength.of(adapters.get("c21e"))[1]
    offered = {side for _, side in blend_with.choices}
    assert "d32f" in offered and not offered & {"c21e", "e43a"} and blend_with.visible


def test_keeping_a_strength_says_so_as_text(home: Path) -> None:
    add_adapter("c21e")
    said = strength.kept(TAB, "c21e", 0.8)[1]
    assert "<b>" not in said and "at 0.8×" in said


def test_a_kept_strength_is_where_the_dial_stands_next_time(home: Path) -> None:
    add_adapter("c21e")
    assert strength.offer_to_keep("c21e", 0.8)[0].interactive
    assert "at 0.8×" in strength.kept(TAB, "c21e", 0.8)[1]
    assert strength.of(adapters.get("c21e"))[0] == 0.8
    assert not strength.offer_to_keep("c21e", 0.8)[0].interactive


def test_an_adapter_of_a_blend_keeps_its_strength_when_another_one_goes(home: Path) -> None:
    add_adapter("d32f")
    add_adapter("e43g")
    chosen, first, second, third = strength.blended(["d32f", "e43g"], [], 0.5, 0.5, 0.5)
    assert chosen == ["d32f", "e43g"] and "Parcels</b> d32f" in first.label and "e43g" in second.label
    assert [one.visible for one in (first, second, third)] == [True, True, False]
    _, first, second, _ = strength.blended(["e43g"], ["d32f", "e43g"], 0.3, 0.9, 0.5)
    assert "e43g" in first.label and first.value == 0.9 and not second.visible


@pytest.mark.parametrize(("kind", "words"), [({}, "at 0.7×"), ({"use_dora": True}, "as trained")])
def test_the_download_says_at_which_strength_it_is(home: Path, kind: dict[str, bool], words: str) -> None:
    add_adapter("c21e")
    files.write_json(files.adapter_folder("c21e") / "adapter_config.json", {"lora_alpha": 16, **kind})
    assert "(1 bytes)" in playground._download(adapters.get("c21e"))
    assert f"(1 bytes, {words})" in playground._download(adapters.set_strength("c21e", 0.7))
