"""The film strip of a run on the Train page: the same held-out prompts, answered again while it learns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from jobs.evaluation import film
from storage import jobs
from storage.errors import StudioError
from studio.charts import OPEN
from studio.compare import film_strip
from studio.notices import shown

LOOK_SECONDS = 5
QUIET: dict[str, Any] = {"show_progress": "hidden", "concurrency_limit": None, "api_visibility": "private"}
TITLE = (
    '<h2>What it answers by now</h2><p class="quiet">Three examples that training never sees, asked again each time '
    "the held-out loss is measured.</p>"
)


@dataclass
class TrainFilm:
    """The components; `frames` is how many are shown, so that nothing is drawn again for nothing."""

    strip: gr.HTML
    frames: gr.State
    timer: gr.Timer

    @property
    def drawn(self) -> list[Any]:
        """Outputs of `opened` and `looked`."""
        return [self.strip, self.frames, self.timer]


def build(run_id: gr.State) -> TrainFilm:
    """Lay the strip out; it is unseen until there is a frame."""
    strip = gr.HTML(apply_default_css=False, elem_id="film")
    made = TrainFilm(strip, gr.State(0), gr.Timer(LOOK_SECONDS, active=False))
    made.timer.tick(shown(looked), [run_id, made.frames], made.drawn, **QUIET)
    return made


def opened(job_id: str | None) -> tuple[Any, ...]:
    """The film of a run as it is now: [strip, number of frames, timer]."""
    return looked(job_id, 0)


def looked(job_id: str | None, frames: int) -> tuple[Any, ...]:
    """The same, where there are other frames than the `frames` that are shown."""
    try:
        job = jobs.get(job_id) if job_id else None
    except StudioError:  # deleted meanwhile
        job = None
    found = film.of(job) if job else None
    count = sum(len(one["frames"]) for one in (found or {}).get("prompts") or ())
    timer = gr.Timer(active=job is not None and job.status in OPEN)
    if count == frames and count:
        return gr.skip(), frames, timer
    strip = film_strip.strip(found)
    return (f'<section class="card">{TITLE}{strip}</section>' if strip else ""), count, timer
