"""The remote protocol: attempts that run detached on the instance, found and followed again from any byte.

Each exec is the same constant command, ``exec sh``; everything else comes on its standard input. What a login shell
prints first is dropped up to a random nonce, and how an attempt ended comes on standard error after the same nonce:
the log, which is hostile, cannot forge it.
"""

from __future__ import annotations

import asyncio
import base64
import re
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from service.errors import LeaseLost, NoAnswer, RemoteProtocolError
from service.events.lines import plain
from service.runner.instance import inventory
from service.runner.instance.attachment import Attachment, text_of
from service.runner.instance.attempt_program import AttemptSpec, attach_program, program, programs
from service.runner.instance.ended import STALE
from service.runner.instance.login import program_begun
from service.runner.instance.problems import decoded
from service.runner.instance.ssh import ANSWER_BYTES_MAX, Connection

COMMAND = "exec sh"
GRACE_SECONDS = 10
PARTIAL_FILES_MAX = 20
JOBS_LISTED_MAX = 10_000
UI_HOMES_MAX = 5
EQUIPMENT_LINES_MAX = 100

_SIGNALLED = re.compile(rb"^signalled ([01]) (\d{1,9})$", re.MULTILINE)
_SIZE = re.compile(rb"^size *(\d{1,15})$", re.MULTILINE)
_JOB_ID = re.compile(rb"^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$", re.MULTILINE)
_PROGRAMS = re.compile(rb"^programs ready$", re.MULTILINE)
_UI_HOME = re.compile(rb"^ui_home (ready|missing|other)$", re.MULTILINE)
_ELSEWHERE = re.compile(rb"^elsewhere ([A-Za-z0-9+/=]{1,800})$", re.MULTILINE)
_STALE_LINE = re.compile(rb"^stale$", re.MULTILINE)
_REMOVED = re.compile(rb"gone|removed (?P<size>\d{1,15})|stays (?P<why>[A-Za-z0-9+/=]{0,800})")
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """What an instance says of an attempt: whether it runs, and the length of its log; None if there is none."""

    is_running: bool
    log_bytes: int | None


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Equipment:
    """``tools``: those of the wanted ones that are there."""

    tools: tuple[str, ...]
    disk: inventory.Disk | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """``path``: below models/. ``size``: the bytes that it had, None if it was not there. ``problem``: why it stays."""

    path: str
    size: int | None
    problem: str | None = None


