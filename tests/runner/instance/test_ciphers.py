"""Which cipher a connection gets: the cheapest that both sides know, and any that an instance insists on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import asyncssh
import pytest

from service.runner.instance.ciphers import ciphers
from service.runner.instance.connector import Connector
from service.runner.instance.ssh import Connection
from service.runner.instance.targets import Instance
from tests.kit.sshd import USER, Sshd

CHACHA20 = "chacha20-poly1305@openssh.com"
AES_GCM = "aes128-gcm@openssh.com"


class _Open(asyncssh.SSHServer):
    def begin_auth(self, _username: str) -> bool:
        return False


def cipher_of(connection: Connection) -> str:
    return str(connection._connection.get_extra_info("recv_cipher"))


@pytest.mark.parametrize(
    ("said", "first"),
    [
        ("flags : fpu sse2 aes avx2\n", AES_GCM),
        ("Features\t: fp asimd aes pmull\n", AES_GCM),
        ("flags : fpu sse2 vaes_not\nmodel name : aesthetic\n", CHACHA20),
        (None, AES_GCM),
    ],
)
def test_the_order_follows_the_processor(tmp_path: Path, said: str | None, first: str) -> None:
    path = tmp_path / "cpuinfo"
    if said is not None:
        path.write_text(said, encoding="utf-8")
    offered = ciphers(path)
    assert offered[0] == first
    assert {CHACHA20, AES_GCM} < set(offered)


async def test_an_instance_takes_the_first(connection: Connection) -> None:
    assert cipher_of(connection) == ciphers()[0]


@pytest.mark.parametrize("only", [CHACHA20, "aes256-gcm@openssh.com", "aes256-ctr"])
async def test_an_instance_that_insists_on_another(
    sshd: Sshd, make_connector: Callable[..., Connector], only: str
) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    async with await asyncssh.listen(
        "127.0.0.1", 0, server_factory=_Open, server_host_keys=[key], encryption_algs=[only]
    ) as listener:
        connection = await make_connector(sshd).connect(Instance(host="127.0.0.1", port=listener.get_port(), user=USER))
        assert cipher_of(connection) == only
        await connection.close()
