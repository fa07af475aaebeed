"""The link to an instance that is not ready yet, or never is: tried again, said to the job, and bounded."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from service.errors import AuthenticationFailed, LinkDown, LinkFailed, NoShell
from service.events.causes import Cause
from service.events.event_types import Connecting, Event
from service.events.redaction import Redactor
from service.runner.instance import link as link_module
from service.runner.instance.connector import Connector
from service.runner.instance.link import KEY_RETRY_SECONDS, LOGIN_TRIES_MAX, Link
from service.runner.instance.remote import Found, Remote
from service.runner.instance.ssh import Connection
from service.runner.instance.targets import Instance
from tests.kit.ports import free_port, silent_port
from tests.kit.sshd import USER, Sshd

Make = Callable[..., Connector]


class Looking:
    """A link whose only work is a look at the instance, and the events that it appended."""

    def __init__(self, connector: Any, port: int, *, host: str = "127.0.0.1", **changes: Any) -> None:
        self.events: list[Event] = []
        settings: dict[str, Any] = {
            "was_up": False,
            "connect_seconds": 30.0,
            "lost_seconds": 60.0,
            "redact": Redactor(["sesame-secret"]),
            "append": self._append,
            "clock": time.monotonic,
        }
        self.link = Link(connector, Instance(host=host, port=port, user=USER), **(settings | changes))

    async def look(self) -> Found:
        try:
            return await self.link.use(lambda connection: Remote(connection).look(""))
        finally:
            await self.link.close()

    async def failure(self) -> LinkFailed:
        with pytest.raises(LinkFailed) as raised:
            await asyncio.wait_for(self.look(), 120)
        return raised.value

    @property
    def reasons(self) -> list[str]:
        return [event.reason for event in self.events if isinstance(event, Connecting)]

    async def _append(self, event: Event) -> None:
        self.events.append(event)


@asynccontextmanager
async def instance(folder: Path, **changes: Any) -> AsyncIterator[Sshd]:
    server = Sshd(folder, **changes)
    try:
        yield await server.start()
    finally:
        await server.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short pauses between tries."""
    monkeypatch.setattr(link_module, "KEY_RETRY_SECONDS", 0.5)
    monkeypatch.setattr(link_module, "LOGIN_RETRY_SECONDS", 0.1)
    monkeypatch.setattr(link_module, "RETRY_SECONDS_MAX", 0.5)


# --- an instance that is not ready yet ----------------------------------------------------------------------------


async def test_a_key_that_is_accepted_late(sshd: Sshd, make_connector: Make, quick: None) -> None:
    authorized = sshd.folder / "authorized_keys"
    key = authorized.read_bytes()
    authorized.write_bytes(b"")
    looking = Looking(make_connector(sshd), sshd.port)
    task = asyncio.create_task(looking.look())
    async with asyncio.timeout(30):
        while not looking.reasons:
            await asyncio.sleep(0.05)
    await asyncio.sleep(1.2)
    authorized.write_bytes(key)
    await asyncio.wait_for(task, 60)
    assert looking.reasons == ["key_refused"]
    said = looking.events[0]
    assert isinstance(said, Connecting)
    assert "INSTALLER_SSH_KEY" in said.text


async def test_a_key_that_is_never_accepted(sshd: Sshd, make_connector: Make, quick: None) -> None:
    (sshd.folder / "authorized_keys").write_bytes(b"")
    looking = Looking(make_connector(sshd), sshd.port, connect_seconds=2.0)
    failure = await looking.failure()
    assert failure.cause == Cause.SSH_AUTH
    assert looking.reasons == ["key_refused"]


async def test_a_refused_key_is_not_tried_more_often_than_every_ten_seconds() -> None:
    """OpenSSH 9.8 and later block a source that collects penalties faster than they pass."""
    clock = Clock()
    connector = Scripted(clock, [AuthenticationFailed("refused")])
    failure = await Looking(connector, 22, connect_seconds=120.0, clock=clock, sleep=clock.sleep).failure()
    pauses = [later - before for before, later in zip(connector.tries, connector.tries[1:], strict=False)]
    assert failure.cause == Cause.SSH_AUTH
    assert len(connector.tries) == 12
    assert min(pauses) >= KEY_RETRY_SECONDS >= 10


