"""What a browser tab had asked when its page was left, for when it comes back: a reload loses nothing."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress

from studio.compare.scene import Scene

MOST_TABS = 200
# Kept here and not in the browser: whoever leaves in mid-answer is not there any more to keep it.
_left: OrderedDict[str, tuple[str, Scene]] = OrderedDict()


def keep(tab: str | None, adapter_id: str, scene: Scene) -> None:
    """Remember what a tab has asked so far, in place of what it had asked before."""
    if not tab:
        return
    _left[tab] = (adapter_id, scene)
    with suppress(KeyError):  # another tab lets go of the oldest at the same moment
        while len(_left) > MOST_TABS:
            _left.popitem(last=False)


def forget(tab: str | None) -> None:
    """Somebody has begun anew."""
    _left.pop(tab or "", None)


def find(left: str, tab: str | None, adapter_id: str) -> Scene | None:
    """What the page that was called `left` had asked of this adapter, from now on `tab`'s; None for nothing.

    What was still being written has been stopped since.
    """
    adapter_then, scene = _left.get(left, ("", Scene()))
    if adapter_then != adapter_id or scene.now is None:
        return None
    keep(tab, adapter_id, scene.ended())
    return scene.ended()
