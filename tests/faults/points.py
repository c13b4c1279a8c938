"""Moments at which a real process of the studio waits to be killed.

The product knows nothing of this: the entry points in `tests.faults.entry` wrap its functions in their own
process. A process that comes by the point which is armed says so in a file and waits there, once, until it is
killed or released.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage import files

POLL_SECONDS = 0.01
FOLDER, PLAN_FILE = "faults", "plan.json"


def folder() -> Path:
    """Where processes and tests leave each other messages, in the data folder."""
    path = files.root() / FOLDER
    path.mkdir(parents=True, exist_ok=True)
    return path


# -- for the test --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Armed:
    """One point at which the next process to come by waits."""

    id: str
    point: str

    @property
    def _reached(self) -> Path:
        return folder() / f"{self.id}.reached"

    def pid(self) -> int | None:
        """Who waits there, or has waited; None as long as nobody has come by."""
        return int(self._reached.read_text()) if self._reached.exists() else None

    def release(self) -> None:
        """Let whoever waits go on, and nobody wait any more."""
        (folder() / PLAN_FILE).unlink(missing_ok=True)


def arm(point: str) -> Armed:
    """Let the next process that comes by `point` wait there."""
    armed = Armed(files.new_id(), point)
    draft = folder() / f".{armed.id}"
    draft.write_text(json.dumps({"id": armed.id, "point": point}))
    os.replace(draft, folder() / PLAN_FILE)
    return armed


# -- for the process -----------------------------------------------------------------------------------------


def pass_by(point: str) -> None:
    """Wait here if this is the armed point and nobody has waited there yet."""
    plan = _plan()
    if plan is None or plan["point"] != point:
        return
    draft = folder() / f".{plan['id']}.{os.getpid()}"
    draft.write_text(str(os.getpid()))
    try:
        os.link(draft, folder() / f"{plan['id']}.reached")
    except FileExistsError:
        return
    finally:
        draft.unlink()
    while _plan() == plan:
        time.sleep(POLL_SECONDS)


def before(owner: Any, name: str, point: str, when: Callable[..., bool] = lambda *_, **__: True) -> None:
    """Make `point` the moment before a call of `owner.name` for whose arguments `when` is true."""
    real = getattr(owner, name)

    def wrapped(*arguments: Any, **named: Any) -> Any:
        if when(*arguments, **named):
            pass_by(point)
        return real(*arguments, **named)

    setattr(owner, name, wrapped)


def after(owner: Any, name: str, point: str, when: Callable[..., bool] = lambda *_, **__: True) -> None:
    """Make `point` the moment after a call of `owner.name` for whose arguments `when` is true."""
    real = getattr(owner, name)

    def wrapped(*arguments: Any, **named: Any) -> Any:
        result = real(*arguments, **named)
        if when(*arguments, **named):
            pass_by(point)
        return result

    setattr(owner, name, wrapped)


def _plan() -> dict[str, str] | None:
    try:
        plan: dict[str, str] = json.loads((files.root() / FOLDER / PLAN_FILE).read_bytes())
    except FileNotFoundError:
        return None
    return plan
