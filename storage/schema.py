"""The version of the database's tables, and how an older database becomes the current one."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

from storage import files
from storage.errors import StudioError

MIGRATIONS = Path(__file__).parent / "migrations"


def revision_of(connection: Connection) -> str | None:
    """The revision of this database; None for an empty one."""
    return MigrationContext.configure(connection).get_current_revision()


def migrate(engine: Engine) -> None:
    """Bring the tables to the newest revision in one transaction, after a copy of an existing SQLite file.

    Raises StudioError when a newer version of the studio made this database.
    """
    settings = Config()
    settings.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    scripts = ScriptDirectory.from_config(settings)
    with engine.connect() as connection:
        revision = revision_of(connection)
    if revision == scripts.get_current_head():
        return
    if revision is not None and revision not in {script.revision for script in scripts.walk_revisions()}:
        raise StudioError(
            f"The database was made by a newer version of LoRA Tailor (schema {revision}).",
            "Install the newest version, or choose another folder with --data-dir.",
        )
    if engine.dialect.name == "sqlite":
        _back_up(Path(engine.url.database or ""), revision or "unknown")
    with engine.execution_options(sqlite_begin="IMMEDIATE").begin() as connection:
        settings.attributes["connection"] = connection
        command.upgrade(settings, "head")


def _back_up(database: Path, revision: str) -> None:
    """Copy a database that holds something to backups/; copying the bare file could tear it."""
    if database.stat().st_size == 0:
        return
    folder = files.root() / "backups"
    folder.mkdir(exist_ok=True)
    final = folder / f"{database.stem}-{revision}-{time.strftime('%Y%m%d-%H%M%S')}-{files.new_id()}.db"
    temporary = final.with_suffix(".tmp")
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(temporary)) as target:
        source.backup(target)
    os.replace(temporary, final)
