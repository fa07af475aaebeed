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
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
from sqlalchemy import create_engine
from sqlalchemy.dialects.postgresql.psycopg import dialect as psycopg_dialect
from sqlalchemy.engine import make_url
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
        give(self.folder)
        options = ("--auth=trust", f"--username={USER}", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync")
        self._run("initdb", "-D", self._data, *options)
        self.configure(**self._settings)

    def start(self) -> None:
        self._run("pg_ctl", "-D", self._data, "-l", str(self.folder / "log"), "-w", "start")

    def kill(self) -> None:
        """kill -9 of all of it at once: as if its machine had lost power."""
        self.freeze()
        self._signal(signal.SIGKILL)

    def freeze(self) -> None:
        # The first one first: it starts nothing more meanwhile.
        os.kill(self._pid, signal.SIGSTOP)
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for process in [*children_of(self._pid), self._pid]:
            with suppress(ProcessLookupError):
                os.kill(process, number)

    @property
    def is_alive(self) -> bool:
        return (self.folder / "data/postmaster.pid").exists() and Path(f"/proc/{self._pid}").exists()

    def standby(self, folder: Path, *, port: int) -> PostgresServer:
        """A server of its own that follows this one, once it is started, and that commits wait for."""
        standby = PostgresServer(folder, port=port, durable=True)
        folder.mkdir(mode=0o755, parents=True)
        give(folder)
        source = ("-h", "127.0.0.1", "-p", str(self.port), "-U", USER)
        standby._run("pg_basebackup", "-D", standby._data, *source, "-R", "--checkpoint=fast", "--no-sync")
        standby.configure(port=str(port), synchronous_standby_names="")
        standby.start()
        self.configure(synchronous_standby_names="*")
        self.execute("select pg_reload_conf()")
        self._wait_for("select count(*) from pg_stat_replication where sync_state = 'sync'")
        return standby

    def promote(self) -> None:
        self._run("pg_ctl", "-D", self._data, "-w", "promote")

    def configure(self, **settings: str) -> None:
        """The last line for a setting counts."""
        text = "".join(f"{name} = '{value}'\n" for name, value in settings.items())
        with (self.folder / "data/postgresql.conf").open("a", encoding="utf-8") as file:
            file.write(text)

    def stop(self, mode: str = "immediate") -> None:
        """``immediate``: as a crash would."""
        self._run("pg_ctl", "-D", self._data, "-m", mode, "-w", "stop")

    def keep_until(self, pid: int) -> None:
        """Stop it and remove its folder once this process has ended."""
        keeper = ["setsid", "--fork", "sh", "-c", KEEPER, "keeper", str(pid), str(programs() / "pg_ctl")]
        subprocess.run(
            as_user([*keeper, str(self.folder)]),
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

    def _wait_for(self, query: str) -> None:
        until = time.monotonic() + START_SECONDS_MAX
        with psycopg.connect(f"host=127.0.0.1 port={self.port} user={USER} dbname={USER}", autocommit=True) as server:
            while not (row := server.execute(query.encode()).fetchone()) or not row[0]:
                if time.monotonic() > until:
                    raise RuntimeError(f"never true: {query}")
                time.sleep(0.02)

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
    def _pid(self) -> int:
        return int((self.folder / "data/postmaster.pid").read_text().split()[0])

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    def _run(self, program: str, *arguments: str) -> None:
        command = as_user([str(programs() / program), *arguments])
        done = subprocess.run(
            command, check=False, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            timeout=START_SECONDS_MAX,
        )  # fmt: skip
        if done.returncode:
            log = self.folder / "log"
            said = log.read_text(errors="replace")[-2_000:] if log.exists() else ""
            raise RuntimeError(f"{program} failed: {done.stderr.decode(errors='replace')}{said}")


def connected_to(url: str) -> psycopg.Connection[Any]:
    """A connection to the database that INSTALLER_DATABASE_URL names so, perhaps with several hosts."""
    parsed = make_url(url)
    return psycopg.connect(**psycopg_dialect().create_connect_args(parsed)[1])  # type: ignore[no-untyped-call]


def children_of(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(stat.read_text().rsplit(")", 1)[1].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


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
        give(path)
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


def give(path: Path) -> None:
    if os.geteuid() == 0:
        account = pwd.getpwnam(USER)
        os.chown(path, account.pw_uid, account.pw_gid)


def as_user(command: Sequence[str]) -> list[str]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return list(command)
    return ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups", "--", *command]
