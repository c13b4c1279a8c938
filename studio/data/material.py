"""What a user has brought, wherever from: looked at first, imported at once where its columns are certain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.datasets import importing
from jobs.datasets.importing import Look
from jobs.datasets.records import ReadOptions
from storage.datasets import Dataset
from studio.imports import Report, Task

Options = dict[str, Any]


@dataclass(frozen=True)
class Material:
    """Something with examples in it: `look` reads its first rows, `add` all of them into a new dataset."""

    name: str
    look: Callable[[ReadOptions], Look]
    add: Callable[[ReadOptions, Report, Callable[[], bool]], Dataset]


@dataclass(frozen=True)
class Asked:
    """Material that needs the mapping step: what was detected, and which dataset it was before, if any."""

    material: Material
    look: Look


def of_file(path: str) -> Material:
    """An uploaded file."""
    file = Path(path)
    return Material(
        file.name,
        lambda options: importing.inspect(file, file.name, options),
        lambda options, report, should_stop: importing.add_dataset(
            file, file.name, options=options, report=report, should_stop=should_stop
        ),
    )


def of_text(text: str) -> Material:
    """Pasted text, or a range of a spreadsheet."""
    return Material(
        "the pasted text",
        lambda options: importing.inspect_pasted(text, options),
        lambda options, report, should_stop: importing.add_pasted(
            text, options=options, report=report, should_stop=should_stop
        ),
    )


def of_hub(hub_id: str) -> Material:
    """A dataset of the Hugging Face hub."""
    return Material(
        hub_id,
        lambda options: importing.inspect_hub(hub_id, options),
        lambda options, report, should_stop: importing.add_hub(
            hub_id, options=options, report=report, should_stop=should_stop
        ),
    )


def of_dataset(dataset: Dataset) -> Material:
    """The file that a dataset was made of, to be read in another way."""
    return Material(
        dataset.source_name,
        lambda options: importing.inspect_again(dataset.id, options),
        lambda options, report, should_stop: importing.reread(
            dataset.id, options=options, report=report, should_stop=should_stop
        ),
    )


def bring(material: Material) -> Task:
    """Import it, or ask first: nothing that had to be guessed is imported without a word."""

    def task(report: Report, should_stop: Callable[[], bool]) -> Dataset | Asked:
        report(f"Looking at {material.name}", None, None)
        look = material.look(ReadOptions())
        if not look.certain:
            return Asked(material, look)
        return material.add(ReadOptions(), report, should_stop)

    return task


def ask(material: Material) -> Task:
    """Only look, so that the mapping step opens."""

    def task(report: Report, should_stop: Callable[[], bool]) -> Asked:
        report(f"Looking at {material.name}", None, None)
        return Asked(material, material.look(ReadOptions()))

    return task


def read(material: Material, options: Options) -> Task:
    """Import it as the mapping step says."""
    chosen = ReadOptions.from_json(options)
    return lambda report, should_stop: material.add(chosen, report, should_stop)
