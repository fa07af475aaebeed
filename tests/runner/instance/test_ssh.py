"""The SSH connection over a real sshd: host keys, refusals, links that break or fall silent, and its bounds."""

from __future__ import annotations

import asyncio
import inspect
import socket
import stat
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from service.errors import AuthenticationFailed, HostKeyChanged, LinkDown, RemoteError, TargetRefused
from service.runner.instance.connector import Connector
from service.runner.instance.host_keys import HostKey
from service.runner.instance.ssh import ANSWER_BYTES_MAX, SESSIONS_MAX, Connection, mapped
from service.runner.instance.stream import BUFFER_BYTES_MAX, STDERR_BYTES_MAX
from service.runner.instance.targets import Instance
from tests.kit.ports import free_port
from tests.kit.sshd import USER, Sshd

Make = Callable[..., Connector]
WINDOW_BYTES = 2 << 20  # what asyncssh lets the other side send ahead
OTHER_FINGERPRINT = "SHA256:" + "A" * 43


def at(port: int, **changes: Any) -> Instance:
    return replace(Instance(host="127.0.0.1", port=port, user=USER), **changes)


async def shown_key(connector: Connector, instance: Instance) -> HostKey:
    connection = await connector.connect(instance)
    assert (await connection.run("echo hello", b"")).stdout == b"hello\n"
    await connection.close()
    assert connection.host_key is not None
    return connection.host_key


async def replace_host_key(sshd: Sshd, algorithm: str = "ssh-ed25519") -> None:
    await sshd.stop()
    path = sshd.folder / "host_key"
    path.unlink()
    asyncssh.generate_private_key(algorithm).write_private_key(str(path))
    path.chmod(0o600)
    await sshd.start()


