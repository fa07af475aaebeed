"""The login before a program: all that an instance prints first, up to the nonce with which the program begins.

A login shell may print a banner, and that is dropped. It may also never run the program (a menu, an ``exit`` in
``.bashrc``, an account without a shell): then what it printed is the only explanation, so it is part of the error.
"""

from __future__ import annotations

import asyncio

from service.errors import LinkDown, NoShell
from service.events.lines import plain
from service.runner.instance.ssh import Connection
from service.runner.instance.stream import Stream

NOISE_BYTES_MAX = 1 << 20
# Of each of standard output and standard error: the end, where a refusal stands after the banner.
SHOWN_BYTES_MAX = 240


async def program_begun(connection: Connection, stream: Stream, nonce: bytes) -> bytes:
    """Wait for the line with the nonce; returns what the program printed after it so far. Raises NoShell, LinkDown."""
    mark = b"\n" + nonce + b"\n"
    noise = bytearray()
    seconds = connection.begin_seconds
    try:
        async with asyncio.timeout(seconds):
            async for chunk in stream:
                # Each byte is looked at once, however small the chunks are.
                looked_at = max(0, len(noise) - len(mark) + 1)
                noise += chunk
                begin = noise.find(mark, looked_at)
                if begin >= 0:
                    connection.has_run = True
                    return bytes(noise[begin + len(mark) :])
                if len(noise) > NOISE_BYTES_MAX:
                    raise _no_shell(connection, "the login prints without end", noise, stream)
    except NoShell:
        raise
    except LinkDown as error:
        # A gateway in front of the instance says why, and closes the connection.
        if connection.has_run or not (noise or stream.stderr):
            raise
        raise _no_shell(connection, "the connection was closed at the login", noise, stream) from error
    except TimeoutError as error:
        how = f"the login did not run the command in {seconds:g} seconds"
        raise _no_shell(connection, how, noise, stream) from error
    how = f"the login ended with exit status {stream.exit_status} and did not run the command"
    raise _no_shell(connection, how, noise, stream)


def _no_shell(connection: Connection, how: str, noise: bytearray, stream: Stream) -> NoShell:
    printed = " ".join(filter(None, (_shown(noise), _shown(stream.stderr))))
    said = f'it printed "{printed}"' if printed else "it printed nothing"
    return NoShell(f"{connection.instance} accepts the key, but {how}: {said}")


def _shown(printed: bytes | bytearray) -> str:
    """The last lines on one line, without colours and control characters."""
    lines = (plain(line) for line in bytes(printed[-SHOWN_BYTES_MAX:]).replace(b"\r", b"\n").split(b"\n"))
    return " ".join(line for line in lines if line)
