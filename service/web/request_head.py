"""The head of a request, bounded as a whole: aiohttp only bounds each line, and how many there are."""

from __future__ import annotations

HEAD_BYTES_MAX = 16 << 10
HEAD_END = b"\r\n\r\n"
TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nConnection: close\r\n"
    b"Server: resource-installer\r\n\r\n"
)


class RequestHead:
    """The size of one request's head while it comes in. ``is_open``: its end has not come yet."""

    __slots__ = ("_size", "_tail", "is_open")

    def __init__(self) -> None:
        self.is_open = True
        self._size = 0
        # An end that is cut in two by the pieces in which it comes is found with the last bytes of the piece before.
        self._tail = b""

    def grow(self, data: bytes) -> int:
        """The bytes of the head so far. Each byte is looked at once, however it comes."""
        window = self._tail + data
        end = window.find(HEAD_END)
        if end >= 0:
            self.is_open = False
            size, self._tail = self._size + end - len(self._tail), b""
            return size
        self._tail = window[-len(HEAD_END) + 1 :]
        self._size += len(data)
        return self._size
