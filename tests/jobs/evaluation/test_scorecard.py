"""A whole scorecard, answered by the real model server, and what becomes of it when rules and plans change."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from jobs import finishing, run_state
from jobs.evaluation import asking, job, scorecard, submission
from jobs.evaluation.held_out import HeldOutRow
from jobs.executors.local import PROJECT_ROOT
from jobs.progress import Progress
from jobs.serving import client
from jobs.serving.schema import SideRequest
from storage import adapters, datasets, evaluations, files, jobs, plans
from storage.errors import StudioError
from storage.plans import Plan
from tests.jobs.serving.parts import ADAPTERS, DATASET_ID, HELD_OUT_ROWS, add_adapter

SIDES = ["base", "instruction", "few_shot", "similar", "constrained", "adapted"]
OF_PROMPTING = SIDES[1:5]


def made(adapter_id: str, progress: Progress | None = None, **settings: Any) -> dict[str, Any]:
    """A card, made in this process by the job's own function and taken in as the worker does."""
    return finished(submission.submit(adapter_id, settings=settings), progress or Progress())


def finished(queued: jobs.Job, progress: Progress) -> dict[str, Any]:
    claimed = jobs.claim(set())
    assert claimed is not None and claimed.id == queued.id
    folder = files.attempt_folder(claimed.id, claimed.attempt)
    folder.mkdir(parents=True)
    spec = {**asdict(claimed), "job_id": claimed.id}
    files.write_json(folder / "result.json", job.run(spec, progress))
    assert finishing.finish(claimed)
    done = jobs.get(claimed.id)
    assert done.status == "finished", done.error_message
    card = scorecard.of(claimed.settings["adapter_id"], claimed.dataset_id)
    assert card is not None
    return card


@pytest.fixture(autouse=True)
def clean(base_model_id: str) -> Iterator[None]:
    """Every test begins without cards to borrow from, and with the plan of a new dataset."""
    yield
    plans.put(DATASET_ID, Plan())
    for one in jobs.list_all():
        jobs.request_stop(one.id)
        asking.forget(files.run_folder(one.id))


def test_a_card_counts_every_rule_for_every_side() -> None:
    card = made(ADAPTERS[0])
    assert (card["version"], card["adapter_id"], card["dataset_id"]) == (3, ADAPTERS[0], DATASET_ID)
    assert (card["rows"], [side["side"] for side in card["sides"]]) == (HELD_OUT_ROWS, SIDES)
    assert len(card["rules"]) >= 3 and card["rules"][0]["name"] == "valid_json"
    for rule in card["rules"]:
        assert rule["words"] and list(rule["sides"]) == SIDES
        for score in rule["sides"].values():
            assert score["rows"] == HELD_OUT_ROWS
            assert 0 <= score["low"] <= score["rate"] == score["passed"] / score["rows"] <= score["high"] <= 1
            assert len(score["failing"]) == HELD_OUT_ROWS - score["passed"]
    by_side = {side["side"]: side for side in card["sides"]}
    for side in ("instruction", "few_shot", "similar"):
        assert by_side[side]["prompt_tokens_mean"] > by_side["base"]["prompt_tokens_mean"]
    assert by_side["base"]["weights"] == by_side["few_shot"]["weights"] != by_side["adapted"]["weights"]
    # Random weights write no JSON, but held to the schema even they begin one.
    assert card["rules"][0]["sides"]["base"]["passed"] == 0
    begun = {row["answers"]["constrained"].lstrip()[:1] for row in card["answers"]}
    assert begun == {"{"}, card["answers"]
    assert [one["side"] for one in card["comparisons"]] == OF_PROMPTING
    assert {one["name"] for one in card["measures"]} >= {"exact_match", "chrf", "held_out_loss"}
    assert card["side_effects"]["prompts"] >= 50 and card["side_effects"]["sentence"]
    assert card["schema"]["properties"]["n"] and card["instruction"] and card["film"] is None
    first = card["answers"][0]
    assert (first["row"], first["prompt"], list(first["answers"])) == (13, "Row 13?", SIDES)
    assert len(card["training_answers"]) == 12 and "verdict" in card
    assert card["left_out"] == {"learned": [], "too_long": []} and card["not_asked"] == []
    assert {side: by_side[side]["examples"] for side in ("few_shot", "similar")} == {
        "few_shot": [3, 3],
        "similar": [3, 3],
    }
    # Random weights end no answer, but for what is held to a form.
    assert by_side["base"]["cut"] == HELD_OUT_ROWS


