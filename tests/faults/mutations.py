"""Whether the tests notice when a safeguard is taken away: `python -m tests.faults.mutations [--only WORD …]`.

On a copy of the project, one safeguard after the other (see `tests.faults.safeguards`) is removed and the test that
guards it is run, which has to fail. Prints a line of JSON for each and "N of N"; before that, all these tests have to
pass as the project is.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from jobs.executors.local import PROJECT_ROOT
from tests.faults.safeguards import SAFEGUARDS, Safeguard

# What a copy does not need, and what would tell it of earlier runs.
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "pictures", "node_modules")
FAILED = 1  # pytest's exit status when tests ran and failed; others say that none ran
SECONDS = 900.0


def outcomes(safeguards: Sequence[Safeguard]) -> Iterator[tuple[Safeguard, str]]:
    """What became of each removal: "caught", or in words what is wrong."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "project"
        shutil.copytree(PROJECT_ROOT, copy, ignore=LEFT_OUT)
        for safeguard in safeguards:
            yield safeguard, _outcome(copy, safeguard)


def _outcome(copy: Path, safeguard: Safeguard) -> str:
    file = copy / safeguard.file
    source = file.read_text(encoding="utf-8")
    if source.count(safeguard.text) != 1:
        return f"its text is in {safeguard.file} {source.count(safeguard.text)} times"
    file.write_text(source.replace(safeguard.text, safeguard.instead), encoding="utf-8")
    try:
        ended = _pytest(copy, [safeguard.test])
    except subprocess.TimeoutExpired:
        return f"its test had not ended after {SECONDS:.0f} s"
    finally:
        file.write_text(source, encoding="utf-8")
    if ended.returncode == FAILED and "FAILED " in ended.stdout:
        return "caught"
    return (
        "not noticed" if ended.returncode == 0 else f"no test ran: {ended.stdout[-300:]}{ended.stderr[-300:]}"
    )


def _pytest(copy: Path, tests: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run tests of the copy; what is left of the processes of a failed one ends by itself."""
    command = [sys.executable, "-m", "pytest", "-x", "--durations=0", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        command, cwd=copy, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )


def sound(safeguards: Sequence[Safeguard]) -> str | None:
    """None when the tests pass as the project is; else what they say."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "project"
        shutil.copytree(PROJECT_ROOT, copy, ignore=LEFT_OUT)
        ended = _pytest(copy, sorted({safeguard.test for safeguard in safeguards}))
    return None if ended.returncode == 0 else ended.stdout[-3000:] + ended.stderr[-1000:]


def main() -> int:
    """Run all of them, or those with one of the given words in their names."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.mutations", description=__doc__)
    parser.add_argument("--only", nargs="+", default=[""], metavar="WORD")
    arguments = parser.parse_args()
    chosen = [one for one in SAFEGUARDS if any(word in one.name for word in arguments.only)]
    if (words := sound(chosen)) is not None:
        print(words, file=sys.stderr)
        return 2
    caught, began = 0, time.monotonic()
    for safeguard, outcome in outcomes(chosen):
        caught += outcome == "caught"
        seconds = round(time.monotonic() - began, 1)
        line = {
            "safeguard": safeguard.name,
            "file": safeguard.file,
            "test": safeguard.test,
            "outcome": outcome,
        }
        print(json.dumps({**line, "seconds": seconds}), flush=True)
        began = time.monotonic()
    print(f"{caught} of {len(chosen)}")
    return 0 if caught == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
