"""The remote protocol: attempts that run detached on the instance, found and followed again from any byte.

Each exec is the same constant command, ``exec sh``; everything else comes on its standard input, so that no secret and
no text of a card is ever on a command line. What a login shell prints before is thrown away up to a random nonce, and
how an attempt ended comes on standard error behind the same nonce: the log, which is hostile, cannot forge it.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import shlex
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import resources
from uuid import UUID

from service.errors import LinkDown, RemoteProtocolError
from service.events.lines import plain
from service.runner.instance.shims import commands, shim_program
from service.runner.instance.ssh import Connection, Stream
from service.runner.outcome import Ended

COMMAND = "exec sh"
PAUSE, RESUME, CANCEL = "pause", "resume", "cancel"
GRACE_SECONDS = 10
PARTIAL_FILES_MAX = 20
NOISE_BYTES_MAX = 1 << 20
FREE_KIB_MIN = 64
JOBS_LISTED_MAX = 10_000

_EXIT = re.compile(r"exit (\d{1,3}) ([012]) (\d{1,18}|-)\s*")
_ROOM = re.compile(r"room (\d{1,18}) (\d{1,18})")
_TOLD = re.compile(rb"^told ([01]) (\d{1,9})$", re.MULTILINE)
_FILE = re.compile(rb"^file ([A-Za-z0-9+/=]{1,800})$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptSpec:
    """One attempt at one resource. ``must_exist``: some of its output is in the log already, so that nothing is ever
    started for it again; a directory that is gone means that the instance is lost.

    ``phase``: download, or verify, which is a run of its own beside it. ``bandwidth_bytes_per_second``: None for no
    limit. ``stall_seconds``: 0 for no watch. ``size_bytes``: the room that it needs, None when it is not known.
    """

    job_id: str
    number: int
    attempt: int
    card_script: str
    ui_home: str
    timeout_seconds: int
    remote_path: str = ""
    civitai_api_key: str | None = None
    hf_token: str | None = None
    must_exist: bool = False
    phase: str = "download"
    stall_seconds: int = 0
    bandwidth_bytes_per_second: int | None = None
    size_bytes: int | None = None
    provision_tools: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What came of a signal: whether the attempt was found running, how many processes got it, and, behind a cancel,
    the files that were left half done."""

    running: bool
    processes: int
    partial_files: tuple[str, ...] = ()


class Attachment:
    """The log of an attempt from the wanted byte on, and, behind its end, how the attempt ended."""

    def __init__(self, stream: Stream, nonce: str) -> None:
        self._stream = stream
        self._nonce = nonce.encode()
        self._begun = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Raises LinkDown, RemoteProtocolError."""
        mark = b"\n" + self._nonce + b"\n"
        noise = b""
        async for chunk in self._stream:
            noise += chunk
            begin = noise.find(mark)
            if begin >= 0:
                self._begun = True
                if len(noise) > begin + len(mark):
                    yield noise[begin + len(mark) :]
                break
            if len(noise) > NOISE_BYTES_MAX:
                raise RemoteProtocolError("the login shell of the instance prints without end")
        async for chunk in self._stream:
            yield chunk

    def ended(self) -> Ended:
        """How the attempt ended; asked behind the end of the log. Raises LinkDown, RemoteProtocolError."""
        _, mark, said = self._stream.stderr.rpartition(b"\n" + self._nonce + b" ")
        if not mark and self._begun:
            raise LinkDown("the instance ended the session before the attempt had ended")
        if not mark:
            said = self._stream.stderr[-300:]
            raise RemoteProtocolError(f"the instance did not say how the attempt ended: {_text(said)!r}")
        return _ended(_text(said))


class Remote:
    """The protocol over one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @asynccontextmanager
    async def attach(self, spec: AttemptSpec, offset: int) -> AsyncIterator[Attachment]:
        """Start the attempt if it never was, find it if it was; follow its log from byte ``offset``. Idempotent."""
        nonce = secrets.token_hex(16)
        program = _program("attach.sh", nonce=nonce, offset=offset, **_variables(spec))
        async with self._connection.open(COMMAND, program) as stream:
            yield Attachment(stream, nonce)

    async def signal(
        self, job_id: str, number: int, attempt: int, what: str, *, grace_seconds: int = GRACE_SECONDS
    ) -> Told:
        """Pause, resume or cancel what runs of this attempt. Idempotent. Raises LinkDown, RemoteProtocolError."""
        nonce = secrets.token_hex(16)
        names = f"{number}-{attempt} {number}-{attempt}-verify"
        program = _program(
            "signal.sh", nonce=nonce, job=str(UUID(job_id)), attempts=names, what=what, grace_seconds=grace_seconds
        )
        answer = await self._connection.run(COMMAND, program)
        said = answer.stdout.rpartition(b"\n" + nonce.encode() + b"\n")[2]
        told = _TOLD.search(said)
        if told is None:
            raise RemoteProtocolError(f"the instance did not say what came of {what}: {_text(answer.stderr[-300:])!r}")
        files = _FILE.findall(said)[:PARTIAL_FILES_MAX]
        return Told(
            running=told[1] == b"1",
            processes=int(told[2]),
            partial_files=tuple(plain(base64.b64decode(file)) for file in files),
        )

    async def remove(self, *job_ids: str) -> None:
        """Remove what these jobs left on the instance."""
        await self._connection.run(COMMAND, _program("remove.sh", jobs=" ".join(str(UUID(j)) for j in job_ids)))

    async def sweep(self, ended_among: Callable[[list[str]], Awaitable[list[str]]]) -> None:
        """Remove the directories of ended jobs. Those that ``ended_among`` does not know stay: another service may
        use the same instance."""
        nonce = secrets.token_hex(16)
        answer = await self._connection.run(COMMAND, _program("list.sh", nonce=nonce))
        names = _text(answer.stdout.rpartition(b"\n" + nonce.encode() + b"\n")[2]).split()[:JOBS_LISTED_MAX]
        ended = await ended_among([name for name in names if _is_job_id(name)])
        if ended:
            await self.remove(*ended)


