"""The demo's rented instance: an SSH server of asyncssh's that needs no system package, with a home of its own."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import asyncssh

logger = logging.getLogger(__name__)

BLOCK_BYTES = 64 * 1024


class DemoInstance:
    """Runs what a session asks for as ``sh -c``, as an OpenSSH server would. ``start``, ``stop``."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self._folder = folder
        self._env = env
        self._server: asyncssh.SSHAcceptor | None = None
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
        if self._server is not None:
            self._server.close()

    async def _run(self, session: asyncssh.SSHServerProcess[bytes]) -> None:
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
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise RuntimeError("the pipes of the command are missing")
        feeding = asyncio.create_task(_pump(session.stdin, process.stdin))
        try:
            await asyncio.gather(_pump(process.stdout, session.stdout), _pump(process.stderr, session.stderr))
            status = await process.wait()
            session.exit(status if status >= 0 else 128 - status)
        except (asyncssh.Error, ConnectionError) as error:
            logger.debug("a session has ended early: %r", error)
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
            if process.returncode is None:
                process.terminate()


async def _pump(source: Any, target: Any) -> None:
    while data := await source.read(BLOCK_BYTES):
        target.write(data)
        await target.drain()
    if isinstance(target, asyncio.StreamWriter):
        target.close()
