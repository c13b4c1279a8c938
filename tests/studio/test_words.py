from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from studio import words
from tests.studio.test_tables import JOB


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (884_736, "884,736"),
        (999_999, "1 million"),
        (1_000_000, "1 million"),
        (2_451_968, "2.5 million"),
        (134_515_008, "135 million"),
        (999_960_000, "1 billion"),
        (8_030_000_000, "8 billion"),
        (7.6e12, "7.6 trillion"),
    ],
)
def test_counts_are_said_as_people_say_them(number: float, text: str) -> None:
    assert words.count(number) == text


def test_an_exact_count_has_separators() -> None:
    assert words.exact(2_451_968) == "2,451,968"


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (9_800_000, "9.8 MB"),
        (999_960, "1.0 MB"),
        (270e6, "270 MB"),
        (16.1e9, "16.1 GB"),
    ],
)
def test_sizes_are_in_decimal_units(size_bytes: float, text: str) -> None:
    assert words.size(size_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "a second"),
        (80, "80 seconds"),
        (90, "2 minutes"),
        (250, "4 minutes"),
        (7_200, "2.0 hours"),
        (260_000, "3.0 days"),
    ],
)
def test_durations_are_rounded_to_what_matters(seconds: float, text: str) -> None:
    assert words.duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (80, "80 seconds"),
        (90, "1 minute 30"),
        (101, "1 minute 40"),
        (118, "2 minutes"),
        (594, "9 minutes 50"),
        (600, "10 minutes"),
    ],
)
def test_what_is_foreseen_is_said_to_ten_seconds(seconds: float, text: str) -> None:
    assert words.closely(seconds) == text


@pytest.mark.parametrize(
    ("seconds_error", "peak_error", "said"),
    [
        (None, None, ""),
        (-0.03, 0.2, " It took 3 % longer than foreseen, and it needed 17 % less memory than foreseen."),
        (0.25, -0.5, " It took 20 % less time than foreseen, and it needed 100 % more memory than foreseen."),
        (0.001, 0.004, " It took as long as foreseen, and it needed as much memory as foreseen."),
        (None, 0.0, " It needed as much memory as foreseen."),
    ],
)
def test_the_end_of_a_run_is_held_against_its_rehearsal(
    seconds_error: float | None, peak_error: float | None, said: str
) -> None:
    rehearsal = {"seconds_error": seconds_error, "peak_error": peak_error}
    job = dataclasses.replace(
        JOB, foreseen_seconds=100.0, foreseen_peak_bytes=2_100_000_000, result={"rehearsal": rehearsal}
    )
    assert words.foreseen(job) == "Foreseen: about 1 minute 40, 2.1 GB." + said
    assert words.foreseen(JOB) == ""


def test_every_sentence_on_how_a_run_computes_is_said_once() -> None:
    job = dataclasses.replace(JOB, notes=["a", "b"], result={"words": ["a"], "notes": ["c"]})
    assert words.how(job) == ["a", "b", "c"]
    assert words.how(dataclasses.replace(JOB, result={"words": None})) == []


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(2.4e6, 135e6, "1.8 %"), (1, 2, "50 %"), (1, 0, "0 %"), (0, 5, "0 %"), (1, 1e9, "less than 0.0001 %")],
)
def test_shares_keep_two_digits(part: float, whole: float, text: str) -> None:
    assert words.share(part, whole) == text


def test_nouns_follow_their_number() -> None:
    assert [words.many(number, "row") for number in (0, 1, 1200)] == ["0 rows", "1 row", "1,200 rows"]
    assert words.many(2, "adapter") == "2 adapters"


def test_long_lists_of_rows_are_cut_with_how_many_follow() -> None:
    assert words.rows_named([3]) == "row 3"
    assert words.rows_named([3, 17, 20]) == "rows 3, 17, 20"
    assert words.rows_named(list(range(1, 13)), most=3) == "rows 1, 2, 3 and 9 more"


def test_hover_text_is_text() -> None:
    assert words.hover("<b>", '"x"') == '<span title="&quot;x&quot;">&lt;b&gt;</span>'


def test_the_page_has_a_sentence_for_every_state_of_a_run() -> None:
    from storage import jobs

    assert {*jobs.STATUSES, "paused", "silent", "deleted"} <= set(words.CURVE)


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (1, "next in the queue"),
        (2, "2nd in the queue"),
        (3, "3rd in the queue"),
        (11, "11th in the queue"),
        (21, "21st in the queue"),
        (112, "112th in the queue"),
        (1003, "1,003rd in the queue"),
    ],
)
def test_places_in_the_queue(place: int, text: str) -> None:
    assert words.in_queue(place) == text


@pytest.mark.parametrize(
    ("changes", "state", "said"),
    [
        ({}, "queued", "Waiting: 2nd in the queue."),
        (
            {"attempt": 1, "paused_for": "The disk is full: needs 1.2 GB, 0.3 GB free. Run paused."},
            "paused",
            "The disk is full: needs 1.2 GB, 0.3 GB free. Run paused. It goes on by itself when there is room.",
        ),
        ({"paused_for": "The disk is full. It begins."}, "paused", "The disk is full. It begins."),
        ({"status": "running", "paused_for": "The disk is full."}, "running", "The disk is full."),
        (
            {"status": "running", "silent_seconds": 720.0},
            "silent",
            "No progress for 12 minutes. If that is not expected, Stop ends it.",
        ),
        ({"status": "running"}, "running", ""),
        ({"status": "stopping", "silent_seconds": 720.0}, "stopping", ""),
        (
            {"status": "stopping", "deleting": True},
            "stopping",
            "It is deleted as soon as its process has ended.",
        ),
        ({"status": "finished"}, "finished", ""),
    ],
)
def test_what_keeps_a_run_is_said_in_a_sentence(changes: dict[str, Any], state: str, said: str) -> None:
    job = dataclasses.replace(JOB, **changes)
    assert (words.curve(job), words.standing(job, 2)) == (state, said)


@pytest.mark.parametrize(
    ("tried", "result", "text"),
    [
        ([], {}, "8"),
        ([4, 16], {}, "4, 16"),
        ([4, 16], {"trials": [{"rank": 4}, {"rank": 16}], "best_trial": None}, "4, 16"),
        ([4, 16], {"trials": [{"rank": 4}, {"rank": 16}], "best_trial": 1}, "16, kept of 4, 16"),
    ],
)
def test_a_run_of_several_ranks_names_them_and_the_kept_one(
    tried: list[int], result: dict[str, object], text: str
) -> None:
    job = dataclasses.replace(JOB, rank=8, settings={"try_ranks": tried}, result=result)
    assert words.ranks(job) == text
