"""SSH connections: the only file of the service that imports asyncssh, and where its errors become ours.

Bytes only (one invalid byte would otherwise kill the whole connection), sessions by callbacks, keepalive on, a bounded
number of sessions a connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncssh

from service.errors import (
    AuthenticationFailed,
    HostKeyChanged,
    KeyUnusable,
    LinkDown,
    NoAnswer,
    NoShell,
    is_shortage,
)
from service.runner.instance.ciphers import ciphers
from service.runner.instance.host_keys import HostKey, HostKeyCheck
from service.runner.instance.key_files import KeyStamp, LoginKeys
from service.runner.instance.stream import Stream
from service.runner.instance.targets import Instance
from service.runner.instance.wake_ups import WakeUps

# OpenSSH's MaxSessions is 10: eight attempts that are followed, and one for short commands.
SESSIONS_MAX = 9
ANSWER_BYTES_MAX = 1 << 20
RUN_SECONDS_MAX = 120
CLOSE_SECONDS_MAX = 10
OPEN_TRIES_MAX = 5
OPEN_RETRY_SECONDS = 0.1
REASON_CHARACTERS_MAX = 300
# How often a connection is asked that may have died unseen: it is known within three times as long.
RENEWED_KEEPALIVE_SECONDS = 1.0

ClientKey = asyncssh.SSHKeyPair


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandResult:
    """What a command printed. ``exit_status`` None: unknown."""

    stdout: bytes
    stderr: bytes
    exit_status: int | None


class Connection:
    """One connection to one instance. Sessions beyond the bound wait for their turn. ``login_seconds``: how long a
    login may take to run its program; ``has_run``: one did, so the account's shell runs what it is given;
    ``has_programs``: the programs of an attempt are there. ``is_proven``: the instance did what it was
    asked, so that the link is not only up, but of use. ``is_renewed``: an earlier job made it. ``key_stamp``: of the
    keys that it was made with. ``keepalive``: seconds, and how many may stay unanswered. ``wake_ups``: of all who read
    what instances print."""

    def __init__(
        self,
        connection: asyncssh.SSHClientConnection,
        instance: Instance,
        host_key: HostKey | None,
        login_seconds: float,
        *,
        key_stamp: KeyStamp,
        keepalive: tuple[float, int],
        wake_ups: WakeUps,
    ) -> None:
        self._wake_ups = wake_ups
        self.instance = instance
        self.key_stamp = key_stamp
        self.host_key = host_key
        self.login_seconds = login_seconds
        self.has_run = False
        self.has_programs = False
        self.is_proven = False
        self.is_renewed = False
        self._keepalive = keepalive
        self._connection = connection
        self._sessions = asyncio.Semaphore(SESSIONS_MAX)
        self._open_sessions = 0

    @asynccontextmanager
    async def open(self, command: str, stdin: bytes) -> AsyncIterator[Stream]:
        """Run the command with these bytes on its standard input; the session ends with the block. Raises LinkDown."""
        async with self._place():
            with mapped(self.instance):
                channel, stream = await self._create_session(command)
                # A command that ended without reading its input closed the channel: what it printed says more.
                with contextlib.suppress(BrokenPipeError):
                    channel.write(stdin)
                    channel.write_eof()
            # A hundred kilobytes of programs, as long as the attempt is followed.
            del stdin
            try:
                yield stream
            finally:
                channel.close()

    async def run(self, command: str, stdin: bytes) -> CommandResult:
        """All that a short command prints, up to a bound. Raises LinkDown, also when there is no answer in time."""
        with mapped(self.instance), self._answering("a command"):
            async with asyncio.timeout(RUN_SECONDS_MAX), self.open(command, stdin) as stream:
                answer = await self.rest(stream)
                return CommandResult(stdout=answer, stderr=stream.stderr, exit_status=stream.exit_status)

    async def rest(self, stream: Stream, bytes_max: int = ANSWER_BYTES_MAX) -> bytes:
        """All that is still to come of a short answer, up to a bound. Raises LinkDown, also when it does not end."""
        answer = bytearray()
        with mapped(self.instance), self._answering("its answer"):
            async with asyncio.timeout(RUN_SECONDS_MAX):
                async for chunk in stream:
                    answer += chunk
                    if len(answer) > bytes_max:
                        raise NoAnswer(f"{self.instance} answers with more than {bytes_max} bytes")
        return bytes(answer)

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        """One of the sessions. The one for short commands is soon free, unless the instance does not answer these."""
        with self._answering("a session"):
            async with asyncio.timeout(RUN_SECONDS_MAX):
                await self._sessions.acquire()
        self._open_sessions += 1
        try:
            yield
        finally:
            self._open_sessions -= 1
            self._sessions.release()

    @contextlib.contextmanager
    def _answering(self, what: str) -> Iterator[None]:
        try:
            yield
        except TimeoutError as error:
            raise NoAnswer(f"{self.instance} is connected, and did not end {what} in {RUN_SECONDS_MAX} s") from error

    @property
    def begin_seconds(self) -> float:
        """How long the next program may take to begin. After one that ran, a late one is slow, not impossible."""
        return RUN_SECONDS_MAX if self.has_run else self.login_seconds

    @property
    def is_reusable(self) -> bool:
        """Whether another job may begin over it: it was of use, nobody uses it now, and nothing says that it is
        dead."""
        return self.is_proven and not self._open_sessions and not self._connection.is_closed()

    def renew(self, host_key: HostKey | None) -> None:
        """For another job: all that this connection has shown is forgotten, and until it is proven anew, it is watched
        closely."""
        self.host_key = host_key
        self.has_run = self.has_programs = self.is_proven = False
        self.is_renewed = True
        self._connection.set_keepalive(RENEWED_KEEPALIVE_SECONDS, 2)

    def prove(self) -> None:
        """The instance did what it was asked over this connection."""
        if self.is_renewed and not self.is_proven:
            self._connection.set_keepalive(*self._keepalive)
        self.is_proven = True

    async def close(self) -> None:
        self.abort()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS_MAX):
                await self._connection.wait_closed()

    def abort(self) -> None:
        self._connection.abort()

    async def _create_session(self, command: str) -> tuple[asyncssh.SSHClientChannel[bytes], Stream]:
        """An sshd counts sessions that were just closed for a moment longer, and then refuses a new one."""
        try:
            async with asyncio.timeout(self.begin_seconds):
                for _ in range(OPEN_TRIES_MAX - 1):
                    with contextlib.suppress(asyncssh.ChannelOpenError):
                        return await self._session(command)
                    await asyncio.sleep(OPEN_RETRY_SECONDS)
                return await self._session(command)
        except asyncssh.ChannelOpenError as error:
            raise NoShell(f"{self.instance} accepts the key and opens no session: {_reason(error)}") from error
        except TimeoutError as error:
            raise NoShell(f"{self.instance} accepts the key and then says nothing") from error

    async def _session(self, command: str) -> tuple[asyncssh.SSHClientChannel[bytes], Stream]:
        session = _Session(Stream(self._wake_ups.call))
        channel, _ = await self._connection.create_session(lambda: session, command, encoding=None)
        return channel, session.stream


async def handshake(
    instance: Instance,
    address: str,
    *,
    algorithms: Sequence[str],
    check: HostKeyCheck,
    login_keys: LoginKeys,
    keepalive_seconds: float,
    keepalive_count_max: int,
    timeout_seconds: float,
    login_seconds: float,
    wake_ups: WakeUps,
) -> Connection:
    """One handshake with this address of the instance. asyncssh's own configuration, agent and known hosts are off.

    Raises LinkDown, AuthenticationFailed, KeyUnusable, HostKeyChanged.
    """
    stamp, keys, encryption = await asyncio.to_thread(lambda: (login_keys.stamp(), client_keys(login_keys), ciphers()))
    # Not asyncssh's own timeout: it is wait_for, which in Python 3.11 can swallow a cancellation.
    with mapped(instance, check, has_key=bool(keys)):
        async with asyncio.timeout(timeout_seconds):
            connection = await asyncssh.connect(
                address,
                instance.port,
                username=instance.user,
                client_factory=lambda: _Client(check),
                client_keys=keys or None,
                known_hosts=([], [], []),
                server_host_key_algs=algorithms,
                encryption_algs=encryption,
                x509_trusted_certs=None,
                preferred_auth="publickey",
                agent_path=None,
                agent_forwarding=False,
                config=None,
                compression_algs=None,
                keepalive_interval=keepalive_seconds,
                keepalive_count_max=keepalive_count_max,
                login_timeout=timeout_seconds,
            )
            keepalive = (keepalive_seconds, keepalive_count_max)
            return Connection(
                connection,
                instance,
                check.host_key,
                login_seconds,
                key_stamp=stamp,
                keepalive=keepalive,
                wake_ups=wake_ups,
            )


def client_keys(login_keys: LoginKeys) -> Sequence[ClientKey]:
    """The keys to offer. Raises KeyUnusable.

    Read at each handshake: a key may be put there while the service runs. Raises LinkDown when there is no descriptor
    for one.
    """
    own = login_keys.own()
    keys: list[ClientKey] = []
    for path in login_keys.files():
        try:
            keys += asyncssh.load_keypairs(path)
        except (OSError, ValueError) as error:
            if is_shortage(error):
                raise LinkDown(f"the key {path} cannot be read now: {_reason(error)}") from error
            # A default key that is locked by a passphrase is of no use to a service.
            if login_keys.path is not None and own is None:
                raise KeyUnusable(f"the key {path} in INSTALLER_SSH_KEY cannot be used: {_reason(error)}") from error
    if own is not None:
        keys += asyncssh.load_keypairs([asyncssh.import_private_key(own)])
    return keys


class _Session(asyncssh.SSHClientSession[bytes]):
    """Callbacks of asyncssh into a Stream."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        self.stream.channel = self._channel = chan

    def data_received(self, data: bytes, datatype: int | None) -> None:
        if datatype == asyncssh.EXTENDED_DATA_STDERR:
            self.stream.received_error(data)
        else:
            self.stream.received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.stream.finished(exc, self._channel.get_exit_status() if self._channel is not None else None)


