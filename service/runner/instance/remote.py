"""The remote protocol: attempts that run detached on the instance, found and followed again from any byte.

Each exec is the same constant command, ``exec sh``; everything else comes on its standard input. What a login shell
prints first is dropped up to a random nonce, and how an attempt ended comes on standard error after the same nonce:
the log, which is hostile, cannot forge it.
"""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from uuid import UUID

from service.errors import LinkDown, RemoteProtocolError
from service.events.lines import plain
from service.runner.instance.attempt_program import AttemptSpec, attach_program, program
from service.runner.instance.ended import Ended, ended_of
from service.runner.instance.ssh import Connection
from service.runner.instance.stream import Stream

COMMAND = "exec sh"
GRACE_SECONDS = 10
PARTIAL_FILES_MAX = 20
NOISE_BYTES_MAX = 1 << 20
JOBS_LISTED_MAX = 10_000

_LEDGER = b"ledger"
_SIGNALLED = re.compile(rb"^signalled ([01]) (\d{1,9})$", re.MULTILINE)
_FILE = re.compile(rb"^file ([A-Za-z0-9+/=]{1,800})$", re.MULTILINE)


class Signal(StrEnum):
    """What may be sent to an attempt that runs."""

    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalResult:
    """Whether the attempt was found running, how many processes got the signal, and after a cancel, the files that
    were left half done."""

    was_running: bool
    processes: int
    partial_files: tuple[str, ...] = ()


class Attachment:
    """The log of an attempt from the wanted byte on, and after its end, how the attempt ended."""

    def __init__(self, stream: Stream, nonce: str) -> None:
        self._stream = stream
        self._nonce = nonce.encode()
        self._has_begun = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Raises LinkDown, RemoteProtocolError."""
        mark = b"\n" + self._nonce + b"\n"
        noise = b""
        async for chunk in self._stream:
            noise += chunk
            begin = noise.find(mark)
            if begin >= 0:
                self._has_begun = True
                if len(noise) > begin + len(mark):
                    yield noise[begin + len(mark) :]
                break
            if len(noise) > NOISE_BYTES_MAX:
                raise RemoteProtocolError("the login shell of the instance prints without end")
        async for chunk in self._stream:
            yield chunk

    def ended(self) -> Ended:
        """How the attempt ended; ask after the end of the log. Raises LinkDown, RemoteProtocolError."""
        _, mark, line = self._stream.stderr.rpartition(b"\n" + self._nonce + b" ")
        if not mark and self._has_begun:
            raise LinkDown("the instance ended the session before the attempt had ended")
        if not mark:
            printed = _text(self._stream.stderr[-300:])
            raise RemoteProtocolError(f"the instance did not say how the attempt ended: {printed!r}")
        if line.startswith(_LEDGER):
            raise LinkDown("the instance ended the session before it said how the attempt ended")
        return replace(ended_of(_text(line)), ledger=self._ledger())

    def _ledger(self) -> tuple[str, ...] | None:
        """The records after the nonce; None where the attempt has no ledger."""
        mark = self._nonce + b" " + _LEDGER
        lines = [line for line in self._stream.stderr.split(b"\n") if line.startswith(mark)]
        records = tuple(_text(line.removeprefix(mark)) for line in lines)
        return tuple(filter(None, records)) if lines else None


class Remote:
    """The protocol over one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @asynccontextmanager
    async def attach(self, spec: AttemptSpec, offset: int) -> AsyncIterator[Attachment]:
        """Start the attempt if it never was, find it if it was; follow its log from byte ``offset``. Idempotent."""
        nonce = secrets.token_hex(16)
        async with self._connection.open(COMMAND, attach_program(spec, nonce=nonce, offset=offset)) as stream:
            yield Attachment(stream, nonce)

    async def signal(
        self, job_id: str, directories: Sequence[str], signal: Signal, *, grace_seconds: int = GRACE_SECONDS
    ) -> SignalResult:
        """Pause, resume or cancel what runs in these directories of the job. Idempotent.

        Raises LinkDown, RemoteProtocolError.
        """
        said, stderr = await self._answer(
            "signal.sh",
            job=str(UUID(job_id)),
            attempts=" ".join(directories),
            what=signal.value,
            grace_seconds=grace_seconds,
        )
        found = _SIGNALLED.search(said)
        if found is None:
            raise RemoteProtocolError(f"the instance did not answer the {signal}: {_text(stderr[-300:])!r}")
        files = _FILE.findall(said)[:PARTIAL_FILES_MAX]
        return SignalResult(
            was_running=found[1] == b"1",
            processes=int(found[2]),
            partial_files=tuple(plain(base64.b64decode(file)) for file in files),
        )

    async def remove(self, *job_ids: str) -> None:
        """Remove what these jobs left on the instance."""
        await self._connection.run(COMMAND, program("remove.sh", jobs=" ".join(str(UUID(j)) for j in job_ids)))

    async def sweep(self, ended_among: Callable[[list[str]], Awaitable[list[str]]]) -> None:
        """Remove the directories of ended jobs. Those that ``ended_among`` does not know stay: another service may
        use the same instance."""
        listing, _ = await self._answer("list.sh")
        names = _text(listing).split()[:JOBS_LISTED_MAX]
        ended = await ended_among([name for name in names if _is_job_id(name)])
        if ended:
            await self.remove(*ended)

    async def _answer(self, script: str, **variables: str | int) -> tuple[bytes, bytes]:
        """What the script printed after the nonce, and its standard error."""
        nonce = secrets.token_hex(16)
        result = await self._connection.run(COMMAND, program(script, nonce=nonce, **variables))
        return result.stdout.rpartition(b"\n" + nonce.encode() + b"\n")[2], result.stderr


def _is_job_id(name: str) -> bool:
    try:
        return str(UUID(name)) == name
    except ValueError:
        return False


def _text(data: bytes) -> str:
    return data.decode("utf-8", errors="replace").strip()
