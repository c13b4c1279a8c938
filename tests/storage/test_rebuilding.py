"""A new database in the place of the old one, cut short between any two of its steps."""

from __future__ import annotations

import dataclasses
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from storage import (
    adapters,
    config,
    database,
    datasets,
    evaluations,
    files,
    jobs,
    metrics,
    rebuilding,
    workers,
)
from storage.errors import StudioError

DATASET: dict[str, Any] = {
    "id": "new",
    "name": "New",
    "source_name": "new.csv",
    "format": "csv",
    "columns": ["prompt", "response"],
    "rows": 3,
    "train_rows": 2,
    "held_out_rows": 1,
    "problems": [{"code": "few"}],
    "sha256": "a" * 64,
    "created_at": 1_000.5,
}


def rebuild(**changed: object) -> None:
    """Put the new dataset in the place of everything that was."""
    with rebuilding.new_database() as new:
        new.add_dataset({**DATASET, **changed})


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A SQLite database with one dataset, and nobody connected; its file."""
    config.use(config.from_environment(tmp_path / "home"))
    database.connect()
    datasets.add(**{**DATASET, "id": "old", "created_at": None})
    database.close()
    return files.database_path()


def ids_in(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return [id for (id,) in connection.execute("SELECT id FROM datasets")]


def died(work: Callable[[], None], at: int) -> bool:
    """Do the work in a process that ends, as if killed, before its `at`-th change of the disk."""
    child = os.fork()
    if child == 0:
        left = [at]

        def counted(call: Callable[..., Any]) -> Callable[..., Any]:
            def counting(*arguments: Any, **named: Any) -> Any:
                left[0] -= 1
                if left[0] == 0:
                    os._exit(9)
                return call(*arguments, **named)

            return counting

        for name in ("replace", "rename", "link", "unlink", "fsync", "mkdir"):
            setattr(os, name, counted(getattr(os, name)))
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 9), "it failed instead of being cut short"
    return status == 9


def test_killed_at_any_step_either_the_old_or_the_new_one_is_there(old: Path) -> None:
    at, seen = 0, []
    while not seen or seen[-1] != ["new"]:
        at += 1
        was_killed = died(rebuild, at)
        seen.append(ids_in(old))
        assert seen[-1] in (["old"], ["new"])
    while was_killed:  # what is left to do after the new one is in place harms nobody
        at += 1
        was_killed = died(rebuild, at)
        assert ids_in(old) == ["new"]
    assert at > 8
    assert not list(old.parent.glob(".*rebuilding*"))
    assert any(ids_in(kept) == ["old"] for kept in old.parent.glob("backups/replaced-*/studio.db"))


def test_the_old_file_is_kept_with_its_log_and_the_new_one_has_none(old: Path) -> None:
    old.write_bytes(b"damaged" * 1000)
    for suffix in rebuilding.SIDECARS:
        Path(f"{old}{suffix}").write_bytes(suffix.encode())
    rebuild()
    assert [path.name for path in old.parent.glob("studio.db*")] == ["studio.db"]
    assert ids_in(old) == ["new"]
    (kept,) = old.parent.glob("backups/replaced-*")
    assert (kept / "studio.db").read_bytes() == b"damaged" * 1000
    assert (kept / "studio.db-wal").read_bytes() == b"-wal"  # SQLite has looked into the others


def test_what_a_crash_left_in_the_old_journal_never_reaches_the_new_database(old: Path) -> None:
    child = os.fork()
    if child == 0:
        crashing = sqlite3.connect(old, isolation_level=None)
        crashing.execute("PRAGMA journal_mode = DELETE")
        crashing.execute(
            "PRAGMA cache_size = 1"
        )  # so that pages, and the journal, are written before a commit
        crashing.execute("BEGIN IMMEDIATE")
        for number in range(300):
            crashing.execute("UPDATE datasets SET name = ?", [f"{number}" * 3000])
        os._exit(9)
    os.waitpid(child, 0)
    assert Path(f"{old}-journal").stat().st_size > 512
    old.unlink()  # lost, with the journal left behind: SQLite would undo the new one by it
    rebuild()
    assert not Path(f"{old}-journal").exists()
    assert ids_in(old) == ["new"]


def test_an_error_on_the_way_leaves_the_old_one_as_it_was(old: Path) -> None:
    content = old.read_bytes()
    with pytest.raises(ZeroDivisionError), rebuilding.new_database() as new:
        new.add_dataset(DATASET)
        raise ZeroDivisionError
    assert old.read_bytes() == content and not list(old.parent.glob("backups/*"))


def test_nobody_writes_to_the_old_one_meanwhile(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        rebuilding.new_database(),
        closing(sqlite3.connect(old, timeout=0)) as other,
        pytest.raises(sqlite3.OperationalError, match="locked"),
    ):
        other.execute("UPDATE datasets SET name = 'lost'")
    with closing(sqlite3.connect(old, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        monkeypatch.setattr(rebuilding, "PATIENCE_SECONDS", 0)
        with pytest.raises(StudioError, match="busy"):
            rebuild()


def test_a_database_elsewhere_is_replaced_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "else where").mkdir()
    real = tmp_path / "else where" / "real.db"
    link = tmp_path / "else where" / "link.db"
    link.symlink_to(real)
    config.use(config.from_environment(tmp_path / "home", f"sqlite:///{link}"))
    database.connect()
    database.close()
    rebuild()
    assert link.is_symlink() and ids_in(real) == ["new"]


def test_all_kinds_of_records_come_back(home: Path) -> None:
    # Named here, as on PostgreSQL the tables must be empty: what is put in is made by the records themselves.
    job = jobs.Job(
        **{field.name: None for field in dataclasses.fields(jobs.Job)}
        | {
            "number": 7,
            "id": "job",
            "kind": "training",
            "name": "a \N{REPLACEMENT CHARACTER}",
            "status": "running",
        }
        | {
            "attempt": 2,
            "device": "cpu",
            "settings": {"epochs": 3},
            "created_at": 5.0,
            "phase": "",
            "step": 3,
        }
        | {
            "total_steps": 9,
            "notes": ["one"],
            "result": {},
            "events_offset": 8,
            "position": 4,
            "deleting": False,
        }
        | {"interruptions": [{"attempt": 1, "step": 2}]}
    )
    adapter = adapters.Adapter(
        "ad", "name", "job", "new", "base", 8, 16.0, ["q"], 5, 6, "s", "t", None, None, {"epochs": 3}, 9.0
    )
    card = evaluations.Evaluation("ev", "ad", {"verdict": "better"}, 10.0)
    state = {"attempt": 1, "step": 2, "folder": "attempt-1/states/x", "at": 6.0}
    generation = workers.enter(1, 1.0, "")
    with rebuilding.new_database() as new:
        new.add_dataset({**DATASET, "unknown": 1})
        new.add_job(dataclasses.asdict(job), [(1, "loss", 0.5), (2, "loss", None)], [state])
        new.add_adapter(dataclasses.asdict(adapter))
        new.add_scorecard(dataclasses.asdict(card))
        for bad in ({**DATASET}, {**DATASET, "id": "x", "rows": "3"}, {"id": "y"}):
            with pytest.raises(StudioError):
                new.add_dataset(bad)
        with pytest.raises(StudioError):
            new.add_job({**dataclasses.asdict(job), "id": "other"}, [], [])  # the number is taken
        with pytest.raises(StudioError):
            new.add_scorecard({**dataclasses.asdict(card), "id": "e2", "adapter_id": "none"})
    assert not workers.is_current(), "a worker of the database of before can change nothing"
    workers.leave()
    assert [dataclasses.asdict(one) for one in datasets.list_all()] == [datasets.complete(DATASET)]
    assert jobs.list_all() == [job]
    assert metrics.since("job", 0) == [metrics.Metric(1, "loss", 0.5), metrics.Metric(2, "loss", None)]
    assert adapters.list_all() == [adapter] and evaluations.latest("ad") == card
    assert jobs.add("count", "next", "cpu").number == 8
    assert workers.enter(1, 1.0, "") > generation
    workers.leave()


def test_postgresql_has_to_be_empty(postgres_url: str, tmp_path: Path) -> None:
    config.use(config.from_environment(tmp_path / "home", postgres_url))
    with pytest.raises(ZeroDivisionError), rebuilding.new_database() as new:
        new.add_dataset(DATASET)
        raise ZeroDivisionError
    rebuild()
    database.connect()
    assert [one.id for one in datasets.list_all()] == ["new"]
    with pytest.raises(StudioError, match="not empty") as caught:
        rebuild(id="again")
    assert "pg_dump" in caught.value.remedy
    assert [one.id for one in datasets.list_all()] == ["new"]
    database.close()
    assert not rebuilding.is_missing()
