"""Our own routes: health that never fails, and downloads of what is on the list alone."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from jobs import worker
from storage import backups, database, files, jobs
from storage.errors import StudioError
from studio import routes, server


@pytest.fixture
def client(home: Path) -> TestClient:
    application = FastAPI()
    routes.add(application)
    return TestClient(application)


@pytest.fixture(autouse=True)
def working(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "worker_is_alive", lambda: True)


def health(client: TestClient) -> dict[str, Any]:
    answer = client.get("/healthz")
    assert answer.status_code == 200
    return answer.json()  # type: ignore[no-any-return]


def test_a_healthy_studio_says_so(client: TestClient) -> None:
    jobs.add("training", "waiting", "cpu")
    said = health(client)
    assert said == {
        "status": "ok", "version": routes.VERSION, "started": routes.STARTED, "database": "ok", "worker": "ok",
        "jobs_running": 0, "jobs_queued": 1, "notice": None,
    }  # fmt: skip


def test_what_everybody_is_to_know_is_handed_on(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "notice", "The database was made again.")
    assert health(client)["notice"] == "The database was made again."


def test_a_worker_that_does_not_run_is_said(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "worker_is_alive", lambda: False)
    assert (health(client)["status"], health(client)["worker"]) == ("degraded", "stopped")


def test_a_database_that_is_gone_or_broken_is_said(client: TestClient, home: Path) -> None:
    database.close()
    (home / "studio.db").write_bytes(b"no database at all " * 1000)
    with pytest.raises(StudioError):
        database.connect()
    said = health(client)
    assert said["status"] == "degraded" and said["database"] != "ok"
    assert said["jobs_running"] is said["jobs_queued"] is None
    assert said["worker"] == "ok"


@pytest.mark.parametrize("field", ["describe", "count", "alive"])
def test_no_failure_of_a_part_is_one_of_the_whole(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    def fail(*values: object) -> None:
        raise ValueError("our own mistake")

    module, name = {
        "describe": (database, "describe"), "count": (jobs, "count"), "alive": (worker, "worker_is_alive"),
    }[field]  # fmt: skip
    monkeypatch.setattr(module, name, fail)
    said = health(client)
    assert said["status"] == "degraded"
    assert "Something unexpected" in said["worker" if field == "alive" else "database"]


def test_a_database_that_may_not_be_written_is_said(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A user who may do everything (root) may also write what is marked read-only: the system is asked instead.
    monkeypatch.setattr(routes.os, "access", lambda path, mode: False)
    assert "may not be written" in health(client)["database"]


def test_a_backup_is_sent_as_a_file(client: TestClient) -> None:
    copy = backups.back_up()
    answer = client.get(f"/download/backup/{copy.name}")
    assert answer.content == copy.read_bytes()
    assert answer.headers["content-disposition"] == f'attachment; filename="{copy.name}"'


@pytest.mark.parametrize("name", ["..%2Fstudio.db", "%2Fetc%2Fpasswd", ".half.db", "nothing.db", "studio.db"])
def test_nothing_but_a_backup_is_sent(client: TestClient, name: str) -> None:
    backups.back_up()
    (files.root() / "backups" / ".half.db").write_text("x")
    assert client.get(f"/download/backup/{name}").status_code == 404


def test_a_run_that_is_gone_is_told_apart_from_a_database_that_is(client: TestClient, home: Path) -> None:
    assert client.get("/runs/nosuchid/points").status_code == 404
    job_id = jobs.add("training", "tone", "cpu").id
    assert client.get(f"/runs/{job_id}/points").status_code == 200
    (home / "studio.db").unlink()
    answer = client.get(f"/runs/{job_id}/points")
    assert answer.status_code == 503
    assert answer.json()["error"]["message"]


def test_many_who_ask_at_once_are_all_answered(client: TestClient) -> None:
    answers: list[str] = []
    askers = [threading.Thread(target=lambda: answers.append(health(client)["status"])) for _ in range(20)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert answers == ["ok"] * 20
