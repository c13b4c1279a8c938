from __future__ import annotations

from pathlib import Path

from jobs.evaluation import study_runs
from storage import adapters, jobs
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


def test_what_a_study_has_made_is_not_what_the_page_opens_on(home: Path) -> None:
    new = add_adapter("new")
    for share in study_runs.SHARES:
        job = jobs.add("training", "25 %", "cpu", request_key=study_runs.key_of("new", share))
        add_adapter(f"share{100 * share:.0f}", job_id=job.id)
    made = adapters.list_all()
    assert compare.asked_for(None, None, made) == (new, "")
    assert compare.asked_for(None, "share50", made) == (adapters.get("share50"), ""), (
        "by its name it is shown"
    )
    only = [one for one in made if one.id != "new"]
    assert compare.asked_for(None, None, only) == (only[0], ""), "better than nothing"


def test_for_one_that_is_not_here_no_other_stands_in(home: Path) -> None:
    add_adapter("old")
    chosen, said = compare.asked_for(None, "<zzz>", adapters.list_all())
    assert chosen is None and "no adapter “<zzz>”" in said and "Choose" in said
    chosen, said = compare.asked_for("still-running", None, adapters.list_all())
    assert chosen is None and "no adapter yet" in said
