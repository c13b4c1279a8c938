from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from jobs import gpu
from jobs.evaluation.arms import HeldOutRow
from jobs.serving import client, waiting
from jobs.serving.schema import SideAnswer
from storage import adapters
from storage.adapters import Adapter
from storage.errors import StudioError
from studio.tabs import compare

TAB: Any = SimpleNamespace(session_hash="one tab")
ROWS = [
    HeldOutRow(3, [{"role": "user", "content": "first"}], "one"),
    HeldOutRow(7, [{"role": "user", "content": "second"}], "two"),
]


def add_adapter(id: str, job_id: str = "run1") -> Adapter:
    return adapters.add(
        id=id, name=id, job_id=job_id, dataset_id="gone", base_model_id="starter", rank=8, alpha=16.0,
        target_modules=["q_proj"], parameters=1, size_bytes=1, weights_sha256="", base_weights_sha256="",
        held_out_loss=None, best_step=None, settings={},
    )  # fmt: skip


class Model:
    """Stands in for the model server: two snapshots of one word each, a refusal, or one that ends in the middle."""

    def __init__(self, refusal: StudioError | None = None) -> None:
        self.refusal, self.asked, self.closed = refusal, [], False  # type: ignore[var-annotated]
        self.interruption: StudioError | None = None

    def compare(self, adapter_id: str, messages: Any, settings: Any) -> Iterator[list[SideAnswer]]:
        self.asked.append((messages, settings))
        try:
            if self.refusal:
                raise self.refusal
            for text in ("a", "ab"):
                yield [
                    SideAnswer(
                        side=side, label=side, text=text, tokens=1, prompt_tokens=1, weights="3f9a", seconds=1.0,
                        done=text == "ab", finish_reason="stop",
                    )
                    for side in settings.sides
                ]  # fmt: skip
                interruption, self.interruption = self.interruption, None
                if interruption:
                    raise interruption
        finally:
            self.closed = True


