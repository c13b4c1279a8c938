"""What the queue lets in, and what it says about a job."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from jobs import queue
from jobs.base_models import catalogue
from jobs.executors.local import PROJECT_ROOT
from storage import adapters, datasets, files, jobs, metrics
from storage.errors import StudioError


@pytest.fixture
def model_id(home: Path, tiny_model: Path) -> str:
    return catalogue.add_custom(str(tiny_model)).id


def add_dataset(train_rows: int = 8) -> str:
    """A dataset with as many examples to learn from, and two held out."""
    id = files.new_id()
    rows = [
        {
            "row": row,
            "split": "train" if row <= train_rows else "held_out",
            "messages": [{"role": "user", "content": "fox"}, {"role": "assistant", "content": "brown"}],
        }
        for row in range(1, train_rows + 3)
    ]
    files.write_text(files.dataset_folder(id) / "rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    datasets.add(
        id=id,
        name="Foxes",
        source_name="foxes.jsonl",
        format="jsonl",
        columns=["messages"],
        rows=len(rows),
        train_rows=train_rows,
        held_out_rows=2,
        problems=[],
        sha256="",
    )
    return id


def test_a_training_waits_with_everything_it_needs(model_id: str, tiny_model: Path) -> None:
    job = queue.submit_training(add_dataset(), model_id, "8", {"learning_rate": "1e-4"})
    assert (job.status, job.kind, job.rank) == ("queued", "training", 8)
    assert job.name == f"Foxes · {tiny_model.name} · rank 8"
    assert job.settings["learning_rate"] == 1e-4
    assert queue.submit_training(add_dataset(), model_id, 8, {}, name="mine").name == "mine"


def test_a_sweep_is_named_by_its_ranks(model_id: str, tiny_model: Path) -> None:
    job = queue.submit_training(add_dataset(), model_id, 8, {"try_ranks": "2, 4"})
    assert job.name == f"Foxes · {tiny_model.name} · ranks 2, 4"
    job = queue.submit_training(add_dataset(), model_id, 8, {"try_ranks": "4"})
    assert (job.name, job.rank) == (f"Foxes · {tiny_model.name} · rank 4", 4)


def add_adapter(base_model_id: str, tiny_model: Path, rank: int = 4) -> str:
    """An adapter of query and value matrices as a training leaves it."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    id = files.new_id()
    kind = LoraConfig(r=rank, lora_alpha=8, target_modules=["q_proj", "v_proj"])
    get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model), kind).save_pretrained(
        files.adapter_folder(id)
    )
    adapters.add(
        id=id, name="Earlier", job_id="j", dataset_id="d", base_model_id=base_model_id, rank=rank, alpha=8.0,
        target_modules=["q_proj", "v_proj"], parameters=1, size_bytes=1, weights_sha256="", base_weights_sha256="",
        held_out_loss=None, best_step=None, settings={},
    )  # fmt: skip
    return id


def test_a_run_goes_on_from_an_adapter_that_fits(model_id: str, tiny_model: Path) -> None:
    earlier = add_adapter(model_id, tiny_model)
    job = queue.submit_training(add_dataset(), model_id, 4, {"start_from": earlier})
    assert job.settings["start_from"] == earlier


@pytest.mark.parametrize(
    ("rank", "settings", "named"),
    [
        (8, {}, "rank 4, not 8"),
        (4, {"try_ranks": "4, 8"}, "rank 4, not 8"),
        (4, {"target_modules": "all_linear"}, "other modules"),
        (4, {"rank_pattern": "q_proj=2"}, "other ranks"),
        (4, {"use_dora": True}, "without DoRA"),
    ],
)
def test_an_earlier_adapter_that_does_not_fit_is_refused_at_once(
    model_id: str, tiny_model: Path, rank: int, settings: dict[str, Any], named: str
) -> None:
    earlier = add_adapter(model_id, tiny_model)
    with pytest.raises(StudioError, match=named):
        queue.submit_training(add_dataset(), model_id, rank, {"start_from": earlier, **settings})
    assert jobs.list_all() == []


def test_an_earlier_adapter_of_another_base_model_is_refused_with_its_name(
    model_id: str, tiny_model: Path
) -> None:
    earlier = add_adapter("starter", tiny_model)
    with pytest.raises(StudioError, match="“Earlier” was made for the base model starter"):
        queue.submit_training(add_dataset(), model_id, 4, {"start_from": earlier})


