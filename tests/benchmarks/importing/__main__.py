"""Rows a second and peak memory of an import, per format, beside datasets.load_dataset and pandas on the same file.

    python -m tests.benchmarks.importing --rows 100000 --runs 3
    python -m tests.benchmarks.importing --large

Ours is measured twice: the whole import (read, split, checked, written, remembered) and reading alone, which is what
the peers do. Every measurement is a process of its own, in turns. `--large` imports a million rows of 2 GB through a
real studio, measures its answers meanwhile, and kills it half way of a second import.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.benchmarks.importing import large, made_files, one

ROOT = Path(__file__).resolve().parents[3]


def main() -> None:
    """Measure and print one line each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000, help="rows of each file (default 100,000)")
    parser.add_argument("--runs", type=int, default=3, help="runs of each kind (default 3)")
    parser.add_argument("--formats", default=",".join(made_files.FORMATS), help="separated by commas")
    parser.add_argument("--large", action="store_true", help="only the large import through a real studio")
    parser.add_argument("--large-rows", type=int, default=1_000_000)
    parser.add_argument("--large-bytes", type=int, default=2_000_000_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="importing-") as folder:
        if asked.large:
            for line in large.measured(Path(folder), asked.large_rows, asked.large_bytes):
                print(json.dumps(line, ensure_ascii=False), flush=True)
            return
        for format in asked.formats.split(","):
            path = made_files.write(Path(folder), format, asked.rows)
            for line in measured(path, asked.rows, asked.runs):
                print(json.dumps(line, ensure_ascii=False), flush=True)
            path.unlink()


def measured(path: Path, rows: int, runs: int) -> list[dict[str, Any]]:
    """All ways on one file, in turns, so that a busy moment of the machine meets everybody."""
    found: dict[str, list[dict[str, float]]] = {}
    refused: dict[str, str] = {}
    for _ in range(runs):
        for way in one.WAYS:
            if way not in refused:
                outcome = _in_own_process(way, path)
                if isinstance(outcome, str):
                    refused[way] = outcome
                else:
                    assert outcome["rows"] == rows, (way, outcome)
                    found.setdefault(way, []).append(outcome)
    lines = [line for way, outcomes in found.items() for line in _lines(way, path, rows, outcomes)]
    none = {"device": "cpu", "value": None, "unit": "rows/s"}
    return [
        *lines,
        *({"what": f"{way}, {path.suffix[1:]}", **none, "conditions": why} for way, why in refused.items()),
    ]


def _in_own_process(way: str, path: Path) -> dict[str, float] | str:
    """What one run found, or the last line of what it said when it could not."""
    command = [sys.executable, "-m", "tests.benchmarks.importing.one", way, str(path)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        return (done.stderr.strip().splitlines() or ["no output"])[-1][:200]
    outcome: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return outcome


def _lines(way: str, path: Path, rows: int, outcomes: list[dict[str, float]]) -> list[dict[str, Any]]:
    """One line for the speed (the median), and one for each peak of memory (the highest)."""
    speeds = [rows / outcome["seconds"] for outcome in outcomes]
    conditions = {
        "rows": rows,
        "file_bytes": path.stat().st_size,
        "runs": len(outcomes),
        "slowest": round(min(speeds)),
        "fastest": round(max(speeds)),
        "rows a second of processor time": round(
            statistics.median(rows / outcome["processor_seconds"] for outcome in outcomes)
        ),
        "processors": os.cpu_count(),
        "python": platform.python_version(),
    }
    what = f"{way}, {path.suffix[1:]}"
    peaks = {"peak_bytes": "peak memory", "page_bytes": "peak memory of the calling process"}
    return [
        _line(what, round(statistics.median(speeds)), "rows/s", conditions),
        *(
            _line(f"{what}: {words}", round(max(o[name] for o in outcomes) / 1e6), "MB", conditions)
            for name, words in peaks.items()
            if name in outcomes[0]
        ),
    ]


def _line(what: str, value: float, unit: str, conditions: dict[str, Any]) -> dict[str, Any]:
    return {"what": what, "device": "cpu", "value": value, "unit": unit, "conditions": conditions}


if __name__ == "__main__":
    main()
