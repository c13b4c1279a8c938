from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from jobs.evaluation import scorecard as cards
from jobs.evaluation import study
from jobs.evaluation.rules import KINDS
from storage import adapters, evaluations, files, jobs, plans
from storage.errors import StudioError
from storage.plans import Plan
from studio import train_film
from studio.compare import evidence_folds, rules_view, seen, study_card, verdict_card
from studio.compare.scorecard import Scorecard
from tests.studio.compare import sample_card

Values = dict[Any, Any]


@pytest.fixture
def page(home: Path) -> Iterator[Scorecard]:
    """The card's components, with an adapter that was checked."""
    sample_card.add()
    with gr.Blocks():
        yield Scorecard(gr.Dropdown([]), gr.HTML())


def drawn(page: Scorecard, adapter_id: str | None = "c21e") -> Values:
    return dict(zip([*page.outputs, *page.evidence.check], page.choose(adapter_id), strict=True))


def click(page: Scorecard, **sent: Any) -> Values:
    return page.of_rule(SimpleNamespace(_data=sent), "c21e", None)  # type: ignore[arg-type]


def name_of(words: str) -> str:
    card = cards.of("c21e")
    assert card
    return next(rule["name"] for rule in card["rules"] if rule["words"] == words)


def rule(name: str) -> dict[str, Any]:
    card = cards.of("c21e")
    assert card
    return next(one for one in card["rules"] if one["name"] == name)


def test_without_an_adapter_the_page_says_what_to_do(page: Scorecard) -> None:
    shown = drawn(page, None)
    assert verdict_card.NONE_CHOSEN in shown[page.top.said]
    assert shown[page.top.table] == ""
    adapters.remove("c21e")
    assert verdict_card.NO_ADAPTER in drawn(page, None)[page.top.said]


def test_a_checked_adapter_opens_on_its_verdict_and_its_table(page: Scorecard) -> None:
    shown = drawn(page)
    assert '<strong class="yes">Yes.</strong>' in shown[page.top.said]
    assert "the right fields" in shown[page.top.table] and "on “Tickets”" in shown[page.top.table]
    assert shown[page.top.note] == "" and not shown[page.top.timer].active
    assert shown[page.rules.fold].label == "Rules: 4 count"
    assert "hardly changed" in shown[page.effects.fold].label
    assert shown[page.top.check].value == "Check again"
    assert verdict_card.NEXT["works"] in shown[page.top.table]


def test_a_card_of_an_earlier_version_is_none_and_the_page_says_so(page: Scorecard) -> None:
    stored = evaluations.latest("c21e", "tickets")
    assert stored is not None
    evaluations.replace(stored.id, {**stored.card, "version": 2, "comparisons": [{"side": "few_shot"}]})
    shown = drawn(page)
    assert verdict_card.OF_BEFORE in shown[page.top.said] and shown[page.top.check].interactive


def test_a_strength_that_is_kept_makes_the_card_old_and_is_named(page: Scorecard) -> None:
    adapters.set_strength("c21e", 0.7)
    shown = drawn(page)
    assert "now 0.7×, and these answers were given at 1×" in shown[page.top.note]
    assert "Next:" not in shown[page.top.table], "first it has to be checked again"


def test_an_adapter_without_a_card_says_what_a_check_does_and_which_rules_it_will_count(home: Path) -> None:
    sample_card.add(with_card=False)
    with gr.Blocks():
        page = Scorecard(gr.Dropdown([]), gr.HTML())
    shown = drawn(page)
    assert verdict_card.NOT_MEASURED in shown[page.top.said]
    assert "valid JSON" in shown[page.rules.rules]
    assert shown[page.top.check].interactive


def test_an_adapter_whose_examples_are_gone_keeps_its_card_and_cannot_be_checked(home: Path) -> None:
    old = sample_card.card("old", "gone")
    adapter = {**vars(_adapter("old", "gone"))}
    assert adapter["dataset_id"] == "gone"
    old["asked_about"] |= {"instruction": ""}
    evaluations.add("old", old)
    with gr.Blocks():
        page = Scorecard(gr.Dropdown([]), gr.HTML())
    shown = drawn(page, "old")
    assert "Yes." in shown[page.top.said]
    assert verdict_card.NO_EXAMPLES in shown[page.top.note] and not shown[page.top.check].interactive


