from __future__ import annotations

from pathlib import Path

from storage import adapters
from storage.adapters import Adapter
from studio.tabs import compare


def add_adapter(id: str, job_id: str = "run1") -> Adapter:
    return adapters.add(
        id=id, name=id, job_id=job_id, dataset_id="gone", base_model_id="starter", rank=8, alpha=16.0,
        target_modules=["q_proj"], parameters=1, size_bytes=1, weights_sha256="", base_weights_sha256="",
        held_out_loss=None, best_step=None, settings={},
    )  # fmt: skip


def test_the_address_chooses_the_adapter_else_the_newest(home: Path) -> None:
    old, new = add_adapter("old"), add_adapter("new", job_id="run2")
    made = adapters.list_all()
    assert compare.asked_for(None, "old", made) == (old, "")
    assert compare.asked_for("run1", None, made) == (old, "")
    assert compare.asked_for(None, None, made) == (new, "")
    assert compare.asked_for(None, None, []) == (None, "")


def test_for_one_that_is_not_here_no_other_stands_in(home: Path) -> None:
    add_adapter("old")
    chosen, said = compare.asked_for(None, "<zzz>", adapters.list_all())
    assert chosen is None and "no adapter “<zzz>”" in said and "Choose" in said
    chosen, said = compare.asked_for("still-running", None, adapters.list_all())
    assert chosen is None and "no adapter yet" in said
