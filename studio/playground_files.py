"""Votes and answered prompt sets as files: CSV without formulas for spreadsheets, JSON lines for programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from fastapi.responses import Response, StreamingResponse

from jobs.evaluation import blind, prompt_sets
from jobs.export import spreadsheet
from storage import adapters, files
from storage import votes as stored
from storage.errors import StudioError

KINDS = {"csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl; charset=utf-8"}


def votes(name: str) -> Response:
    """The votes on an adapter, `name` being its id and "csv" or "jsonl" behind a dot."""
    adapter_id, kind = _parts(name)
    adapter = adapters.get(adapter_id)
    if kind == "csv":
        content = spreadsheet.csv_lines(blind.VOTES_HEADER, blind.votes_table(adapter_id))
    else:
        content = spreadsheet.json_lines(asdict(one) for one in stored.list_of(adapter_id))
    return _file(content, f"votes-{files.slug(adapter.name)}-{adapter.id}.{kind}")


def prompts(name: str) -> Response:
    """The prompts of a set with the answers so far, `name` being its job's id and "csv" or "jsonl" behind a dot."""
    job_id, kind = _parts(name)
    job = prompt_sets.get(job_id)
    if kind == "csv":
        content = spreadsheet.csv_lines(prompt_sets.header(job), prompt_sets.table(job))
    else:
        content = spreadsheet.json_lines(asdict(one) for one in prompt_sets.every(job_id))
    return _file(content, f"prompts-{files.slug(job.name)}-{job.id}.{kind}")


def _parts(name: str) -> tuple[str, str]:
    id, _, kind = name.rpartition(".")
    if kind not in KINDS:
        raise StudioError(f"There is no file {name!r}.", "Ask for one that ends in .csv or .jsonl.")
    return id, kind


def _file(content: Iterator[str], name: str) -> Response:
    headers = {"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"}
    return StreamingResponse(content, media_type=KINDS[name.rpartition(".")[2]], headers=headers)
