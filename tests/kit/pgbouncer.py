"""PgBouncer in transaction mode, with fewer connections to the server than its clients have."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import psycopg
from sqlalchemy.engine import make_url

from tests.kit.ports import free_port
from tests.kit.postgres import as_user, connected_to, give

PROGRAM = shutil.which("pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin")
START_SECONDS_MAX = 20
POOL_SIZE = 2

CONFIG = """
[databases]
{database} = host={host} port={port} dbname={database} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own_port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {pool_size}
logfile = {folder}/log
"""


class PgBouncer:
    """In front of the database of this URL. ``url``: its own; ``user``: as whom it goes to the server."""

    def __init__(self, folder: Path, url: str, *, user: str) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._user = user
        self.port = free_port()
        self.server = make_url(url)
        self.url = self.server.set(host="127.0.0.1", port=self.port, username=user).render_as_string(False)

    def start(self) -> None:
        if PROGRAM is None:
            raise RuntimeError("PgBouncer is missing: apt-get install pgbouncer")
        self._folder.mkdir(exist_ok=True)
        self._write_config()
        self._process = subprocess.Popen(
            as_user([PROGRAM, "-q", str(self._folder / "pgbouncer.ini")]),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        until = time.monotonic() + START_SECONDS_MAX
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError((self._folder / "log").read_text(errors="replace"))
            time.sleep(0.05)

    def _write_config(self) -> None:
        text = CONFIG.format(
            database=self.server.database, host=self.server.host, port=self.server.port, user=self._user,
            own_port=self.port, pool_size=POOL_SIZE, folder=self._folder,
        )  # fmt: skip
        (self._folder / "pgbouncer.ini").write_text(text, encoding="utf-8")
        for path in (self._folder, self._folder / "pgbouncer.ini"):
            give(path)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        try:
            connected_to(self.url).close()
        except psycopg.OperationalError:
            return False
        return True
