from __future__ import annotations

import pytest

from studio import words


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

    assert set(jobs.STATUSES) - {"running"} <= set(words.CURVE)
