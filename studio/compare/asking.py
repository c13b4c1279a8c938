"""A question to the columns of the Compare page: streamed in place of the one before, and ended when nobody waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

import gradio as gr

from jobs.evaluation.rules import Rule
from jobs.serving import client, sides, waiting
from jobs.serving.schema import CompareSettings, SideAnswer, SideRequest
from jobs.serving.waiting import Waiting
from storage import adapters
from storage.adapters import Adapter
from storage.errors import StudioError
from studio import forms
from studio.compare import columns, coming_back
from studio.compare.material import rows_of, rules_of
from studio.compare.scene import Scene, Turn, conversation
from studio.compare.strength import MOST_OTHERS

FIELDS = ("temperature", "max_new_tokens", "seed", "system")
MOST_COLUMNS = 4
# A page that is drawn more often is no smoother.
SHORTEST_SECONDS = 0.05
# Without a word from a question Gradio would empty all that it fills.
NOTHING_NEW = (gr.skip(),) * 4
# The place of the scene in what a question fills.
SCENE = 2
# The question that each browser tab waits for.
_open: dict[str | None, threading.Event] = {}
_finders = ThreadPoolExecutor(4, thread_name_prefix="rules of a question")

# [columns, held-out note, scene, stop button]
Shown = Generator[tuple[Any, ...], None, None]


@dataclass(frozen=True)
class How:
    """What the page is set to: who answers, at which strength, the fields under Advanced; and which tab asks."""

    marks: str
    chosen: Sequence[str]
    strength: float
    blend_with: Sequence[str]
    blend_strengths: Sequence[float]
    fields: Sequence[str]
    asker: str = ""

    @classmethod
    def of(cls, values: Sequence[Any], request: gr.Request) -> How:
        """The components' values, in the order of `Playground.how`."""
        marks, chosen, strength, blend_with, *rest = values
        others, fields = rest[:MOST_OTHERS], rest[MOST_OTHERS:]
        return cls(marks, chosen, strength, blend_with or [], others, fields, request.session_hash or "")

    def settings(self, adapter: Adapter) -> CompareSettings:
        """As settings of a comparison.

        Raises: StudioError naming what cannot be.
        """
        chosen = list(self.chosen)
        if self.blend_with:
            parts = zip((adapter.id, *self.blend_with), (self.strength, *self.blend_strengths), strict=False)
            chosen.append("+".join(f"{one}*{strength:g}" for one, strength in parts))
        if not chosen:
            raise StudioError("Nobody is chosen to answer.", "Choose two to four under “Who answers”.")
        if len(chosen) > MOST_COLUMNS:
            raise StudioError(
                f"{len(chosen)} columns are too many beside each other.",
                f"Choose at most {MOST_COLUMNS} under “Who answers”; the blend is one of them.",
            )
        values = {**forms.filled_in(FIELDS, self.fields), "sides": chosen, "strength": self.strength}
        return CompareSettings.from_json(values)


def end_question(tab: str | None) -> None:
    """Let a tab's question end, if it has one, within a moment and without another word.

    Gradio's own way to cancel an event drops the next click while it waits, and may show an error.
    """
    if ended := _open.pop(tab, None):
        ended.set()


def ask(
    request: gr.Request,
    adapter_id: str,
    scene: Scene,
    prompt: str,
    position: int | None,
    goes_on: bool,
    *how: Any,
) -> Iterator[tuple[Any, ...]]:
    """Stream the answers to a new question: [columns, held-out note, scene, stop button]."""
    yield from _in_turn(
        request, adapter_id, _first(adapter_id, scene, prompt, position, goes_on, How.of(how, request))
    )


def ask_held_out(
    request: gr.Request, adapter_id: str, scene: Scene, prompt: str, position: int | None, *how: Any
) -> Iterator[tuple[Any, ...]]:
    """As `ask`, for a held-out example: it stands on its own."""
    yield from _in_turn(
        request, adapter_id, _first(adapter_id, Scene(), prompt, position, False, How.of(how, request))
    )


