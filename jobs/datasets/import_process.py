"""The process that reads what a user brings: `python -m jobs.datasets.import_process FOLDER`, see `child`."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from jobs.datasets import child, pipeline
from jobs.datasets.child import Report
from jobs.datasets.conversations import Unusable, example_of
from jobs.datasets.records import LeftOut, ReadOptions, Record
from jobs.datasets.sources import Source, open_source

_PIECE_BYTES = 4_000_000
_SHOWN_ROWS = 5
_LONGEST_CELL = 500


def work(spec: dict[str, Any], folder: Path, report: Report) -> dict[str, Any]:
    """Look at a source, or import all of it into `folder`; the spec is that of `importing`."""
    if spec["do"] == "look":
        with _opened(spec, spec["path"], folder) as source:
            return look(source)
    sha256 = None
    path = spec["path"]
    if path is not None:
        path, sha256 = _kept(Path(path), folder, spec["file_name"], spec["link"], report)
    with _opened(spec, path, folder) as source:
        built = pipeline.build(source, spec["name"], folder, report, spec["seed"])
    return {**built, "sha256": sha256 or built["rows_sha256"]}


def look(source: Source) -> dict[str, Any]:
    """What there is to see of a source before it is imported: the fields of `importing.Look`."""
    return {
        "format": source.format,
        "detected": source.detected,
        "choices": source.choices,
        "columns": source.columns,
        "mapping": source.mapping,
        "certain": source.certain,
        "rows": [_shown(record, source) for record in islice(source.sample, _SHOWN_ROWS)],
        "problems": [problem.as_json() for problem in source.notes],
    }


def _shown(record: Record | LeftOut, source: Source) -> dict[str, Any]:
    """A row as the conversation that it will be, or as its cells where that cannot be told."""
    if isinstance(record, LeftOut):
        return {"row": record.row, "reason": record.reason, "raw": record.raw}
    if source.mapping:
        try:
            return {"row": record.row, "messages": example_of(record, source.mapping).messages}
        except Unusable as unusable:
            return {"row": record.row, "messages": unusable.messages, "reason": unusable.reason}
    cells = record.value if isinstance(record.value, dict) else {"": record.value}
    return {"row": record.row, **{str(name): str(cell)[:_LONGEST_CELL] for name, cell in cells.items()}}


@contextmanager
def _opened(spec: dict[str, Any], path: Path | str | None, folder: Path) -> Iterator[Source]:
    options = ReadOptions.from_json(spec["options"])
    workspace = folder / "unpacked"
    workspace.mkdir()
    if path is not None:
        opened = open_source(Path(path), spec["name"], options, workspace)
    else:
        from jobs.datasets.formats.hub_records import open_hub

        opened = open_hub(spec["hub_id"], options, workspace)
    with opened as source:
        yield source
    shutil.rmtree(workspace)


def _kept(path: Path, folder: Path, file_name: str, link: bool, report: Report) -> tuple[Path, str]:
    """The file as `original/` keeps it, and its SHA-256: a second name of an upload, else a copy."""
    kept = folder / pipeline.ORIGINAL / file_name
    kept.parent.mkdir()
    if link:
        try:
            os.link(path, kept)
        except OSError:  # another disk, or a file system without a second name
            link = False
    digest = hashlib.sha256()
    done, total = 0, path.stat().st_size
    with path.open("rb") as source, open(os.devnull if link else kept, "wb") as copy:
        while piece := source.read(_PIECE_BYTES):
            digest.update(piece)
            copy.write(piece)
            done += len(piece)
            report("Keeping the file", done, total)
    return kept, digest.hexdigest()


if __name__ == "__main__":
    child.main(work)
