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
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from storage import config
from storage.errors import DiskFull, StudioError

# No vowels, so that no id spells a word; nothing that looks like something else; a letter first, so that
# no spreadsheet takes an id for a number.
_LETTERS = "bcdfghjkmnpqrstvwxyz"
_LETTERS_AND_DIGITS = _LETTERS + "23456789"

# The data folder's own folders; `backups` and `cache` come when they are needed.
FOLDERS = ("datasets", "models", "runs", "adapters", "logs", "locks", "trash", "tmp")

_FULL_DISK = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}
# How libraries that hide the number (safetensors, SQLite) say the same.
_FULL_DISK_WORDS = (
    "no space left on device",
    "os error 28)",
    "disk quota exceeded",
    "os error 122)",
    "database or disk is full",
)
_WINDOWS_DEVICES = {
    "con",
    "prn",
    "aux",
    "nul",
    *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10)),
}


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
        for name in FOLDERS:
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
    make_lasting(path.parent)
    temporary = path.with_name(f".{path.name[:100]}.{new_id()}.tmp")
    with full_disk_as_error(len(data)):
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with open(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            sync(path.parent)
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
                sync(Path(folder, name))
            sync(Path(folder))
        try:
            os.rename(temporary, final)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            raise FileExistsError(errno.EEXIST, "already published", str(final)) from error
        sync(final.parent)


@contextmanager
def full_disk_as_error(needed_bytes: int | None = None) -> Iterator[None]:
    """Turn every way of saying "disk full", the system's and the libraries', into DiskFull with the numbers."""
    try:
        yield
    except DiskFull:
        raise
    except Exception as error:
        if not is_full_disk(error):
            raise
        raise full_disk(needed_bytes) from error


def full_disk(needed_bytes: int | None = None) -> DiskFull:
    """The error for a full disk, with what was needed where that is known."""
    free = free_bytes()
    needs = "" if needed_bytes is None else f"needs {_size(needed_bytes)}, "
    return DiskFull(
        f"The disk is full: {needs}{_size(free, beside=needed_bytes)} free.",
        "Free some space, raise your disk quota, or start with another --data-dir.",
        needed_bytes,
        free,
    )


def is_full_disk(error: BaseException | None) -> bool:
    """Whether a full disk, or a used up quota, is the error or anything in its chain of causes."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, DiskFull) or (isinstance(error, OSError) and error.errno in _FULL_DISK):
            return True
        said = "" if isinstance(error, StudioError) else str(error).lower()
        if any(words in said for words in _FULL_DISK_WORDS):
            return True
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return False


def make_lasting(folder: Path) -> None:
    """Make a folder and those above it, whose names are on the disk before the return."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for one in missing:
        sync(one.parent)


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the lock `name` against every other process; the system frees it when the holder dies.

    Raises StudioError where the data folder may not be written.
    """
    try:
        with full_disk_as_error():
            file = open(lock_path(name), "a")  # noqa: SIM115  # closed below
    except OSError as error:
        raise StudioError(
            f"The data folder {root()} cannot be written: {error.strerror}.",
            "Check its permissions, or choose another folder with --data-dir.",
        ) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


# -- measuring -----------------------------------------------------------------------------------------------


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_bytes(path: Path) -> int:
    """The bytes of all files under a folder, without following links; what vanishes meanwhile is nothing."""
    return sum(status.st_size for _, status in under(path))


def under(path: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Every file and link under a folder with its status, except what vanishes before its turn."""
    for folder, _, names in os.walk(path):
        for name in names:
            with suppress(OSError):
                yield Path(folder, name), Path(folder, name).lstat()


def free_bytes() -> int:
    """The bytes that are free on the data folder's disk."""
    existing = next(folder for folder in (root(), *root().parents) if folder.exists())
    return shutil.disk_usage(existing).free


def _size(count: int, beside: int | None = None) -> str:
    """A number of bytes for people, in decimal units: in the unit of the number `beside` it, unless that hides it."""
    units = (("GB", 10**9), ("MB", 10**6), ("kB", 10**3))
    for unit, bytes_per_unit in units:
        same = beside is not None and beside >= bytes_per_unit and 20 * count >= bytes_per_unit
        if count >= bytes_per_unit or same:
            return f"{count / bytes_per_unit:.1f} {unit}"
    return f"{count} bytes"
