"""What is shown of a blind pair: nothing says whose an answer is before the vote, and all of it after."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jobs.evaluation.anytime import anytime_share
from jobs.evaluation.blind import Contest, Pair, Standing
from jobs.evaluation.held_out import HeldOutRow
from jobs.serving.schema import SideAnswer
from storage.votes import Counts, Vote
from studio.compare import blind_view

LABELS = {"base": "Base model", "adapted": "Tone <b>"}


def answer(side: str, text: str, finish_reason: str = "stop") -> SideAnswer:
    return {
        "side": side,
        "label": LABELS[side],
        "text": text,
        "tokens": 7,
        "prompt_tokens": 99,
        "weights": "3f9a12cd+c21e00aa",
        "seconds": 1.5,
        "done": True,
        "finish_reason": finish_reason,
    }


@pytest.fixture
def pair() -> Pair:
    row = HeldOutRow(
        31,
        [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "Earlier question"},
            {"role": "assistant", "content": "Earlier answer"},
            {"role": "user", "content": "How <i>are</i> you?"},
        ],
        "Wanted & fine",
    )
    answers = (answer("base", "Plain <script>"), answer("adapted", "Dear friend\n\n\n", "length"))
    contest = Contest("bcdf-1", "base", "adapted")
    return Pair("p1", contest, "base|adapted", row, 3, 12, answers, (1, 1), "second")


def vote(winner: str) -> Vote:
    return Vote("p1", "bcdf-1", "base|adapted", 31, "base", "adapted", "second", winner, {}, 1.0)


def test_nothing_says_whose_an_answer_is_before_the_vote(pair: Pair) -> None:
    shown = blind_view.pair(pair)
    for secret in ("base", "adapted", "Base model", "Tone", "3f9a", "c21e", "bcdf", "second", "99", "1.5"):
        assert secret not in shown
    assert shown.index("Dear friend") < shown.index("Plain &lt;script&gt;"), "the second side is on the left"
    assert "How &lt;i&gt;are&lt;/i&gt; you?" in shown and "held-out 3 of 12" in shown
    assert "Earlier question" in shown and "Earlier answer" in shown and "Be kind" not in shown
    assert "Wanted &amp; fine" in shown and "<details>" in shown
    assert "Cut at the longest answer" in shown and "word for word" not in shown


def test_the_vote_reveals_both_sides_and_marks_the_choice(pair: Pair) -> None:
    shown = blind_view.revealed(pair, vote("first"))
    left, right = shown.split("Answer 2")
    assert "of-adapted" in left and "Tone &lt;b&gt;" in left and "your choice" not in left
    assert "Base model" in right and "your choice" in right
    assert shown.count("your choice") == 1
    tie = blind_view.revealed(pair, vote("tie"))
    assert "your choice" not in tie and "You called it a tie." in tie


def test_the_same_answer_twice_is_said(pair: Pair) -> None:
    same = replace(pair, answers=(answer("base", "Same"), answer("adapted", "Same ")))
    assert "word for word: a tie" in blind_view.pair(same)


def test_the_standing_shows_share_interval_and_both_counts(pair: Pair) -> None:
    found = Standing(Counts(2, 8, 2), anytime_share(8, 10))
    shown = blind_view.standing(found, pair.contest, LABELS, "<a>links</a>")
    assert "80 % of 10 decided votes" in shown and "Tone &lt;b&gt;: 8" in shown and "ties: 2" in shown
    assert 'class="point" style="left:80.0%"' in shown and "<a>links</a>" in shown and "stop when" in shown
    nothing = blind_view.standing(Standing(Counts(0, 0, 0), None), pair.contest, LABELS, "")
    assert "No votes yet." in nothing and "duel" not in nothing
    only_ties = blind_view.standing(Standing(Counts(0, 0, 4), None), pair.contest, LABELS, "")
    assert "Only ties so far: 4." in only_ties and "duel" not in only_ties and "left out of" in only_ties


def test_a_few_votes_are_counts_and_no_share(pair: Pair) -> None:
    few = Standing(Counts(0, 5, 1), anytime_share(5, 5))
    shown = blind_view.standing(few, pair.contest, LABELS, "")
    assert "Tone &lt;b&gt;: 5" in shown and "3 more are useful" in shown
    assert "100 %" not in shown and "duel" not in shown and "stop when" not in shown


def test_votes_that_are_not_counted_here_are_said(pair: Pair) -> None:
    def said(others: int) -> str:
        return blind_view.standing(Standing(Counts(0, 0, 0), None, others), pair.contest, LABELS, "")

    assert "not counted" not in said(0)
    assert "1 more vote is not counted here: it was given at another strength" in said(1)
    assert "It is in the files below" in said(1) and "They are in the files" in said(2)
    assert "1,200 more votes are not counted here: they were" in said(1200)


def test_a_side_against_itself_is_told_apart_by_its_draws(pair: Pair) -> None:
    itself = replace(pair.contest, second="base", temperature=0.7)
    shown = blind_view.standing(Standing(Counts(3, 3, 0), anytime_share(3, 6)), itself, LABELS, "")
    assert "Base model, first draw: 3 · second draw: 3" in shown
