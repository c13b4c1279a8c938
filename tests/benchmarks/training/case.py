"""The process of one contestant: `python -m tests.benchmarks.training.case CASE`.

It says "ready" behind its warm-up, does a round whenever a line comes in, and prints its figures when its
input ends. Nothing but JSON lines goes to its output; what libraries print goes to its error stream.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, TextIO

from jobs.training.examples import Example
from tests.benchmarks.training.cases import UNSLOTH, Case
from tests.benchmarks.training.data import facts, made_up, read
from tests.benchmarks.training.rows import Timing, line, rate, spread

BEGAN = time.perf_counter()
# Of the case's time: how long a warm-up may go on, and when to stop for the figures to come out.
WARM_UP_SHARE, LAST_SHARE = 0.6, 0.85
GIB = 2**30
PROFILED_STEPS, SHOWN_KERNELS = 3, 30


class Process:
    """One case with its clock; `timing` has the warm-up's steps first."""

    def __init__(self, case: Case, to_parent: TextIO) -> None:
        self.case, self.to_parent = case, to_parent
        self.timing, self.warm_up = Timing(), 0
        self.words: list[str] = []
        self.one: Any = None
        self.ballast_bytes = 0

    def run(self) -> None:
        import torch

        case = self.case
        if case.who in UNSLOTH:
            import unsloth  # noqa: F401 - it has to come before transformers
        from tests.benchmarks.training.shapes import SHAPES, flops_per_token

        vocabulary = SHAPES[case.model]["vocab_size"]
        if case.data and case.tokenizer:
            examples = read(Path(case.data), Path(case.tokenizer), vocabulary)
        else:
            examples = made_up(vocabulary)
        (self.take_turns if case.takes_turns else self.run_trainer)(examples)
        if case.device.startswith("cuda"):
            peak = torch.cuda.max_memory_allocated() - self.ballast_bytes
        else:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        self.figures(peak, examples, flops_per_token(case.model, max(case.ranks), examples))
        if case.profile and self.one is not None:
            self.profile(self.one)

    def take_memory_away(self) -> Any:
        """What makes a large card as small as the case says, for as long as it is held."""
        import torch

        if self.case.leave_gib is None or not self.case.device.startswith("cuda"):
            return None
        self.ballast_bytes = max(0, torch.cuda.mem_get_info()[0] - int(self.case.leave_gib * GIB))
        return torch.empty(self.ballast_bytes, dtype=torch.uint8, device=self.case.device)

    def run_trainer(self, examples: Sequence[Example]) -> None:
        from tests.benchmarks.training.trainers import trained

        self.say({"ready": True})
        sys.stdin.readline()
        self.timing = trained(self.case, examples, BEGAN + LAST_SHARE * self.case.seconds)
        self.warm_up = 1 + self.case.warm_up
        self.say({"done": True})

    def take_turns(self, examples: Sequence[Example]) -> None:
        from tests.benchmarks.training.loops import base_of, contestant

        base = base_of(self.case)
        ballast = self.take_memory_away()
        began = time.perf_counter()
        one = self.one = contestant(self.case, base, examples)
        self.words = one.words
        self.timing.first_step_seconds = self.step(one, began)
        while self.warm_up < self.case.warm_up and self.spent() < WARM_UP_SHARE:
            self.step(one)
            self.warm_up += 1
        self.warm_up += 1
        a_round = max(1.0, LAST_SHARE * self.case.seconds - (time.perf_counter() - BEGAN)) / self.case.rounds
        self.say({"ready": True})
        while sys.stdin.readline().strip() == "go":
            end = time.perf_counter() + a_round
            for _ in range(self.case.steps):
                self.step(one)
                if time.perf_counter() > end:
                    break
            self.say({"done": True})
        del ballast

    def step(self, one: Any, began: float | None = None) -> float:
        """One step with everything done, and its seconds."""
        from tests.benchmarks.training.trainers import synchronize

        began = time.perf_counter() if began is None else began
        real, supervised = one.step()
        synchronize(self.case.device)
        seconds = time.perf_counter() - began
        self.timing.add(seconds, real, supervised)
        return seconds

    def spent(self) -> float:
        return (time.perf_counter() - BEGAN) / self.case.seconds

    def say(self, message: dict[str, Any]) -> None:
        print(json.dumps(message), file=self.to_parent, flush=True)

    def figures(self, peak: int, examples: list[Example], flops: float) -> None:
        """Every figure with its conditions."""
        case, steady = self.case, self.timing.steady(self.warm_up)
        conditions = {
            "model": case.model,
            "precision": case.precision,
            "rank": list(case.ranks) if len(case.ranks) > 1 else case.ranks[0],
            **({"tokens_per_step": case.tokens_per_step} if case.takes_turns else {}),
            **case.setup,
            **({"memory_left_gib": case.leave_gib} if case.leave_gib else {}),
            "steps": len(steady.seconds),
            "warm_up_steps": len(self.timing.seconds) - len(steady.seconds),
            "data": {"file": Path(case.data).name if case.data else "made up", **facts(examples)},
            **versions(case),
        }
        name = f"{case.who} {case.model}"
        per_second = rate(steady.real, steady.seconds)
        how = {"words": self.words} if self.words else {}
        self.row(
            f"{name}: real tokens",
            per_second,
            "tokens/s",
            {**conditions, **how, **spread(steady.real, steady.seconds)},
        )
        self.row(
            f"{name}: supervised tokens", rate(steady.supervised, steady.seconds), "tokens/s", conditions
        )
        self.row(f"{name}: peak memory", peak / GIB, "GiB", conditions)
        self.row(f"{name}: call to first step", self.timing.first_step_seconds, "s", conditions)
        if case.limit_flops:
            # Of several adapters each costs its own tokens; the base is shared, so one share says nothing.
            share = per_second * flops / case.limit_flops if len(case.ranks) == 1 else None
            self.row(
                f"{name}: share of the matrix-product limit",
                share,
                "share",
                {**conditions, "flop_per_token": flops, "limit_tflops": case.limit_flops / 1e12},
            )

    def row(self, what: str, value: float | None, unit: str, conditions: dict[str, Any]) -> None:
        with redirect_stdout(self.to_parent):
            line(what, self.case.device, value and float(f"{value:.5g}"), unit, conditions)

    def profile(self, one: Any) -> None:
        """Where a few steps spend their time, kernel by kernel (on a CPU: operation by operation)."""
        from torch.autograd import DeviceType
        from torch.profiler import ProfilerActivity, profile

        cuda = self.case.device.startswith("cuda")
        start = len(self.timing.seconds)
        with profile(activities=[ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU]) as profiler:
            for _ in range(PROFILED_STEPS):
                self.step(one)
        wall = sum(self.timing.seconds[start:])
        kernels = [
            (event.self_device_time_total if cuda else event.self_cpu_time_total, event.count, event.key)
            for event in profiler.key_averages()
            if not cuda or event.device_type == DeviceType.CUDA
        ]
        busy = sum(microseconds for microseconds, _, _ in kernels) / 1e6
        name = f"{self.case.who} {self.case.model}: kernels"
        self.row(name, busy / wall, "busy share of the profiled steps", {"steps": PROFILED_STEPS})
        for microseconds, count, key in sorted(kernels, reverse=True)[:SHOWN_KERNELS]:
            conditions = {"kernel": key[:140], "calls_a_step": count / PROFILED_STEPS}
            self.row(name, microseconds / 1e6 / busy, "share of kernel time", conditions)


