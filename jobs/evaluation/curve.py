"""A run's curve in words: is it still learning, has it begun to memorise, or is there too little to tell?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from statistics import fmean, median

from storage.jobs import Job
from storage.metrics import Metric

# What of a run's metrics is read here.
NAMES = ("loss", "held_out_loss")
FEWEST_STEPS, FEWEST_LOOKS = 6, 3
# The live picture of a run (studio/assets/live.js) calls it so from the same shares on.
MEMORISES_FROM, LEARNS_FROM = 1.03, 0.98
# Falling by more in its last third, it has not come to its end: although steps are small there by plan.
FALLS_BY = 0.03
# A jump is higher than this share of the first losses, and than so many times what one step differs from the next.
JUMP, NOISE = 0.35, 8.0
SHORTEST_WINDOW, WINDOWS = 3, 20

Points = Sequence[tuple[int, float]]


@dataclass(frozen=True)
class Curve:
    """What a curve says; `code` is too_few, unstable, memorising, still_learning, flat or learned."""

    code: str
    sentence: str


def names_of(job: Job) -> tuple[str, str]:
    """The two metrics that a run's words are made of: of several trials those of the best one alone.

    Under their plain names a run reports whoever leads, and a change of leaders would look like a jump.
    """
    best = job.result.get("best_trial")
    several = best is not None and len(job.result.get("trials") or ()) > 1
    loss, held_out_loss = (f"{name}.{best}" if several else name for name in NAMES)
    return loss, held_out_loss


def words(job: Job, metrics: Sequence[Metric]) -> dict[str, str]:
    """{"code", "sentence"} of a run, from its metrics of the names that `names_of` gives."""
    loss, held_out_loss = names_of(job)
    losses = [(metric.step, metric.value) for metric in metrics if metric.name == loss]
    # The base model's own is reported once for all.
    both = {held_out_loss, NAMES[1]}
    held_out = [
        (metric.step, metric.value)
        for metric in metrics
        if metric.name in both and (metric.name == held_out_loss or metric.step == 0)
    ]
    looks = sorted((step, value) for step, value in held_out if value is not None)
    return asdict(_of(sorted(losses, key=lambda point: point[0]), looks, job.total_steps))


def _of(losses: Sequence[tuple[int, float | None]], looks: Points, total_steps: int) -> Curve:
    broken = [step for step, value in losses if value is None]
    if broken:
        return Curve(
            "unstable",
            f"Unstable: the loss was no number any more at step {broken[0]}. Lower the learning rate.",
        )
    jump = _jump([(step, value) for step, value in losses if value is not None])
    if jump is not None:
        return Curve(
            "unstable", f"Unstable: the training loss jumped at step {jump}. Lower the learning rate."
        )
    after = [(step, value) for step, value in looks if step > 0]
    if len(losses) < FEWEST_STEPS or len(after) < FEWEST_LOOKS:
        return _too_few(len(losses), len(after), total_steps, was_tested=bool(looks))
    return _of_held_out(dict(looks).get(0, after[0][1]), after)


def _of_held_out(base: float, after: Points) -> Curve:
    """What the held-out losses say after the base model's own."""
    (best_step, best), (last_step, last) = min(after, key=lambda point: point[1]), after[-1]
    if last > best * MEMORISES_FROM:
        if best >= base:
            return Curve(
                "memorising",
                f"It memorised from the start: held-out loss rose from {base:.3f} to {last:.3f}. Train for"
                " fewer passes, at a lower learning rate, or with more examples.",
            )
        return Curve(
            "memorising",
            f"Memorising since step {best_step}: held-out loss fell to {best:.3f} there and then rose to {last:.3f}."
            f" The state of step {best_step} is kept.",
        )
    if best > base * LEARNS_FROM:
        return Curve(
            "flat",
            f"Hardly learned: held-out loss went from {base:.3f} to {best:.3f} only. Train for longer, raise the"
            " learning rate, or check whether the examples have something in common.",
        )
    before = [value for step, value in after if step <= last_step * 2 / 3] or [after[0][1]]
    if last <= best * 1.005 and before[-1] > last * (1 + FALLS_BY):
        return Curve(
            "still_learning",
            f"Still learning at the end: held-out loss fell from {base:.3f} to {last:.3f}, and had not levelled off."
            " More passes may help.",
        )
    return Curve(
        "learned",
        f"Learned, then levelled off: held-out loss fell from {base:.3f} to {best:.3f}, the lowest at step"
        f" {best_step}.",
    )


def _too_few(steps: int, looks: int, total_steps: int, was_tested: bool) -> Curve:
    # The base model is looked at after the first step: a run that was stopped early may have done no more.
    if steps >= FEWEST_STEPS and not was_tested:
        return Curve(
            "too_few", "Too little to tell: no examples were held out, so nothing was tested on the way."
        )
    of = f" of {total_steps}" if total_steps > steps else ""
    return Curve(
        "too_few",
        f"Too few steps to tell: {steps}{of} {'step' if steps == 1 else 'steps'} with {looks}"
        f" {'look' if looks == 1 else 'looks'} at the held-out examples.",
    )


def _jump(losses: Points) -> int | None:
    """The step at which the training loss, smoothed, is far above what it had been; None where it never is."""
    size = max(SHORTEST_WINDOW, len(losses) // WINDOWS)
    if len(losses) < 4 * size:
        return None
    windows = [losses[start : start + size] for start in range(0, len(losses) - size + 1, size)]
    means = [fmean(value for _, value in window) for window in windows]
    # The median takes no notice of the jumps themselves.
    differences = [abs(after[1] - before[1]) for before, after in pairwise(losses)]
    noise = median(differences) / size**0.5
    lowest = means[0]
    for window, mean in zip(windows, means, strict=True):
        if mean - lowest > max(JUMP * means[0], NOISE * noise):
            return window[0][0]
        lowest = min(lowest, mean)
    return None
