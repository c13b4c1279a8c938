from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from jobs import gpu
from jobs.datasets import importing
from jobs.serving import client, waiting
from storage import adapters
from storage.errors import StudioError
from studio.compare import asking, playground
from studio.compare.material import rows_of
from studio.compare.scene import Scene, conversation
from tests.studio.compare.stand_in import Model

TAB: Any = SimpleNamespace(session_hash="one tab")
PAIRS = [(f"Where is parcel number {n}?", f"It comes within {n} days.") for n in range(1, 31)]
SIDES = ["base", "few_shot", "adapted"]
UNSET = ("",) * len(asking.FIELDS)


def how(
    sides: list[str] = SIDES,
    dial: float = 1.0,
    others: Any = (),
    amounts: Any = (0.5,) * 3,
    fields: Any = UNSET,
) -> Any:
    return ("auto", sides, dial, [*others], *amounts, *fields)


def add_adapter(id: str, dataset_id: str) -> None:
    adapters.add(
        id=id, name=f"Parcels {id}", job_id="run1", dataset_id=dataset_id, base_model_id="starter", rank=8, alpha=16.0,
        target_modules=["q_proj"], parameters=1, size_bytes=1, weights_sha256="", base_weights_sha256="",
        held_out_loss=None, best_step=None, settings={},
    )  # fmt: skip


