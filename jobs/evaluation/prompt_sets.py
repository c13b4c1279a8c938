"""Sets of prompts that go through chosen sides as a job: queued, read while they are answered, exported."""

from __future__ import annotations

import shutil
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs import gpu, run_state
from jobs.evaluation.prompt_lists import PromptList
from jobs.serving import sides
from jobs.serving.context import Messages
from jobs.serving.schema import CompareSettings
from jobs.serving.settled import settle
from storage import adapters, files, jobs, lines
from storage.errors import StudioError
from storage.jobs import Job

KIND = "prompts"
PROMPTS_FILE = "prompts.jsonl"
ANSWERS_FILE = "answers.jsonl"
# What a prompt set needs on the disk for each answer at the most usual lengths, beside its log.
BYTES_PER_ANSWER = 4_000
LOG_BYTES = 5_000_000
LARGEST_PAGE = 500


@dataclass(frozen=True)
class Answered:
    """One prompt of a set with what has been answered: {side: {"text", "tokens", …} or {"error"}}."""

    number: int
    messages: Messages
    answers: dict[str, dict[str, Any]]

    @property
    def prompt(self) -> str:
        """What was asked, without the turns before."""
        return self.messages[-1]["content"]


def submit(
    adapter_id: str,
    asked: PromptList,
    settings: dict[str, Any],
    source: str = "pasted",
    request_key: str | None = None,
) -> Job:
    """Queue a set; `settings` are those of a comparison. The same `request_key` again returns the job of then.

    Raises StudioError for whatever would make it fail and can be known now.
    """
    adapter = adapters.get(adapter_id)
    checked = CompareSettings.from_json(
        {"sides": ["base", "adapted"], "strength": adapter.strength, **settings}
    )
    # Says now, by the first prompt, when a side needs an adapter or examples that are not there.
    settled = settle(checked.sides, adapter)
    first = sides.requests_for(
        checked.sides,
        adapter,
        adapter.base_model_id,
        asked.prompts[0],
        checked.strength,
        settled=settled,
    )
    count = len(asked.prompts)
    id = files.new_id()
    draft = files.temporary_folder()
    lines.append(draft / PROMPTS_FILE, ({"messages": messages} for messages in asked.prompts))
    files.publish_folder(draft, files.run_folder(id))
    with _gone_if_refused(files.run_folder(id)):
        job = jobs.add(
            KIND,
            f"{count:,} prompt{'' if count == 1 else 's'} · {adapter.name}",
            gpu.PROMPTS,
            dataset_id=adapter.dataset_id or None,
            base_model_id=adapter.base_model_id,
            settings={
                "adapter_id": adapter.id,
                "comparison": checked.as_json(),
                # A strength or an instruction that is changed meanwhile must not change half of a column.
                "settled": settled.as_json(),
                "labels": {request.side: request.label for request in first},
                "prompts": count,
                "source": source,
            },
            request_key=request_key,
            needs_bytes=LOG_BYTES + BYTES_PER_ANSWER * count * len(checked.sides),
            id=id,
        )
    if job.id != id:
        shutil.rmtree(files.run_folder(id))
    run_state.write(job.id)
    return job


@contextmanager
def _gone_if_refused(folder: Path) -> Iterator[None]:
    """Nothing stays of a set's prompts where its job cannot be queued."""
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def get(job_id: str) -> Job:
    """The job of a set; raises StudioError when there is none with this id."""
    job = jobs.get(job_id)
    if job.kind != KIND:
        raise StudioError(f"The job {job_id!r} is no set of prompts.", "Choose one from the list.")
    return job


def of_adapter(adapter_id: str) -> list[Job]:
    """The sets that an adapter has been asked, newest first."""
    return [job for job in jobs.list_all(kind=KIND) if job.settings.get("adapter_id") == adapter_id]


def labels(job: Job) -> dict[str, str]:
    """The sides of a set in their order, with their names for people."""
    given: dict[str, str] = job.settings["labels"]
    return {side: given[side] for side in job.settings["comparison"]["sides"]}


def prompts_of(run_folder: Path) -> list[Messages]:
    """The prompts of a set, in order."""
    return [line["messages"] for line in lines.read(run_folder / PROMPTS_FILE)]


def page(job_id: str, offset: int = 0, limit: int = 25) -> list[Answered]:
    """Some prompts of a set from the place `offset` on, with the answers so far.

    Raises StudioError when there is no such set.
    """
    kept = _kept(get(job_id))
    places = range(max(0, offset), min(len(kept.prompts), max(0, offset) + min(LARGEST_PAGE, max(0, limit))))
    return [Answered(place + 1, kept.prompts[place], dict(kept.answers.get(place, {}))) for place in places]


def every(job_id: str) -> Iterator[Answered]:
    """All prompts of a set with the answers so far; raises as `page`, before the first."""
    kept = _kept(get(job_id))
    return (
        Answered(place + 1, messages, dict(kept.answers.get(place, {})))
        for place, messages in enumerate(kept.prompts)
    )


def answers_in(run_folder: Path) -> dict[int, dict[str, dict[str, Any]]]:
    """What all attempts of a set were answered: by place, then by side."""
    kept = Kept([])
    kept.read_on(run_folder)
    return kept.answers


@dataclass
class Kept:
    """What has been read of a set; a file of answers only grows, so that it is read on from where it ended."""

    prompts: list[Messages]
    answers: dict[int, dict[str, dict[str, Any]]] = field(default_factory=dict)
    offsets: dict[Path, int] = field(default_factory=dict)

    def read_on(self, run_folder: Path) -> None:
        """Take in what has been answered since."""
        for file in sorted(run_folder.glob(f"attempt-*/{ANSWERS_FILE}")):
            found, self.offsets[file] = lines.read_from(file, self.offsets.get(file, 0))
            for line in found:
                place, side, answer = line.get("place"), line.get("side"), line.get("answer")
                if isinstance(place, int) and isinstance(side, str) and isinstance(answer, dict):
                    self.answers.setdefault(place, {}).setdefault(side, answer)


_lock = threading.Lock()
_read: OrderedDict[str, Kept] = OrderedDict()
_MOST_READ = 4


def _kept(job: Job) -> Kept:
    """A set as its files tell it now; the sets looked at last stay in memory."""
    folder = files.run_folder(job.id)
    with _lock:
        kept = _read.get(job.id)
        if kept is None:
            kept = _read[job.id] = Kept(prompts_of(folder))
            if not kept.prompts:
                del _read[job.id]
                raise StudioError("The prompts of this set are gone.", "Ask them again.")
        _read.move_to_end(job.id)
        while len(_read) > _MOST_READ:
            _read.popitem(last=False)
        kept.read_on(folder)
        return kept


def header(job: Job) -> Sequence[str]:
    """The columns of a set's table: the number, the prompt, each side's answer, then each one's weights."""
    named = labels(job).values()
    return ["number", "prompt", *named, *(f"weights of {label}" for label in named)]


def table(job: Job) -> Iterator[list[Any]]:
    """The rows of a set under `header`; a prompt that a side could not read has the reason in brackets."""
    named = labels(job)
    return (
        [
            one.number,
            one.prompt,
            *(_cell(one.answers.get(side)) for side in named),
            *(one.answers.get(side, {}).get("weights") for side in named),
        ]
        for one in every(job.id)
    )


def _cell(answer: dict[str, Any] | None) -> str | None:
    if answer is None:
        return None
    return f"[{answer['error']}]" if "error" in answer else str(answer["text"])
