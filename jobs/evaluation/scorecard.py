"""Did it work? Base model, prompting and adapter answer rows that training never saw, and rules count."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean
from typing import Any

from jobs import adapter_record
from jobs.datasets.rows import page_of_rows, some_rows
from jobs.evaluation import rules
from jobs.evaluation.arms import HeldOutRow, Report, answers_of_all_sides, longest_answer
from jobs.evaluation.rules import Rule
from jobs.evaluation.statistics import wilson
from jobs.evaluation.verdict import Passed, verdict
from jobs.serving.schema import NAMED_SIDES, CompareSettings, SideAnswer
from storage import adapters, datasets, evaluations
from storage.adapters import Adapter

EXAMPLES = 10


def scorecard(
    adapter_id: str,
    report: Report | None = None,
    max_rows: int = 40,
    force: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """The adapter's card, answered now or, unless `force`, as it was stored for the same rows and weights.

    Raises: StudioError when the adapter, its dataset or its base model is missing, or the computer is busy.
    """
    adapter = adapters.get(adapter_id)
    page = page_of_rows(adapter.dataset_id, 0, max_rows, split="held_out")
    rows = [HeldOutRow.of(row) for row in page.rows]
    asked_about = {
        "dataset_sha256": datasets.get(adapter.dataset_id).sha256,
        "weights_sha256": adapter.weights_sha256,
        "row_numbers": [row.row for row in rows],
    }
    stored = evaluations.latest(adapter_id)
    if stored is not None and not force and stored.card.get("asked_about") == asked_about:
        return stored.card
    card = _card(adapter, rows, report or _silent, should_stop) | {"asked_about": asked_about}
    adapter_record.keep_scorecard(evaluations.add(adapter_id, card))
    return card


def _card(
    adapter: Adapter, rows: list[HeldOutRow], report: Report, should_stop: Callable[[], bool]
) -> dict[str, Any]:
    training = [
        HeldOutRow.of(row).reference for row in some_rows(adapter.dataset_id, "train", rules.MOST_MINED)
    ]
    references = [row.reference for row in rows]
    counting = rules.that_hold(rules.mine(training), references)
    answered: list[dict[str, SideAnswer]] = []
    if rows:
        settings = CompareSettings(max_new_tokens=longest_answer(adapter, references))
        answered = answers_of_all_sides(adapter, rows, settings, report, should_stop)
    passed: Passed = {
        side: [
            [rule.passes(answers[side]["text"], row.reference) for rule in counting]
            for row, answers in zip(rows, answered, strict=True)
        ]
        for side in NAMED_SIDES
    }
    sides = [_side(side, [answers[side] for answers in answered]) for side in NAMED_SIDES] if rows else []
    prompt_tokens = {side["side"]: side["prompt_tokens_mean"] for side in sides}
    tokens_saved = prompt_tokens["few_shot"] - prompt_tokens["adapted"] if rows else 0.0
    return {
        "adapter_id": adapter.id,
        "dataset_id": adapter.dataset_id,
        "rows": len(rows),
        "verdict": verdict(passed, counting, tokens_saved).as_json(),
        "sides": sides,
        "rules": [_rule(rule, index, passed) for index, rule in enumerate(counting)],
        "examples": [_example(row, answers) for row, answers in zip(rows, answered, strict=True)][:EXAMPLES],
    }


def _side(side: str, answers: list[SideAnswer]) -> dict[str, Any]:
    return {
        "side": side,
        "label": answers[0]["label"],
        "weights": answers[0]["weights"],
        "prompt_tokens_mean": fmean(answer["prompt_tokens"] for answer in answers),
        "tokens_mean": fmean(answer["tokens"] for answer in answers),
    }


def _rule(rule: Rule, index: int, passed: Passed) -> dict[str, Any]:
    sides = {}
    for side, rows in passed.items():
        count = sum(row[index] for row in rows)
        rate = wilson(count, len(rows))
        sides[side] = {
            "passed": count,
            "rows": len(rows),
            "rate": rate.value,
            "low": rate.low,
            "high": rate.high,
        }
    return {"name": rule.name, "words": rule.words, "sides": sides}


def _example(row: HeldOutRow, answers: dict[str, SideAnswer]) -> dict[str, Any]:
    return {
        "row": row.row,
        "prompt": row.messages[-1]["content"] if row.messages else "",
        "wanted": row.reference,
        "answers": {side: answer["text"] for side, answer in answers.items()},
    }


def _silent(words: str, done: int | None, total: int | None) -> None:
    """Report to nobody."""
