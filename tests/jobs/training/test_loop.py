"""A run learns, keeps its best state, stops when asked and says what is wrong."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

from jobs.progress import Progress
from jobs.training import loop
from jobs.training.examples import Example, batch_of
from jobs.training.settings import TrainingSettings
from storage.errors import StudioError

SETTINGS = TrainingSettings(
    epochs=3, learning_rate=1e-2, tokens_per_step=256, alpha=8, max_tokens=128, seed=3
)


class Recorder(Progress):
    """Keeps what is reported; asks to stop after so many questions."""

    def __init__(self, stop_after: float = math.inf) -> None:
        self.metrics: list[tuple[int, dict[str, float]]] = []
        self.total = 0
        self.questions, self.stop_after = 0, stop_after

    def total_steps(self, count: int) -> None:
        self.total = count

    def metric(self, step: int, **values: float) -> None:
        self.metrics.append((step, values))

    def should_stop(self) -> bool:
        self.questions += 1
        return self.questions > self.stop_after

    def all_of(self, name: str) -> list[tuple[int, float]]:
        return [(step, values[name]) for step, values in self.metrics if name in values]


def train(model: Any, examples: list[Example], folder: Path, recorder: Recorder, **changes: Any) -> Any:
    settings = dataclasses.replace(SETTINGS, **changes)
    return loop.train(model, examples[8:], examples[:8], settings, recorder, folder)


def state_of(model: Any) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}


def test_a_run_learns_and_reports(
    adapted: Callable[..., Any], examples: list[Example], tmp_path: Path
) -> None:
    recorder = Recorder()
    result = train(adapted(), examples, tmp_path / "adapter", recorder, learning_rate=0.05)
    losses, held_out = recorder.all_of("loss"), recorder.all_of("held_out_loss")
    assert [step for step, _ in losses] == list(range(1, recorder.total + 1))
    # The random model's small output layer can lower the loss by a tenth at best.
    assert losses[-1][1] < 0.98 * losses[0][1]
    assert held_out[0][0] == 0 and held_out[-1][0] == recorder.total and len(held_out) >= 7
    assert result.first_held_out_loss == held_out[0][1]
    assert (result.best_held_out_loss, result.best_step) == min((loss, step) for step, loss in held_out)
    assert not result.stopped and result.steps == recorder.total and result.tokens_per_second > 0
    assert result.tokens == 3 * sum(len(example.token_ids) for example in examples[8:])
    for name in ("learning_rate", "grad_norm", "tokens_per_second"):
        assert all(value > 0 for _, value in recorder.all_of(name))


def test_two_runs_give_the_same_losses(
    adapted: Callable[..., Any], examples: list[Example], tmp_path: Path
) -> None:
    recorders = [Recorder(), Recorder()]
    for number, recorder in enumerate(recorders):
        train(adapted(dropout=0.1, seed=3), examples, tmp_path / str(number), recorder)
    first, second = (recorder.all_of("loss") + recorder.all_of("held_out_loss") for recorder in recorders)
    assert first == second
    weights = [(tmp_path / name / "adapter_model.safetensors").read_bytes() for name in "01"]
    assert weights[0] == weights[1]


def test_many_micro_batches_give_the_gradient_of_one(
    adapted: Callable[..., Any], examples: list[Example], tmp_path: Path
) -> None:
    def prepared() -> loop._Run:
        model = adapted()
        torch.manual_seed(7)
        for parameter in state_of(model):
            model.get_parameter(parameter).data.normal_(0, 0.2)
        return loop._Run(model, examples, [], SETTINGS, Recorder(), tmp_path)

    def gradient(run: loop._Run, micro_tokens: int) -> torch.Tensor:
        seen = []
        run.micro_tokens = micro_tokens
        run.weights.step = lambda rate: seen.append(run.weights.gradient.clone()) or 1.0
        run.train_step(1, list(range(len(examples))))
        return seen[0]

    one, many = gradient(prepared(), 1 << 20), gradient(prepared(), 60)
    reference = prepared()
    batch = batch_of(examples, "cpu")
    logits = reference.peft(input_ids=batch.token_ids, attention_mask=batch.mask).logits.flatten(0, 1)
    cross_entropy(logits[batch.positions], batch.targets).backward()
    plain = torch.cat([p.grad.flatten() for p in reference.parameters.values()])
    assert plain.norm() > 0.01
    torch.testing.assert_close(many, one, rtol=0, atol=1e-6)
    torch.testing.assert_close(one, plain, rtol=0, atol=1e-6)


def test_what_is_kept_is_the_best_state_and_loads_in_peft(
    adapted: Callable[..., Any],
    examples: list[Example],
    tmp_path: Path,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Half of the way forward, then back and beyond: the last state is not the best.
    monkeypatch.setattr(
        loop, "learning_rate_at", lambda step, total, peak: peak if 2 * step < total else -peak
    )
    result = train(adapted(), examples, tmp_path / "adapter", Recorder(), learning_rate=0.05, epochs=4)
    assert 0 < result.best_step < result.steps
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    loaded = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    batch = batch_of(examples[:8], "cpu")
    logits = loaded(input_ids=batch.token_ids, attention_mask=batch.mask).logits.flatten(0, 1)
    loss = float(cross_entropy(logits[batch.positions], batch.targets))
    assert loss == pytest.approx(result.best_held_out_loss, abs=1e-5)
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["peft_type"]) == (4, 8, "LORA")
    assert sorted(path.name for path in (tmp_path / "adapter").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]


def test_a_stop_keeps_the_best_so_far(
    adapted: Callable[..., Any], examples: list[Example], tmp_path: Path
) -> None:
    recorder = Recorder(stop_after=12)
    result = train(adapted(), examples, tmp_path / "adapter", recorder)
    assert result.stopped and 0 < result.steps < recorder.total
    assert 0 < result.best_step <= result.steps
    assert (tmp_path / "adapter" / "adapter_model.safetensors").exists()


def test_a_stop_before_the_first_look_keeps_what_there_is(
    adapted: Callable[..., Any], examples: list[Example], tmp_path: Path
) -> None:
    result = train(adapted(), examples, tmp_path / "adapter", Recorder(stop_after=4), tokens_per_step=64)
    assert result.stopped and result.best_step == result.steps > 0 and result.best_held_out_loss is None
    assert (tmp_path / "adapter" / "adapter_model.safetensors").exists()


def test_a_stop_before_the_first_step_leaves_nothing(
    adapted: Callable[..., Any], examples: list[Example], tmp_path: Path
) -> None:
    result = train(adapted(), examples, tmp_path / "adapter", Recorder(stop_after=0))
    assert result.stopped and result.steps == 0 and result.best_step is None
    assert not (tmp_path / "adapter").exists()


def test_without_held_out_rows_the_last_state_is_kept(
    adapted: Callable[..., Any], examples: list[Example], tmp_path: Path
) -> None:
    result = loop.train(adapted(), examples, [], SETTINGS, Recorder(), tmp_path / "adapter")
    assert result.best_step == result.steps and result.first_held_out_loss is None


@pytest.mark.parametrize("max_steps", [2, None])
def test_a_loss_that_is_no_number_ends_the_run_with_a_remedy(
    adapted: Callable[..., Any], examples: list[Example], tmp_path: Path, max_steps: int | None
) -> None:
    model, recorder = adapted(), Recorder()
    before = state_of(model)
    model.get_base_model().model.norm.weight.data[0] = math.nan
    with pytest.raises(StudioError, match="no number") as caught:
        train(model, examples, tmp_path / "adapter", recorder, max_steps=max_steps)
    assert "Lower the learning rate" in caught.value.remedy
    assert len(recorder.all_of("loss")) == (max_steps or 3)
    assert all(torch.equal(value, before[name]) for name, value in state_of(model).items())
    assert not (tmp_path / "adapter").exists()


def test_masked_out_answers_are_an_error_before_the_start(
    adapted: Callable[..., Any], examples: list[Example], tmp_path: Path
) -> None:
    masked = [dataclasses.replace(e, learned=[False] * len(e.learned)) for e in examples]
    with pytest.raises(StudioError, match="None of the 32 examples"):
        train(adapted(), masked, tmp_path / "adapter", Recorder())


def test_too_little_gpu_memory_is_explained(
    adapted: Callable[..., Any], examples: list[Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(loop, "completion_loss", full)
    with pytest.raises(StudioError, match="too little memory") as caught:
        train(adapted(), examples, tmp_path / "adapter", Recorder())
    assert "tokens_per_step" in caught.value.remedy and "max_tokens" in caught.value.remedy


def test_nothing_below_the_first_adapted_layer_keeps_gradients(
    adapted: Callable[..., Any], examples: list[Example], tmp_path: Path
) -> None:
    model, seen = adapted(layers=[1]), []
    layers = model.get_base_model().model.layers
    for layer in layers:
        layer.register_forward_hook(lambda _m, _i, output: seen.append(output.requires_grad))
    run = loop._Run(model, examples, [], SETTINGS, Recorder(), tmp_path)
    run.train_step(1, [0, 1])
    assert seen == [False, True]


def test_the_base_models_weights_never_move(
    adapted: Callable[..., Any], examples: list[Example], tmp_path: Path
) -> None:
    model = adapted()
    frozen = {n: p.detach().clone() for n, p in model.named_parameters() if not p.requires_grad}
    train(model, examples, tmp_path / "adapter", Recorder(), max_steps=3)
    assert all(torch.equal(model.get_parameter(name), value) for name, value in frozen.items())


def test_adapters_that_compute_in_bf16_still_take_small_steps(
    adapted: Callable[..., Any], examples: list[Example], tmp_path: Path
) -> None:
    model = adapted().bfloat16()
    run = loop._Run(
        model, examples, [], dataclasses.replace(SETTINGS, learning_rate=1e-5), Recorder(), tmp_path
    )
    before = [master.clone() for master in run.weights.masters]
    for step in range(1, 4):
        run.train_step(step, range(len(examples)))
    moved = [float((a - b).abs().max()) for a, b in zip(before, run.weights.masters, strict=True)]
    assert max(moved) > 1e-6
    assert {master.dtype for master in run.weights.masters} == {torch.float32}
    for master, parameter in zip(run.weights.masters, run.parameters.values(), strict=True):
        assert torch.equal(master.bfloat16(), parameter)
