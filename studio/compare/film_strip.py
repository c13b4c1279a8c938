"""The same held-out prompts, answered again and again while the adapter learned → HTML, as a strip of film. Pure."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

SAME = '<p class="quiet">the same as before</p>'


def strip(film: Mapping[str, Any] | None) -> str:
    """A strip for each prompt, its wanted answer at the end; "" without a frame."""
    prompts = [one for one in (film or {}).get("prompts") or () if one["frames"]]
    return "".join(_prompt(one, number) for number, one in enumerate(prompts, start=1))


def _prompt(one: Mapping[str, Any], number: int) -> str:
    label = f"Prompt {number} while it learned"
    return (
        f'<div class="film"><div class="said">{html.escape(one["prompt"])}</div>'
        f'<ol class="frames" tabindex="0" aria-label="{label}">{_frames(one["frames"])}'
        f'<li class="frame wanted"><span class="quiet">Wanted answer</span>'
        f'<div class="text">{html.escape(one["wanted"])}</div></li></ol></div>'
    )


def _frames(frames: Sequence[Mapping[str, Any]]) -> str:
    shown, before = [], None
    for frame in frames:
        look, name = ("base", "Base model") if not frame["step"] else ("adapted", f"Step {frame['step']:,}")
        text = html.escape(frame["text"]) or '<span class="quiet">(nothing)</span>'
        body = SAME if frame["text"] == before else f'<div class="text">{text}</div>'
        before = frame["text"]
        shown.append(f'<li class="frame of-{look}"><span class="of-side of-{look}">{name}</span>{body}</li>')
    return "".join(shown)