def test_start_clicked_five_times_is_one_job(model_id: str) -> None:
    dataset_id = add_dataset()

    def click(_: int) -> str:
        return queue.submit_training(dataset_id, model_id, 8, {}, request_key="one form").id

    with ThreadPoolExecutor(5) as clicks:
        assert len(set(clicks.map(click, range(5)))) == 1
    assert jobs.count("queued") == 1


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"dataset_id": "nothere"}, "nothere"),
        ({"base_model_id": "nobody/nothing"}, "nobody/nothing"),
        ({"rank": 0}, "rank"),
        ({"rank": 33}, "rank"),  # the model is 32 wide
        ({"rank": "many"}, "rank"),
        ({"settings": {"learning_rate": -1}}, "learning_rate"),
        ({"settings": {"learning_rat": 1}}, "learning_rat"),
        ({"settings": {"target_modules": ["no_proj"]}}, "no_proj"),
        ({"settings": {"layers": "5-9"}}, "5-9"),
        ({"settings": {"try_ranks": "4, 64"}}, "64"),
        ({"settings": {"rank_pattern": "q_proj=64"}}, "64"),
        ({"settings": {"rank_pattern": "no_proj=4"}}, "no_proj"),
        ({"settings": {"rank_pattern": "q_proj=4", "target_modules": "v_proj"}}, "q_proj"),
        ({"settings": {"start_from": "nothere"}}, "nothere"),
    ],
)
def test_what_cannot_be_trained_is_refused_at_once(model_id: str, change: dict[str, Any], named: str) -> None:
    request = {"dataset_id": add_dataset(), "base_model_id": model_id, "rank": 8, "settings": {}, **change}
    with pytest.raises(StudioError) as refusal:
        queue.submit_training(**request)
    assert named in str(refusal.value) and refusal.value.remedy
    assert jobs.list_all() == []


def test_a_dataset_without_examples_is_refused(model_id: str) -> None:
    with pytest.raises(StudioError, match="no examples"):
        queue.submit_training(add_dataset(train_rows=0), model_id, 8, {})


def test_a_full_disk_is_noticed_before_the_job(model_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "free_bytes", lambda: 10_000_000)
    with pytest.raises(StudioError, match="disk is full"):
        queue.submit_training(add_dataset(), model_id, 8, {})


def test_an_open_fetch_is_not_asked_for_twice_and_a_failed_one_can_be_tried_again(home: Path) -> None:
    first = queue.submit_fetch(catalogue.STARTER_ID)
    assert first.device == "network"
    assert queue.submit_fetch(catalogue.STARTER_ID).id == first.id
    jobs.claim(set())
    assert queue.submit_fetch(catalogue.STARTER_ID).id == first.id
    jobs.finish(first.id, 1, "failed", error=StudioError("No network."))
    assert queue.submit_fetch(catalogue.STARTER_ID).id != first.id


def test_the_starter_is_fetched_once_unasked(home: Path) -> None:
    queue.fetch_starter_once()
    queue.fetch_starter_once()
    (job,) = jobs.list_all()
    queue.stop(job.id)
    queue.fetch_starter_once()
    assert len(jobs.list_all()) == 1


def test_a_status_is_plain_json_at_every_stage(home: Path) -> None:
    job = jobs.add("training", "a", "cpu")
    promised = {
        "status",
        "step",
        "total_steps",
        "loss",
        "held_out_loss",
        "seconds_left",
        "error",
        "adapter_id",
    }
    assert promised <= queue.status(job.id).keys()
    jobs.claim(set())
    metrics.take_in(job.id, 1, [], 1, loss=math.nan, seconds_left=math.inf)
    shown = queue.status(job.id)
    assert json.loads(json.dumps(shown, allow_nan=False))["loss"] is None
    assert shown["error"] is None
    jobs.finish(job.id, 1, "failed", error=StudioError("Wrong.", "Right."))
    assert queue.status(job.id)["error"] == {"message": "Wrong.", "remedy": "Right."}
    with pytest.raises(StudioError):
        queue.status("nothere")


def test_the_page_may_import_queue_and_worker_without_torch() -> None:
    script = (
        "import sys; from jobs import queue, worker; "
        "print({'torch', 'transformers', 'peft', 'datasets'} & set(sys.modules))"
    )
    output = subprocess.check_output([sys.executable, "-c", script], cwd=PROJECT_ROOT, text=True)
    assert output.strip() == "set()"


def test_four_bits_without_a_gpu_are_refused_at_the_click(
    model_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue.gpu, "default_device", lambda: "cpu")
    with pytest.raises(StudioError, match="needs an NVIDIA GPU"):
        queue.submit_training(add_dataset(), model_id, 4, {"precision": "nf4"})
    assert jobs.list_all() == []