class Remote:
    """The protocol over one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @asynccontextmanager
    async def attach(self, spec: AttemptSpec, offset: int) -> AsyncIterator[Attachment]:
        """Start the attempt if it never was, find it if it was; follow its log from byte ``offset``. Idempotent."""
        nonce = secrets.token_hex(16)
        has_programs = self._connection.has_programs
        # No name for it, which would keep it as long as the attempt is followed.
        async with self._connection.open(
            COMMAND, attach_program(spec, nonce=nonce, offset=offset, has_programs=has_programs)
        ) as stream:
            yield Attachment(self._connection, stream, nonce, offset)

    async def signal(
        self, spec: AttemptSpec, directories: Sequence[str], signal: Signal, *, grace_seconds: int = GRACE_SECONDS
    ) -> SignalResult:
        """Pause, resume or cancel what runs in these directories of the attempt's job. Idempotent.

        Raises LinkDown, RemoteProtocolError, LeaseLost.
        """
        return await self._signal(spec, directories, signal.value, grace_seconds=grace_seconds)

    async def sign_of(self, spec: AttemptSpec) -> Sign:
        """Whether this attempt runs, asked beside its log. Raises LinkDown, also when the answer makes no sense."""
        said, _ = await self._ask(spec, [spec.directory], "ask")
        found = _SIGNALLED.search(said)
        if found is None:
            raise NoAnswer("the instance did not say whether the attempt runs")
        size = _SIZE.search(said)
        return Sign(is_running=found[1] == b"1", log_bytes=int(size[1]) if size is not None else None)

    async def end_without_room(self, spec: AttemptSpec, needed_bytes: int) -> SignalResult:
        """End this attempt unless this many bytes are free where it writes; its end then says so.

        Raises LinkDown, RemoteProtocolError.
        """
        return await self._signal(spec, [spec.directory], "room", needed_bytes=needed_bytes, ui_home=spec.ui_home)

    async def _signal(
        self, spec: AttemptSpec, directories: Sequence[str], what: str, **more: str | int
    ) -> SignalResult:
        said, stderr = await self._ask(spec, directories, what, **more)
        if _STALE_LINE.search(said):
            raise LeaseLost(STALE)
        found = _SIGNALLED.search(said)
        if found is None:
            raise RemoteProtocolError(f"the instance did not answer the {what}: {text_of(stderr[-300:])!r}")
        files = _FILE.findall(said)[:PARTIAL_FILES_MAX]
        return SignalResult(
            was_running=found[1] == b"1",
            processes=int(found[2]),
            partial_files=_paths(files),
        )

    async def _ask(
        self, spec: AttemptSpec, directories: Sequence[str], what: str, **more: str | int
    ) -> tuple[bytes, bytes]:
        """``more``: what signal.sh has to know beyond the usual."""
        usual: dict[str, str | int] = {"grace_seconds": GRACE_SECONDS, "needed_bytes": 0, "ui_home": ""}
        usual |= {"job": str(UUID(spec.job_id)), "epoch": spec.epoch, "attempts": " ".join(directories), "what": what}
        return await self._answer("signal.sh", **(usual | more))

    async def remove(self, epochs: Mapping[str, int], *, keep_logs: bool = False) -> None:
        """Remove what these jobs left on the instance, except their logs if these are wanted. ``epochs``: of the owner
        of each job; one that a later owner was there for stays as it is."""
        jobs = " ".join(f"{UUID(job_id)}:{epoch}" for job_id, epoch in epochs.items())
        await self._connection.run(COMMAND, program("remove.sh", jobs=jobs, keep_logs=int(keep_logs)))

    async def look(self, ui_home: str) -> Found:
        """What is on the instance: the directories of jobs, and whether its ``ui_home`` is what it should be."""
        name, _ = programs()
        listing, _ = await self._answer("list.sh", programs=name, ui_home=ui_home)
        self._connection.has_programs = _PROGRAMS.search(listing) is not None
        names = [name.decode() for name in _JOB_ID.findall(listing)[:JOBS_LISTED_MAX]]
        said = _UI_HOME.search(listing)
        others = _paths(_ELSEWHERE.findall(listing)[:UI_HOMES_MAX])
        return Found(
            job_ids=tuple(names),
            ui_home=UiHome(said[1].decode()) if said is not None else None,
            elsewhere=tuple(dict.fromkeys(others)),
        )

    async def inventory(self, ui_home: str) -> inventory.Inventory:
        """What lies in the models folder below ``ui_home``. Raises LinkDown, NoShell, RemoteProtocolError."""
        wanted: dict[str, str | int] = {"ui_home": ui_home, "files_max": inventory.FILES_MAX}
        said, _ = await self._long_answer(inventory.ANSWER_BYTES_MAX, "inventory.sh", **wanted)
        # In a thread: thousands of files take a while.
        return await asyncio.to_thread(inventory.read_inventory, said, ui_home)

    async def equipment(self, ui_home: str, tools: Sequence[str], remote_path: str) -> Equipment:
        """Which of these tools are there, and the disk where ``ui_home`` is or will be. Raises LinkDown, NoShell."""
        said, _ = await self._answer("checkup.sh", ui_home=ui_home, tools=" ".join(tools), remote_path=remote_path)
        lines = said.split(b"\n")[:EQUIPMENT_LINES_MAX]
        named = {line.removeprefix(b"tool ").decode("latin-1") for line in lines if line.startswith(b"tool ")}
        return Equipment(
            tools=tuple(tool for tool in tools if tool in named),
            disk=next((disk for line in lines if (disk := inventory.read_disk(line)) is not None), None),
        )

    async def remove_files(self, job_id: str, epoch: int, ui_home: str, paths: Sequence[str]) -> list[Removed]:
        """Remove these files below the models folder, for this owner of the job; one that is not there is removed.
        Idempotent. Raises LinkDown, NoShell, RemoteProtocolError, LeaseLost."""
        words = " ".join(base64.b64encode(path.encode()).decode() for path in paths)
        owner: dict[str, str | int] = {"job": str(UUID(job_id)), "epoch": epoch}
        said, _ = await self._answer("remove_files.sh", ui_home=ui_home, paths=words, **owner)
        if _STALE_LINE.search(said):
            raise LeaseLost(STALE)
        lines = said.split(b"\n")[:-1]
        if lines == [b"missing"]:
            return [Removed(path=path, size=None) for path in paths]
        found = [_REMOVED.fullmatch(line) for line in lines]
        if len(found) != len(paths) or None in found:
            raise RemoteProtocolError("the instance did not say what it removed")
        return [_removed(path, match) for path, match in zip(paths, found, strict=True) if match is not None]

    async def _answer(self, script: str, **variables: str | int) -> tuple[bytes, bytes]:
        """What the script printed after the nonce, and its standard error. Raises LinkDown, NoShell."""
        return await self._long_answer(ANSWER_BYTES_MAX, script, **variables)

    async def _long_answer(self, bytes_max: int, script: str, **variables: str | int) -> tuple[bytes, bytes]:
        nonce = secrets.token_hex(16)
        sent = program(script, nonce=nonce, **variables)
        async with self._connection.open(COMMAND, sent) as stream:
            first = await program_begun(self._connection, stream, nonce.encode())
            return first + await self._connection.rest(stream, bytes_max), stream.stderr


def _removed(path: str, match: re.Match[bytes]) -> Removed:
    if match["why"] is not None:
        why = decoded(match["why"].decode("ascii")) or b""
        return Removed(path=path, size=None, problem=plain(why) or "the instance did not say why")
    return Removed(path=path, size=int(match["size"]) if match["size"] is not None else None)


def _paths(words: Sequence[bytes]) -> tuple[str, ...]:
    """The paths that these words in base64 name, without the words that are none."""
    return tuple(plain(path) for word in words if (path := decoded(word.decode("ascii"))))
