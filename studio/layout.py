"""The frame that all pages share: the bar with the four steps, a question as the title, its answer in one sentence."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import gradio as gr


@dataclass(frozen=True)
class Place:
    """One page of the studio: its address, its word in the bar, the question it answers."""

    path: str
    word: str
    question: str


STEPS = [
    Place("/", "Data", "Are my examples good?"),
    Place("/model", "Model", "Which model, and what does it cost?"),
    Place("/train", "Train", "Is it learning?"),
    Place("/compare", "Compare", "Did it work?"),
]
ASIDE = [
    Place("/runs", "Runs", "What has been trained?"),
    Place("/explain", "Explain", "What does LoRA do?"),
    Place("/system", "System", "What runs here?"),
]
PLACES = {place.path: place for place in [*STEPS, *ASIDE]}


def address(path: str, **ids: str | None) -> str:
    """A page's address with what it shows, e.g. address("/train", run="k3x…") -> "/train?run=k3x…"."""
    query = urlencode({name: value for name, value in ids.items() if value})
    return f"{path}?{query}" if query else path


def bar(path: str) -> gr.HTML:
    """The bar on top; links keep what is chosen (dataset, model, run), since studio.js carries the query along."""
    # Gradio's own bar knows neither steps nor what is chosen.
    gr.Navbar(visible=False)
    steps = "".join(
        f'<li><a href="{place.path}" data-keep {_current(place, path)}>'
        f'<span class="number" aria-hidden="true">{number}</span>{place.word}</a></li>'
        for number, place in enumerate(STEPS, start=1)
    )
    aside = "".join(
        f'<li><a href="{place.path}" data-keep {_current(place, path)}>{place.word}</a></li>'
        for place in ASIDE
    )
    return gr.HTML(
        '<a class="skip" href="#answer">Skip to the answer</a>'
        '<a class="brand" href="/">LoRA <b>Tailor</b></a>'
        f'<nav aria-label="Steps"><ol>{steps}</ol></nav><nav class="aside" aria-label="More"><ul>{aside}</ul></nav>',
        elem_id="bar",
        apply_default_css=False,
    )


def question(path: str, answer: str = "") -> gr.HTML:
    """The page's title and, under it, the place for its answer; returns the component to update with `answered`."""
    return gr.HTML(answered(path, answer), elem_id="answer", apply_default_css=False)


def answered(path: str, answer: str) -> str:
    """HTML of the title with a one-sentence answer; `answer` is HTML already, escape what comes from people."""
    return f'<h1>{PLACES[path].question}</h1><p class="answer" role="status">{answer}</p>'


# For handlers that never fail and answer at once. Gradio closes a page's stream of queued answers when it believes
# that none is awaited, and a click at that moment loses its answer; what goes past the queue leaves the stream to
# the clicks that matter. (An error raised past the queue would not be shown.)
DIRECT: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "queue": False}


# For one handler behind many buttons, which differ in what they send: Gradio would leave out what is clicked while an
# earlier click is still being answered. Here they wait their turn.
EVERY_CLICK: dict[str, Any] = {"trigger_mode": "multiple", "concurrency_limit": 1}


# For a gr.HTML with buttons that send something (tables.button): its `select` event carries it.
SENDS = """element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-sends]');
  if (button) trigger(button.dataset.event || 'select', JSON.parse(button.dataset.sends));
});"""


def unseen() -> gr.Textbox:
    """A value that scripts of the page may read as well (a gr.State never leaves the server)."""
    return gr.Textbox(visible=False)


def focus(*selectors: str) -> str:
    """JavaScript that puts the focus on the first of these elements that is there, once Gradio has drawn it."""
    found = " || ".join(f"document.querySelector({selector!r})" for selector in selectors)
    return f"() => setTimeout(() => ({found})?.focus(), 80)"


def strong(text: str) -> str:
    """A few words in the accent colour, escaped."""
    return f"<strong>{html.escape(text)}</strong>"


def empty(words: str, link: str, link_words: str) -> str:
    """What an empty page says: what is missing and the link that brings it."""
    return (
        f'<div class="empty"><p>{html.escape(words)}</p>'
        f'<a class="button" href="{html.escape(link)}">{html.escape(link_words)}</a></div>'
    )


def query(request: gr.Request, name: str) -> str | None:
    """A value of the page's own address, e.g. the run that a bookmark shows; None when absent."""
    value = dict(request.query_params).get(name) if request else None
    return str(value) if value else None


def _current(place: Place, path: str) -> str:
    return 'aria-current="page"' if place.path == path else ""
