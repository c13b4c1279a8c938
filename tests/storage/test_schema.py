"""Migrations make exactly the tables of the code, in one step, and never without a copy."""

from __future__ import annotations

import importlib
import io
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations

from storage import backups, config, database, datasets, files, jobs, schema
from storage.errors import StudioError
from storage.tables import Table

Child = Callable[..., "subprocess.Popen[str]"]

NEWEST = max(path.stem[:4] for path in (schema.MIGRATIONS / "versions").glob("0*.py"))
NEXT = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = "9999", "{newest}"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("note", sa.Text()))
    {then}
"""


def with_next_migration(folder: Path, then: str = "pass") -> Path:
    """A copy of the migrations with one more, which adds a column."""
    shutil.copytree(schema.MIGRATIONS, folder)
    (folder / "versions" / "9999_next.py").write_text(NEXT.format(newest=NEWEST, then=then))
    return folder


def with_the_first_migration_alone(folder: Path) -> Path:
    """A copy of the migrations as they were in the beginning."""
    shutil.copytree(schema.MIGRATIONS, folder)
    for path in (folder / "versions").glob("0*.py"):
        if path.stem != "0001_first":
            path.unlink()
    return folder


def columns_of_jobs() -> set[str]:
    with closing(sqlite3.connect(files.database_path())) as connection:
        return {row[1] for row in connection.execute("PRAGMA table_info(jobs)")}


def connected_to_sqlite(folder: Path) -> None:
    config.use(config.from_environment(folder))
    database.connect()


def test_the_migrations_make_exactly_the_tables_of_the_code(home: Path) -> None:
    with database.reading() as session:
        context = MigrationContext.configure(session.connection(), opts={"compare_type": True})
        assert compare_metadata(context, Table.metadata) == []


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_the_migrations_render_every_table_for_every_database(dialect: str) -> None:
    sql = io.StringIO()
    context = MigrationContext.configure(dialect_name=dialect, opts={"as_sql": True, "output_buffer": sql})
    with Operations.context(context):
        for path in sorted((schema.MIGRATIONS / "versions").glob("0*.py")):
            importlib.import_module(f"storage.migrations.versions.{path.stem}").upgrade()
    assert sql.getvalue().count("CREATE TABLE") == len(Table.metadata.tables)
    numbered = {"sqlite": "AUTOINCREMENT", "postgresql": "BIGSERIAL"}[dialect]
    assert sql.getvalue().count(numbered) == len(Table.metadata.tables)


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
@pytest.mark.parametrize(
    "migration", sorted(path.stem for path in (schema.MIGRATIONS / "versions").glob("0*.py"))
)
def test_every_migration_renders_for_every_database(dialect: str, migration: str) -> None:
    sql = io.StringIO()
    context = MigrationContext.configure(dialect_name=dialect, opts={"as_sql": True, "output_buffer": sql})
    with Operations.context(context):
        importlib.import_module(f"storage.migrations.versions.{migration}").upgrade()
    assert any(table in sql.getvalue() for table in Table.metadata.tables)


def test_a_new_database_needs_no_copy(tmp_path: Path) -> None:
    connected_to_sqlite(tmp_path)
    assert not (tmp_path / "backups").exists()
    database.connect()
    assert not (tmp_path / "backups").exists()


def test_an_older_database_is_copied_before_it_is_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected_to_sqlite(tmp_path / "home")
    job = jobs.add("training", "tone", "cpu")
    monkeypatch.setattr(schema, "MIGRATIONS", with_next_migration(tmp_path / "migrations"))
    database.connect()
    assert "note" in columns_of_jobs()
    assert jobs.get(job.id) == job
    (copy,) = (tmp_path / "home" / "backups").iterdir()
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT name FROM jobs").fetchall() == [("tone",)]
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(NEWEST,)]


def test_jobs_of_the_first_version_have_said_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "MIGRATIONS", with_the_first_migration_alone(tmp_path / "migrations"))
    connected_to_sqlite(tmp_path / "home")
    assert "notes" not in columns_of_jobs()
    with closing(sqlite3.connect(files.database_path())) as connection, connection:
        connection.execute(
            "INSERT INTO jobs (id, kind, name, status, attempt, device, settings, created_at, phase, step,"
            " total_steps, result, events_offset)"
            " VALUES ('k3xr', 'training', 'tone', 'finished', 1, 'cpu', '{}', 0, '', 9, 9, '{}', 0)"
        )
    monkeypatch.undo()
    database.connect()
    job = jobs.get("k3xr")
    assert (job.name, job.notes, job.foreseen_seconds, job.foreseen_peak_bytes) == ("tone", [], None, None)


def test_datasets_of_before_are_the_first_versions_of_their_families(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "MIGRATIONS", with_the_first_migration_alone(tmp_path / "migrations"))
    connected_to_sqlite(tmp_path / "home")
    with closing(sqlite3.connect(files.database_path())) as connection, connection:
        for id in ("k3xr", "k4xr"):
            connection.execute(
                "INSERT INTO datasets (id, name, source_name, format, columns, rows, train_rows, held_out_rows,"
                " problems, sha256, created_at) VALUES (?, 'tone', 't.csv', 'csv', '[]', 9, 8, 1, '[]', 'a', 0)",
                [id],
            )
    monkeypatch.undo()
    database.connect()
    newer, older = datasets.list_all()
    assert (newer.family, newer.version, newer.parent_id, newer.change) == ("k4xr", 1, None, "")
    assert (newer.is_current, newer.left_out_rows, newer.summary, newer.unchecked_changes) == (True, 0, {}, 0)
    assert datasets.families() == [newer, older]


def test_no_room_for_the_copy_means_no_migration(tmp_path: Path, child: Child) -> None:
    connected_to_sqlite(tmp_path / "home")
    jobs.add("training", "tone", "cpu", settings={"text": "x" * 400_000})
    script = f"""
