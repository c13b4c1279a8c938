"""The tables, and how a row becomes the frozen record that leaves `storage`."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any, TypeVar

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

Record = TypeVar("Record")
Json = dict[str, Any]
_CANNOT_BE_STORED = dict.fromkeys([0, *range(0xD800, 0xE000)], "\N{REPLACEMENT CHARACTER}")


class Words(TypeDecorator[str]):
    """Any text; NUL and lone surrogates, which databases refuse, become the replacement character."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """The text as the database takes it."""
        return None if value is None else str(value).translate(_CANNOT_BE_STORED)


class Finite(TypeDecorator[float]):
    """A number; NaN and infinities, which JSON cannot carry to the page, become NULL."""

    impl = Double
    cache_ok = True

    def process_bind_param(self, value: float | None, dialect: Dialect) -> float | None:
        """The number as the database takes it."""
        return float(value) if value is not None and math.isfinite(value) else None


# SQLite numbers rows by itself only in a column that is called INTEGER.
RowNumber = BigInteger().with_variant(Integer, "sqlite")


class Table(DeclarativeBase):
    """A row numbered in the order of insertion: the order holds even when the clock is set back."""

    # SQLite gives constraints no names of its own, and a migration can only change what has a name.
    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 (SQLAlchemy reads it from the class)
        str: Words(),
        float: Finite(),
        int: BigInteger(),
        bool: Boolean(),
        list[str]: JSON(),
        list[Json]: JSON(),
        Json: JSON(),
    }
    # Numbers are never given out twice, so that "after this number" misses nothing.
    __table_args__: Any = {"sqlite_autoincrement": True}  # noqa: RUF012

    number: Mapped[int] = mapped_column(RowNumber, primary_key=True, sort_order=-1)

    def record(self, kind: type[Record]) -> Record:
        """The dataclass `kind` with this row's columns of the same names."""
        return kind(**{field.name: getattr(self, field.name) for field in fields(kind)})  # type: ignore[arg-type]


class DatasetRow(Table):
    """One version of a set of examples; the rows themselves are in its folder.

    `family` is the id of the first version, of which every later one has come.
    """

    __tablename__ = "datasets"
    __table_args__ = (
        Index("ix_datasets_family_version", "family", "version", unique=True),
        Index(
            "ix_datasets_current",
            "family",
            unique=True,
            sqlite_where=text("is_current"),
            postgresql_where=text("is_current"),
        ),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    source_name: Mapped[str]
    format: Mapped[str]
    columns: Mapped[list[str]]
    rows: Mapped[int]
    train_rows: Mapped[int]
    held_out_rows: Mapped[int]
    problems: Mapped[list[Json]]
    sha256: Mapped[str]
    created_at: Mapped[float]
    family: Mapped[str]
    version: Mapped[int]
    parent_id: Mapped[str | None]
    change: Mapped[str]
    is_current: Mapped[bool]
    left_out_rows: Mapped[int]
    summary: Mapped[Json]
    unchecked_changes: Mapped[int]


class JobRow(Table):
    """One piece of work in the background.

    `dataset_id`, `base_model_id` and `adapter_id` are no foreign keys: the history outlives what it names.
    """

    __tablename__ = "jobs"
    __table_args__ = (Index("ix_jobs_status", "status"), {"sqlite_autoincrement": True})

    id: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str]
    name: Mapped[str]
    status: Mapped[str]
    attempt: Mapped[int]
    device: Mapped[str]
    dataset_id: Mapped[str | None]
    base_model_id: Mapped[str | None]
    rank: Mapped[int | None]
    settings: Mapped[Json]
    request_key: Mapped[str | None] = mapped_column(unique=True)
    created_at: Mapped[float]
    started_at: Mapped[float | None]
    finished_at: Mapped[float | None]
    phase: Mapped[str]
    phase_done: Mapped[int | None]
    phase_total: Mapped[int | None]
    step: Mapped[int]
    total_steps: Mapped[int]
    loss: Mapped[float | None]
    held_out_loss: Mapped[float | None]
    seconds_left: Mapped[float | None]
    tokens_per_second: Mapped[float | None]
    steps_per_second: Mapped[float | None]
    notes: Mapped[list[str]]
    foreseen_seconds: Mapped[float | None]
    foreseen_peak_bytes: Mapped[int | None]
    error_message: Mapped[str | None]
    error_remedy: Mapped[str | None]
    adapter_id: Mapped[str | None]
    result: Mapped[Json]
    pid: Mapped[int | None]
    process_started: Mapped[float | None]
    boot_id: Mapped[str | None]
    events_offset: Mapped[int]
    position: Mapped[int]
    interruptions: Mapped[list[Json]]
    resumed_from: Mapped[int | None]
    paused_for: Mapped[str | None]
    needs_bytes: Mapped[int | None]
    silent_seconds: Mapped[float | None]
    deleting: Mapped[bool]


class MetricRow(Table):
    """One measured value of one step."""

    __tablename__ = "metrics"
    __table_args__ = (UniqueConstraint("job_id", "step", "name"), {"sqlite_autoincrement": True})

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    step: Mapped[int]
    name: Mapped[str]
    value: Mapped[float | None]


class CheckpointRow(Table):
    """One saved state of a training run, from which it can go on."""

    __tablename__ = "checkpoints"
    __table_args__ = (UniqueConstraint("job_id", "folder"), {"sqlite_autoincrement": True})

    id: Mapped[str] = mapped_column(unique=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    attempt: Mapped[int]
    step: Mapped[int]
    folder: Mapped[str]
    held_out_loss: Mapped[float | None]
    created_at: Mapped[float]


class AdapterRow(Table):
    """One finished adapter and where it came from; like jobs, it outlives what it names."""

    __tablename__ = "adapters"

    id: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    job_id: Mapped[str]
    dataset_id: Mapped[str]
    base_model_id: Mapped[str]
    rank: Mapped[int]
    alpha: Mapped[float]
    target_modules: Mapped[list[str]]
    parameters: Mapped[int]
    size_bytes: Mapped[int]
    weights_sha256: Mapped[str]
    base_weights_sha256: Mapped[str]
    held_out_loss: Mapped[float | None]
    best_step: Mapped[int | None]
    settings: Mapped[Json]
    created_at: Mapped[float]
    strength: Mapped[float]


class EvaluationRow(Table):
    """One scorecard of one adapter."""

    __tablename__ = "evaluations"
    __table_args__ = (Index("ix_evaluations_adapter_id", "adapter_id"), {"sqlite_autoincrement": True})

    id: Mapped[str] = mapped_column(unique=True)
    adapter_id: Mapped[str] = mapped_column(ForeignKey("adapters.id", ondelete="CASCADE"))
    card: Mapped[Json]
    created_at: Mapped[float]


class VoteRow(Table):
    """Which of two answers somebody found better without knowing whose they were."""

    __tablename__ = "votes"
    __table_args__ = (
        Index("ix_votes_adapter_id_contest", "adapter_id", "contest"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[str] = mapped_column(unique=True)
    adapter_id: Mapped[str] = mapped_column(ForeignKey("adapters.id", ondelete="CASCADE"))
    contest: Mapped[str]
    held_out_row: Mapped[int | None]
    first: Mapped[str]
    second: Mapped[str]
    shown_left: Mapped[str]
    winner: Mapped[str]
    details: Mapped[Json]
    created_at: Mapped[float]


class WorkerRow(Table):
    """The newest worker; its number is the generation that its writes carry."""

    __tablename__ = "workers"

    pid: Mapped[int]
    process_started: Mapped[float]
    boot_id: Mapped[str]
    started_at: Mapped[float]
