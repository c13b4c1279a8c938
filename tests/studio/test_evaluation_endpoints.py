"""The endpoints about scorecards and rules, as far as they need no model."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.base_models import catalogue
from jobs.datasets import importing
from jobs.evaluation import card, scorecard
from storage import adapters, evaluations, files, jobs, plans
from storage.adapters import Adapter
from storage.errors import StudioError
from studio import evaluation_endpoints as endpoints
from tests.storage.test_adapters import add as add_adapter


@pytest.fixture
def adapter(home: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Adapter]:
    """An adapter of forty examples on the tiny model."""
    monkeypatch.setattr(endpoints, "POLL_SECONDS", 0.02)
    rows = "\n".join(f'{{"prompt": "Row {n}?", "response": "It is {n}."}}' for n in range(40))
    dataset = importing.add_pasted(rows)
    like = add_adapter("like")
    adapters.remove("like")
    base = catalogue.add_custom(str(tiny_model)).id
    values = {**vars(like), "id": "bcdf", "dataset_id": dataset.id, "base_model_id": base}
    yield adapters.add(**values)


def with_card(adapter: Adapter) -> dict[str, Any]:
    """The adapter with a card that holds eight answers."""
    answers = {"base": "I do not know.", "adapted": "It is 7."}
    side = {"label": "", "weights": "", "prompt_tokens_mean": 9.0, "tokens_mean": 4.0}
    made: dict[str, Any] = {
        "version": card.VERSION,
        "adapter_id": adapter.id,
        "dataset_id": adapter.dataset_id,
        "rows": 8,
        "sides": [{"side": name, **side} for name in answers],
        "measures": [],
        "tone": None,
        "answers": [
            {"row": n, "prompt": f"Row {n}?", "wanted": f"It is {n}.", "answers": answers} for n in range(8)
        ],
        "training_answers": [],
    }
    plan = plans.get(adapter.dataset_id)
    made["asked_about"] = card.asked_about(adapter, plan, "")
    evaluations.add(adapter.id, made)
    counted = scorecard.recounted(adapter.id)
    assert counted is not None
    return counted


def ended(**how: Any) -> None:
    """Let the one job that is queued end."""
    while not jobs.count("queued"):
        pass
    job = jobs.claim(set())
    assert job is not None
    jobs.finish(job.id, job.attempt, **how)


def test_a_card_that_still_holds_is_answered_at_once(adapter: Adapter) -> None:
    made = with_card(adapter)
    assert endpoints.card(adapter.id) == made and jobs.list_all() == []


def test_a_card_that_is_being_made_is_waited_for_whatever_its_settings(
    adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = endpoints.start_scorecard(adapter.id, None, {"rows": 8})["job_id"]
    monkeypatch.setattr(endpoints, "MOST_WAITING_SECONDS", 0.1)
    with pytest.raises(StudioError, match="not ready yet"):
        endpoints.card(adapter.id)
    assert [job.id for job in jobs.list_all()] == [begun]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (
            {"status": "failed", "error": StudioError("The rows are empty.", "Add rows.")},
            "The rows are empty",
        ),
        ({"status": "stopped"}, "stopped"),
        ({"status": "finished"}, "gone"),
    ],
)
def test_what_ends_without_a_card_is_said_in_words(adapter: Adapter, how: dict[str, Any], said: str) -> None:
    ending = threading.Thread(target=ended, kwargs=how)
    ending.start()
    with pytest.raises(StudioError, match=said) as refused:
        endpoints.card(adapter.id)
    assert refused.value.remedy
    ending.join()


def test_whoever_waits_too_long_is_told_to_ask_again(
    adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoints, "MOST_WAITING_SECONDS", 0.1)
    with pytest.raises(StudioError, match="not ready yet"):
        endpoints.card(adapter.id)
    (job,) = jobs.list_all()
    assert job.status == "queued", "it goes on by itself"
    assert endpoints.start_scorecard(adapter.id) == {"job_id": job.id}
    assert endpoints.start_scorecard(adapter.id, adapter.dataset_id, {"rows": 40}) == {"job_id": job.id}


def test_rules_are_set_and_the_card_is_counted_again(adapter: Adapter) -> None:
    before = with_card(adapter)
    assert endpoints.rules(adapter.id) == before["rules"]
    own = {"kind": "contains", "parameters": {"texts": ["It is"]}}
    found = endpoints.set_rules(adapter.id, {"rules": {"off": [before["rules"][0]["name"]], "added": [own]}})
    assert found[0]["on"] is False and found[-1]["sides"]["adapted"]["rate"] == 1.0
    after = scorecard.of(adapter.id)
    assert after is not None and after["rules"] == found
    assert plans.get(adapter.dataset_id).rules["added"] == [own]


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ({"rules": {"added": [{"kind": "no such kind"}]}}, "no such kind"),
        ({"rules": {"edited": {"one": 7}}}, "object"),
        ({"rules": {"added": 7}}, "“added”"),
        ({"rules": 7}, "off, added and edited"),
        ({"colour": "red"}, "not a plan"),
        ("everything", "not a plan"),
        (None, "not a plan"),
    ],
)
def test_rules_that_cannot_be_are_refused_and_nothing_changes(adapter: Adapter, plan: Any, said: str) -> None:
    before = plans.get(adapter.dataset_id)
    with pytest.raises(StudioError, match=said):
        endpoints.set_rules(adapter.id, plan)
    assert plans.get(adapter.dataset_id) == before
    assert not (files.dataset_folder(adapter.dataset_id) / plans.PLAN_FILE).exists()


@pytest.mark.parametrize("asked", [endpoints.card, endpoints.rules, endpoints.start_scorecard])
def test_an_unknown_adapter_is_named(home: Path, asked: Any) -> None:
    with pytest.raises(StudioError, match="nosuchid"):
        asked("nosuchid")