def test_a_card_lies_in_its_adapters_folder_and_leaves_the_run_folder_small() -> None:
    made(ADAPTERS[0], rows=3, side_effects=False)
    stored = evaluations.latest(ADAPTERS[0])
    assert stored is not None
    kept = files.adapter_folder(ADAPTERS[0]) / "scorecards" / f"{stored.id}.json"
    assert evaluations.Evaluation(**files.read_json(kept)) == stored, "the database can be made again from it"
    newest = scorecard.newest(ADAPTERS[0])
    assert newest is not None and newest.result["verdict"] == stored.card["verdict"]
    left = {path.name for path in files.run_folder(newest.id).rglob("*.json")}
    assert not left & {submission.CARD_FILE, submission.PARTIAL_FILE}
    assert run_state.read(newest.id), "the run folder tells of the job"


def test_few_rows_give_no_verdict_and_sides_are_chosen() -> None:
    card = made(ADAPTERS[0], rows=3, sides=["few_shot", ADAPTERS[1]], side_effects=False)
    assert card["rows"] == 3 and card["verdict"]["code"] == "cannot_tell"
    assert [side["side"] for side in card["sides"]] == ["base", "few_shot", "adapted", ADAPTERS[1]]
    assert card["side_effects"] is None
    # Evenly spread over all that are held out.
    assert [row["row"] for row in card["answers"]] == [13, 16, 19]


