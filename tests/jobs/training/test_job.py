"""A whole job, from rows in a data folder to an adapter that PEFT loads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from peft import PeftModel
from transformers import AutoModelForCausalLM

from jobs.base_models import catalogue
from jobs.training import job
from storage import files
from tests.jobs.training.conftest import rows_of
from tests.jobs.training.test_loop import Recorder


@pytest.fixture
def spec(home: Path, tiny_model: Path) -> dict[str, Any]:
    """A job on forty rows, eight of them held out."""
    rows = [{**row, "split": "held_out" if row["row"] % 5 == 0 else "train"} for row in rows_of(40)]
    folder = files.dataset_folder("d1")
    folder.mkdir(parents=True)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {
        "job_id": "j1",
        "attempt": 1,
        "kind": "training",
        "dataset_id": "d1",
        "base_model_id": catalogue.add_custom(str(tiny_model)).id,
        "rank": 4,
        "settings": {"max_steps": 4, "precision": "fp32"},
        "device": "cpu",
        "name": "words",
    }


def test_a_job_leaves_an_adapter_and_says_what_it_is(spec: dict[str, Any], tiny_model: Path) -> None:
    recorder = Recorder()
    result = job.run(spec, recorder)
    assert result["status"] == "finished" and result["steps"] == 4 and result["rows_left_out"] == []
    adapter = result["adapter"]
    assert adapter["alpha"] == 8 and adapter["best_step"] and adapter["settings"]["epochs"]
    assert "q_proj" in adapter["target_modules"] and len(adapter["base_weights_sha256"]) == 64
    assert adapter["held_out_loss"] == result["best_held_out_loss"] < result["first_held_out_loss"]
    folder = files.attempt_folder("j1", 1) / "adapter"
    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    loaded = PeftModel.from_pretrained(base, folder)
    assert sum(p.numel() for n, p in loaded.named_parameters() if "lora_" in n) == adapter["parameters"]
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == tiny_model.name
    assert json.loads((folder / "tailor.json").read_text())["rank"] == 4
    json.dumps(result, allow_nan=False)


def test_a_range_of_layers_is_all_that_changes(spec: dict[str, Any]) -> None:
    spec["settings"] |= {"layers": "1", "target_modules": "attention"}
    job.run(spec, Recorder())
    folder = files.attempt_folder("j1", 1) / "adapter"
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["layers_to_transform"] == [1]
    assert config["target_modules"] == ["k_proj", "o_proj", "q_proj", "v_proj"]


def test_held_out_rows_are_never_trained_on_and_a_larger_share_holds_out_more(spec: dict[str, Any]) -> None:
    train_rows, held_out = job._split("d1", 0.0)
    larger_train, larger = job._split("d1", 0.5)
    assert {row["row"] for row in held_out} >= set(range(5, 41, 5))
    assert {row["row"] for row in larger} >= {row["row"] for row in held_out}
    assert len(larger) > len(held_out)
    for kept, out in ((train_rows, held_out), (larger_train, larger)):
        assert sorted(row["row"] for row in [*kept, *out]) == list(range(1, 41))


def test_a_job_stopped_before_its_first_step_has_no_adapter(spec: dict[str, Any]) -> None:
    result = job.run(spec, Recorder(stop_after=0))
    assert result["status"] == "stopped" and result["adapter"] is None
