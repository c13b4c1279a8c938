"""What the checks of a dataset cost: rows a second, bytes of memory a row, seconds to compare rows with each other.

    python -m tests.benchmarks.checking --rows 100000 --characters 800

The peer of the same run is the reading of the same lines alone (`json.loads`), without which nothing can be checked.
`--found` prints instead what share of known defects is found, one line a code, as the tests do with fewer seeds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

import psutil

from jobs.datasets.checks import Checker
from tests.jobs.datasets import clean_sets, defects

_DEFECTS = ("secret", "email_address", "mojibake", "html_remains", "control_characters")
_EVERY = 50  # rows with a defect of their own


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--characters", type=int, default=800, help="of an answer, on average")
    parser.add_argument("--found", action="store_true", help="what share of known defects is found")
    chosen = parser.parse_args()
    if chosen.found:
        measure_found(range(5))
    else:
        measure_cost(chosen.rows, chosen.characters)


def measure_cost(count: int, characters: int) -> None:
    """Write the rows to a file and check them from there, as an import does."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        offsets = written(path, count, characters)
        conditions: dict[str, Any] = {"rows": count, "bytes": path.stat().st_size}
        began = time.process_time()
        for line in path.open(encoding="utf-8"):
            json.loads(line)
        say(
            "reading the lines alone",
            count / (time.process_time() - began),
            "rows/s of processor time",
            conditions,
        )

        def fetch(row: int) -> dict[str, Any]:
            lines.seek(offsets[row - 1])
            found: dict[str, Any] = json.loads(lines.readline())
            return found

        with path.open("rb") as lines:
            memory = psutil.Process()
            checker = Checker(fetch=fetch)
            before = memory.memory_info().rss
            began = time.process_time()
            for line in path.open(encoding="utf-8"):
                checker.see(json.loads(line))
            say(
                "reading and checking",
                count / (time.process_time() - began),
                "rows/s of processor time",
                conditions,
            )
            say("memory while checking", (memory.memory_info().rss - before) / count, "bytes/row", conditions)
            began = time.process_time()
            problems = checker.problems()
            found = {problem.code: len(problem.rows) for problem in problems}
            say(
                "comparing rows with each other",
                time.process_time() - began,
                "s",
                {**conditions, "found": found},
            )
            peak = memory.memory_info().rss - before
            say("memory afterwards", peak / count, "bytes/row", conditions)
            began = time.process_time()
            checker.summary()
            say("summary", time.process_time() - began, "s of processor time", conditions)


def written(path: Path, count: int, characters: int) -> list[int]:
    """Rows of several characters in one file, some with defects, some copies; returns where each begins."""
    rng = Random(0)
    makers = list(clean_sets.SETS.values())
    offsets: list[int] = []
    kept: list[clean_sets.Messages] = []
    with path.open("wb") as file:
        while len(offsets) < count:
            for messages in makers[len(offsets) % len(makers)](rng):
                number = len(offsets) + 1
                if number > count:
                    break
                if number % _EVERY == 1 and kept:
                    messages = rng.choice(kept)
                else:
                    more = " ".join(
                        clean_sets.sentence(rng) for _ in range(rng.randint(0, 2 * characters // 70))
                    )
                    asked = f"{messages[-2]['content']} ({rng.choice(clean_sets.NAMES)} {number})"
                    messages = [*messages[:-2], *clean_sets.pair(asked, f"{messages[-1]['content']} {more}")]
                if number % _EVERY == 0:
                    messages = defects.CHANGED[rng.choice(_DEFECTS)](messages, rng)
                if number % 100 == 0:
                    kept = [*kept[-50:], messages]
                offsets.append(file.tell())
                row = {
                    "row": number,
                    "messages": messages,
                    "split": "held_out" if number % 10 == 0 else "train",
                }
                file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
    return offsets


def measure_found(seeds: range) -> None:
    """The share of known defects that is found, and what is found that is none."""
    from tests.jobs.datasets.test_checks_defects import found_in

    for code in (*defects.ADDED, *defects.CHANGED):
        wanted = hit = false = 0
        for name in defects.FITS.get(code, tuple(clean_sets.SETS)):
            for seed in seeds:
                rows, expected = defects.put_in(
                    code,
                    clean_sets.lines(clean_sets.SETS[name](Random(seed))),
                    Random(f"{code} {name} {seed}"),
                )
                found = found_in(rows).get(code, set())
                wanted, hit, false = (
                    wanted + len(expected),
                    hit + len(expected & found),
                    false + len(found - expected),
                )
        say(f"{code} found", hit / wanted, "share", {"defects": wanted, "false": false, "seeds": len(seeds)})


def say(what: str, value: float, unit: str, conditions: dict[str, Any]) -> None:
    device = f"{platform.machine()}, {os.cpu_count()} cores"
    print(
        json.dumps(
            {"what": what, "device": device, "value": round(value, 4), "unit": unit, "conditions": conditions}
        ),
        flush=True,
    )


if __name__ == "__main__":
    main()
