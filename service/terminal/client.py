"""The client of the HTTP API, and a job's live events: each sequence once, also over restarts of the service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import aiohttp
import orjson

from service.errors import InstallerError
from service.terminal.text import harmless

TERMINAL = frozenset({"job_completed", "job_failed", "job_cancelled"})
CONNECT_SECONDS_MAX = 10.0
ANSWER_SECONDS_MAX = 60.0
# The service sends something at least every 15 seconds.
SILENCE_SECONDS_MAX = 40.0
AGAIN_SECONDS = 0.5
AGAIN_SECONDS_MAX = 5.0
EVENT_BYTES_MAX = 4 << 20


class ClientError(InstallerError):
    """The service refused or did not answer. ``status``: the HTTP status, 0 without an answer."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Lost:
    """The connection to the service broke; the client keeps trying to reconnect."""

    reason: str


@dataclass(frozen=True, slots=True)
class Back:
    """The client is connected again; the events continue where they stopped."""


Event = dict[str, Any]


class Client:
    """``async with Client(url, token)``."""

    def __init__(self, url: str, token: str | None) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Client:
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS_MAX, sock_connect=CONNECT_SECONDS_MAX)
        self._session = aiohttp.ClientSession(headers=self._headers, timeout=timeout, read_bufsize=EVENT_BYTES_MAX)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.close()

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Returns the JSON of the answer. Raises ClientError, with the service's own message if there is one."""
        params = {name: str(value) for name, value in (query or {}).items() if value is not None}
        status, raw, _ = await self._ask(method, path, params=params, json=body, headers=headers)
        answer = _json(raw)
        if status >= 400 or answer is None:
            raise ClientError(self._refusal(status, answer), status)
        return answer

    async def text(self, path: str) -> tuple[str, str]:
        """Returns the text of a card and its version, for If-Match. Raises ClientError."""
        status, raw, headers = await self._ask("GET", path, headers={"Accept": "text/markdown"})
        if status >= 400 or "ETag" not in headers:
            raise ClientError(self._refusal(status, _json(raw)), status)
        return raw.decode("utf-8", "replace"), headers["ETag"]

    async def _ask(self, method: str, path: str, **more: Any) -> tuple[int, bytes, Mapping[str, str]]:
        try:
            async with self._http.request(method, self._url + path, **more) as response:
                return response.status, await response.read(), response.headers
        except aiohttp.InvalidURL as error:
            raise ClientError(f'"{harmless(self._url)}" is not an address: write --url http://host:port') from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._unreachable(error) from error

    async def jobs(self, **query: Any) -> AsyncIterator[dict[str, Any]]:
        """Yields all jobs, newest first, page by page."""
        cursor: str | None = None
        while True:
            page = await self.call("GET", "/resources/jobs", query={**query, "limit": 500, "cursor": cursor})
            for job in page["jobs"]:
                yield job
            cursor = page["next"]
            if cursor is None:
                return

    async def job_id(self, name: str) -> str:
        """Returns the id of the one job whose id begins with ``name``. Raises ClientError."""
        if len(name) == 36:
            return name
        found = [job["job_id"] async for job in self.jobs() if name and job["job_id"].startswith(name.lower())]
        if not found:
            raise ClientError(f'unknown job "{harmless(name)}": list the jobs with `resource-installer jobs`')
        if len(found) > 1:
            raise ClientError(f'{len(found)} jobs begin with "{harmless(name)}": give more of the id')
        return str(found[0])

    async def follow(self, job_id: str, after: int = 0) -> AsyncIterator[Event | Lost | Back]:
        """Yields the events after ``after``, then live ones, until the job's last.

        Reconnects while the service does not answer; raises ClientError when it refuses."""
        seconds, is_lost = AGAIN_SECONDS, False
        while True:
            try:
                async for event in self._stream(job_id, after):
                    if is_lost:
                        is_lost, seconds = False, AGAIN_SECONDS
                        yield Back()
                    if event is None or event["sequence"] <= after:
                        continue
                    after = event["sequence"]
                    yield event
                    if event["type"] in TERMINAL:
                        return
                reason = "the service closed the connection"
            except _Ended:
                return
            except (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError):
                reason = "the connection broke"
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                reason = harmless(error) or type(error).__name__
            if not is_lost:
                is_lost = True
                yield Lost(reason)
            await asyncio.sleep(seconds)
            seconds = min(seconds * 2, AGAIN_SECONDS_MAX)

    @property
    def _http(self) -> aiohttp.ClientSession:
        assert self._session is not None, "use it with `async with`"
        return self._session

    async def _stream(self, job_id: str, after: int) -> AsyncIterator[Event | None]:
        """Yields the server-sent events of one connection; None when it is established and for each keep-alive."""
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
        timeout = aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS_MAX, sock_read=SILENCE_SECONDS_MAX)
        path = f"{self._url}/resources/jobs/{job_id}/events"
        async with self._http.get(path, headers=headers, timeout=timeout) as response:
            if response.status == 204:
                raise _Ended
            if response.status in (502, 503, 504):
                raise aiohttp.ClientConnectionError(f"HTTP status {response.status}")
            if response.status != 200:
                raise ClientError(self._refusal(response.status, _json(await response.read())), response.status)
            yield None
            async for line in response.content:
                if line.startswith(b"data:"):
                    yield orjson.loads(line[5:])
                elif line.startswith(b":"):
                    yield None

    def _unreachable(self, error: Exception) -> ClientError:
        why = harmless(error) or type(error).__name__
        return ClientError(
            f"no service answers at {harmless(self._url)} ({why}): start one with `resource-installer serve`, or give "
            "its address with --url or INSTALLER_URL"
        )

    def _refusal(self, status: int, answer: Any) -> str:
        if not isinstance(answer, dict) or not isinstance(answer.get("message"), str):
            return f"{harmless(self._url)} answers {status}, but not as this service would: check --url"
        if status == 401:
            return f"{harmless(answer['message'])}: give it with --token or INSTALLER_TOKEN"
        fields = [f"{e['field']}: {e['message']}" for e in answer.get("errors", ()) if e.get("field")]
        return harmless("; ".join(fields) if fields else answer["message"])


class _Ended(Exception):
    """The job has ended and the client has all of its events."""


def _json(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except ValueError:
        return None