async def test_a_key_that_the_service_cannot_read_fails_at_once(
    sshd: Sshd, make_connector: Make, tmp_path: Path
) -> None:
    (tmp_path / "nonsense").write_text("this is no key\n")
    looking = Looking(make_connector(sshd, key_path=tmp_path / "nonsense"), sshd.port)
    failure = await looking.failure()
    assert (failure.cause, looking.events) == (Cause.SSH_AUTH, [])


async def test_why_it_waits_is_said_when_the_reason_changes(tmp_path: Path, make_connector: Make, quick: None) -> None:
    server = Sshd(tmp_path)
    authorized = tmp_path / "authorized_keys"
    key = authorized.read_bytes()
    authorized.write_bytes(b"")
    looking = Looking(make_connector(server), server.port)
    task = asyncio.create_task(looking.look())
    try:
        await asyncio.sleep(2)
        await server.start()
        async with asyncio.timeout(30):
            while looking.reasons[-1:] != ["key_refused"]:
                await asyncio.sleep(0.05)
        authorized.write_bytes(key)
        await asyncio.wait_for(task, 60)
    finally:
        await server.close()
    assert looking.reasons == ["refused", "key_refused"]


async def test_each_reason_has_its_word(sshd: Sshd, make_connector: Make, quick: None) -> None:
    connector = make_connector(sshd, connect_timeout_seconds=0.5)
    for host, port, reason in (
        ("127.0.0.1", free_port(), "refused"),
        ("127.0.0.1", silent_port(), "timeout"),
        ("no-such-host.invalid", 22, "name_unknown"),
    ):
        looking = Looking(connector, port, host=host, connect_seconds=1.0)
        failure = await looking.failure()
        assert (failure.cause, looking.reasons) == (Cause.SSH_UNREACHABLE, [reason])


async def test_what_is_said_is_bounded() -> None:
    clock = Clock()
    errors = [LinkDown("x" * 10_000, reason="refused"), LinkDown("y", reason="timeout")]
    looking = Looking(Scripted(clock, errors), 22, connect_seconds=3_600.0, clock=clock, sleep=clock.sleep)
    await looking.failure()
    assert 2 < len(looking.reasons) <= 20
    assert all(len(event.text) <= 500 for event in looking.events if isinstance(event, Connecting))


# --- a login that never runs the program --------------------------------------------------------------------------

LOGINS = {
    "a menu": ("echo 'Please select a pod:'; cat >/dev/null; sleep 900", "Please select a pod:"),
    "no account": (
        "echo 'This account is currently not available.'; exit 1",
        "This account is currently not available.",
    ),
    "a word on standard error": ("echo 'pod not found' >&2; exit 1", "pod not found"),
    "nothing": ("exit 0", "it printed nothing"),
    "silence": ("sleep 900", "it printed nothing"),
    "colours": (r"printf '\033[31mred\033[0m\r\nalert\007\n'; exit 3", '"red alert"'),
    "a secret": ("echo key=sesame-secret; exit 1", "key=[redacted]"),
    "a flood": ("yes 'no shell for you'", "no shell for you"),
    "a gateway that closes the connection": (
        "echo 'Error: your pod is stopped'; sleep 0.3; kill -9 $PPID",
        "Error: your pod is stopped",
    ),
    "a killed shell": ("echo over; kill -9 $$", "over"),
}


@pytest.mark.parametrize("name", LOGINS)
async def test_a_login_that_runs_no_program(tmp_path: Path, make_connector: Make, quick: None, name: str) -> None:
    command, printed = LOGINS[name]
    script = tmp_path / "menu"
    script.write_text(f"#!/bin/sh\n{command}\n")
    script.chmod(0o755)
    async with instance(tmp_path, force_command=str(script)) as server:
        looking = Looking(make_connector(server, login_timeout_seconds=1.0), server.port)
        failure = await looking.failure()
    assert failure.cause == Cause.NO_SHELL
    assert printed in str(failure)
    assert "sesame-secret" not in f"{failure}{looking.events}"
    assert str(failure).isprintable()
    assert len(str(failure)) <= 500
    assert looking.reasons == ["no_shell"]