def ask_again(request: gr.Request, adapter_id: str, scene: Scene, *how: Any) -> Iterator[tuple[Any, ...]]:
    """The question of now once more, as the page is set now."""
    yield from _in_turn(request, adapter_id, _once_more(adapter_id, scene, How.of(how, request), keep=False))


def turn_dial(request: gr.Request, adapter_id: str, scene: Scene, *how: Any) -> Iterator[tuple[Any, ...]]:
    """The question of now once more, to those sides alone whose weights have changed."""
    yield from _in_turn(request, adapter_id, _once_more(adapter_id, scene, How.of(how, request), keep=True))


def stop(request: gr.Request, adapter_id: str, scene: Scene, marks: str) -> tuple[Any, ...]:
    """End the answers where they are: [columns, scene, stop button]."""
    end_question(request.session_hash)
    button = gr.update(interactive=False)
    if scene.now is None or not scene.now.answers:
        return columns.stopped(scene), scene, button
    scene = scene.ended()
    coming_back.keep(request.session_hash, adapter_id, scene)
    return columns.drawn(scene, rules_of(adapters.get(adapter_id)), marks), scene, button


def waiting_words(adapter: Adapter) -> str:
    """Why nothing is written yet."""
    server = None
    with suppress(StudioError):  # one that has just ended is started again
        server = client.status()
    if server is not None and server["base_model_id"] == adapter.base_model_id:
        return "Reading the prompt…"
    return "Loading the model… The first answer takes a while."


def _in_turn(request: gr.Request, adapter_id: str, shown: Shown) -> Shown:
    """The question of a tab, in place of the one before it; a tab that is reloaded finds it again."""
    end_question(request.session_hash)
    ended = _open[request.session_hash] = threading.Event()
    said = False
    try:
        with closing(shown) as so_far:
            for one in so_far:
                if ended.is_set():
                    break
                if isinstance(one[SCENE], Scene):
                    coming_back.keep(request.session_hash, adapter_id, one[SCENE])
                yield one
                said = True
        if not said:
            yield NOTHING_NEW
    finally:
        if _open.get(request.session_hash) is ended:
            end_question(request.session_hash)


def _first(
    adapter_id: str, scene: Scene, prompt: str, position: int | None, goes_on: bool, how: How
) -> Shown:
    try:
        adapter = adapters.get(adapter_id)
        settings = how.settings(adapter)
        rows = rows_of(adapter)
        row = rows[position] if position is not None and position < len(rows) else None
        if row and row.prompt != prompt:
            row = None  # the prompt has been changed: nobody knows what is wanted now
        asked = row.messages if row else [{"role": "user", "content": prompt}]
        turn = Turn(sides.conversation(asked), row.reference if row else None, settings.as_json())
    except StudioError as error:
        yield _refused(adapter_id, scene, error, how)
        return
    yield from _answered(adapter, scene.next(turn, goes_on), settings, how, note=gr.skip() if row else "")


def _once_more(adapter_id: str, scene: Scene, how: How, keep: bool) -> Shown:
    if scene.now is None:
        yield NOTHING_NEW
        return
    try:
        adapter = adapters.get(adapter_id)
        settings = how.settings(adapter)
    except StudioError as error:
        yield _refused(adapter_id, scene, error, how)
        return
    kept = _unchanged(scene.now, settings) if keep else []
    scene = Scene(scene.before, Turn(scene.now.asked, scene.now.wanted, settings.as_json()), scene.goes_on)
    yield from _answered(adapter, scene, settings, how, gr.skip(), kept)


def _refused(adapter_id: str, scene: Scene, error: StudioError, how: How) -> tuple[Any, ...]:
    """A question that is wrong before anybody is asked; what was answered before it stays, under its own question."""
    scene = scene.ended()
    rules: list[Rule] = []
    with suppress(StudioError):  # the adapter may be what is gone
        rules = rules_of(adapters.get(adapter_id))
    said = columns.refused(scene, str(error), rules, how.marks)
    return said, gr.skip(), scene, gr.update(interactive=False)


