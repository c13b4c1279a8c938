"""Did it work? The scorecards that there are, and the one in the making; free of torch, for the page."""

from __future__ import annotations

from typing import Any

from jobs import adapter_record
from jobs.evaluation import card as cards
from jobs.evaluation import plan
from jobs.evaluation.submission import PARTIAL_FILE, newest, running, under_way
from storage import adapters, evaluations, files
from storage.errors import StudioError
from storage.evaluations import Evaluation

__all__ = [
    "is_fresh", "is_of_before", "newest", "of", "outdated_by", "partial", "recounted", "rules_of", "running",
    "under_way",
]  # fmt: skip


def of(adapter_id: str, dataset_id: str | None = None) -> dict[str, Any] | None:
    """The newest card of an adapter on a dataset, by default its own; None where there is none.

    Raises: StudioError when there is no such adapter.
    """
    stored = _stored(adapter_id, dataset_id)
    return None if stored is None else stored.card


def is_fresh(card: dict[str, Any]) -> bool:
    """Whether the same questions would be asked today, of the same weights; other rules alone need no new answers."""
    return not outdated_by(card)


def outdated_by(card: dict[str, Any]) -> list[str]:
    """What has changed since a card's answers were given, as named by `card.asked_about`.

    Where nothing can be asked any more, because the examples are gone, a card stays what is known.
    """
    if not _has_rows(card["dataset_id"]):
        return []
    adapter = adapters.get(card["adapter_id"])
    now = plan.of(card["dataset_id"])
    about = card["asked_about"]
    instruction = about["instruction"]
    if about["plan"] != {"rules": now.rules, "instruction": now.instruction}:
        instruction = plan.instruction_of(card["dataset_id"], now)
    today = cards.asked_about(adapter, now, instruction)
    return [name for name, value in today.items() if name != "plan" and about.get(name) != value]


def recounted(adapter_id: str, dataset_id: str | None = None) -> dict[str, Any] | None:
    """The newest card counted again by the rules as they are now, and kept; None where there is none.

    Nothing is asked anew: a card holds its answers.
    Raises: StudioError when there is no such adapter.
    """
    # One after the other: of two rules that are switched at once, the later count has to know both.
    with files.locked(f"recount-{adapter_id}"):
        stored = _stored(adapter_id, dataset_id)
        if stored is None:
            return None
        if not _has_rows(stored.card["dataset_id"]):
            return stored.card
        rules_now = plan.rules_of(stored.card["dataset_id"])
        counted = evaluations.replace(stored.id, cards.counted(stored.card, rules_now))
        adapter_record.keep_scorecard(counted)
        return counted.card


def is_of_before(adapter_id: str, dataset_id: str | None = None) -> bool:
    """Whether the newest card is one of an earlier version of the studio, which `of` leaves out."""
    found = evaluations.latest(adapter_id, dataset_id or adapters.get(adapter_id).dataset_id)
    return found is not None and found.card.get("version") != cards.VERSION


def rules_of(adapter_id: str, dataset_id: str | None = None) -> list[dict[str, Any]]:
    """Every rule of a dataset, with what its card says of it where there is one.

    Raises: StudioError when there is no such adapter, or the examples are gone.
    """
    dataset_id = dataset_id or adapters.get(adapter_id).dataset_id
    stored = of(adapter_id, dataset_id)
    if stored is not None and not _has_rows(dataset_id):
        return list(stored["rules"])
    found = plan.rules_of(dataset_id)
    if stored is not None:
        return list(cards.counted(stored, found)["rules"])
    is_on = {rule.name: on for rule, on in found}
    return [
        cards.rule_entry(one, is_on[one.rule.name])
        for one in plan.judged_of(dataset_id, [rule for rule, _ in found])
    ]


def partial(adapter_id: str, dataset_id: str | None = None) -> dict[str, Any] | None:
    """The card in the making as far as it is, without a verdict; None where there is nothing yet."""
    job = running(adapter_id, dataset_id)
    written = [] if job is None else list(files.run_folder(job.id).glob(f"attempt-*/{PARTIAL_FILE}"))
    if not written:
        return None
    try:
        found = files.read_json(max(written, key=lambda path: path.stat().st_mtime))
    except (OSError, StudioError):  # it has just ended
        return None
    return found if isinstance(found, dict) else None


def _stored(adapter_id: str, dataset_id: str | None) -> Evaluation | None:
    found = evaluations.latest(adapter_id, dataset_id or adapters.get(adapter_id).dataset_id)
    # What an older studio measured lacks some of what is shown and asked now.
    return found if found is not None and found.card.get("version") == cards.VERSION else None


def _has_rows(dataset_id: str) -> bool:
    """Whether the examples are still there; an adapter outlives them."""
    return files.dataset_folder(dataset_id).is_dir()
