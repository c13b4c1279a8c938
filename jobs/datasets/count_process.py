"""The process that tokenises a dataset for the page, started by `jobs.datasets.lengths`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jobs.datasets import child, tokens


def count(spec: dict[str, Any], folder: Path, report: child.Report) -> dict[str, Any]:
    """Bring the tokens of the dataset `spec` names into the cache."""
    found = tokens.make(spec["dataset_id"], Path(spec["model_folder"]), report=report, folder=folder)
    return {"rows": len(found.rows), "made": found.made}


if __name__ == "__main__":
    child.main(count)
