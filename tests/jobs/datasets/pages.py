"""A page's process that imports a file and waits at a moment of `tests.faults.points`: `python -m … HOME FILE`."""

from __future__ import annotations

import sys
from pathlib import Path

from jobs.datasets import child, importing, publishing
from storage import config, database
from tests.faults import points

# In the order in which an import comes by.
MOMENTS = ("staged", "process begun", "read", "announced", "published", "remembered")


def main() -> None:
    """Import the file."""
    config.use(config.from_environment(data_dir=sys.argv[1]))
    database.connect()
    points.before(child, "run", "staged")
    points.after(child, "_start", "process begun")
    points.after(child, "run", "read")
    points.before(publishing.files, "publish_folder", "announced")
    points.after(publishing.files, "publish_folder", "published")
    points.after(publishing, "_add", "remembered")
    importing.add_dataset(Path(sys.argv[2]), "Mails")


if __name__ == "__main__":
    main()
