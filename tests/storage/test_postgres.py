"""What only PostgreSQL can get wrong, and the server that the tests start."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
import sqlalchemy

from storage import config, database, jobs, schema
from storage.errors import StudioError
from tests.storage import postgres
from tests.storage.test_schema import with_next_migration, with_the_first_migration_alone

Child = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def home(postgres_url: str, tmp_path: Path) -> Iterator[Path]:
    """A data folder on PostgreSQL whose database is still empty."""
    config.use(config.from_environment(tmp_path / "home", postgres_url))
    yield tmp_path / "home"
    database.close()


def columns_of_jobs() -> set[str]:
    with database.reading() as session:
        return {column["name"] for column in sqlalchemy.inspect(session.connection()).get_columns("jobs")}


def test_it_describes_itself_without_the_password(home: Path) -> None:
    database.connect()
    described = database.describe()
    assert described["sqlite_version"] is None and described["journal_mode"] is None
    assert described["url"] == sqlalchemy.make_url(config.current().database_url).render_as_string()
    assert ":***@" in str(described["url"])


def test_a_wrong_password_is_explained_and_not_repeated(home: Path) -> None:
    url = sqlalchemy.make_url(config.current().database_url).set(password="swordfish")
    config.use(config.from_environment(home, url.render_as_string(hide_password=False)))
    with pytest.raises(StudioError, match="password authentication failed") as caught:
        database.connect()
    assert "swordfish" not in str(caught.value)


def test_processes_that_start_together_all_come_up(home: Path, child: Child) -> None:
    script, soon = "database.connect(); print(jobs.count('queued'))", time.time() + 2
    children = [child(script, connect=False, together=soon) for _ in range(4)]
    assert [process.communicate()[0].strip() for process in children] == ["0"] * 4


def test_of_workers_that_enter_together_one_is_the_newest(home: Path, child: Child) -> None:
    database.connect()
    script = "import os; from storage import workers; print(workers.enter(7, 1.0, 'b'), flush=True)\n"
    script += (
        f"while not os.path.exists({str(home / 'all')!r}): time.sleep(0.05)\nprint(workers.is_current())"
    )
    soon = time.time() + 1.5
    children = [child(script, together=soon) for _ in range(4)]
    generations = [int(process.stdout.readline()) for process in children if process.stdout]
    (home / "all").touch()
    newest = [process.communicate()[0].strip() for process in children]
    assert newest == [str(generation == max(generations)) for generation in generations]


def test_a_job_of_the_first_version_is_there_in_the_newest(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(schema, "MIGRATIONS", with_the_first_migration_alone(tmp_path / "migrations"))
    database.connect()
    with database.session() as session:
        session.connection().exec_driver_sql(
            "INSERT INTO jobs (id, kind, name, status, attempt, device, settings, created_at, phase, step,"
            " total_steps, result, events_offset)"
            " VALUES ('k3xr', 'training', 'tone', 'queued', 0, 'cpu', '{}', 0, '', 9, 9, '{}', 0)"
        )
    monkeypatch.undo()
    database.connect()
    job = jobs.get("k3xr")
    assert (job.name, job.notes, job.interruptions, job.deleting) == ("tone", [], [], False)
    later = jobs.add("training", "later", "cpu")
    assert [claimed.id for claimed in (jobs.claim(set()), jobs.claim(set())) if claimed] == [job.id, later.id]


def test_a_migration_that_breaks_off_changes_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    database.connect()
    job = jobs.add("training", "tone", "cpu")
    monkeypatch.setattr(schema, "MIGRATIONS", with_next_migration(tmp_path / "migrations", "1 / 0"))
    with pytest.raises(ZeroDivisionError):
        database.connect()
    monkeypatch.undo()
    database.connect()
    assert "note" not in columns_of_jobs()
    assert jobs.get(job.id) == job


def test_a_database_of_a_newer_studio_is_left_alone(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    database.connect()
    monkeypatch.setattr(schema, "MIGRATIONS", with_next_migration(tmp_path / "migrations"))
    database.connect()
    monkeypatch.undo()
    with pytest.raises(StudioError, match=r"newer version .*9999"):
        database.connect()


def test_an_error_undoes_the_whole_transaction(home: Path) -> None:
    database.connect()
    job = jobs.add("training", "a", "cpu")
    with pytest.raises(KeyError), database.session() as session:
        session.connection().exec_driver_sql("UPDATE jobs SET name = 'b'")
        raise KeyError
    assert jobs.get(job.id).name == "a"


def test_a_reader_sees_one_state_however_often_it_looks(home: Path) -> None:
    database.connect()
    job = jobs.add("training", "a", "cpu")
    look = sqlalchemy.text("SELECT status FROM jobs")
    with database.reading() as session:
        before = session.scalar(look)
        jobs.request_stop(job.id)
        assert session.scalar(look) == before == "queued"


def test_a_restored_job_leaves_its_number_to_nobody_else(home: Path) -> None:
    database.connect()
    lost = jobs.add("training", "lost", "cpu")
    postgres.empty(config.current().database_url)
    database.connect()
    assert jobs.restore(asdict(lost))
    later = jobs.add("training", "later", "cpu")
    assert later.number > lost.number
    assert [job.id for job in jobs.list_all()] == [later.id, lost.id]


def test_text_that_json_may_hold_and_postgresql_may_not(home: Path) -> None:
    database.connect()
    job = jobs.add("training", "a", "cpu", settings={"text": "a\0b", "emoji": "😀"})
    assert jobs.get(job.id).settings == {"text": "a\0b", "emoji": "😀"}


def test_the_server_of_these_tests_ends_when_they_are_killed() -> None:
    if reason := postgres.missing():
        pytest.skip(reason)
    script = (
        "import sqlalchemy, time\nfrom tests.storage import postgres\n"
        "with postgres.running() as server:\n"
        "    print(server.folder, sqlalchemy.make_url(server.url).port, flush=True)\n    time.sleep(600)"
    )
    root = Path(__file__).parents[2]
    tests = subprocess.Popen([sys.executable, "-c", script], cwd=root, stdout=subprocess.PIPE, text=True)
    assert tests.stdout is not None
    folder, port = tests.stdout.readline().split()
    tests.kill()
    tests.communicate()
    deadline = time.monotonic() + 20
    while Path(folder).exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not Path(folder).exists()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(port)), timeout=5)
