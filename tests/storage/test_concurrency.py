"""Many processes at one queue, and a database server that falls while they work: nothing is lost or done twice."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from storage import config, database, jobs, workers
from storage.errors import StudioError
from tests.storage import postgres

Child = Callable[..., "subprocess.Popen[str]"]

# Each process does at random what pages and workers do, and writes down what it was answered and saw then.
RACER = """
import json, random
from storage import waiting
random.seed({seed})
ids, current, seen = {ids}, {{}}, []
until = time.monotonic() + {seconds}
while time.monotonic() < until or len(seen) < 100:  # also where the machine is busy
    id, action = random.choice(ids), random.choice({actions})
    attempt = current.get(id, 0)
    if action == "claim":
        job = jobs.claim(set())
        answer = job is not None
    elif action == "finish":
        answer = jobs.finish(id, attempt, random.choice(["failed", "stopped"]))
        job = None
    elif action == "requeue":
        answer, job = jobs.requeue(id, attempt, interruption={{"attempt": attempt, "counted": True}}), None
    else:
        act = {{"stop": jobs.request_stop, "retry": jobs.retry}}.get(action)
        job = act(id) if act else waiting.move(id, random.choice(["up", "down", "first", "last"]))
        answer = True
    if job is None:
        job = jobs.get(id)
    else:
        attempt = job.attempt
    current[job.id] = job.attempt
    seen.append([action, job.id, attempt, answer, vars(job)])
print(json.dumps(seen))
"""
ENDED = ("stopped", "finished", "failed")


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """In memory where possible: thousands of commits would otherwise measure how fast this disk syncs."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="lora-tailor-", dir="/dev/shm") as folder:
        yield Path(folder)


def possible(job: dict[str, Any]) -> bool:
    """Whether a job's fields agree with its status."""
    if job["status"] == "queued":
        return job["finished_at"] is None and job["pid"] is None
    if job["status"] in jobs.ACTIVE:
        return job["finished_at"] is None and job["attempt"] > 0 and job["started_at"] is not None
    return job["status"] in ENDED and job["finished_at"] is not None


def results(children: list[subprocess.Popen[str]]) -> list[str]:
    """What the processes wrote, when all of them have ended well."""
    written = [process.communicate()[0] for process in children]
    assert [process.returncode for process in children] == [0] * len(children)
    return written


def test_a_thousand_jobs_are_each_claimed_once_by_eight_processes(home: Path, child: Child) -> None:
    ids = [jobs.add("training", str(n), "cpu").id for n in range(1000)]
    script, soon = "while job := jobs.claim(set()): print(job.id)", time.time() + 4
    claimed = "".join(results([child(script, together=soon) for _ in range(8)])).split()
    assert Counter(claimed) == Counter(ids)
    assert {(job.status, job.attempt) for job in jobs.list_all(limit=2000)} == {("running", 1)}


def test_stop_retry_claim_and_the_end_of_an_attempt_may_meet_in_any_order(home: Path, child: Child) -> None:
    ids = [jobs.add("training", str(n), "cpu").id for n in range(4)]
    actions, soon = ["claim", "claim", "finish", "requeue", "stop", "retry"], time.time() + 2.5
    scripts = [RACER.format(seed=seed, ids=ids, seconds=5, actions=actions) for seed in range(4)]
    histories = [json.loads(text) for text in results([child(script, together=soon) for script in scripts])]
    seen = [entry for history in histories for entry in history]
    assert [job for *_, job in seen if not possible(job)] == []

    # Each attempt is begun by one process, in turn, and ended by at most one.
    begun = Counter((id, attempt) for action, id, attempt, answer, _ in seen if action == "claim" and answer)
    ended = Counter(
        (id, attempt) for action, id, attempt, answer, _ in seen if action in ("finish", "requeue") and answer
    )
    assert begun == Counter((id, n + 1) for id in ids for n in range(jobs.get(id).attempt))
    assert len(begun) > 10 and set(ended.values()) == {1} and ended.keys() <= begun.keys()

    # What was told to stop is not given back to the queue, and no interruption is forgotten.
    stopping = {(job["id"], job["attempt"]) for *_, job in seen if job["status"] == "stopping"}
    back = [(id, attempt) for action, id, attempt, answer, _ in seen if action == "requeue" and answer]
    assert stopping and back and stopping.isdisjoint(back)
    kept = [(id, one["attempt"]) for id in ids for one in jobs.get(id).interruptions]
    assert Counter(kept) == Counter(back)

    # No process ever saw an earlier attempt after a later one.
    for history in histories:
        for id in ids:
            attempts = [job["attempt"] for *_, job in history if job["id"] == id]
            assert attempts == sorted(attempts)


