from __future__ import annotations

import logging
import re
from collections.abc import Iterator

import gradio as gr
import pytest

from storage.errors import StudioError
from studio.notices import shown, told


def wrong_file() -> None:
    raise StudioError("The file has no rows.", "Choose another one.")


def broken() -> None:
    raise KeyError("secret detail")


def test_a_studio_error_reaches_the_user_word_for_word_and_stays() -> None:
    with pytest.raises(gr.Error) as caught:
        shown(wrong_file)()
    assert caught.value.message == "The file has no rows. Choose another one."
    assert caught.value.duration is None
    assert caught.value.print_exception is False
    assert caught.value.__cause__ is None


def test_an_unforeseen_error_gets_an_id_that_stands_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR), pytest.raises(gr.Error) as caught:
        shown(broken)()
    error_id = re.search(r"error (\w{8})", caught.value.message)[1]  # type: ignore[index]
    assert "secret detail" not in caught.value.message
    assert error_id in caplog.text
    assert "Traceback" in caplog.text
    assert "secret detail" in caplog.text


def test_gradios_own_errors_pass() -> None:
    own = gr.Error("as it is")

    def raises() -> None:
        raise own

    with pytest.raises(gr.Error) as caught:
        shown(raises)()
    assert caught.value is own


def test_a_generator_shows_what_it_had_and_then_the_error() -> None:
    @shown
    def counting() -> Iterator[int]:
        yield 1
        wrong_file()

    values = counting()
    assert next(values) == 1
    with pytest.raises(gr.Error, match="no rows"):
        next(values)


def test_a_generator_that_is_closed_ends_its_work() -> None:
    ended = []

    @shown
    def counting() -> Iterator[int]:
        try:
            yield 1
        finally:
            ended.append(True)

    values = counting()
    next(values)
    values.close()
    assert ended == [True]


def test_a_shown_function_keeps_its_name_and_its_signature() -> None:
    @shown
    def add(one: int, other: int = 1) -> int:
        """Sum."""
        return one + other

    assert (add.__name__, add.__doc__, add(1, other=2)) == ("add", "Sum.", 3)


def test_on_the_page_words_are_text_and_for_programs_they_are_as_they_are() -> None:
    def quotes() -> None:
        raise StudioError('The columns are "<img src=x>" & "b".')

    with pytest.raises(gr.Error) as caught:
        shown(quotes)()
    assert caught.value.message == 'The columns are "&lt;img src=x&gt;" &amp; "b".'
    with pytest.raises(gr.Error) as caught:
        told(quotes)()
    assert caught.value.message == 'The columns are "<img src=x>" & "b".'
