"""The demo's rented instance: asyncssh's SSH server, which needs no system package, with a home of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import asyncssh

BLOCK_BYTES = 64 * 1024


class DemoInstance:
    """Runs the command of each session with ``sh -c``, as an OpenSSH server would. ``start`` it, ``stop`` it.

    When a client disconnects, the pipes of its commands close; detached processes live on.
    """

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self._folder = folder
        self._env = env
        self._server: asyncssh.SSHAcceptor | None = None
        self._sessions: set[asyncio.Task[Any]] = set()
        self.home = folder / "home"
        self.key_path = folder / "client_key"
        self.port = 0

    async def start(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        client_key = asyncssh.generate_private_key("ssh-ed25519")
        client_key.write_private_key(str(self.key_path))
        self.key_path.chmod(0o600)
        self._server = await asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
            authorized_client_keys=asyncssh.import_authorized_keys(client_key.export_public_key().decode()),
            process_factory=self._run,
            encoding=None,
            allow_pty=False,
        )
        self.port = self._server.get_port()

    async def stop(self) -> None:
        """Stop listening and end the sessions. Detached processes continue."""
        if self._server is not None:
            self._server.close()
        for task in self._sessions:
            task.cancel()
        await asyncio.gather(*self._sessions, return_exceptions=True)

    async def _run(self, session: asyncssh.SSHServerProcess[bytes]) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._sessions.add(task)
            task.add_done_callback(self._sessions.discard)
        path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '/usr/bin:/bin')}"
        process = await asyncio.create_subprocess_exec(
            "sh",
            "-c",
            session.command or "exit 0",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=self.home,
            env={"HOME": str(self.home), "PATH": path, **self._env},
        )
        transport: asyncio.SubprocessTransport = getattr(process, "_transport")  # noqa: B009 - it has no public name
        copies = [
            asyncio.create_task(_pump(source, target))
            for source, target in (
                (session.stdin, process.stdin),
                (process.stdout, session.stdout),
                (process.stderr, session.stderr),
            )
        ]
        closing = asyncio.create_task(self._close_pipes(session, transport))
        try:
            await asyncio.gather(*copies[1:])
            status = await process.wait()
            if not session.is_closing():
                session.exit(status if status >= 0 else 128 - status)
        finally:
            for copy in (*copies, closing):
                copy.cancel()
            transport.close()

    async def _close_pipes(
        self, session: asyncssh.SSHServerProcess[bytes], transport: asyncio.SubprocessTransport
    ) -> None:
        """Close them when the client has gone, so that a command that prints nothing notices too."""
        await session.wait_closed()
        for number in (1, 2):
            pipe = transport.get_pipe_transport(number)
            if pipe is not None:
                pipe.close()


async def _pump(source: Any, target: Any) -> None:
    """Copy until the end, or until one side is gone."""
    with contextlib.suppress(asyncssh.Error, ConnectionError):
        while data := await source.read(BLOCK_BYTES):
            target.write(data)
            await target.drain()
    if isinstance(target, asyncio.StreamWriter):
        target.close()
