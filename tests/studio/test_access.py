from __future__ import annotations

import asyncio
import base64
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.cookies import SimpleCookie
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
import uvicorn

from studio import access
from studio.access import Access, Receive, Scope, Send
from studio.doorway import listen

PASSWORD = "pässword + 1"
PAGE = {"accept": "text/html,*/*"}
EVERYTHING = [
    "/healthz", "/gradio_api/info", "/runs/abc/points", "/download/adapter/abc", "/studio-assets/studio.js",
    "/vendor/plotly.min.js", "/config", "/no-such-page",
]  # fmt: skip


async def inner(scope: Scope, receive: Receive, send: Send) -> None:
    """Behind the door: says that it was reached, with headers as Gradio sets them."""
    headers = [
        (b"content-type", b"text/plain"),
        (b"access-control-allow-origin", b"http://evil.example"),
        (b"Access-Control-Allow-Credentials", b"true"),
        (b"X-Frame-Options", b"ALLOWALL"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"inside"})


Serve = Callable[..., httpx.Client]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a real server with Access in front, on loopback; returns a client for it."""
    running: list[tuple[uvicorn.Server, threading.Thread, httpx.Client]] = []

    def start(host: str = "127.0.0.1", password: str | None = None) -> httpx.Client:
        sock = listen("127.0.0.1", 0)
        server = uvicorn.Server(
            uvicorn.Config(
                Access(inner, host=host, password=password), lifespan="off", log_level="error", ws="none"
            )
        )
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[sock])))
        thread.start()
        client = httpx.Client(base_url=f"http://127.0.0.1:{sock.getsockname()[1]}", trust_env=False)
        running.append((server, thread, client))
        return client

    yield start
    for server, thread, client in running:
        client.close()
        server.should_exit = True
        thread.join(10)


def own(client: httpx.Client) -> str:
    return str(client.base_url).removeprefix("http://").rstrip("/")


def clock_ahead(seconds: float) -> SimpleNamespace:
    """The time module's clocks as they will be."""
    return SimpleNamespace(time=lambda: time.time() + seconds, monotonic=lambda: time.monotonic() + seconds)


def sign_in(client: httpx.Client, password: str) -> httpx.Response:
    return client.post("/sign-in", data={"password": password}, headers=PAGE)


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:7860", "localhost.evil.example", "192.168.1.5", "", "[", "[::1", "a@"],
)
def test_a_foreign_host_name_is_refused(serve: Serve, host: str) -> None:
    answer = serve().get("/", headers={"host": host})
    assert answer.status_code == 400
    assert "inside" not in answer.text


@pytest.mark.parametrize("host", ["localhost:7860", "127.0.0.1", "127.0.0.2:80", "[::1]:7860"])
def test_names_of_this_machine_are_answered(serve: Serve, host: str) -> None:
    assert serve().get("/", headers={"host": host}).text == "inside"


@pytest.mark.parametrize(
    ("host", "status"), [("192.168.1.5:7860", 200), ("[fe80::1]", 200), ("evil.example", 400)]
)
def test_a_studio_open_to_the_network_answers_to_addresses_but_not_to_names(
    serve: Serve, host: str, status: int
) -> None:
    client = serve(host="0.0.0.0", password=PASSWORD)
    headers = {"host": host, "authorization": b"Bearer " + PASSWORD.encode()}
    assert client.get("/", headers=headers).status_code == status


def test_a_studio_answers_to_the_name_it_was_given(serve: Serve) -> None:
    client = serve(host="MyBox.lan", password=PASSWORD)
    assert client.get("/", headers={"host": "mybox.lan:7860"}).status_code == 401
    assert client.get("/", headers={"host": "otherbox.lan:7860"}).status_code == 400


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "http://["},
        {"origin": "http://127.0.0.1:1"},
        {"sec-fetch-site": "cross-site"},
    ],
)
def test_another_site_cannot_write(serve: Serve, method: str, headers: dict[str, str]) -> None:
    answer = serve().request(method, "/gradio_api/queue/join", headers=headers)
    assert answer.status_code == 403
    assert "inside" not in answer.text


def test_the_own_page_and_programs_can_write(serve: Serve) -> None:
    client = serve()
    assert (
        client.post("/", headers={"origin": f"http://{own(client)}", "sec-fetch-site": "same-origin"}).text
        == "inside"
    )
    assert client.post("/").text == "inside"


def test_no_other_site_may_read_an_answer(serve: Serve) -> None:
    answer = serve().get("/", headers={"origin": "http://evil.example"})
    assert [name for name in answer.headers if name.startswith("access-control-")] == []


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [("/", {}, 200), ("/", {"host": "evil.example"}, 400), ("/", {"origin": "null"}, 403)],
)
def test_every_answer_carries_the_protecting_headers(
    serve: Serve, path: str, headers: dict[str, str], status: int
) -> None:
    check_headers(serve().post(path, headers=headers), status)


def test_sign_in_answers_carry_the_protecting_headers(serve: Serve) -> None:
    client = serve(password=PASSWORD)
    check_headers(client.get("/", headers=PAGE), 401)
    check_headers(client.get("/healthz"), 401)
    check_headers(sign_in(client, "wrong"), 401)
    check_headers(sign_in(client, PASSWORD), 303)


def check_headers(answer: httpx.Response, status: int) -> None:
    assert answer.status_code == status
    policy = answer.headers.get_list("content-security-policy")
    assert len(policy) == 1
    assert "default-src 'self'" in policy[0]
    assert "frame-ancestors 'none'" in policy[0]
    assert answer.headers.get_list("x-frame-options") == ["DENY"]
    assert answer.headers.get_list("x-content-type-options") == ["nosniff"]
    assert answer.headers.get_list("referrer-policy") == ["same-origin"]


