"""Where errors become sentences: a StudioError as it is, anything else with an id that stands in the log."""

from __future__ import annotations

import functools
import html
import inspect
import logging
import secrets
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, TypeVar

import gradio as gr

from storage.errors import DamagedDatabase, StudioError

log = logging.getLogger("lora_tailor.page")
Function = TypeVar("Function", bound=Callable[..., Any])


def shown(function: Function) -> Function:
    """Decorate a handler of the page, generators too: whatever it raises becomes a notice.

    Gradio shows a notice as HTML, so the words are escaped: they may quote a file or a model.
    """
    return _with_words(function, lambda sentence: html.escape(sentence, quote=False))


def told(function: Function) -> Function:
    """Decorate what programs call: the same words as `shown`, as plain text."""
    return _with_words(function, lambda sentence: sentence)


def passes(error: StudioError) -> bool:
    """Whether the world is at fault (a busy or broken database, a full disk), not what was asked for.

    Such an error has the failure as its cause; that there is nothing of a name has none.
    """
    return error.__cause__ is not None or isinstance(error, DamagedDatabase)


def _with_words(function: Function, written: Callable[[str], str]) -> Function:
    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def run_generator(*values: Any, **named: Any) -> Iterator[Any]:
            try:
                yield from function(*values, **named)
            except Exception as error:  # noqa: BLE001  # the page's edge
                _raise_in_words(error, function.__qualname__, written)

        return run_generator  # type: ignore[return-value]

    @functools.wraps(function)
    def run(*values: Any, **named: Any) -> Any:
        try:
            return function(*values, **named)
        except Exception as error:  # noqa: BLE001  # the page's edge
            _raise_in_words(error, function.__qualname__, written)

    return run  # type: ignore[return-value]


def _raise_in_words(error: Exception, name: str, written: Callable[[str], str]) -> NoReturn:
    if isinstance(error, gr.Error):
        raise error
    if isinstance(error, StudioError):
        sentence = str(error)
    else:
        error_id = secrets.token_hex(4)
        log.error("error %s in %s", error_id, name, exc_info=error)
        sentence = (
            f"Something unexpected went wrong (error {error_id}). Nothing was lost. "
            "The details stand in logs/studio.log of the data folder under that id."
        )
    # duration None: an error stays until it has been read.
    raise gr.Error(
        written(sentence), duration=None, title="That did not work", print_exception=False
    ) from None
