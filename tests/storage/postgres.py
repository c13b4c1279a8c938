"""A PostgreSQL of the tests' own: a temporary cluster on a free port of 127.0.0.1, gone when the tests are."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy

PASSWORD = secrets.token_hex(8)
# Only the power may not fail: what is committed outlives even a killed server, in the system's cache.
SETTINGS = """
port = {port}
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
fsync = off
full_page_writes = off
shared_buffers = 16MB
"""
# Holds no test up and needs no test's goodwill: it reads until the tests close its input, or die.
WATCHER = 'read -r _; "$0/pg_ctl" stop -D "$1/data" -m immediate -s; rm -rf "$1"'


def programs() -> Path | None:
    """The folder of the newest server's programs; Debian keeps them off the PATH. None when there is none."""
    versions = Path("/usr/lib/postgresql").glob("*/bin")
    found = sorted(versions, key=lambda path: [int(part) for part in path.parent.name.split(".")])
    on_path = shutil.which("pg_ctl")
    folders = [*reversed(found), *([Path(on_path).resolve().parent] if on_path else [])]
    needed = ("initdb", "pg_ctl", "postgres")
    return next((folder for folder in folders if all((folder / name).exists() for name in needed)), None)


def missing() -> str | None:
    """Why no server can be started here, and what to install; None when one can."""
    if programs() is None:
        return "no PostgreSQL server is installed (Debian: apt-get install postgresql)"
    try:
        import psycopg  # noqa: F401
    except ImportError:
        return 'the driver is missing: pip install "psycopg[binary]"'
    return None


def empty(url: str) -> None:
    """Delete everything in the database of this URL."""
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    engine.dispose()


class Server:
    """A running server; `url` is its empty database, with the password in it."""

    def __init__(self, folder: Path, port: int, user: dict[str, Any]) -> None:
        self.folder = folder
        self.url = f"postgresql://tailor:{PASSWORD}@127.0.0.1:{port}/postgres"
        self._user = user

    def control(self, *arguments: str) -> None:
        """Run pg_ctl on this server: `start`, `stop` or `restart`, with its options."""
        log = self.folder / "log"
        ended = self.run("pg_ctl", *arguments, "-D", str(self.folder / "data"), "-l", str(log), "-w", "-s")
        if ended.returncode:
            raise RuntimeError(
                f"pg_ctl {arguments[0]}: {ended.stderr}{log.read_text() if log.exists() else ''}"
            )

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one of the server's programs; its words go to a file, since the server keeps them open."""
        with tempfile.TemporaryFile("w+") as words:
            command = [str(_folder() / program), *arguments]
            ended = subprocess.run(command, stdout=words, stderr=words, cwd=self.folder, **self._user)
            words.seek(0)
            return subprocess.CompletedProcess(command, ended.returncode, "", words.read())


@contextmanager
def running() -> Iterator[Server]:
    """A new server, stopped and deleted at the end, and also when this process is killed before."""
    user = _user()
    folder = Path(tempfile.mkdtemp(prefix="lora-tailor-postgres-"))
    if user:
        shutil.chown(folder, user["user"], user["group"])
    watcher = subprocess.Popen(
        ["sh", "-c", WATCHER, str(_folder()), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        start_new_session=True,  # what ends the tests with a signal to their group does not end it
        **user,
    )
    try:
        yield _started(folder, user)
    finally:
        assert watcher.stdin is not None
        watcher.stdin.close()
        watcher.wait(timeout=60)


def _started(folder: Path, user: dict[str, Any]) -> Server:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = Server(folder, port, user)
    (folder / "password").write_text(PASSWORD)
    options = ["--username=tailor", "--auth=scram-sha-256", f"--pwfile={folder / 'password'}"]
    made = server.run("initdb", *options, "--encoding=UTF8", "--locale=C", "--no-sync", str(folder / "data"))
    if made.returncode:
        raise RuntimeError(f"initdb: {made.stderr}")
    with open(folder / "data" / "postgresql.conf", "a") as file:
        file.write(SETTINGS.format(port=port))
    server.control("start")
    return server


def _folder() -> Path:
    folder = programs()
    assert folder is not None, missing()
    return folder


def _user() -> dict[str, Any]:
    """Whom the server runs as: PostgreSQL refuses to be root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            account = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    raise RuntimeError("the tests run as root and there is no user postgres or nobody")