def test_a_queue_that_several_people_order_at_once_stays_a_queue(home: Path, child: Child) -> None:
    ids = [jobs.add("training", str(n), "cpu").id for n in range(6)]
    actions, soon = ["move", "move", "stop", "retry"], time.time() + 2.5
    scripts = [RACER.format(seed=seed, ids=ids, seconds=1.5, actions=actions) for seed in range(4)]
    results([child(script, together=soon) for script in scripts])
    waiting = [jobs.retry(id) for id in ids]
    assert {job.status for job in waiting} == {"queued"}
    claimed = [jobs.claim(set()) for _ in ids]
    assert sorted(job.id for job in claimed if job) == sorted(ids)


def test_a_newer_worker_enters_only_when_the_older_ones_write_has_ended(
    running_job: jobs.Job, child: Child
) -> None:
    """Otherwise it could look around, and then see a write of the one it has taken over from."""
    workers.enter(7, 1.0, "boot")
    try:
        with database.session() as session:
            assert jobs.change(session, running_job.id, 1, {"step": 9})
            newer = child(
                "from storage import workers; print(workers.enter(8, 1.0, 'boot'), jobs.list_all()[0].step)"
            )
            with pytest.raises(subprocess.TimeoutExpired):
                newer.wait(timeout=2)
        assert newer.communicate()[0].split()[1] == "9"
    finally:
        workers.leave()


@pytest.fixture
def own_server(postgres_server: postgres.Server, tmp_path: Path) -> Iterator[postgres.Server]:
    """The tests' own PostgreSQL, which this process is connected to; running again at the end."""
    postgres.empty(postgres_server.url)
    config.use(config.from_environment(tmp_path / "home", postgres_server.url))
    database.connect()
    yield postgres_server
    database.close()


ADDER = """
import os
from storage.errors import StudioError
n, left = 0, 5
while left:
    stopped = os.path.exists({stop!r})
    try:
        jobs.add("training", "tone", "cpu", request_key=f"{me}-{{n}}")
    except StudioError as error:
        assert "does not answer" in error.message, error.message
        time.sleep(0.02)
    else:
        n, left = n + 1, left - stopped
        print(n, flush=True)
"""


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_server_that_restarts_is_survived_and_loses_nothing(
    own_server: postgres.Server, child: Child, tmp_path: Path, mode: str
) -> None:
    before = jobs.add("training", "before", "cpu")
    stop = tmp_path / "stop"
    children = [child(ADDER.format(me=me, stop=str(stop))) for me in range(2)]
    assert [process.stdout.readline() for process in children if process.stdout] == ["1\n"] * 2
    own_server.control("restart", "-m", mode)
    assert jobs.get(before.id) == before, "a pooled connection of before is not used again"
    stop.touch()
    # Who was not answered asked again: each request made one job, whatever had become of the first try.
    keys = {f"{me}-{n}" for me, text in enumerate(results(children)) for n in range(int(text.split()[-1]))}
    assert {job.request_key for job in jobs.list_all(limit=100_000)} - {None} == keys


def test_a_server_that_is_away_is_explained_and_found_again(own_server: postgres.Server) -> None:
    job = jobs.add("training", "tone", "cpu")
    own_server.control("stop", "-m", "fast")
    try:
        with pytest.raises(StudioError, match="does not answer") as caught:
            jobs.get(job.id)
        assert postgres.PASSWORD not in str(caught.value)
    finally:
        own_server.control("start")
    assert jobs.get(job.id) == job


def test_a_server_that_falls_in_the_middle_of_a_transaction_undoes_it(own_server: postgres.Server) -> None:
    job = jobs.add("training", "tone", "cpu")
    jobs.claim(set())
    with pytest.raises(StudioError, match="does not answer"), database.session() as session:
        assert jobs.change(session, job.id, 1, {"step": 9})
        own_server.control("restart", "-m", "immediate")
    assert jobs.get(job.id).step == 0
