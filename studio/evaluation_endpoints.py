"""The public contract's part about whether it worked: scorecards, their rules, and the study of more examples."""

from __future__ import annotations

import time
from typing import Any

from jobs import queue
from jobs.evaluation import scorecard, study
from jobs.evaluation.rules import Rule
from storage import adapters, jobs, plans
from storage.errors import StudioError
from storage.jobs import Job

# So long a program waits for its card; the job goes on, and the same call finds it later.
MOST_WAITING_SECONDS = 20 * 60.0
POLL_SECONDS = 0.3
ENDED = ("finished", "failed", "stopped")


def card(adapter_id: str) -> dict[str, Any]:
    """Whether it worked, over the held-out rows: {verdict, sides, rules, measures, …}; measured at the first call."""
    found = scorecard.of(adapter_id)
    if found is not None and scorecard.is_fresh(found):
        return found
    own = adapters.get(adapter_id).dataset_id
    _ended(scorecard.running(adapter_id, own) or queue.submit_scorecard(adapter_id))
    made = scorecard.of(adapter_id)
    if made is None:
        raise StudioError("The scorecard is gone.", "Ask again.")
    return made


def start_scorecard(
    adapter_id: str, dataset_id: str | None = None, settings: dict[str, Any] | None = None
) -> dict[str, str]:
    """Queue a scorecard on any dataset, with settings rows, sides and side_effects: {job_id}."""
    return {"job_id": queue.submit_scorecard(adapter_id, dataset_id or None, settings or {}).id}


def rules(adapter_id: str) -> list[dict[str, Any]]:
    """The rules that an adapter is judged by: [{name, words, on, counts, holds, base_training, why, …}]."""
    return scorecard.rules_of(adapter_id)


def set_rules(adapter_id: str, plan: dict[str, Any]) -> list[dict[str, Any]]:
    """Set rules (off, added, edited), instruction or must_not_change, whichever are named; the rules as then judged."""
    dataset_id = adapters.get(adapter_id).dataset_id
    edits = plan.get("rules") if isinstance(plan, dict) else None
    if isinstance(edits, dict):
        for rule in [*_all(edits.get("added")), *_all(edits.get("edited"))]:
            Rule.from_json(rule)
    plans.put_parts(dataset_id, plan)
    scorecard.recounted(adapter_id)
    return scorecard.rules_of(adapter_id)


def start_study(adapter_id: str) -> dict[str, Any]:
    """Train on a quarter and half of the examples, to see whether more would help: as /study."""
    return study.start(adapter_id)


def study_of(adapter_id: str) -> dict[str, Any]:
    """Whether more examples would help: {status, points, fit, sentence}."""
    return study.of(adapter_id)


def _ended(job: Job) -> None:
    """Wait until a job has finished; raises what ended it otherwise."""
    give_up = time.monotonic() + MOST_WAITING_SECONDS
    while (now := jobs.get(job.id)).status not in ENDED:
        if time.monotonic() > give_up:
            raise StudioError("The scorecard is not ready yet.", "It goes on by itself; ask again later.")
        time.sleep(POLL_SECONDS)
    if now.status == "failed":
        raise StudioError(now.error_message or "The scorecard failed.", now.error_remedy or "Ask again.")
    if now.status == "stopped":
        raise StudioError("The scorecard was stopped.", "Ask again when you like.")


def _all(values: Any) -> list[Any]:
    """What is in a list or an object; of anything else the plan's own check says what is wrong."""
    if isinstance(values, dict):
        return list(values.values())
    return values if isinstance(values, list) else []


FUNCTIONS = {
    "scorecard": card,
    "start_scorecard": start_scorecard,
    "rules": rules,
    "set_rules": set_rules,
    "start_study": start_study,
    "study": study_of,
}
