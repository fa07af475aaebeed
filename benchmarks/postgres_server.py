"""A PostgreSQL server for a measurement: on the disk, as durable as in production, with the server's own defaults."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.kit.ports import free_port
from tests.kit.postgres import PostgresServer

# The tests' servers have less.
DEFAULTS = {"shared_buffers": "128MB"}


@contextmanager
def postgres(folder: Path) -> Iterator[PostgresServer]:
    """Its databases are made with the tables in them. ``folder``: from ``scratch``."""
    # The server's own account must get to its folder.
    folder.chmod(0o755)
    server = PostgresServer(folder / "postgres", port=free_port(), durable=True, settings=DEFAULTS)
    server.create()
    server.start()
    # Also when this process is killed.
    server.keep_until(os.getpid())
    server.create_template()
    try:
        yield server
    finally:
        server.stop("fast")
