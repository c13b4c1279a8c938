"""One request to the model server that runs; light, because every job's process imports it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import httpx

from jobs.executors import processes
from jobs.serving import address
from jobs.serving.address import TOKEN_HEADER, Address
from storage import files
from storage.errors import StudioError

CALL_SECONDS = 30.0
# Loading a large base model from a slow disk comes before its first token.
SILENCE_SECONDS = 15 * 60.0
ENDING_SECONDS = 120.0


class ServerGone(StudioError):
    """The model server ended in the middle; a new one may be asked the same."""


def free_device() -> None:
    """Make the model server give its memory back; returns when it has, and does nothing where none runs."""
    server = address.read()
    if server is None:
        return
    if call(server, "POST", "/free", SILENCE_SECONDS)["ends"]:
        deadline = time.monotonic() + ENDING_SECONDS
        # Its memory is back when the last of its threads has ended, after the process itself counts as gone.
        while not processes.has_left(server.process) and time.monotonic() < deadline:
            time.sleep(0.05)


def call(server: Address, method: str, path: str, silence_seconds: float = CALL_SECONDS) -> dict[str, Any]:
    """The server's whole answer.

    Raises: StudioError when it does not answer, or refuses.
    """
    with errors_in_words(), connection(server, silence_seconds) as opened:
        response = opened.request(method, path)
        response.raise_for_status()
        return cast(dict[str, Any], response.json())


def connection(server: Address, silence_seconds: float) -> httpx.Client:
    """What speaks with the server, as somebody who may."""
    # Proxies of the environment are left alone: the server is on this machine.
    return httpx.Client(
        base_url=server.url,
        headers={TOKEN_HEADER: server.token},
        timeout=httpx.Timeout(silence_seconds, connect=5.0),
        trust_env=False,
    )


@contextmanager
def errors_in_words() -> Iterator[None]:
    """Say in words that the server went away or refused."""
    try:
        yield
    except httpx.HTTPError as error:
        # One that keeps silent still runs, and would do so when it is asked again.
        gone = isinstance(error, httpx.TransportError) and not isinstance(error, httpx.ReadTimeout)
        raise (ServerGone if gone else StudioError)(*_unanswered(type(error).__name__)) from error


def gone() -> ServerGone:
    """The error for an answer that ends before its end."""
    return ServerGone(*_unanswered("no end"))


def _unanswered(how: str) -> tuple[str, str]:
    return (
        f"The model server did not answer to the end ({how}).",
        f"Ask again. If it happens twice, the reason is in {files.log_path('server')}.",
    )
