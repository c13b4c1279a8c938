"""LoRA Tailor: reads the arguments, then starts the page, the database and the worker."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from storage import config
from storage.errors import StudioError
from studio import doorway


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line as the README documents it."""
    parser = argparse.ArgumentParser(
        prog="app.py", description="LoRA Tailor: fit a language model to your own examples."
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; others than 127.0.0.1 need a password"
    )
    parser.add_argument("--port", type=int, default=7860, help="port to listen on (0 takes a free one)")
    parser.add_argument("--data-dir", type=Path, help="folder for everything that is kept")
    parser.add_argument(
        "--database-url", help="SQLAlchemy address of the database; SQLite in the data folder if absent"
    )
    parser.add_argument("--password", help="asks visitors for this password (or set LORA_TAILOR_PASSWORD)")
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser window")
    parser.add_argument(
        "--rebuild-database",
        action="store_true",
        help="first make the database again from the folders of datasets, runs and adapters",
    )
    return parser.parse_args(argv)


def main() -> int:
    """Run the studio until it is interrupted; returns the exit status."""
    options = arguments()
    try:
        chosen = config.from_environment(data_dir=options.data_dir, database_url=options.database_url)
        config.use(replace(chosen, password=options.password or chosen.password))
        doorway.serve(
            host=options.host,
            port=options.port,
            open_browser=not options.no_browser,
            rebuild_database=options.rebuild_database,
        )
    except StudioError as error:
        print(f"{error.message}\n{error.remedy}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