@pytest.fixture
def model(home: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    stand_in = Model()
    monkeypatch.setattr(client, "compare", stand_in.compare)
    monkeypatch.setattr(compare, "material_of", lambda adapter: (ROWS, []))
    add_adapter("c21e")
    return stand_in


def ask(
    prompt: str, position: int | None = None, with_examples: bool = True, values: Any = ("",) * 5
) -> list[Any]:
    return list(compare.ask(TAB, "c21e", prompt, with_examples, position, *values))


def test_the_address_chooses_the_adapter_else_the_newest(home: Path) -> None:
    old, new = add_adapter("old"), add_adapter("new", job_id="run2")
    made = adapters.list_all()
    assert compare.asked_for(None, "old", made) == old
    assert compare.asked_for("run1", None, made) == old
    assert compare.asked_for(None, None, made) == new
    assert compare.asked_for("unknown", None, made) == new
    assert compare.asked_for(None, None, []) is None


def test_words_stand_there_before_the_model_answers(model: Model) -> None:
    answers = compare.ask(TAB, "c21e", "hello", True, None, *[""] * 5)
    assert "Loading the model" in next(answers)[0]
    assert model.asked == []


def test_leaving_closes_the_answers(model: Model) -> None:
    answers = compare.ask(TAB, "c21e", "hello", True, None, *[""] * 5)
    next(answers)
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    assert model.closed


def test_stop_ends_the_question_of_its_own_tab_and_a_new_question_the_one_before(model: Model) -> None:
    other = compare.ask(SimpleNamespace(session_hash="another tab"), "c21e", "hello", True, None, *[""] * 5)  # type: ignore[arg-type]
    first = compare.ask(TAB, "c21e", "hello", True, None, *[""] * 5)
    assert next(first) and next(first)
    second = compare.ask(TAB, "c21e", "hello again", True, None, *[""] * 5)
    assert next(second)
    assert list(first) == []
    assert model.closed
    assert "Stopped before the answer." in compare.stop(TAB, [])[0]
    assert list(second) == []
    assert len(list(other)) == 4
    assert compare._open == {}


def test_the_third_side_is_asked_only_on_request(model: Model) -> None:
    ask("hello", with_examples=False)
    ask("hello", with_examples=True)
    assert [settings.sides for _, settings in model.asked] == [
        ("base", "adapted"),
        ("base", "few_shot", "adapted"),
    ]


def test_a_held_out_example_is_asked_as_its_whole_conversation(model: Model) -> None:
    ask("second", position=1)
    assert model.asked[0][0] == ROWS[1].messages


def test_a_changed_prompt_is_no_longer_the_held_out_example(model: Model) -> None:
    shown = ask("second, but different", position=1)
    assert model.asked[0][0] == "second, but different"
    assert shown[-1][1] == ""


def test_a_refusal_takes_the_place_of_the_answers(model: Model) -> None:
    model.refusal = StudioError("The computer is busy.", "Wait.")
    columns, _, so_far, stop = ask("hello")[-1]
    assert "The computer is busy. Wait." in columns
    assert so_far == []
    assert stop["interactive"] is False


def test_a_setting_out_of_range_is_named(model: Model) -> None:
    assert "temperature" in ask("hello", values=("9", "", "", "", ""))[-1][0]
    assert model.asked == []


def test_examples_go_around_at_both_ends(model: Model) -> None:
    assert compare.step("c21e", None, +1)[:2] == ("first", 0)
    assert compare.step("c21e", None, -1)[:2] == ("second", 1)
    assert compare.step("c21e", 1, +1)[:2] == ("first", 0)
    assert "held-out 2 of 2" in compare.step("c21e", 0, +1)[2]


def test_a_deleted_dataset_takes_the_examples_but_not_the_page(home: Path) -> None:
    adapter = add_adapter("c21e")
    assert compare.material_of(adapter) == ([], [])
    assert "Not measured yet" in compare.choose("c21e")[0]


def test_a_job_that_has_the_device_is_named_and_looked_for_again(home: Path) -> None:
    assert compare.busy()[0] == ""
    assert compare.busy()[1]["active"] is False
    with gpu.hold(gpu.default_device(), "the job “tone & voice”"):
        note, timer = compare.busy()
        assert "busy with the job “tone &amp; voice”. You may ask already" in note
        assert timer["active"] is True


def test_a_question_waits_under_one_sentence_and_goes_on_by_itself(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "POLL_SECONDS", 0.05)
    with gpu.hold(gpu.default_device(), "the job “tone & voice”"):
        shown = compare.ask(TAB, "c21e", "hello", True, None, *[""] * 5)
        next(shown)
        columns, _, so_far, stop = next(shown)
        assert (
            columns.count("The computer is busy with the job “tone &amp; voice”. Your answer comes by") == 1
        )
        assert columns.count('<section class="side') == 3
        assert "problem" not in columns
        # Read out once; and Stop stays what it is, which is ready.
        assert next(shown)[0] == gr.skip()
        assert (so_far, stop) == ([], gr.skip())
    assert ">ab<" in [columns for columns, *_ in shown if columns != gr.skip()][-1]
    assert len(model.asked) == 1


def test_a_job_that_takes_the_device_in_the_middle_takes_the_half_answer_too(model: Model) -> None:
    model.interruption = gpu.Busy("the job “Haiku”")
    shown = ask("hello")
    waits = next(number for number, one in enumerate(shown) if "busy with the job “Haiku”" in str(one[0]))
    assert ">a<" in shown[waits - 1][0] and ">a<" not in shown[waits][0]
    assert shown[waits][2] == []
    assert [answer["text"] for answer in shown[-1][2]] == ["ab"] * 3


def test_a_stopped_answer_is_marked(model: Model) -> None:
    so_far = ask("hello")[-1][2]
    half = [{**answer, "done": False} for answer in so_far]
    columns, ended, _ = compare.stop(TAB, half)  # type: ignore[arg-type]
    assert "Stopped." in columns
    assert all(answer["done"] for answer in ended)
