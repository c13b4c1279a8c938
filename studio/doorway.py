"""What answers before the page is ready: a splash at once, then the studio behind the same port.

Importing Gradio takes seconds; uvicorn answers at once and hands over when a thread has built the page.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import sys
import threading
import webbrowser

import uvicorn

from storage import config
from storage.errors import DamagedDatabase, StudioError
from studio import splash
from studio.access import Access, Application, Receive, Scope, Send, is_loopback

# So long a failed start still answers, for the splash asks every 0.1 seconds what has become of it.
FAILURE_SECONDS = 2
REBUILDING = "Rebuilding the database from its folders."
NOTHING_IS_LOST = "Nothing is lost: all that it held lies in the studio's folders too."


class Doorway:
    """ASGI application that shows the splash until `studio` is set, then passes everything on to it."""

    def __init__(self) -> None:
        self.studio: Application | None = None
        self.failure: StudioError | None = None
        self.state: dict[str, str] = {"status": "starting"}
        self.rebuild_wanted = asyncio.Event()

    def fail(self, error: StudioError) -> None:
        """Tell the splash that the studio does not open."""
        self.failure = error
        self.state = {"status": "failed", "message": str(error)}

    def offer_rebuilding(self, error: StudioError) -> None:
        """Tell the splash what is wrong with the database, and let it ask for a new one."""
        self.rebuild_wanted.clear()
        words = f"{error.message} {NOTHING_IS_LOST}" if isinstance(error, DamagedDatabase) else str(error)
        self.state = {"status": "damaged", "message": words}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif self.studio is not None:
            await self.studio(scope, receive, send)
        elif scope["type"] == "http":
            await self._splash(scope, send)

    async def _splash(self, scope: Scope, send: Send) -> None:
        extra: list[tuple[bytes, bytes]] = []
        if scope["path"] == "/healthz":
            body, kind, status = json.dumps(self.state).encode(), b"application/json", 200
        elif scope["method"] == "GET":
            body, kind, status = splash.page(), b"text/html; charset=utf-8", 200
        elif (scope["method"], scope["path"]) == ("POST", "/rebuild") and self._may_rebuild():
            self.state = {"status": "rebuilding", "message": REBUILDING}
            self.rebuild_wanted.set()
            body, kind, status, extra = REBUILDING.encode(), b"text/plain", 303, [(b"location", b"/")]
        else:
            body, kind, status = b"The studio is starting. Try again in a few seconds.", b"text/plain", 503
        headers = [
            (b"content-type", kind),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
            *extra,
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _may_rebuild(self) -> bool:
        return self.state["status"] in ("damaged", "rebuilding")


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def listen(host: str, port: int) -> socket.socket:
    """Bind the address, or say in words why that cannot be.

    Raises:
        StudioError: the address is not this machine's, or another program has the port.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except (OSError, OverflowError) as error:
        sock.close()
        raise StudioError(
            f"LoRA Tailor cannot listen on {host}:{port}: {getattr(error, 'strerror', None) or error}.",
            "Close the program that uses this port, or choose another one: --port 0 takes a free one.",
        ) from error
    sock.listen(128)
    return sock


def serve(*, host: str, port: int, open_browser: bool, rebuild_database: bool = False) -> None:
    """Answer on host:port until interrupted; prints one line when the page is ready.

    With `rebuild_database` the database is first made again from the folders.

    Raises:
        StudioError: the address needs a password, is taken, or the studio could not start.
    """
    password = config.current().password
    if not is_loopback(host) and not password:
        raise StudioError(
            f"Listening on {host} would open the studio to everybody on the network.",
            "Set a password: --password, or the environment variable LORA_TAILOR_PASSWORD.",
        )
    sock = listen(host, port)
    shown = "127.0.0.1" if host in {"0.0.0.0", "::"} else host
    address = f"http://{f'[{shown}]' if ':' in shown else shown}:{sock.getsockname()[1]}"
    door = Doorway()
    guarded = Access(door, host=host, password=password)
    server = uvicorn.Server(
        uvicorn.Config(guarded, log_level="warning", timeout_graceful_shutdown=2, ws="none")
    )
    with _jobs_end_with_it(door):
        asyncio.run(_run(door, server, sock, address, open_browser, rebuild_database))
    if door.failure:
        raise door.failure


@contextlib.contextmanager
def _jobs_end_with_it(door: Doorway):  # type: ignore[no-untyped-def]
    """Where nothing outlives this process, as in a container, its end is the jobs' too: they save and end first."""
    if not config.current().stop_jobs:
        yield
        return

    def end(number: int, _frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the jobs are being seen to: a second changes nothing
        sys.exit(128 + number)

    # uvicorn ends in order and then sends the signal again, which by default would be the end right there.
    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        if door.studio is not None:
            from studio import server

            server.end_jobs()


async def _run(
    door: Doorway,
    server: uvicorn.Server,
    sock: socket.socket,
    address: str,
    open_browser: bool,
    rebuild_database: bool,
) -> None:
    if open_browser:
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
    opening = asyncio.create_task(_open(door, address, rebuild_database))
    # It ends only when the studio could not be opened: no splash may stay for ever.
    opening.add_done_callback(lambda _: setattr(server, "should_exit", True))
    try:
        await server.serve(sockets=[sock])
    finally:
        opening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await opening


async def _open(door: Doorway, address: str, rebuild_database: bool) -> None:
    """Build the studio in a thread, let it in, and keep its lifespan open as long as the server runs."""
    try:
        application = await _built(door, address, rebuild_database)
        async with application.router.lifespan_context(application):
            door.studio = application
            print(f"LoRA Tailor is ready at {address}", flush=True)
            await asyncio.Event().wait()
    except StudioError as error:
        door.fail(error)
        await asyncio.sleep(FAILURE_SECONDS)


async def _built(door: Doorway, address: str, rebuild_database: bool):  # type: ignore[no-untyped-def]
    """The studio; while its database is damaged, somebody in front of the splash has to decide."""
    while True:
        try:
            return await asyncio.to_thread(_build, rebuild_database)
        except StudioError as error:
            asked_here = door.rebuild_wanted.is_set()
            if not (asked_here or isinstance(error, DamagedDatabase)):
                raise
            door.offer_rebuilding(error)
            print(f"{error}\nYou can also do that at {address}", file=sys.stderr, flush=True)
        await door.rebuild_wanted.wait()
        rebuild_database = True


def _build(rebuild_database: bool):  # type: ignore[no-untyped-def]  # the type would import FastAPI early
    from studio import server

    return server.build(rebuild_database)
