"""An SSH server that lets every key in and then does what a broken or a hostile instance may do."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncssh

Process = asyncssh.SSHServerProcess[bytes]
Act = Callable[["HostileInstance", Process, bytes], Awaitable[None]]

_NONCE = re.compile(rb"^nonce=([0-9a-f]{32})$", re.MULTILINE)


async def for_ever(_server: HostileInstance, process: Process, _nonce: bytes) -> None:
    """Say nothing, and keep the session."""
    await process.wait_closed()


async def begin(server: HostileInstance, process: Process, nonce: bytes) -> None:
    """The nonce, and nothing more."""
    process.stdout.write(b"\n" + nonce + b"\n")
    await process.wait_closed()


async def answer_nothing(_server: HostileInstance, process: Process, nonce: bytes) -> None:
    """An honest look at an instance that has nothing."""
    process.stdout.write(b"\n" + nonce + b"\nui_home ready\n")
    process.exit(0)


def says(text: bytes) -> Act:
    """The nonce and this text, then a proper end."""

    async def act(_server: HostileInstance, process: Process, nonce: bytes) -> None:
        process.stdout.write(b"\n" + nonce + b"\n" + text)
        process.exit(0)

    return act


RUNS = says(b"size 0\nsignalled 1 0\n")


class HostileInstance:
    """``look``, ``ask`` and ``attach``: what it does when the service looks at it, asks after or signals an attempt,
    and follows one. ``opens``: whether it opens sessions at all."""

    def __init__(
        self, folder: Path, *, look: Act = answer_nothing, ask: Act = RUNS, attach: Act = begin, opens: bool = True
    ) -> None:
        self.key_path = folder / "hostile_key"
        self.port = 0
        self._look, self._ask, self._attach = look, ask, attach
        self.opens = opens
        asyncssh.generate_private_key("ssh-ed25519").write_private_key(str(self.key_path))

    async def __aenter__(self) -> HostileInstance:
        self._server = await asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
            server_factory=lambda: _Server(self),
            encoding=None,
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._server.close()

    async def serve(self, process: Process) -> None:
        sent = b""
        while piece := await process.stdin.read(65536):
            sent += piece
        found = _NONCE.search(sent)
        if found is None:
            process.exit(0)
            return
        is_attach = b"must_exist=" in sent
        act = self._attach if is_attach else self._ask if b"signalled" in sent else self._look
        try:
            await act(self, process, found[1])
        except (ConnectionError, asyncssh.Error):
            return


class _Server(asyncssh.SSHServer):
    def __init__(self, instance: HostileInstance) -> None:
        self._instance = instance
        self._closed = asyncio.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed.set()

    def begin_auth(self, username: str) -> bool:
        return False

    def session_requested(self) -> Any:
        if self._instance.opens:
            return asyncssh.SSHServerProcess(self._instance.serve, None, 3, False)
        return self._never()

    async def _never(self) -> bool:
        await self._closed.wait()
        return False
