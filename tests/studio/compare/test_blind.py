"""The blind card's handlers with the real model server: pairs are made ahead, voted on once, and end when told."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from jobs.evaluation.blind import Contest
from jobs.serving import client
from jobs.serving.waiting import Waiting
from storage import adapters, votes
from storage.errors import StudioError
from studio.compare import blind, rounds
from tests.jobs.serving.parts import ADAPTERS, HELD_OUT_ROWS

ONE = ADAPTERS[0]
ITSELF = ("base", "base", "1.0")
# The places of the buttons behind the pair and its id: the row of votes, left, tie, right, next, stop.
ROW, LEFT, TIE, RIGHT, NEXT, STOP = range(6)


def tab(name: str) -> Any:
    return SimpleNamespace(session_hash=name)


def shown(name: str, one: str = "base", other: str = "base", temperature: str = "1.0") -> tuple[Any, ...]:
    *_, last = blind.next_pair(tab(name), ONE, one, other, temperature)
    return last


@pytest.fixture(autouse=True)
def ended() -> Any:
    yield
    for name in list(rounds._making):
        rounds.end(name)


@pytest.mark.usefixtures("base_model_id")
def test_a_pair_is_shown_voted_on_and_followed_by_one_that_is_ready() -> None:
    pair_html, pair_id, *buttons = shown("a")
    assert "Which answer is better?" in pair_html and pair_id
    assert [buttons[at].get("visible", buttons[at].get("interactive")) for at in range(4)] == [True] * 4
    making = rounds._making["a"]
    making.join(60)
    assert making.pair is not None and making.pair.row.row != rounds._open[pair_id].row.row

    revealed, standing, *buttons = blind.cast(pair_id, "1")
    assert "your choice" in revealed and "1 decided vote" in standing and buttons[ROW]["visible"] is False
    assert buttons[NEXT]["value"] == "Next pair"
    began = time.monotonic()
    _, next_id, *_ = shown("a")
    assert next_id == making.pair.id and time.monotonic() - began < 0.5, "it was ready"


@pytest.mark.usefixtures("base_model_id")
def test_a_key_pressed_twice_is_one_vote() -> None:
    _, pair_id, *_ = shown("b")
    before = len(votes.list_of(ONE))
    first, again = blind.cast(pair_id, "2"), blind.cast(pair_id, "1")
    assert first == again and len(votes.list_of(ONE)) == before + 1
    with pytest.raises(StudioError, match="no pair to vote on"):
        blind.cast(None, "1")
    with pytest.raises(StudioError, match="not open any more"):
        blind.cast("nonesuch", "1")


@pytest.mark.usefixtures("base_model_id")
def test_the_same_answer_twice_can_only_be_a_tie() -> None:
    _, pair_id, *buttons = shown("c", "base", f"{ONE}*0", "0")
    assert rounds._open[pair_id].are_the_same
    assert [buttons[at]["interactive"] for at in (LEFT, TIE, RIGHT)] == [False, True, False]


@pytest.mark.usefixtures("base_model_id")
def test_two_tabs_are_asked_about_different_rows() -> None:
    own = ("base", "adapted", "0.9")
    ids = [shown(f"tab {number}", *own)[1] for number in range(3)]
    rows = [rounds._open[id].row.row for id in ids]
    assert len(set(rows)) == 3 <= HELD_OUT_ROWS


@pytest.mark.usefixtures("base_model_id")
def test_another_contest_ends_what_is_made_for_the_old_one() -> None:
    making = rounds.begin("d", Contest.of(ONE, ["base", "adapted"], 0.5, 4096))
    temperature, pair_html, pair_id, standing, *_ = blind.another_contest(
        tab("d"), ONE, "base", "base", "0", None
    )
    making.join(30)
    assert making.ended.is_set() and not making.is_alive() and "d" not in rounds._making
    assert temperature == "0.7", "at 0 both would say the same"
    assert pair_id is None and "without names" in pair_html and "No votes yet" in standing


@pytest.mark.usefixtures("base_model_id")
def test_a_pair_made_at_another_strength_is_made_again() -> None:
    contest = Contest.of(ONE, ["base", "adapted"], 0.0)
    making = rounds.begin("h", contest)
    assert rounds.begin("h", contest) is making
    try:
        adapters.set_strength(ONE, 0.5)
        again = rounds.begin("h", contest)
    finally:
        adapters.set_strength(ONE, 1.0)
    assert again is not making and making.ended.is_set()


@pytest.mark.usefixtures("base_model_id")
def test_a_pair_that_is_not_wanted_any_more_empties_nothing() -> None:
    asking = blind.next_pair(tab("i"), ONE, *ITSELF)
    contest = Contest.of(ONE, ITSELF[:2], ITSELF[2])
    making = rounds.begin("i", contest)
    making.join(60)
    making.ended.set()
    assert list(asking) == [(gr.skip(),) * 8]


@pytest.mark.usefixtures("base_model_id")
def test_whoever_chooses_another_adapter_gets_no_pair_of_the_one_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rounds.Making, "run", lambda making: making.ended.wait(30))
    asking = blind.next_pair(tab("j"), ONE, "base", "adapted", "0.6")
    assert "Both sides answer" in next(asking)[0]
    blind.leave(tab("j"))
    assert list(asking) == [(gr.skip(),) * 8] and "j" not in rounds._making


@pytest.mark.usefixtures("base_model_id")
def test_a_pair_can_be_stopped_while_both_sides_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds.Making, "run", lambda making: making.ended.wait(30))
    asking = blind.next_pair(tab("k"), ONE, "base", "adapted", "0.6")
    _, _, *buttons = next(asking)
    assert buttons[STOP]["visible"] is True
    said, pair_id, *buttons = blind.stop(tab("k"))
    assert "Stopped" in said and pair_id is None and buttons[STOP]["visible"] is False
    assert list(asking) == [(gr.skip(),) * 8], "it overwrites nothing of this"
    assert "k" not in rounds._making


@pytest.mark.usefixtures("base_model_id")
def test_the_next_pair_is_made_behind_everybody_until_somebody_waits_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The server is told so when it is asked; one that waits there in the wrong line asks again."""
    lines: list[tuple[bool, str]] = []
    real = client.stream

    def stream(base: Any, requests: Any, settings: Any, background: bool, asker: str) -> Any:
        lines.append((background, asker))
        if background:
            while True:
                yield Waiting("A question comes before yours.")
                time.sleep(0.02)
        yield from real(base, requests, settings, background, asker)

    monkeypatch.setattr(client, "stream", stream)
    contest = Contest.of(ONE, ["base", "adapted"], 0.3, 4)
    making = rounds.begin("l", contest, is_awaited=False)
    deadline = time.monotonic() + 30
    while not making.words and time.monotonic() < deadline:
        time.sleep(0.01)
    assert lines == [(True, "l")] and making.pair is None
    assert rounds.begin("l", contest) is making
    making.join(60)
    assert making.pair is not None and lines == [(True, "l"), (False, "l")]


