"""Any file that holds examples, opened: its format, its columns, what each is for, and its rows as a stream."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from jobs.datasets.checks.problems import Problem
from jobs.datasets.columns import check_mapping, mapping_of
from jobs.datasets.formats.archives import gunzip, is_workbook, make_workspace, open_zip, parse_zip
from jobs.datasets.formats.columnar import parse_arrow, parse_parquet
from jobs.datasets.formats.delimited import names_columns, parse_delimited
from jobs.datasets.formats.encodings import detect
from jobs.datasets.formats.json_records import looks_like_json, parse_json
from jobs.datasets.formats.marked_text import find_marks, parse_marked
from jobs.datasets.formats.reading import NAMES, TextFile, check_file, head_of, kind_of, named
from jobs.datasets.formats.workbooks import parse_workbook
from jobs.datasets.records import MOST_ROWS, Item, LeftOut, Parsed, Progress, ReadOptions, Record
from storage.errors import StudioError

__all__ = ["ReadOptions", "Source", "open_source", "source_of"]

SAMPLE_ROWS = 200
_SAMPLE_BYTES = 64_000_000
_WORSE = ("rejected", "non_preferred_output")
_EMPTY = "Add a file with at least two examples."
_PAGE = re.compile(r"[\ufeff\s]*(?:<!doctype html|<html[\s>])", re.IGNORECASE)
_SUFFIXES = {
    "parquet": (".parquet", ".pq", ".parq"),
    "arrow": (".arrow", ".feather", ".ipc"),
    "arrow stream": (".arrow", ".feather", ".ipc"),
    "zip": (".zip", ".xlsx", ".xlsm"),
    "gzip": (".gz", ".gzip"),
}


@dataclass
class Source:
    """A source while it is read; see `records.Parsed`. `items` gives every row once, the sample's too.

    `certain` is False where the mapping was guessed, and where it is empty because it cannot be told: then `items`
    raises `why`.
    """

    format: str
    detected: dict[str, str]
    choices: dict[str, list[str]]
    columns: list[str]
    mapping: dict[str, str]
    certain: bool
    sample: list[Item]
    items: Iterator[Item]
    notes: list[Problem] = field(default_factory=list)
    why: StudioError | None = None
    progress: Progress = field(default_factory=Progress)

    @property
    def total_bytes(self) -> int:
        """How large the source is, 0 where that is not known."""
        return self.progress.total_bytes

    def done_bytes(self) -> int:
        """How much of it has been read."""
        return self.progress.done_bytes()


@contextmanager
def open_source(
    path: Path, name: str, options: ReadOptions | None = None, workspace: Path | None = None
) -> Iterator[Source]:
    """Open a file by what it holds, whatever its name says.

    What has to be unpacked is unpacked into `workspace`, and deleted at the end. Raises StudioError, also while
    the items are read.
    """
    options = options or ReadOptions()
    check_file(path, name)
    with ExitStack() as opened:
        parsed = _parse(path, name, options, opened, workspace)
        yield source_of(parsed, name, options)


def _parse(path: Path, name: str, options: ReadOptions, opened: ExitStack, workspace: Path | None) -> Parsed:
    """The rows of a file that may be an archive of others; `opened` closes what is opened for it."""
    kind = kind_of(path, name)
    if kind == "zip":
        archive = open_zip(path, name, opened)
        if not is_workbook(archive, name):
            if options.sheet is not None and options.member is None:
                raise StudioError(
                    f"{name} is an archive: choose a file in it before a sheet.", "Choose the file."
                )
            folder = make_workspace(opened, workspace)
            return _as_named(parse_zip(archive, name, options, opened, folder, _parse_one), kind, name)
    if options.member is not None:
        raise StudioError(
            f"{name} is no archive, so it holds no file “{options.member[:60]}”.", "Choose none."
        )
    if kind == "gzip":
        inner, shown = gunzip(path, name, make_workspace(opened, workspace))
        check_file(inner, shown)
        parsed = _parse_one(inner, shown, options, opened, inner.parent)
        parsed.detected = {**parsed.detected, "Archive": "gzip"}
        return parsed
    return _parse_one(path, name, options, opened, workspace)


def _parse_one(
    path: Path, name: str, options: ReadOptions, opened: ExitStack, workspace: Path | None
) -> Parsed:
    """The rows of a file that is no archive of others."""
    check_file(path, name)
    kind = kind_of(path, name)
    if kind == "gzip" and workspace is not None and path.parent == workspace and not name.endswith(".gz"):
        raise StudioError(
            f"{name} is an archive inside an archive.", "Unpack it and add the files in it one by one."
        )
    if kind == "zip":
        if not is_workbook(open_zip(path, name, opened), name):
            raise StudioError(f"{name} is an archive inside an archive.", "Unpack it and add that file.")
        return _as_named(parse_workbook(path, name, options, opened), kind, name)
    if options.sheet is not None:
        raise StudioError(
            f"{name} is no workbook, so it has no sheet “{options.sheet[:60]}”.", "Choose none."
        )
    if kind == "parquet":
        return _as_named(parse_parquet(path, name, opened), kind, name)
    if kind in ("arrow", "arrow stream"):
        return _as_named(parse_arrow(path, name, opened, stream=kind == "arrow stream"), kind, name)
    return _text(path, name, options, opened)


def _as_named(parsed: Parsed, kind: str, name: str) -> Parsed:
    """With a note where the name of a file says something else than its content; the content counts."""
    suffix = Path(name.split(" in ")[0]).suffix.lower()
    if suffix and suffix not in _SUFFIXES[kind]:
        parsed.notes.append(f"{named(name, NAMES[kind])}; it was read as what it is.")
    return parsed


def source_of(parsed: Parsed, name: str, options: ReadOptions) -> Source:
    """The source with the part that every column plays, after a look at its first rows."""
    sample: list[Item] = []
    for item in parsed.items:
        sample.append(item)
        if len(sample) >= SAMPLE_ROWS or parsed.progress.done_bytes() > _SAMPLE_BYTES:
            break
    records = [item for item in sample if isinstance(item, Record)]
    if not sample:
        raise StudioError(f"{name} holds no rows.", _EMPTY)
    if not records:
        reasons = (item for item in sample if isinstance(item, LeftOut))
        first = next(reasons)
        raise StudioError(
            f"No row in {name} can be read. Row {first.row}: {first.reason}.", "Correct the rows there."
        )
    columns = parsed.columns or _names(records)
    mapping: dict[str, str] = {}
    certain, why = True, None
    try:
        if options.mapping is not None:
            mapping = check_mapping(options.mapping, columns)
        else:
            mapping, guessed = mapping_of(columns, records, name, parsed.twice)
            certain = not guessed and not parsed.guessed
    except StudioError as error:
        if options.mapping is not None:
            raise
        certain, why = False, error
    if parsed.why is not None:
        certain, why = False, parsed.why
    items = _all(sample, parsed.items, why, name)
    notes = _notes(parsed, mapping, columns, certain or options.mapping is not None)
    return Source(
        parsed.format,
        parsed.detected,
        parsed.choices,
        columns,
        mapping,
        certain,
        sample,
        items,
        notes,
        why,
        parsed.progress,
    )


def _text(path: Path, name: str, options: ReadOptions, opened: ExitStack) -> Parsed:
    encoding = detect(path, name, options.encoding)
    head = head_of(path, encoding)
    if _PAGE.match(head):
        raise StudioError(
            f"{named(name, 'a web page (HTML)')}.",
            "Download the file itself, or open the page in a spreadsheet program and save it as XLSX or CSV.",
        )
    file = opened.enter_context(TextFile(path, encoding))
    if not head.strip("\ufeff \t\r\n") and not file.text.read(1 << 20).strip("\ufeff \t\r\n"):
        raise StudioError(f"{name} is empty.", _EMPTY)
    file = opened.enter_context(TextFile(path, encoding))
    suffix = Path(name).suffix.lower()
    if options.delimiter is None and looks_like_json(head, suffix):
        parsed = parse_json(file, head, encoding, name)
    elif options.delimiter is None and not names_columns(head) and (marks := find_marks(head, suffix)):
        parsed = parse_marked(file, marks, encoding, options)
    else:
        parsed = parse_delimited(file, head, encoding, name, options)
    if encoding.damage:
        parsed.notes.append(f"The file is not {encoding.shown} all through: {encoding.damage} does not fit.")
    return parsed


def _all(sample: list[Item], rest: Iterator[Item], why: StudioError | None, name: str) -> Iterator[Item]:
    if why is not None:
        raise why
    yield from sample
    for number, item in enumerate(rest, start=len(sample) + 1):
        if number > MOST_ROWS:
            raise StudioError(
                f"{name} has more than {MOST_ROWS:,} rows.",
                "Keep a part: some thousand good examples are plenty.",
            )
        yield item


def _names(records: list[Record]) -> list[str]:
    """The names of the fields, in order of appearance."""
    names: dict[str, None] = {}
    for record in records:
        if isinstance(record.value, dict):
            names.update(dict.fromkeys(record.value))
    return list(names)


def _notes(parsed: Parsed, mapping: dict[str, str], columns: list[str], certain: bool) -> list[Problem]:
    """What was decided about the file and its columns, so that a wrong guess is seen."""
    notes = [Problem("reading", "info", [], note, "Nothing to do if that is right.") for note in parsed.notes]
    if parsed.without_header:
        message = "The first row looks like an example, so it was read as one: there is no header."
        notes.append(
            Problem("no_header", "info", [], message, "If it is a header, say so in the mapping step.")
        )
    if not certain and "prompt" in mapping:
        asked, answered = mapping["prompt"][:60], mapping["response"][:60]
        message = f"Read “{asked}” as the prompt and “{answered}” as the answer."
        fix = "If that is wrong, choose the columns in the mapping step."
        notes.append(Problem("column_guess", "info", [], message, fix))
    unused = [column for column in columns if column not in mapping.values()]
    if mapping and any(column.casefold() in _WORSE for column in unused):
        message = "Of two answers only the chosen one is learned; the rejected one is not used."
        notes.append(Problem("chosen_only", "info", [], message, "Nothing to do if that is right."))
    if unused and mapping:
        listed = ", ".join(f"“{column[:60]}”" for column in unused[:10])
        more = f" and {len(unused) - 10} more" if len(unused) > 10 else ""
        message = f"Not used: {listed}{more}."
        notes.append(Problem("unused_columns", "info", [], message, "Nothing to do if that is right."))
    return notes
