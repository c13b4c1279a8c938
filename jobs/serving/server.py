"""The model server: a process of its own that keeps one base model in memory and answers with it.

It listens on this machine only, for whoever holds the token in model-server.json.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hmac
import json
import os
import secrets
import socket
import sys
import time
import traceback
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import uvicorn
from fastapi import Depends, FastAPI, Header, HTTPException
from fastapi.responses import StreamingResponse

from jobs import gpu, locks
from jobs.executors import processes
from jobs.serving import address
from jobs.serving.address import TOKEN_HEADER, Address
from jobs.serving.resident import Resident
from jobs.serving.schema import ALREADY_RUNNING, GenerationRequest, LikelihoodRequest, ServerStatus
from jobs.serving.turns import Question, Turns
from storage import config, files
from storage.errors import StudioError

IDLE_SECONDS = 15 * 60.0
SNAPSHOT_SECONDS = 1 / 15
# A wait is told again so often: whoever reads it notices in between that he was stopped.
STILL_WAITING_SECONDS = 1.0


class ModelServer:
    """Lets one question after the other use the resident model, and streams what that brings."""

    def __init__(self, resident: Resident) -> None:
        self.resident = resident
        self.turns = Turns()
        # One thread for everything that touches the model.
        self._model_thread = ThreadPoolExecutor(1, "model")
        self._open: list[Question] = []
        self.last_used = time.monotonic()

    def status(self) -> ServerStatus:
        """What is loaded, and how many requests are answered or wait."""
        return ServerStatus(
            pid=os.getpid(),
            device=self.resident.device,
            base_model_id=self.resident.base_model_id,
            adapters=sorted(self.resident.adapters),
            base_loads=self.resident.base_loads,
            generating=any(question.started for question in self._open),
            waiting=sum(not question.started for question in self._open),
        )

    async def stream(self, request: GenerationRequest | LikelihoodRequest) -> AsyncIterator[bytes]:
        """One JSON line for each snapshot, and while it waits for its place; how it ended else is a last line."""
        question = Question(request)
        self._open.append(question)
        self.turns.enter(question)
        # It takes whoever's turn it is then: there is one of these for every question.
        self._model_thread.submit(self._answer_next)
        over = asyncio.wrap_future(question.over)
        over.add_done_callback(asyncio.Future.exception)  # looked at, also when nobody is there to be told
        try:
            async for line in self._lines(question, over):
                yield line
            if question.gave_way:
                yield _line({"gave_way": True})
            await over
        except gpu.Busy as busy:
            yield _line({"busy": busy.who})
        except StudioError as error:
            yield _line({"error": error.as_json()})
        except Exception:  # noqa: BLE001 (an edge: logged under an id)
            error_id = files.new_id()
            print(f"Error {error_id}:\n{traceback.format_exc()}", flush=True)
            unexpected = StudioError(
                f"The model could not answer (error {error_id}).",
                f"Ask again. The details stand in {files.log_path('server')} under that id.",
            )
            yield _line({"error": unexpected.as_json()})
        finally:
            # Also when the one who asked has hung up.
            question.stop.set()
            self.turns.leave(question)
            self._open.remove(question)
            self.last_used = time.monotonic()

    async def _lines(self, question: Question, over: asyncio.Future[None]) -> AsyncIterator[bytes]:
        """What there is to say until the question is over."""
        sent, told, told_at, ended = None, 0, 0.0, False
        while not ended:
            await asyncio.wait([over], timeout=SNAPSHOT_SECONDS)
            # Asked before the answers are read: what the end brought is always sent.
            ended = over.done()
            place, now = self.turns.place(question), time.monotonic()
            if place != told or (place and now - told_at > STILL_WAITING_SECONDS):
                told, told_at = place, now
                yield _line({"place": place})
            if question.latest is not sent:
                sent = question.latest
                yield _line(sent)

    def _answer_next(self) -> None:
        """Let the model answer whose turn it is; in the model's thread."""
        question = self.turns.take()
        if question is None:
            return
        problem: BaseException | None = None
        try:
            self.resident.answer(question)
        except BaseException as error:  # noqa: BLE001 (raised where it is told to the one who asked)
            problem = error
        self.turns.leave(question)
        if problem is None:
            question.over.set_result(None)
        else:
            question.over.set_exception(problem)

    async def free(self) -> None:
        """Give the device back within a token; whoever is being answered or waits is told why."""
        for question in self._open:
            question.given_up = True
            question.stop.set()
        await asyncio.get_running_loop().run_in_executor(self._model_thread, self.resident.free)

    def idle_seconds(self) -> float:
        """How long nobody has asked anything."""
        return 0.0 if self._open else time.monotonic() - self.last_used


