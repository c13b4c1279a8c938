"""A part of the Compare page: what it shows of an adapter, and how that is found when another one is chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# For handlers of this page: nothing flickers, and nobody waits for somebody else's click.
QUIET: dict[str, Any] = {"show_progress": "hidden", "concurrency_limit": None, "api_visibility": "private"}


@dataclass(frozen=True)
class Part:
    """`choose(adapter id, None for none)` gives the values of `outputs`; it is asked on load and at every choice.

    After one of its `changes` to the adapter, such as another kept strength, the other parts' `again` is asked, which
    leaves alone what people type. Once the page is opened `comes_back` wires to the event that it is handed what the
    browser tab finds again of before.
    """

    outputs: list[Any]
    choose: Callable[[str | None], Sequence[Any]]
    changes: Sequence[Any] = ()
    again: Callable[[str], Mapping[Any, Any]] | None = None
    comes_back: Callable[[Callable[..., Any]], None] | None = None