def versions(case: Case) -> dict[str, str]:
    """What was installed."""
    from importlib.metadata import PackageNotFoundError, version

    import torch

    found = {"torch": torch.__version__}
    for package in ("transformers", "peft", "trl", "liger_kernel", "unsloth", "bitsandbytes"):
        used = package in sys.modules or package in ("transformers", "peft")
        if used:
            try:
                found[package] = version(package)
            except PackageNotFoundError:
                continue
    if case.device.startswith("cuda"):
        found["gpu"] = torch.cuda.get_device_name()
    else:
        found["threads"] = str(torch.get_num_threads())
    return found


def matrix_product(device: str) -> float:
    """FLOP/s of a large bf16 matrix product on random numbers: the best of many, since it is to be a limit."""
    import torch

    from tests.benchmarks.training.trainers import synchronize

    size, repeats = (8192, 30) if device.startswith("cuda") else (2048, 60)
    left, right = (torch.randn(size, size, device=device).bfloat16() for _ in range(2))
    seconds = []
    for _ in range(repeats):
        synchronize(device)
        began = time.perf_counter()
        left @ right
        synchronize(device)
        seconds.append(time.perf_counter() - began)
    return 2 * size**3 / min(seconds)


def main() -> None:
    """Be a contestant, or one of the two small helpers: the limit, and a model saved for who needs a folder."""
    to_parent = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    what, argument = sys.argv[1:3]
    if what == "limit":
        print(json.dumps({"limit_flops": matrix_product(argument)}), file=to_parent, flush=True)
        return
    if what == "save":
        from tests.benchmarks.training.shapes import saved_model

        name, device, folder = argument.split(",", 2)
        saved_model(name, Path(folder), device)
        return
    case = Case.from_json(argument)
    process = Process(case, to_parent)
    try:
        process.run()
    except ImportError as error:
        process.say({"missing": str(error)})
    except Exception as error:
        process.say({"failed": f"{type(error).__name__}: {error}"[:600]})
        raise


if __name__ == "__main__":
    main()