def build(server: ModelServer, own: Address, end: asyncio.Event) -> FastAPI:
    """The routes; each asks for the token, and for the Host that no page from elsewhere can fake."""
    hosts = {f"{name}:{own.port}" for name in ("127.0.0.1", "localhost")}

    def admit(host: Annotated[str, Header()], token: Annotated[str, Header(alias=TOKEN_HEADER)] = "") -> None:
        if host not in hosts or not hmac.compare_digest(token.encode(), own.token.encode()):
            raise HTTPException(403, "Only the studio of this data folder may ask this server.")

    app = FastAPI(
        dependencies=[Depends(admit)], docs_url=None, redoc_url=None, openapi_url=None, title="Model server"
    )

    @app.get("/status", response_model=None)
    async def status() -> ServerStatus:
        return server.status()

    @app.post("/generate")
    async def generate(request: GenerationRequest) -> StreamingResponse:
        return StreamingResponse(server.stream(request), media_type="application/x-ndjson")

    @app.post("/likelihoods")
    async def likelihoods(request: LikelihoodRequest) -> StreamingResponse:
        return StreamingResponse(server.stream(request), media_type="application/x-ndjson")

    @app.post("/free")
    async def free() -> dict[str, bool]:
        await server.free()
        if server.resident.device != "cpu":
            # The driver keeps a few hundred MB for as long as the process lives.
            end.set()
        return {"ends": end.is_set()}

    return app


async def serve(own: Address, listening: socket.socket, device: str, idle_seconds: float) -> None:
    """Answer until idle, told to end, or given back a GPU; then take the address away."""
    end = asyncio.Event()
    server = ModelServer(Resident(device))
    # Nothing is logged of the requests: prompts belong to the user.
    settings = uvicorn.Config(build(server, own, end), log_level="warning", timeout_graceful_shutdown=3)
    web = uvicorn.Server(settings)
    running = asyncio.create_task(web.serve(sockets=[listening]))
    address.write(own)
    while not (running.done() or end.is_set() or server.idle_seconds() > idle_seconds):
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(end.wait(), timeout=min(1.0, idle_seconds))
    address.remove()
    web.should_exit = True
    await running


def main() -> int:
    """Start from the command line; one server for a data folder."""
    parser = argparse.ArgumentParser(prog="python -m jobs.serving.server", description=__doc__)
    parser.add_argument("--data-dir", required=True, type=Path)
    parser.add_argument("--idle-seconds", type=float, default=IDLE_SECONDS)
    arguments = parser.parse_args()
    config.use(config.from_environment(arguments.data_dir))
    # The order in which jobs.gpu counts; torch reads it when it uses the first GPU.
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    # As in a job's process: kernels compiled for this machine are kept with everything else.
    os.environ["TRITON_CACHE_DIR"] = str(files.root() / "cache" / "triton")
    os.environ["XDG_CACHE_HOME"] = str(files.root() / "cache")
    lock = locks.take(files.lock_path("model-server"))
    if lock is None:
        return ALREADY_RUNNING
    with lock, socket.create_server(("127.0.0.1", 0)) as listening:
        own = Address(processes.own_handle(), listening.getsockname()[1], secrets.token_urlsafe(32))
        asyncio.run(serve(own, listening, gpu.default_device(), arguments.idle_seconds))
    return 0


def _line(content: Any) -> bytes:
    # Escaped to ASCII: an answer may hold characters that readers take for line ends.
    return json.dumps(content).encode() + b"\n"


if __name__ == "__main__":
    sys.exit(main())
