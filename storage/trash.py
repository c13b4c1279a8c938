"""What was deleted waits here for a week: `trash/<id>.<depth>/<path it had in the data folder>`.

The place of an item says where it came from (`depth` names of the path are the item's), so that one rename deletes
it, one brings it back, and a crash between any two steps loses nothing.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from storage import files
from storage.errors import StudioError

TRASH_SECONDS = 7 * 24 * 3600
TEMPORARY_SECONDS = 24 * 3600

_ENTRY = re.compile(r"[a-z0-9]+\.([1-9][0-9]*)")
_HALF = ".part"  # ends the name of what is being copied here, or being deleted for good


@dataclass(frozen=True)
class TrashItem:
    """One deleted file or folder; `origin` is the path that it had in the data folder."""

    name: str
    origin: Path
    size_bytes: int
    deleted_at: float


def to_trash(path: Path) -> None:
    """Move a file or folder of the data folder to the trash; a link is moved, not what it points to.

    Does nothing when it is already gone. Raises StudioError for anything outside the data folder, for the
    studio's own folders, and when the disk is full.
    """
    origin = _origin(path)
    source = files.root().resolve() / origin
    if not os.path.lexists(source):
        return
    for _ in range(3):  # whoever empties the trash may take the empty entry away under our hands
        with suppress(FileNotFoundError):
            return _take(source, origin)
        if not os.path.lexists(source):
            return
    raise StudioError(f"{path} cannot be deleted now.", "Try again in a moment.")


def items() -> list[TrashItem]:
    """What can be restored, the last deleted first."""
    found = []
    for entry in _entries():
        with suppress(FileNotFoundError):  # restored, or deleted for good, while we look
            item = _item(entry)
            if item is not None:
                size = (
                    item.lstat().st_size if item.is_symlink() or item.is_file() else files.folder_bytes(item)
                )
                deleted_at = entry.stat().st_mtime
                found.append(TrashItem(entry.name, item.relative_to(entry), size, deleted_at))
    return sorted(found, key=lambda item: item.deleted_at, reverse=True)


def restore(name: str) -> Path:
    """Bring an item back to where it was, and say where that is.

    Raises StudioError when it is no longer in the trash, and when something else has taken its place.
    """
    entry = files.safe_join(_folder(), name)
    item = _item(entry) if entry.parent == _folder() else None
    if item is None:
        raise StudioError(
            "This is no longer in the trash.", "It was restored already, or deleted for good after a week."
        )
    origin = item.relative_to(entry)
    place = files.root() / origin
    if place.parent.resolve() != files.root().resolve() / origin.parent:
        raise StudioError(
            f"The place of {origin} leads out of the data folder.", "Remove the link there first."
        )
    if os.path.lexists(place):
        raise StudioError(
            f"There is something else at {origin} now, so that it cannot be restored.",
            "Delete that first; it goes to the trash too.",
        )
    place.parent.mkdir(parents=True, exist_ok=True)
    _move(item, place)
    _drop(entry)
    return place


def empty() -> int:
    """Delete everything in the trash for good; returns the bytes that it took.

    Raises StudioError, after all the rest is deleted, for what the system does not let go.
    """
    freed = 0
    failure: OSError | None = None
    for entry in list(_folder().iterdir()):
        try:
            freed += _delete(entry)
        except OSError as error:
            failure = error
    if failure is not None:
        raise StudioError(
            f"{failure.filename} cannot be deleted: {failure.strerror}.", "Check its permissions."
        ) from failure
    return freed


def tidy() -> None:
    """Delete what has been in the trash for a week, and what crashes left half made a day ago or more."""
    for entry in _listed(files.root() / "trash"):
        if _is_half(entry) or _is_older(entry, TRASH_SECONDS):
            with suppress(OSError):  # what cannot be deleted must not keep the studio from starting
                _delete(entry)
    half_made = [entry for entry in _listed(files.root() / "backups") if entry.name.startswith(".")]
    for entry in (*_listed(files.root() / "tmp"), *half_made):
        if _is_older(entry, TEMPORARY_SECONDS):
            with suppress(OSError):
                _remove(entry)


def _listed(folder: Path) -> list[Path]:
    """What lies in a folder; nothing when it is a link, as somebody's own folder is not ours to tidy."""
    return [] if folder.is_symlink() or not folder.is_dir() else list(folder.iterdir())