def _adapter(id: str, dataset_id: str) -> adapters.Adapter:
    return adapters.add(
        id=id, name=id, job_id=f"job-{id}", dataset_id=dataset_id, base_model_id="starter", rank=8, alpha=16.0,
        target_modules=["q_proj"], parameters=1, size_bytes=1, weights_sha256="", base_weights_sha256="",
        held_out_loss=None, best_step=None, settings={},
    )  # fmt: skip


def test_a_rule_that_is_switched_off_is_counted_no_more_at_once_and_stays_off(page: Scorecard) -> None:
    name = name_of("the right fields")
    shown = click(page, do="off", rule=name)
    assert plans.get("tickets").rules["off"] == [name]
    assert "the right fields" not in shown[page.top.said] + shown[page.top.table]
    assert (
        "switched off" in shown[page.rules.rules] and shown[page.rules.fold].label == "Rules: 3 count, 1 not"
    )
    assert "the right fields" in click(page, do="on", rule=name)[page.top.table]
    assert plans.get("tickets").rules["off"] == []


def test_a_rule_of_ones_own_is_added_edited_and_removed(page: Scorecard) -> None:
    for _ in range(2):  # a double click adds it once
        shown = click(page, do="save", kind="contains", typed={"texts": "topic"})
    added = plans.get("tickets").rules["added"]
    assert len(added) == 1 and "topic" in shown[page.rules.rules] and "yours" in shown[page.rules.rules]
    own = next(one for one in rules_of() if one["rule"]["source"] == "user")
    assert "topic" in click(page, do="edit", rule=own["name"])[page.rules.form]
    click(page, do="save", kind="contains", rule=own["name"], typed={"texts": "urgency"})
    edited = next(one for one in rules_of() if one["rule"]["source"] == "user")
    assert "urgency" in edited["words"] and len(plans.get("tickets").rules["added"]) == 1
    click(page, do="remove", rule=edited["name"])
    assert plans.get("tickets").rules["added"] == []


def rules_of() -> list[dict[str, Any]]:
    return cards.rules_of("c21e")


def test_a_rule_that_makes_no_sense_is_refused_in_words_and_nothing_is_kept(page: Scorecard) -> None:
    with pytest.raises(StudioError, match="empty"):
        click(page, do="save", kind="contains", typed={"texts": "  \n"})
    assert not plans.get("tickets").rules.get("added")


def test_every_kind_of_rule_that_is_offered_has_a_form_with_all_its_fields() -> None:
    for kind in KINDS.values():
        form = rules_view.form(kind, {}, None)
        assert all(f'name="{field.name}"' in form for field in kind.parameters), kind.name
        assert "Add this rule" in form


def test_numbers_are_read_as_people_write_them_and_lines_as_a_list() -> None:
    kind = next(one for one in KINDS.values() if any(field.type == "number" for field in one.parameters))
    numbers = [field.name for field in kind.parameters if field.type == "number"]
    values = rules_view.values_of(kind, dict.fromkeys(numbers, " 12 "))
    assert [values[name] for name in numbers] == [12] * len(numbers)
    lines = next(one for one in KINDS.values() if any(field.type == "lines" for field in one.parameters))
    field = next(field.name for field in lines.parameters if field.type == "lines")
    assert rules_view.values_of(lines, {field: "a\n\n b "})[field] == ["a", "b"]


def test_the_rows_that_fail_are_read_without_drawing_anything_else(page: Scorecard) -> None:
    shown = click(page, do="read", rule=name_of("the right fields"), place=1)
    assert list(shown) == [page.rules.reader]
    assert "2 of 3" in shown[page.rules.reader]
    assert click(page, do="close") == {page.rules.reader: ""}


