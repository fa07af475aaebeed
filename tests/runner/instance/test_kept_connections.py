"""A connection that outlives its job: the next job begins over it, and never notices one that is of no use."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from service.errors import LinkFailed
from service.events.event_types import Event, HostKeyAccepted
from service.runner.instance import kept_connections as kept_module
from service.runner.instance import ssh as ssh_module
from service.runner.instance.connector import Connector
from service.runner.instance.link import Link
from service.runner.instance.remote import Remote
from service.runner.instance.ssh import Connection
from service.runner.instance.targets import Instance
from tests.kit.service import until
from tests.kit.sshd import USER, Sshd

Make = Callable[..., Connector]


class Jobs:
    """Jobs one after the other: each looks at the instance, and leaves its connection as a job does."""

    def __init__(self, connector: Connector, sshd: Sshd) -> None:
        self._connector = connector
        self._sshd = sshd
        self.events: list[Event] = []

    async def run(self, **changes: Any) -> Connection:
        """The connection over which the job ended."""
        connections = []

        async def work(connection: Connection) -> None:
            connections.append(connection)
            await Remote(connection).look("")

        link = self.link(**changes)
        try:
            await link.use(work)
            link.leave()
        finally:
            await link.close()
        return connections[-1]

    def link(self, *, was_up: bool = False, **changes: Any) -> Link:
        where: dict[str, Any] = {"host": "127.0.0.1", "port": self._sshd.port, "user": USER} | changes
        return Link(
            self._connector,
            Instance(**where),
            was_up=was_up,
            connect_seconds=5.0,
            lost_seconds=30.0,
            append=self._append,
            redact=str,
            clock=time.monotonic,
        )

    @property
    def logins(self) -> int:
        return (self._sshd.folder / "sshd.log").read_text().count("Accepted publickey")

    async def _append(self, event: Event) -> None:
        self.events.append(event)


@pytest.fixture
async def jobs(sshd: Sshd, make_connector: Make) -> Any:
    connector = make_connector(sshd, kept_seconds=60.0)
    yield Jobs(connector, sshd)
    connector.close()


async def test_the_next_job_of_an_instance_needs_no_handshake(jobs: Jobs) -> None:
    first = await jobs.run()
    second = await jobs.run()
    third = await jobs.run(host_key_sha256=first.host_key and first.host_key.fingerprint)
    assert first is second is third
    assert jobs.logins == 1
    assert [type(event) for event in jobs.events] == [HostKeyAccepted]


async def test_one_that_has_ended_costs_a_job_nothing(jobs: Jobs, sshd: Sshd) -> None:
    first = await jobs.run()
    sshd.cut()
    assert await jobs.run() is not first
    assert jobs.logins == 2
    assert [type(event) for event in jobs.events] == [HostKeyAccepted]


async def test_one_that_died_unseen_is_found_out_soon_and_in_silence(
    jobs: Jobs, sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh_module, "RENEWED_KEEPALIVE_SECONDS", 0.2)
    first = await jobs.run()
    sshd.freeze()
    try:
        second = await asyncio.wait_for(jobs.run(), 20)
        assert second is not first
    finally:
        sshd.thaw()
    assert [type(event) for event in jobs.events] == [HostKeyAccepted]
    assert await jobs.run() is second


async def test_one_that_is_proven_is_watched_as_any_other(jobs: Jobs, sshd: Sshd) -> None:
    await jobs.run()
    link = jobs.link()
    connection = await link.use(_itself)
    seconds, count = connection._connection._keepalive_interval, connection._connection._keepalive_count_max
    await link.close()
    assert (seconds, count) == (15.0, 3)


async def test_a_link_that_was_up_is_never_said_to_be_back_over_one(jobs: Jobs) -> None:
    first = await jobs.run()
    assert await jobs.run(was_up=True) is not first
    assert jobs.logins == 2


async def test_another_login_never_gets_it(jobs: Jobs, sshd: Sshd) -> None:
    first = await jobs.run()
    with pytest.raises(LinkFailed, match="refused the user or the key"):
        await jobs.run(user="nobody-else")
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(str(sshd.key_path))
    (sshd.folder / "authorized_keys").write_bytes(key.export_public_key())
    assert await jobs.run() is not first
    assert jobs.logins == 2


async def test_a_job_that_wants_another_host_key_is_refused_as_ever(jobs: Jobs, sshd: Sshd) -> None:
    await jobs.run()
    with pytest.raises(LinkFailed, match="host_key_sha256 asks for"):
        await jobs.run(host_key_sha256="SHA256:" + "A" * 43)
    await until(lambda: _sessions_are(sshd, 0))


async def test_a_host_key_that_a_person_has_revoked_is_refused(jobs: Jobs, sshd: Sshd, tmp_path: Path) -> None:
    await jobs.run()
    known = tmp_path / "known_hosts"
    known.write_text("".join(f"@revoked {line}\n" for line in known.read_text().splitlines()))
    with pytest.raises(LinkFailed, match="revoked"):
        await jobs.run()


async def test_it_is_closed_when_its_time_is_over(sshd: Sshd, make_connector: Make) -> None:
    jobs = Jobs(make_connector(sshd, kept_seconds=0.3), sshd)
    await jobs.run()
    assert sshd.sessions()
    await until(lambda: _sessions_are(sshd, 0))


async def test_none_is_kept_where_the_setting_says_so(sshd: Sshd, make_connector: Make) -> None:
    jobs = Jobs(make_connector(sshd, kept_seconds=0), sshd)
    await jobs.run()
    await until(lambda: _sessions_are(sshd, 0))


async def test_a_service_that_stops_closes_them_and_keeps_no_more(sshd: Sshd, make_connector: Make) -> None:
    connector = make_connector(sshd, kept_seconds=60.0)
    jobs = Jobs(connector, sshd)
    link = jobs.link(host="localhost")
    await link.use(_itself)
    await jobs.run()
    connector.close()
    link.leave()
    await link.close()
    await until(lambda: _sessions_are(sshd, 0))


async def test_the_number_is_bounded(jobs: Jobs, sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_module, "KEPT_MAX", 1)
    first = await jobs.run()
    second = await jobs.run(host="localhost")
    assert await jobs.run(host="localhost") is second
    assert await jobs.run() is not first


async def test_one_that_is_still_used_or_was_of_no_use_is_not_kept(sshd: Sshd, make_connector: Make) -> None:
    connector = make_connector(sshd, kept_seconds=60.0)
    connection = await connector.connect(Instance(host="127.0.0.1", port=sshd.port, user=USER))
    assert not connector.keep(connection)
    await Remote(connection).look("")
    connection.prove()
    async with connection.open("sleep 60", b""):
        assert not connector.keep(connection)
    assert connector.keep(connection)
    connector.close()


async def _itself(connection: Connection) -> Connection:
    await Remote(connection).look("")
    return connection


def _sessions_are(sshd: Sshd, number: int) -> bool:
    return len(sshd.sessions()) == number
