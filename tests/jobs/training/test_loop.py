"""A run learns, keeps its best state, goes on where it was interrupted, stops when asked, says what is wrong."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from jobs.training import loop
from jobs.training import trials as trials_module
from jobs.training.examples import Example
from storage.errors import StudioError
from tests.jobs.training.row_engine import SETTINGS, Ran, Recorder, RowEngine, row_engine

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_run_learns_and_reports(tiny_model: Path, examples: list[Example]) -> None:
    ran = Ran(tiny_model, examples)
    recorder, result = ran.recorder, ran.result
    held_out = recorder.all_of("held_out_loss")
    assert [step for step, _ in ran.losses] == list(range(1, recorder.total + 1))
    # The random model's small output layer can lower the loss by a tenth at best.
    assert ran.losses[-1][1] < 0.98 * ran.losses[0][1]
    assert held_out[0][0] == 0 and held_out[-1][0] == recorder.total and len(held_out) >= 7
    assert result.first_held_out_loss == held_out[0][1]
    assert (result.best_held_out_loss, result.best_step) == min((loss, step) for step, loss in held_out)
    assert not result.stopped and result.steps == recorder.total and result.tokens_per_second > 0
    assert result.tokens == 3 * sum(len(example.token_ids) for example in examples[8:])
    for name in ("learning_rate", "grad_norm", "tokens_per_second"):
        assert all(value > 0 for _, value in recorder.all_of(name))
    assert result.words == ["Row by row."] == recorder.notes
    assert [trial for trial, _ in ran.saved] == [0] * len(ran.saved) and result.best_trial == 0


def test_the_first_training_loss_comes_before_the_base_models_own(
    tiny_model: Path, examples: list[Example]
) -> None:
    ran = Ran(tiny_model, examples)
    reported = [(step, "held_out_loss" in values) for step, values in ran.recorder.metrics]
    assert reported[:2] == [(1, False), (0, True)] and ran.engine.base_looks > 0
    # A model that has not moved has the loss of its base.
    still = Ran(tiny_model, examples, learning_rate=1e-30)
    assert ran.result.first_held_out_loss == pytest.approx(still.result.best_held_out_loss, rel=1e-6)


def test_two_runs_give_the_same_losses(tiny_model: Path, examples: list[Example]) -> None:
    first, second = (Ran(tiny_model, examples, dropout=0.1) for _ in range(2))
    for name in ("loss", "held_out_loss", "grad_norm"):
        assert first.recorder.all_of(name) == second.recorder.all_of(name)
    assert torch.equal(first.master(), second.master())
    assert Ran(tiny_model, examples, dropout=0.1, seed=4).losses != first.losses


def test_a_step_is_the_mean_over_its_tokens_however_it_is_cut(
    tiny_model: Path, examples: list[Example]
) -> None:
    def ran(pack_tokens: int) -> Ran:
        return Ran(tiny_model, examples, engine=row_engine(tiny_model, SETTINGS, pack_tokens=pack_tokens))

    many, one = ran(24), ran(1 << 20)
    assert many.engine.learned_packs > 2 * one.engine.learned_packs
    torch.testing.assert_close(many.losses, one.losses, rtol=1e-5, atol=0)


def test_what_is_saved_is_the_best_state(
    tiny_model: Path, examples: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Half of the way forward, then back and beyond: the last state is not the best.
    monkeypatch.setattr(
        trials_module, "learning_rate_at", lambda step, total, peak: peak if 2 * step < total else -peak
    )
    ran = Ran(tiny_model, examples, epochs=4)
    assert 0 < ran.result.best_step < ran.result.steps
    for name, master in ran.engine.weights.masters[0].items():
        master.copy_(ran.saved[-1][1][name])
    ran.engine.refresh()
    packs = ran.engine.packs(examples, range(8))
    loss = sum(float(ran.engine.losses(pack)) for pack in packs) / sum(
        example.supervised_tokens for example in examples[:8]
    )
    assert loss == pytest.approx(ran.result.best_held_out_loss, rel=1e-5)


# -- resuming ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop_after", [1, 2, 3, 5, 8, 12, 13, 17, 20, 27, 33, 40])
def test_a_run_goes_on_bit_for_bit_from_wherever_it_was_stopped(
    tiny_model: Path, examples: list[Example], tmp_path: Path, stop_after: int
) -> None:
    # Steps of several packs, three epochs, looks and dropout: a stop hits each of them somewhere.
    whole = Ran(tiny_model, examples, dropout=0.1)
    first = Ran(tiny_model, examples, Recorder(stop_after), states=tmp_path, dropout=0.1)
    assert first.result.stopped
    # Whatever else draws numbers in between changes nothing.
    torch.rand(3)
    second = Ran(tiny_model, examples, states=tmp_path, dropout=0.1)
    for name in ("loss", "grad_norm", "held_out_loss"):
        together = dict(first.recorder.all_of(name)) | dict(second.recorder.all_of(name))
        assert together == dict(whole.recorder.all_of(name)), name
    assert torch.equal(second.master(), whole.master())
    if first.saved:
        # The best so far is there again, also where another attempt writes to another folder.
        assert all(torch.equal(v, first.saved[-1][1][name]) for name, v in second.saved[0][1].items())
    assert second.saved[-1][1].keys() == whole.saved[-1][1].keys()
    assert all(torch.equal(value, whole.saved[-1][1][name]) for name, value in second.saved[-1][1].items())
    same = ("best_step", "best_held_out_loss", "first_held_out_loss", "last_loss", "steps", "tokens")
    assert all(getattr(second.result, name) == getattr(whole.result, name) for name in same)


def test_a_stop_between_the_packs_of_a_step_loses_none_of_them(
    tiny_model: Path, examples: list[Example], tmp_path: Path
) -> None:
    options = {"held_out": 0, "max_steps": 2}
    whole = Ran(tiny_model, examples, **options).engine.learned_packs
    first = Ran(tiny_model, examples, Recorder(stop_after=2), states=tmp_path, **options)
    assert (first.result.steps, first.engine.learned_packs) == (0, 2)
    second = Ran(tiny_model, examples, states=tmp_path, **options)
    assert second.engine.learned_packs == whole - 2
    assert second.recorder.resumed_from == 0 and not second.result.notes


def test_a_step_that_is_cut_otherwise_now_starts_again(
    tiny_model: Path, examples: list[Example], tmp_path: Path
) -> None:
    whole = Ran(tiny_model, examples)
    Ran(tiny_model, examples, Recorder(stop_after=2), states=tmp_path)
    engine = row_engine(tiny_model, SETTINGS, pack_tokens=32)
    second = Ran(tiny_model, examples, states=tmp_path, engine=engine)
    torch.testing.assert_close(second.losses, whole.losses, rtol=1e-5, atol=0)


def test_a_run_goes_on_with_packs_of_the_same_size_though_more_would_fit_now(
    tiny_model: Path, examples: list[Example], tmp_path: Path
) -> None:
    whole = Ran(tiny_model, examples)
    Ran(tiny_model, examples, Recorder(stop_after=6), states=tmp_path)
    engine = row_engine(tiny_model, SETTINGS, pack_tokens=256)
    second = Ran(tiny_model, examples, states=tmp_path, engine=engine)
    assert second.losses == whole.losses[-len(second.losses) :]
    assert torch.equal(second.master(), whole.master())


def test_a_run_that_is_not_to_go_on_forgets_what_was_saved(
    tiny_model: Path, examples: list[Example], tmp_path: Path
) -> None:
    Ran(tiny_model, examples, Recorder(stop_after=40), states=tmp_path)
    fresh = Ran(tiny_model, examples, Recorder(stop_after=9), states=tmp_path, resume=False)
    assert fresh.recorder.resumed_from is None and fresh.losses[0][0] == 1
    second = Ran(tiny_model, examples, states=tmp_path)
    assert second.recorder.resumed_from == fresh.result.steps > 0


def test_no_state_is_saved_of_steps_that_gave_no_number(
    tiny_model: Path, examples: list[Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "STATE_SECONDS", 0.0)
    monkeypatch.setattr("jobs.training.states.STATE_SHARE", math.inf)

    class Breaking(RowEngine):
        def learn(self, pack: Any, share: float) -> Tensor:
            losses = super().learn(pack, share)
            return losses * math.nan if self.learned_packs > 12 else losses

    engine = row_engine(tiny_model, SETTINGS)
    engine.__class__ = Breaking
    ran = Ran(tiny_model, examples, engine=engine, states=tmp_path)
    finite = [step for step, loss in ran.losses if math.isfinite(loss)]
    assert ran.result.stopped and ran.result.steps == finite[-1] + 3
    assert [step for step, _, _ in ran.recorder.checkpoints][-1] == finite[-1]
    assert max(tmp_path.iterdir()).name == f"step-{finite[-1]:08d}-000000"
    assert Ran(tiny_model, examples, states=tmp_path).recorder.resumed_from == finite[-1]


def test_states_are_saved_on_the_way_and_a_kill_loses_no_more_than_the_last(
    tiny_model: Path, examples: list[Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "STATE_SECONDS", 0.0)
    monkeypatch.setattr("jobs.training.states.STATE_SHARE", math.inf)

    class Killed(BaseException):
        pass

    class Mortal(RowEngine):
        def learn(self, pack: Any, share: float) -> Tensor:
            if self.learned_packs == 20:
                raise Killed
            return super().learn(pack, share)

    whole = Ran(tiny_model, examples)
    mortal = row_engine(tiny_model, SETTINGS)
    mortal.__class__ = Mortal
    before = Recorder()
    with pytest.raises(Killed):
        Ran(tiny_model, examples, before, states=tmp_path, engine=mortal)
    assert len(list(tmp_path.iterdir())) == 2
    second = Ran(tiny_model, examples, states=tmp_path)
    assert second.losses[0][0] == before.all_of("loss")[-1][0] + 1
    assert second.losses == whole.losses[-len(second.losses) :]


def test_a_state_of_another_run_is_refused(tiny_model: Path, examples: list[Example], tmp_path: Path) -> None:
    Ran(tiny_model, examples, Recorder(stop_after=9), states=tmp_path)
    with pytest.raises(StudioError, match="another run: the settings changed"):
        Ran(tiny_model, examples, states=tmp_path, learning_rate=1e-3)
    with pytest.raises(StudioError, match="another run: the examples changed"):
        Ran(tiny_model, examples[:-1], states=tmp_path)
    with pytest.raises(StudioError, match="another run: the base model's weights changed"):
        Ran(tiny_model, examples, states=tmp_path, base_model={"weights": "other"})
    assert not Ran(tiny_model, examples, states=tmp_path).result.stopped


# -- memory --------------------------------------------------------------------------------------------------


def test_a_step_that_does_not_fit_is_done_again_in_smaller_packs_and_nothing_is_lost(
    tiny_model: Path, examples: list[Example]
) -> None:
    whole = Ran(tiny_model, examples)
    engine = row_engine(tiny_model, SETTINGS, pack_tokens=128, fitting_tokens=64)
    ran = Ran(tiny_model, examples, engine=engine)
    torch.testing.assert_close(ran.losses, whole.losses, rtol=1e-5, atol=0)
    torch.testing.assert_close(ran.master(), whole.master(), rtol=1e-3, atol=1e-5)
    assert ran.result.notes == ["64 tokens at once."] and "64 tokens at once." in ran.recorder.notes
    assert ran.result.tokens == whole.result.tokens


def test_a_step_that_fails_between_its_packs_starts_again(tiny_model: Path, examples: list[Example]) -> None:
    class FailingOnce(RowEngine):
        def learn(self, pack: Any, share: float) -> Tensor:
            losses = super().learn(pack, share)
            if self.learned_packs == 7:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return losses

    engine = row_engine(tiny_model, SETTINGS)
    engine.__class__ = FailingOnce
    whole, ran = Ran(tiny_model, examples), Ran(tiny_model, examples, engine=engine)
    assert len(ran.result.notes) == 1
    torch.testing.assert_close(ran.losses, whole.losses, rtol=1e-5, atol=0)
    torch.testing.assert_close(ran.master(), whole.master(), rtol=1e-3, atol=1e-5)


def test_too_little_memory_for_anything_is_explained(tiny_model: Path, examples: list[Example]) -> None:
    engine = row_engine(tiny_model, SETTINGS, fitting_tokens=4)
    with pytest.raises(StudioError, match="too little memory") as caught:
        Ran(tiny_model, examples, engine=engine)
    assert "tokens_per_step" in caught.value.remedy and "max_tokens" in caught.value.remedy


def test_a_look_that_does_not_fit_is_done_again(tiny_model: Path, examples: list[Example]) -> None:
    class SmallLooks(RowEngine):
        def losses(self, pack: Any, base: bool = False) -> Tensor:
            if pack.real_tokens > 40:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().losses(pack, base)

    engine = row_engine(tiny_model, SETTINGS)
    engine.__class__ = SmallLooks
    whole, ran = Ran(tiny_model, examples), Ran(tiny_model, examples, engine=engine)
    assert ran.result.best_held_out_loss == pytest.approx(whole.result.best_held_out_loss, rel=1e-5)
    assert ran.result.tokens == whole.result.tokens


# -- what stays as it is -------------------------------------------------------------------------------------


def test_the_base_models_weights_never_move(tiny_model: Path, examples: list[Example]) -> None:
    engine = row_engine(tiny_model, SETTINGS)
    frozen = {n: p.detach().clone() for n, p in engine.model.named_parameters() if "lora_" not in n}
    Ran(tiny_model, examples, engine=engine, max_steps=3)
    assert all(torch.equal(engine.model.get_parameter(name), value) for name, value in frozen.items())


def test_a_run_foresees_how_long_it_takes(tiny_model: Path, examples: list[Example]) -> None:
    ran = Ran(tiny_model, examples)
    rehearsal = ran.result.rehearsal
    assert rehearsal and rehearsal.at_step == 4 and len(ran.recorder.forecasts) == 2
    assert ran.recorder.forecasts[-1] == (rehearsal.seconds, rehearsal.peak_bytes)
    assert abs(rehearsal.seconds_error) < 0.5 and abs(rehearsal.peak_error) < 0.5
    stopped = Ran(tiny_model, examples, Recorder(stop_after=32)).result.rehearsal
    assert stopped and stopped.seconds_error is None


def test_masked_out_answers_are_an_error_before_the_start(tiny_model: Path, examples: list[Example]) -> None:
    masked = [dataclasses.replace(e, learned=[False] * len(e.learned)) for e in examples]
    with pytest.raises(StudioError, match="None of the 32 examples"):
        Ran(tiny_model, masked)