def test_the_same_questions_are_answered_from_the_cards_before(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[SideRequest] = []
    real = client.answers

    def counting(base_model_id: str, requests: list[SideRequest], *rest: Any, **more: Any) -> Any:
        asked.extend(requests)
        return real(base_model_id, requests, *rest, **more)

    monkeypatch.setattr(client, "answers", counting)
    first = made(ADAPTERS[0], rows=4)
    before = len(asked)
    assert before >= 4 * len(SIDES)
    again = made(ADAPTERS[0], rows=4)
    assert len(asked) == before and again["answers"] == first["answers"]
    # Another adapter of the same examples: the base model has said all of its part.
    other = made(ADAPTERS[1], rows=4)
    assert all(request.adapters for request in asked[before:]), "only adapters are asked"
    assert other["answers"][0]["answers"]["base"] == first["answers"][0]["answers"]["base"]
    assert other["answers"] != first["answers"]


def test_other_rules_are_counted_without_asking_anybody(monkeypatch: pytest.MonkeyPatch) -> None:
    card = made(ADAPTERS[0], rows=8, side_effects=False)
    monkeypatch.setattr(client, "answers", None)
    own = {"kind": "contains", "parameters": {"texts": ["Row"]}}
    off = card["rules"][0]["name"]
    plans.change(DATASET_ID, instruction=card["instruction"], rules={"off": [off], "added": [own]})
    counted = scorecard.recounted(ADAPTERS[0])
    assert counted is not None and counted == scorecard.of(ADAPTERS[0])
    by_name = {rule["name"]: rule for rule in counted["rules"]}
    assert (by_name[off]["on"], by_name[off]["counts"]) == (False, False)
    assert counted["rules"][-1]["rule"]["source"] == "user" and counted["rules"][-1]["counts"]
    assert len(counted["rules"]) == len(card["rules"]) + 1
    assert (counted["answers"], counted["measures"]) == (card["answers"], card["measures"])
    assert scorecard.is_fresh(counted), "no answer would be another one"
    assert scorecard.rules_of(ADAPTERS[0]) == counted["rules"]
    plans.put(DATASET_ID, Plan())
    assert scorecard.recounted(ADAPTERS[0]) == card, "and back again"


def test_what_changes_the_questions_makes_a_card_old() -> None:
    card = made(ADAPTERS[0], rows=3, side_effects=False)
    assert scorecard.is_fresh(card)
    for part in ({"instruction": "Answer with a number."}, {"must_not_change": ["Who are you?"]}):
        plans.change(DATASET_ID, **part)
        assert not scorecard.is_fresh(card)
        plans.put(DATASET_ID, Plan())
        assert scorecard.is_fresh(card)
    adapters.set_strength(ADAPTERS[0], 0.5)
    assert not scorecard.is_fresh(card)
    assert made(ADAPTERS[0], rows=3, side_effects=False)["asked_about"]["strength"] == 0.5
    adapters.set_strength(ADAPTERS[0], 1.0)


def test_an_instruction_of_ones_own_is_what_the_base_model_is_told() -> None:
    plans.change(DATASET_ID, instruction="Answer with a number.", must_not_change=["Who are you?"])
    card = made(ADAPTERS[0], rows=2, sides=["instruction"])
    assert card["instruction"] == "Answer with a number."
    assert card["side_effects"]["own"]["prompts"] == 1


def test_before_there_is_a_card_its_rules_are_known(tiny_model: Path, base_model_id: str) -> None:
    add_adapter("dptr4444", base_model_id, tiny_model, 4)
    assert scorecard.of("dptr4444") is None and scorecard.recounted("dptr4444") is None
    rules = scorecard.rules_of("dptr4444")
    assert rules[0]["name"] == "valid_json" and rules[0]["holds"] == 1.0
    assert scorecard.of(ADAPTERS[0], "another") is None


def test_a_card_outlives_its_examples(tmp_path: Path) -> None:
    plans.change(DATASET_ID, must_not_change=["Who are you?"])
    card = made(ADAPTERS[0], rows=3, side_effects=False)
    folder = files.dataset_folder(DATASET_ID)
    folder.rename(tmp_path / "away")
    try:
        assert scorecard.of(ADAPTERS[0]) == card == scorecard.recounted(ADAPTERS[0])
        assert scorecard.is_fresh(card) and scorecard.rules_of(ADAPTERS[0]) == card["rules"]
    finally:
        (tmp_path / "away").rename(folder)


def test_the_card_so_far_is_there_to_look_at_and_has_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any] | None] = []

    class Watching(Progress):
        def phase(self, words: str, done: int | None = None, total: int | None = None) -> None:
            assert done is not None and total is not None and done <= total
            seen.append(scorecard.partial(ADAPTERS[0]))

    monkeypatch.setattr(job, "PARTIAL_SECONDS", -1.0)
    monkeypatch.setattr(job, "ROWS_AT_ONCE", 4)
    card = made(ADAPTERS[0], Watching(), side_effects=False)
    rows = [one["rows"] for one in seen if one]
    assert seen[0] is None and rows == sorted(rows) and set(rows) == {4, 8, HELD_OUT_ROWS}
    first = next(one for one in seen if one)
    assert first["verdict"] is None and first["of"] == HELD_OUT_ROWS
    assert first["rules"][0]["sides"]["base"]["rows"] == 4
    assert first["answers"] == card["answers"][:4]
    assert scorecard.partial(ADAPTERS[0]) is None, "there is a whole one now"


def test_rows_that_the_model_cannot_read_are_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from jobs.evaluation import held_out

    folder = job.arms.base_folder(adapters.get(ADAPTERS[0]).base_model_id)
    short = HeldOutRow(1, [{"role": "user", "content": "Row 1?"}], "1")
    long = HeldOutRow(2, [{"role": "user", "content": "Row 2? " * 500}], "2")
    long_answer = HeldOutRow(3, short.messages, "word " * 3000)
    assert held_out.that_fit(folder, [short, long, long_answer], []) == [short]