@asynccontextmanager
async def tcp_server(
    handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any], port: int = 0
) -> AsyncIterator[int]:
    """Something that listens and is no sshd."""

    async def handled(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handle(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(handled, "127.0.0.1", port)
    yield server.sockets[0].getsockname()[1]
    server.close()


# --- host keys ---------------------------------------------------------------------------------------------------


async def test_the_first_key_is_accepted_and_remembered(sshd: Sshd, make_connector: Make, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "known_hosts"
    first = await shown_key(make_connector(sshd, known_hosts_path=path), at(sshd.port))
    assert (first.fingerprint, first.algorithm, first.is_new) == (sshd.fingerprint, "ssh-ed25519", True)
    assert path.read_text().startswith(f"[127.0.0.1]:{sshd.port} ssh-ed25519 ")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = await shown_key(make_connector(sshd, known_hosts_path=path), at(sshd.port))
    assert again.is_new is False
    assert len(path.read_text().splitlines()) == 1


async def test_a_changed_key_is_refused_and_not_remembered(sshd: Sshd, make_connector: Make, tmp_path: Path) -> None:
    connector = make_connector(sshd)
    await shown_key(connector, at(sshd.port))
    before, kept = sshd.fingerprint, (tmp_path / "known_hosts").read_bytes()
    await replace_host_key(sshd)
    with pytest.raises(HostKeyChanged) as raised:
        await connector.connect(at(sshd.port))
    assert raised.value.fingerprint == sshd.fingerprint
    for part in (before, sshd.fingerprint, f"{USER}@127.0.0.1:{sshd.port}", "host_key_sha256"):
        assert part in str(raised.value)
    assert (tmp_path / "known_hosts").read_bytes() == kept


@pytest.mark.parametrize("algorithm", ["ecdsa-sha2-nistp256", "ssh-rsa"])
async def test_a_key_of_another_kind_is_a_changed_key(sshd: Sshd, make_connector: Make, algorithm: str) -> None:
    connector = make_connector(sshd)
    await shown_key(connector, at(sshd.port))
    await replace_host_key(sshd, algorithm)
    with pytest.raises(HostKeyChanged) as raised:
        await connector.connect(at(sshd.port))
    assert raised.value.fingerprint == sshd.fingerprint


class SeveralKeys(Sshd):
    """An instance that has a second host key, of another kind."""

    def _config(self) -> str:
        return f"{super()._config()}HostKey {self.folder / 'other_host_key'}\n"


async def test_the_kind_of_key_that_is_known_is_asked_for(make_connector: Make, tmp_path: Path) -> None:
    sshd = SeveralKeys(tmp_path / "several")
    other = asyncssh.generate_private_key("ecdsa-sha2-nistp256")
    other.write_private_key(str(sshd.folder / "other_host_key"))
    (sshd.folder / "other_host_key").chmod(0o600)
    await sshd.start()
    public = other.export_public_key().decode()
    (tmp_path / "known_hosts").write_text(f"[127.0.0.1]:{sshd.port} {public}")
    for instance in (at(sshd.port), at(sshd.port, host_key_sha256=other.get_fingerprint())):
        key = await shown_key(make_connector(sshd, host_key_policy="strict"), instance)
        assert (key.fingerprint, key.algorithm) == (other.get_fingerprint(), "ecdsa-sha2-nistp256")
        assert key.is_new is False
    await sshd.close()


async def test_strict_knows_only_what_the_file_says(sshd: Sshd, make_connector: Make, tmp_path: Path) -> None:
    strict = make_connector(sshd, host_key_policy="strict")
    with pytest.raises(HostKeyChanged, match="INSTALLER_KNOWN_HOSTS") as raised:
        await strict.connect(at(sshd.port))
    assert raised.value.fingerprint == sshd.fingerprint
    assert not (tmp_path / "known_hosts").exists()
    await shown_key(make_connector(sshd), at(sshd.port))
    key = await shown_key(strict, at(sshd.port))
    assert key.is_new is False


async def test_off_takes_any_key_and_remembers_none(sshd: Sshd, make_connector: Make, tmp_path: Path) -> None:
    await shown_key(make_connector(sshd), at(sshd.port))
    kept = (tmp_path / "known_hosts").read_bytes()
    await replace_host_key(sshd)
    key = await shown_key(make_connector(sshd, host_key_policy="off"), at(sshd.port))
    assert (key.fingerprint, key.algorithm, key.is_new) == (sshd.fingerprint, "ssh-ed25519", False)
    assert (tmp_path / "known_hosts").read_bytes() == kept


async def test_a_key_is_known_for_one_port(sshd: Sshd, make_connector: Make, tmp_path: Path) -> None:
    """Rented instances share an address and differ by their port."""
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    (tmp_path / "known_hosts").write_text(f"127.0.0.1 {other}[127.0.0.1]:1 {other}")
    key = await shown_key(make_connector(sshd), at(sshd.port))
    assert key.is_new is True
    assert len((tmp_path / "known_hosts").read_text().splitlines()) == 3


@pytest.mark.parametrize("policy", ["strict", "accept-new", "off"])
async def test_a_pinned_key_in_any_usual_spelling(sshd: Sshd, make_connector: Make, policy: str) -> None:
    bare = sshd.fingerprint.removeprefix("SHA256:")
    connector = make_connector(sshd, host_key_policy=policy)
    for pin in (f"SHA256:{bare}", bare, f"{bare}=", f"SHA256:{bare}="):
        key = await shown_key(connector, at(sshd.port, host_key_sha256=pin))
        assert key.fingerprint == sshd.fingerprint
    with pytest.raises(HostKeyChanged) as raised:
        await connector.connect(at(sshd.port, host_key_sha256=OTHER_FINGERPRINT))
    assert OTHER_FINGERPRINT in str(raised.value)
    assert raised.value.fingerprint == sshd.fingerprint


async def test_a_pinned_key_takes_the_place_of_the_known_one(sshd: Sshd, make_connector: Make, tmp_path: Path) -> None:
    connector = make_connector(sshd)
    await shown_key(connector, at(sshd.port))
    old = (sshd.folder / "host_key").read_bytes()
    path = tmp_path / "known_hosts"
    path.write_text(f"gpu.example,{path.read_text()}")
    await replace_host_key(sshd)
    key = await shown_key(connector, at(sshd.port, host_key_sha256=sshd.fingerprint))
    assert key.is_new is True
    assert [line.split()[0] for line in path.read_text().splitlines()] == ["gpu.example", f"[127.0.0.1]:{sshd.port}"]
    await shown_key(connector, at(sshd.port))
    await sshd.stop()
    (sshd.folder / "host_key").write_bytes(old)
    await sshd.start()
    with pytest.raises(HostKeyChanged):
        await connector.connect(at(sshd.port))


@pytest.mark.parametrize("policy", ["strict", "accept-new"])
async def test_a_revoked_key_is_not_accepted(sshd: Sshd, make_connector: Make, tmp_path: Path, policy: str) -> None:
    public = asyncssh.read_private_key(str(sshd.folder / "host_key")).export_public_key().decode()
    name = f"[127.0.0.1]:{sshd.port}"
    (tmp_path / "known_hosts").write_text(f"@revoked {name} {public}{name} {public}")
    with pytest.raises(HostKeyChanged, match="revoked"):
        await make_connector(sshd, host_key_policy=policy).connect(at(sshd.port))


async def test_a_pinned_key_of_any_kind_is_found(make_connector: Make, tmp_path: Path) -> None:
    sshd = SeveralKeys(tmp_path / "several")
    other = asyncssh.generate_private_key("ecdsa-sha2-nistp256")
    other.write_private_key(str(sshd.folder / "other_host_key"))
    (sshd.folder / "other_host_key").chmod(0o600)
    await sshd.start()
    for pin in (other.get_fingerprint(), sshd.fingerprint):
        assert (await shown_key(make_connector(sshd), at(sshd.port, host_key_sha256=pin))).fingerprint == pin
    with pytest.raises(HostKeyChanged) as raised:
        await make_connector(sshd).connect(at(sshd.port, host_key_sha256=OTHER_FINGERPRINT))
    assert raised.value.fingerprint == sshd.fingerprint
    await sshd.close()


async def test_broken_lines_are_left_where_they_are(sshd: Sshd, make_connector: Make, tmp_path: Path) -> None:
    broken = b"nonsense\n\xff\xfe\n@what x ssh-ed25519 AAAA\n[127.0.0.1]:1 ssh-ed25519 !!\n"
    (tmp_path / "known_hosts").write_bytes(broken)
    assert (await shown_key(make_connector(sshd), at(sshd.port))).is_new
    assert not (await shown_key(make_connector(sshd), at(sshd.port))).is_new
    assert (tmp_path / "known_hosts").read_bytes().startswith(broken)


async def test_a_file_of_known_keys_that_cannot_be_used_is_named(
    sshd: Sshd, make_connector: Make, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file" / "known_hosts", tmp_path / "folder"):
        with pytest.raises(RemoteError, match="INSTALLER_KNOWN_HOSTS"):
            await make_connector(sshd, known_hosts_path=path).connect(at(sshd.port))
    # A key that cannot be remembered is not used either: the connection is gone.
    async with asyncio.timeout(60):
        while sshd.sessions():
            await asyncio.sleep(0.05)


# --- who and where ------------------------------------------------------------------------------------------------


async def test_a_key_or_a_user_that_is_not_let_in(sshd: Sshd, make_connector: Make, tmp_path: Path) -> None:
    stranger = tmp_path / "stranger"
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(str(stranger))
    locked = tmp_path / "locked"
    asyncssh.generate_private_key("ssh-rsa").write_private_key(str(locked), "pkcs8-pem", passphrase="secret")
    nonsense = tmp_path / "nonsense"
    nonsense.write_text("this is no key\n")
    for key_path in (stranger, locked, nonsense):
        with pytest.raises(AuthenticationFailed, match="INSTALLER_SSH_KEY"):
            await make_connector(sshd, key_path=key_path).connect(at(sshd.port))
    with pytest.raises(AuthenticationFailed, match="nobody-here@127"):
        await make_connector(sshd).connect(at(sshd.port, user="nobody-here"))


async def test_a_target_is_refused_before_anything_is_sent(sshd: Sshd, make_connector: Make) -> None:
    connected: list[int] = []

    async def count(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        connected.append(1)

    async with tcp_server(count) as port:
        for host in ("127.0.0.1", "localhost"):
            with pytest.raises(TargetRefused, match="INSTALLER_SSH_TARGETS"):
                await make_connector(sshd, private_targets=False).connect(at(port, host=host))
    assert connected == []
    listed = make_connector(sshd, private_targets=False, ssh_targets=(f"127.0.0.1:{sshd.port}",))
    await shown_key(listed, at(sshd.port))


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 64 + ".example", "a..b"])
async def test_a_name_that_stands_for_nothing(sshd: Sshd, make_connector: Make, host: str) -> None:
    with pytest.raises(LinkDown, match="the name cannot be resolved"):
        await make_connector(sshd).connect(at(22, host=host))


async def test_nobody_listens(sshd: Sshd, make_connector: Make) -> None:
    with pytest.raises(LinkDown, match="Connection refused"):
        await make_connector(sshd).connect(at(free_port()))


async def test_who_listens_is_no_sshd(sshd: Sshd, make_connector: Make) -> None:
    async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def rude(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        return None

    async def web(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" + b"x" * 10_000)

    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-half\r\n" + b"\0\0\0\x0c\x0a\x14" + b"z" * 50)
        await reader.read()

    connector = make_connector(sshd, connect_timeout_seconds=0.5)
    for handle in (silent, rude, web, half):
        begin = time.monotonic()
        async with tcp_server(handle) as port:
            with pytest.raises(LinkDown, match=f"127.0.0.1:{port}"):
                await connector.connect(at(port))
        # Without the limit of its own it would be the connector's usual 20 seconds.
        assert time.monotonic() - begin < 15, handle.__name__


async def test_one_handshake_at_a_time_with_a_host(sshd: Sshd, make_connector: Make) -> None:
    now: dict[int, int] = {}
    most: dict[int, int] = {}
    both = asyncio.Event()

    async def hold(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = writer.get_extra_info("sockname")[1]
        now[port] = now.get(port, 0) + 1
        most[port] = max(most.get(port, 0), now[port])
        most[0] = max(most.get(0, 0), sum(now.values()))
        if len(now) == 2:
            both.set()
        # The first one of each waits for the other: different hosts go on at once.
        await both.wait()
        await asyncio.sleep(0.1)
        now[port] -= 1

    connector = make_connector(sshd)
    async with tcp_server(hold) as one, tcp_server(hold) as two:
        tries = [connector.connect(at(port)) for port in (one, two) for _ in range(4)]
        results = await asyncio.gather(*tries, return_exceptions=True)
    assert [type(result) for result in results] == [LinkDown] * 8
    assert most == {one: 1, two: 1, 0: 2}


async def test_a_cancelled_try_ends_at_every_step(sshd: Sshd, make_connector: Make) -> None:
    """A cancellation that is swallowed would keep a service from stopping."""
    for instance in (at(free_port()), at(sshd.port)):
        for steps in range(60):
            trying = asyncio.create_task(make_connector(sshd).connect(instance))
            for _ in range(steps):
                await asyncio.sleep(0)
            if steps % 2:
                await asyncio.sleep(steps / 10_000)
            was_done = trying.done()
            trying.cancel()
            await asyncio.wait([trying], timeout=60)
            assert trying.cancelled() or was_done, steps
            if not trying.cancelled() and trying.exception() is None:
                await trying.result().close()


# --- sessions -----------------------------------------------------------------------------------------------------


async def test_bytes_come_through_as_they_are(connection: Connection) -> None:
    every = bytes(range(256)) * 1_000
    answer = await connection.run("cat; echo oops >&2; exit 3", every)
    assert (answer.stdout, answer.stderr, answer.exit_status) == (every, b"oops\n", 3)
    assert (await connection.run("true", b"")).exit_status == 0


async def test_a_command_need_not_read_its_input(connection: Connection) -> None:
    for _ in range(30):
        answer = await connection.run("echo done; exit 4", b"x" * 1_000)
        assert (answer.stdout, answer.exit_status) == (b"done\n", 4)


async def test_more_sessions_than_the_server_lets_in_wait(connection: Connection) -> None:
    results = await asyncio.gather(*(connection.run(f"sleep 0.1; echo {n}", b"") for n in range(SESSIONS_MAX * 3)))
    assert [int(result.stdout) for result in results] == list(range(SESSIONS_MAX * 3))


async def test_answers_and_errors_are_bounded(connection: Connection) -> None:
    answer = await connection.run("head -c 200000 /dev/zero >&2; echo end >&2", b"")
    assert len(answer.stderr) == STDERR_BYTES_MAX
    assert answer.stderr.endswith(b"end\n")
    with pytest.raises(RemoteError, match=f"more than {ANSWER_BYTES_MAX} bytes"):
        await connection.run("cat /dev/zero", b"")
    assert (await connection.run("echo still", b"")).stdout == b"still\n"


async def test_a_reader_that_is_slow_holds_the_sender(connection: Connection) -> None:
    size = 30_000_000
    async with connection.open(f"head -c {size} /dev/zero", b"") as stream:
        await asyncio.sleep(1)
        assert stream._buffered_bytes <= BUFFER_BYTES_MAX + WINDOW_BYTES
        received = 0
        async for chunk in stream:
            received += len(chunk)
    assert received == size
    assert stream.exit_status == 0


async def test_a_cut_link_is_known_at_once(sshd: Sshd, connection: Connection) -> None:
    async with connection.open("echo one; sleep 60", b"") as stream:
        assert await anext(stream) == b"one\n"
        sshd.cut()
        with pytest.raises(LinkDown, match="the link broke"):
            await asyncio.wait_for(anext(stream), 60)
    with pytest.raises(LinkDown):
        await connection.run("true", b"")


async def test_a_silent_link_is_given_up(sshd: Sshd, make_connector: Make) -> None:
    # Seconds, so that an sshd that is only slow is not taken for a silent one.
    connector = make_connector(sshd, keepalive_seconds=0.5, keepalive_count_max=6)
    connection = await connector.connect(at(sshd.port))
    async with connection.open("echo one; sleep 60", b"") as stream:
        assert await anext(stream) == b"one\n"
        sshd.freeze()
        begin = time.monotonic()
        try:
            with pytest.raises(LinkDown):
                await asyncio.wait_for(anext(stream), 50)
        finally:
            sshd.thaw()
        assert time.monotonic() - begin < 30
    await connection.close()


async def test_a_quiet_command_is_not_taken_for_a_silent_link(sshd: Sshd, make_connector: Make) -> None:
    """It is quiet for longer than a silent link would be given."""
    connection = await make_connector(sshd, keepalive_seconds=0.4, keepalive_count_max=10).connect(at(sshd.port))
    assert (await connection.run("sleep 5; echo done", b"")).stdout == b"done\n"
    await connection.close()


# --- errors -------------------------------------------------------------------------------------------------------


def errors_of_asyncssh() -> list[type[Exception]]:
    found = (getattr(asyncssh, name) for name in dir(asyncssh))
    return [kind for kind in found if inspect.isclass(kind) and issubclass(kind, asyncssh.Error)]


def made(kind: type[Exception]) -> Exception:
    """An error of this kind, whatever its constructor asks for."""
    values = {"reason": "because", "code": 1}
    wanted = [p for p in inspect.signature(kind).parameters.values() if p.default is p.empty]
    return kind(*(values.get(p.name) for p in wanted))


def test_every_error_of_asyncssh_becomes_one_of_ours() -> None:
    kinds = errors_of_asyncssh()
    assert len(kinds) > 15
    expected: dict[type[Exception], type[RemoteError]] = {
        asyncssh.HostKeyNotVerifiable: HostKeyChanged,
        asyncssh.PermissionDenied: AuthenticationFailed,
        asyncssh.IllegalUserName: AuthenticationFailed,
    }
    for kind in kinds:
        error = made(kind)
        with pytest.raises(RemoteError) as raised, mapped(at(22)):
            raise error
        assert type(raised.value) is expected.get(kind, LinkDown), kind
        assert raised.value.__cause__ is error
        assert f"{USER}@127.0.0.1:22" in str(raised.value)


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError(104, "reset"),
        BrokenPipeError(),
        TimeoutError(),
        socket.gaierror(-2, "unknown"),
        OSError(113, "No route to host"),
        UnicodeError("label too long"),
        FileNotFoundError(2, "No such file"),
    ],
)
def test_every_error_of_the_network_is_a_link_that_is_down(error: Exception) -> None:
    with pytest.raises(LinkDown) as raised, mapped(at(22)):
        raise error
    assert raised.value.__cause__ is error


def test_a_mistake_in_the_service_is_no_link_that_is_down() -> None:
    with pytest.raises(KeyError), mapped(at(22)):
        raise KeyError("x")


def test_how_an_instance_is_written() -> None:
    assert str(at(44686, host="109.231.106.68", user="root")) == "root@109.231.106.68:44686"
    assert str(at(22, host="fd00::1", user="root")) == "root@[fd00::1]:22"
