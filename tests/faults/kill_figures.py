"""The campaign's figures on killed processes."""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

from jobs import run_job
from tests.faults import kills, races, signals
from tests.faults.registry import Figure, Options, counted, figure
from tests.faults.studio import Outcome, Studio, finished, outcome, studio

CONDITIONS = "tiny model, CPU fp32, dropout 0.1, shuffled, 15 steps of 2 epochs, several packs a step"


def undisturbed(opened: Studio) -> Outcome:
    """What a run makes that nobody disturbs."""
    return outcome(finished(opened.submit()))


@figure("phases")
def phases(_: Options) -> Iterator[Figure]:
    """kill -9 at every phase of every target, one kill a run."""
    survived, more, costs = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for cases, results in ((kills.cases(), survived), (kills.more_cases(), more)):
            waiting = list(cases)
            while waiting:
                home = Path(folder) / f"{len(survived)}-{len(more)}" / "home"
                try:
                    with studio(home) as opened:
                        whole = undisturbed(opened)
                        while waiting:
                            point, target = waiting.pop(0)
                            print(f"{target} at {point}", file=sys.stderr, flush=True)
                            results.append(False)
                            costs.append(kills.kill_at(opened, point, target, whole))
                            results[-1] = True
                except AssertionError:
                    traceback.print_exc()  # this one is lost; the others get a fresh studio
        yield counted("kill -9 survived, 14 phases x 4 targets", survived, "kills", CONDITIONS)
        yield counted("kill -9 survived, further moments of the worker", more, "kills", CONDITIONS)
    seconds = sorted(cost.recovery_seconds for cost in costs if cost.recovery_seconds is not None)
    if len(seconds) > 1:
        p95 = statistics.quantiles(seconds, n=20)[-1]
        yield Figure(
            "kill to the first new step, p50 / p95", f"{statistics.median(seconds):.1f} / {p95:.1f}", "s"
        )
        yield Figure(
            "steps computed again after a kill, most", str(max(cost.steps_lost for cost in costs)), "steps"
        )


@figure("random")
def at_random(options: Options) -> Iterator[Figure]:
    """kill -9 of a random target at random moments, several in a run."""
    chance, survived = random.Random(options.seed), []
    with tempfile.TemporaryDirectory() as folder:
        while len(survived) < options.random:
            home = Path(folder) / str(len(survived)) / "home"
            try:
                with studio(home, STEP_SECONDS=0.2) as opened:
                    began = time.monotonic()
                    whole = undisturbed(opened)
                    seconds = time.monotonic() - began
                    while len(survived) < options.random:
                        survived.append(False)
                        job, target = kills.kill_at_random(opened, chance, seconds)
                        print(f"{target} of {job.id}", file=sys.stderr, flush=True)
                        if target is None:
                            survived.pop()
                        else:
                            survived[-1] = True
                        if not kills.under_way():
                            kills.settled(job, whole)
                    kills.settled(job, whole)
            except AssertionError:
                survived[-1] = False
                traceback.print_exc()
    yield counted(
        "kill -9 survived at random moments", survived, "kills", f"seed {options.seed}; {CONDITIONS}"
    )


@figure("sigterm")
def sigterm(_: Options) -> Iterator[Figure]:
    """SIGTERM in the middle of a step, to the job and to everybody."""
    seconds = []
    with tempfile.TemporaryDirectory() as folder, studio(Path(folder) / "home") as opened:
        whole = undisturbed(opened)
        for target in ("job", "all") * 5:
            seconds.append(signals.terminate(opened, target, whole).seconds)
    yield counted(
        "SIGTERM in the middle of a step: saved and gone on, bit by bit the same",
        [one < run_job.GRACE_SECONDS for one in seconds],
        "signals",
        CONDITIONS,
    )
    yield Figure(
        "SIGTERM to the end of the process, most",
        f"{max(seconds):.2f}",
        "s",
        f"grace {run_job.GRACE_SECONDS} s",
    )


@figure("race")
def race(options: Options) -> Iterator[Figure]:
    """Five workers of one data folder that start at once."""
    with tempfile.TemporaryDirectory() as folder:
        opened = Studio(Path(folder) / "home", with_model=False, WARM=0)
        try:
            wrong = [races.race(opened, 5) for _ in range(options.trials)]
        finally:
            opened.close()
    for words in filter(None, wrong):
        print(words, file=sys.stderr)
    yield counted("races of five workers that exactly one won", [not one for one in wrong], "races")
