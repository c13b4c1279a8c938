from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from storage import config
from storage.errors import DamagedDatabase, StudioError
from studio import doorway
from studio.access import Receive, Scope, Send


class SlowStudio:
    """A stand-in for the built application: answers "studio", and knows whether its lifespan is open."""

    def __init__(self) -> None:
        self.is_open = False
        self.router = SimpleNamespace(lifespan_context=self.lifespan)

    @asynccontextmanager
    async def lifespan(self, application: SlowStudio):  # type: ignore[no-untyped-def]
        self.is_open = True
        try:
            yield
        finally:
            self.is_open = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"studio"})


class Door:
    """doorway.serve in a thread, with the building of the studio in the test's hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.studio = SlowStudio()
        self.problem: Exception | None = None
        self.error: BaseException | None = None
        self.built = threading.Event()
        self.asked: list[bool] = []
        self.servers: list[doorway.uvicorn.Server] = []
        sock = doorway.listen("127.0.0.1", 0)
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{sock.getsockname()[1]}", trust_env=False)
        make_server = doorway.uvicorn.Server
        monkeypatch.setattr(doorway, "listen", lambda host, port: sock)
        monkeypatch.setattr(doorway, "_build", self.build)
        monkeypatch.setattr(
            doorway.uvicorn,
            "Server",
            lambda *settings: self.servers.append(make_server(*settings)) or self.servers[0],
        )
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def build(self, rebuild_database: bool) -> SlowStudio:
        self.built.wait(30)
        self.asked.append(rebuild_database)
        if self.problem:
            raise self.problem
        return self.studio

    def run(self) -> None:
        try:
            doorway.serve(host="127.0.0.1", port=0, open_browser=False)
        except (StudioError, ImportError) as error:
            self.error = error

    def close(self) -> None:
        self.built.set()
        self.servers[0].should_exit = True
        self.thread.join(10)
        assert not self.thread.is_alive()
        self.client.close()

    def wait_for(self, body: str) -> None:
        deadline = time.monotonic() + 10
        while body not in self.client.get("/healthz").text:
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    config.use(config.from_environment(data_dir=tmp_path))
    door = Door(monkeypatch)
    yield door
    door.close()


def test_the_splash_answers_before_the_studio_is_built(door: Door) -> None:
    answer = door.client.get("/train?run=abc")
    assert answer.status_code == 200
    assert "Opening the studio" in answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert "content-security-policy" in answer.headers
    assert door.client.get("/healthz").json() == {"status": "starting"}


def test_an_action_that_comes_too_early_is_told_to_wait(door: Door) -> None:
    answer = door.client.post("/gradio_api/queue/join", json={})
    assert (answer.status_code, answer.text) == (503, "The studio is starting. Try again in a few seconds.")


def test_the_studio_takes_over_behind_the_same_port(door: Door, capsys: pytest.CaptureFixture[str]) -> None:
    door.client.get("/")
    assert capsys.readouterr().out == ""
    door.built.set()
    door.wait_for("studio")
    assert capsys.readouterr().out == f"LoRA Tailor is ready at {door.client.base_url}".rstrip("/") + "\n"
    assert door.studio.is_open
    door.close()
    assert not door.studio.is_open
    assert door.error is None


def test_a_failed_start_is_told_in_words_and_ends(door: Door) -> None:
    door.problem = StudioError("The disk is full.", "Make room.")
    door.built.set()
    door.wait_for("failed")
    assert door.client.get("/healthz").json()["message"] == "The disk is full. Make room."
    door.thread.join(10)
    assert door.error is door.problem


def test_a_damaged_database_is_rebuilt_when_somebody_asks(door: Door) -> None:
    assert door.client.post("/rebuild").status_code == 503, "nothing is known to be wrong yet"
    door.problem = DamagedDatabase("The database is damaged: page 1.", "Rebuild it.")
    door.built.set()
    door.wait_for("damaged")
    time.sleep(doorway.FAILURE_SECONDS + 0.5)
    health = door.client.get("/healthz").json()
    assert health["status"] == "damaged"
    assert health["message"] == f"The database is damaged: page 1. {doorway.NOTHING_IS_LOST}"
    assert 'action="/rebuild"' in door.client.get("/").text

    foreign = door.client.post("/rebuild", headers={"origin": "http://elsewhere.example"})
    assert foreign.status_code == 403 and door.asked == [False]
    assert door.client.post("/gradio_api/queue/join", json={}).status_code == 503

    door.built.clear()
    answer = door.client.post("/rebuild", headers={"origin": str(door.client.base_url).rstrip("/")})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert door.client.get("/healthz").json()["status"] == "rebuilding"
    assert door.client.post("/rebuild").status_code == 303, "a second click changes nothing"
    door.problem = StudioError("The disk is full.", "Make room.")
    door.built.set()
    door.wait_for("The disk is full.")
    assert door.client.get("/healthz").json()["status"] == "damaged", "it may be tried again"
    door.problem = None
    door.client.post("/rebuild")
    door.wait_for("studio")
    assert door.asked == [False, True, True]


def test_an_unforeseen_failure_ends_the_studio_instead_of_an_endless_splash(door: Door) -> None:
    door.problem = ImportError("no module named gradio")
    door.built.set()
    door.thread.join(10)
    assert door.error is door.problem


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def test_a_taken_port_is_said_in_a_sentence() -> None:
    with taken_port() as port, pytest.raises(StudioError) as caught:
        doorway.listen("127.0.0.1", port)
    assert f"127.0.0.1:{port}" in caught.value.message
    assert "--port" in caught.value.remedy


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 70_000), ("203.0.113.7", 0), ("no such host", 0)])
def test_an_address_that_is_not_this_machines_is_said_in_a_sentence(host: str, port: int) -> None:
    with pytest.raises(StudioError, match="cannot listen"):
        doorway.listen(host, port)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "studio.example"])
def test_opening_to_the_network_needs_a_password(
    tmp_path: Path, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LORA_TAILOR_PASSWORD", raising=False)
    config.use(config.from_environment(data_dir=tmp_path))
    with pytest.raises(StudioError, match="password"):
        doorway.serve(host=host, port=0, open_browser=False)


def test_app_on_a_taken_port_ends_with_status_2_and_a_sentence(tmp_path: Path) -> None:
    with taken_port() as port:
        ended = subprocess.run(
            [
                sys.executable,
                "app.py",
                "--port",
                str(port),
                "--no-browser",
                "--data-dir",
                str(tmp_path / "home"),
            ],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert ended.returncode == 2
    assert "cannot listen" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "home").exists(), "nothing is written before the address is ours"


def test_the_first_answer_needs_no_gradio() -> None:
    code = "import sys, app; print(*{'gradio', 'fastapi', 'sqlalchemy'} & set(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert loaded.stdout.strip() == ""
