"""The film strip of a run: what it answered to three held-out prompts on its way, from the base model on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jobs.serving.schema import SideAnswer, SideRequest
from jobs.serving.sides import Messages, behind, shared_system
from jobs.training import film_prompts, folders
from storage import files
from storage.adapters import Adapter
from storage.jobs import Job

MOST_FRAMES = 6  # beside the base model's
FEWEST_FRAMES = 3

Ask = Callable[[list[SideRequest], int], list[SideAnswer]]
Report = Callable[[str, int | None, int | None], None]


def of(job: Job) -> dict[str, Any] | None:
    """The film of a run as far as it goes: {"prompts": [{"row", "prompt", "wanted", "frames"}]}; None without any.

    `frames` are {"step", "text"}; step 0 is the base model.
    """
    return folders.film(files.run_folder(job.id))


def make(
    adapter: Adapter,
    ask: Ask,
    report: Report,
    should_stop: Callable[[], bool],
    reads: Callable[[Messages], bool] = lambda messages: True,
) -> dict[str, Any] | None:
    """The film of an adapter's run; what the run had no time for is answered now by its saved looks.

    `reads` says whether the base model can read a conversation: one that is too long is no part of the film.
    None when nothing was held out, or when the run and its looks are gone.
    Raises: StudioError when stopped, or when the model cannot answer.
    """
    run_folder = files.run_folder(adapter.job_id)
    looks = folders.looks(run_folder)
    film = folders.film(run_folder)
    if film is not None and _is_complete(film, looks):
        return film
    system = shared_system(adapter.dataset_id)
    prompts = [
        prompt
        for prompt in film_prompts.chosen(adapter.dataset_id)
        if prompt.messages and reads(behind(prompt.messages, system))
    ]
    if not looks or not prompts or should_stop():
        return film
    report("Answering three examples as on the way", None, None)
    steps = _spread([step for step, _ in looks])
    requests = [
        SideRequest(
            side=f"{adapter.id}@{step}" if step else "base",
            label=f"Step {step}" if step else "Base model",
            adapters={f"{adapter.id}@{step}": 1.0} if step else {},
            messages=behind(prompt.messages, system),
        )
        for prompt in prompts
        for step in (0, *steps)
    ]
    texts = iter([answer["text"] for answer in ask(requests, film_prompts.ANSWER_TOKENS)])
    film = {"prompts": [prompt.as_json() for prompt in prompts]}
    for entry in film["prompts"]:
        entry["frames"] = [{"step": step, "text": next(texts)} for step in (0, *steps)]
    files.write_json(run_folder / folders.FILM_FILE, film)
    return film


def _is_complete(film: dict[str, Any], looks: Sequence[tuple[int, Path]]) -> bool:
    """Whether a film has its beginning, its end and something in between."""
    steps = [frame["step"] for frame in film["prompts"][0]["frames"]]
    last = looks[-1][0] if looks else steps[-1] if steps else 0
    return len(steps) >= min(FEWEST_FRAMES, 1 + max(1, len(looks))) and steps[0] == 0 and steps[-1] == last


def _spread(steps: Sequence[int]) -> list[int]:
    """At most so many of the steps as a film has frames, evenly, the first and the last among them."""
    if len(steps) <= MOST_FRAMES:
        return list(steps)
    places = [round(number * (len(steps) - 1) / (MOST_FRAMES - 1)) for number in range(MOST_FRAMES)]
    return [steps[place] for place in places]
