"""Downloads that survive being killed: of a file by its address, of a wheel through the user's own pip."""

from __future__ import annotations

import http.client
import json
import ssl
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from storage import files
from storage.errors import StudioError

# report(words, done_bytes, total_bytes)
Report = Callable[[str, int | None, int | None], None]

CHUNK_BYTES = 1 << 20
TIMEOUT_SECONDS = 30
LOOK_UP_TIMEOUT_SECONDS = 120
PIP_TIMEOUT_SECONDS = 3600


class Unreachable(StudioError):
    """The place to fetch from did not answer; another may."""


class WheelSource(NamedTuple):
    """Where the package index has a wheel."""

    url: str
    sha256: str


def fetch(url: str, target: Path, sha256: str, report: Report, words: str) -> None:
    """Download one file to `target`, going on where an earlier try was cut off.

    Until it is complete and its SHA-256 is right, the bytes lie in a .part file beside the target.
    Raises Unreachable when the server does not answer, StudioError for wrong content or a full disk.
    """
    part = target.with_name(f"{target.name}.part")
    done = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    certificates = _certificates() if url.startswith("https:") else None
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS, context=certificates) as response:
            if response.status != http.HTTPStatus.PARTIAL_CONTENT:
                done = 0  # this server cannot go on in the middle
            length = response.headers["Content-Length"]
            total = done + int(length) if length else None
            _check_disk(int(length or 0))
            _append(response, part, done, total, report, words)
    except urllib.error.HTTPError as error:
        # The part is complete or belongs to something else; either way the checksum decides.
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise _unreachable(url, f"it answered {error.code}") from error
    except (OSError, http.client.HTTPException) as error:
        raise _unreachable(url, str(getattr(error, "reason", error))) from error
    report("Checking the download", None, None)
    if files.sha256_of(part) != sha256:
        part.unlink()
        raise StudioError(
            f"What arrived as {target.name} is not what was published (its checksum is wrong).",
            "Fetch it again; if that does not help, look for what changes downloads on your network.",
        )
    part.rename(target)


def find_wheel(requirement: str) -> WheelSource:
    """The address and SHA-256 of a wheel, from the index that the user's pip is set up for.

    Raises Unreachable when pip cannot tell.
    """
    # Without fast-deps pip would download the whole wheel only to read its metadata.
    reported = _pip(
        "install", "--dry-run", "--no-deps", "--ignore-installed", "--only-binary=:all:",
        "--use-feature=fast-deps", "--quiet", "--report=-", requirement,
        timeout_seconds=LOOK_UP_TIMEOUT_SECONDS,
    )  # fmt: skip
    try:
        found = json.loads(reported)["install"][0]["download_info"]
        return WheelSource(found["url"], found["archive_info"]["hashes"]["sha256"])
    except (ValueError, KeyError, IndexError) as error:
        raise Unreachable(
            f"pip does not say where {requirement} lies.", "Update pip, then try again."
        ) from error


def fetch_wheel_by_pip(requirement: str, folder: Path) -> Path:
    """Download a wheel as pip does it, for indexes that only pip can reach (passwords, keyrings)."""
    _pip(
        "download", "--no-deps", "--only-binary=:all:", "--quiet", f"--dest={folder}", requirement,
        timeout_seconds=PIP_TIMEOUT_SECONDS,
    )  # fmt: skip
    return next(folder.glob("*.whl"))


def _append(
    response: http.client.HTTPResponse, part: Path, done: int, total: int | None, report: Report, words: str
) -> None:
    with files.full_disk_as_error(total), open(part, "ab" if done else "wb") as file:
        report(words, done, total)
        while chunk := response.read(CHUNK_BYTES):
            file.write(chunk)
            done += len(chunk)
            report(words, done, total)
    if total is not None and done < total:
        raise http.client.IncompleteRead(b"", total - done)


def _check_disk(needed_bytes: int) -> None:
    if needed_bytes > files.free_bytes():
        raise files.full_disk(needed_bytes)


def _unreachable(url: str, why: str) -> Unreachable:
    return Unreachable(
        f"The download from {urllib.parse.urlsplit(url).hostname} did not work: {why}.",
        "Check the connection, then fetch it again: it goes on where it stopped.",
    )


def _certificates() -> ssl.SSLContext:
    """The system's certificates, and those that the user's pip is told to trust."""
    context = ssl.create_default_context()
    if extra := _pip_setting("global.cert"):
        context.load_verify_locations(extra)
    return context


def _pip_setting(name: str) -> str | None:
    answer = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", name], capture_output=True, text=True
    )
    return answer.stdout.strip() or None


def _pip(*arguments: str, timeout_seconds: int) -> str:
    """The output of pip with the user's own configuration (mirrors, proxies, certificates)."""
    command = [sys.executable, "-m", "pip", "--no-input", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_seconds)
    except subprocess.TimeoutExpired as error:
        raise Unreachable(
            "The package index did not answer.", "Check the connection, then try again."
        ) from error
    if done.returncode != 0:
        last = done.stderr.strip().rpartition("\n")[2] or "no reason given"
        raise Unreachable(
            f"pip cannot reach the package index: {last}",
            "Check the connection and pip's settings, then try again.",
        )
    return done.stdout
