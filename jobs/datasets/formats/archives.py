"""ZIP and gzip archives: what is in them, checked before anything is unpacked, and unpacked by our own hand."""

from __future__ import annotations

import gzip
import lzma
import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from jobs.datasets.formats.reading import LARGEST_BYTES, named, size_shown
from jobs.datasets.records import Item, LeftOut, Parsed, Progress, ReadOptions, Record
from storage import files
from storage.errors import StudioError

MOST_FILES = 10_000
MOST_TIMES = 200  # how much larger a file may be inside than outside
_SMALL_BYTES = 50_000_000  # whatever its ratio, a file of this size does no harm
_LARGEST_DIRECTORY = 16_000_000
_CHUNK_BYTES = 1 << 20
_DATA = (
    ".csv",
    ".tsv",
    ".json",
    ".jsonl",
    ".ndjson",
    ".parquet",
    ".pq",
    ".arrow",
    ".feather",
    ".xlsx",
    ".xlsm",
)
_TEXT = (".txt", ".md", ".markdown")
_NOT_DATA = ("readme", "license", "licence", "dataset_info", "dataset_infos", "dataset_dict", "state")
_AGAIN = "Pack it again, or add the files in it one by one."
_UNPACK = "Unpack it and add the files in it one by one."

Parse = Callable[[Path, str, ReadOptions, ExitStack, Path], Parsed]


@dataclass(frozen=True)
class Member:
    """A file in an archive; `shown` is its name as it may be shown."""

    info: zipfile.ZipInfo
    shown: str


def open_zip(path: Path, name: str, opened: ExitStack) -> zipfile.ZipFile:
    """A ZIP archive whose every entry has been looked at. Raises StudioError, naming the entry that is wrong."""
    with _in_words(name):
        with open(path, "rb") as file:
            # The library reads the whole directory before it can be asked; this is its own look at the end.
            end = zipfile._EndRecData(file)  # type: ignore[attr-defined]
        if end is None:
            raise zipfile.BadZipFile
        entries, directory_bytes = end[4], end[5]
        if entries > MOST_FILES or directory_bytes > _LARGEST_DIRECTORY:
            raise StudioError(f"{name} holds {entries:,} files; at most {MOST_FILES:,} can be read.", _UNPACK)
        archive = opened.enter_context(zipfile.ZipFile(path))
    _check_entries(archive.infolist(), name)
    return archive


def is_workbook(archive: zipfile.ZipFile, name: str) -> bool:
    """Whether a ZIP is an Excel workbook. Raises StudioError for other documents that are ZIPs too."""
    names = set(archive.namelist())
    if "xl/workbook.xml" in names:
        return True
    as_table = "Save it as XLSX or CSV and add that file."
    other = {
        "word/document.xml": (
            "a Word document",
            "Copy its text and paste it, or save it as plain text (.txt).",
        ),
        "ppt/presentation.xml": ("a presentation", "Copy its text and paste it."),
        "xl/workbook.bin": ("a binary Excel workbook", as_table),
        "Index/Document.iwa": ("a Numbers or Pages document", "Export it as XLSX or CSV and add that file."),
        "content.xml": ("an OpenDocument file", as_table),
    }
    for part, (what, remedy) in other.items():
        if part in names and ("mimetype" in names or part != "content.xml"):
            raise StudioError(f"{named(name, what)}.", remedy)
    if "[Content_Types].xml" in names:
        raise StudioError(f"{name} is an office document without a workbook in it.", as_table)
    if any(PurePosixPath(one).name == "data.pkl" for one in names):
        raise StudioError(
            f"{name} is a PyTorch checkpoint (it holds data.pkl), not a set of examples.",
            "Add a file of examples.",
        )
    return False


