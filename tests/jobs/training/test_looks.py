"""Every look leaves the adapter as it was: loadable by PEFT, few, whole or not there, and at no cost to the run."""

from __future__ import annotations

import errno
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from jobs.training import folders, job, loop
from jobs.training.examples import Example
from jobs.training.looks import Looks
from storage import files
from tests.jobs.training.row_engine import Ran, Recorder
from tests.jobs.training.test_job import spec

__all__ = ["spec"]

CONFIG = LoraConfig(r=2, target_modules=["q_proj"])
WEIGHTS = {"base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight": torch.ones(2, 4)}


def test_a_job_saves_its_looks_in_bf16_and_peft_loads_them(spec: dict[str, Any], tiny_model: Path) -> None:
    spec["settings"] |= {"max_steps": 6, "tokens_per_step": 128}
    recorder = Recorder()
    result = job.run(spec, recorder)
    looks = folders.looks(files.run_folder("j1"))
    looked_at = [step for step, _ in recorder.all_of("held_out_loss") if step]
    assert [step for step, _ in looks] == looked_at and looked_at[-1] == 6
    last = load_file(looks[-1][1] / "adapter_model.safetensors")
    assert {value.dtype for value in last.values()} == {torch.bfloat16}
    kept = load_file(files.attempt_folder("j1", 1) / "adapter" / "adapter_model.safetensors")
    best = dict(looks)[result["best_step"]]
    assert all(
        torch.equal(v, kept[n].bfloat16()) for n, v in load_file(best / "adapter_model.safetensors").items()
    )
    loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), looks[0][1])
    assert (
        sum(p.numel() for n, p in loaded.named_parameters() if "lora_" in n)
        == result["adapter"]["parameters"]
    )


def test_a_run_that_goes_on_has_the_looks_of_one_that_never_stopped(spec: dict[str, Any]) -> None:
    spec["settings"] |= {"max_steps": 7, "tokens_per_step": 128}
    job.run({**spec, "job_id": "j2"}, Recorder())
    assert job.run(spec, Recorder(stop_after=9))["status"] == "stopped"
    job.run({**spec, "attempt": 2}, Recorder())
    own, other = (dict(folders.looks(files.run_folder(name))) for name in ("j1", "j2"))
    assert own.keys() == other.keys()
    for step, folder in own.items():
        assert (folder / "adapter_model.safetensors").read_bytes() == (
            other[step] / "adapter_model.safetensors"
        ).read_bytes()


@pytest.mark.usefixtures("one_thread")
def test_who_looks_on_changes_no_step(
    tiny_model: Path, examples: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = Ran(tiny_model, examples)
    seen: list[tuple[int, int, dict[str, Tensor]]] = []
    real = loop.train

    def watched(*arguments: Any, **named: Any) -> Any:
        return real(
            *arguments, **named, seen=lambda step, trial, values: seen.append((step, trial, dict(values)))
        )

    monkeypatch.setattr(loop, "train", watched)
    ran = Ran(tiny_model, examples)
    assert torch.equal(ran.master(), alone.master()) and ran.losses == alone.losses
    assert [step for step, _, _ in seen] == [step for step, _ in ran.recorder.all_of("held_out_loss") if step]
    # The last one is the run's last state, which need not be its best.
    last = seen[-1][2]
    assert all(
        torch.equal(last[name], value.bfloat16()) for name, value in ran.engine.weights.masters[0].items()
    )


def test_of_many_looks_the_first_the_last_and_an_even_choice_stay(tmp_path: Path) -> None:
    looks = Looks(tmp_path, Recorder())
    for step in range(1, 12):
        looks.keep(step, CONFIG, WEIGHTS)
    kept = [step for step, _ in folders.looks(tmp_path)]
    assert len(kept) == folders.MOST_LOOKS and kept[0] == 1 and kept[-1] == 11
    assert max(later - earlier for earlier, later in pairwise(kept)) <= 3
    assert not [path for path in (tmp_path / "looks").iterdir() if path.name.startswith(".")]


def test_the_same_step_again_replaces_its_look(tmp_path: Path) -> None:
    looks = Looks(tmp_path, Recorder())
    looks.keep(3, CONFIG, WEIGHTS)
    looks.keep(3, CONFIG, {name: 2 * value for name, value in WEIGHTS.items()})
    ((_, folder),) = folders.looks(tmp_path)
    assert load_file(folder / "adapter_model.safetensors").popitem()[1].max() == 2


def test_a_look_that_was_being_written_counts_as_none_and_is_swept_away(tmp_path: Path) -> None:
    looks = Looks(tmp_path, Recorder())
    half = tmp_path / "looks" / ".tmp-step-000002"
    half.mkdir(parents=True)
    (half / "adapter_model.safetensors").write_bytes(b"half of")
    assert folders.looks(tmp_path) == []
    looks.keep(2, CONFIG, WEIGHTS)
    assert [step for step, _ in folders.looks(tmp_path)] == [2] and not half.exists()


def test_a_full_disk_costs_the_look_and_not_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    looks = Looks(tmp_path, recorder)
    looks.keep(1, CONFIG, WEIGHTS)

    def full(*_arguments: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        looks.keep(2, CONFIG, WEIGHTS)
    assert [step for step, _ in folders.looks(tmp_path)] == [1]
    assert "step 2 was not kept" in recorder.lines[-1]
    assert not list((tmp_path / "looks").glob(".*"))
    looks.keep(3, CONFIG, WEIGHTS)
    assert [step for step, _ in folders.looks(tmp_path)] == [1, 3]


def test_a_run_without_any_has_none(tmp_path: Path) -> None:
    assert folders.looks(tmp_path) == [] and folders.film(tmp_path) is None
