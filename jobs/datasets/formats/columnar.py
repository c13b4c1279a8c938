"""Parquet, Arrow and Feather as records, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.datasets.formats.reading import size_shown
from jobs.datasets.records import LONGEST_ROW, MOST_ROWS, Item, LeftOut, Parsed, Progress, Record, raw_of
from storage.errors import StudioError

if TYPE_CHECKING:
    import pyarrow

# What the rows of one group may take when they are unpacked, and what one step may hand over.
LARGEST_GROUP_BYTES = 2_000_000_000
_BATCH_ROWS = 1_000
_DAMAGED = "Write the file again, or save the examples as CSV or JSONL."
_IN_PARTS = "Keep a part of it: some thousand good examples are plenty."


def parse_parquet(path: Path, name: str, opened: ExitStack) -> Parsed:
    """The rows of a Parquet file. Raises StudioError when it is damaged, or far larger inside than outside."""
    from pyarrow import parquet

    with _in_words(name, "Parquet"):
        file = opened.enter_context(parquet.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20))
        told = file.metadata
        _check_rows(told.num_rows, name)
        groups = (told.row_group(number) for number in range(told.num_row_groups))
        largest = max((group.total_byte_size for group in groups), default=0)
        if largest > LARGEST_GROUP_BYTES:
            raise _too_large(name, largest)
        schema = file.schema_arrow
    columns = columns_of(schema, name)
    batches = file.iter_batches(batch_size=_BATCH_ROWS, columns=columns, use_threads=False)
    return _parsed(path, name, "Parquet", "parquet", schema, columns, batches, told.num_rows)


def parse_arrow(path: Path, name: str, opened: ExitStack, stream: bool) -> Parsed:
    """The rows of an Arrow file (Feather is one) or stream; raises as `parse_parquet`."""
    import pyarrow

    with _in_words(name, "Arrow"):
        source = opened.enter_context(pyarrow.memory_map(str(path)))
        options = pyarrow.ipc.IpcReadOptions(use_threads=False)
        if stream:
            reader = opened.enter_context(pyarrow.ipc.open_stream(source, options=options))
            batches = iter(reader)
        else:
            reader = opened.enter_context(pyarrow.ipc.open_file(source, options=options))
            batches = (reader.get_batch(number) for number in range(reader.num_record_batches))
    columns = columns_of(reader.schema, name)
    return _parsed(path, name, "Arrow", "arrow", reader.schema, columns, batches, 0)


def rows_of(batch: pyarrow.RecordBatch, columns: list[str]) -> Iterator[dict[str, Any]]:
    """The rows of a batch as plain values; what has no plain form becomes text, or stays bytes."""
    values = [_plain(batch.column(batch.schema.get_field_index(column))) for column in columns]
    for row in zip(*values, strict=True):
        yield dict(zip(columns, row, strict=True))


class Rows(Progress):
    """How many rows have been read, as a share of the file's bytes."""

    def __init__(self, total_bytes: int, total_rows: int) -> None:
        super().__init__(total_bytes)
        self.rows, self._total_rows = 0, total_rows

    def done_bytes(self) -> int:
        """An estimate: so many bytes as there are rows read."""
        return self.total_bytes * self.rows // self._total_rows if self._total_rows else 0


def _parsed(
    path: Path,
    name: str,
    shown: str,
    format: str,
    schema: pyarrow.Schema,
    columns: list[str],
    batches: Iterator[pyarrow.RecordBatch],
    rows: int,
) -> Parsed:
    progress = Rows(path.stat().st_size, rows)
    items = items_of(batches, columns, name, shown, progress)
    return Parsed(format, items, columns, {"Format": shown}, progress=progress)


def items_of(
    batches: Iterator[pyarrow.RecordBatch], columns: list[str], name: str, shown: str, progress: Rows
) -> Iterator[Item]:
    """The rows of all batches, numbered on. Raises StudioError when one is damaged or too large."""
    while True:
        with _in_words(name, shown):
            batch = next(batches, None)
            if batch is None:
                return
            if batch.get_total_buffer_size() > LARGEST_GROUP_BYTES:
                raise _too_large(name, batch.get_total_buffer_size())
            if shown == "Arrow":
                _check_places(batch)
        for start in range(0, batch.num_rows, _BATCH_ROWS):
            piece = batch.slice(start, _BATCH_ROWS)
            _check_rows(progress.rows + piece.num_rows, name)
            if piece.nbytes > LONGEST_ROW:
                pieces = [piece.slice(number, 1) for number in range(piece.num_rows)]
            else:
                pieces = [piece]
            for part in pieces:
                with _in_words(name, shown):
                    found = list(_records(part, columns, progress.rows))
                progress.rows += part.num_rows
                yield from found