def parse_zip(
    archive: zipfile.ZipFile,
    name: str,
    options: ReadOptions,
    opened: ExitStack,
    workspace: Path,
    parse: Parse,
) -> Parsed:
    """The rows of the chosen file, or of all files where they have the same columns, one after another."""
    members = _members(archive, name)
    by_name = {member.shown: member for member in members}
    if options.member is not None:
        if options.member not in by_name:
            raise StudioError(
                f"{name} holds no file “{_shown(options.member)}”.",
                f"Choose one of {_listed(list(by_name))}.",
            )
        chosen = [by_name[options.member]]
    else:
        chosen = _preferred(members)
    unpacked = [_unpack(archive, member, name, workspace) for member in chosen]
    first = parse(unpacked[0], _within(chosen[0], name), options, opened, workspace)
    why = None
    if len(chosen) > 1:
        columns = [
            _columns(path, _within(member, name), options, workspace, parse)
            for member, path in zip(chosen, unpacked, strict=True)
        ]
        if any(one != columns[0] for one in columns):
            other = next(number for number, one in enumerate(columns) if one != columns[0])
            why = StudioError(
                f"{name} holds files with different columns: {chosen[0].shown} has {_listed(sorted(columns[0]))},"
                f" {chosen[other].shown} has {_listed(sorted(columns[other]))}.",
                "Choose the file to use.",
            )
        else:
            rest = zip(chosen[1:], unpacked[1:], strict=True)
            parts = ((path, _within(member, name)) for member, path in rest)
            first.items = _one_after_another(first.items, parts, options, workspace, parse)
            first.progress = Progress()
    used = chosen[:1] if why else chosen
    first.detected = {**first.detected, "Archive": f"ZIP, {_listed([member.shown for member in used])}"}
    first.choices = {**first.choices, "member": list(by_name)} if len(by_name) > 1 else first.choices
    first.why = first.why or why
    return first


def gunzip(path: Path, name: str, workspace: Path) -> tuple[Path, str]:
    """The one file in a gzip archive, and its name. Raises StudioError when it is damaged or too large."""
    inner = name[:-3] if name.casefold().endswith(".gz") else name
    target = _free(workspace, inner)
    limit = min(LARGEST_BYTES, max(_SMALL_BYTES, MOST_TIMES * path.stat().st_size))
    with _in_words(name, "gzip"), gzip.open(path) as source:
        _copy(source, target, limit, name)
    return target, inner


def _check_entries(entries: list[zipfile.ZipInfo], name: str) -> None:
    """Raises StudioError for an entry that leads out, is no plain file, or would do harm when unpacked."""
    seen: dict[str, str] = {}
    starts: set[int] = set()
    total = 0
    for entry in entries:
        shown = _shown(entry.filename)
        path = PurePosixPath(entry.filename.replace("\\", "/"))
        kind = stat.S_IFMT(entry.external_attr >> 16)
        total += entry.file_size
        if path.is_absolute() or ".." in path.parts or (path.parts and ":" in path.parts[0]):
            raise StudioError(f"{name} holds “{shown}”, a path that leads out of the archive.", _AGAIN)
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise StudioError(
                f"{name} holds “{shown}”, a link to another file.", "Pack the file itself instead."
            )
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise StudioError(f"{name} holds “{shown}”, which is no plain file.", _AGAIN)
        if entry.flag_bits & 1:
            raise StudioError(
                f"“{shown}” in {name} is protected by a password.", "Pack it again without a password."
            )
        folded = str(path).casefold()
        if folded in seen and not entry.filename.endswith("/"):
            raise StudioError(
                f"{name} holds “{_shown(seen[folded])}” and “{shown}”, which differ in case only or not at all.",
                "Rename one of them and pack them again.",
            )
        seen[folded] = entry.filename
        if entry.file_size > _SMALL_BYTES and entry.file_size > MOST_TIMES * max(1, entry.compress_size):
            times = entry.file_size // max(1, entry.compress_size)
            raise StudioError(
                f"“{shown}” in {name} is {times:,} times as large inside ({size_shown(entry.file_size)}) as outside.",
                _UNPACK,
            )
        if entry.header_offset in starts:
            raise StudioError(f"“{shown}” in {name} shares its bytes with another file.", _AGAIN)
        starts.add(entry.header_offset)
    if total > LARGEST_BYTES:
        raise StudioError(
            f"{name} holds {size_shown(total)} when unpacked; at most {size_shown(LARGEST_BYTES)} can be read.",
            _UNPACK,
        )


def _members(archive: zipfile.ZipFile, name: str) -> list[Member]:
    """The files that may hold examples: none that systems and people put beside them."""
    found: list[Member] = []
    other: list[str] = []
    taken: set[str] = set()
    for entry in archive.infolist():
        path = PurePosixPath(entry.filename.replace("\\", "/"))
        hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
        if entry.filename.endswith("/") or hidden or path.name in ("Thumbs.db", "desktop.ini"):
            continue
        suffix = path.suffix.lower()
        suffix = PurePosixPath(path.stem).suffix.lower() if suffix == ".gz" else suffix
        if suffix not in (*_DATA, *_TEXT):
            other.append(_shown(entry.filename))
            continue
        shown = base = _shown(entry.filename)
        while shown in taken:
            shown = f"{base} ({len(taken) + 1})"
        taken.add(shown)
        found.append(Member(entry, shown))
    if not found:
        what = f"no data file, only {_listed(other)}" if other else "no file"
        nested = any(one.lower().endswith((".zip", ".7z", ".rar", ".tar", ".gz")) for one in other)
        raise StudioError(
            f"{name} holds {what}.",
            "Unpack the archive inside it and add that file."
            if nested
            else "Add an archive of CSV, JSON, JSONL, Parquet or XLSX files.",
        )
    return found


