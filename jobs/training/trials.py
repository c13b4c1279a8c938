"""The adapters that one run trains side by side: which still learn, what each was at its best, and who leads."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from jobs.training.checkpoints import Best, TrainingState
from jobs.training.optimizer import AdapterWeights, learning_rate_at
from jobs.training.settings import Trial

BROKEN_STEPS_ALLOWED = 2

Save = Callable[[int, Mapping[str, Tensor]], None]
Seen = Callable[[int, int, Mapping[str, Tensor]], None]


@dataclass(frozen=True)
class TrialResult:
    """How one adapter went; its best is None where it learned nothing, `last_loss` where it was no number."""

    rank: int
    learning_rate: float
    alpha: int
    best_held_out_loss: float | None
    best_step: int | None
    last_loss: float | None


class Trials:
    """Keeps the best of every trial, and saves the best of them all."""

    def __init__(
        self,
        trials: Sequence[Trial],
        weights: AdapterWeights,
        state: TrainingState,
        save: Save,
        seen: Seen | None = None,
    ) -> None:
        """Begin with the adapters of `weights`; what is known of them is kept in `state`.

        Args:
            save: gets (trial, weights by parameter name) of the best of all trials.
            seen: gets (step, trial, weights by parameter name in bf16) after each look: of the leader as it is now,
                which need not be as it was at its best.
        """
        self._trials, self._weights, self._state, self._save = trials, weights, state, save
        self._seen = seen
        state.broken_steps = [0] * len(trials)
        state.last_losses = [None] * len(trials)
        state.best = [Best() for _ in trials]
        self._saved: tuple[int, int | None] | None = None
        # The masters before the last step with finite losses: they are known to give finite ones.
        self._sound, self._sound_step = weights.master.clone(), 0

    def rates(self, step: int, steps: int) -> list[float]:
        """Each trial's learning rate at a step."""
        return [learning_rate_at(step, steps, trial.learning_rate) for trial in self._trials]

    def resumed(self) -> None:
        """Go on with a loaded state."""
        self._sound.copy_(self._weights.master)
        self._sound_step = self._state.steps
        self.save_leader()

    def about_to_move(self, losses: Tensor) -> None:
        """Remember the masters, which gave `losses` (trials,), if these are finite; the device is not waited for."""
        self._sound.lerp_(self._weights.master, losses.isfinite().all().float())

    def moved(self, losses: list[float], norms: Sequence[float]) -> bool:
        """Take in a step's losses and gradient norms. False when no trial learns any more.

        A broken step moves nothing; several in a row mean that no step ever will again.
        """
        state = self._state
        finite = [
            math.isfinite(loss) and math.isfinite(norm) for loss, norm in zip(losses, norms, strict=True)
        ]
        state.last_losses = list(losses)
        state.broken_steps = [
            0 if ok else broken + 1 for ok, broken in zip(finite, state.broken_steps, strict=True)
        ]
        if all(math.isfinite(loss) for loss in losses):
            self._sound_step = state.steps - 1
        return min(state.broken_steps) <= BROKEN_STEPS_ALLOWED

    def looked(self, losses: list[float]) -> None:
        """Take in each trial's loss on the held-out examples after the last step."""
        for trial, (loss, best) in enumerate(zip(losses, self._state.best, strict=True)):
            if math.isfinite(loss) and (best.loss is None or loss < best.loss):
                self._keep(trial, Best(self._state.steps, loss), self._weights.master)
        self.save_leader()
        leader = self.leader()
        if self._seen and leader is not None:
            now = self._weights.master[self._weights.spans[leader]].to("cpu", torch.bfloat16)
            self._seen(self._state.steps, leader, self._weights.named(leader, now))

    def end(self) -> None:
        """Keep what there is of trials that were never looked at, or never with success."""
        state = self._state
        for trial, best in enumerate(state.best):
            if best.step is None and state.steps and not state.broken_steps[trial]:
                self._keep(trial, Best(state.steps), self._weights.master)
            elif best.step is None and self._sound_step:
                self._keep(trial, Best(self._sound_step), self._sound)
        self.save_leader()

    def leader(self) -> int | None:
        """The trial with the lowest loss on held-out examples, else in training; None while none is kept."""
        kept = [trial for trial, best in enumerate(self._state.best) if best.step is not None]

        def loss_of(trial: int) -> tuple[float, float]:
            held_out, training = self._state.best[trial].loss, self._state.last_losses[trial]
            return (
                math.inf if held_out is None else held_out,
                training if training is not None and math.isfinite(training) else math.inf,
            )

        return min(kept, key=loss_of, default=None)

    def save_leader(self) -> None:
        """Save the best adapter of all trials, unless it is saved."""
        trial = self.leader()
        if trial is not None and self._saved != (trial, self._state.best[trial].step):
            self._saved = (trial, self._state.best[trial].step)
            self._save(trial, self._weights.named(trial, self._state.tensors[f"best.{trial}"]))

    def measured(self, **values: Sequence[float]) -> dict[str, float]:
        """Metrics of one step: of the leader under their own names, and with several trials of each (loss.2)."""
        shown = self.leader() or 0
        metrics = {name: numbers[shown] for name, numbers in values.items()}
        if len(self._trials) > 1:
            metrics |= {
                f"{name}.{i}": number for name, all_ in values.items() for i, number in enumerate(all_)
            }
        return metrics

    def results(self) -> list[TrialResult]:
        """How each went."""
        state = self._state
        return [
            TrialResult(
                trial.rank,
                trial.learning_rate,
                trial.alpha,
                best.loss,
                best.step,
                loss if loss is not None and math.isfinite(loss) else None,
            )
            for trial, best, loss in zip(self._trials, state.best, state.last_losses, strict=True)
        ]

    @torch.no_grad()
    def _keep(self, trial: int, best: Best, master: Tensor) -> None:
        """Remember the trial's part of `master` as its best."""
        self._state.best[trial] = best
        self._state.tensors[f"best.{trial}"] = master[self._weights.spans[trial]].to("cpu", copy=True)