def test_an_instruction_is_kept_makes_the_card_old_and_goes_back_to_the_rules(page: Scorecard) -> None:
    before = drawn(page)[page.prompting.instruction]
    shown = dict(zip(page.outputs, page.instructed("c21e", None, "Answer as a pirate."), strict=True))
    assert shown[page.prompting.instruction] == "Answer as a pirate."
    assert "The instruction has changed" in shown[page.top.note] and shown[page.prompting.reset].visible
    shown = dict(zip(page.outputs, page.instructed("c21e", None), strict=True))
    assert shown[page.prompting.instruction] == before and shown[page.top.note] == ""


def test_prompts_that_must_not_change_are_kept_one_a_line(page: Scorecard) -> None:
    page.guarded("c21e", None, "Say hello.\n\n  What is 2 + 2?  \n")
    assert plans.get("tickets").must_not_change == ["Say hello.", "What is 2 + 2?"]
    assert drawn(page)[page.effects.prompts] == "Say hello.\nWhat is 2 + 2?"


def test_what_is_being_typed_survives_the_end_of_a_check_and_a_switched_rule(page: Scorecard) -> None:
    for shown in (page.ticked("c21e", None), click(page, do="off", rule=name_of("valid JSON"))):
        assert page.prompting.instruction not in shown and page.effects.prompts not in shown


@pytest.fixture
def running(page: Scorecard, monkeypatch: pytest.MonkeyPatch) -> str:
    """A check that waits, of a model that is there."""
    model = SimpleNamespace(available=True)
    monkeypatch.setattr("jobs.evaluation.submission.catalogue.find", lambda id: model)
    page.begin("c21e", None, 20, [])
    found = cards.running("c21e")
    assert found and found.settings["rows"] == 20
    return found.id


def test_a_check_is_a_job_that_can_be_stopped_and_is_not_queued_twice(page: Scorecard, running: str) -> None:
    shown = page.begin("c21e", None, 20, [])
    assert [job.id for job in jobs.list_all(kind="scorecard")] == [running]
    assert shown[page.top.stop].visible and not shown[page.top.check].visible and shown[page.top.timer].active
    shown = page.end("c21e", None)
    assert jobs.get(running).status == "stopped" and shown[page.top.check].visible
    assert verdict_card.GOES_ON in shown[page.top.note]


def test_while_a_check_runs_only_its_progress_is_drawn(page: Scorecard, running: str) -> None:
    shown = page.ticked("c21e", None)
    assert set(shown) <= set(page.top.drawn)
    assert "queue" in shown[page.top.note]


def test_a_check_with_other_settings_waits_and_the_page_shows_the_one_before_it(
    page: Scorecard, running: str
) -> None:
    shown = page.begin("c21e", None, 40, [])
    now = seen.of("c21e")
    assert now.job and now.job.id == running and now.waiting == 1
    assert "with other settings: 1 more" in shown[page.top.note]


def test_settings_that_nobody_can_read_are_put_aside_with_a_word_and_the_card_stays(page: Scorecard) -> None:
    path = files.dataset_folder("tickets") / plans.PLAN_FILE
    path.write_text("{")
    shown = drawn(page)
    assert "valid JSON" in shown[page.top.table]
    assert f"put aside as {path}.damaged-1" in shown[page.top.note]
    click(page, do="off", rule=name_of("valid JSON"))
    assert "put aside" not in drawn(page)[page.top.note]


def test_a_rule_that_is_none_is_put_aside_as_well(page: Scorecard) -> None:
    plans.put("tickets", Plan(rules={"added": [{"kind": "nosuchkind", "parameters": {}}]}))
    shown = drawn(page)
    assert "valid JSON" in shown[page.top.table] and "put aside as" in shown[page.top.note]


def test_what_was_left_out_and_not_asked_is_on_the_page(home: Path) -> None:
    card = sample_card.add(with_card=False)
    told = {
        "left_out": {"learned": [161], "too_long": []},
        "not_asked": [{"side": "constrained", "why": "Why not."}],
    }
    evaluations.add("c21e", card | told)
    with gr.Blocks():
        page = Scorecard(gr.Dropdown([]), gr.HTML())
    shown = drawn(page)
    assert "1 held-out example that the adapter was trained on" in shown[page.top.table]
    assert "was not asked. Why not." in shown[page.prompting.found]