class _Client(asyncssh.SSHClient):
    """Asks the check about the key that an instance shows: asyncssh itself trusts no key here, so it asks for each."""

    def __init__(self, check: HostKeyCheck) -> None:
        self._check = check

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        return self._check.accepts(key.get_algorithm(), key.public_data)


@contextlib.contextmanager
def mapped(instance: Instance, check: HostKeyCheck | None = None, *, has_key: bool = True) -> Iterator[None]:
    """Foreign errors become ours here, and only here. ``has_key``: there was a key to offer."""
    try:
        yield
    except asyncssh.HostKeyNotVerifiable as error:
        raise (check and check.refusal) or HostKeyChanged(f"{instance}: {error.reason}") from error
    except (asyncssh.PermissionDenied, asyncssh.IllegalUserName) as error:
        if not has_key:
            raise KeyUnusable(
                f"{instance} asks for a key and the service has none: let it make one (page Keys, or "
                "`resource-installer keys ssh`), or name a private key in INSTALLER_SSH_KEY"
            ) from error
        raise AuthenticationFailed(
            f"{instance} refused the user or the key: check ssh_user, and whether the instance has the public half of "
            f"the service's key (page Keys, or INSTALLER_SSH_KEY) ({_reason(error)})"
        ) from error
    except (socket.gaierror, UnicodeError) as error:
        text = f"{instance}: the name cannot be resolved ({_reason(error)})"
        raise LinkDown(text, reason="name_unknown") from error
    except (TimeoutError, asyncssh.TimeoutError) as error:
        raise LinkDown(f"{instance}: no answer in time", reason="timeout") from error
    except (OSError, asyncssh.Error, asyncssh.packet.PacketDecodeError) as error:
        reason = _REASONS.get(getattr(error, "errno", None) or 0)
        raise LinkDown(f"{instance}: {_reason(error)}", reason=reason) from error


# What the event `connecting` calls these. An OSError without a number here, or an error of SSH, is "broken".
_REASONS = {
    errno.ECONNREFUSED: "refused",
    errno.EHOSTUNREACH: "no_route",
    errno.ENETUNREACH: "no_route",
    errno.ETIMEDOUT: "timeout",
}


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        # asyncio's own text for a refused connection is "Connect call failed".
        return os.strerror(error.errno)
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(reason)[:REASON_CHARACTERS_MAX]
