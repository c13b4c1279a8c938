"""Files of JSON lines: whole lines or none, and what a power cut leaves harms nobody."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

from storage import lines


def test_what_was_added_is_read_in_order(home: Path) -> None:
    path = home / "answers.jsonl"
    assert list(lines.read(path)) == []
    lines.append(path, [{"a": "ä\n"}])
    lines.append(path, [{"b": float("nan")}, {"c": 3}])
    assert list(lines.read(path)) == [{"a": "ä\n"}, {"b": None}, {"c": 3}]


def test_half_a_line_costs_only_itself(home: Path) -> None:
    path = home / "answers.jsonl"
    lines.append(path, [{"a": 1}])
    with path.open("ab") as file:
        file.write(b'{"b": "cut sho')
    lines.append(path, [{"c": 3}])
    with path.open("ab") as file:
        file.write(b"[1, 2]\n")
    assert list(lines.read(path)) == [{"a": 1}, {"c": 3}]


def test_a_full_disk_takes_no_part_of_a_line(home: Path) -> None:
    path = home / "answers.jsonl"
    lines.append(path, [{"a": 1}])
    script = f"""
import resource, signal
from pathlib import Path
from storage import config, lines
from storage.errors import StudioError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
config.use(config.from_environment(Path({str(home)!r})))
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, {resource.RLIM_INFINITY}))
try:
    lines.append(Path({str(path)!r}), [{{"b": "x" * 600}}, {{"c": "x" * 600}}])
except StudioError as error:
    print(error.message)
"""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=root)
    assert done.stdout.startswith("The disk is full"), done.stderr
    assert path.read_bytes() == b'{"a": 1}\n'