def _records(piece: pyarrow.RecordBatch, columns: list[str], above: int) -> Iterator[Item]:
    """The rows of a small piece; one whose text is no text is left out, not the whole piece."""
    if piece.num_rows == 1 and piece.nbytes > LONGEST_ROW:
        reason = f"it has {size_shown(piece.nbytes)}, and a row may have {size_shown(LONGEST_ROW)} at most"
        yield LeftOut(above + 1, "too_large", reason)
        return
    try:
        for row, value in enumerate(rows_of(piece, columns), start=above + 1):
            yield Record(row, value)
    except UnicodeDecodeError as error:
        if piece.num_rows == 1:
            byte = f"0x{error.object[error.start]:02x}"
            reason = f"it has the byte {byte}, which fits no character"
            yield LeftOut(
                above + 1, "broken_character", reason, raw_of(str(error.object, "utf-8", "backslashreplace"))
            )
            return
        for number in range(piece.num_rows):
            yield from _records(piece.slice(number, 1), columns, above + number)


def _check_places(batch: pyarrow.RecordBatch) -> None:
    """Raises ArrowInvalid where a value would lie outside of its column: reading it would end the process.

    Arrow believes what a file says of places in it; Parquet's are made anew when it is unpacked.
    """
    import pyarrow

    as_bytes = {pyarrow.string(): pyarrow.binary(), pyarrow.large_string(): pyarrow.large_binary()}
    for column in batch.columns:
        # As bytes, since text that is no UTF-8 costs its row alone.
        column = column.view(as_bytes[column.type]) if column.type in as_bytes else column
        column.validate(full=True)


def _plain(column: pyarrow.Array) -> list[Any]:
    """A column's values as JSON knows them; missing numbers (NaN) are missing values."""
    import pyarrow
    from pyarrow import compute

    kind = column.type
    if isinstance(column, pyarrow.DictionaryArray):
        return _plain(column.dictionary_decode())
    if isinstance(column, pyarrow.ExtensionArray):
        return _plain(column.storage)
    if pyarrow.types.is_temporal(kind) or pyarrow.types.is_decimal(kind):
        try:
            return list(compute.cast(column, pyarrow.string()).to_pylist())
        except pyarrow.ArrowException:  # a day beyond the calendar
            return [None] * len(column)
    values: list[Any] = column.to_pylist()
    if pyarrow.types.is_floating(kind):
        return [None if value is not None and isnan(value) else value for value in values]
    return values


def columns_of(schema: pyarrow.Schema, name: str) -> list[str]:
    """The columns that hold data. Raises StudioError when there are none, or one comes twice."""
    try:
        columns = [column for column in schema.names if not column.startswith("__index_level_")]
    except UnicodeDecodeError as error:
        raise StudioError(f"{name} is damaged: the name of a column is no text.", _DAMAGED) from error
    if not columns:
        raise StudioError(
            f"{name} has no columns.", "Add a file with a column for the prompt and one for the answer."
        )
    if repeated := [column for column in columns if columns.count(column) > 1][:1]:
        raise StudioError(
            f"{name} has more than one column named “{repeated[0][:40]}”.", "Give every column its own name."
        )
    return columns


def _check_rows(rows: int, name: str) -> None:
    if rows > MOST_ROWS:
        raise StudioError(f"{name} has {rows:,} rows; at most {MOST_ROWS:,} can be read.", _IN_PARTS)


def _too_large(name: str, size_bytes: int) -> StudioError:
    return StudioError(
        f"{name} takes {size_shown(size_bytes)} in one piece when unpacked; at most"
        f" {size_shown(LARGEST_GROUP_BYTES)} can be read.",
        _IN_PARTS,
    )


@contextmanager
def _in_words(name: str, shown: str) -> Iterator[None]:
    """The library's errors as a sentence."""
    import pyarrow

    try:
        yield
    except MemoryError as error:
        raise StudioError(f"{name} takes more memory than there is when unpacked.", _IN_PARTS) from error
    except (pyarrow.ArrowException, OSError, ValueError, KeyError, IndexError) as error:
        what = "encrypted" if "encrypt" in str(error).casefold() else "damaged or cut off"
        raise StudioError(
            f"{name} is {'an' if shown == 'Arrow' else 'a'} {shown} file, but {what}.", _DAMAGED
        ) from error
