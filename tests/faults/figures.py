"""The campaign's figures on power cuts, damage, full disks, the database, and load."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults import afterwards, damage, dbfaults, disk, durability, load, power, recorded
from tests.faults.registry import Figure, Options, counted, figure
from tests.faults.studio import finished, outcome

LOCKED_SECONDS = 60.0
CLIENTS, WATCHED_SECONDS = 100, 120.0


@figure("power")
def power_cuts(options: Options) -> Iterator[Figure]:
    """A power cut between any two operations of a studio's life."""
    results: dict[str, list[bool]] = {"started": [], "rebuilt": []}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        trace = recorded.record(home, Path(folder) / "model")
        memory = afterwards.Memory.of(trace, home)
        for state, what, found in afterwards.all_problems(power.states(trace, options.seed), memory):
            results[what].append(not found)
            if found:
                said = {"cut": state.cut, "how": state.how, "what": what, "found": found[:3]}
                print(json.dumps(said), file=sys.stderr, flush=True)
    conditions = (
        f"{len(trace.ops)} operations: import, training with 10 states, resume, publish, backup, delete"
    )
    yield counted("power cuts survived", results["started"], "states", f"{conditions}; seed {options.seed}")
    yield counted("power cuts and a lost database survived", results["rebuilt"], "states", conditions)


@figure("damage")
def damaged_states(_: Options) -> Iterator[Figure]:
    """Checkpoints cut, flipped, zeroed, deleted and edited."""
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for case in damage.cases():
            why = damage.check(case, Path(folder))
            results.append(why is None)
            if why:
                print(json.dumps({"damage": case.name, "found": why}), file=sys.stderr, flush=True)
    yield counted(
        "damaged checkpoints found, named and passed over", results, "states", "the older one is chosen"
    )


@figure("disk")
def full_disks(_: Options) -> Iterator[Figure]:
    """A disk that fills up at every moment."""
    results = []
    try:
        with tempfile.TemporaryDirectory() as folder:
            for name, well in disk.every_moment(Path(folder)):
                results.append(well)
                print(json.dumps({"full at": name, "well": well}), file=sys.stderr, flush=True)
    except pytest.skip.Exception as why:
        yield Figure("full disks survived", "not tried", conditions=str(why))
        return
    yield counted("full disks survived", results, "moments", f"tmpfs of {disk.SIZE}, real worker and jobs")


@figure("database")
def databases(_: Options) -> Iterator[Figure]:
    """The database locked, read-only, overwritten, deleted under a training."""
    conditions = f"SQLite {sqlite3.sqlite_version}, tiny model, {dbfaults.STEP_SECONDS} s a step"
    results: list[bool] = []
    steps = 0
    with tempfile.TemporaryDirectory() as folder, dbfaults.slow_studio(Path(folder)) as slow:
        whole = outcome(finished(slow.submit()))

        def tried(name: str, act: Callable[[], object]) -> None:
            try:
                act()
                results.append(True)
            except AssertionError:
                results.append(False)
                print(f"{name}: {traceback.format_exc()}", file=sys.stderr, flush=True)

        def lock() -> None:
            nonlocal steps
            steps = dbfaults.under_a_lock(slow, whole, LOCKED_SECONDS)

        tried("locked", lock)
        for name in dbfaults.DAMAGES:
            tried(name, lambda name=name: dbfaults.damaged(slow, whole, name))
        if os.geteuid() == 0:
            tried("read-only", lambda: dbfaults.read_only(slow, whole))
    yield counted("faults of the database survived", results, "faults", conditions)
    yield Figure(
        f"steps while it was locked for {LOCKED_SECONDS:.0f} s", str(steps), "steps", conditions, steps > 3
    )


@figure("queue")
def a_thousand_jobs(_: Options) -> Iterator[Figure]:
    """A thousand waiting jobs, eight claimers, two devices."""
    with tempfile.TemporaryDirectory() as folder:
        found = load.claims(Path(folder) / "home")
        conditions = f"{found.jobs} jobs, 8 processes, 2 devices, {found.seconds:.0f} s"
        wrong = found.twice + found.lost
        yield Figure("jobs claimed twice or lost", str(wrong), "jobs", conditions, wrong == 0)
        yield Figure("in order on each device", str(found.in_order), "", conditions, found.in_order)
        seconds = load.runs_page(Path(folder) / "waiting")
        yield Figure(
            "the page of 1,000 runs", f"{seconds:.2f}", "s", "all waiting, 50 of them are shown", seconds < 1
        )


@figure("load")
def a_hundred_people(_: Options) -> Iterator[Figure]:
    """A hundred people watch a training."""
    with tempfile.TemporaryDirectory() as folder:
        found = load.watched(Path(folder), CLIENTS, WATCHED_SECONDS)
    conditions = load.conditions(CLIENTS, WATCHED_SECONDS)
    for name in sorted(found.seconds):
        p50, p95, p99 = found.percentiles(name)
        asked = f"{len(found.seconds[name])} requests; {conditions}"
        yield Figure(
            f"/{name}: p50 / p95 / p99", f"{p50:.0f} / {p95:.0f} / {p99:.0f}", "ms", asked, p95 < 500
        )
    errors = len(found.errors)
    yield Figure("errors", str(errors), "requests", "; ".join(found.errors[:3]), errors == 0)
    megabytes = found.memory_bytes[-1] / 1e6
    growth = found.growth()
    yield Figure(
        "the page's memory, last third by first", f"{growth:.2f}", "", f"{megabytes:.0f} MB", growth < 1.1
    )
    yield Figure("training slower by", f"{100 * found.slowdown():.0f}", "%", conditions)


@figure("durability")
def what_it_costs(_: Options) -> Iterator[Figure]:
    """The share of a training's time that goes into being able to go on."""
    with tempfile.TemporaryDirectory() as folder:
        found = durability.measured(Path(folder))
    for name, seconds in found.seconds.items():
        share = 100 * seconds / found.whole_seconds
        yield Figure(f"time of a training spent on {name}", f"{share:.2f}", "%", found.conditions, share < 2)
