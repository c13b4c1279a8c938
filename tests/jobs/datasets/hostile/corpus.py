"""The corpus as files to look at: `python -m tests.jobs.datasets.hostile.corpus FOLDER [--list]`."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from tests.jobs.datasets.hostile import (
    columnar,
    encodings,
    json_texts,
    names,
    row_cases,
    tables,
    workbooks,
    wrong_kinds,
    zips,
)
from tests.jobs.datasets.hostile.cases import Case

_MODULES = (encodings, wrong_kinds, tables, json_texts, row_cases, columnar, zips, workbooks, names)
CASES: dict[str, Case] = {case.name: case for module in _MODULES for case in module.CASES}
assert len(CASES) == sum(len(module.CASES) for module in _MODULES), "two cases share a name"


def main() -> None:
    """Write every file into a folder of its own and print one line of JSON for each."""
    parser = argparse.ArgumentParser(prog="python -m tests.jobs.datasets.hostile.corpus", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--list", action="store_true", help="only say what would be written")
    arguments = parser.parse_args()
    for case in CASES.values():
        line = {
            "case": case.name,
            "file": ascii(case.file),
            "comes": {type(case.comes).__name__.lower(): asdict(case.comes)},
            "options": dict(case.options),
        }
        if not arguments.list:
            line["bytes"] = case.write(arguments.folder).stat().st_size
        print(json.dumps(line, default=sorted), flush=True)


if __name__ == "__main__":
    main()
