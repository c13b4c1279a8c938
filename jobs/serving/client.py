"""Asks the model server, and starts it where it does not run; imports no torch, so the page may use it."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, cast

from jobs import gpu
from jobs.base_models import catalogue
from jobs.serving import address, side_names, waiting
from jobs.serving.batches import finished
from jobs.serving.connection import SILENCE_SECONDS, call, connection, errors_in_words, gone
from jobs.serving.context import check_context
from jobs.serving.schema import (
    CompareSettings,
    GenerationRequest,
    Likelihood,
    LikelihoodRequest,
    ServerStatus,
    SideAnswer,
    SideRequest,
    WeighedAnswer,
)
from jobs.serving.sides import Messages, behind, conversation, requests_for, shared_system, with_system
from jobs.serving.starting import ensure_running
from jobs.serving.waiting import GaveWay, Waiting, in_line
from storage import adapters
from storage.errors import StudioError

__all__ = [
    "answers",
    "compare",
    "compare_all",
    "ensure_running",
    "likelihoods",
    "status",
    "stream",
]

# So long a program's question waits for a job to finish; a person's waits as long as he does.
MOST_WAITING_SECONDS = 600.0
# A program that measures likelihoods asks for so many at once.
LIKELIHOODS_AT_ONCE = 512

Prompt = str | Messages
Snapshots = Generator[list[SideAnswer] | Waiting, None, None]


def compare(
    adapter_id: str | None,
    prompt: Prompt | Mapping[str, Prompt],
    settings: CompareSettings | None = None,
    asker: str = "",
) -> Snapshots:
    """Let the sides answer one prompt together; each item holds all sides' answers so far, or says who comes before.

    The prompt may be a conversation, also one for each side. Closing the iterator stops the answers. Without an
    adapter the base model of the first adapter among the sides is asked, else the starter. The questions of one
    `asker` wait for each other, so that everybody gets his turn.
    Raises: StudioError for an empty or too long prompt or an unknown adapter, Busy when a job has the device
    or takes it, ServerGone when the server ends in the middle; `waiting.patiently` outlasts the last two.
    """
    settings = settings or CompareSettings()
    adapter = adapters.get(adapter_id) if adapter_id else None
    base_model_id = _base_model_of(adapter, settings)
    requests = []
    for side in settings.sides:
        messages = conversation(prompt.get(side, "") if isinstance(prompt, Mapping) else prompt)
        if settings.system is not None:
            messages = with_system(messages, settings.system)
        elif adapter is not None:
            messages = behind(messages, shared_system(adapter.dataset_id))
        requests += requests_for([side], adapter, base_model_id, messages, settings.strength)
    return stream(base_model_id, requests, settings, asker=asker)


def compare_all(
    adapter_id: str | None,
    prompt: Prompt | Mapping[str, Prompt],
    settings: CompareSettings | None = None,
    asker: str = "",
) -> list[SideAnswer]:
    """The finished answers of `compare`, after the job that has the device.

    Raises: Busy when that takes longer than ten minutes, and as `compare`.
    """
    snapshots = waiting.patiently(
        lambda: compare(adapter_id, prompt, settings, asker), most_seconds=MOST_WAITING_SECONDS
    )
    *_, last = snapshots
    return cast(list[SideAnswer], last)


def answers(
    base_model_id: str,
    requests: Sequence[SideRequest],
    settings: CompareSettings,
    should_stop: Callable[[], bool] = lambda: False,
    waits: Callable[[str], object] = lambda words: None,
    background: bool | Callable[[], bool] = True,
    each: Callable[[int, SideAnswer], object] = lambda place, answer: None,
    asker: str = "",
) -> list[SideAnswer]:
    """The finished answers to many conversations in one batch, in the order asked.

    In the background they come after all questions of people; what is finished when one of those comes is kept.
    `background` may be a function, which is asked anew whenever the questions go to the server. Those of one `asker`
    wait for each other.
    While nothing is answered, `waits` is told why in sentences; it is told "" when the answers go on. `each` gets
    the place of every answer, and the answer, as soon as it is finished.
    Raises: StudioError when `should_stop` says so, and as `stream`, but for Busy.
    """

    def ask(places: list[int]) -> Generator[dict[int, SideAnswer] | Waiting, None, None]:
        behind_people = background() if callable(background) else background
        batch = [requests[place] for place in places]
        for item in stream(base_model_id, batch, settings, behind_people, asker):
            if isinstance(item, Waiting):
                yield item
                continue
            # Of one that was stopped, which is told after it, half an answer counts for nothing.
            yield {
                place: answer
                for place, answer in zip(places, item, strict=True)
                if answer["finish_reason"] in ("stop", "length")
            }

    return finished(len(requests), len(requests), ask, should_stop, waits, each)


def likelihoods(
    base_model_id: str,
    continuations: Sequence[Mapping[str, Any]],
    should_stop: Callable[[], bool] = lambda: False,
    waits: Callable[[str], object] = lambda words: None,
    background: bool = True,
    each: Callable[[int, Likelihood], object] = lambda place, found: None,
) -> list[Likelihood]:
    """How likely each {"adapters", "messages", "answer"} is, in the order given; otherwise as `answers`."""
    _check_base(base_model_id)
    asked = [WeighedAnswer(one["adapters"], one["messages"], one["answer"]) for one in continuations]

    def ask(places: list[int]) -> Generator[dict[int, Likelihood] | Waiting, None, None]:
        wanted = [asked[place] for place in places]
        request = LikelihoodRequest(base_model_id, wanted, background)
        found: list[Likelihood] = []
        for item in _lines("/likelihoods", request):
            if isinstance(item, Waiting):
                yield item
            else:
                found = item["likelihoods"]
                yield dict(zip(places, found, strict=False))
        if len(found) < len(places):
            raise gone()

    return finished(len(asked), LIKELIHOODS_AT_ONCE, ask, should_stop, waits, each)


def stream(
    base_model_id: str,
    requests: Sequence[SideRequest],
    settings: CompareSettings,
    background: bool = False,
    asker: str = "",
) -> Snapshots:
    """The answers so far to conversations that are answered together, or who comes before; closing it stops them.

    Raises: StudioError at once for a prompt that is too long or a model that is not here; later Busy, ServerGone,
    GaveWay when a background one ends for a person's, and any other StudioError when the model cannot answer.
    """
    request = GenerationRequest(
        base_model_id=base_model_id,
        requests=list(requests),
        max_new_tokens=settings.max_new_tokens,
        temperature=settings.temperature,
        seed=settings.seed,
        background=background,
        asker=asker,
    )
    _check_base(base_model_id)
    check_context(base_model_id, requests)
    return _snapshots(request)


def _snapshots(request: GenerationRequest) -> Snapshots:
    latest: list[SideAnswer] = []
    for item in _lines("/generate", request):
        if not isinstance(item, Waiting):
            latest = item["answers"]
        yield item if isinstance(item, Waiting) else latest
    if not latest or not all(answer["done"] for answer in latest):
        raise gone()


def status() -> ServerStatus | None:
    """What the model server holds; None where none runs."""
    server = address.read()
    return None if server is None else cast(ServerStatus, call(server, "GET", "/status"))


def _lines(
    path: str, request: GenerationRequest | LikelihoodRequest
) -> Generator[dict[str, Any] | Waiting, None, None]:
    """What the server says to a request, line by line; its refusals are raised."""
    server = ensure_running()
    with (
        errors_in_words(),
        connection(server, SILENCE_SECONDS) as opened,
        opened.stream("POST", path, json=asdict(request)) as response,
    ):
        response.raise_for_status()
        for text in response.iter_lines():
            line = json.loads(text)
            if "place" in line:
                yield Waiting(in_line(line["place"], request.background))
            elif "busy" in line:
                raise gpu.Busy(line["busy"])
            elif "gave_way" in line:
                raise GaveWay()
            elif "error" in line:
                raise StudioError(**line["error"])
            else:
                yield line


def _check_base(base_model_id: str) -> None:
    if catalogue.find(base_model_id).folder is None:
        raise StudioError(
            f"The base model “{base_model_id}” is not on this computer.", "Fetch it first, on the Model page."
        )


def _base_model_of(adapter: adapters.Adapter | None, settings: CompareSettings) -> str:
    if adapter is not None:
        return adapter.base_model_id
    named: Iterable[side_names.Part] = (part for side in settings.sides for part in side_names.parts_of(side))
    first = next(iter(named), None)
    return adapters.get(first.adapter_id).base_model_id if first else catalogue.STARTER_ID