def _variables(spec: AttemptSpec) -> dict[str, str | int]:
    return {
        "job": str(UUID(spec.job_id)),
        "name": f"{spec.number}-{spec.attempt}" + ("" if spec.phase == "download" else f"-{spec.phase}"),
        "must_exist": int(spec.must_exist),
        "timeout_seconds": spec.timeout_seconds,
        "stall_seconds": spec.stall_seconds,
        "bandwidth": spec.bandwidth_bytes_per_second or "",
        "provision": int(spec.provision_tools),
        "needed_bytes": "" if spec.size_bytes is None or spec.phase != "download" else spec.size_bytes,
        "ui_home": spec.ui_home,
        "remote_path": spec.remote_path,
        "card": spec.card_script + "\n",
        "supervise": _script("supervise.sh"),
        "shim": shim_program(),
        "commands": " ".join(commands()),
        "civitdl_config": civitdl_config(spec.civitai_api_key or ""),
        "hf_token": spec.hf_token or "",
    }


def civitdl_config(api_key: str, *, retry_count: int = 0, pause_seconds: float = 0.0) -> str:
    """civitdl 2.2.0's config file with its own defaults, read from its source, and the key: the one place for a key
    that no process list shows. Its own retries and pauses are off, which its options cannot do (a zero there falls
    back to this file)."""
    return json.dumps(
        {
            "version": "1",
            "default": {
                "sorter": "basic",
                "max_images": 3,
                "nsfw_mode": "2",
                "api_key": api_key,
                "with_prompt": True,
                "without_model": False,
                "limit_rate": "0",
                "retry_count": retry_count,
                "pause_time": pause_seconds,
                "cache_mode": "1",
                "strict_mode": "1",
                "model_overwrite": False,
                "with_color": True,
            },
            "sorters": [["basic", "", "basic"], ["tags", "", "tags"]],
            "aliases": [],
        }
    )


def _ended(said: str) -> Ended:
    word, _, rest = said.strip().partition(" ")
    found = _EXIT.fullmatch(said.strip())
    if found is not None:
        status, how, free_kib = found.groups()
        return Ended(
            exit_code=int(status),
            timed_out=how == "1",
            stalled=how == "2",
            disk_full=free_kib != "-" and int(free_kib) < FREE_KIB_MIN,
        )
    room = _ROOM.fullmatch(said.strip())
    if room is not None:
        return Ended(exit_code=None, no_room=(int(room[1]), int(room[2])))
    if word == "held":
        raise LinkDown("the attempt goes on, but its log could not be followed")
    if word == "refused":
        return Ended(exit_code=None, refused=rest[:300])
    if word == "missing":
        return Ended(exit_code=None, tool_missing=rest)
    # An `exit` file that is there but not valid was written onto a full disk, or not by the supervisor.
    return Ended(exit_code=None, instance_lost=word == "lost", disk_full=word == "full")


def _program(script: str, **variables: str | int) -> bytes:
    """A shell program: quoted assignments, then the script. Raises RemoteProtocolError for what no shell can hold."""
    lines = [f"{name}={shlex.quote(str(value))}" for name, value in variables.items()]
    if any("\0" in line for line in lines):
        raise RemoteProtocolError("a NUL byte cannot be sent to the instance")
    return "\n".join([*lines, _script(script)]).encode()


def _script(name: str) -> str:
    return (resources.files("service.runner.instance") / "scripts" / name).read_text(encoding="utf-8")


def _is_job_id(name: str) -> bool:
    try:
        return str(UUID(name)) == name
    except ValueError:
        return False


def _text(data: bytes) -> str:
    return data.decode("utf-8", errors="replace").strip()
