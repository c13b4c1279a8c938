"""A whole job, from rows in a data folder to an adapter that PEFT loads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from jobs.base_models import catalogue
from jobs.datasets import tokens
from jobs.training import job, reading
from jobs.training.folders import forget_states
from storage import files
from storage.errors import StudioError
from tests.jobs.training.conftest import rows_of
from tests.jobs.training.row_engine import Recorder


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


def split_rows(model: Path, share: float) -> tuple[set[int], set[int]]:
    """The numbers of the rows that are trained on, and of those held out."""
    found = tokens.make("d1", model)
    train, held_out = (found.rows["row"][places].tolist() for places in reading.split(found, "d1", share))
    assert len({*train, *held_out}) == len(train) + len(held_out)
    return set(train), set(held_out)


def test_held_out_rows_that_are_all_too_long_are_said_and_stop_nothing(
    spec: dict[str, Any], tiny_model: Path
) -> None:
    spec["settings"]["held_out_share"] = 0.2
    file = files.dataset_folder("d1") / "rows.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    lengthened: set[int] = set()
    # Which rows are held out depends on their texts.
    while kept := split_rows(tiny_model, 0.2)[1] - lengthened:
        lengthened |= kept
        for row in rows:
            if row["row"] in kept:
                row["messages"][0]["content"] = f"{row['row']} " + "quick brown fox " * 80
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for row in rows:
        row["split"] = "held_out" if row["row"] in lengthened else "train"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert len(lengthened) < len(rows)
    recorder = Recorder()
    result = job.run(spec, recorder)
    assert (result["status"], result["best_held_out_loss"], result["best_step"]) == ("finished", None, 4)
    assert any("None of the held-out examples" in words for words in recorder.notes)


def test_held_out_rows_are_never_trained_on_and_a_larger_share_holds_out_more(
    spec: dict[str, Any], tiny_model: Path
) -> None:
    train, held_out = split_rows(tiny_model, 0.1)
    assert held_out == set(range(5, 41, 5)) and train == set(range(1, 41)) - held_out
    larger_train, larger = split_rows(tiny_model, 0.5)
    assert larger > held_out and larger_train == set(range(1, 41)) - larger


def test_added_rows_are_never_held_out(spec: dict[str, Any], tiny_model: Path) -> None:
    without = split_rows(tiny_model, 0.5)[1] - set(range(5, 41, 5))
    file = files.dataset_folder("d1") / "rows.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for row in rows:
        if row["row"] in without:
            row["added"] = True
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert split_rows(tiny_model, 0.5)[1].isdisjoint(without)


def test_a_job_stopped_before_its_first_step_has_no_adapter(spec: dict[str, Any]) -> None:
    result = job.run(spec, Recorder(stop_after=0))
    assert result["status"] == "stopped" and result["adapter"] is None


@pytest.mark.parametrize("kind", [{}, {"dropout": 0.1}])
def test_a_later_attempt_goes_on_bit_for_bit_where_an_earlier_one_ended(
    spec: dict[str, Any], kind: dict[str, Any]
) -> None:
    # Without dropout on the fast path, with it on the plain one.
    spec["settings"] |= {"max_steps": 7, "tokens_per_step": 128, **kind}
    whole, first, second = Recorder(), Recorder(stop_after=9), Recorder()
    expected = job.run({**spec, "job_id": "j2"}, whole)
    assert job.run(spec, first)["status"] == "stopped"
    result = job.run({**spec, "attempt": 2}, second)
    assert result["status"] == "finished" and second.resumed_from is not None and not result["notes"]
    for name in ("loss", "held_out_loss", "grad_norm"):
        assert dict(first.all_of(name)) | dict(second.all_of(name)) == dict(whole.all_of(name)), name
    assert first.all_of("loss") and len(second.all_of("loss")) < 7
    for name in ("best_step", "best_held_out_loss", "first_held_out_loss", "tokens"):
        assert result[name] == expected[name]
    folders = [files.attempt_folder("j1", 2), files.attempt_folder("j2", 1)]
    own, other = ((folder / "adapter" / "adapter_model.safetensors").read_bytes() for folder in folders)
    assert own == other
    # Its states are needed until the result is written down; then by no attempt any more.
    kept = [files.attempt_folder("j1", attempt) / "states" for attempt in (1, 2)]
    assert all(any(folder.iterdir()) for folder in kept)
    for _ in range(2):
        forget_states(files.run_folder("j1"))
        assert not any(folder.exists() for folder in kept) and (folders[0] / "adapter").exists()


def test_a_changed_dataset_or_base_model_is_refused_by_its_name_before_the_run_goes_on(
    spec: dict[str, Any], tiny_model: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    shutil.copytree(tiny_model, own)
    spec["base_model_id"] = catalogue.add_custom(str(own)).id
    spec["settings"] |= {"tokens_per_step": 128}
    assert job.run(spec, Recorder(stop_after=7))["status"] == "stopped"
    spec["attempt"] = 2
    rows = files.dataset_folder("d1") / "rows.jsonl"
    lines = rows.read_text()
    for answer, split, named in (
        ("the the", "train", "the examples"),
        ("answers answers", "held_out", "the held-out examples"),
    ):
        changed = lines.replace(f'"{answer}"', f'"{answer[:-1]}i"', 1)
        different = [
            new for old, new in zip(lines.splitlines(), changed.splitlines(), strict=True) if old != new
        ]
        assert len(different) == 1 and f'"split": "{split}"' in different[0]
        rows.write_text(changed)
        with pytest.raises(StudioError, match=f"another run: {named} changed"):
            job.run(spec, Recorder())
    rows.write_text(lines)
    for name, part in (("model.safetensors", "weights"), ("config.json", "config.json")):
        content = (own / name).read_bytes()
        changed_byte = b"\t" if name == "config.json" else bytes([content[-1] ^ 1])
        (own / name).write_bytes(content[:-1] + changed_byte)
        with pytest.raises(StudioError, match=f"another run: the base model's {part} changed"):
            job.run(spec, Recorder())
        (own / name).write_bytes(content)
    resumed = Recorder()
    assert job.run(spec, resumed)["status"] == "finished" and resumed.resumed_from is not None


@pytest.mark.parametrize("kind", [{}, {"use_dora": True}, {"lora_plus_ratio": 4.0, "use_rslora": True}])
def test_a_sweep_keeps_the_best_of_what_its_trials_are_alone(
    spec: dict[str, Any], kind: dict[str, Any], tiny_model: Path
) -> None:
    spec["settings"] |= {"max_steps": 3, "learning_rate": 5e-3, **kind}
    swept = {**spec, "settings": {**spec["settings"], "try_ranks": "2, 8, 4"}}
    result = job.run(swept, Recorder())
    alone = [job.run({**spec, "job_id": f"r{rank}", "rank": rank}, Recorder()) for rank in (2, 8, 4)]
    for trial, single in zip(result["trials"], alone, strict=True):
        assert trial["best_held_out_loss"] == pytest.approx(single["best_held_out_loss"], rel=1e-5)
        assert trial["last_loss"] == pytest.approx(single["last_loss"], rel=1e-5)
        assert trial["best_step"] == single["best_step"]
    best = min(range(3), key=lambda trial: alone[trial]["best_held_out_loss"])
    assert result["best_trial"] == best and result["adapter"]["rank"] == (2, 8, 4)[best]
    saved, single = (
        load_file(files.attempt_folder(name, 1) / "adapter" / "adapter_model.safetensors")
        for name in ("j1", f"r{(2, 8, 4)[best]}")
    )
    assert saved.keys() == single.keys()
    # As a whole: AdamW makes steps of one size out of gradients near zero, rounding errors included.
    whole, other = (torch.cat([one[name].flatten() for name in saved]) for one in (saved, single))
    assert float((whole - other).norm() / other.norm()) < 1e-5
    config = json.loads((files.attempt_folder("j1", 1) / "adapter" / "adapter_config.json").read_text())
    assert config["r"] == result["adapter"]["rank"] and config["lora_alpha"] == result["adapter"]["alpha"]
    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    PeftModel.from_pretrained(base, files.attempt_folder("j1", 1) / "adapter")
    json.dumps(result, allow_nan=False)


def test_a_sweep_remembers_the_learning_rate_that_was_kept(spec: dict[str, Any]) -> None:
    spec["settings"] |= {"max_steps": 2, "try_learning_rates": "1e-7, 2e-2"}
    result = job.run(spec, Recorder())
    kept = result["trials"][result["best_trial"]]["learning_rate"]
    assert kept == result["adapter"]["settings"]["learning_rate"] == 2e-2


def test_a_warm_start_goes_on_from_what_an_adapter_has_learned(spec: dict[str, Any]) -> None:
    spec["settings"] |= {"learning_rate": 0.02}
    earlier = job.run(spec, Recorder())
    shutil.copytree(files.attempt_folder("j1", 1) / "adapter", files.adapter_folder("a1"))
    recorder = Recorder()
    spec["settings"] |= {"start_from": "a1", "learning_rate": 1e-7}
    result = job.run({**spec, "job_id": "j2"}, recorder)
    assert result["first_held_out_loss"] == pytest.approx(earlier["first_held_out_loss"], rel=1e-6)
    assert result["best_held_out_loss"] == pytest.approx(earlier["best_held_out_loss"], rel=1e-4)
    spec["settings"]["start_from"] = "nothing"
    with pytest.raises(StudioError, match="no adapter 'nothing'"):
        job.run({**spec, "job_id": "j3"}, recorder)


def test_a_rank_to_try_beyond_the_models_width_is_refused(spec: dict[str, Any]) -> None:
    spec["settings"] |= {"try_ranks": "4, 64"}
    with pytest.raises(StudioError, match="rank cannot be 64"):
        job.run(spec, Recorder())


def test_what_was_foreseen_and_how_it_computes_stands_in_the_result(spec: dict[str, Any]) -> None:
    spec["settings"] |= {"max_steps": 8, "tokens_per_step": 128}
    recorder = Recorder()
    result = job.run(spec, recorder)
    rehearsal = result["rehearsal"]
    assert rehearsal["at_step"] == 4 and rehearsal["peak_bytes"] > 1 << 20
    assert (rehearsal["seconds"], rehearsal["peak_bytes"]) == recorder.forecasts[-1]
    # To save a look takes longer than a step of this tiny model, and on a busy disk much longer than foreseen.
    assert -0.95 < rehearsal["seconds_error"] < 0.5 and abs(rehearsal["peak_error"]) < 0.1
    assert result["words"] and recorder.notes[: len(result["words"])] == result["words"]


def test_a_share_of_the_rows_is_all_that_is_learned_from(spec: dict[str, Any], tiny_model: Path) -> None:
    spec["settings"]["max_tokens"] = 128  # else fitted to the longest row that is learned from
    whole = job.run({**spec, "job_id": "j2"}, Recorder())
    spec["settings"]["train_share"] = 0.5
    half = job.run(spec, Recorder())
    assert (whole["rows_trained"], half["rows_trained"]) == (32, 16)
    # Nothing else differs: the same rows are held out, so that the two can be compared.
    assert half["first_held_out_loss"] == whole["first_held_out_loss"]