def _take(source: Path, origin: Path) -> None:
    """Make an entry and move the item there; the folders are on the disk first, the item is always somewhere."""
    entry = _folder() / f"{files.new_id()}.{len(origin.parts)}"
    target = entry / origin
    try:
        with files.full_disk_as_error():
            target.parent.mkdir(parents=True)
            for folder in (*(entry / part for part in origin.parents), _folder()):
                files.sync(folder)
        _move(source, target)
    except BaseException:
        _drop(entry)
        raise


def _folder() -> Path:
    """The trash; never a link, which would make somebody's own folder one that is emptied."""
    folder = files.root() / "trash"
    if folder.is_symlink():
        raise StudioError(f"{folder} is a link.", "Replace it by a folder.")
    return folder


def _origin(path: Path) -> Path:
    """The path inside the data folder of something that may be deleted."""
    root = files.root().resolve()
    real = path.parent.resolve() / path.name
    if path.name in ("", "..") or real == root or not real.is_relative_to(root):
        raise StudioError(f"{path} is not in the data folder.", "Delete it yourself if you are sure.")
    origin = real.relative_to(root)
    if origin.parts[0] == "trash" or str(origin) in files.FOLDERS:
        raise StudioError(f"The studio needs {path}.", "Delete single things in it.")
    return origin


def _entries() -> Iterator[Path]:
    for entry in _folder().iterdir():
        if _ENTRY.fullmatch(entry.name) and not entry.is_symlink() and entry.is_dir():
            yield entry


def _item(entry: Path) -> Path | None:
    """The deleted thing in an entry; None when a crash came before it was moved there, or after it had left."""
    named = _ENTRY.fullmatch(entry.name)
    if named is None:
        return None
    item = entry
    for _ in range(int(named[1])):
        if item.is_symlink() or not item.is_dir():
            return None
        inside = [child for child in item.iterdir() if not _is_half(child)]
        if len(inside) != 1:
            return None
        item = inside[0]
    return item


def _move(source: Path, target: Path) -> None:
    """Rename; onto another disk, copy under a name of no meaning first, so that nothing is ever half there."""
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        copy = target.with_name(f".{files.new_id()}{_HALF}")
        try:
            with files.full_disk_as_error():
                if source.is_symlink() or source.is_file():
                    shutil.copy2(source, copy, follow_symlinks=False)
                else:
                    shutil.copytree(source, copy, symlinks=True)
                os.rename(copy, target)
        except BaseException:
            _remove(copy)
            raise
        _remove(source)
    files.sync(target.parent)
    with suppress(FileNotFoundError):
        files.sync(source.parent)


def _drop(entry: Path) -> None:
    """Take away the empty folders of an entry whose item has left; never anything that holds something."""
    for folder, _, _ in os.walk(entry, topdown=False):
        with suppress(OSError):
            os.rmdir(folder)


def _is_half(path: Path) -> bool:
    """Whether this is a copy that has not got its name yet, or something that is being deleted."""
    return path.name.startswith(".") and path.name.endswith(_HALF)


def _is_older(entry: Path, seconds: float) -> bool:
    with suppress(FileNotFoundError):
        return time.time() - entry.lstat().st_mtime >= seconds
    return False


def _delete(entry: Path) -> int:
    """Delete an entry of the trash for good; it leaves the list first, so that nothing half deleted is restored."""
    with suppress(FileNotFoundError):  # another process was faster
        if not _is_half(entry):
            entry = entry.rename(entry.with_name(f".{entry.name}{_HALF}"))
        size = entry.lstat().st_size if entry.is_symlink() or entry.is_file() else files.folder_bytes(entry)
        _remove(entry)
        return size
    return 0


def _remove(path: Path) -> None:
    """Delete a file, a link or a whole folder; what another process deletes meanwhile is deleted too."""
    with suppress(FileNotFoundError):
        if path.is_symlink() or not path.is_dir():
            path.unlink()
        else:
            shutil.rmtree(path, onerror=_unless_gone)


def _unless_gone(
    _function: object, _path: str, failure: tuple[type[BaseException], BaseException, object]
) -> None:
    if not isinstance(failure[1], FileNotFoundError):
        raise failure[1]
