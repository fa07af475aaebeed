"""A PostgreSQL server of the tests' own, and of the benchmarks': Debian's programs, a cluster in a temporary folder, a
free port.

One server serves the whole run, with all its workers: whoever needs it first starts it, and its keeper stops it when
the run has ended, however that ends. Each test gets a database of its own, copied from one that has the tables.
Nothing waits for the disk, but for the tests of durability, which start a server of their own.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from uuid import uuid4

import psycopg
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from service.store.revisions import upgrade_to_newest
from tests.kit.ports import free_port

START_SECONDS_MAX = 60
USER = "postgres"
TEMPLATE = "with_tables"
# It may lose everything, so it waits for nothing.
HASTY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off"}
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "300",
    "shared_buffers": "64MB",
    "logging_collector": "off",
}
# Ends with the process that it watches over, also when that is killed.
KEEPER = 'tail --pid="$1" -f /dev/null; "$2" -D "$3/data" -m immediate -w stop; rm -rf "$3" "$3.lock"'


def programs() -> Path:
    """Where Debian keeps initdb, postgres and pg_ctl: the newest version that is installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    if not found:
        raise RuntimeError("PostgreSQL is missing: apt-get install postgresql")
    return found[-1].parent


class PostgresServer:
    """A cluster below a folder of its own. ``durable``: it keeps what it commits, as it does in production.
    ``settings``: more of the server's, by name."""

    def __init__(
        self, folder: Path, *, port: int, durable: bool = False, settings: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder
        self.port = port
        self._settings = {**SETTINGS, **({} if durable else HASTY), "port": str(port), **(settings or {})}

    def create(self) -> None:
        self.folder.mkdir(mode=0o755, parents=True)
        _give(self.folder)
        options = ("--auth=trust", f"--username={USER}", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync")
        self._run("initdb", "-D", self._data, *options)
        text = "".join(f"{name} = '{value}'\n" for name, value in self._settings.items())
        with (self.folder / "data/postgresql.conf").open("a", encoding="utf-8") as file:
            file.write(text)

    def start(self) -> None:
        self._run("pg_ctl", "-D", self._data, "-l", str(self.folder / "log"), "-w", "start")

    def stop(self, mode: str = "immediate") -> None:
        """``immediate``: as a crash would."""
        self._run("pg_ctl", "-D", self._data, "-m", mode, "-w", "stop")

    def keep_until(self, pid: int) -> None:
        """Stop it and remove its folder once this process has ended."""
        keeper = ["setsid", "--fork", "sh", "-c", KEEPER, "keeper", str(pid), str(programs() / "pg_ctl")]
        subprocess.run(
            _as_user([*keeper, str(self.folder)]),
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def remove(self) -> None:
        shutil.rmtree(self.folder)

    def url(self, database: str) -> str:
        """For INSTALLER_DATABASE_URL."""
        return f"postgresql+psycopg://{USER}@127.0.0.1:{self.port}/{database}"

    def execute(self, *statements: str) -> None:
        with psycopg.connect(f"host=127.0.0.1 port={self.port} user={USER} dbname={USER}", autocommit=True) as server:
            for statement in statements:
                server.execute(statement.encode())

    def create_template(self) -> None:
        """The database with the newest tables that others are copied from."""
        self.execute(f"create database {TEMPLATE}")
        _make_tables(self.url(TEMPLATE))

    @contextmanager
    def database(self, *, template: str = TEMPLATE) -> Iterator[str]:
        """A new database; its URL. ``template``: the database that it is a copy of."""
        name = f"test_{uuid4().hex}"
        self.execute(f"create database {name} template {template} strategy file_copy")
        try:
            yield self.url(name)
        finally:
            self.execute(f"drop database {name} with (force)")

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    def _run(self, program: str, *arguments: str) -> None:
        command = _as_user([str(programs() / program), *arguments])
        done = subprocess.run(
            command, check=False, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            timeout=START_SECONDS_MAX,
        )  # fmt: skip
        if done.returncode:
            log = self.folder / "log"
            said = log.read_text(errors="replace")[-2_000:] if log.exists() else ""
            raise RuntimeError(f"{program} failed: {done.stderr.decode(errors='replace')}{said}")


@cache
def shared_server() -> PostgresServer:
    """The server of this run of the tests, with its template; started by whoever asks first."""
    run = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    folder = _fast_folder() / f"resource-installer-tests-postgres-{run}"
    path = folder.with_suffix(".lock")
    with open(path, "a+", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.seek(0)
        port = lock.read()
        if port:
            return PostgresServer(folder, port=int(port))
        server = PostgresServer(folder, port=free_port())
        begun = time.monotonic()
        server.create()
        server.start()
        _give(path)
        server.keep_until(run)
        server.create_template()
        lock.write(str(server.port))
        lock.flush()
        print(f"PostgreSQL on port {server.port} in {time.monotonic() - begun:.1f} s")
        return server


def _fast_folder() -> Path:
    """In memory where the machine has such a folder: to copy a database is five times as fast there."""
    memory = Path("/dev/shm")
    return memory if os.access(memory, os.W_OK) else Path(tempfile.gettempdir())


def _make_tables(url: str) -> None:
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        upgrade_to_newest(connection)


def _give(path: Path) -> None:
    if os.geteuid() == 0:
        account = pwd.getpwnam(USER)
        os.chown(path, account.pw_uid, account.pw_gid)


def _as_user(command: Sequence[str]) -> list[str]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return list(command)
    return ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups", "--", *command]