@pytest.mark.parametrize("path", EVERYTHING)
def test_nothing_is_reachable_without_the_password(serve: Serve, path: str) -> None:
    client = serve(password=PASSWORD)
    for method in ("GET", "HEAD", "POST", "OPTIONS"):
        answer = client.request(method, path)
        assert answer.status_code == 401, method
        assert "inside" not in answer.text


def test_a_browser_gets_the_sign_in_page(serve: Serve) -> None:
    answer = serve(password=PASSWORD).get("/train?run=abc", headers=PAGE)
    assert answer.status_code == 401
    assert 'type="password"' in answer.text


def test_the_right_password_opens_a_session(serve: Serve) -> None:
    client = serve(password=PASSWORD)
    answer = sign_in(client, PASSWORD)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = SimpleCookie(answer.headers["set-cookie"])[access.COOKIE]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
    for path in EVERYTHING:
        assert client.get(path).text == "inside"


def test_cookies_of_other_programs_on_this_host_do_no_harm(serve: Serve) -> None:
    client = serve(password=PASSWORD)
    sign_in(client, PASSWORD)
    session = client.cookies[access.COOKIE]
    client.cookies.clear()
    odd = f'other={{"a": [1, 2]}}; bad[key]=x; {access.COOKIE}=old.session; {access.COOKIE}={session}'
    assert client.get("/", headers={"cookie": odd}).text == "inside"


def test_a_second_tab_can_sign_in_as_well(serve: Serve) -> None:
    client = serve(password=PASSWORD)
    assert sign_in(client, PASSWORD).status_code == 303
    assert sign_in(client, PASSWORD).status_code == 303


@pytest.mark.parametrize(
    "value", ["", ".", "99999999999", "99999999999.", "99999999999.0000", "²." + "0" * 64]
)
def test_a_forged_session_is_refused(serve: Serve, value: str) -> None:
    client = serve(password=PASSWORD)
    cookie = f"{access.COOKIE}={value}".encode()
    assert client.get("/", headers={"cookie": cookie}).status_code == 401


def test_a_session_of_another_studio_is_refused(serve: Serve) -> None:
    one, other = serve(password=PASSWORD), serve(password=PASSWORD)
    session = sign_in(one, PASSWORD).cookies[access.COOKIE]
    assert other.get("/", headers={"cookie": f"{access.COOKIE}={session}"}).status_code == 401


def test_a_lengthened_session_is_refused(serve: Serve) -> None:
    client = serve(password=PASSWORD)
    expires, signature = sign_in(client, PASSWORD).cookies[access.COOKIE].split(".")
    client.cookies.clear()
    longer = f"{access.COOKIE}={int(expires) + 1}.{signature}"
    assert client.get("/", headers={"cookie": longer}).status_code == 401


def test_a_session_ends(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    client = serve(password=PASSWORD)
    sign_in(client, PASSWORD)
    assert client.get("/").text == "inside"
    monkeypatch.setattr(access, "time", clock_ahead(access.SESSION_SECONDS + 1))
    assert client.get("/").status_code == 401


@pytest.mark.parametrize(
    "value", [b"Bearer " + PASSWORD.encode(), b"Basic " + base64.b64encode(b"me:" + PASSWORD.encode())]
)
def test_a_program_signs_in_with_a_header(serve: Serve, value: bytes) -> None:
    assert serve(password=PASSWORD).get("/healthz", headers={"authorization": value}).text == "inside"


@pytest.mark.parametrize(
    "value", [b"Bearer", b"Bearer wrong", b"Basic !", b"Basic /w==", b"Digest x", b"\xff\xfe"]
)
def test_a_wrong_header_is_refused(serve: Serve, value: bytes) -> None:
    assert serve(password=PASSWORD).get("/", headers={"authorization": value}).status_code == 401


def test_the_sixth_wrong_try_of_a_minute_is_not_looked_at(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve(password=PASSWORD)
    assert [sign_in(client, f"guess {n}").status_code for n in range(6)] == [401] * 5 + [429]
    assert sign_in(client, PASSWORD).status_code == 429, "a right guess would tell that it is right"
    monkeypatch.setattr(access, "time", clock_ahead(61))
    assert sign_in(client, PASSWORD).status_code == 303


def test_guessing_by_header_is_counted_too(serve: Serve) -> None:
    client = serve(password=PASSWORD)
    guesses = [client.get("/", headers={"authorization": f"Bearer {n}"}).status_code for n in range(6)]
    assert guesses == [401] * 5 + [429]


def test_a_visitor_with_a_session_is_not_locked_out_by_wrong_tries(serve: Serve) -> None:
    client = serve(password=PASSWORD)
    sign_in(client, PASSWORD)
    for _ in range(6):
        httpx.post(f"http://{own(client)}/sign-in", data={"password": "wrong"}, trust_env=False)
    assert client.get("/").text == "inside"


@pytest.mark.parametrize("body", [b"", b"password", b"\xff\xfe=\x00", b"password=" + b"x" * 100_000])
def test_an_odd_form_is_a_wrong_try(serve: Serve, body: bytes) -> None:
    assert serve(password=PASSWORD).post("/sign-in", content=body, headers=PAGE).status_code == 401


def test_a_studio_without_password_does_not_open_to_the_network(tmp_path: Path) -> None:
    ended = subprocess.run(
        [
            sys.executable,
            "app.py",
            "--host",
            "0.0.0.0",
            "--port",
            "0",
            "--no-browser",
            "--data-dir",
            str(tmp_path),
        ],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 2
    assert "Set a password" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""
