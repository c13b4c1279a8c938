"""The estimate agrees with the calculator, learns from earlier runs, and says what does not fit."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from jobs import gpu
from jobs.base_models import catalogue
from jobs.datasets import lengths
from jobs.datasets.row_files import RowsWriter
from jobs.lora import estimate, memory, savings
from storage import datasets, files, jobs
from storage.errors import StudioError


@pytest.fixture
def dataset_id(home: Path) -> str:
    """Twenty examples to learn from and five held out, of 400 characters each."""
    id = files.new_id()
    messages = [{"role": "user", "content": "q" * 200}, {"role": "assistant", "content": "a" * 200}]
    splits = ["train"] * 20 + ["held_out"] * 5
    lines = [{"row": row, "messages": messages, "split": split} for row, split in enumerate(splits, start=1)]
    files.write_text(
        files.dataset_folder(id) / "rows.jsonl", "".join(json.dumps(line) + "\n" for line in lines)
    )
    datasets.add(
        id=id, name="d", source_name="d.jsonl", format="messages", columns=[], rows=25, train_rows=20,
        held_out_rows=5, problems=[], sha256="0" * 64,
    )  # fmt: skip
    return id


def _run(tokens_per_second: float, device: str, finished: bool = True, **settings: object) -> jobs.Job:
    """A run whose process has reported its speed."""
    jobs.add("training", "run", device, base_model_id=catalogue.STARTER_ID, rank=8, settings=settings)
    claimed = jobs.claim(set())
    assert claimed is not None
    jobs.update(claimed.id, claimed.attempt, tokens_per_second=tokens_per_second)
    jobs.finish(claimed.id, claimed.attempt, "finished" if finished else "stopped")
    return jobs.get(claimed.id)


def test_estimate_has_the_numbers_of_the_calculator(dataset_id: str) -> None:
    cost = estimate.estimate(catalogue.STARTER_ID, 8, "auto", dataset_id)
    saved = savings.savings(catalogue.find(catalogue.STARTER_ID), 8)
    assert cost["full_parameters"] == saved.full_parameters
    assert cost["lora_parameters"] == saved.lora_parameters
    assert cost["reduction"] == saved.reduction
    assert cost["adapter_bytes"] == saved.adapter_bytes
    assert cost["memory_bytes"] == cost["memory"]["lora"]["total"] < cost["memory"]["full"]["total"]
    assert json.loads(json.dumps(cost)) == cost


def test_only_the_examples_to_learn_from_take_time(dataset_id: str) -> None:
    cost = estimate.estimate(catalogue.STARTER_ID, 8, "auto", dataset_id, {"epochs": 2})
    assert cost["tokens"] == 2 * 20 * (400 // 4 + 2 * 5)
    expected = estimate.LOADING_SECONDS + cost["tokens"] / cost["tokens_per_second"]
    assert cost["seconds"] == pytest.approx(expected)


def test_counted_tokens_are_taken_as_they_are(dataset_id: str, tiny_model: Path) -> None:
    model_id = catalogue.add_custom(str(tiny_model)).id
    guessed = estimate.estimate(model_id, 8, "auto", dataset_id, {"epochs": 1})
    counts = lengths.count(dataset_id, model_id)
    exact = estimate.estimate(model_id, 8, "auto", dataset_id, {"epochs": 1})
    assert exact["tokens"] == int(counts.tokens[~counts.held_out].sum()) != guessed["tokens"]
    assert "are counted" in exact["words"][-2] and "counted" not in " ".join(guessed["words"])


def test_of_many_rows_some_from_all_over_are_read(home: Path) -> None:
    id = files.new_id()
    files.dataset_folder(id).mkdir(parents=True)
    with RowsWriter(files.dataset_folder(id)) as writer:
        for row in range(1, 30_001):
            messages = [
                {"role": "user", "content": "q" * (row // 30)},
                {"role": "assistant", "content": "a" * 400},
            ]
            writer.add({"row": row, "messages": messages, "split": "train" if row % 10 else "held_out"})
    datasets.add(
        id=id, name="d", source_name="d.jsonl", format="messages", columns=[], rows=30_000, train_rows=27_000,
        held_out_rows=3000, problems=[], sha256="0" * 64,
    )  # fmt: skip
    began = time.process_time()
    cost = estimate.estimate(catalogue.STARTER_ID, 8, "auto", id, {"epochs": 1})
    assert time.process_time() - began < 0.5  # reading all of them takes longer
    assert cost["tokens"] == pytest.approx(27_000 * (500 / 4 + 100 + 10), rel=0.03)
    assert "from 2,000 of 27,000 examples" in cost["words"][-2]


def test_limit_of_steps_shortens_the_estimate(dataset_id: str) -> None:
    settings = {"epochs": 10, "max_steps": 3, "tokens_per_step": 256}
    assert estimate.estimate(catalogue.STARTER_ID, 8, "auto", dataset_id, settings)["tokens"] == 3 * 256


def test_memory_follows_the_tokens_of_a_step(dataset_id: str) -> None:
    passes = {
        tokens: estimate.estimate(catalogue.STARTER_ID, 8, "auto", dataset_id, {"tokens_per_step": tokens})
        for tokens in (16, 1024, 16_384)
    }
    assert [cost["tokens_per_pass"] for cost in passes.values()] == [110, 1024, 2048]
    assert passes[16]["memory_bytes"] < passes[1024]["memory_bytes"] < passes[16_384]["memory_bytes"]


def test_without_examples_there_is_no_time(home: Path) -> None:
    assert estimate.estimate(catalogue.STARTER_ID, 8)["seconds"] is None


def test_speed_of_earlier_runs_on_this_device_counts(dataset_id: str) -> None:
    device = gpu.default_device()
    cost = estimate.estimate(catalogue.STARTER_ID, 8, "auto", dataset_id)
    assert (cost["measured"], cost["speed_from"]) == (False, "arithmetic")
    _run(1.0, "another device")
    for speed in (100.0, 300.0, 200.0):
        _run(speed, device)
    cost = estimate.estimate(catalogue.STARTER_ID, 8, "auto", dataset_id)
    assert (cost["measured"], cost["tokens_per_second"], cost["speed_from"]) == (True, 200.0, "earlier_runs")
    assert "earlier runs" in cost["words"][-1]


def test_what_was_measured_in_another_way_of_computing_does_not_count(dataset_id: str) -> None:
    device = gpu.default_device()
    auto = memory.number_format(device)
    other = {"fp32": "bf16", "bf16": "fp32"}[auto]
    _run(100.0, device, precision=other)
    _run(100.0, device, try_ranks=[2, 4])
    assert not estimate.estimate(catalogue.STARTER_ID, 8, "auto", dataset_id)["measured"]
    _run(100.0, device, precision=auto)
    assert estimate.estimate(catalogue.STARTER_ID, 8, "auto", dataset_id)["measured"]
    sweep = estimate.estimate(catalogue.STARTER_ID, 8, "auto", dataset_id, {"try_ranks": "2, 4"})
    assert (sweep["measured"], sweep["tokens_per_second"]) == (True, 100.0)


def test_a_rehearsal_counts_until_a_run_has_finished(dataset_id: str) -> None:
    device = gpu.default_device()
    _run(100.0, device, finished=False)
    cost = estimate.estimate(catalogue.STARTER_ID, 8, "auto", dataset_id)
    assert (cost["speed_from"], cost["tokens_per_second"]) == ("rehearsal", 100.0)
    _run(50.0, device)
    cost = estimate.estimate(catalogue.STARTER_ID, 8, "auto", dataset_id)
    assert (cost["speed_from"], cost["tokens_per_second"]) == ("earlier_runs", 50.0)


def test_the_time_beside_the_steps_is_that_of_earlier_runs(
    dataset_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs.add("training", "run", gpu.default_device(), base_model_id=catalogue.STARTER_ID, rank=8)
    monkeypatch.setattr("time.time", lambda: 1000.0)
    claimed = jobs.claim(set())
    assert claimed is not None
    monkeypatch.setattr("time.time", lambda: 1070.0)
    jobs.finish(claimed.id, claimed.attempt, "finished", result={"seconds": 40.0, "tokens_per_second": 50.0})
    cost = estimate.estimate(catalogue.STARTER_ID, 8, "auto", dataset_id)
    assert cost["seconds"] == pytest.approx(30 + cost["tokens"] / 50)


def test_a_run_on_a_gpu_is_made_to_fit(dataset_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def cost(gigabytes: int, **settings: object) -> dict[str, Any]:
        device = gpu.Device("cuda:0", "NVIDIA H100", gigabytes * 10**9, gigabytes * 10**9)
        monkeypatch.setattr(gpu, "devices", lambda: [device])
        return estimate.estimate("meta-llama/Llama-3.1-8B-Instruct", 16, "auto", dataset_id, settings)

    assert (cost(80)["activations"], cost(80)["precision"]) == ("keep", "bf16")
    small = cost(12)
    assert (small["precision"], small["fits"]) == ("nf4", "fits")
    assert "nf4" in small["formula"]
    assert cost(12, precision="bf16")["fits"] == cost(2)["fits"] == "does not fit"
    assert cost(80, use_dora=True)["activations"] == "plain"
    assert cost(80, dropout=0.1)["activations"] == "plain"


def test_a_run_that_goes_on_from_a_dora_adapter_is_one_with_dora(dataset_id: str) -> None:
    for name, use_dora in (("plain", False), ("dora", True)):
        files.write_json(files.adapter_folder(name) / "adapter_config.json", {"use_dora": use_dora})

    def cost(**settings: object) -> dict[str, Any]:
        return estimate.estimate(catalogue.STARTER_ID, 8, "auto", dataset_id, settings)

    fresh, dora = cost(), cost(use_dora=True)
    assert cost(start_from="dora") == dora != fresh == cost(start_from="plain") == cost(start_from="lost")
    assert dora["activations"] == "plain" != fresh["activations"]


def test_processor_model_is_the_measured_speed_of_the_starter(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("psutil.cpu_count", lambda logical=True: 2)
    saved = savings.savings(catalogue.find(catalogue.STARTER_ID), 8)
    device = gpu.Device("cpu", "Processor", 8 * 10**9, 4 * 10**9)
    assert estimate.modelled_speed(device, saved).tokens_per_second == pytest.approx(400, rel=0.05)
    assert estimate.modelled_speed(device, saved, 4).tokens_per_second == pytest.approx(100, rel=0.05)


def test_longest_matching_gpu_name_decides(home: Path) -> None:
    saved = savings.savings(catalogue.find(catalogue.STARTER_ID), 8)

    def speed(name: str) -> float:
        return estimate.modelled_speed(gpu.Device("cuda:0", name, 1, 1), saved).tokens_per_second

    assert speed("NVIDIA H100 80GB HBM3") / speed("NVIDIA A100-SXM4-40GB") == pytest.approx(989 / 312)
    assert speed("NVIDIA L40S") / speed("NVIDIA L4") == pytest.approx(362 / 121)
    assert speed("A future GPU") > 0


@pytest.mark.parametrize(
    ("share", "words"), [(0.2, "fits easily"), (0.7, "fits"), (0.95, "tight"), (1.2, "does not fit")]
)
def test_fit_is_said_in_words(share: float, words: str) -> None:
    assert estimate.fit_in_words(round(share * 1000), 1000) == words


def test_modules_and_layers_of_the_settings_count(home: Path) -> None:
    part = estimate.estimate(catalogue.STARTER_ID, 8, ["q_proj"], None, {"layers": "0-9"})
    assert part["lora_parameters"] == 10 * 8 * (576 + 576)
    fused = estimate.estimate("microsoft/Phi-4-mini-instruct", 8, "query_value")
    assert "qkv_proj" in fused["note"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nothing", 8), "no base model"),
        ((catalogue.STARTER_ID, 0), "rank"),
        ((catalogue.STARTER_ID, 8, "x_proj"), "x_proj"),
        ((catalogue.STARTER_ID, 8, "auto", "nodataset"), "nodataset"),
        ((catalogue.STARTER_ID, 8, "auto", None, {"epochs": -1}), "epochs"),
    ],
)
def test_what_cannot_be_estimated_is_a_sentence(home: Path, arguments: tuple[object, ...], said: str) -> None:
    with pytest.raises(StudioError, match=said):
        estimate.estimate(*arguments)  # type: ignore[arg-type]
