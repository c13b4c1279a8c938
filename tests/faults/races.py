"""Workers of one data folder that all start at once."""

from __future__ import annotations

import subprocess
import sys

from jobs.executors.local import PROJECT_ROOT
from jobs.worker import ALREADY_RUNNING
from storage import files, jobs
from tests.faults import kinds, points
from tests.faults.entry import MODULE
from tests.faults.studio import Studio, finished, until


def race(studio: Studio, crowd: int, jobs_to_do: int = 0) -> list[str]:
    """Start so many workers at once; what went otherwise than it should: exactly one works, the others say who."""
    wrong = []
    waiting = [studio.submit_light("once") for _ in range(jobs_to_do)]
    command = [sys.executable, "-m", MODULE, "--data-dir", str(files.root())]
    workers = [
        subprocess.Popen(
            command,
            cwd=PROJECT_ROOT,
            env=studio.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(crowd)
    ]
    # Without a page the winner ends by itself soon after its work; until then nobody else may.
    try:
        until(lambda: sum(one.poll() is not None for one in workers) >= crowd - 1)
        said = [one.stderr.read() for one in workers if one.returncode is not None and one.stderr]
        codes = [one.returncode for one in workers if one.returncode is not None]
        late = sum("is already running" not in words for words in said)
        if late or codes != [ALREADY_RUNNING] * (crowd - 1):
            wrong.append(f"exit codes {codes}, said {said}")
        (winner,) = [one for one in workers if one.returncode is None] or [None]
        if winner is None or files.read_json(files.root() / "worker.json")["pid"] != winner.pid:
            wrong.append("nobody, or somebody else, is the worker")
        elif not all(f"process {winner.pid}." in words or "process" not in words for words in said):
            wrong.append(f"the worker is {winner.pid}, said {said}")
        for job in waiting:
            finished(job)
        if jobs_to_do:
            lines = (points.folder() / kinds.ONCE_FILE).read_text().splitlines()
            done = sorted(line.rsplit(" ", 1)[0] for line in lines)
            if done != sorted(f"{job.id} 1" for job in waiting):
                wrong.append(f"jobs done: {done}")
            assert all(jobs.get(job.id).attempt == 1 for job in waiting)
    finally:
        for one in workers:
            one.kill()
            one.wait()
            if one.stderr:
                one.stderr.close()
    return wrong
