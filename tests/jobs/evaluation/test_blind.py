"""Blind comparison with the real model server: who stands where is hidden, every vote is kept, chance stays chance."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jobs import adapter_record
from jobs.evaluation import blind
from jobs.evaluation.anytime import anytime_share
from jobs.evaluation.blind import Contest, Pair, Standing
from jobs.evaluation.statistics import wilson
from storage import adapters, files, plans, votes
from storage.errors import StudioError
from storage.plans import Plan
from storage.votes import Counts
from tests.jobs.serving.parts import ADAPTERS, DATASET_ID, HELD_OUT_ROWS, TRAIN_ROWS

ONE, OTHER = ADAPTERS


@pytest.fixture
def contest(base_model_id: str) -> Contest:
    return Contest.of(ONE, ["adapted", "base"], 0.0, 12)


@pytest.fixture
def pair(contest: Contest) -> Pair:
    return blind.ask(contest)


def test_a_contest_is_the_same_whoever_is_named_first(base_model_id: str) -> None:
    one = Contest.of(ONE, ["adapted", "base"], "0", 8)
    assert one == Contest.of(ONE, ["base", "adapted"], 0.0, 8)
    assert (one.first, one.second) == ("base", "adapted")
    assert one.key == "base|adapted|temperature 0|at most 8 tokens"
    assert Contest.of(ONE, [OTHER, "few_shot"]).key == f"few_shot|{OTHER}|temperature 0|at most 256 tokens"


def test_votes_on_longer_answers_or_with_another_instruction_are_another_contest(base_model_id: str) -> None:
    keys = set()
    for words in ("Be brief.", "Be kind."):
        plans.put(DATASET_ID, Plan(instruction=words))
        keys |= {Contest.of(ONE, ["instruction", "adapted"], 0, most).key for most in (8, 9)}
    assert len(keys) == 4 and all(key.startswith("instruction:") for key in keys)
    plans.put(DATASET_ID, Plan())


def test_a_vote_counts_for_what_was_asked_whatever_is_kept_meanwhile(contest: Contest) -> None:
    own = replace(contest, max_new_tokens=5)
    pair = blind.ask(own)
    adapter_record.keep_strength(ONE, 0.5)
    try:
        assert blind.vote(pair, "1").contest == pair.key == "base|adapted|temperature 0|at most 5 tokens"
        assert blind.standing(own).counts.total == 0
        assert blind.standing(own, pair.key).counts.total == 1
    finally:
        adapter_record.keep_strength(ONE, 1.0)


def test_a_saved_look_is_asked_as_trained_and_counted_so(base_model_id: str) -> None:
    adapter_record.keep_strength(OTHER, 0.5)
    try:
        assert Contest.of(ONE, ["base", f"{OTHER}@5"]).key.startswith(f"base|{OTHER}@5|")
    finally:
        adapter_record.keep_strength(OTHER, 1.0)


def test_a_row_that_one_side_cannot_read_is_passed_over(contest: Contest) -> None:
    """The context has 512 tokens; only the first held-out row's prompt is too long behind the instruction."""
    folder = files.dataset_folder(DATASET_ID)
    kept = (folder / "rows.jsonl").read_text()
    own = Contest.of(ONE, ["instruction", "adapted"], 0, 4)
    long = f"Row {TRAIN_ROWS + 1}? " + "long " * 60
    plans.put(DATASET_ID, Plan(instruction="Be brief. " * 25))
    try:
        (folder / "rows.jsonl").write_text(kept.replace(f"Row {TRAIN_ROWS + 1}?", long))
        blind._prompts.cache_clear()
        assert blind.next_row(replace(own, first="base")).row == TRAIN_ROWS + 1
        assert blind.ask(own).row.row == TRAIN_ROWS + 2
        plans.put(DATASET_ID, Plan(instruction="Be brief. " * 100))
        with pytest.raises(StudioError, match="that both sides can read"):
            blind.ask(own)
    finally:
        plans.put(DATASET_ID, Plan())
        (folder / "rows.jsonl").write_text(kept)
        blind._prompts.cache_clear()


def test_votes_at_another_strength_are_another_contest(contest: Contest) -> None:
    adapter_record.keep_strength(ONE, 0.5)
    adapter_record.keep_strength(OTHER, 1.5)
    assert contest.key == "base|adapted*0.5|temperature 0|at most 12 tokens"
    assert Contest.of(ONE, [f"{OTHER}+{ONE}*0.3", OTHER]).key == (
        f"{OTHER}*1.5|{OTHER}*1.5+{ONE}*0.3|temperature 0|at most 256 tokens"
    )
    for adapter_id in ADAPTERS:
        adapter_record.keep_strength(adapter_id, 1.0)


