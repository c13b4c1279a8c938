"""The job of kind "scorecard": one adapter judged on one dataset, through the model server; no torch in here."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs.evaluation import arms, asking, card, curve, film, plan, side_effects
from jobs.evaluation.arms import Arms
from jobs.evaluation.asking import Asking, Stopped
from jobs.evaluation.card import Card
from jobs.evaluation.held_out import HeldOutRow, Messages, rows_of
from jobs.evaluation.rules import MOST_MINED
from jobs.evaluation.submission import CARD_FILE, KIND, PARTIAL_FILE
from jobs.evaluation.unrelated_prompts import PROMPTS
from jobs.progress import Progress
from jobs.serving import side_names
from jobs.serving.context import fits
from jobs.serving.schema import SideAnswer, SideRequest
from jobs.serving.sides import behind
from storage import adapters, database, files, jobs, metrics, rebuilding
from storage.errors import StudioError
from storage.jobs import Job

# Rows that are answered before the card so far is written, if it has not been for so long.
ROWS_AT_ONCE = 8
PARTIAL_SECONDS = 10.0
# Answers of so many other scorecards are looked through: mostly the base model's own on the same examples.
EARLIER_RUNS = 5
# Of one unrelated prompt: the base model's answer, the adapter's, and how likely the first is with the adapter.
QUESTIONS_OF_A_PROMPT = 3


def run(spec: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Make the card that `spec` (job.json) asks for; it lies in the attempt's folder when this returns."""
    if rebuilding.is_missing():
        raise StudioError("The studio's database is gone.", "Open the studio, then check again.")
    database.connect()
    try:
        made = _Making(spec, progress).card()
    except StudioError as error:
        if isinstance(error, Stopped) or progress.should_stop():
            return {"status": "stopped"}
        raise
    forget_old(spec["job_id"])
    files.write_json(files.attempt_folder(spec["job_id"], spec["attempt"]) / CARD_FILE, made)
    return {"status": "finished", "card": CARD_FILE, "verdict": made["verdict"]}