@pytest.mark.parametrize("bashrc", ["exit", "exec tmux", "echo hello; exec false"])
async def test_a_bashrc_that_ends_the_login(tmp_path: Path, make_connector: Make, quick: None, bashrc: str) -> None:
    async with instance(tmp_path) as server:
        (server.home / ".bashrc").write_text(f"{bashrc}\n")
        looking = Looking(make_connector(server, login_timeout_seconds=2.0), server.port)
        failure = await looking.failure()
    assert failure.cause == Cause.NO_SHELL


async def test_a_login_that_works_after_a_while(tmp_path: Path, make_connector: Make, quick: None) -> None:
    """A rented pod answers before its container runs."""
    async with instance(tmp_path) as server:
        bashrc = server.home / ".bashrc"
        bashrc.write_text("[ -e ~/ready ] || { touch ~/ready; echo 'container is starting'; exit 1; }\n")
        looking = Looking(make_connector(server), server.port)
        await asyncio.wait_for(looking.look(), 60)
    assert looking.reasons == ["no_shell"]


async def test_what_a_login_prints_first_does_no_harm(tmp_path: Path, make_connector: Make) -> None:
    async with instance(tmp_path) as server:
        (server.home / ".bashrc").write_text("echo Welcome; seq 5000; echo oops >&2\n")
        looking = Looking(make_connector(server), server.port)
        assert (await looking.look()).job_ids == ()
    assert looking.reasons == []


async def test_a_source_that_openssh_blocks_for_a_while_is_tried_again(
    sshd: Sshd, make_connector: Make, quick: None
) -> None:
    """OpenSSH 9.8 and later answer so, before any handshake, while a penalty lasts."""
    refused = 0

    async def blocked(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal refused
        refused += 1
        writer.write(b"Not allowed at this time\r\n")
        writer.close()

    server = await asyncio.start_server(blocked, "127.0.0.1", 0)
    looking = Looking(make_connector(sshd), server.sockets[0].getsockname()[1], connect_seconds=2.0)
    failure = await looking.failure()
    server.close()
    assert failure.cause == Cause.SSH_UNREACHABLE
    assert refused > 2
    assert looking.reasons == ["broken"]


class _Mute(asyncssh.SSHServer):
    """Lets everybody in, and never answers after that."""

    def begin_auth(self, _username: str) -> bool:
        return False

    async def session_requested(self) -> Any:
        await asyncio.Event().wait()


async def test_an_sshd_that_lets_the_key_in_and_says_nothing(sshd: Sshd, make_connector: Make, quick: None) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    async with await asyncssh.listen("127.0.0.1", 0, server_factory=_Mute, server_host_keys=[key]) as listener:
        looking = Looking(make_connector(sshd, login_timeout_seconds=0.5), listener.get_port())
        failure = await looking.failure()
        assert failure.cause == Cause.NO_SHELL
        assert "says nothing" in str(failure)
        listener.close()


async def test_a_link_that_was_up_waits_for_a_login() -> None:
    """The install may still run there: only the time decides."""
    clock = Clock()
    connector = Scripted(clock, [NoShell("no processes left")])
    failure = await Looking(connector, 22, was_up=True, lost_seconds=300.0, clock=clock, sleep=clock.sleep).failure()
    assert failure.cause == Cause.INSTANCE_SILENT
    assert len(connector.tries) > LOGIN_TRIES_MAX
    assert "no processes left" in str(failure)


async def test_a_link_that_breaks_before_anything_ran_is_not_tried_for_ever() -> None:
    clock = Clock()
    looking = Looking(Scripted(clock, [LinkDown("reset")]), 22, connect_seconds=60.0, clock=clock, sleep=clock.sleep)
    failure = await looking.failure()
    assert failure.cause == Cause.SSH_UNREACHABLE
    assert clock.now < 200


# --- fakes --------------------------------------------------------------------------------------------------------


class Clock:
    """A time that only the link's own pauses move."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


class Scripted:
    """A connector that fails with one error after the other, again and again."""

    def __init__(self, clock: Clock, errors: Sequence[Exception]) -> None:
        self._clock = clock
        self._errors = errors
        self.tries: list[float] = []

    async def kept(self, _instance: Instance) -> None:
        return None

    async def connect(self, _instance: Instance) -> Connection:
        self.tries.append(self._clock.now)
        self._clock.now += 0.01
        raise self._errors[(len(self.tries) - 1) % len(self._errors)]
