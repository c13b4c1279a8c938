"""The whole fault campaign: `python -m tests.faults.campaign [--only NAME …] [--random 200] [--trials 100]`.

Prints one line of JSON for each figure; the exit status says whether all of them are as they should be.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import sys
import time
from dataclasses import asdict

from tests.faults.registry import FIGURES, Options

# Each registers its figures when it is imported.
MODULES = ("tests.faults.kill_figures", "tests.faults.figures")


def main() -> int:
    """Run the figures that the command line chooses, all of them by default."""
    for module in MODULES:
        if importlib.util.find_spec(module) is not None:
            importlib.import_module(module)
    parser = argparse.ArgumentParser(prog="python -m tests.faults.campaign", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=sorted(FIGURES), default=list(FIGURES), metavar="NAME")
    parser.add_argument("--random", type=int, default=Options.random, help="moments of random kills")
    parser.add_argument("--trials", type=int, default=Options.trials, help="trials of every race")
    parser.add_argument("--seed", type=int, default=Options.seed)
    arguments = parser.parse_args()
    options = Options(arguments.random, arguments.trials, arguments.seed)
    well = True
    for name in arguments.only:
        began = time.monotonic()
        for found in FIGURES[name](options):
            well = well and found.ok
            seconds = round(time.monotonic() - began, 1)
            print(json.dumps({"figure": name, **asdict(found), "seconds": seconds}), flush=True)
            began = time.monotonic()
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
