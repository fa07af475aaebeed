"""An attempt that is followed: its log, and after that how it ended.

Both come over one session. The log is standard output after the nonce; the end is told on standard error after the same
nonce, so the log, which is hostile, cannot forge it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

from service.errors import LinkDown, NoAnswer, RemoteProtocolError
from service.runner.instance.ended import RIDDEN, Ended, ended_of, ridden_of
from service.runner.instance.login import program_begun
from service.runner.instance.ssh import Connection
from service.runner.instance.stream import Stream

_LEDGER = b"ledger"


class Attachment:
    """The log of an attempt from the wanted byte on, and after its end, how the attempt ended. ``position``: the offset
    of the next byte of the log. ``has_begun``: the program that follows it has."""

    def __init__(self, connection: Connection, stream: Stream, nonce: str, offset: int) -> None:
        self.position = offset
        self.has_begun = False
        self._connection = connection
        self._stream = stream
        self._nonce = nonce.encode()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Raises LinkDown, NoShell."""
        first = await program_begun(self._connection, self._stream, self._nonce)
        self.has_begun = True
        if first:
            self.position += len(first)
            # The log comes after the programs were laid.
            self._connection.has_programs = True
            yield first
        async for chunk in self._stream:
            self.position += len(chunk)
            self._connection.has_programs = True
            yield chunk

    @property
    def is_silent(self) -> bool:
        """Whether all that came so far was taken."""
        return self._stream.is_read

    @property
    def received_at(self) -> float:
        """When the chunk that was read last came, by the event loop's clock."""
        return self._stream.received_at

    def give_up(self, error: LinkDown) -> None:
        """The reader gets this error, after what came before it."""
        self._stream.finished(error, None)

    def ended(self) -> Ended:
        """How the attempt ended; ask after the end of the log. Raises LinkDown, RemoteProtocolError."""
        mark = self._nonce + b" "
        _, begun, line = self._stream.stderr.rpartition(b"\n" + self._nonce + b" ")
        if not begun and self.has_begun:
            raise NoAnswer("the instance ended the session before the attempt had ended")
        if not begun:
            printed = text_of(self._stream.stderr[-300:])
            raise RemoteProtocolError(f"the instance did not say how the attempt ended: {printed!r}")
        if line.startswith((_LEDGER, *RIDDEN)):
            raise NoAnswer("the instance ended the session before it said how the attempt ended")
        said = [line.removeprefix(mark) for line in self._stream.stderr.split(b"\n") if line.startswith(mark)]
        return replace(ended_of(text_of(line)), ledger=self._ledger(), ridden=ridden_of(said))

    def _ledger(self) -> tuple[str, ...] | None:
        """The records after the nonce; None where the attempt has no ledger."""
        mark = self._nonce + b" " + _LEDGER
        lines = [line for line in self._stream.stderr.split(b"\n") if line.startswith(mark)]
        records = tuple(text_of(line.removeprefix(mark)) for line in lines)
        return tuple(filter(None, records)) if lines else None


def text_of(data: bytes) -> str:
    return data.decode("utf-8", errors="replace").strip()