def test_what_examples_give_no_json_or_no_instruction_for_is_left_out_of_named_sides(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The page names every side when other adapters are to answer too."""
    monkeypatch.setattr(job.arms.schemas, "of", lambda dataset_id: None)
    monkeypatch.setattr(job.arms.plan, "instruction_of", lambda dataset_id, plan_now: "")
    asked = job.arms.arms_of(adapters.get(ADAPTERS[0]), DATASET_ID, 2, [*SIDES, ADAPTERS[1]], Plan())
    assert asked.sides == ("base", "few_shot", "similar", "adapted", ADAPTERS[1])
    # Where answers are no JSON nobody misses that side.
    assert [one["side"] for one in asked.not_asked] == ["instruction"]


def add_examples(id: str, rows: list[tuple[str, str]], held_out: int) -> str:
    """Other examples, (question, answer); the last ones are held out."""
    lines = [
        {
            "row": number,
            "messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": said}],
            "split": "train" if number <= len(rows) - held_out else "held_out",
        }
        for number, (asked, said) in enumerate(rows, start=1)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    files.write_text(files.dataset_folder(id) / "rows.jsonl", text)
    datasets.add(
        id=id, name="Others", source_name="o.jsonl", format="jsonl", columns=["messages"], rows=len(rows),
        train_rows=len(rows) - held_out, held_out_rows=held_out, problems=[], sha256="0" * 64,
    )  # fmt: skip
    return id


def test_a_form_that_no_answer_can_be_held_to_leaves_that_side_out_and_says_so() -> None:
    half = [(f"What is {n}?", json.dumps({"\ud83d": n})) for n in range(15)]
    other = add_examples("dtst5555", half, held_out=3)
    queued = submission.submit(ADAPTERS[0], other, {"rows": 2, "side_effects": False})
    card = finished(queued, Progress())
    assert [side["side"] for side in card["sides"]] == [side for side in SIDES if side != "constrained"]
    (one,) = card["not_asked"]
    assert one["side"] == "constrained" and "cannot be held to this JSON schema" in one["why"]


def test_as_many_examples_as_leave_room_for_the_answer_are_shown_and_counted() -> None:
    training = [(f"Row {n}?" + " x" * 20, f"It is {n}.") for n in range(6)]
    longer = [("word " * count + "?", "It is.") for count in range(5, 105, 5)]

    def arms(id: str, asked: list[tuple[str, str]]) -> job.arms.Arms:
        add_examples(id, [*training, *asked], held_out=len(asked))
        return job.arms.arms_of(adapters.get(ADAPTERS[0]), id, 40, ["base", "few_shot", "adapted"], Plan())

    found = arms("dtst6666", longer)
    shown = [found.asked(["few_shot"], index)[0].examples or 0 for index in range(len(found.rows))]
    assert shown == sorted(shown, reverse=True) and set(shown) == {0, 1, 2, 3}
    assert found.too_long and found.not_asked == []
    alone = arms("dtst7777", longer[len(shown) - 1 : len(shown)])
    assert alone.sides == ("base", "adapted") and "No training example fits" in alone.not_asked[0]["why"]


def test_no_row_is_asked_that_the_adapter_was_trained_on_in_other_examples(base_model_id: str) -> None:
    own = adapters.get(ADAPTERS[0])
    datasets.add(
        id="dtst4444", name="Others", source_name="o.jsonl", format="jsonl", columns=["messages"], rows=2,
        train_rows=0, held_out_rows=2, problems=[], sha256="0" * 64,
    )  # fmt: skip
    turns = [("  row 3", "3"), ("Row 300?", "300")]
    rows = [
        {
            "row": number,
            "messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": said}],
            "split": "held_out",
        }
        for number, (asked, said) in enumerate(turns, start=1)
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    files.write_text(files.dataset_folder("dtst4444") / "rows.jsonl", text)
    asked = job.arms.arms_of(own, "dtst4444", 40, ["base", "adapted"], Plan())
    assert [row.prompt for row in asked.rows] == ["Row 300?"]
    assert (asked.learned, asked.too_long) == ([1], [])
    files.write_text(files.dataset_folder("dtst4444") / "rows.jsonl", json.dumps(rows[0]) + "\n")
    with pytest.raises(StudioError, match="was trained on every held-out example"):
        job.arms.arms_of(own, "dtst4444", 40, ["base", "adapted"], Plan())


def test_rules_that_are_switched_while_a_card_is_made_count_at_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = {"kind": "contains", "parameters": {"texts": ["Row"]}}

    def switching(*_: Any) -> None:
        plans.change(DATASET_ID, rules={"added": [own]})

    monkeypatch.setattr(job.film, "make", switching)
    card = made(ADAPTERS[0], rows=2, sides=["base"], side_effects=False)
    assert card["rules"][-1]["rule"]["source"] == "user" and card["rules"][-1]["counts"]


def test_film_and_learned_rows_are_those_of_the_adapters_own_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = "dtst3333"
    shutil.copytree(files.dataset_folder(DATASET_ID), files.dataset_folder(other))
    datasets.add(
        id=other, name="Numbers", source_name="o.jsonl", format="jsonl", columns=["messages"], rows=22, train_rows=12,
        held_out_rows=10, problems=[], sha256="0" * 64, family=DATASET_ID, version=2,
    )  # fmt: skip
    seen: list[Any] = []
    monkeypatch.setattr(job.film, "make", lambda adapter, *_: seen.append(adapter.dataset_id))
    monkeypatch.setattr(
        job.side_effects, "measure", lambda *given: seen.append([*given[5]]) or {"examples": []}
    )
    monkeypatch.setattr(
        job, "rows_of", lambda dataset_id, split, most: [HeldOutRow(1, [], f"{dataset_id} {split}")]
    )
    settings = {"adapter_id": ADAPTERS[0], "rows": 2, "sides": ["base", "adapted"], "side_effects": True}
    files.attempt_folder("jbxx3333", 1).mkdir(parents=True)
    spec = {"job_id": "jbxx3333", "attempt": 1, "dataset_id": other, "settings": settings}
    assert job.run(spec, Progress())["status"] == "finished"
    assert seen == [[f"{DATASET_ID} train"], DATASET_ID]


def test_one_long_example_does_not_lengthen_every_answer(base_model_id: str) -> None:
    from jobs.evaluation import held_out

    folder = job.arms.base_folder(base_model_id)
    rows = [HeldOutRow(n, [], "x" * 20) for n in range(20)] + [HeldOutRow(20, [], "word " * 3000)]
    limits = held_out.answer_lengths(folder, rows)
    assert len(set(limits[:20])) == 1 and 20 <= limits[0] < 80
    assert limits[20] == held_out.LONGEST_ANSWER_TOKENS


def test_a_stop_is_heard_between_two_tokens(base_model_id: str) -> None:
    class Stopping(Progress):
        def should_stop(self) -> bool:
            return True

    queued = submission.submit(ADAPTERS[1], settings={"rows": 2})
    claimed = jobs.claim(set())
    assert claimed and claimed.id == queued.id
    before = evaluations.latest(ADAPTERS[1])
    spec = {**asdict(claimed), "job_id": claimed.id}
    files.attempt_folder(claimed.id, 1).mkdir(parents=True)
    assert job.run(spec, Stopping()) == {"status": "stopped"}
    assert evaluations.latest(ADAPTERS[1]) == before
    jobs.finish(claimed.id, 1, "stopped")


def test_the_jobs_process_imports_no_torch() -> None:
    script = (
        "import sys, jobs.evaluation.job, jobs.evaluation.scorecard\n"
        "assert not {'torch', 'transformers', 'peft', 'datasets', 'sklearn', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], cwd=PROJECT_ROOT, check=True)


def test_a_dataset_without_held_out_rows_is_refused_in_words() -> None:
    with pytest.raises(StudioError, match="nosuchid"):
        submission.submit("nosuchid")
    with pytest.raises(StudioError, match="nosuchid"):
        submission.submit(ADAPTERS[0], "nosuchid")
