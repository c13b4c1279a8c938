"""What a browser tab had asked when its page was left, for when it comes back: a reload loses nothing."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, replace

from studio.compare.scene import Scene

MOST_TABS = 200


@dataclass(frozen=True)
class Left:
    """What a tab had asked of an adapter; at a strength that is `replaced`, another one was kept since."""

    adapter_id: str
    scene: Scene
    replaced: float | None = None


# Kept here and not in the browser: whoever leaves in mid-answer is not there any more to keep it.
_left: OrderedDict[str, Left] = OrderedDict()


def keep(tab: str | None, adapter_id: str, scene: Scene) -> None:
    """Remember what a tab has asked so far, in place of what it had asked before."""
    before = _left.get(tab or "")
    _put(tab, Left(adapter_id, scene, before.replaced if before else None))


def strength_is_kept(tab: str | None) -> None:
    """The adapter has a strength of its own from now on: its dial shall not go back to the one of the answers."""
    before = _left.get(tab or "")
    if before is not None and before.scene.now is not None:
        _put(tab, replace(before, replaced=before.scene.now.settings["strength"]))


def forget(tab: str | None) -> None:
    """Somebody has begun anew."""
    _left.pop(tab or "", None)


def find(left: str, tab: str | None, adapter_id: str) -> tuple[Scene, float | None] | None:
    """What the page that was called `left` had asked of this adapter, from now on `tab`'s; None for nothing.

    With it the strength that the dial had, None for the adapter's own. What was being written has been stopped since.
    """
    found = _left.get(left)
    if found is None or found.adapter_id != adapter_id or found.scene.now is None:
        return None
    found = replace(found, scene=found.scene.ended())
    _put(tab, found)
    strength = found.scene.now.settings["strength"] if found.scene.now else None
    return found.scene, None if strength == found.replaced else strength


def _put(tab: str | None, left: Left) -> None:
    if not tab:
        return
    _left[tab] = left
    with suppress(KeyError):  # another tab lets go of the oldest at the same moment
        while len(_left) > MOST_TABS:
            _left.popitem(last=False)
