"""What stands in a single text: secrets, personal data, damage. What only looks like it is left alone."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.datasets.checks import damage, personal
from jobs.datasets.checks.facts import BIT, Names, facts_of
from tests.jobs.datasets.clean_sets import pair


def found(text: str) -> set[str]:
    row = {"row": 1, "split": "train", "messages": pair("Hello, who is there?", text)}
    bits = facts_of(row, Names())[2]
    return {code for code, bit in BIT.items() if bits & bit}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("AKIAIOSFODNN7EXAMPLE", "secret"),
        ("the password is Tr0ub4dor&3.", "secret"),
        ("mysql://root:hunter22@db.internal/shop", "secret"),
        ("Write to ada.l+x@mail.example.co.uk!", "email_address"),
        ("Call (415) 555-2671.", "phone_number"),
        ("+49 170 1234567", "phone_number"),
        ("Tel. 030 1234567", "phone_number"),
        ("4111 1111 1111 1111", "card_number"),
        ("378282246310005", "card_number"),
        ("GrÃ¶ÃŸe", "mojibake"),
        ("It isnâ€™t", "mojibake"),
        ("a\x00b", "control_characters"),
        ("a\u200bb", "control_characters"),
        ("one<br>two", "html_remains"),
        ("Tom &amp; Ada", "html_remains"),
        ("Gr\ufffdn", "lost_character"),
    ],
)
def test_what_stands_there_is_found(text: str, code: str) -> None:
    assert code in found(text)


@pytest.mark.parametrize(
    "text",
    [
        "password: at least 8 characters",
        "password = input('Password: ')",
        "Your password is required.",
        "api_key = os.environ['API_KEY']",
        "token: <your-token>",
        "My order number is 4012888888881882.",
        "Order 123-456-7890 was sent on 2024-05-12 at 10:30.",
        "Call on 2024-05-12 or on 12.05.2024.",
        "ISBN 978-3-16-148410-0, IBAN DE89 3704 0044 0532 0130 00",
        "There are 12 345 678 people, 1 234 567 of them in 1990-2000.",
        "3.14159265358979 and 192.168.100.200",
        "icon@2x.png and git@github.com:a/b",
        "São Paulo, naïve, Größe, señor, “quoted” – and more…",
        "a\tb\nc, emoji 👩‍🚀 and می‌خواهم",
        "Is a < b and c > d? Then a <b> c.",
        "AT&T; R&D; Q&A",
        "| a | b |\n|---|---|\n| x<br>y | z |",
        "Use the HTML tag <br> here.",
        "```\n<p>&amp;</p>\n```",
    ],
)
def test_what_only_looks_like_it_is_left_alone(text: str) -> None:
    assert found(text) == set()


PIECES = st.sampled_from(
    [
        *(
            "<p>",
            "</p>",
            "<br/>",
            "&amp;",
            "&lt;",
            "b>",
            "&quot;",
            "<b>",
            "</b>",
            "<!--",
            "-->",
            "<script>",
            "</script>",
        ),
        *(
            "\x00",
            "\u200b",
            "\x1b[0m",
            "\x85",
            "\ufeff",
            "Ã¼",
            "Ã",
            "â€™",
            "{",
            "}",
            '"',
            "\n",
            "\r",
            " ",
            "a",
            "é",
            "1",
        ),
        *(
            "@",
            "a@b.de",
            "+49 170 1234567",
            "4111111111111111",
            "password=",
            "x7Y&z9!",
            "://",
            ":",
            "[email]",
        ),
        "AKIAIOSFODNN7EXAMPLE",
    ]
)
TEXTS = st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=14).map("".join))


@settings(max_examples=300, deadline=None)
@given(text=TEXTS)
def test_a_repaired_text_needs_no_other_repair_of_its_kind(text: str) -> None:
    for code in ("mojibake", "control_characters", "html_remains"):
        once = damage.repaired(code, text)
        assert damage.repaired(code, once) == once
        assert code not in set(damage.damages(pair("Hello?", once), once))


@settings(max_examples=300, deadline=None)
@given(text=TEXTS)
def test_a_masked_text_holds_nothing_of_the_kind_any_more(text: str) -> None:
    for code in personal.MASKS:
        once = personal.masked(code, text)
        assert personal.masked(code, once) == once
        assert personal.found(code, once) == []


def test_texts_made_to_be_slow_are_read_in_time_that_grows_with_their_length() -> None:
    beginnings = [
        "<!--",
        "<script>",
        "<a>",
        "<br>|",
        "sk-",
        "eyJ",
        "1 ",
        "a@",
        "-----BEGIN PRIVATE KEY-----",
        "password=",
    ]
    for beginning in [*beginnings, "&a", "<p x", "\x1b[", "Ã¼", "a.", "://b:", "call 1234567 ", "```", "**a"]:
        began = time.process_time()
        found(beginning * (200_000 // len(beginning)) + "x")
        assert time.process_time() - began < 5, beginning
