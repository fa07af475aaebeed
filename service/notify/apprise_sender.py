"""Tells a receiver through Apprise (ntfy, Discord, Telegram, mail and some hundred others), the extra ``notify``.

Apprise is a library that blocks and that opens its connections itself. So it runs in a process of its own
(``apprise_program``), which is killed when it takes too long, and which connects to no address that the service's own
fetcher would refuse.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from service.errors import FieldError, InvalidRequest
from service.notify.address import Address
from service.notify.message import Message
from service.notify.senders import Outcome

PROGRAM = "service.notify.apprise_program"
SECONDS_MAX = 30.0
# Each is a process of some 40 MB.
AT_ONCE = 4
_SAID_BYTES_MAX = 4_096
MISSING = "Apprise is not installed: pip install 'resource-installer[notify]'"
# Neither keys of the service nor a proxy of the environment: it would stand between the program and its check.
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "PYTHONPATH")


class AppriseSender:
    """``allowed``: private targets that are let in."""

    def __init__(self, *, allowed: Sequence[str] = (), seconds_max: float = SECONDS_MAX) -> None:
        self._allowed = tuple(allowed)
        self._seconds_max = seconds_max
        self._places = asyncio.Semaphore(AT_ONCE)

    async def send(self, address: Address, message: Message) -> Outcome:
        if not is_installed():
            return Outcome(is_delivered=False, error=MISSING)
        said = await self._run({"url": address.url, "title": message.title(), "text": message.text()})
        return Outcome(is_delivered=said == "", error=said or None)

    async def check(self, address: Address) -> None:
        """Raises InvalidRequest: Apprise cannot read this address, or is not installed."""
        said = await self._run({"url": address.url}) if is_installed() else MISSING
        if said:
            raise InvalidRequest(f"url: {said}", [FieldError("url", said)])

    async def _run(self, job: dict[str, Any]) -> str:
        """Empty: it is done. Else why it is not."""
        async with self._places:
            return await self._run_now(job)

    async def _run_now(self, job: dict[str, Any]) -> str:
        run = _Run(json.dumps({**job, "allowed": self._allowed}).encode(), self._seconds_max)
        try:
            return await asyncio.to_thread(run)
        except asyncio.CancelledError:
            run.end()
            raise


class _Run:
    """One run of the program, in a thread: to start one blocks. ``end``, from another thread, ends it at once."""

    def __init__(self, job: bytes, seconds_max: float) -> None:
        self._job = job
        self._seconds_max = seconds_max
        self._lock = threading.Lock()
        self._program: subprocess.Popen[bytes] | None = None
        self._is_over = False

    def __call__(self) -> str:
        with self._lock:
            if self._is_over:
                return "the service stops"
            program = self._program = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={name: os.environ[name] for name in _PASSED_ON if name in os.environ},
            )
        with program:
            try:
                said, _ = program.communicate(self._job, timeout=self._seconds_max)
            except subprocess.TimeoutExpired:
                program.kill()
                return "it did not answer in time"
        if program.returncode == 0:
            return ""
        return said[:_SAID_BYTES_MAX].decode("utf-8", "replace").strip() or "Apprise failed without a word"

    def end(self) -> None:
        with self._lock:
            self._is_over = True
            if self._program is not None:
                self._program.kill()


def is_installed() -> bool:
    return find_spec("apprise") is not None