@pytest.mark.usefixtures("base_model_id")
def test_a_look_into_the_list_of_sides_changes_nothing() -> None:
    _, pair_id, *_ = shown("g")
    making = rounds._making["g"]
    unchanged = blind.another_contest(tab("g"), ONE, *ITSELF, pair_id)
    searched = blind.another_contest(tab("g"), ONE, "base", None, "1.0", pair_id)
    for seen in (unchanged, searched):
        assert all(value == gr.skip() for value in seen)
    assert not making.ended.is_set()
    assert blind.another_contest(tab("g"), ONE, "base", "adapted", "1.0", pair_id)[2] is None
    assert making.ended.is_set()


@pytest.mark.usefixtures("base_model_id")
def test_whoever_has_left_is_not_answered_for_ever() -> None:
    making = rounds.begin("e", Contest.of(ONE, ["base", "adapted"], 0.0, 4096))
    making.wanted_until = time.monotonic()
    making.join(30)
    assert not making.is_alive() and making.pair is None


@pytest.mark.usefixtures("base_model_id")
def test_what_cannot_be_asked_stands_where_the_pair_would() -> None:
    for temperature in ("-1", "warm"):
        last = shown("f", "base", "adapted", temperature)
        assert 'class="problem"' in last[0] and "temperature" in last[0] and last[1] is None
    assert "no adapter" in shown("f", "base", "nonesuch-1", "0")[0]


@pytest.mark.usefixtures("base_model_id")
def test_the_card_of_an_adapter_begins_with_the_base_model_against_it() -> None:
    one, other, pair_html, pair_id, standing, *_ = blind.choose(ONE)
    assert (one["value"], other["value"], pair_id) == ("base", "adapted", None)
    assert ("Base model", "base") in one["choices"] and "without names" in pair_html
    assert "vote" in standing.lower()
    assert blind.choose(None)[2:5] == ("", None, "")


@pytest.mark.usefixtures("base_model_id")
def test_an_end_of_the_pairs_is_said_and_is_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(votes, "rows_asked", lambda *_: range(1000))
    said, pair_id, *buttons = shown("g", "base", "adapted", "0")
    assert "Every held-out example has been voted on." in said and "problem" not in said
    assert pair_id is None and buttons[NEXT]["value"] == "Start" and "g" not in rounds._making
