"""What a user brings becomes a dataset: read in a process with limits, published whole, remembered."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.datasets import child, samples
from jobs.datasets.child import Report
from jobs.datasets.formats.reading import check_file, check_size, pasted_bytes
from jobs.datasets.publishing import publish
from jobs.datasets.records import ReadOptions
from storage import datasets, files
from storage.datasets import Dataset
from storage.errors import DiskFull, StudioError

Stop = Callable[[], bool]
Row = tuple[str, str] | Sequence[Mapping[str, str]]

_MODULE = "jobs.datasets.import_process"
_PASTED, _TYPED = "pasted.txt", "typed.jsonl"
_LONGEST_NAME = 120
_SUFFIXES = {
    *(".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".txt", ".md", ".parquet", ".arrow", ".feather", ".xlsx"),
    ".zip",
}
# A look reads the beginning of a file, so it may take less; only an archive or a workbook is read further.
_LOOK = child.Limits(cpu_seconds=120, stall_seconds=60)
# A slow network is no standstill.
_HUB = child.Limits(stall_seconds=300)


@dataclass(frozen=True)
class Look:
    """What there is to see of a source before it is imported; `certain` when nothing had to be guessed.

    `rows` are the first few: {"row", "messages"} under the mapping, else {"row"} and the cells by column.
    """

    format: str
    detected: dict[str, str]
    choices: dict[str, list[str]]
    columns: list[str]
    mapping: dict[str, str]
    certain: bool
    rows: list[dict[str, Any]]
    problems: list[dict[str, Any]]


# -- looking -------------------------------------------------------------------------------------------------


def inspect(path: Path, name: str = "", options: ReadOptions | None = None) -> Look:
    """What there is to see of a file; raises StudioError when it cannot be read."""
    shown = _shown_name(name or path.name)
    check_file(path, shown)
    with child.staging() as folder:
        return _look(folder, {"path": str(path), "name": shown}, options)


def inspect_pasted(text: str, options: ReadOptions | None = None) -> Look:
    """What there is to see of pasted text; raises as `inspect`."""
    with child.staging() as folder:
        return _look(folder, {"path": str(_written(text, folder)), "name": _PASTED}, options)


def inspect_hub(hub_id: str, options: ReadOptions | None = None) -> Look:
    """What there is to see of a dataset of the hub; raises as `inspect`, and without a network."""
    with child.staging() as folder:
        return _look(folder, {"path": None, "hub_id": hub_id, "name": _shown_name(hub_id)}, options)


def inspect_again(dataset_id: str, options: ReadOptions | None = None) -> Look:
    """What there is to see of the file that a dataset was made of; raises as `inspect`."""
    spec, _ = _origin(dataset_id)
    with child.staging() as folder:
        return _look(folder, spec, options)


def _look(folder: Path, spec: dict[str, Any], options: ReadOptions | None) -> Look:
    spec = {**spec, "do": "look", "options": (options or ReadOptions()).as_json()}
    subject = f"Reading {spec['name']}"
    limits = _LOOK if spec["path"] else _HUB
    return Look(**child.run(_MODULE, spec, folder, limits=limits, subject=subject))


# -- importing -----------------------------------------------------------------------------------------------


def add_dataset(
    path: Path,
    name: str = "",
    seed: int = 0,
    options: ReadOptions | None = None,
    report: Report | None = None,
    should_stop: Stop | None = None,
) -> Dataset:
    """Import a file as a new dataset; on any failure nothing of it stays. An upload moves into it.

    A name that is taken gets " (2)". Raises StudioError when fewer than two examples can be used, when the data
    takes more than an import may, and when the disk is full; Cancelled once `should_stop` says so.
    """
    shown = _shown_name(path.name)
    check_file(path, shown)
    uploads = (files.root() / "tmp").resolve()
    is_upload = uploads in path.resolve().parent.parents  # each lies in a folder of its own
    spec = {"path": str(path), "name": shown, "link": is_upload}
    dataset = _import(spec, name or shown, seed, options, report, should_stop)
    if is_upload:
        with suppress(OSError):
            path.unlink()
            path.parent.rmdir()
    return dataset


def add_pasted(
    text: str,
    name: str = "",
    seed: int = 0,
    options: ReadOptions | None = None,
    report: Report | None = None,
    should_stop: Stop | None = None,
) -> Dataset:
    """Import pasted text, also a range copied from a spreadsheet; raises as `add_dataset`."""
    with child.staging() as folder:
        spec = {"path": str(_written(text, folder)), "name": _PASTED, "link": True}
        return _import(spec, name or "Pasted examples", seed, options, report, should_stop)


def add_rows(rows: Iterable[Row], name: str = "", seed: int = 0) -> Dataset:
    """Import rows typed into a grid, as (prompt, answer) or as messages; raises as `add_dataset`."""
    lines = [
        {"prompt": row[0], "response": row[1]} if isinstance(row, tuple) else {"messages": list(row)}
        for row in rows
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    with child.staging() as folder:
        path = folder / _TYPED
        files.write_text(path, text)
        spec = {"path": str(path), "name": _TYPED, "link": True}
        return _import(spec, name or "Typed examples", seed)


def add_hub(
    hub_id: str,
    name: str = "",
    seed: int = 0,
    options: ReadOptions | None = None,
    report: Report | None = None,
    should_stop: Stop | None = None,
) -> Dataset:
    """Import a dataset of the Hugging Face hub; raises as `add_dataset`, and without a network."""
    spec = {"path": None, "hub_id": hub_id, "name": _shown_name(hub_id)}
    return _import(spec, name or hub_id.rpartition("/")[2], seed, options, report, should_stop)


def add_sample(sample_id: str) -> Dataset:
    """Import one of the sample sets; raises StudioError for an unknown one."""
    sample = samples.find(sample_id)
    return add_dataset(sample.path, sample.name)


def reread(
    dataset_id: str,
    options: ReadOptions | None = None,
    report: Report | None = None,
    should_stop: Stop | None = None,
) -> Dataset:
    """Import what a dataset was made of once more, read in another way, as a new dataset; raises as `add_dataset`."""
    spec, name = _origin(dataset_id)
    return _import({**spec, "link": True}, name, 0, options, report, should_stop)


def _import(
    spec: dict[str, Any],
    name: str,
    seed: int,
    options: ReadOptions | None = None,
    report: Report | None = None,
    should_stop: Stop | None = None,
) -> Dataset:
    chosen = (options or ReadOptions()).as_json()
    task = {**spec, "do": "import", "options": chosen, "seed": seed, "file_name": files.slug(spec["name"])}
    try:
        with child.staging() as folder:
            built = child.run(
                _MODULE,
                task,
                folder,
                limits=None if spec["path"] else _HUB,
                subject=f"Reading {spec['name']}",
                report=report,
                should_stop=should_stop,
            )
            # Two imports at a time are not to find the same name free.
            with files.locked("dataset-names"):
                return _published(folder, built, spec, name, {"seed": seed, "options": chosen})
    except DiskFull as error:
        raise files.full_disk(_needed(spec)) from error


def _published(
    folder: Path, built: dict[str, Any], spec: dict[str, Any], name: str, details: dict[str, Any]
) -> Dataset:
    dataset_id = files.new_id()
    first = {"family": dataset_id, "version": 1, "parent_id": None, "change": "", "unchecked_changes": 0}
    about = {
        "id": dataset_id,
        "name": _free_name(name),
        "source_name": spec["name"],
        "created_at": time.time(),
    }
    hub = {"hub_id": spec["hub_id"]} if spec["path"] is None else {}
    return publish(folder, {**built, **first, **about, **details, **hub, "base": dataset_id})


def _needed(spec: dict[str, Any]) -> int | None:
    """The bytes that the rows take at least; unknown of what is still to be downloaded."""
    with suppress(OSError, TypeError):
        return Path(spec["path"]).stat().st_size
    return None


def _written(text: str, folder: Path) -> Path:
    """Pasted text as a file, so that one way leads on from here."""
    data = pasted_bytes(text, "The pasted text")
    check_size(len(data), "The pasted text")
    path = folder / _PASTED
    files.write_bytes(path, data)
    return path


def _origin(dataset_id: str) -> tuple[dict[str, Any], str]:
    """What a dataset was made of, as a spec, and its name; raises StudioError when that is gone."""
    dataset = datasets.get(dataset_id)
    folder = files.dataset_folder(dataset.family)  # later versions have no file of their own
    told = files.read_json(folder / "dataset.json")
    if "hub_id" in told:
        return {"path": None, "hub_id": told["hub_id"], "name": dataset.source_name}, dataset.name
    for original in (folder / "original").glob("*"):
        return {"path": str(original), "name": dataset.source_name}, dataset.name
    raise StudioError(f"The file that “{dataset.name}” was made of is gone.", "Add it again.")


def _shown_name(name: str) -> str:
    """A file name as it may be shown and stored: no odd bytes, no control characters, not endless."""
    plain = name.encode("utf-8", "replace").decode("utf-8")
    return "".join(c for c in plain if c.isprintable()).strip()[:_LONGEST_NAME] or "unnamed"


def _free_name(name: str) -> str:
    """The dataset's name: without a data file's suffix, and with a number when it is taken."""
    shown = _shown_name(name)
    if Path(shown).suffix.lower() in _SUFFIXES:
        shown = Path(shown).stem
    taken = {dataset.name for dataset in datasets.families()}
    number, free = 1, shown
    while free in taken:
        number += 1
        free = f"{shown} ({number})"
    return free
