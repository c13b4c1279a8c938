"""One measurement in a process of its own, so that its peak memory is its own: `python -m … WHAT FILE`."""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

Measured = dict[str, float]


def whole_import(path: Path, folder: Path) -> Measured:
    """The studio's import, from the file to the dataset: read, split, checked, on the disk and in the database."""
    from jobs.datasets import importing
    from storage import config, database

    config.use(config.from_environment(data_dir=folder / "home"))
    database.connect()
    child_peaks: list[int] = []
    threading.Thread(target=_watch_children, args=(child_peaks,), daemon=True).start()
    began = time.perf_counter()
    rows = importing.add_dataset(path).rows
    seconds = time.perf_counter() - began
    child = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "rows": rows,
        "seconds": seconds,
        "processor_seconds": child.ru_utime + child.ru_stime,
        "peak_bytes": max(child_peaks),
        "page_bytes": _peak(os.getpid()),
    }


def reading(path: Path, folder: Path) -> Measured:
    """The studio's reading alone: every row as a conversation, one after the other, nothing kept."""
    from jobs.datasets.conversations import example_of
    from jobs.datasets.sources import open_source

    began = _clocks()
    rows = 0
    with open_source(path, path.name, None, folder) as source:
        for record in source.items:
            example_of(record, source.mapping)
            rows += 1
    return _measured(rows, began)


def load_dataset(path: Path, folder: Path) -> Measured:
    """Hugging Face datasets as it comes: the file as an Arrow table on the disk, nothing checked."""
    import datasets

    builder = {"jsonl": "json", "zip": "csv"}.get(kind := path.suffix[1:], kind)
    began = _clocks()
    rows = datasets.load_dataset(builder, data_files=str(path), cache_dir=str(folder), split="train").num_rows
    return _measured(rows, began)


def pandas(path: Path, folder: Path) -> Measured:
    """pandas as it comes: the file as one table in memory, nothing checked."""
    import pandas as pd

    read: dict[str, Callable[[], pd.DataFrame]] = {
        "csv": lambda: pd.read_csv(path),
        "zip": lambda: pd.read_csv(path),
        "jsonl": lambda: pd.read_json(path, lines=True),
        "json": lambda: pd.read_json(path),
        "parquet": lambda: pd.read_parquet(path),
        "xlsx": lambda: pd.read_excel(path),
    }
    began = _clocks()
    rows = len(read[path.suffix[1:]]())
    return _measured(rows, began)


def _clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _measured(rows: int, began: tuple[float, float]) -> Measured:
    seconds, processor_seconds = (now - then for now, then in zip(_clocks(), began, strict=True))
    return {
        "rows": rows,
        "seconds": seconds,
        "processor_seconds": processor_seconds,
        "peak_bytes": _peak(os.getpid()),
    }


def _watch_children(peaks: list[int]) -> None:
    page = psutil.Process()
    while True:
        for child in page.children():
            with suppress(OSError):
                peaks.append(_peak(child.pid))
        time.sleep(0.02)


def _peak(pid: int) -> int:
    """The most memory that a process has held, files that it maps included; getrusage counts its parent's in."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int((status.partition("VmHWM:")[2].split() or ["0"])[0]) * 1024


WAYS: dict[str, Callable[[Path, Path], Measured]] = {
    "ours, whole import": whole_import,
    "ours, reading alone": reading,
    "datasets.load_dataset": load_dataset,
    "pandas": pandas,
}

if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=Path(sys.argv[2]).parent) as folder:
        print(json.dumps(WAYS[sys.argv[1]](Path(sys.argv[2]), Path(folder))))