@pytest.mark.parametrize(
    ("sides", "temperature", "words"),
    [
        (["base", "base"], 0, "Both sides are the same"),
        (["base"], 0, "1 sides were named"),
        (["base", "Nobody!"], 0, "is not a side"),
        (["base", "adapted"], -1, r"Temperature \(temperature\) is -1"),
        (["base", "adapted"], "warm", r"Temperature \(temperature\) is 'warm'"),
    ],
)
def test_what_cannot_be_compared_is_said(
    base_model_id: str, sides: list[str], temperature: object, words: str
) -> None:
    with pytest.raises(StudioError, match=words):
        Contest.of(ONE, sides, temperature)
    with pytest.raises(StudioError, match="no adapter"):
        Contest.of("nonesuch", ["base", "adapted"])


def test_both_sides_answer_a_held_out_prompt(pair: Pair) -> None:
    first, second = pair.answers
    assert (first["side"], second["side"]) == ("base", "adapted")
    assert first["weights"] != second["weights"] and first["text"] != second["text"]
    assert pair.row.row > TRAIN_ROWS and pair.rows == HELD_OUT_ROWS
    assert pair.row.reference and not pair.are_the_same
    left, right = pair.shown
    assert left["side"] == ("base" if pair.shown_left == "first" else "adapted") != right["side"]


def test_the_prompts_come_in_turn_and_the_least_often_judged_first(contest: Contest) -> None:
    own = replace(contest, max_new_tokens=2, temperature=0.1)
    rows = []
    for _ in range(HELD_OUT_ROWS):
        pair = blind.ask(own)
        rows.append(pair.row.row)
        blind.vote(pair, "0")
    assert rows == list(range(TRAIN_ROWS + 1, TRAIN_ROWS + HELD_OUT_ROWS + 1))
    blind.vote(blind.ask(own), "0")
    assert blind.next_row(own).row == rows[1]
    assert blind.next_row(own, leave_out={rows[1], rows[2]}).row == rows[3]
    assert blind.next_row(own, leave_out=set(rows)).row == rows[1]


def test_a_vote_is_for_the_side_that_stood_there(contest: Contest) -> None:
    own = replace(contest, max_new_tokens=3, temperature=0.2)
    seen = set()
    for choice in ("1", "2", "1", "2", "0"):
        pair = blind.ask(own)
        seen.add(pair.shown_left)
        given = blind.vote(pair, choice)
        left_won = {"1": True, "2": False}.get(choice)
        if left_won is None:
            assert given.winner == "tie"
        else:
            assert (given.winner == pair.shown_left) == left_won
        assert (given.first, given.second) == ("base", "adapted")
        assert given.details["second"]["text"] == pair.answers[1]["text"]
        assert given.details["second"]["weights"] == pair.answers[1]["weights"]
    found = blind.standing(own)
    assert found.counts.total == 5 and found.counts.ties == 1
    assert found.share == anytime_share(found.counts.second, 4), "ties are left out, and everybody may peek"


def test_a_vote_is_kept_in_folder_and_database_and_counts_once(pair: Pair) -> None:
    before = votes.counts(ONE, pair.contest.key).total
    given = blind.vote(pair, "1")
    assert blind.vote(pair, "2") == given
    assert votes.counts(ONE, pair.contest.key).total == before + 1
    kept = [one for one in adapter_record.votes_of(files.adapter_folder(ONE)) if one["id"] == pair.id]
    assert [votes.Vote(**one) for one in kept] == [given]
    with pytest.raises(StudioError, match="The vote is '3'"):
        blind.vote(pair, "3")


def test_the_votes_are_a_table(pair: Pair) -> None:
    given = blind.vote(pair, "0")
    row = dict(zip(blind.VOTES_HEADER, list(blind.votes_table(ONE))[-1], strict=True))
    assert (row["id"], row["winner"], row["winning side"]) == (given.id, "tie", "")
    assert (row["first side"], row["second side"]) == ("Base model", adapters.get(ONE).name)
    assert row["first answer"] == pair.answers[0]["text"] and row["prompt"] == pair.row.prompt
    with pytest.raises(StudioError, match="no adapter"):
        blind.votes_table("nonesuch")


def test_a_stopped_pair_is_none(contest: Contest) -> None:
    with pytest.raises(StudioError, match="stopped"):
        blind.ask(contest, should_stop=lambda: True)


