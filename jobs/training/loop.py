"""The training of one adapter, or of several side by side, from the first step to the best checkpoint."""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import torch
from torch import Tensor

from jobs.progress import Progress
from jobs.training.checkpoints import TrainingState, random_state, set_random_state
from jobs.training.examples import Example, token_lengths
from jobs.training.fingerprint import fingerprint
from jobs.training.packing import Pack, plan_run
from jobs.training.rehearsal import Rehearsal, Watch, rehearse
from jobs.training.settings import TrainingSettings, Trial
from jobs.training.states import States
from jobs.training.trials import Save, Seen, TrialResult, Trials
from storage.errors import StudioError

if TYPE_CHECKING:
    from jobs.training.engine import Engine

HELD_OUT_LOOKS = 6
# More rows make the loss no more telling, only later.
HELD_OUT_ROWS = 128
STATE_SECONDS = 60.0  # a state is saved after every look, and after so long without one

T = TypeVar("T")


@dataclass(frozen=True)
class TrainingResult:
    """How a run went; losses are means over supervised tokens, step 0 is the base model.

    `best_step` is None where nothing was trained, and `best_held_out_loss` where nothing was held out; both
    are of `best_trial`, an index of `trials`. `tokens` counts real (not padded) tokens; `seconds` is the wall
    time of the steps without evaluations. `words` say how it computed, `notes` what went otherwise than
    planned.
    """

    best_step: int | None
    best_held_out_loss: float | None
    first_held_out_loss: float | None
    last_loss: float | None
    steps: int
    stopped: bool
    tokens: int
    seconds: float
    trials: list[TrialResult]
    best_trial: int | None
    rehearsal: Rehearsal | None
    words: list[str]
    notes: list[str]

    @property
    def tokens_per_second(self) -> float:
        """Real tokens trained in a second."""
        return self.tokens / self.seconds if self.seconds else 0.0


def train(
    engine: Engine,
    train_examples: Sequence[Example],
    held_out_examples: Sequence[Example],
    settings: TrainingSettings,
    progress: Progress,
    save: Save,
    *,
    trials: Sequence[Trial],
    state_folder: Path | None = None,
    resume: bool = True,
    base_model: Mapping[str, str] | None = None,
    seen: Seen | None = None,
) -> TrainingResult:
    """Train the adapters of `engine` and keep the best state of the best of them.

    Best is what has the lowest held-out loss; without held-out examples, the last state (and of several
    trials the one with the lowest training loss). A stop keeps the best so far.

    Args:
        settings: fitted (see `jobs.training.settings.fitted`).
        save: gets (trial, weights by parameter name) whenever there is a new best of all trials.
        trials: as `jobs.training.settings.trials` gives them, one for each adapter of the engine.
        state_folder: where states are saved from which the run can go on.
        resume: go on from the newest state there, if there is one; else all of them are deleted.
        base_model: hashes of what it is made of, by name; a state of another base model is refused.
        seen: gets (step, trial, weights in bf16) of the leader after each look at the held-out examples.

    Raises:
        StudioError: there is nothing to learn, the loss is no number any more before anything was learned,
            memory runs out, every state in `state_folder` is damaged, or the newest is of another run.
    """
    if not any(example.supervised_tokens for example in train_examples):
        raise StudioError(
            f"None of the {len(train_examples)} examples has an answer to learn.",
            "Raise max_tokens (longest example), or add answers.",
        )
    kept = _Kept(save, seen, state_folder, base_model or {})
    run = _Run(engine, train_examples, held_out_examples, settings, progress, trials, kept)
    run.begin(resume)
    run.learn_everything()
    return run.end()


class _Kept(NamedTuple):
    """What is kept of a run on its way; see `train`."""

    save: Save
    seen: Seen | None
    state_folder: Path | None
    base_model: Mapping[str, str]


