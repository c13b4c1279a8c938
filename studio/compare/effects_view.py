"""Side effects → HTML: one needle with words, what moved it, and the answers that changed. Pure."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jobs.evaluation.side_effect_words import CODES
from studio import tables, words

Effects = Mapping[str, Any]
# Each of the words has the same width on the scale, however wide its share of the needle's range is.
ZONES = [words_of_it for _, _, words_of_it in CODES]
EDGES = [*(edge for edge, _, _ in CODES), 1.0]


def side_effects(found: Effects) -> str:
    """The needle, the sentence under it, the numbers, and the answers in a fold."""
    return (
        f'{needle(found)}<p class="needle-said">{html.escape(found["sentence"])}</p>{tables.facts(_facts(found))}'
        f"{_changed(_some_of(found), found.get('examples') or ())}{_own(found.get('own') or {})}"
        f"{_copied(found.get('copied') or {})}"
    )


def _some_of(found: Effects) -> str:
    """What the shown answers are some of."""
    changed = found["prompts"] - found["unchanged"]
    shown = len(found.get("examples") or ())
    return "Answers that changed" if shown >= changed else f"Of {changed} answers that changed, shown here"


def needle(found: Effects) -> str:
    """How far the adapter moved what it was not trained for, with its words for those who cannot see it."""
    # A prompt that must not change and did makes the words graver than the needle alone.
    least = next((edge for edge, code, _ in CODES if code == found["code"]), 0.0)
    place = float(np.interp(max(found["needle"], least), EDGES, np.linspace(0, 1, len(EDGES))))
    said = html.escape(str(found["words"]))
    segments = '<span class="zone"></span>' * len(CODES)
    names = "".join(
        f"<{tag}>{zone}</{tag}>" for zone in ZONES for tag in ["b" if zone == found["words"] else "span"]
    )
    return (
        f'<div class="needle" role="meter" aria-label="Side effects" aria-valuemin="0" aria-valuemax="100" '
        f'aria-valuenow="{100 * place:.0f}" aria-valuetext="{said}"><div class="scale">{segments}'
        f'<i style="left:{100 * place:.1f}%"></i></div><div class="zones" aria-hidden="true">{names}</div></div>'
    )


def _facts(found: Effects) -> list[tuple[str, str]]:
    facts = [("Unrelated questions answered as before", f"{found['unchanged']} of {found['prompts']}")]
    own = found.get("own") or {}
    if own.get("prompts"):
        facts.append(("Your own that must not change", f"{own['unchanged']} of {own['prompts']} as before"))
    if drift := found.get("drift"):
        same = words.hover(
            f"{100 * drift['overlap']:.0f} % of the words are the same",
            f"KL divergence from the base model on its own answers: {drift['kl_per_token']:.3f} nats a token",
        )
        facts.append(("Drift from the base model", same))
    for name, said in (("refusals", "Declines to answer"), ("loops", "Runs in circles")):
        if name in found:
            facts.append((said, f"{found[name]['base']} → {found[name]['adapted']} of {found['prompts']}"))
    if style := found.get("style"):
        shares = f"{100 * style['base']:.0f} % → {100 * style['adapted']:.0f} %"
        kept = f' <span class="quiet">{html.escape(style.get("words") or "")}</span>'
        facts.append(("Has the trained style where nobody asked for it", shares + kept))
    if copied := found.get("copied"):
        facts.append(("Answers that repeat a training answer", str(copied["answers"])))
    return facts


def _changed(title: str, examples: Sequence[Mapping[str, Any]]) -> str:
    if not examples:
        return ""
    parts = "".join(_example(one) for one in examples)
    return f"<details><summary>{title}: {len(examples)}</summary>{parts}</details>"


def _example(one: Mapping[str, Any]) -> str:
    why = f'<p class="quiet">{html.escape(str(one["why"]))}</p>' if one.get("why") else ""
    return (
        f'<div class="changed-answer"><div class="said">{html.escape(one["prompt"])}</div>{why}'
        f'<div class="every-answer">{_side("base", "Base model", one["base"])}'
        f"{_side('adapted', 'Adapter', one['adapted'])}</div></div>"
    )


def _side(side: str, name: str, text: str) -> str:
    shown = html.escape(text) or '<span class="quiet">(nothing)</span>'
    return (
        f'<div class="side of-{side}" role="group" aria-label="{name}"><header><h4>'
        f'<span class="of-side of-{side}">{name}</span></h4></header><div class="text">{shown}</div></div>'
    )


def _own(own: Mapping[str, Any]) -> str:
    return _changed("Your own prompts that changed", own.get("examples") or ())


def _copied(copied: Mapping[str, Any]) -> str:
    found = copied.get("examples") or ()
    if not found:
        return ""
    rows = [[html.escape(one[name]) for name in ("prompt", "answer", "training")] for one in found]
    table = tables.table("Repeated training answers", ["question", "answer", "training answer"], rows)
    return f"<details><summary>Repeated training answers: {len(found)}</summary>{table}</details>"