def test_the_base_model_against_itself_comes_out_even(base_model_id: str) -> None:
    """Whatever a reader goes by, place or length: both draws come from the same weights."""
    own = Contest.of(ONE, ["base", "base"], 1.0, 10)
    longer, same, different, total = 0, 0, 0, 24
    for _ in range(total):
        pair = blind.ask(own)
        first, second = (len(answer["text"]) for answer in pair.answers)
        longer += second > first
        same += first == second
        different += pair.answers[0]["text"] != pair.answers[1]["text"]
        blind.vote(pair, "1")
    found = blind.standing(own)
    assert different > total / 2, "the draws differ"
    # Even but for chance, which takes 24 fair draws farther than this once in a thousand times.
    for share in (found.share, anytime_share(longer, total - same)):
        assert share is not None and abs(share.value - 0.5) <= 0.34
    assert "no difference, as it should be" in found.sentence({"base": "Base model"}, own)


def test_who_stands_left_is_chance_that_raises_few_false_alarms() -> None:
    """Readers who always prefer the left answer: of 400 contests of 40 pairs few may look like a difference."""
    alarms = 0
    for contest in range(400):
        sides = [blind.drawn("dptr2222", f"base|base|temperature {contest}", row, 0)[1] for row in range(40)]
        share = wilson(sides.count("second"), len(sides))
        alarms += not share.low <= 0.5 <= share.high
    assert alarms <= 32, f"{alarms} of 400 at a level of 5 %"
    seeds = {blind.drawn("dptr2222", "base|base", row, times)[0] for row in range(100) for times in range(3)}
    assert len(seeds) == 300


def standing_of(first: int, second: int, ties: int) -> Standing:
    decided = first + second
    return Standing(Counts(first, second, ties), anytime_share(second, decided) if decided else None)


def test_the_standing_claims_no_more_than_the_votes_allow() -> None:
    labels = {"base": "Base model", "adapted": "Tone"}
    contest = Contest("bcdf-1", "base", "adapted")
    said = {
        votes: standing_of(*votes).sentence(labels, contest)
        for votes in [(0, 0, 0), (0, 0, 9), (0, 1, 0), (2, 14, 3), (14, 2, 0), (2, 10, 0), (20, 20, 60)]
    }
    assert said[0, 0, 0] == "No votes yet."
    assert said[0, 0, 9] == "Only ties so far: 9."
    assert said[0, 1, 0] == (
        "1 decided vote so far. Of fewer than 8 even a clear lead may be chance: 7 more are useful."
    )
    assert said[2, 14, 3].startswith("“Tone” wins 88 % of 16 decided votes (95 % interval 5")
    assert said[2, 14, 3].endswith("it is preferred to “Base model”.")
    assert said[14, 2, 0].endswith(": “Base model” is preferred.")
    assert said[2, 10, 0].endswith("that may still be chance."), "enough only for who decides beforehand"
    assert said[20, 20, 60].endswith("that may still be chance.")


def test_a_share_is_told_from_the_first_number_of_votes_that_can_tell_anything() -> None:
    assert anytime_share(blind.FEWEST_DECIDED, blind.FEWEST_DECIDED).low > blind.EVEN
    assert anytime_share(blind.FEWEST_DECIDED - 1, blind.FEWEST_DECIDED - 1).low < blind.EVEN
    assert standing_of(0, 8, 0).is_telling and not standing_of(0, 7, 9).is_telling


def test_a_pair_that_would_come_again_word_for_word_is_no_second_vote(contest: Contest) -> None:
    own = replace(contest, max_new_tokens=3)
    *others, last = (row.row for row in blind._prompts(DATASET_ID, adapters.get(ONE).base_model_id))

    def voted(row: int) -> None:
        votes.add(
            id=files.new_id(), adapter_id=ONE, contest=own.key, held_out_row=row, first="base", second="adapted",
            shown_left="first", winner="first", details={},
        )  # fmt: skip

    for row in others:
        voted(row)
    assert blind.next_row(own, leave_out={last}).row == last and not blind.is_over(own)
    voted(last)
    assert blind.is_over(own) and not blind.is_over(replace(own, temperature=0.7))
    with pytest.raises(StudioError, match="same answers would come again"):
        blind.next_row(own)
    assert blind.next_row(replace(own, temperature=0.7)).row == others[0]


def test_votes_under_another_key_are_told_but_not_counted(contest: Contest) -> None:
    own = replace(contest, max_new_tokens=6)
    before = blind.standing(own).others
    given = blind.vote(blind.ask(own), "1")
    found = blind.standing(replace(own, temperature=0.1))
    assert (found.counts.total, found.others) == (0, before + 1)
    assert blind.standing(own, given.contest).others == before
    assert blind.standing(replace(own, first="few_shot")).others == 0, "those are other sides"
