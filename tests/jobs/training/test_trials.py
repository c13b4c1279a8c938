"""Trials side by side are what each is alone; the best is kept however a run ends."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from jobs.training.examples import Example
from storage.errors import StudioError
from tests.jobs.training.row_engine import SETTINGS, Ran, Recorder, RowEngine, row_engine

# -- several trials ------------------------------------------------------------------------------------------

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_sweep_gives_every_trial_what_it_gives_alone(tiny_model: Path, examples: list[Example]) -> None:
    ranks, rates = (2, 4, 8), (0.02, 0.05)
    sweep = Ran(tiny_model, examples, try_ranks=ranks, try_learning_rates=rates, lora_plus_ratio=4.0)
    alone = [
        Ran(tiny_model, examples, rank=rank, learning_rate=rate, lora_plus_ratio=4.0)
        for rank, rate in itertools.product(ranks, rates)
    ]
    for number, (trial, single) in enumerate(zip(sweep.result.trials, alone, strict=True)):
        own = single.result
        assert (trial.rank, trial.learning_rate) == (ranks[number // 2], rates[number % 2])
        assert trial.best_held_out_loss == pytest.approx(own.best_held_out_loss, rel=1e-5)
        assert trial.best_step == own.best_step
        assert [loss for _, loss in sweep.recorder.all_of(f"loss.{number}")] == pytest.approx(
            [loss for _, loss in single.losses], rel=1e-5
        )
        masters = sweep.engine.weights.masters[number]
        for name, master in single.engine.weights.masters[0].items():
            torch.testing.assert_close(masters[name], master, rtol=1e-5, atol=1e-7)
    best = min(range(6), key=lambda number: alone[number].result.best_held_out_loss)
    assert sweep.result.best_trial == best == sweep.saved[-1][0]
    assert sweep.result.best_held_out_loss == sweep.result.trials[best].best_held_out_loss
    for name, value in alone[best].saved[-1][1].items():
        torch.testing.assert_close(sweep.saved[-1][1][name], value, rtol=1e-5, atol=1e-7)


def test_a_sweep_goes_on_bit_for_bit(tiny_model: Path, examples: list[Example], tmp_path: Path) -> None:
    whole = Ran(tiny_model, examples, try_ranks=(2, 4))
    Ran(tiny_model, examples, Recorder(stop_after=18), try_ranks=(2, 4), states=tmp_path)
    second = Ran(tiny_model, examples, try_ranks=(2, 4), states=tmp_path)
    assert second.result.trials == whole.result.trials and torch.equal(second.master(), whole.master())


def test_a_trial_that_diverges_leaves_the_others_alone(tiny_model: Path, examples: list[Example]) -> None:
    engine = row_engine(tiny_model, SETTINGS, (4, 4))
    next(iter(engine.weights.masters[0].values()))[0] = math.nan
    engine.refresh()
    sweep = Ran(tiny_model, examples, engine=engine, try_learning_rates=(0.06, 0.05), max_steps=8)
    alone = Ran(tiny_model, examples, max_steps=8)
    bad, good = sweep.result.trials
    assert not sweep.result.stopped and sweep.result.best_trial == 1
    assert good.best_held_out_loss == pytest.approx(alone.result.best_held_out_loss, rel=1e-5)
    assert (bad.last_loss, bad.best_step, bad.best_held_out_loss) == (None, None, None)


# -- ends ----------------------------------------------------------------------------------------------------


def test_a_stop_keeps_the_best_so_far(tiny_model: Path, examples: list[Example]) -> None:
    ran = Ran(tiny_model, examples, Recorder(stop_after=32))
    assert ran.result.stopped and 0 < ran.result.steps < ran.recorder.total
    assert 0 < ran.result.best_step <= ran.result.steps and ran.result.best_held_out_loss and ran.saved


def test_a_stop_before_the_first_look_keeps_what_there_is(tiny_model: Path, examples: list[Example]) -> None:
    ran = Ran(tiny_model, examples, Recorder(stop_after=8), tokens_per_step=64)
    result = ran.result
    assert result.stopped and result.best_step == result.steps > 0 and result.best_held_out_loss is None
    for name, value in ran.saved[-1][1].items():
        assert torch.equal(value, ran.engine.weights.masters[0][name])


def test_a_stop_before_the_first_step_leaves_nothing(
    tiny_model: Path, examples: list[Example], tmp_path: Path
) -> None:
    ran = Ran(tiny_model, examples, Recorder(stop_after=0), states=tmp_path / "states")
    assert ran.result.stopped and ran.result.steps == 0 and ran.result.best_step is None
    assert not ran.saved and not (tmp_path / "states").exists()


def test_without_held_out_rows_the_last_state_is_kept(tiny_model: Path, examples: list[Example]) -> None:
    ran = Ran(tiny_model, examples, held_out=0)
    assert ran.result.best_step == ran.result.steps and ran.result.first_held_out_loss is None
    for name, value in ran.saved[-1][1].items():
        assert torch.equal(value, ran.engine.weights.masters[0][name])


@pytest.mark.parametrize("max_steps", [2, None])
def test_a_loss_that_is_no_number_ends_the_run_with_a_remedy(
    tiny_model: Path, examples: list[Example], max_steps: int | None
) -> None:
    engine, recorder = row_engine(tiny_model, SETTINGS), Recorder()
    before = engine.weights.master.clone()
    engine.model.get_base_model().model.norm.weight.data[0] = math.nan
    with pytest.raises(StudioError, match="no number") as caught:
        Ran(tiny_model, examples, recorder, engine=engine, max_steps=max_steps)
    assert "Lower the learning rate" in caught.value.remedy
    assert len(recorder.all_of("loss")) == (max_steps or 3)
    assert torch.equal(engine.weights.master, before)


@pytest.mark.parametrize("held_out", [0, 8])
def test_a_run_that_breaks_on_its_way_keeps_the_last_state_that_gave_numbers(
    tiny_model: Path, examples: list[Example], held_out: int
) -> None:
    masters: list[Tensor] = []

    class Breaking(RowEngine):
        """The base model breaks after 19 packs, as it would under an adapter that has grown too large."""

        def learn(self, pack: Any, share: float) -> Tensor:
            if self.learned_packs == 19:
                self.model.get_base_model().model.norm.weight.data[0] = math.nan
            return super().learn(pack, share)

        def refresh(self) -> None:
            masters.append(self.weights.master.clone())
            super().refresh()

    engine = row_engine(tiny_model, SETTINGS)
    engine.__class__ = Breaking
    masters.append(engine.weights.master.clone())
    ran = Ran(tiny_model, examples, engine=engine, held_out=held_out)
    finite = [step for step, loss in ran.losses if math.isfinite(loss)]
    assert ran.result.stopped and ran.result.steps == finite[-1] + 3
    if not held_out:
        # The last finite loss was measured on the state before its step.
        assert ran.result.best_step == finite[-1] - 1
    best = engine.weights.named(0, masters[ran.result.best_step])
    assert 0 < ran.result.best_step <= finite[-1]
    assert all(torch.equal(value, best[name]) for name, value in ran.saved[-1][1].items())
    assert any("Lower the learning rate" in note for note in ran.result.notes)
    assert ran.result.notes[-1] == ran.recorder.notes[-1]
