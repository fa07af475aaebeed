"""HTTP as bytes: what no well-behaved client would send."""

from __future__ import annotations

import asyncio

ANSWER_SECONDS_MAX = 60


async def answered(port: int, request: bytes, *, limit: int = 1 << 20) -> bytes:
    """All that the service answers until it closes the connection or the first answer is whole; empty if it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        got = b""
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            while len(got) < limit and not _is_whole(got, is_head=request.startswith(b"HEAD ")):
                try:
                    more = await reader.read(65536)
                except ConnectionError:
                    return got
                if not more:
                    return got
                got += more
        return got
    finally:
        writer.close()


def status_of(answer: bytes) -> int | None:
    """None: the connection was closed without an answer."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.") else None


def _is_whole(answer: bytes, *, is_head: bool) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    if not end or is_head:
        return bool(end)
    for line in head.lower().split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name == b"content-length":
            return len(body) >= int(value)
        if name == b"transfer-encoding":
            return body.endswith(b"0\r\n\r\n")
    return b" 101 " in head or b" 204 " in head