@pytest.fixture
def model(home: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    stand_in = Model()
    monkeypatch.setattr(client, "stream", stand_in.stream)
    dataset = importing.add_rows(PAIRS, "Parcels")
    add_adapter("c21e", dataset.id)
    add_adapter("d32f", dataset.id)
    return stand_in


def ask(
    prompt: str, scene: Scene | None = None, position: int | None = None, goes_on: bool = False, **page: Any
) -> list[Any]:
    return list(asking.ask(TAB, "c21e", scene or Scene(), prompt, position, goes_on, *how(**page)))


def last_scene(shown: list[Any]) -> Scene:
    return [one[2] for one in shown if isinstance(one[2], Scene)][-1]


def html_of(shown: list[Any]) -> list[str]:
    return [one[0] for one in shown if isinstance(one[0], str)]


def held_out_row() -> Any:
    return rows_of(adapters.get("c21e"))[1]


def test_words_stand_there_before_the_model_answers(model: Model) -> None:
    answers = asking.ask(TAB, "c21e", Scene(), "hello", None, False, *how())
    first = next(answers)[0]
    assert "Loading the model" in first
    assert first.count('<section class="side') == 3
    assert model.asked == []


def test_leaving_closes_the_answers(model: Model) -> None:
    answers = asking.ask(TAB, "c21e", Scene(), "hello", None, False, *how())
    next(answers)
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    assert model.closed


def test_stop_ends_the_question_of_its_own_tab_and_a_new_question_the_one_before(model: Model) -> None:
    def begun(tab: str) -> Iterator[Any]:
        return asking.ask(SimpleNamespace(session_hash=tab), "c21e", Scene(), "hello", None, False, *how())  # type: ignore[arg-type]

    other, first = begun("another tab"), begun("one tab")
    assert next(first) and next(first)
    second = begun("one tab")
    assert next(second)
    assert list(first) == []
    assert model.closed
    assert "Stopped before the answer." in asking.stop(TAB, "c21e", Scene(), "auto")[0]
    assert list(second) == []
    assert len(html_of(list(other))) == 3
    assert asking._open == {}
    third = begun("one tab")
    (refused,) = ask("", [next(third) for _ in range(2)][-1][2])
    assert refused[0].count("Stopped.") == len(SIDES), "nobody shall take half an answer for a whole one"


def test_a_question_that_is_replaced_before_its_first_word_empties_nothing(model: Model) -> None:
    shown = asking.ask(TAB, "c21e", Scene(), "hello", None, False, *how())

    def replaced(*_: Any) -> Any:
        asking.end_question("one tab")
        return []

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(asking, "rows_of", replaced)
        assert list(shown) == [(gr.skip(),) * 4]
    assert model.asked == []


def test_answers_are_shown_without_checks_where_the_rules_cannot_be_read(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(adapter: Any) -> Any:
        raise StudioError("The database is busy.")

    monkeypatch.setattr(asking, "rules_of", broken)
    assert ">ab1<" in html_of(ask("hello"))[-1]


def test_those_who_are_chosen_are_asked_together(model: Model) -> None:
    ask("hello", sides=["base", "similar", "adapted", "d32f"])
    assert [one.side for one in model.asked[0][0]] == ["base", "similar", "adapted", "d32f"]
    assert len(model.asked) == 1
    assert model.askers == ["one tab"]  # whose turn it is goes by who asks


@pytest.mark.parametrize(
    ("sides", "words"),
    [([], "Nobody is chosen"), (["base", "few_shot", "similar", "adapted", "d32f"], "at most 4")],
)
def test_nobody_and_too_many_are_refused_in_words(model: Model, sides: list[str], words: str) -> None:
    assert words in ask("hello", sides=sides)[-1][0]
    assert model.asked == []


def test_a_blend_is_a_column_of_its_own(model: Model) -> None:
    ask("hello", sides=["base", "adapted"], dial=0.7, others=["d32f"], amounts=(0.3, 0.5, 0.5))
    blended = model.asked[0][0][-1]
    assert blended.side == "c21e*0.7+d32f*0.3"
    assert blended.adapters == {"c21e": 0.7, "d32f": 0.3}


def test_up_to_four_adapters_are_one_blend(model: Model) -> None:
    for id in ("e43g", "f54h"):
        add_adapter(id, adapters.get("c21e").dataset_id)
    ask("hello", sides=["base"], dial=0.7, others=["d32f", "e43g", "f54h"], amounts=(0.3, 0.2, 0.1))
    (_, blended), _ = model.asked[0]
    assert blended.adapters == {"c21e": 0.7, "d32f": 0.3, "e43g": 0.2, "f54h": 0.1}


def test_a_held_out_example_is_asked_as_its_whole_conversation(model: Model) -> None:
    row = held_out_row()
    shown = ask(row.prompt, position=1)
    assert model.read("base") == [(turn["role"], turn["content"]) for turn in row.messages]
    assert last_scene(shown).now.wanted == row.reference  # type: ignore[union-attr]


def test_a_changed_prompt_is_no_longer_the_held_out_example(model: Model) -> None:
    shown = ask(held_out_row().prompt + " Or not?", position=1)
    assert last_scene(shown).now.wanted is None  # type: ignore[union-attr]
    assert shown[-1][1] == ""


def test_a_conversation_goes_on_from_each_sides_own_answer(model: Model) -> None:
    scene = last_scene(ask("One?", goes_on=True))
    assert scene.now is not None
    own = [{**answer, "text": f"one of {answer['side']}"} for answer in scene.now.answers]
    shown = ask("Two?", scene=scene.answered(own), goes_on=True)  # type: ignore[arg-type]
    for side in ("base", "adapted"):
        assert model.read(side) == [("user", "One?"), ("assistant", f"one of {side}"), ("user", "Two?")]
    assert model.read("few_shot")[-3:] == [
        ("user", "One?"),
        ("assistant", "one of few_shot"),
        ("user", "Two?"),
    ]
    drawn = html_of(shown)[-1]
    assert drawn.index("One?") < drawn.index("one of base") < drawn.index("Two?")


def test_a_question_on_its_own_forgets_what_was_said(model: Model) -> None:
    ask("Two?", scene=last_scene(ask("One?", goes_on=True)))
    assert model.read("base") == [("user", "Two?")]


def test_a_half_answer_is_no_turn_of_a_conversation(model: Model) -> None:
    begun = asking.ask(TAB, "c21e", Scene(), "One?", None, True, *how())
    next(begun)
    half = next(begun)[2]
    ask("Two?", scene=half, goes_on=True)
    assert model.read("base") == [("user", "Two?")]


def test_again_is_the_same_question_with_the_next_seed(model: Model) -> None:
    scene = last_scene(ask("One?", goes_on=True))
    scene = last_scene(ask("Two?", scene=scene, goes_on=True))
    seed = playground.new_seed("4", "0.7")
    assert seed == "5"
    shown = list(asking.ask_again(TAB, "c21e", scene, *how(fields=("0.7", "", seed, ""))))
    assert model.read("base")[-1] == ("user", "Two?")
    assert len(model.read("base")) == 3
    assert model.asked[-1][1].seed == 5
    assert len(last_scene(shown).before) == 1


def test_the_dial_asks_only_those_whose_weights_change(model: Model) -> None:
    scene = last_scene(ask("hello", sides=["base", "adapted"]))
    shown = list(asking.turn_dial(TAB, "c21e", scene, *how(sides=["base", "adapted"], dial=0.4)))
    assert [(one.side, one.adapters) for one in model.asked[-1][0]] == [("adapted", {"c21e": 0.4})]
    texts = {answer["side"]: answer["text"] for answer in last_scene(shown).now.answers}  # type: ignore[union-attr]
    assert texts == {"base": "ab1", "adapted": "ab2"}


def test_the_dial_asks_everybody_when_other_settings_have_changed_too(model: Model) -> None:
    scene = last_scene(ask("hello", sides=["base", "adapted"]))
    list(
        asking.turn_dial(
            TAB, "c21e", scene, *how(sides=["base", "adapted"], dial=0.4, fields=("0.5", "", "", ""))
        )
    )
    assert len(model.asked[-1][0]) == 2


def test_turning_the_dial_before_any_question_asks_nothing(model: Model) -> None:
    assert list(asking.turn_dial(TAB, "c21e", Scene(), *how(dial=0.4))) == [(gr.skip(),) * 4]
    assert model.asked == []


def test_a_refusal_takes_the_place_of_the_answers(model: Model) -> None:
    model.refusal = StudioError("The prompt has 9 tokens.", "Shorten it.")
    columns, _, _, stop = ask("hello")[-1]
    assert "The prompt has 9 tokens. Shorten it." in columns
    assert stop["interactive"] is False


@pytest.mark.parametrize(
    ("fields", "named"), [(("-1", "", "", ""), "temperature"), (("", "10000", "", ""), "max_new_tokens")]
)
def test_a_setting_out_of_range_is_named(model: Model, fields: Any, named: str) -> None:
    assert named in ask("hello", fields=fields)[-1][0]
    assert model.asked == []


def test_an_empty_prompt_is_refused_in_words(model: Model) -> None:
    assert "The prompt is empty." in ask("  \n")[-1][0]
    assert model.asked == []


def test_a_question_that_is_refused_leaves_the_answers_before_it(model: Model) -> None:
    scene = last_scene(ask("One?", goes_on=True))
    refused = ask("", scene=scene, goes_on=True)[-1]
    assert "The prompt is empty." in refused[0] and ">ab1<" in refused[0]
    assert "Below are still the answers to “One?”." in refused[0], "they belong to no other question"
    assert refused[2] is scene


def test_a_stop_before_the_first_word_leaves_the_turns_before_it(model: Model) -> None:
    scene = last_scene(ask("One?", goes_on=True))
    waits = asking.ask(TAB, "c21e", scene, "Two?", None, True, *how())
    shown = asking.stop(TAB, "c21e", next(waits)[2], "auto")[0]
    assert "Stopped before the answer." in shown and ">ab1<" in shown


def test_an_adapter_that_has_been_deleted_meanwhile_is_named(model: Model) -> None:
    scene = last_scene(ask("hello"))
    adapters.remove("c21e")
    assert 'class="problem"' in ask("hello", scene=scene)[-1][0]
    assert 'class="problem"' in next(iter(asking.ask_again(TAB, "c21e", scene, *how())))[0]


def test_examples_go_around_at_both_ends(model: Model) -> None:
    rows = rows_of(adapters.get("c21e"))
    assert playground.step("c21e", None, +1)[:2] == (rows[0].prompt, 0)
    assert playground.step("c21e", None, -1)[:2] == (rows[-1].prompt, len(rows) - 1)
    assert playground.step("c21e", len(rows) - 1, +1)[:2] == (rows[0].prompt, 0)
    assert f"held-out 2 of {len(rows)}" in playground.step("c21e", 0, +1)[2]


def test_a_deleted_dataset_takes_the_examples_but_not_the_page(home: Path) -> None:
    add_adapter("c21e", "gone")
    assert rows_of(adapters.get("c21e")) == []
    with pytest.raises(StudioError, match="held-out examples"):
        playground.step("c21e", None, +1)
    chosen = playground.choose("c21e")[6]
    assert chosen.value == ["base", "adapted"]


def test_what_belongs_to_an_adapter_is_told_in_as_many_values_as_there_are_places(model: Model) -> None:
    with gr.Blocks():
        part = playground.build(gr.Dropdown([]))
    assert len(part.choose("c21e")) == len(part.choose(None)) == len(part.outputs)


def test_a_job_that_has_the_device_is_named_and_looked_for_again(home: Path) -> None:
    assert playground.busy()[0] == ""
    assert playground.busy()[1].active is False
    with gpu.hold(gpu.default_device(), "the job “tone & voice”"):
        note, timer = playground.busy()
        assert "busy with the job “tone &amp; voice”. You may ask already" in note
        assert timer.active is True


def test_a_question_waits_under_one_sentence_and_goes_on_by_itself(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "POLL_SECONDS", 0.05)
    with gpu.hold(gpu.default_device(), "the job “tone & voice”"):
        shown = asking.ask(TAB, "c21e", Scene(), "hello", None, False, *how())
        next(shown)
        columns, _, scene, stop = next(shown)
        assert (
            columns.count("The computer is busy with the job “tone &amp; voice”. Your answer comes by") == 1
        )
        assert columns.count('<section class="side') == 3
        assert "problem" not in columns
        # Read out once; and Stop stays what it is, which is ready.
        assert next(shown)[0] == gr.skip()
        assert (scene.now.answers, stop) == ([], gr.skip())
    assert ">ab1<" in html_of(list(shown))[-1]
    assert len(model.asked) == 1


def test_a_job_that_takes_the_device_in_the_middle_takes_the_half_answer_too(model: Model) -> None:
    model.interruption = gpu.Busy("the job “Haiku”")
    shown = ask("hello")
    waits = next(number for number, one in enumerate(shown) if "busy with the job “Haiku”" in str(one[0]))
    assert ">a<" in shown[waits - 1][0] and ">a<" not in shown[waits][0]
    assert shown[waits][2].now.answers == []
    assert [answer["text"] for answer in last_scene(shown).now.answers] == ["ab2"] * 3  # type: ignore[union-attr]


def test_a_stopped_answer_is_marked(model: Model) -> None:
    begun = asking.ask(TAB, "c21e", Scene(), "hello", None, False, *how())
    next(begun)
    columns, scene, _ = asking.stop(TAB, "c21e", next(begun)[2], "auto")
    assert "Stopped." in columns
    assert scene.now.done


def test_the_prompt_makes_room_for_the_next_turn_but_never_loses_what_was_typed(model: Model) -> None:
    said = last_scene(ask("One?", goes_on=True))
    assert playground.after_answers(said, "One?")[1] == ""
    assert playground.after_answers(said, "One? And")[1] == gr.skip()
    assert playground.after_answers(last_scene(ask("One?")), "One?")[1] == gr.skip()


def test_a_side_that_joins_later_reads_only_what_it_answered(model: Model) -> None:
    scene = last_scene(ask("One?", goes_on=True, sides=["base"]))
    scene = last_scene(ask("Two?", scene=scene, goes_on=True, sides=["base", "adapted"]))
    assert [turn["content"] for turn in conversation(adapters.get("c21e"), scene, "adapted")] == ["Two?"]


def test_a_blend_goes_on_from_its_own_answers_at_another_strength(model: Model) -> None:
    scene = last_scene(ask("One?", goes_on=True, sides=["base"], others=["d32f"], dial=0.5))
    ask("Two?", scene=scene, goes_on=True, sides=["base"], others=["d32f"], dial=0.9)
    assert model.read("c21e*0.9+d32f*0.5") == [("user", "One?"), ("assistant", "ab1"), ("user", "Two?")]
