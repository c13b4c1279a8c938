from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from jobs import queue, rebuild
from storage import backups, files, jobs, metrics, trash
from storage.errors import StudioError
from studio.tabs import upkeep

NAMES = ("disk", "trash", "empty", "empty_sure", "clear", "clear_sure", "backups")


def now() -> dict[str, Any]:
    return dict(zip(NAMES, upkeep.now(), strict=True))


def stopped_run(state_bytes: int = 0) -> str:
    jobs.add("training", "tone <b>", "cpu")
    job = jobs.claim(set())
    assert job is not None
    folder = files.attempt_folder(job.id, 1) / "states" / "step-00000100-000000"
    folder.mkdir(parents=True)
    (folder / "state.safetensors").write_bytes(b"x" * state_bytes)
    saved = [{"step": 100, "folder": str(folder.relative_to(files.run_folder(job.id))), "at": 1.0}]
    metrics.take_in(job.id, 1, [], 1, saved=saved, step=120)
    jobs.finish(job.id, 1, "stopped")
    return job.id


def test_everything_that_uses_the_disk_is_listed(home: Path) -> None:
    (home / "logs" / "worker.log").write_bytes(b"x" * 5000)
    stopped_run(2_000_000)
    shown = upkeep.disk()
    assert "5.0 kB" in shown and "2.0 MB" in shown and "Free" in shown
    assert all(words in shown for words in upkeep.PARTS.values())


def test_what_is_empty_offers_no_button(home: Path) -> None:
    parts = now()
    assert not parts["empty"].visible and not parts["clear"].visible
    assert "Empty" in parts["trash"] and "No backup yet" in parts["backups"]


def test_a_deleted_run_is_named_and_can_be_put_back(home: Path) -> None:
    job_id = stopped_run(10)
    queue.stop(job_id)
    state = files.run_folder(job_id) / "state.json"
    files.write_json(state, {**files.read_json(state), "name": "tone <b>"})
    queue.delete(job_id)
    assert jobs.list_all() == []
    shown = now()["trash"]
    assert "tone &lt;b&gt;" in shown and "Put back" in shown and "<b>" not in shown
    assert now()["empty"].value.startswith("Empty the trash (") and now()["empty"].visible
    upkeep.put_back(SimpleNamespace(name=trash.items()[0].name))  # type: ignore[arg-type]
    assert (jobs.get(job_id).name, jobs.get(job_id).status) == ("tone <b>", "stopped")
    assert (files.run_folder(job_id) / "attempt-1").is_dir() and not trash.items()


def test_only_the_newest_of_a_full_trash_are_listed(home: Path) -> None:
    for number in range(23):
        (home / "logs" / f"{number}.log").write_text("x")
        trash.to_trash(home / "logs" / f"{number}.log")
    shown = now()["trash"]
    assert shown.count("Put back:") == 2 * upkeep.MOST_TRASH and "And 3 older." in shown


def test_emptying_the_trash_twice_is_once(home: Path) -> None:
    (home / "logs" / "x.log").write_bytes(b"x" * 5000)
    trash.to_trash(home / "logs" / "x.log")
    assert [upkeep.empty_trash()[2].visible for _ in range(2)] == [False, False]
    assert trash.items() == []


def test_clearing_says_how_much_room_it_makes_and_then_offers_nothing(home: Path) -> None:
    stopped_run(2_000_000)
    assert now()["clear"].value == "Delete checkpoints of ended runs (2.0 MB)"
    upkeep.clear_checkpoints()
    assert not now()["clear"].visible


def test_a_backup_stands_first_in_the_list_with_its_download(home: Path) -> None:
    shown = dict(zip(NAMES, upkeep.back_up(), strict=True))["backups"]
    copy = backups.list_all()[0].path.name
    assert f'href="/download/backup/{copy}"' in shown


def test_the_journal_is_explained(home: Path) -> None:
    shown = upkeep.about_database()
    assert "SQLite 3." in shown and ("because" in shown or "so that" in shown) and "checked when" in shown


def test_a_button_of_a_table_sends_what_names_its_row(home: Path) -> None:
    (home / "logs" / "x.log").write_text("x")
    trash.to_trash(home / "logs" / "x.log")
    name = trash.items()[0].name
    assert json.dumps({"name": name}).replace('"', "&quot;") in upkeep.in_trash()


def test_a_part_without_words_for_its_failure_gets_an_id(home: Path) -> None:
    def broken() -> str:
        raise ValueError("our own mistake")

    assert "Something unexpected went wrong (error" in upkeep.part("Disk", broken)
    assert not isinstance(upkeep._with_bytes("x", broken), gr.Error)  # type: ignore[arg-type]


def test_what_could_not_be_read_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = rebuild.Counts(datasets=2, problems=["runs/<x>: gone."])
    monkeypatch.setattr(rebuild, "rebuild", lambda: counts)
    shown = upkeep.rebuild_database()
    assert "2 datasets" in shown and "<li>runs/&lt;x&gt;: gone.</li>" in shown


def test_a_rebuilt_database_has_the_runs_again(home: Path) -> None:
    job_id = stopped_run(10)
    queue.retry(job_id)
    queue.stop(job_id)
    assert "1 job" in upkeep.rebuild_database()
    assert jobs.get(job_id).name == "tone <b>"


def test_an_item_that_is_no_longer_there_is_refused_in_words(home: Path) -> None:
    with pytest.raises(StudioError):
        upkeep.put_back(SimpleNamespace(name="../x"))  # type: ignore[arg-type]
