"""Settings ↔ Gradio fields, made from the settings' own metadata, so that no setting is written twice."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import gradio as gr


def fields_for(settings: type, names: Iterable[str]) -> dict[str, gr.components.Component]:
    """One labelled field per setting, with its help sentence under the label; empty means automatic.

    `settings` is a dataclass whose fields carry label, help, unit, minimum, maximum and choices as metadata.
    """
    known = {entry.name: entry for entry in dataclasses.fields(settings)}
    return {name: _field(known[name]) for name in names}


def _field(entry: dataclasses.Field[Any]) -> gr.components.Component:
    about = entry.metadata
    if about.get("choices"):
        return gr.Dropdown(
            list(about["choices"]), value=entry.default, label=about["label"], info=about["help"]
        )
    if isinstance(entry.default, bool):
        return gr.Checkbox(value=entry.default, label=about["label"], info=about["help"])
    unit = f" · {about['unit']}" if about.get("unit") else ""
    value = "" if entry.default is None else str(entry.default)
    return gr.Textbox(
        value=value, label=f"{about['label']}{unit}", info=about["help"], placeholder="automatic", max_lines=1
    )


def filled_in(names: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    """What the fields say as settings JSON: empty ones are left out, so that they stay automatic."""
    return {name: value for name, value in zip(names, values, strict=True) if value not in (None, "")}
