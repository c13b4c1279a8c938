"""All paths of the data folder, and the only ways to write, publish and delete there."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import math
import os
import re
import secrets
import shutil
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from storage import config
from storage.errors import StudioError

# No vowels, so that no id spells a word; nothing that looks like something else; a letter first, so that
# no spreadsheet takes an id for a number.
_LETTERS = "bcdfghjkmnpqrstvwxyz"
_LETTERS_AND_DIGITS = _LETTERS + "23456789"

_FULL_DISK = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}
_WINDOWS_DEVICES = {
    "con",
    "prn",
    "aux",
    "nul",
    *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10)),
}
_TEMPORARY_SECONDS = 24 * 3600
_TRASH_SECONDS = 7 * 24 * 3600


# -- paths ---------------------------------------------------------------------------------------------------


def root() -> Path:
    """The data folder."""
    return config.current().data_dir


def database_path() -> Path:
    """The SQLite file that is used when no other database was asked for."""
    return root() / "studio.db"


def dataset_folder(dataset_id: str) -> Path:
    """Where one dataset's rows and original file lie."""
    return _child("datasets", dataset_id)


def models_root() -> Path:
    """The folder with one folder for each base model."""
    return root() / "models"


def model_folder(model_slug: str) -> Path:
    """Where one base model lies, named by its `slug`."""
    return _child("models", model_slug)


def run_folder(job_id: str) -> Path:
    """Where everything that one job writes lies."""
    return _child("runs", job_id)


def attempt_folder(job_id: str, attempt: int) -> Path:
    """Where one attempt of a job writes; no two attempts share a file."""
    return run_folder(job_id) / f"attempt-{attempt}"


def adapter_folder(adapter_id: str) -> Path:
    """Where one finished adapter lies, in PEFT's layout."""
    return _child("adapters", adapter_id)


def log_path(name: str) -> Path:
    """The log file of one process of the studio."""
    return _child("logs", f"{name}.log")


def lock_path(name: str) -> Path:
    """The file whose lock stands for `name`."""
    return _child("locks", f"{name}.lock")


def temporary_folder() -> Path:
    """A new empty folder on the same disk, to fill before `publish_folder`."""
    folder = _child("tmp", new_id())
    folder.mkdir(parents=True)
    return folder


def make_folders() -> None:
    """Create the data folder, readable by its owner only, and the folders in it.

    Raises StudioError when that is not allowed there.
    """
    try:
        root().mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in ("datasets", "models", "runs", "adapters", "logs", "locks", "trash", "tmp"):
            (root() / name).mkdir(exist_ok=True)
    except OSError as error:
        raise StudioError(
            f"The data folder {root()} cannot be created: {error.strerror}.",
            "Choose a folder that you may write to with --data-dir.",
        ) from error


# -- names ---------------------------------------------------------------------------------------------------


def new_id() -> str:
    """A new random id of 8 characters (about 38 bits)."""
    return secrets.choice(_LETTERS) + "".join(secrets.choice(_LETTERS_AND_DIGITS) for _ in range(7))


def slug(text: str) -> str:
    """`text` as a file name that is safe everywhere; different hub ids give different names."""
    plain = unicodedata.normalize("NFKD", text.strip().replace("/", "--")).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", plain)[:100].strip("-.")
    if not name:
        return "unnamed"
    return f"{name}-" if name.split(".")[0].lower() in _WINDOWS_DEVICES else name


def safe_join(folder: Path, name: str) -> Path:
    """The path `name` inside `folder`.

    Raises StudioError for every name that leads to the folder itself or out of it, also through a link.
    """
    path = folder / name
    inside = folder.resolve()
    if "\0" not in name and path.resolve() != inside and path.resolve().is_relative_to(inside):
        return path
    raise StudioError(f"The name {name!r} leads out of its folder.", "Use a plain file name.")


def _child(folder: str, name: str) -> Path:
    """The path of `name` directly in one of the data folder's own folders."""
    if Path(name).name != name:
        raise StudioError(
            f"{name!r} is not a valid name in {folder}.", "Use the id or name that the studio shows."
        )
    return safe_join(root() / folder, name)


# -- writing -------------------------------------------------------------------------------------------------


