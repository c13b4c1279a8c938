"""Where the model server of this data folder listens, and the secret that opens it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from jobs.executors import processes
from jobs.executors.base import Handle
from storage import files

FILE_NAME = "model-server.json"
TOKEN_HEADER = "X-Model-Server-Token"


@dataclass(frozen=True)
class Address:
    """A running model server."""

    process: Handle
    port: int
    token: str = field(repr=False)

    @property
    def url(self) -> str:
        """Where requests go; only this machine can reach it."""
        return f"http://127.0.0.1:{self.port}"


def write(address: Address) -> None:
    """Publish the address, readable by this user alone."""
    files.write_json(files.root() / FILE_NAME, asdict(address), mode=0o600)


def read() -> Address | None:
    """The address of the server that runs now, if one does."""
    try:
        values = files.read_json(files.root() / FILE_NAME)
    except FileNotFoundError:
        return None
    process = Handle(**values.pop("process"))
    return Address(process, **values) if processes.is_running(process) else None


def remove() -> None:
    """Take the address away, so that nobody calls a server that is about to end."""
    (files.root() / FILE_NAME).unlink(missing_ok=True)
