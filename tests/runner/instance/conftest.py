from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from service.runner.instance.connector import Connector
from service.runner.instance.ssh import Connection
from service.runner.instance.targets import Instance
from tests.kit.sshd import USER, Sshd


@pytest.fixture
async def sshd(tmp_path: Path) -> AsyncIterator[Sshd]:
    server = Sshd(tmp_path)
    try:
        yield await server.start()
    finally:
        await server.close()


@pytest.fixture
def make_connector(tmp_path: Path) -> Callable[..., Connector]:
    def make(server: Sshd, **changes: Any) -> Connector:
        settings: dict[str, Any] = {
            "key_path": server.key_path,
            "known_hosts_path": tmp_path / "known_hosts",
            "host_key_policy": "accept-new",
            "private_targets": True,
            "ssh_targets": (),
        }
        return Connector(**(settings | changes))

    return make


@pytest.fixture
async def connection(sshd: Sshd, make_connector: Callable[..., Connector]) -> AsyncIterator[Connection]:
    connection = await make_connector(sshd).connect(Instance(host="127.0.0.1", port=sshd.port, user=USER))
    yield connection
    await connection.close()