def test_the_rows_answered_so_far_are_a_table_without_a_verdict(home: Path, monkeypatch: Any) -> None:
    whole = sample_card.add(with_card=False)
    partial = {
        name: whole[name] for name in ("version", "rows", "sides", "answers", "training_answers", "tone")
    }
    monkeypatch.setattr(cards, "partial", lambda *ids: partial | {"rows": 8, "measures": []})
    monkeypatch.setattr(
        "jobs.evaluation.submission.catalogue.find", lambda id: SimpleNamespace(available=True)
    )
    with gr.Blocks():
        page = Scorecard(gr.Dropdown([]), gr.HTML())
    shown = page.begin("c21e", None, 40, [])
    assert verdict_card.BEING_MEASURED in shown[page.top.said]
    assert "So far: 8 examples answered" in shown[page.top.table]
    assert "So far" in page.ticked("c21e", None)[page.top.table]


def test_a_failed_check_says_why_and_what_to_do(page: Scorecard, running: str) -> None:
    job = jobs.claim(set())
    assert job and job.id == running
    jobs.finish(job.id, job.attempt, "failed", error=StudioError("The disk is <full>.", "Make room."))
    note = verdict_card.note(seen.of("c21e"))
    assert "The disk is &lt;full&gt;. Make room." in note and 'role="alert"' in note


def test_other_adapters_of_the_same_base_model_can_be_checked_beside_it(page: Scorecard) -> None:
    _adapter("other", "tickets")
    dataset, others = evidence_folds.offered(seen.of("c21e"))
    assert others.choices == [("other", "other")]
    assert dataset.value == "tickets" and "40 held-out examples" in dataset.choices[0][0]


def test_a_study_shows_its_sentence_its_numbers_and_what_is_expected(
    page: Scorecard, monkeypatch: Any
) -> None:
    monkeypatch.setattr(study, "of", lambda id: sample_card.study())
    said, chart, button = study_card.drawn(seen.of("c21e"))
    assert "Yes, probably" in said and "160 examples" in said
    figure = study_card.figure(sample_card.study())
    assert figure.data[1].line.dash == "dash" and list(figure.data[1].x) == [160, 320]
    assert chart.visible and not button.visible


@pytest.mark.parametrize(("status", "visible"), [("none", True), ("training", False), ("failed", True)])
def test_a_study_can_be_begun_when_none_is_under_way(
    page: Scorecard, monkeypatch: Any, status: str, visible: bool
) -> None:
    found = sample_card.study(status=status, points=[], fit=None, sentence="It says <so>.")
    monkeypatch.setattr(study, "of", lambda id: found)
    said, chart, button = study_card.drawn(seen.of("c21e"))
    assert button.visible is visible and not chart.visible
    assert "<so>" not in said


def test_the_train_page_draws_a_film_only_when_it_has_more_frames(home: Path, monkeypatch: Any) -> None:
    job = jobs.add("training", "run", "cpu")
    monkeypatch.setattr(train_film.film, "of", lambda job: sample_card.film())
    strip, frames, timer = train_film.opened(job.id)
    assert "Step 120" in strip and frames == 12 and timer.active
    assert train_film.looked(job.id, frames)[0] == gr.skip()
    assert train_film.opened(None)[0] == "" == train_film.opened("gone")[0]


def test_the_card_needs_no_heavy_library() -> None:
    heavy = "{'torch', 'transformers', 'sklearn', 'sacrebleu', 'datasets', 'peft'} & set(sys.modules)"
    code = f"import sys; import studio.compare.scorecard; print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_study_says_nothing_twice(page: Scorecard, monkeypatch: Any) -> None:
    words = "With 320 examples the held-out loss would be about 2.63."
    found = sample_card.study(
        sentence=f"Cannot tell. {words}", fit={**sample_card.study()["fit"], "words": words}
    )
    assert study_card.view(found).count(words) == 1
    assert words in study_card.view({**found, "sentence": "Cannot tell."})