def _unchanged(turn: Turn, settings: CompareSettings) -> list[SideAnswer]:
    """The answers that would come again, word for word; a side's name tells its weights, but for the adapter's."""
    if {**turn.settings, "strength": 0, "sides": 0} != {**settings.as_json(), "strength": 0, "sides": 0}:
        return []
    same_strength = turn.settings["strength"] == settings.strength
    return [
        answer
        for answer in turn.answers
        if answer["finish_reason"] in ("stop", "length") and (answer["side"] != "adapted" or same_strength)
    ]


def _answered(
    adapter: Adapter,
    scene: Scene,
    settings: CompareSettings,
    how: How,
    note: Any,
    kept: Sequence[SideAnswer] = (),
) -> Shown:
    """The scene as it fills; `kept` are answers of now that need not be asked for again."""
    ready = {answer["side"]: answer for answer in kept if answer["side"] in settings.sides}
    names = names_of(adapter, settings.sides)
    try:
        if not ready:
            yield (
                columns.waiting(scene, names, waiting_words(adapter)),
                note,
                scene,
                gr.update(interactive=True),
            )
        else:
            yield gr.skip(), note, gr.skip(), gr.update(interactive=True)
        # Found while the model begins to write: of many examples it takes a moment.
        finding = _finders.submit(rules_of, adapter)
        requests = _requests(adapter, scene, [side for side in settings.sides if side not in ready], settings)
        held_up, last = "", 0.0
        with closing(_stream(adapter, requests, settings, how.asker)) as items:
            for item in items:
                if isinstance(item, Waiting):
                    # The same words again would be read out again.
                    said = gr.skip() if item.words == held_up else columns.held_up(scene, names, item.words)
                    held_up = item.words
                    yield said, note, scene, gr.skip()
                    continue
                held_up = ""
                done = all(answer["done"] for answer in item)
                if not done and time.monotonic() - last < SHORTEST_SECONDS:
                    continue
                last = time.monotonic()
                by_side = ready | {answer["side"]: answer for answer in item}
                now = scene.answered([by_side[side] for side in settings.sides if side in by_side])
                rules = _found(finding) if done or finding.done() else []
                yield columns.drawn(now, rules, how.marks), note, now, gr.skip()
        yield gr.skip(), note, gr.skip(), gr.update(interactive=False)
    except StudioError as error:
        # In place of the answers, where it stays: a notice would leave the columns waiting for ever.
        yield columns.refused(scene, str(error)), note, scene, gr.update(interactive=False)


def _found(finding: Future[list[Rule]]) -> list[Rule]:
    """The rules; where they cannot be read, the answers are shown without checks rather than not at all."""
    with suppress(StudioError):
        return finding.result()
    return []


def _requests(
    adapter: Adapter, scene: Scene, chosen: Sequence[str], settings: CompareSettings
) -> list[SideRequest]:
    """One request for each side, behind what that side has said before."""
    requests = []
    for side in chosen:
        asked = conversation(adapter, scene, side)
        requests += sides.requests_for(
            (side,), adapter, adapter.base_model_id, asked, strength=settings.strength
        )
    return requests


def _stream(
    adapter: Adapter, requests: list[SideRequest], settings: CompareSettings, asker: str
) -> Generator[list[SideAnswer] | Waiting, None, None]:
    if not requests:
        return
    base = adapter.base_model_id
    yield from waiting.patiently(lambda: client.stream(base, requests, settings, asker=asker))


def names_of(adapter: Adapter, chosen: Sequence[str]) -> dict[str, str]:
    """The headings of sides that have not answered yet."""
    offered = {side: label for label, side in sides.offered(adapter)}
    return {side: columns.HEADINGS.get(columns.kind(side)) or offered.get(side, side) for side in chosen}
