"""How fast the table of a dataset answers: pages, search, filters, one row; and how long a change takes.

    python -m tests.benchmarks.table --rows 100000

The peer of the same run reads the same file line by line with Python's json, as a program without an index must.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jobs.datasets import pipeline, publishing, rows, versions
from jobs.datasets.checks import Checker
from storage import config, database, files
from storage.datasets import Dataset

SENTENCE = (
    "the of and to in is you that it he was for on are as with his they “quote” I'm at be this have from or had by "
    "hot word but what some we can out other were all there when up use your how said an each she Größe naïve"
)
WORDS = SENTENCE.split()


def made(count: int, checked: bool) -> Dataset:
    """A dataset of so many rows of about 430 bytes; every thousandth says “Zebra”."""
    draw = random.Random(1)
    id = files.new_id()
    folder = files.dataset_folder(id)
    folder.mkdir()
    checker = Checker(fetch=lambda number: None)
    with rows.RowsWriter(folder) as writer:
        for number in range(1, count + 1):
            asked, answer = (" ".join(draw.choices(WORDS, k=k)) for k in (12, 60))
            said = answer + " Zebra" * (number % 1000 == 7)
            messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
            row = {"row": number, "messages": messages, "split": "held_out" if number % 10 == 0 else "train"}
            writer.add(row)
            if checked:
                checker.see(row)
    checker.save(folder)
    named = list(range(3, count, 5))
    files.write_json(folder / pipeline.PROBLEMS, {"duplicate": named})
    told: dict[str, Any] = {
        "id": id,
        "name": "Table",
        "source_name": "table.jsonl",
        "format": "jsonl",
        "columns": [],
    }
    told |= {"rows": count, "train_rows": count - count // 10, "held_out_rows": count // 10, "problems": []}
    told |= {
        "sha256": writer.sha256,
        "created_at": time.time(),
        "family": id,
        "version": 1,
        "parent_id": None,
    }
    told |= {"change": "", "left_out_rows": 0, "summary": {}, "unchecked_changes": 0, "base": id}
    files.write_json(folder / rows.RECORD_FILE, told)
    return publishing._add(told)


def questions(dataset: Dataset) -> Iterator[tuple[str, Callable[[], object]]]:
    """What is measured, by name."""
    id, last = dataset.id, dataset.rows

    def page(offset: int = 0, **filters: str) -> Callable[[], object]:
        def ask() -> object:
            rows._search.cache_clear()
            return rows.page_of_rows(id, offset, 50, **filters)

        return ask

    yield "first page", page()
    yield "last page", page(last - 50)
    yield "search, one row in a thousand", page(search="ZEBRA")
    yield "search, nearly every row", page(search="the")
    yield "search, no row", page(search="größenwahn")
    yield "filter by a problem of every fifth row", page(problem="duplicate")
    yield "filter by split", page(split="held_out")
    yield "one row by its number", lambda: rows.get_row(id, last // 2)
    yield "peer: search line by line, one row in a thousand", lambda: by_lines(rows.rows_path(id), "zebra")


def by_lines(path: Path, text: str) -> int:
    """How many rows hold the text, without an index."""
    with open(path, encoding="utf-8") as file:
        return sum(
            any(text in m["content"].casefold() for m in json.loads(line)["messages"]) for line in file
        )


@contextmanager
def pauses() -> Iterator[list[float]]:
    """How long another thread that wants a turn every millisecond had to wait, in seconds."""
    waited, stop = [0.0], threading.Event()

    def beat() -> None:
        while not stop.is_set():
            before = time.perf_counter()
            time.sleep(0.001)
            waited.append(time.perf_counter() - before - 0.001)

    thread = threading.Thread(target=beat)
    thread.start()
    yield waited
    stop.set()
    thread.join()


def seconds_of_an_edit(dataset: Dataset, number: int) -> float:
    """From the click to the new version."""
    said = [{"role": "user", "content": f"New {number}?"}, {"role": "assistant", "content": "Yes."}]
    began = time.perf_counter()
    versions.apply(dataset.id, {"kind": "edit", "row": number * 10 + 1, "messages": said})
    return time.perf_counter() - began


def main() -> None:
    """Measure everything in turns and print one line each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--edits", type=int, default=0, help="also so many edits of a row, with all checks")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        config.use(config.from_environment(home))
        database.connect()
        dataset = made(given.rows, bool(given.edits))
        seconds: dict[str, list[float]] = {}
        longest: dict[str, float] = {}
        for _ in range(given.runs):
            for what, ask in questions(dataset):
                with pauses() as waited:
                    began = time.perf_counter()
                    ask()
                    seconds.setdefault(what, []).append(time.perf_counter() - began)
                longest[what] = max(longest.get(what, 0.0), *waited)
        for number in range(given.edits):
            seconds.setdefault("an edited row", []).append(seconds_of_an_edit(dataset, number))
        database.close()
    for what, values in seconds.items():
        print(json.dumps(line(what, values, given.rows, longest.get(what)), ensure_ascii=False))


def line(what: str, values: list[float], count: int, longest: float | None) -> dict[str, object]:
    """One measurement as it is printed: the median, the slowest (also the first), the longest pause of others."""
    conditions = {"rows": count, "runs": len(values), "slowest": round(1000 * max(values), 1)}
    conditions |= {"load": round(os.getloadavg()[0], 1), "processors": os.cpu_count()}
    if longest is not None:
        conditions["longest pause of another thread"] = round(1000 * longest, 1)
    median = round(1000 * statistics.median(values), 1)
    return {
        "what": what,
        "device": platform.processor() or "cpu",
        "value": median,
        "unit": "ms",
        "conditions": conditions,
    }


if __name__ == "__main__":
    main()
