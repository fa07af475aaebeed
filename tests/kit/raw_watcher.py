"""A client that speaks Socket.IO over a bare WebSocket: a tenth of the processor time of python-socketio's own, so that
forty of them beside the service measure the service and not themselves. Keeps the sequences only; ``heard`` gets each
payload."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import aiohttp
import orjson

NAMESPACE = "/resources"
EVENT = f'42{NAMESPACE},["resource_install_'
ACKNOWLEDGED = f"43{NAMESPACE},"
ANSWER_SECONDS_MAX = 60


class RawWatcher:
    """``join`` after the last event seen, ``cut`` without a close, ``leave``. Removes no duplicates."""

    def __init__(self, url: str, job_id: str, *, heard: Callable[[dict[str, Any]], None] | None = None) -> None:
        self.url = url
        self.job_id = job_id
        self.sequences: list[int] = []
        self._heard = heard
        self._http: aiohttp.ClientSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._reading: asyncio.Task[None] | None = None
        self._joined = asyncio.Event()

    async def join(self) -> None:
        """Connect and subscribe; returns after the acknowledgement. Raises ConnectionError if the link breaks."""
        self._joined.clear()
        self._http = aiohttp.ClientSession()
        target = self.url.replace("http", "ws") + "/socket.io/?EIO=4&transport=websocket"
        self._socket = await self._http.ws_connect(target, max_msg_size=0, compress=0)
        await self._socket.send_str(f"40{NAMESPACE},")
        self._reading = asyncio.create_task(self._read(self._socket))
        joining = asyncio.create_task(self._joined.wait())
        await asyncio.wait({joining, self._reading}, timeout=ANSWER_SECONDS_MAX, return_when=asyncio.FIRST_COMPLETED)
        joining.cancel()
        if not self._joined.is_set():
            raise ConnectionError("the service did not acknowledge the subscription")

    async def cut(self) -> None:
        """Break the connection without a close, as a tunnel does to a train."""
        self.transport.abort()
        await self.leave()

    async def leave(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            # The task may have been answering a ping when the connection was cut.
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await self._reading
            self._reading = None
        if self._http is not None:
            await self._http.close()
            self._http = None

    @property
    def transport(self) -> Any:
        assert self._socket is not None
        return self._socket._response.connection.transport  # type: ignore[union-attr]

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in socket:
            text = message.data
            if text == "2":
                await socket.send_str("3")
            elif text.startswith(f"40{NAMESPACE}"):
                wanted = orjson.dumps({"job_id": self.job_id, "after": self.sequences[-1] if self.sequences else 0})
                await socket.send_str(f'42{NAMESPACE},1["subscribe_install",{wanted.decode()}]')
            elif text.startswith(ACKNOWLEDGED):
                assert orjson.loads(text[text.index("[") :])[0]["success"], text
                self._joined.set()
            elif text.startswith(EVENT):
                payload = orjson.loads(text[text.index("[") :])[1]
                self.sequences.append(payload["sequence"])
                if self._heard is not None:
                    self._heard(payload)
