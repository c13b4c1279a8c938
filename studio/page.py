"""Assemble the page: seven places in one Gradio application, and the named endpoints."""

from __future__ import annotations

import gradio as gr

from studio import endpoints
from studio.layout import ASIDE, STEPS
from studio.tabs import compare, data, explain, model, runs, system, train

BUILDERS = {
    "/": data.build,
    "/model": model.build,
    "/train": train.build,
    "/compare": compare.build,
    "/runs": runs.build,
    "/explain": explain.build,
    "/system": system.build,
}


def build() -> gr.Blocks:
    """The whole page; every handler has its own queue place, so nobody waits for somebody else's click."""
    first, *others = [*STEPS, *ASIDE]
    with gr.Blocks(
        title="LoRA Tailor",
        analytics_enabled=False,
        fill_width=True,
        delete_cache=(3600, 24 * 3600),
    ) as page:
        BUILDERS[first.path](page)
        endpoints.add()
    for place in others:
        with page.route(place.word, place.path, show_in_navbar=False):
            BUILDERS[place.path](page)
    page.queue(default_concurrency_limit=8)
    return page
