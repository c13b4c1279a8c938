"""Asks the model server, and starts it where it does not run; imports no torch, so the page may use it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from pathlib import Path
from typing import cast

import httpx

from jobs import gpu, locks
from jobs.base_models import catalogue
from jobs.executors import processes
from jobs.serving import address, waiting
from jobs.serving.address import Address
from jobs.serving.connection import SILENCE_SECONDS, ServerGone, call, connection, errors_in_words, gone
from jobs.serving.schema import (
    ALREADY_RUNNING,
    NAMED_SIDES,
    CompareSettings,
    GenerationRequest,
    ServerStatus,
    SideAnswer,
    SideRequest,
)
from jobs.serving.sides import Messages, behind, conversation, requests_for, shared_system, with_system
from jobs.serving.waiting import Waiting
from storage import adapters, config, files
from storage.errors import StudioError

# Importing torch takes 3 seconds, and many times that on a busy computer with a slow disk.
START_SECONDS = 120.0
# So long a program's question waits for a job to finish; a person's waits as long as he does.
MOST_WAITING_SECONDS = 600.0
PROJECT_ROOT = Path(__file__).resolve().parents[2]


def ensure_running() -> Address:
    """The address of this data folder's model server, started now where none runs.

    Raises: ServerGone when it does not come up.
    """
    found = _running()
    if found is not None:
        return found
    start_lock = locks.take(files.lock_path("model-server-start"), wait=True)
    assert start_lock is not None
    with start_lock:
        deadline = time.monotonic() + START_SECONDS
        starting: subprocess.Popen[bytes] | None = None
        while time.monotonic() < deadline:
            found = _running()
            if found is not None:
                return found
            # One that is just ending still has the server's own lock: try again until it is gone.
            if starting is None or starting.poll() == ALREADY_RUNNING:
                starting = _start()
            elif starting.poll() is not None:
                break
            time.sleep(0.1)
    raise ServerGone("The model server did not start.", f"The reason is in {files.log_path('server')}.")


def compare(
    adapter_id: str | None, prompt: str | Messages, settings: CompareSettings | None = None
) -> Generator[list[SideAnswer], None, None]:
    """Let the sides answer one prompt together; each item holds all sides' answers so far.

    Closing the iterator stops the answers. Without an adapter the base model of the first adapter among the
    sides is asked, else the starter.
    Raises: StudioError for an empty or too long prompt or an unknown adapter, Busy when a job has the device
    or takes it, ServerGone when the server ends in the middle; `waiting.patiently` outlasts the last two.
    """
    settings = settings or CompareSettings()
    adapter = adapters.get(adapter_id) if adapter_id else None
    messages = conversation(prompt)
    if settings.system is not None:
        messages = with_system(messages, settings.system)
    elif adapter is not None:
        messages = behind(messages, shared_system(adapter.dataset_id))
    base_model_id = _base_model_of(adapter, settings)
    requests = requests_for(settings.sides, adapter, base_model_id, messages)
    return stream(base_model_id, requests, settings)


def compare_all(
    adapter_id: str | None, prompt: str | Messages, settings: CompareSettings | None = None
) -> list[SideAnswer]:
    """The finished answers of `compare`, after the job that has the device.

    Raises: Busy when that takes longer than ten minutes, and as `compare`.
    """
    snapshots = waiting.patiently(
        lambda: compare(adapter_id, prompt, settings), most_seconds=MOST_WAITING_SECONDS
    )
    *_, finished = snapshots
    return cast(list[SideAnswer], finished)


def answers(
    base_model_id: str,
    requests: list[SideRequest],
    settings: CompareSettings,
    should_stop: Callable[[], bool] = lambda: False,
    waits: Callable[[str], object] = lambda words: None,
) -> list[SideAnswer]:
    """The finished answers to many conversations in one batch, in the order asked.

    While a job has the device, `waits` is told so in sentences; it is told "" when the answers go on.
    Raises: StudioError when `should_stop` says so, and as `stream`, but for Busy.
    """
    latest: list[SideAnswer] = []
    told = ""
    with closing(waiting.patiently(lambda: stream(base_model_id, requests, settings), "It goes on")) as items:
        for item in items:
            if should_stop():
                raise StudioError("Answering was stopped.", "Start it again when you like.")
            words = item.words if isinstance(item, Waiting) else ""
            if words != told:
                waits(words)
                told = words
            if not isinstance(item, Waiting):
                latest = item
    return latest


def stream(
    base_model_id: str, requests: list[SideRequest], settings: CompareSettings
) -> Generator[list[SideAnswer], None, None]:
    """The answers so far to conversations that are answered together; closing it stops them.

    Raises: Busy, ServerGone, and any other StudioError when the model cannot answer them.
    """
    if catalogue.find(base_model_id).folder is None:
        raise StudioError(
            f"The base model “{base_model_id}” is not on this computer.", "Fetch it first, on the Model page."
        )
    request = GenerationRequest(
        base_model_id=base_model_id,
        requests=requests,
        max_new_tokens=settings.max_new_tokens,
        temperature=settings.temperature,
        seed=settings.seed,
        strength=settings.strength,
    )
    server = ensure_running()
    latest: list[SideAnswer] = []
    with (
        errors_in_words(),
        connection(server, SILENCE_SECONDS) as opened,
        opened.stream("POST", "/generate", json=request.model_dump()) as response,
    ):
        response.raise_for_status()
        for line in response.iter_lines():
            snapshot = json.loads(line)
            if "busy" in snapshot:
                raise gpu.Busy(snapshot["busy"])
            if "error" in snapshot:
                raise StudioError(**snapshot["error"])
            latest = snapshot["answers"]
            yield latest
    if not latest or not all(answer["done"] for answer in latest):
        raise gone()


def stop_generation() -> bool:
    """End the answer that is being written, within a token; says whether there was one."""
    server = address.read()
    return server is not None and bool(call(server, "POST", "/stop")["stopped"])


def status() -> ServerStatus | None:
    """What the model server holds; None where none runs."""
    server = address.read()
    return None if server is None else cast(ServerStatus, call(server, "GET", "/status"))


def _start() -> subprocess.Popen[bytes]:
    """Start the server in a session of its own, so that it outlives the page; its words go to a file."""
    log = files.log_path("server")
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "jobs.serving.server", "--data-dir", str(config.current().data_dir)]
    with open(log, "ab") as words:
        return subprocess.Popen(
            command,
            cwd=PROJECT_ROOT,
            env=processes.computing_environment(),
            stdin=subprocess.DEVNULL,
            stdout=words,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _running() -> Address | None:
    """The server of this data folder, if one runs and answers."""
    server = address.read()
    if server is not None:
        with suppress(httpx.TransportError), connection(server, 5.0) as opened:
            return server if opened.get("/status").is_success else None
    return None


def _base_model_of(adapter: adapters.Adapter | None, settings: CompareSettings) -> str:
    if adapter is not None:
        return adapter.base_model_id
    named = next((side for side in settings.sides if side not in NAMED_SIDES), None)
    return adapters.get(named).base_model_id if named else catalogue.STARTER_ID
