"""What answers before the page is ready: a splash at once, then the studio behind the same port.

Importing Gradio takes seconds; uvicorn answers at once and hands over when a thread has built the page.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import webbrowser

import uvicorn

from storage import config
from storage.errors import StudioError
from studio.access import Access, Application, Receive, Scope, Send, is_loopback

SPLASH = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>LoRA Tailor is starting</title>
<style>:root{color-scheme:light dark}
body{font:16px system-ui,sans-serif;display:grid;place-items:center;min-height:90vh}
main{text-align:center}b{color:#0f766e}@media(prefers-color-scheme:dark){b{color:#2dd4bf}}</style></head>
<body><main><h1>LoRA <b>Tailor</b></h1><p role="status">Opening the studio. A few seconds.</p></main>
<script>setInterval(async()=>{try{const state=await (await fetch("/healthz")).json();
if(state.status==="ok")location.reload();
if(state.status==="failed")document.querySelector("p").textContent=state.message;
}catch(e){}},100)</script></body></html>"""
# So long a failed start still answers, for the splash asks every 0.1 seconds what has become of it.
FAILURE_SECONDS = 2


class Doorway:
    """ASGI application that shows the splash until `studio` is set, then passes everything on to it."""

    def __init__(self) -> None:
        self.studio: Application | None = None
        self.failure: StudioError | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif self.studio is not None:
            await self.studio(scope, receive, send)
        elif scope["type"] == "http":
            await self._splash(scope, send)

    async def _splash(self, scope: Scope, send: Send) -> None:
        if scope["path"] == "/healthz":
            state = {"status": "starting"}
            if self.failure:
                state = {"status": "failed", "message": str(self.failure)}
            body, kind, status = json.dumps(state).encode(), b"application/json", 200
        elif scope["method"] == "GET":
            body, kind, status = SPLASH.encode(), b"text/html; charset=utf-8", 200
        else:
            body, kind, status = b"The studio is starting. Try again in a few seconds.", b"text/plain", 503
        headers = [
            (b"content-type", kind),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


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


def serve(*, host: str, port: int, open_browser: bool) -> None:
    """Answer on host:port until interrupted; prints one line when the page is ready.

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
    asyncio.run(_run(door, server, sock, address, open_browser))
    if door.failure:
        raise door.failure


async def _run(
    door: Doorway, server: uvicorn.Server, sock: socket.socket, address: str, open_browser: bool
) -> None:
    if open_browser:
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
    opening = asyncio.create_task(_open(door, address))
    # It ends only when the studio could not be opened: no splash may stay for ever.
    opening.add_done_callback(lambda _: setattr(server, "should_exit", True))
    try:
        await server.serve(sockets=[sock])
    finally:
        opening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await opening


async def _open(door: Doorway, address: str) -> None:
    """Build the studio in a thread, let it in, and keep its lifespan open as long as the server runs."""
    try:
        application = await asyncio.to_thread(_build)
        async with application.router.lifespan_context(application):
            door.studio = application
            print(f"LoRA Tailor is ready at {address}", flush=True)
            await asyncio.Event().wait()
    except StudioError as error:
        door.failure = error
        await asyncio.sleep(FAILURE_SECONDS)


def _build():  # type: ignore[no-untyped-def]  # the type would import FastAPI before the splash
    from studio import server

    return server.build()
