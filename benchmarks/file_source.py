"""An HTTP server that serves a model of any size as fast as the kernel can: no measurement should wait for it."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BLOCK_BYTES = 1 << 20


class FileSource:
    """``url(size, name)``: a safetensors file of that many bytes with a valid header. ``sha256``: of its content."""

    def __init__(self, port: int) -> None:
        self._port = port

    def url(self, size: int, name: str) -> str:
        return f"http://127.0.0.1:{self._port}/{size}/{name}"

    def sha256(self, size: int) -> str:
        digest = hashlib.sha256(header(size))
        block = b"\1" * BLOCK_BYTES
        left = size - len(header(size))
        while left > 0:
            digest.update(block[:left])
            left -= BLOCK_BYTES
        return digest.hexdigest()


def header(size: int) -> bytes:
    """Of a file of one tensor. It is as long for every size."""
    tensor = {"dtype": "U8", "shape": [size], "data_offsets": [0, size - 256]}
    text = json.dumps({"weight": tensor}).encode().ljust(248)
    return len(text).to_bytes(8, "little") + text


@contextmanager
def file_source() -> Iterator[FileSource]:
    """One that serves until the end of the block, each connection in a thread of its own."""
    with tempfile.TemporaryFile() as block:
        block.write(b"\1" * BLOCK_BYTES)
        block.flush()
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(block.fileno()))
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1})
        thread.start()
        try:
            yield FileSource(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def _handler(block: int) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            size = int(self.path.split("/")[1])
            self.send_response(200)
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Length", str(size))
            self.end_headers()
            self.wfile.write(header(size))
            left = size - len(header(size))
            while left > 0:
                left -= os.sendfile(self.connection.fileno(), block, 0, min(left, BLOCK_BYTES))

        def log_message(self, *_: object) -> None:
            return

    return Handler
