"""The job of kind "prompts": every side answers every prompt of a set, and each answer is kept when it is there."""

from __future__ import annotations

import time
from itertools import islice
from typing import Any

from jobs import gpu
from jobs.evaluation import prompt_sets
from jobs.evaluation.prompt_sets import ANSWERS_FILE
from jobs.progress import Progress
from jobs.serving import client, sides
from jobs.serving.connection import ServerGone
from jobs.serving.context import check_context
from jobs.serving.schema import CompareSettings, SideAnswer, SideRequest
from jobs.serving.settled import Settled
from storage import adapters, database, files, jobs, lines
from storage.adapters import Adapter
from storage.errors import StudioError

# So many answers are written side by side; those that are finished are kept whatever becomes of the others.
AT_ONCE = 32
# So often in a row the model server may end before the set is given up.
MOST_FAILURES = 5
PAUSE_SECONDS = 1.0
COMES_FIRST = "Scorecards come first. It goes on by itself."
KEPT = ("text", "tokens", "prompt_tokens", "weights", "finish_reason")
Place = tuple[int, str]


def run(spec: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Answer what no earlier attempt has answered; a stop keeps what is there.

    Raises StudioError when the model cannot answer.
    """
    database.connect()
    asking = _Asking(spec, progress)
    while batch := asking.next_batch():
        asking.let_scorecards_go_first()
        if progress.should_stop():
            return {"status": "stopped", "answers": asking.done}
        try:
            asking.answer(batch)
        except StudioError:
            if progress.should_stop():
                return {"status": "stopped", "answers": asking.done}
            raise
    return {"status": "finished", "answers": asking.done}


class _Asking:
    """What is missing of a set, and the file that this attempt's answers go to."""

    def __init__(self, spec: dict[str, Any], progress: Progress) -> None:
        self._job_id = spec["job_id"]
        folder = files.run_folder(self._job_id)
        self._file = files.attempt_folder(spec["job_id"], spec["attempt"]) / ANSWERS_FILE
        self._progress = progress
        self._adapter: Adapter = adapters.get(spec["settings"]["adapter_id"])
        self._settings = CompareSettings.from_json(spec["settings"]["comparison"])
        self._settled = Settled.from_json(spec["settings"].get("settled", {}))
        self._prompts = prompt_sets.prompts_of(folder)
        answered = prompt_sets.answers_in(folder)
        places = [(place, side) for place in range(len(self._prompts)) for side in self._settings.sides]
        self._missing = dict.fromkeys(
            (place, side) for place, side in places if side not in answered.get(place, {})
        )
        self._total, self.done = len(places), len(places) - len(self._missing)
        self._failures = 0
        self._tell("")

    def next_batch(self) -> list[Place]:
        """The places that are answered together next; empty when none is missing."""
        return list(islice(self._missing, AT_ONCE))

    def let_scorecards_go_first(self) -> None:
        """Wait while one is made, or a study: somebody waits for it, and it may need another base model.

        Taking turns with it batch by batch would load both models again and again.
        """
        while _scorecards_under_way(self._job_id) and not self._progress.should_stop():
            self._tell(COMES_FIRST)
            time.sleep(PAUSE_SECONDS)

    def answer(self, batch: list[Place]) -> None:
        """Ask, and keep each answer; a prompt that the model cannot read keeps the reason instead."""
        asked: list[tuple[Place, SideRequest]] = []
        for place in batch:
            request = self._request(place)
            try:
                check_context(self._adapter.base_model_id, [request])
                asked.append((place, request))
            except StudioError as error:
                self._keep(place, {"error": str(error)})
        if not asked:
            return
        requests = [request for _, request in asked]

        def keep(number: int, answer: SideAnswer) -> None:
            self._keep(asked[number][0], {name: answer[name] for name in KEPT})  # type: ignore[literal-required]

        base_model_id, stop = self._adapter.base_model_id, self._progress.should_stop
        try:
            client.answers(
                base_model_id, requests, self._settings, stop, self._tell, background=True, each=keep
            )
            self._failures = 0
        except ServerGone:
            self._failures += 1
            if self._failures >= MOST_FAILURES:
                raise
            time.sleep(PAUSE_SECONDS)

    def _request(self, place: Place) -> SideRequest:
        number, side = place
        messages, system = self._prompts[number], self._settings.system
        if system is not None:
            messages = sides.with_system(messages, system)
        else:
            messages = sides.behind(messages, sides.shared_system(self._adapter.dataset_id))
        (request,) = sides.requests_for(
            [side],
            self._adapter,
            self._adapter.base_model_id,
            messages,
            self._settings.strength,
            settled=self._settled,
        )
        return request

    def _keep(self, place: Place, answer: dict[str, Any]) -> None:
        lines.append(self._file, [{"place": place[0], "side": place[1], "answer": answer}])
        del self._missing[place]
        self.done += 1
        self._tell("")

    def _tell(self, waits: str) -> None:
        """Report how many answers are there, or why there are none now."""
        self._progress.phase(waits or "Answering", self.done, self._total)


def _scorecards_under_way(own_id: str) -> bool:
    # Sets that were queued by an earlier version wait in the same lane.
    return any(job.device == gpu.EVALUATION and job.id != own_id for job in jobs.under_way())
