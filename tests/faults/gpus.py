"""The studio's jobs on real GPUs: `python -m tests.faults.gpus [--only PART …] [--seconds 12]`.

Storage, worker, job processes and model server are the product's own, there is only no page. Prints one line of
JSON for each figure. Without a GPU it says so and ends; `--processor` tries the program itself on a tiny model.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from tests.faults import gpu_probe


def main() -> int:
    """Do the parts that the command line chooses, all of them by default."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.gpus", description=__doc__)
    parser.add_argument(
        "--only", nargs="+", metavar="PART", help="starts bf16 terminated fp32 server memory saving pairs"
    )
    parser.add_argument(
        "--seconds", type=float, default=12.0, help="about how long one undisturbed run takes"
    )
    parser.add_argument("--shape", default="135m")
    parser.add_argument("--processor", action="store_true")
    arguments = parser.parse_args()
    # So that its processes are ended with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    gpus = gpu_probe.names()
    if not gpus and not arguments.processor:
        print("Skipped: this machine has no NVIDIA GPU.")
        return 0
    if arguments.processor:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    # Only now: these read the environment, and import much.
    from tests.faults import gpu_figures, gpu_memory, gpu_pairs
    from tests.faults.gpu_studio import GpuStudio

    parts: dict[str, Callable[[GpuStudio, float], gpu_figures.Lines]] = {
        "starts": gpu_figures.starts,
        "bf16": functools.partial(gpu_figures.resuming, precision="bf16"),
        "terminated": gpu_figures.terminated,
        "fp32": functools.partial(gpu_figures.resuming, precision="fp32"),
        "server": gpu_memory.server,
        "memory": gpu_memory.out_of_memory,
        "saving": gpu_figures.saving,
        "pairs": gpu_pairs.pairs,
    }
    well = True
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        studio = GpuStudio(
            Path(folder) / "home", "tiny" if arguments.processor else arguments.shape, arguments.processor
        )
        studio.start()
        _print("setup", {"gpus": gpus, "shape": arguments.shape}, began)
        try:
            for name in arguments.only or (part for part in parts if part != "pairs" or len(gpus) > 1):
                began = time.monotonic()
                try:
                    for line in parts[name](studio, arguments.seconds):
                        _print(name, line, began)
                        began = time.monotonic()
                except Exception as error:  # noqa: BLE001 (an edge: the other parts are still worth it)
                    well = False
                    traceback.print_exc()
                    _print(name, {"failed": f"{type(error).__name__}: {error}"}, began)
                    _print_logs(Path(folder) / "home")
        finally:
            left = studio.close()
            _print("end", {"processes_left": left}, began)
    return 0 if well and not left else 1


def _print(name: str, line: dict[str, object], began: float) -> None:
    print(
        json.dumps({"part": name, **line, "took": round(time.monotonic() - began, 1)}, ensure_ascii=False),
        flush=True,
    )


def _print_logs(home: Path) -> None:
    """The ends of what the processes said, where something went wrong."""
    newest = sorted(home.glob("runs/*/log.txt"), key=lambda path: path.stat().st_mtime)[-1:]
    for path in [*home.glob("logs/*"), *newest]:
        text = path.read_text(errors="replace")
        if text.strip():
            print(f"--- {path.name}\n{text[-1500:]}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
