"""A reloaded tab finds what it had asked, whole or stopped in the middle, and the page is set as it was then."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from storage import adapters
from studio.compare import asking, coming_back, playground, strength
from studio.compare.scene import Scene
from tests.studio.compare.stand_in import Model
from tests.studio.compare.test_playground import TAB, ask, held_out_row, how, last_scene, model

__all__ = ["model"]
NEW: Any = SimpleNamespace(session_hash="the same tab, reloaded")
UNTOUCHED = ("0.0", "256", "0", "")
# What is found again, by its place.
NAME, SCENE, COLUMNS, NOTE, POSITION, AFTER, GOES_ON, CHOSEN, STRENGTH, BLEND_WITH = range(10)


def back(left: str = "one tab", adapter_id: str = "c21e", fields: Any = UNTOUCHED) -> tuple[Any, ...]:
    return playground.find_again(NEW, adapter_id, left, *fields)


def test_answers_stand_there_again_with_the_page_set_as_it_was(model: Model) -> None:
    fields = ("0.5", "12", "7", "Be kind.")
    row = held_out_row()
    set_to: dict[str, Any] = {"sides": ["base", "adapted"], "dial": 0.7, "others": ["d32f"], "fields": fields}
    ask(row.prompt, position=1, **set_to)
    found = back()
    assert found[NAME] == NEW.session_hash
    assert found[COLUMNS].count("ab1") == 3 and "the wanted answer" in found[COLUMNS]
    assert found[POSITION] == 1 and row.reference in found[NOTE] and found[AFTER].visible
    assert (found[CHOSEN], found[STRENGTH], found[BLEND_WITH]) == (["base", "adapted"], 0.7, ["d32f"])
    assert found[-4:] == fields
    meanwhile = back(fields=("0.9", "256", "0", ""))[-4:]
    assert meanwhile == (gr.skip(), *fields[1:]), "what is typed while the page fills itself stays"
    assert back(NEW.session_hash)[COLUMNS] == found[COLUMNS], "and after the next reload"
    adapters.remove("d32f")
    assert back()[BLEND_WITH] == []


def test_a_question_left_in_mid_answer_is_there_as_far_as_it_came(model: Model) -> None:
    scene = last_scene(ask("One?", goes_on=True))
    half = asking.ask(TAB, "c21e", scene, "Two?", None, True, *how())
    next(half)
    assert "Stopped before the answer." in back()[COLUMNS] and "One?" in back()[COLUMNS]
    next(half)
    half.close()  # type: ignore[attr-defined]
    found = back()
    assert found[COLUMNS].count("Stopped.") == 3 and found[SCENE].now.prompt == "Two?"
    assert found[GOES_ON] is True and found[SCENE].now.done


def test_a_strength_that_was_kept_since_the_answers_stays_until_one_asks_at_another(model: Model) -> None:
    ask("hello", dial=0.5)
    assert back()[STRENGTH] == 0.5
    strength.kept(TAB, "c21e", 1.2)
    assert back()[STRENGTH] == gr.skip() and back()[COLUMNS]
    assert back(NEW.session_hash)[STRENGTH] == gr.skip(), "and after the next reload"
    ask("hello", dial=0.9)
    assert back()[STRENGTH] == 0.9


def test_nothing_is_found_of_another_adapter_or_once_all_began_anew(model: Model) -> None:
    ask("hello")
    nothing = back("nonesuch")
    assert nothing[NAME] == NEW.session_hash and set(map(str, nothing[1:])) == {str(gr.skip())}
    assert len(nothing) == len(back())
    assert back(adapter_id="d32f")[SCENE] == gr.skip()
    playground.new_conversation(TAB)
    assert back()[SCENE] == gr.skip()


def test_only_so_many_tabs_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coming_back, "MOST_TABS", 3)
    for number in range(9):
        coming_back.keep(f"tab {number}", "c21e", Scene())
    assert list(coming_back._left) == ["tab 6", "tab 7", "tab 8"]