def _preferred(members: list[Member]) -> list[Member]:
    """What to read where nothing was chosen: no read-me files, and no plain text beside tables."""

    def stem(member: Member) -> str:
        return PurePosixPath(member.info.filename).name.split(".")[0].casefold()

    likely = [member for member in members if stem(member) not in _NOT_DATA] or members
    tables = [m for m in likely if PurePosixPath(m.info.filename).suffix.lower() not in _TEXT]
    return tables or likely


def _columns(path: Path, name: str, options: ReadOptions, workspace: Path, parse: Parse) -> frozenset[str]:
    """The columns of one file, from its first rows where no header names them."""
    with ExitStack() as opened:
        parsed = parse(path, name, options, opened, workspace)
        columns = set(parsed.columns)
        if not columns:
            for _, item in zip(range(50), parsed.items, strict=False):
                if isinstance(item, Record) and isinstance(item.value, dict):
                    columns.update(item.value)
        return frozenset(columns)


def _one_after_another(
    first: Iterator[Item],
    rest: Iterator[tuple[Path, str]],
    options: ReadOptions,
    workspace: Path,
    parse: Parse,
) -> Iterator[Item]:
    """The items of several files; their numbers go on from file to file."""
    above = 0
    for item in first:
        above = item.row
        yield item
    for path, name in rest:
        last = above
        with ExitStack() as opened:
            for item in parse(path, name, options, opened, workspace).items:
                last = above + item.row
                if isinstance(item, Record):
                    yield Record(last, item.value)
                else:
                    yield LeftOut(last, item.code, f"{item.reason} ({name})", item.raw)
        above = last


def _unpack(archive: zipfile.ZipFile, member: Member, name: str, workspace: Path) -> Path:
    """Write one file under a name of our own; what the archive says about its size has been checked."""
    target = _free(workspace, member.info.filename)
    with _in_words(f"“{member.shown}” in {name}"), archive.open(member.info) as source:
        _copy(source, target, member.info.file_size, name)
    return target


def _copy(source: object, target: Path, most_bytes: int, name: str) -> None:
    done = 0
    with files.full_disk_as_error(), open(target, "xb") as file:
        while chunk := source.read(_CHUNK_BYTES):  # type: ignore[attr-defined]
            done += len(chunk)
            if done > most_bytes:
                raise StudioError(
                    f"{name} is larger than {size_shown(most_bytes)} when unpacked, far more than it is packed.",
                    _UNPACK,
                )
            file.write(chunk)


def _free(workspace: Path, name: str) -> Path:
    suffixes = "".join(PurePosixPath(name.replace("\\", "/")).suffixes[-2:])
    suffix = (
        suffixes if suffixes.isascii() and suffixes.replace(".", "").isalnum() and len(suffixes) < 20 else ""
    )
    return workspace / f"{files.new_id()}{suffix}"


def _within(member: Member, name: str) -> str:
    return f"{member.shown} in {name}"


def _shown(name: str) -> str:
    """A name from an archive as it may be shown: no odd signs, and not endless."""
    plain = "".join(c if c.isprintable() else "?" for c in name.encode("utf-8", "replace").decode("utf-8"))
    return plain if len(plain) <= 80 else f"{plain[:40]}…{plain[-39:]}"


def _listed(names: list[str]) -> str:
    shown = ", ".join(f"“{name[:60]}”" for name in names[:5])
    return shown + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")


@contextmanager
def _in_words(name: str, what: str = "ZIP") -> Iterator[None]:
    try:
        yield
    except (
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        EOFError,
        OSError,
        ValueError,
        RuntimeError,
    ) as error:
        if files.is_full_disk(error):
            raise
        raise StudioError(
            f"{named(name, f'a {what} archive')}, and it is damaged or cut off.", _AGAIN
        ) from error
    except NotImplementedError as error:
        raise StudioError(f"{name} is packed in a way that is not known here.", _AGAIN) from error


def make_workspace(opened: ExitStack, within: Path | None) -> Path:
    """A new folder to unpack into, which goes when the source is closed."""
    if within is None:
        folder = files.temporary_folder()
    else:
        folder = within / f"unpacked-{files.new_id()}"
        folder.mkdir(parents=True)
    opened.callback(shutil.rmtree, folder, ignore_errors=True)
    return folder
