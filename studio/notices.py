"""Where errors become sentences: a StudioError as it is, anything else with an id that stands in the log."""

from __future__ import annotations

import functools
import inspect
import logging
import secrets
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, TypeVar

import gradio as gr

from storage.errors import StudioError

log = logging.getLogger("lora_tailor.page")
Function = TypeVar("Function", bound=Callable[..., Any])


def _show(error: Exception, name: str) -> NoReturn:
    if isinstance(error, gr.Error):
        raise error
    if isinstance(error, StudioError):
        # duration None: an error stays until it has been read.
        raise gr.Error(str(error), duration=None, title="That did not work", print_exception=False) from None
    error_id = secrets.token_hex(4)
    log.exception("error %s in %s", error_id, name, exc_info=error)
    raise gr.Error(
        f"Something unexpected went wrong (error {error_id}). Nothing was lost. "
        "The details stand in logs/studio.log of the data folder under that id.",
        duration=None,
        title="That did not work",
        print_exception=False,
    ) from None


def shown(function: Function) -> Function:
    """Decorate an event handler so that whatever it raises reaches the user in words; generators too."""
    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def run_generator(*values: Any, **named: Any) -> Iterator[Any]:
            try:
                yield from function(*values, **named)
            except Exception as error:  # noqa: BLE001  # the page's edge
                _show(error, function.__qualname__)

        return run_generator  # type: ignore[return-value]

    @functools.wraps(function)
    def run(*values: Any, **named: Any) -> Any:
        try:
            return function(*values, **named)
        except Exception as error:  # noqa: BLE001  # the page's edge
            _show(error, function.__qualname__)

    return run  # type: ignore[return-value]
