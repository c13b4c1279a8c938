"""The version of the database's tables, and how an older database becomes the current one."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

from storage import backups, sqlite_file
from storage.errors import StudioError

MIGRATIONS = Path(__file__).parent / "migrations"


def revision_of(connection: Connection) -> str | None:
    """The revision of this database; None for an empty one."""
    return MigrationContext.configure(connection).get_current_revision()


def migrate(engine: Engine) -> str | None:
    """Bring the tables to the newest revision, which is returned, in one transaction after a copy of an SQLite file.

    Raises StudioError when a newer version of the studio made this database.
    """
    settings = Config()
    settings.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    scripts = ScriptDirectory.from_config(settings)
    with engine.connect() as connection:
        revision = revision_of(connection)
    newest = scripts.get_current_head()
    if revision == newest:
        return newest
    if revision is not None and revision not in {script.revision for script in scripts.walk_revisions()}:
        raise StudioError(
            f"The database was made by a newer version of LoRA Tailor (schema {revision}).",
            "Install the newest version, or choose another folder with --data-dir.",
        )
    database = sqlite_file.of(engine.url)
    if database is not None and database.stat().st_size > 0:  # a new one has nothing to lose
        backups.back_up()
    with engine.execution_options(sqlite_begin="IMMEDIATE").begin() as connection:
        if engine.dialect.name == "postgresql":  # whose other clients may be on other machines
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('schema'))")
        settings.attributes["connection"] = connection
        command.upgrade(settings, "head")
    return newest
