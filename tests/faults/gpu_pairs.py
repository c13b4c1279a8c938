"""What is measured on two GPUs: jobs beside each other, the third that takes whichever is free, and kills on one."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time

from jobs import gpu, queue
from jobs.executors import processes
from jobs.executors.local import PROJECT_ROOT
from jobs.serving import address, connection
from storage import jobs
from storage.jobs import Job
from tests.faults import gpu_probe
from tests.faults.gpu_figures import PATIENCE, START_SECONDS, Lines, cost_of, saving_of
from tests.faults.gpu_memory import MEGABYTE, Question, end_of
from tests.faults.gpu_studio import GpuStudio, compared, ended, events, filler, said_there, steps_of
from tests.faults.studio import told, until

SEE = """
import json, torch
from jobs import gpu
print(json.dumps([[d.id for d in gpu.devices()], torch.cuda.device_count()]))
"""
# The long one is stopped when the others are done; the short ones take seconds, and save states all the same.
LONG_STEPS, SHORT_STEPS = 20_000, 40
OFTEN_HERE = {"state_seconds": 0.8, "state_share": 1.0}


def pairs(studio: GpuStudio, seconds: float) -> Lines:
    """A long job, a short one and a third; the third is killed while the long one runs on the other GPU."""
    many = 60 if studio.on_processor else LONG_STEPS
    empty = gpu_probe.used_bytes()
    at = {"1": ["kill", "learn", SHORT_STEPS * 4 // 10]}
    with gpu_probe.Samples() as samples:
        long = studio.submit_run("long", many, precision="bf16", tokens_per_step=1024)
        short = studio.submit_run("short", SHORT_STEPS, OFTEN_HERE, precision="fp32")
        third = studio.submit_run("third", SHORT_STEPS, {**OFTEN_HERE, "at": at}, precision="fp32")
        asked = {one.name: one.device for one in (long, short, third)}
        short, third = ended(short, PATIENCE), ended(third, PATIENCE)
    killed = said_there("third", 1)
    assert killed is not None
    queue.stop(long.id)
    long = ended(long, PATIENCE)
    spans = {one.name: _span(one) for one in (long, short, third)}
    both = [samples.between(*spans["short"], n) for n in range(len(empty))]
    most = [max(one) - was for one, was in zip(both, empty, strict=True) if one]
    begun = max(spans["long"][0], spans["short"][0])
    yield {
        "what": "three jobs on two GPUs",
        "conditions": f"long: bf16; the others: fp32, {SHORT_STEPS} steps",
        "status": {one.name: one.status for one in (long, short, third)},
        "device_at_first": asked,
        "device": {one.name: jobs.get(one.id).device for one in (long, short, third)},
        "two_at_once_seconds": round(min(spans["long"][1], spans["short"][1]) - begun, 1),
        "most_used_megabytes_beyond_empty": [round(one / MEGABYTE) for one in most],
        "short_ended_to_third_process_seconds": round(events(third)[0]["time"] - (short.finished_at or 0), 2),
        "fp32_steps_per_second": len(steps_of(short)) / max(0.001, spans["short"][1] - spans["short"][0]),
    }
    gaps = [(b["time"] - a["time"], a["time"]) for a, b in itertools.pairwise(steps_of(long))]
    yield {
        "what": "kill -9 on one GPU while a job runs on the other",
        "conditions": f"fp32, {SHORT_STEPS} steps; the other: bf16",
        "told": told(third),
        **cost_of(third, 1, killed),
        **compared(third, short),
        "other_attempts": long.attempt,
        "other_steps_during": sum(killed < at for _, at in gaps),
        "other_longest_gap_seconds": round(max(gap for gap, _ in gaps), 3),
        "other_longest_gap_after_the_kill_seconds": round(
            max((gap for gap, at in gaps if killed - 1 < at < killed + 5), default=0), 3
        ),
    }
    saves = [e["time"] for e in events(long) if e["type"] == "checkpoint"]
    yield {
        "what": "saving states as the product does",
        "conditions": f"bf16, 1024 tokens a step, stopped at step {len(steps_of(long))}",
        "seconds_between": [round(b - a, 1) for a, b in itertools.pairwise(saves)],
        **saving_of(long),
    }
    yield from _one_seen(studio, short)


def _one_seen(studio: GpuStudio, trained: Job) -> Lines:
    """CUDA_VISIBLE_DEVICES=1 makes the studio see one GPU, and use the second."""
    studio.end_page()
    os.environ["CUDA_VISIBLE_DEVICES"] = studio.environment["CUDA_VISIBLE_DEVICES"] = "1"
    try:
        see = [sys.executable, "-c", SEE]
        seen = subprocess.run(
            see, cwd=PROJECT_ROOT, env=studio.environment, capture_output=True, text=True, check=True
        )
        studio.start()
        with gpu_probe.Samples() as samples:
            began, empty = time.time(), gpu_probe.used_bytes()
            yield _memory_back(trained)
            ran = ended(studio.submit_run("seen", 60, precision="bf16"), PATIENCE)
        most = [max(samples.between(began, time.time(), n), default=0) for n in range(len(empty))]
        yield {
            "what": "CUDA_VISIBLE_DEVICES=1",
            "gpu.devices, torch.cuda.device_count": json.loads(seen.stdout.splitlines()[-1]),
            "status": ran.status,
            "device": ran.device,
            "most_used_megabytes_beyond_empty": [
                round((a - b) / MEGABYTE) for a, b in zip(most, empty, strict=True)
            ],
        }
        with filler(gpu.default_device()) as leave:
            free = leave(1000 * MEGABYTE)
            job = ended(studio.submit_run("1000 MB free", 40, precision="bf16"), START_SECONDS)
            yield {
                "what": "GPU full before the job begins",
                "free_megabytes": free // MEGABYTE,
                **end_of(job),
            }
    finally:
        del os.environ["CUDA_VISIBLE_DEVICES"]


def _memory_back(trained: Job) -> dict[str, object]:
    """When the memory of a model server that was told to go is really back, by its process and by the driver."""
    assert trained.adapter_id is not None
    empty = gpu_probe.used_bytes()
    question = Question(trained.adapter_id, "What is 3 and 9?", 16)
    question.join(START_SECONDS)
    holding, own = gpu_probe.used_bytes(), address.read()
    assert own is not None
    began = time.time()
    connection.free_device()
    returned, used = time.time(), gpu_probe.used_bytes()
    runs = processes.is_running(own.process)
    until(lambda: sum(gpu_probe.used_bytes()) - sum(empty) < 50 * MEGABYTE, START_SECONDS, 0.002)
    return {
        "what": "the model server's memory after jobs.serving.connection.free_device",
        "error": question.error,
        "seconds_until_it_returned": round(returned - began, 3),
        "server_runs_then": runs,
        "held_megabytes": [round((a - b) / MEGABYTE) for a, b in zip(holding, empty, strict=True)],
        "still_held_then_megabytes": [round((a - b) / MEGABYTE) for a, b in zip(used, empty, strict=True)],
        "seconds_until_the_memory_was_back": round(time.time() - returned, 3),
    }


def _span(job: Job) -> tuple[float, float]:
    """From the first step of the first attempt to the last step of the last."""
    first, last = steps_of(job, 1), steps_of(job, jobs.get(job.id).attempt)
    return (first[0]["time"], last[-1]["time"]) if first and last else (0.0, 0.0)
