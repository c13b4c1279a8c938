"""What a curve is called, on curves whose story is known."""

from __future__ import annotations

import math
import random

import pytest

from jobs.evaluation import curve
from storage.metrics import Metric


class _Job:
    """What a curve asks of a run."""

    def __init__(self, total_steps: int, **result: object) -> None:
        self.total_steps, self.result = total_steps, result


def said(
    losses: list[float | None], held_out: dict[int, float | None], total: int | None = None
) -> dict[str, str]:
    metrics = [Metric(step, "loss", value) for step, value in enumerate(losses, 1)]
    metrics += [Metric(step, "held_out_loss", value) for step, value in held_out.items()]
    random.Random(0).shuffle(metrics)  # the base model's loss comes after the first step
    return curve.words(_Job(total or len(losses)), metrics)  # type: ignore[arg-type]


def falling(steps: int, noise: float = 0.0, seed: int = 0) -> list[float | None]:
    """Losses of a run that learns: from 2 to 0.5, each step differing by chance."""
    chance = random.Random(seed)
    return [0.5 + 1.5 * math.exp(-4 * step / steps) + chance.gauss(0, noise) for step in range(steps)]


def level(steps: int, noise: float, seed: int) -> list[float | None]:
    """Losses of a run that learns nothing."""
    chance = random.Random(seed)
    return [1.0 + chance.gauss(0, noise) for _ in range(steps)]


LEVELLED = {0: 2.0, 10: 1.2, 20: 0.9, 30: 0.8, 40: 0.78, 50: 0.775, 60: 0.775}


def test_a_curve_that_levels_off_is_learned() -> None:
    found = said(falling(60), LEVELLED)
    assert found["code"] == "learned"
    assert found["sentence"] == (
        "Learned, then levelled off: held-out loss fell from 2.000 to 0.775, the lowest at step 50."
    )


def test_one_that_still_falls_at_the_end_says_so() -> None:
    found = said(falling(60), {0: 2.0, 10: 1.8, 20: 1.6, 30: 1.45, 40: 1.3, 50: 1.15, 60: 1.0})
    assert found["code"] == "still_learning" and "More passes may help" in found["sentence"]


def test_one_that_rose_a_little_at_the_end_has_levelled_off() -> None:
    looks = {0: 2.0, 10: 1.5, 20: 1.3, 30: 1.2, 40: 1.1, 50: 1.0}
    assert said(falling(60), {**looks, 60: 1.0})["code"] == "still_learning"
    assert said(falling(60), {**looks, 60: 1.02})["code"] == "learned"


def test_looks_that_all_came_late_tell_as_much() -> None:
    assert said(falling(60), {0: 2.0, 50: 1.5, 55: 1.3, 60: 1.0})["code"] == "still_learning"


def test_a_look_that_is_no_number_is_none() -> None:
    assert said(falling(60), {**LEVELLED, 55: None}) == said(falling(60), LEVELLED)


def test_held_out_loss_that_rises_again_is_memorising_and_names_the_step_that_is_kept() -> None:
    found = said(falling(60), {0: 2.0, 10: 1.0, 20: 0.8, 30: 0.9, 40: 1.2, 50: 1.6, 60: 1.9})
    assert found["code"] == "memorising"
    assert "since step 20" in found["sentence"] and "The state of step 20 is kept." in found["sentence"]


def test_a_rise_from_the_first_look_on_is_no_success_of_an_early_step() -> None:
    found = said(falling(60), {0: 1.0, 10: 1.1, 20: 1.4, 30: 1.9, 40: 2.4, 50: 2.5, 60: 2.6})
    assert found["code"] == "memorising" and "from the start" in found["sentence"]


def test_a_rise_within_the_noise_is_none() -> None:
    assert said(falling(60), {**LEVELLED, 60: 0.775 * 1.02})["code"] == "learned"
    assert said(falling(60), {**LEVELLED, 60: 0.775 * 1.05})["code"] == "memorising"


def test_a_held_out_loss_that_hardly_moves_is_flat() -> None:
    assert said([1.0] * 60, {step: 1.0 - step / 10_000 for step in range(0, 61, 10)})["code"] == "flat"


