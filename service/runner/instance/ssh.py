"""The SSH connection: the only file of the service that imports asyncssh, and where its errors become ours.

Bytes only (one invalid byte would otherwise kill the whole connection), sessions by callbacks, keepalive on, one
handshake at a time per host, a bounded number of sessions a connection, and host keys checked by host and port.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakValueDictionary

import asyncssh

from service.errors import AuthenticationFailed, HostKeyChanged, LinkDown, RemoteError
from service.runner.instance.host_keys import HostKey, HostKeyPolicy, HostKeyRule
from service.runner.instance.known_hosts import KnownHosts
from service.runner.instance.targets import check_target

# OpenSSH's MaxSessions is 10: eight that are followed, and one for what is done beside them.
SESSIONS_MAX = 9
BUFFER_BYTES_HIGH = 1 << 20
BUFFER_BYTES_LOW = 1 << 18
STDERR_BYTES_MAX = 16 * 1024
ANSWER_BYTES_MAX = 4 << 20
RUN_SECONDS_MAX = 120
OPEN_TRIES_MAX = 5
OPEN_RETRY_SECONDS = 0.1
ADDRESSES_MAX = 3
DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """Where to connect to. ``host_key_sha256``: accept exactly this key."""

    host: str
    port: int
    user: str
    host_key_sha256: str | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.user}@{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """What a command printed. ``exit_status`` None: unknown."""

    stdout: bytes
    stderr: bytes
    exit_status: int | None


class Stream:
    """The output of one remote command, as chunks of bytes, with back-pressure. Raises LinkDown when the link
    breaks."""

    def __init__(self) -> None:
        self.stderr = b""
        self.exit_status: int | None = None
        self._chunks: deque[bytes] = deque()
        self._buffered = 0
        self._paused = False
        self._ended = False
        self._error: Exception | None = None
        self._wake = asyncio.Event()
        self.channel: asyncssh.SSHClientChannel[bytes] | None = None

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while not self._chunks:
            if self._error is not None:
                raise LinkDown(f"the link broke: {self._error or type(self._error).__name__}") from self._error
            if self._ended:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        chunk = b"".join(self._chunks)
        self._chunks.clear()
        self._buffered = 0
        self._resume()
        return chunk

    def _resume(self) -> None:
        """asyncssh grants the whole window again with the first packet that it hands over, though more may wait behind
        it: whoever pauses in between lets its buffer grow with every turn. So all that waits is taken."""
        if self._paused and self.channel is not None:
            self.channel.resume_reading()
            self._paused = False

    def close(self) -> None:
        if self.channel is not None:
            self.channel.close()

    def received(self, data: bytes) -> None:
        self._chunks.append(data)
        self._buffered += len(data)
        if self._buffered > BUFFER_BYTES_HIGH and not self._paused and self.channel is not None:
            self._paused = True
            self.channel.pause_reading()
        self._wake.set()

    def received_error(self, data: bytes) -> None:
        self.stderr = (self.stderr + data)[-STDERR_BYTES_MAX:]

    def finished(self, error: Exception | None, exit_status: int | None) -> None:
        self._ended = True
        self.exit_status = exit_status
        # A session that ends without a status ended with its link (or with its sshd), not with its command.
        if error is not None or exit_status is None:
            self._error = error or ConnectionError("the session ended without a status")
        self._wake.set()


class _Session(asyncssh.SSHClientSession[bytes]):
    """Callbacks of asyncssh into a Stream."""

    def __init__(self) -> None:
        self.stream = Stream()

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        self.stream.channel = chan

    def data_received(self, data: bytes, datatype: int | None) -> None:
        if datatype == asyncssh.EXTENDED_DATA_STDERR:
            self.stream.received_error(data)
        else:
            self.stream.received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        channel = self.stream.channel
        self.stream.finished(exc, channel.get_exit_status() if channel is not None else None)


class Connection:
    """One connection to one instance. Sessions beyond the bound wait for their turn."""

    def __init__(self, connection: asyncssh.SSHClientConnection, instance: Instance, host_key: HostKey | None) -> None:
        self.instance = instance
        self.host_key = host_key
        self._connection = connection
        self._sessions = asyncio.Semaphore(SESSIONS_MAX)

    @asynccontextmanager
    async def open(self, command: str, stdin: bytes) -> AsyncIterator[Stream]:
        """Run the command with these bytes on its standard input; the session ends with the block."""
        async with self._sessions:
            with _mapped(self.instance):
                channel, stream = await self._create_session(command)
                # A command that ended without reading its input closed the channel: what it printed says more.
                with contextlib.suppress(BrokenPipeError):
                    channel.write(stdin)
                    channel.write_eof()
            try:
                yield stream
            finally:
                channel.close()

    async def _create_session(self, command: str) -> tuple[asyncssh.SSHClientChannel[bytes], Stream]:
        """An sshd counts sessions that were just closed for a moment longer, and then refuses a new one."""
        for _ in range(OPEN_TRIES_MAX - 1):
            with contextlib.suppress(asyncssh.ChannelOpenError):
                return await self._session(command)
            await asyncio.sleep(OPEN_RETRY_SECONDS)
        return await self._session(command)

    async def _session(self, command: str) -> tuple[asyncssh.SSHClientChannel[bytes], Stream]:
        session = _Session()
        channel, _ = await self._connection.create_session(lambda: session, command, encoding=None)
        return channel, session.stream

    async def run(self, command: str, stdin: bytes) -> Completed:
        """All that a short command prints, up to a bound. Raises LinkDown, also when there is no answer in time."""
        with _mapped(self.instance):
            async with asyncio.timeout(RUN_SECONDS_MAX), self.open(command, stdin) as stream:
                answer = bytearray()
                async for chunk in stream:
                    answer += chunk
                    if len(answer) > ANSWER_BYTES_MAX:
                        raise RemoteError(f"{self.instance} answered more than {ANSWER_BYTES_MAX} bytes")
                return Completed(stdout=bytes(answer), stderr=stream.stderr, exit_status=stream.exit_status)

    async def close(self) -> None:
        self.abort()
        await self._connection.wait_closed()

    def abort(self) -> None:
        self._connection.abort()


class Connector:
    """Connects to instances by the rules of this service: built once, from its settings."""

    def __init__(
        self,
        *,
        key_path: Path | None,
        known_hosts_path: Path,
        host_key_policy: HostKeyPolicy,
        bound_to_loopback: bool,
        ssh_targets: Sequence[str],
        keepalive_seconds: float = 15.0,
        keepalive_count_max: int = 3,
        connect_timeout_seconds: float = 20.0,
    ) -> None:
        self._key_path = key_path
        self._known_hosts = KnownHosts(known_hosts_path)
        self._policy = host_key_policy
        self._bound_to_loopback = bound_to_loopback
        self._targets = tuple(ssh_targets)
        self._keepalive_seconds = keepalive_seconds
        self._keepalive_count_max = keepalive_count_max
        self._connect_timeout_seconds = connect_timeout_seconds
        self._handshakes: WeakValueDictionary[tuple[str, int], asyncio.Lock] = WeakValueDictionary()

    async def connect(self, instance: Instance) -> Connection:
        """A connection whose host key and user are accepted.

        Raises LinkDown (try again later), AuthenticationFailed, HostKeyChanged, TargetRefused.
        """
        lock = self._handshakes.setdefault((instance.host, instance.port), asyncio.Lock())
        async with lock:
            with _mapped(instance):
                async with asyncio.timeout(self._connect_timeout_seconds):
                    addresses = await self._resolve(instance)
            for address in addresses[:-1]:
                # A name with several addresses is up when one of them is.
                with contextlib.suppress(LinkDown):
                    return await self._accept(instance, address)
            return await self._accept(instance, addresses[-1])

    async def _resolve(self, instance: Instance) -> list[str]:
        """The addresses to connect to. They are checked here, and no other look-up follows."""
        found = await asyncio.get_running_loop().getaddrinfo(instance.host, instance.port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))[:ADDRESSES_MAX]
        for address in addresses:
            check_target(
                instance.host,
                instance.port,
                address,
                bound_to_loopback=self._bound_to_loopback,
                allowed=self._targets,
            )
        return addresses

    async def _accept(self, instance: Instance, address: str) -> Connection:
        """A handshake; when one certain key is asked for and the instance shows another kind of key, it may have the
        wanted one as well."""
        known = self._known_hosts.keys(instance.host, instance.port)
        rule = HostKeyRule(str(instance), self._policy, instance.host_key_sha256, known)
        without: list[str] = []
        refusal: HostKeyChanged | None = None
        while algorithms := rule.algorithms(without):
            check = _HostKeyCheck(rule)
            try:
                connection = await self._handshake(instance, address, algorithms, check)
            except HostKeyChanged as error:
                if rule.wanted is None or not check.shown_algorithm:
                    raise
                without.append(check.shown_algorithm)
                refusal = refusal or error
            except LinkDown:
                if refusal is None:
                    raise
                break
            else:
                return self._remembered(Connection(connection, instance, check.host_key))
        raise refusal or HostKeyChanged(f"{instance} has no host key of a kind that this service knows")

    async def _handshake(
        self, instance: Instance, address: str, algorithms: Sequence[str], check: _HostKeyCheck
    ) -> asyncssh.SSHClientConnection:
        # Not asyncssh's own timeout: it is wait_for, which in Python 3.11 can swallow a cancellation.
        with _mapped(instance, check):
            async with asyncio.timeout(self._connect_timeout_seconds):
                return await asyncssh.connect(
                    address,
                    instance.port,
                    username=instance.user,
                    client_factory=lambda: check,
                    client_keys=self._keys() or None,
                    known_hosts=([], [], []),
                    server_host_key_algs=algorithms,
                    x509_trusted_certs=None,
                    preferred_auth="publickey",
                    agent_path=None,
                    agent_forwarding=False,
                    config=None,
                    compression_algs=None,
                    keepalive_interval=self._keepalive_seconds,
                    keepalive_count_max=self._keepalive_count_max,
                    login_timeout=self._connect_timeout_seconds,
                )

    def has_key(self) -> bool:
        """Whether there is a private key to offer to an instance. A key in the setting counts, usable or not: a
        connection says what is wrong with it."""
        return self._key_path is not None or bool(self._keys())

    def _remembered(self, connection: Connection) -> Connection:
        key, instance = connection.host_key, connection.instance
        if key is not None and key.is_new:
            try:
                self._known_hosts.remember(instance.host, instance.port, key.algorithm, key.blob)
            except LinkDown:
                connection.abort()
                raise
        return connection

    def _keys(self) -> Sequence[asyncssh.SSHKeyPair]:
        """Read at each handshake: a key may be put there while the service runs."""
        if self._key_path is not None:
            try:
                return asyncssh.load_keypairs(str(self._key_path))
            except (OSError, ValueError) as error:
                raise AuthenticationFailed(
                    f"the key {self._key_path} in INSTALLER_SSH_KEY cannot be used: {_reason(error)}"
                ) from error
        keys: list[asyncssh.SSHKeyPair] = []
        for path in _default_keys():
            # A default key that is locked by a passphrase is no key for a service.
            with contextlib.suppress(OSError, ValueError):
                keys += asyncssh.load_keypairs(path)
        return keys


class _HostKeyCheck(asyncssh.SSHClient):
    """Asks the rule about the key that an instance shows. asyncssh trusts no key by itself here, so every key comes
    by."""

    def __init__(self, rule: HostKeyRule) -> None:
        self._rule = rule
        self.host_key: HostKey | None = None
        self.shown_algorithm = ""
        self.refusal: HostKeyChanged | None = None

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        self.shown_algorithm = key.get_algorithm()
        try:
            self.host_key = self._rule.check(self.shown_algorithm, key.public_data)
        except HostKeyChanged as error:
            self.refusal = error
        return self.refusal is None


def _default_keys() -> list[str]:
    folder = Path.home() / ".ssh"
    return [str(folder / name) for name in DEFAULT_KEYS if (folder / name).is_file()]


@contextlib.contextmanager
def _mapped(instance: Instance, check: _HostKeyCheck | None = None) -> Iterator[None]:
    """Foreign errors become ours here, and only here."""
    try:
        yield
    except asyncssh.HostKeyNotVerifiable as error:
        raise (check and check.refusal) or HostKeyChanged(f"{instance}: {error.reason}") from error
    except (asyncssh.PermissionDenied, asyncssh.IllegalUserName) as error:
        raise AuthenticationFailed(
            f"{instance} refused the user or the key: check ssh_user and INSTALLER_SSH_KEY ({_reason(error)})"
        ) from error
    except (socket.gaierror, UnicodeError) as error:
        raise LinkDown(f"{instance}: the name cannot be resolved ({_reason(error)})") from error
    except (TimeoutError, asyncssh.TimeoutError) as error:
        raise LinkDown(f"{instance}: no answer in time") from error
    except (OSError, asyncssh.Error, asyncssh.packet.PacketDecodeError) as error:
        raise LinkDown(f"{instance}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        # asyncio's own text for a refused connection is "Connect call failed".
        return os.strerror(error.errno)
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(reason)[:300]
