"""Where the data lies and how to reach the database: the only place that reads the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Config:
    """What every process of the studio has to agree on; secrets stay out of its repr."""

    data_dir: Path
    database_url: str = field(repr=False)
    password: str | None = field(default=None, repr=False)
    # Whether jobs are to save and end when the page is asked to end: where everything is about to be ended.
    stop_jobs: bool = False


_current: Config | None = None


def from_environment(data_dir: Path | str | None = None, database_url: str | None = None) -> Config:
    """The configuration: arguments first, then the environment, then defaults.

    Those are LORA_TAILOR_HOME, LORA_TAILOR_DATABASE_URL and LORA_TAILOR_PASSWORD. Passwords belong there: everybody
    on the machine can read a command line.
    """
    chosen = data_dir or os.environ.get("LORA_TAILOR_HOME")
    folder = (Path(chosen) if chosen else _user_data_folder()).expanduser().resolve()
    return Config(
        data_dir=folder,
        database_url=database_url
        or os.environ.get("LORA_TAILOR_DATABASE_URL")
        or f"sqlite:///{folder / 'studio.db'}",
        password=os.environ.get("LORA_TAILOR_PASSWORD") or None,
        stop_jobs=os.getpid() == 1 or os.environ.get("LORA_TAILOR_STOP_JOBS") == "1",
    )


def _user_data_folder() -> Path:
    # Here, since a machine that only trains has a data folder of its own and no need of this package.
    import platformdirs

    return platformdirs.user_data_path("lora-tailor", appauthor=False)


def use(config: Config) -> None:
    """Make `config` the one of this process."""
    global _current
    _current = config


def current() -> Config:
    """The configuration of this process.

    Raises RuntimeError before `use`: a process that guessed its data folder would write to the wrong one.
    """
    if _current is None:
        raise RuntimeError("storage.config.use() has not been called in this process")
    return _current