import resource
from pathlib import Path
from storage import schema
from storage.errors import StudioError
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
schema.MIGRATIONS = Path({str(with_next_migration(tmp_path / "migrations"))!r})
try:
    database.connect()
except StudioError as error:
    print(error.message)
"""
    assert child(script).communicate()[0].startswith("The disk is full")
    assert "note" not in columns_of_jobs()
    assert not list((tmp_path / "home" / "backups").glob("*.db"))


def test_a_migration_that_breaks_off_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connected_to_sqlite(tmp_path / "home")
    job = jobs.add("training", "tone", "cpu")
    monkeypatch.setattr(schema, "MIGRATIONS", with_next_migration(tmp_path / "migrations", "1 / 0"))
    with pytest.raises(ZeroDivisionError):
        database.connect()
    monkeypatch.undo()
    database.connect()
    assert "note" not in columns_of_jobs()
    assert jobs.get(job.id) == job


def test_a_database_of_a_newer_studio_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connected_to_sqlite(tmp_path / "home")
    monkeypatch.setattr(schema, "MIGRATIONS", with_next_migration(tmp_path / "migrations"))
    database.connect()
    monkeypatch.undo()
    before = files.sha256_of(files.database_path())
    with pytest.raises(StudioError, match=r"newer version .*9999"):
        database.connect()
    assert files.sha256_of(files.database_path()) == before


def test_a_killed_migration_is_undone_and_the_next_start_does_it(
    tmp_path: Path, child: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed when much of the change is in the file already, and only the journal knows what was there before."""
    connected_to_sqlite(tmp_path / "home")
    for _ in range(40):
        jobs.add("training", "tone", "cpu", settings={"text": "x" * 100_000})
    before = jobs.list_all()
    database.close()
    stop = """op.execute("UPDATE jobs SET settings = '{}'")
    print("changed", flush=True)
    if __import__("os").environ.get("STAY"):
        __import__("time").sleep(600)"""
    changed = with_next_migration(tmp_path / "migrations", stop)
    monkeypatch.setenv("STAY", "1")
    script = f"""
from pathlib import Path
from storage import schema
schema.MIGRATIONS = Path({str(changed)!r})
database.connect()
"""
    bytes_before = files.sha256_of(files.database_path())
    process = child(script, connect=False)
    assert process.stdout is not None and process.stdout.readline() == "changed\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert files.sha256_of(files.database_path()) != bytes_before
    database.connect()
    assert "note" not in columns_of_jobs()
    assert jobs.list_all() == before
    database.close()

    monkeypatch.delenv("STAY")
    process = child(script, connect=False)
    process.communicate()
    assert process.returncode == 0
    assert "note" in columns_of_jobs()
    assert len(backups.list_all()) == 2
