"""Who may talk to the studio: host names, cross-site writes, the password, and the headers of every answer.

Pure ASGI around everything (pages, Gradio's own routes, downloads), so nothing is reachable beside it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import html
import ipaddress
import secrets
import socket
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

COOKIE = "lora_tailor_session"
SESSION_SECONDS = 7 * 24 * 3600
TRIES_PER_MINUTE = 5
SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
TOO_MANY = "Too many wrong passwords. Wait a minute."

# Gradio's start-up code is inline, and the browser compiles its templates: hence the two 'unsafe' words.
# What matters here is that nothing outside this address is ever loaded from or sent to.
CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    ]
)
HEADERS = [
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
]
OWN_HEADERS = {name for name, _ in HEADERS}


def is_loopback(host: str) -> bool:
    """Whether an address to listen on can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Access:
    """ASGI middleware: refuses foreign hosts and cross-site writes, asks for the password if there is one."""

    def __init__(self, inner: Application, *, host: str, password: str | None) -> None:
        self.inner = inner
        self.open_to_network = not is_loopback(host)
        self.host_names = {"localhost"}
        if self.open_to_network:
            name = socket.gethostname().lower()
            self.host_names |= {host.lower(), name, f"{name}.local"}
        self.password = password
        self.key = secrets.token_bytes(32)
        self.tries: dict[str, deque[float]] = defaultdict(deque)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.inner(scope, receive, send)
            return
        if scope["type"] != "http":  # nothing here speaks WebSocket
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refusal(scope, headers)
        if refusal:
            await _answer(send, *refusal)
        elif self.password and (_is_sign_in(scope) or not self._has_session(headers)):
            await self._ask(scope, headers, receive, send)
        else:
            await self.inner(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if not self._is_own_host(host):
            return 400, "This studio does not answer to that host name. Open it by the address it printed."
        if scope["method"] not in SAFE_METHODS and not _same_site(headers, host):
            return 403, "Another website tried to use this studio. It was refused."
        return None

    def _is_own_host(self, host: str) -> bool:
        # Against DNS rebinding: a name that an attacker owns is never right, an address typed by a person is.
        try:
            name = urlsplit(f"//{host}").hostname or ""
            return name in self.host_names or self._is_own_address(ipaddress.ip_address(name))
        except ValueError:
            return False

    def _is_own_address(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
        return self.open_to_network or address.is_loopback

    def _has_session(self, headers: dict[str, str]) -> bool:
        # By hand: http.cookies gives up on the whole line when another program on this host left an odd one.
        pairs = (pair.strip().partition("=") for pair in headers.get("cookie", "").split(";"))
        return any(name == COOKIE and self._is_session(value) for name, _, value in pairs)

    def _is_password(self, text: bytes) -> bool:
        return hmac.compare_digest(text, (self.password or "").encode())

    def _session(self) -> str:
        expires = str(int(time.time()) + SESSION_SECONDS)
        return f"{expires}.{self._signature(expires)}"

    def _signature(self, expires: str) -> str:
        return hmac.new(self.key, expires.encode(), hashlib.sha256).hexdigest()

    def _is_session(self, value: str) -> bool:
        expires, _, signature = value.partition(".")
        genuine = hmac.compare_digest(signature.encode(), self._signature(expires).encode())
        return genuine and expires.isdigit() and int(expires) > time.time()

    async def _ask(self, scope: Scope, headers: dict[str, str], receive: Receive, send: Send) -> None:
        """Let a program with the password in, answer the sign-in page's form, or ask for the password."""
        offered = _offered_password(headers)
        form = offered is None and _is_sign_in(scope)
        if form:
            # Latin-1 both ways keeps the bytes as they are, whatever a stranger sends.
            fields = parse_qs((await _body(receive)).decode("latin-1"), encoding="latin-1")
            offered = fields.get("password", [""])[0].encode("latin-1")
        if offered is None:
            await _refuse(headers, send, 401, "")
            return
        recent = self._recent_tries(scope)
        if len(recent) >= TRIES_PER_MINUTE:
            await _refuse(headers, send, 429, TOO_MANY)
        elif not self._is_password(offered):
            recent.append(time.monotonic())
            await _refuse(headers, send, 401, "That is not the password.")
        elif form:
            await self._let_in(scope, send)
        else:
            await self.inner(scope, receive, _with_headers(send))

    def _recent_tries(self, scope: Scope) -> deque[float]:
        """When this visitor gave wrong passwords in the last minute; visitors without any are forgotten."""
        now = time.monotonic()
        for visitor, tries in list(self.tries.items()):
            while tries and now - tries[0] > 60:
                tries.popleft()
            if not tries:
                del self.tries[visitor]
        return self.tries[(scope.get("client") or ("?", 0))[0]]

    async def _let_in(self, scope: Scope, send: Send) -> None:
        cookie = f"{COOKIE}={self._session()}; HttpOnly; SameSite=Lax; Path=/; Max-Age={SESSION_SECONDS}"
        if scope.get("scheme") == "https":
            cookie += "; Secure"
        await _answer(send, 303, "", extra=[(b"location", b"/"), (b"set-cookie", cookie.encode())])


SIGN_IN = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>LoRA Tailor: sign in</title>
<style>:root{color-scheme:light dark}
body{font:16px system-ui;max-width:22rem;margin:20vh auto;padding:0 1rem}
input,button{font:inherit;padding:.5rem .8rem;width:100%;box-sizing:border-box;margin:.4rem 0}</style></head>
<body><main><h1>LoRA Tailor</h1>NOTE<form method="post" action="/sign-in">
<label for="password">Password of this studio</label>
<input id="password" name="password" type="password" autocomplete="current-password" autofocus required>
<button>Sign in</button></form></main></body></html>"""


def sign_in_page(problem: str) -> str:
    """A page with one field, without anything from Gradio."""
    return SIGN_IN.replace("NOTE", f'<p role="alert">{html.escape(problem)}</p>' if problem else "")


def _is_sign_in(scope: Scope) -> bool:
    return scope["method"] == "POST" and scope["path"] == "/sign-in"


def _offered_password(headers: dict[str, str]) -> bytes | None:
    """The password of an Authorization header (Bearer, or Basic with any name); None when there is none."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.encode("latin-1")
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(token).partition(b":")[2]
        except binascii.Error:
            return b""
    return None


def _same_site(headers: dict[str, str], host: str) -> bool:
    if headers.get("sec-fetch-site") == "cross-site":
        return False
    origin = headers.get("origin")
    return origin is None or origin.partition("://")[2] == host


async def _refuse(headers: dict[str, str], send: Send, status: int, problem: str) -> None:
    """The sign-in page for a browser, a sentence for a program."""
    if "text/html" in headers.get("accept", ""):
        await _answer(send, status, sign_in_page(problem), content_type="text/html")
    else:
        asked = "This studio asks for its password: send it as 'Authorization: Bearer …'."
        await _answer(send, status, f"{problem} {asked}".strip())


async def _body(receive: Receive, limit_bytes: int = 10_000) -> bytes:
    body = b""
    while len(body) <= limit_bytes:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    return body[:limit_bytes]


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            # Gradio reflects any Origin in its CORS answers; no other site is ever meant to read ours.
            kept = [
                (name, value)
                for name, value in message.get("headers", [])
                if not name.lower().startswith(b"access-control-") and name.lower() not in OWN_HEADERS
            ]
            message = {**message, "headers": [*kept, *HEADERS]}
        await send(message)

    return send_with_headers


async def _answer(
    send: Send,
    status: int,
    text: str,
    *,
    content_type: str = "text/plain",
    extra: list[tuple[bytes, bytes]] | None = None,
) -> None:
    body = text.encode()
    headers = [
        (b"content-type", f"{content_type}; charset=utf-8".encode()),
        (b"content-length", str(len(body)).encode()),
        *(extra or []),
        *HEADERS,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