class _Run:
    """One training run; all that its rest depends on is in `state` and in the engine's weights."""

    def __init__(
        self,
        engine: Engine,
        train_examples: Sequence[Example],
        held_out_examples: Sequence[Example],
        settings: TrainingSettings,
        progress: Progress,
        trials: Sequence[Trial],
        kept: _Kept,
    ) -> None:
        self.engine, self.weights, self.device = engine, engine.weights, engine.device
        self.examples, self.settings, self.progress = train_examples, settings, progress
        count = min(HELD_OUT_ROWS, len(held_out_examples))
        self.held_out = random.Random(settings.seed).sample(held_out_examples, count)
        lengths = token_lengths(train_examples)
        self.plan = plan_run(
            lengths,
            settings.epochs or 1.0,
            settings.tokens_per_step or sum(lengths),
            settings.max_steps,
            settings.seed,
        )
        self.step_tokens = [sum(lengths[row] for row in rows) for rows in self.plan]
        total, every = len(self.plan), max(1, len(self.plan) // HELD_OUT_LOOKS)
        self.look_steps = {*range(every, total + 1, every), total} if self.held_out else set()
        self.state = TrainingState()
        self.trials = Trials(trials, self.weights, self.state, kept.save, kept.seen)
        self.losses = torch.zeros(len(trials), device=self.device)
        self.packs: tuple[int, list[Pack]] | None = None
        self.notes: list[str] = []
        described = {
            "settings": settings.as_json(),
            "trials": [dataclasses.asdict(trial) for trial in trials],
            "parameters": [{n: list(p.shape) for n, p in names.items()} for names in self.weights.masters],
        }
        run = fingerprint(described, self.plan, train_examples, held_out_examples, kept.base_model)
        self.states = States(kept.state_folder, run, 4 * self.weights.master.nbytes, progress)

    def learn_everything(self) -> None:
        """Every step of the plan, with a look at the held-out examples every now and then."""
        self.progress.phase("Training")
        goes_on = True
        while goes_on:
            if self.held_out and self.state.steps and self.state.first_loss is None:
                goes_on = self.look_at_base()
            elif self.state.steps in self.look_steps and not self.has_looked():
                goes_on = self.look()
                self.save_state()
            elif self.state.steps < len(self.plan):
                goes_on = self.step()
                self.save_state(STATE_SECONDS)
            else:
                return

    def step(self) -> bool:
        """One step: gradients of all its packs, then one move. False when the run ends here."""
        began, state = time.perf_counter(), self.state
        number, tokens = state.steps + 1, self.step_tokens[state.steps]
        supervised = sum(self.examples[row].supervised_tokens for row in self.plan[state.steps])
        # Divided by the supervised tokens of the whole step: every one counts the same, however cut.
        largest_pack = self.with_room(lambda: self.learn(1 / supervised))
        if largest_pack is None:
            return False
        rates = self.trials.rates(number, len(self.plan))
        self.trials.about_to_move(self.losses)
        norms = self.weights.move(rates)
        self.engine.refresh()
        if number < len(self.plan):
            # The next step's, while the device still computes; that step itself will see if they do not fit.
            with suppress(torch.OutOfMemoryError):
                self.packs_of(number)
        # The one place where a step waits for the device.
        losses, grad_norms = torch.stack([self.losses / supervised, norms]).tolist()
        seconds = time.perf_counter() - began
        self.losses.zero_()
        state.steps, state.learned = number, []
        state.tokens, state.seconds = state.tokens + tokens, state.seconds + seconds
        goes_on = self.trials.moved(losses, grad_norms)
        measured = self.trials.measured(loss=losses, learning_rate=rates, grad_norm=grad_norms)
        self.progress.metric(number, **measured, tokens_per_second=tokens / seconds)
        self.foresee(self.watch.step(tokens, seconds, largest_pack, self.engine.pack_tokens))
        return goes_on

    def learn(self, share: float) -> int | None:
        """Add up losses and gradients of the step's packs, but of those that a loaded state has in it.

        Returns the most tokens of a pack; None when a stop was asked for.
        """
        packs = self.packs_of(self.state.steps)
        for pack in packs[len(self.state.learned) :]:
            if self.progress.should_stop():
                return None
            self.losses += self.engine.learn(pack, share)
            self.state.learned.append(list(pack.rows))
        return max(pack.real_tokens for pack in packs)

    def packs_of(self, index: int) -> list[Pack]:
        """The packs of the step at `index` of the plan, cut once."""
        if self.packs is None or self.packs[0] != index:
            self.packs = (index, list(self.engine.packs(self.examples, self.plan[index])))
        return self.packs[1]

    def look_at_base(self) -> bool:
        """The base model's loss, step 0's; after the first step, since nobody waits for it. False at a stop."""
        losses = self.held_out_losses(base=True)
        if losses is None:
            return False
        self.state.first_loss = losses[0]
        self.progress.metric(0, held_out_loss=losses[0])
        return True

    def look(self) -> bool:
        """See how well every trial does on the held-out examples. False when a stop was asked for."""
        losses = self.held_out_losses()
        if losses is None:
            return False
        self.state.held_out.append((self.state.steps, losses))
        self.trials.looked(losses)
        self.progress.metric(self.state.steps, **self.trials.measured(held_out_loss=losses))
        return True

    def has_looked(self) -> bool:
        """Whether the held-out examples have been looked at after the last step."""
        return bool(self.state.held_out) and self.state.held_out[-1][0] == self.state.steps

    def held_out_losses(self, base: bool = False) -> list[float] | None:
        """Each trial's mean loss over the held-out examples; None when a stop was asked for."""
        began = time.perf_counter()
        summed = self.with_room(lambda: self.summed_losses(base))
        if summed is None:
            return None
        losses: list[float] = (summed / sum(example.supervised_tokens for example in self.held_out)).tolist()
        self.watch.look(time.perf_counter() - began)
        return losses

    def summed_losses(self, base: bool) -> Tensor | None:
        """(trials,), over the held-out examples; None when a stop was asked for."""
        summed = torch.zeros(len(self.losses), device=self.device)
        for pack in self.engine.packs(self.held_out, range(len(self.held_out))):
            if self.progress.should_stop():
                return None
            summed += self.engine.losses(pack, base)
        return summed

    def with_room(self, work: Callable[[], T]) -> T:
        """Do `work`; where memory runs out, do it again from its start with less at once."""
        while True:
            try:
                return work()
            except torch.OutOfMemoryError as error:
                shortage = str(error)
            # Out here nothing holds the tensors of the failed work any more.
            self.forget_step()
            words = self.engine.halve()
            if words is None:
                self.progress.log(shortage)
                raise StudioError(
                    "The GPU has too little memory for this run.",
                    f"Set tokens_per_step below {self.settings.tokens_per_step} or max_tokens below"
                    f" {self.settings.max_tokens}, close other programs that use the GPU, or choose a smaller"
                    " base model.",
                )
            self.note(words)

    def forget_step(self) -> None:
        """Back to the start of the step that has begun."""
        self.weights.discard()
        self.losses.zero_()
        self.state.learned, self.packs = [], None

    def begin(self, resume: bool) -> None:
        """Rehearse, and go on from a saved state if there is one."""
        torch.manual_seed(self.settings.seed)
        self.progress.total_steps(len(self.plan))
        if not resume:
            self.states.forget()
        saved = self.states.newest()
        done = saved.steps if saved else 0
        if saved and self.device.type == "cpu":
            # More memory may be free now, but sums of other packs round differently.
            self.engine.pack_tokens = min(self.engine.pack_tokens, saved.pack_tokens)
        looks = sum(step > done for step in self.look_steps) + (bool(self.held_out) and not done)
        look_tokens = sum(len(example.token_ids) for example in self.held_out)
        longest_row = max(token_lengths(self.examples))
        self.watch = Watch(self.step_tokens[done:], look_tokens, looks, longest_row, self.device)
        if self.device.type == "cuda" and done < len(self.plan):
            self.progress.phase("Rehearsing on the longest examples")
            self.tell_how()
            self.foresee(self.watch.rehearsed(self.with_room(lambda: rehearse(self.engine, self.examples))))
        if not self.notes:  # else the way of computing has changed already, and its sentence says how
            self.tell_how()
        if saved:
            self.go_on(saved)

    def tell_how(self) -> None:
        """Say how the engine computes."""
        for words in self.engine.words:
            self.progress.note(words)

    def foresee(self, foreseen: Rehearsal | None) -> None:
        """Report what is foreseen, where that is news."""
        if foreseen:
            self.progress.foreseen(foreseen.seconds, foreseen.peak_bytes, foreseen.tokens_per_second)

    def go_on(self, saved: TrainingState) -> None:
        """Continue as if the run that saved this state had never ended."""
        vars(self.state).update(vars(saved))
        tensors = saved.tensors
        self.state.tensors = {name: value for name, value in tensors.items() if name.startswith("best.")}
        self.weights.load_state(tensors)
        self.losses.copy_(tensors["losses"])
        self.engine.refresh()
        set_random_state(saved, self.device)
        if saved.learned:
            packs = self.packs_of(saved.steps)
            if [list(pack.rows) for pack in packs[: len(saved.learned)]] != saved.learned:
                self.forget_step()  # packs are cut in another way now
        self.trials.resumed()
        self.progress.resumed(saved.steps)

    def save_state(self, after_seconds: float = 0.0) -> None:
        """Save a state from time to time, but none of a run whose last step gave no finite number."""
        if not min(self.state.broken_steps):
            self.states.save(self.whole_state, after_seconds)

    def whole_state(self) -> TrainingState:
        """Everything that the rest of the run depends on."""
        optimizer = self.weights.state()
        if not self.state.learned:
            del optimizer["gradient"]
        tensors, python_random = random_state(self.device)
        tensors |= {**self.state.tensors, **optimizer, "losses": self.losses}
        own = {"pack_tokens": self.engine.pack_tokens, "tensors": tensors, "python_random": python_random}
        return dataclasses.replace(self.state, **own)  # type: ignore[arg-type]

    def note(self, words: str) -> None:
        """Keep a sentence on what went otherwise than planned."""
        self.notes.append(words)
        self.progress.note(words)

    def end(self) -> TrainingResult:
        """Keep the best there is, and say how it went.

        Raises:
            StudioError: nothing was learned before the loss became no number.
        """
        state, stopped = self.state, self.state.steps < len(self.plan)
        self.trials.end()
        trials, leader = self.trials.results(), self.trials.leader()
        broken = min(state.broken_steps)
        if broken:
            words = f"The loss is no number any more since step {state.steps - broken + 1}."
            rates = ", ".join(f"{trial.learning_rate:g}" for trial in trials)
            remedy = f"Lower the learning rate (it was {rates}) and start again."
            if leader is None:
                raise StudioError(words, remedy)
            self.note(f"{words} The adapter of step {trials[leader].best_step} was kept. {remedy}")
        elif stopped and (state.steps or state.learned):
            self.states.save_now(self.whole_state)
        best = None if leader is None else trials[leader]
        rehearsal = self.watch.foreseen if stopped else self.watch.ended()
        return TrainingResult(
            best.best_step if best else None,
            best.best_held_out_loss if best else None,
            state.first_loss,
            trials[leader or 0].last_loss,
            state.steps,
            stopped,
            state.tokens,
            state.seconds,
            trials,
            leader,
            rehearsal,
            list(self.engine.words),
            self.notes,
        )