class _Making:
    """One card in the making."""

    def __init__(self, spec: Mapping[str, Any], progress: Progress) -> None:
        self._began = time.monotonic()
        self._progress = progress
        self._folder = files.attempt_folder(spec["job_id"], spec["attempt"])
        self._settings = spec["settings"]
        self._dataset_id: str = spec["dataset_id"]
        self._adapter = adapters.get(self._settings["adapter_id"])
        self._plan = plan.of(self._dataset_id)
        self._asking = Asking(
            self._adapter.base_model_id,
            self._adapter.base_weights_sha256,
            files.run_folder(spec["job_id"]),
            spec["attempt"],
            progress,
            earlier_runs(spec["job_id"], self._adapter.base_model_id),
        )
        self._words = ""
        self._written = 0.0

    def card(self) -> Card:
        """Ask everything, and count."""
        asked = arms.arms_of(
            self._adapter, self._dataset_id, self._settings["rows"], self._settings["sides"], self._plan
        )
        self._asking.expect(self._questions(asked))
        training = self._training(asked)
        answered, examples = self._held_out(asked, training)
        likely = self._likelihoods(asked)
        made = self._head(asked) | card.measured(asked.rows, answered, training, likely, examples)
        made = card.counted(made, plan.rules_of(self._dataset_id, self._plan))
        made["side_effects"] = self._side_effects(asked, made)
        made["curve"] = self._curve()
        # Of the adapter's own run, whatever examples it is judged by.
        made["film"] = film.make(
            self._adapter, self._ask, self._report, self._progress.should_stop, self._reads
        )
        self._asking.tell("Counting")
        # By the rules as they are now: the user may have switched some meanwhile.
        made = card.counted(made, plan.rules_of(self._dataset_id))
        return made | {"created_at": time.time(), "seconds": time.monotonic() - self._began}

    def _questions(self, asked: Arms) -> int:
        """About how many questions there will be."""
        unrelated = len(PROMPTS) + len(self._plan.must_not_change) if self._settings["side_effects"] else 0
        rows = len(asked.rows) * (len(asked.sides) + len(_weights_of(asked)))
        return len(asked.training) + rows + QUESTIONS_OF_A_PROMPT * unrelated

    def _training(self, asked: Arms) -> list[tuple[HeldOutRow, str]]:
        """Training rows with what the base model answers, which no counted row has a part in."""
        requests = [asked.training_request(index) for index in range(len(asked.training))]
        answers = self._asking.answers("Asking the base model for its own habits", requests)
        return [(row, answer["text"]) for row, answer in zip(asked.training, answers, strict=True)]

    def _held_out(
        self, asked: Arms, training: list[tuple[HeldOutRow, str]]
    ) -> tuple[dict[str, list[SideAnswer]], dict[str, list[int]]]:
        """Every side's answers, row by row, and how many examples stood before the questions of those shown some."""
        answered: dict[str, list[SideAnswer]] = {side: [] for side in asked.sides}
        examples: dict[str, list[int]] = {side: [] for side in asked.sides if side in side_names.SHOWN_SIDES}
        for start in range(0, len(asked.rows), ROWS_AT_ONCE):
            places = range(start, min(start + ROWS_AT_ONCE, len(asked.rows)))
            requests = [request for index in places for request in asked.requests(index)]
            for answer in self._asking.answers("Answering held-out examples", requests):
                answered[answer["side"]].append(answer)
            for request in requests:
                if request.examples is not None:
                    examples[request.side].append(request.examples)
            self._write_partial(asked, answered, training, examples)
        return answered, examples

    def _write_partial(
        self,
        asked: Arms,
        answered: dict[str, list[SideAnswer]],
        training: list[tuple[HeldOutRow, str]],
        examples: dict[str, list[int]],
    ) -> None:
        """The card so far, for whoever looks: what rules count, without a verdict."""
        if time.monotonic() - self._written < PARTIAL_SECONDS:
            return
        done = asked.rows[: len(answered[side_names.BASE])]
        so_far = self._head(asked) | card.so_far(done, answered, training, examples)
        counted = card.counted(so_far, plan.rules_of(self._dataset_id, self._plan))
        files.write_json(
            self._folder / PARTIAL_FILE,
            counted | {"verdict": None, "comparisons": [], "of": len(asked.rows)},
        )
        self._written = time.monotonic()

    def _likelihoods(self, asked: Arms) -> dict[str, list[dict[str, float]]]:
        """How likely the wanted answers are for the base model and every adapter."""
        found = {}
        for side, weights in _weights_of(asked).items():
            continuations = [
                {"adapters": weights, "messages": asked.messages(index), "answer": row.reference}
                for index, row in enumerate(asked.rows)
            ]
            likely = self._asking.likelihoods("Measuring the held-out loss", continuations)
            found[side] = [{"nats": one["nats"], "tokens": one["tokens"]} for one in likely]
        return found

    def _side_effects(self, asked: Arms, made: Card) -> dict[str, Any] | None:
        if not self._settings["side_effects"]:
            return None
        by_name = {rule.name: rule for rule, _ in plan.rules_of(self._dataset_id, self._plan)}
        training = (row.reference for row in self._learned_from())
        return side_effects.measure(
            asked.adapter,
            self._ask,
            self._likely,
            self._readable(asked),
            [by_name[entry["name"]] for entry in made["rules"] if entry["counts"]],
            training,
            self._report,
            self._progress.should_stop,
        )

    def _readable(self, asked: Arms) -> list[str]:
        """The user's own prompts that the base model can read; a too long one must not end the whole check."""
        turns = {text: [{"role": "user", "content": text}] for text in self._plan.must_not_change}
        return [text for text, said in turns.items() if self._reads(behind(said, asked.system))]

    def _reads(self, messages: Messages) -> bool:
        return fits(self._adapter.base_model_id, messages)

    def _learned_from(self) -> list[HeldOutRow]:
        """What the adapter was trained on, whatever examples it is judged by; none when those are gone."""
        try:
            return rows_of(self._adapter.dataset_id, "train", MOST_MINED)
        except StudioError:
            return []

    def _curve(self) -> dict[str, Any] | None:
        """Words on how the training went; None when its run has been deleted."""
        try:
            job = jobs.get(self._adapter.job_id)
        except StudioError:
            return None
        return curve.words(job, metrics.since(job.id, -1, {*curve.NAMES, *curve.names_of(job)}))

    def _head(self, asked: Arms) -> Card:
        return {
            "adapter_id": self._adapter.id,
            "dataset_id": self._dataset_id,
            "base_model_id": self._adapter.base_model_id,
            "created_at": time.time(),
            "instruction": asked.instruction,
            "schema": asked.schema,
            "left_out": {"learned": asked.learned, "too_long": asked.too_long},
            "not_asked": asked.not_asked,
            "asked_about": card.asked_about(self._adapter, self._plan, asked.instruction),
        }

    def _ask(self, requests: list[SideRequest], max_new_tokens: int) -> list[SideAnswer]:
        return self._asking.answers(self._words, requests, max_new_tokens)

    def _likely(self, continuations: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [dict(one) for one in self._asking.likelihoods(self._words, continuations)]

    def _report(self, words: str, done: int | None, total: int | None) -> None:
        """What a part of the card says of itself; what counts for the job are the questions of all parts."""
        self._words = words
        self._asking.tell(words)


def earlier_runs(job_id: str, base_model_id: str) -> list[Path]:
    """The run folders of the newest other scorecards on the same base model, the newest last."""
    others = [job for job in _others(job_id) if job.base_model_id == base_model_id]
    return [files.run_folder(job.id) for job in reversed(others[:EARLIER_RUNS])]


def forget_old(job_id: str) -> None:
    """Delete the answers of scorecards that are done and so old that no other one looks there."""
    seen: Counter[str | None] = Counter()
    for job in _others(job_id):
        seen[job.base_model_id] += 1
        if job.status == "finished" and seen[job.base_model_id] > EARLIER_RUNS:
            asking.forget(files.run_folder(job.id))


def _others(job_id: str) -> list[Job]:
    return [job for job in jobs.list_all(kind=KIND, limit=10_000) if job.id != job_id]


def _weights_of(asked: Arms) -> dict[str, dict[str, float]]:
    """The sides whose own weights tell how likely an answer is, with those weights."""
    own = [side for side in asked.sides if side not in side_names.PROMPTED_SIDES]
    requests = {request.side: request for request in asked.requests(0)}
    return {side: requests[side].adapters for side in own}