def write_bytes(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Write a file so that, whatever happens, `path` holds either the old content or all of the new.

    `mode` is the file's permissions before the umask: 0o600 for secrets.
    Raises StudioError when the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name[:100]}.{new_id()}.tmp")
    with full_disk_as_error(len(data)):
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with open(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            _sync(path.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def write_text(path: Path, text: str, mode: int = 0o666) -> None:
    """Write UTF-8 text as `write_bytes` does."""
    write_bytes(path, text.encode("utf-8"), mode)


def write_json(path: Path, value: Any, mode: int = 0o666) -> None:
    """Write JSON as `write_bytes` does; NaN and infinities become null."""
    write_text(path, json.dumps(json_safe(value), indent=1) + "\n", mode)


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises StudioError when the file is damaged, FileNotFoundError when there is none.
    """
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise StudioError(
            f"The file {path} is damaged: {error}.", "Restore it from a copy, or delete it."
        ) from error


def json_safe(value: Any) -> Any:
    """`value` with None in place of NaN and infinities, which JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: json_safe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_safe(item) for item in value]
    return value


def publish_folder(temporary: Path, final: Path) -> None:
    """Give a filled folder its final name, in one step that survives a power cut.

    Raises FileExistsError when `final` already holds something, StudioError when the disk is full.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    with full_disk_as_error():
        for folder, _, names in os.walk(temporary):
            for name in names:
                _sync(Path(folder, name))
            _sync(Path(folder))
        try:
            os.rename(temporary, final)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            raise FileExistsError(errno.EEXIST, "already published", str(final)) from error
        _sync(final.parent)


@contextmanager
def full_disk_as_error(needed_bytes: int | None = None) -> Iterator[None]:
    """Turn the system's ways of saying "disk full" into a StudioError with the numbers."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL_DISK:
            raise
        raise full_disk(needed_bytes) from error


def full_disk(needed_bytes: int | None = None) -> StudioError:
    """The error for a full disk, with what was needed where that is known."""
    needs = "" if needed_bytes is None else f"needs {_size(needed_bytes)}, "
    return StudioError(
        f"The disk is full: {needs}{_size(free_bytes())} free.",
        "Free some space, raise your disk quota, or start with another --data-dir.",
    )


def _sync(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the lock `name` against every other process; the system frees it when the holder dies."""
    with open(lock_path(name), "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


# -- measuring and deleting ----------------------------------------------------------------------------------


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_bytes(path: Path) -> int:
    """The bytes of all files under a folder, without following links."""
    return sum(Path(folder, name).lstat().st_size for folder, _, names in os.walk(path) for name in names)


def free_bytes() -> int:
    """The bytes that are free on the data folder's disk."""
    existing = next(folder for folder in (root(), *root().parents) if folder.exists())
    return shutil.disk_usage(existing).free


def to_trash(path: Path) -> None:
    """Move a file or folder of the data folder to the trash; a link is moved, not what it points to.

    Does nothing when it is already gone. Raises StudioError for anything outside the data folder.
    """
    real = path.parent.resolve() / path.name
    if real == root().resolve() or not real.is_relative_to(root().resolve()):
        raise StudioError(f"{path} is not in the data folder.", "Delete it yourself if you are sure.")
    if not os.path.lexists(real):
        return
    target = root() / "trash" / f"{path.name}-{new_id()}"
    shutil.move(real, target)
    os.utime(target, follow_symlinks=False)  # its time in the trash starts now


def tidy() -> None:
    """Delete what has been in the trash for a week, and temporary folders that a crash left a day ago."""
    for name, seconds in (("trash", _TRASH_SECONDS), ("tmp", _TEMPORARY_SECONDS)):
        for entry in (root() / name).iterdir():
            with suppress(FileNotFoundError):  # another process tidies too
                if time.time() - entry.lstat().st_mtime < seconds:
                    continue
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                else:
                    entry.unlink()


def _size(count: int) -> str:
    """A number of bytes for people, in decimal units."""
    for unit, bytes_per_unit in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= bytes_per_unit:
            return f"{count / bytes_per_unit:.1f} {unit}"
    return f"{count} bytes"