@pytest.mark.parametrize(("steps", "looks"), [(4, 4), (60, 2), (0, 0)])
def test_few_steps_or_looks_tell_nothing(steps: int, looks: int) -> None:
    found = said(falling(steps), {step: 2.0 - step / 10 for step in range(looks + 1)}, total=60)
    assert found["code"] == "too_few" and "Too few steps" in found["sentence"]
    assert ("of 60" in found["sentence"]) is (steps < 60)


def test_without_held_out_examples_nothing_was_tested() -> None:
    found = said(falling(60), {})
    assert found["code"] == "too_few" and "no examples were held out" in found["sentence"]


def test_a_run_that_was_stopped_before_its_first_look_had_examples_held_out() -> None:
    found = said(falling(8), {0: 2.0}, total=60)
    assert found["sentence"] == "Too few steps to tell: 8 of 60 steps with 0 looks at the held-out examples."
    assert "Too few steps" in said(falling(1), {}, total=60)["sentence"], "not even the base model's"


def test_a_loss_that_is_no_number_is_unstable() -> None:
    losses = falling(60)
    losses[31] = None
    found = said(losses, LEVELLED)
    assert found["code"] == "unstable" and "step 32" in found["sentence"]


def test_a_training_loss_that_jumps_is_unstable() -> None:
    losses = falling(30, 0.05) + [3.0 + 0.1 * step for step in range(30)]
    found = said(losses, {0: 2.0, 10: 1.0, 20: 0.8, 30: 0.7, 40: 3.0, 50: 4.0, 60: 5.0})
    assert found["code"] == "unstable" and "jumped at step 31" in found["sentence"]


def test_a_jump_is_held_against_the_lowest_loss_and_not_against_the_first() -> None:
    losses = falling(60)[:45] + [1.4] * 15
    assert said(losses, LEVELLED)["code"] == "unstable"


def test_a_quiet_curve_may_rise_a_little() -> None:
    losses: list[float | None] = [1.0 + 0.002 * step for step in range(60)]
    assert said(losses, LEVELLED)["code"] == "learned"


def test_a_few_wild_steps_do_not_hide_a_jump() -> None:
    losses = [2.0] * 40 + [4.0] * 20
    for step in (5, 12, 19):
        losses[step] = 30.0
    assert said([2.0, *losses], LEVELLED)["code"] == "unstable"


@pytest.mark.parametrize("steps", [20, 60, 400])
def test_chance_alone_is_called_unstable_at_most_once_in_a_hundred_runs(steps: int) -> None:
    def alarms(noise: float) -> int:
        curves = [falling(steps, noise, seed) for seed in range(100)]
        curves += [level(steps, noise, seed) for seed in range(100)]
        return sum(said(losses, LEVELLED)["code"] == "unstable" for losses in curves)

    assert alarms(0.1) <= 2 and alarms(0.3) <= 2


def test_of_several_trials_the_kept_one_is_told_and_not_whoever_led() -> None:
    """The leader changes half-way, at another level of loss: in the leader's own series that would be a jump."""
    job = _Job(60, best_trial=1, trials=[{}, {}])
    assert curve.names_of(job) == ("loss.1", "held_out_loss.1")  # type: ignore[arg-type]
    assert curve.names_of(_Job(60, best_trial=0, trials=[{}])) == curve.NAMES  # type: ignore[arg-type]
    metrics = [Metric(0, "held_out_loss", 3.0)]
    for step in range(1, 61):
        kept = 1.0 + 2.0 * math.exp(-step / 10)
        metrics.append(Metric(step, "loss.1", kept))
        metrics.append(Metric(step, "loss", kept if step > 30 else kept / 4))
        if step % 10 == 0:
            metrics.append(Metric(step, "held_out_loss.1", kept + 0.1))
            metrics.append(Metric(step, "held_out_loss", kept if step > 30 else kept / 4))
    assert curve.words(job, metrics)["code"] == "learned"  # type: ignore[arg-type]
    assert curve.words(_Job(60), metrics)["code"] != "learned"  # type: ignore[arg-type]
