"""The remote protocol: attempts that run detached on the instance, found and followed again from any byte.

Each exec is the same constant command, ``exec sh``; everything else comes on its standard input. What a login shell
prints first is dropped up to a random nonce, and how an attempt ended comes on standard error after the same nonce:
the log, which is hostile, cannot forge it.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from uuid import UUID

from service.errors import LinkDown, RemoteProtocolError
from service.events.lines import plain
from service.runner.instance.attempt_program import AttemptSpec, attach_program, program
from service.runner.instance.ended import Ended, ended_of
from service.runner.instance.login import program_begun
from service.runner.instance.problems import decoded
from service.runner.instance.ssh import Connection
from service.runner.instance.stream import Stream

COMMAND = "exec sh"
GRACE_SECONDS = 10
PARTIAL_FILES_MAX = 20
JOBS_LISTED_MAX = 10_000
UI_HOMES_MAX = 5

_LEDGER = b"ledger"
_SIGNALLED = re.compile(rb"^signalled ([01]) (\d{1,9})$", re.MULTILINE)
_UI_HOME = re.compile(rb"^ui_home (ready|missing|other)$", re.MULTILINE)
_ELSEWHERE = re.compile(rb"^elsewhere ([A-Za-z0-9+/=]{1,800})$", re.MULTILINE)
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


class UiHome(StrEnum):
    """What an instance says about the folder that a job installs into."""

    READY = "ready"
    MISSING = "missing"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """``ui_home`` None: the instance did not say. ``elsewhere``: where it looks like a ComfyUI, if ``ui_home`` does
    not."""

    job_ids: tuple[str, ...]
    ui_home: UiHome | None
    elsewhere: tuple[str, ...]


class Attachment:
    """The log of an attempt from the wanted byte on, and after its end, how the attempt ended."""

    def __init__(self, connection: Connection, stream: Stream, nonce: str) -> None:
        self._connection = connection
        self._stream = stream
        self._nonce = nonce.encode()
        self._has_begun = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Raises LinkDown, NoShell."""
        first = await program_begun(self._connection, self._stream, self._nonce)
        self._has_begun = True
        if first:
            yield first
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
            yield Attachment(self._connection, stream, nonce)

    async def signal(
        self, job_id: str, directories: Sequence[str], signal: Signal, *, grace_seconds: int = GRACE_SECONDS
    ) -> SignalResult:
        """Pause, resume or cancel what runs in these directories of the job. Idempotent.

        Raises LinkDown, RemoteProtocolError.
        """
        return await self._signal(job_id, directories, signal.value, grace_seconds=grace_seconds)

    async def end_without_room(self, spec: AttemptSpec, needed_bytes: int) -> SignalResult:
        """End this attempt unless this many bytes are free where it writes; its end then says so.

        Raises LinkDown, RemoteProtocolError.
        """
        return await self._signal(
            spec.job_id, [spec.directory], "room", needed_bytes=needed_bytes, ui_home=spec.ui_home
        )

    async def _signal(
        self,
        job_id: str,
        directories: Sequence[str],
        what: str,
        *,
        grace_seconds: int = GRACE_SECONDS,
        needed_bytes: int = 0,
        ui_home: str = "",
    ) -> SignalResult:
        said, stderr = await self._answer(
            "signal.sh",
            job=str(UUID(job_id)),
            attempts=" ".join(directories),
            what=what,
            grace_seconds=grace_seconds,
            needed_bytes=needed_bytes,
            ui_home=ui_home,
        )
        found = _SIGNALLED.search(said)
        if found is None:
            raise RemoteProtocolError(f"the instance did not answer the {what}: {_text(stderr[-300:])!r}")
        files = _FILE.findall(said)[:PARTIAL_FILES_MAX]
        return SignalResult(
            was_running=found[1] == b"1",
            processes=int(found[2]),
            partial_files=_paths(files),
        )

    async def remove(self, *job_ids: str) -> None:
        """Remove what these jobs left on the instance."""
        await self._connection.run(COMMAND, program("remove.sh", jobs=" ".join(str(UUID(j)) for j in job_ids)))

    async def look(self, ui_home: str) -> Found:
        """What is on the instance: the directories of jobs, and whether its ``ui_home`` is what it should be."""
        listing, _ = await self._answer("list.sh", ui_home=ui_home)
        names = [name for name in _text(listing).split() if _is_job_id(name)][:JOBS_LISTED_MAX]
        said = _UI_HOME.search(listing)
        others = _paths(_ELSEWHERE.findall(listing)[:UI_HOMES_MAX])
        return Found(
            job_ids=tuple(names),
            ui_home=UiHome(said[1].decode()) if said is not None else None,
            elsewhere=tuple(dict.fromkeys(others)),
        )

    async def _answer(self, script: str, **variables: str | int) -> tuple[bytes, bytes]:
        """What the script printed after the nonce, and its standard error. Raises LinkDown, NoShell."""
        nonce = secrets.token_hex(16)
        sent = program(script, nonce=nonce, **variables)
        async with self._connection.open(COMMAND, sent) as stream:
            first = await program_begun(self._connection, stream, nonce.encode())
            return first + await self._connection.rest(stream), stream.stderr


def _is_job_id(name: str) -> bool:
    try:
        return str(UUID(name)) == name
    except ValueError:
        return False


def _paths(words: Sequence[bytes]) -> tuple[str, ...]:
    """The paths that these words in base64 name, without the words that are none."""
    return tuple(plain(path) for word in words if (path := decoded(word.decode("ascii"))))


def _text(data: bytes) -> str:
    return data.decode("utf-8", errors="replace").strip()
