"""Settings ↔ Gradio fields, made from the settings' own metadata, so that no setting is written twice."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import gradio as gr

Choices = list[tuple[str, str]]
NO_CHOICES: Mapping[str, Choices] = {}


def fields_for(
    settings: type, names: Iterable[str], choices: Mapping[str, Choices] = NO_CHOICES
) -> dict[str, gr.components.Component]:
    """One labelled field per setting, with its help sentence under the label; empty means automatic.

    `settings` is a dataclass whose fields carry label, help, unit, minimum, maximum and choices as metadata,
    and what an empty field means. `choices` are (words, value) of settings whose values only the page knows.
    """
    known = {entry.name: entry for entry in dataclasses.fields(settings)}
    return {name: _field(known[name], choices.get(name)) for name in names}


def _field(entry: dataclasses.Field[Any], choices: Choices | None) -> gr.components.Component:
    about = entry.metadata
    default = None if entry.default is dataclasses.MISSING else entry.default
    if choices is not None:
        return gr.Dropdown(choices, value=choices[0][1], label=about["label"], info=about["help"])
    if about.get("choices"):
        return gr.Dropdown(list(about["choices"]), value=default, label=about["label"], info=about["help"])
    if isinstance(default, bool):
        # Wide enough that its words stand beside the box, not under one another.
        return gr.Checkbox(value=default, label=about["label"], info=about["help"], min_width=280)
    unit = f" · {about['unit']}" if about.get("unit") else ""
    return gr.Textbox(
        value="" if default in (None, ()) else str(default),
        label=f"{about['label']}{unit}",
        info=about["help"],
        placeholder=about.get("empty", "automatic"),
        max_lines=1,
    )


def filled_in(names: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    """What the fields say as settings JSON: empty ones are left out, so that they stay automatic."""
    return {name: value for name, value in zip(names, values, strict=True) if value not in (None, "")}
