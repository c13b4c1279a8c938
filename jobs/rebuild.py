"""The database made again from the folders of datasets, runs and adapters: `python -m jobs.rebuild --data-dir D`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from jobs import adapter_record, run_record, standstill
from jobs.datasets import families
from jobs.run_record import UNREADABLE, RunRecord
from storage import config, files, rebuilding
from storage.errors import DiskFull, StudioError
from storage.evaluations import Evaluation
from storage.rebuilding import NewDatabase

Found = TypeVar("Found")

FOLDERS = ("datasets", "runs", "adapters")


@dataclass
class Counts:
    """What was put into the new database; `problems` names the folders and files that could not be read."""

    datasets: int = 0
    jobs: int = 0
    metrics: int = 0
    checkpoints: int = 0
    adapters: int = 0
    scorecards: int = 0
    votes: int = 0
    problems: list[str] = field(default_factory=list)

    def sentence(self) -> str:
        """The counts for people, without the problems."""
        counted = [
            _counted(getattr(self, f"{noun}s"), noun)
            for noun in ("dataset", "job", "metric", "checkpoint", "adapter", "scorecard", "vote")
        ]
        said = f"The database was made again from its folders: {', '.join(counted[:-1])} and {counted[-1]}."
        if self.problems:
            said += f" {_counted(len(self.problems), 'thing')} could not be read."
        return said


def is_needed() -> bool:
    """Whether there is no database, or an empty one, although the folders hold something."""
    return any(_folders(name) for name in FOLDERS) and rebuilding.is_missing()


def rebuild() -> Counts:
    """Make the database again from the folders; the old file moves to backups/.

    The worker is ended first; jobs go on, and the next worker finds them. A folder that cannot be read is left out
    and named. A process that is connected goes on with the new database by itself.
    Raises StudioError when the old database is in use or PostgreSQL's is not empty, DiskFull.
    """
    files.make_folders()
    with standstill.without_worker():
        return _rebuild()


def rebuild_lost() -> Counts | None:
    """`rebuild` if `is_needed`; else None. Of processes that find the database gone together, one makes it again."""
    if not is_needed():
        return None
    files.make_folders()
    with standstill.without_worker():
        return _rebuild() if is_needed() else None


def _rebuild() -> Counts:
    counts = Counts()
    families.put_back()
    with rebuilding.new_database() as new:
        _add_datasets(new, counts)
        _add_jobs(new, counts)
        _add_adapters(new, counts)
    return counts


def _add_datasets(new: NewDatabase, counts: Counts) -> None:
    for values in _in_order("datasets", _dataset, counts):
        if _put(counts, f"datasets/{values['id']}", partial(new.add_dataset, values)):
            counts.datasets += 1


def _dataset(folder: Path) -> dict[str, Any]:
    path = folder / "dataset.json"
    # The studio has not always written when it was.
    values: dict[str, Any] = {"created_at": path.stat().st_mtime, **files.read_json(path)}
    if values["id"] != folder.name:
        raise StudioError(f"{path.name} is of the dataset {values['id']}.")
    return values


def _add_adapters(new: NewDatabase, counts: Counts) -> None:
    cards: list[dict[str, Any]] = []
    votes: list[dict[str, Any]] = []
    for values in _in_order("adapters", adapter_record.of_folder, counts):
        if not _put(counts, f"adapters/{values['id']}", partial(new.add_adapter, values)):
            continue
        counts.adapters += 1
        folder = files.adapter_folder(values["id"])
        for path in adapter_record.scorecards_of(folder):
            card = _read(counts, path, _scorecard)
            cards += [card] if card else []
        votes += _read(counts, folder / adapter_record.VOTES_FILE, _votes) or []
    for card in sorted(cards, key=lambda card: card["created_at"]):
        name = f"adapters/{card['adapter_id']}/scorecards/{card['id']}"
        if _put(counts, name, partial(new.add_scorecard, card)):
            counts.scorecards += 1
    for vote in sorted(votes, key=lambda vote: vote["created_at"]):
        if _put(counts, f"adapters/{vote['adapter_id']}/votes/{vote['id']}", partial(new.add_vote, vote)):
            counts.votes += 1


def _votes(path: Path) -> list[dict[str, Any]]:
    return list(adapter_record.votes_of(path.parent))


def _scorecard(path: Path) -> dict[str, Any]:
    card = rebuilding.checked(Evaluation, files.read_json(path))
    if card["adapter_id"] != path.parent.parent.name:
        raise StudioError(f"It is of the adapter {card['adapter_id']}.")
    return card


def _add_jobs(new: NewDatabase, counts: Counts) -> None:
    """One run at a time, as all metrics of all runs may be more than the memory holds."""
    folders = _folders("runs")
    numbers = {folder: run_record.number_of(folder) for folder in folders}
    known = dict(filter(None, numbers.values()))
    unknown: list[RunRecord] = []
    for folder in folders:
        record = _read(counts, folder, run_record.of_folder)
        if record is None:
            continue
        counts.problems += [f"runs/{folder.name}: {problem}." for problem in record.problems]
        if numbers[folder] is None:
            unknown.append(record)
        else:
            _add_job(new, record, counts)
    for record in sorted(unknown, key=lambda record: (record.values["created_at"], record.values["id"])):
        number = _number_for(record.values["created_at"], known)
        known[number] = record.values["created_at"]
        record.values |= {"number": number, "position": record.values.get("position", number)}
        _add_job(new, record, counts)


def _number_for(created_at: float, known: dict[int, float]) -> int:
    """A number after those of the jobs that came before, if that is free, else after all."""
    before = max((number for number, then in known.items() if then <= created_at), default=0)
    return before + 1 if before + 1 not in known else max(known) + 1


def _add_job(new: NewDatabase, record: RunRecord, counts: Counts) -> None:
    metrics = [(step, name, value) for (step, name), value in record.metrics.items()]
    states = list(record.checkpoints.values())
    if _put(counts, f"runs/{record.values['id']}", partial(new.add_job, record.values, metrics, states)):
        counts.jobs += 1
        counts.metrics += len(metrics)
        counts.checkpoints += len(states)


def _in_order(name: str, read: Callable[[Path], dict[str, Any]], counts: Counts) -> Iterator[dict[str, Any]]:
    """What can be read of one kind of folder, the oldest first: rows are numbered in this order."""
    found = [values for folder in _folders(name) if (values := _read(counts, folder, read)) is not None]
    yield from sorted(found, key=lambda values: (values["created_at"], values["id"]))


def _folders(name: str) -> list[Path]:
    try:
        inside = sorted((files.root() / name).iterdir())
    except FileNotFoundError:
        return []
    return [path for path in inside if path.is_dir() and not path.is_symlink() and path.name[0] != "."]


def _read(counts: Counts, path: Path, read: Callable[[Path], Found]) -> Found | None:
    """What is read there; a sentence among the problems, and None, when that is impossible."""
    try:
        return read(path)
    except DiskFull:
        raise
    except UNREADABLE as error:
        counts.problems.append(f"{path.relative_to(files.root())}: {_words(error)}")
        return None


def _put(counts: Counts, name: str, put: Callable[[], None]) -> bool:
    """Whether the database took a record; a sentence among the problems when not."""
    try:
        put()
    except DiskFull:
        raise
    except StudioError as error:
        counts.problems.append(f"{name}: {_words(error)}")
        return False
    return True


def _words(error: Exception) -> str:
    return error.message if isinstance(error, StudioError) else f"{type(error).__name__}: {error}."


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def main() -> int:
    """Start from the command line; prints the counts in a sentence."""
    parser = argparse.ArgumentParser(prog="python -m jobs.rebuild", description=__doc__)
    parser.add_argument("--data-dir", required=True, type=Path)
    parser.add_argument(
        "--database-url", help="an empty PostgreSQL database; SQLite in the data folder if absent"
    )
    arguments = parser.parse_args()
    config.use(config.from_environment(arguments.data_dir, arguments.database_url))
    try:
        if not files.root().is_dir():
            raise StudioError(
                f"There is no data folder {files.root()}.", "Give the right one with --data-dir."
            )
        counts = rebuild()
    except StudioError as error:
        print(error, file=sys.stderr)
        return 2
    print(counts.sentence())
    for problem in counts.problems:
        print(f"- {problem}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
