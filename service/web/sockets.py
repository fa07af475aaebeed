"""Socket.IO's handlers: connect with the token, subscribe to jobs, leave them.

Learned by trying: a client can send events that are called ``connect`` and ``disconnect``, and runs those handlers with
forged arguments.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from typing import Any

from aiohttp import web

from service.errors import (
    InvalidRequest,
    NotFound,
    RequestError,
    StoreError,
    StoreUnavailable,
    TooManyGuesses,
    Unauthorized,
    UnknownJob,
)
from service.events.job import Job
from service.store.journal import Journal
from service.web import refusals
from service.web.engine.server import ConnectionRefusedError, SocketServer
from service.web.engine.session import SESSION, Session
from service.web.peers import TokenBrake
from service.web.replay import Replay
from service.web.rooms import Rooms, Subscription
from service.web.socket_events import (
    AFTER_MAX,
    ERROR,
    NAMESPACE,
    SUBSCRIBE,
    SUBSCRIBED,
    UNSUBSCRIBE,
    SocketRefusal,
    SubscribeAnswer,
    Subscribed,
    UnknownJobError,
    UnsubscribeAnswer,
)

logger = logging.getLogger(__name__)


class Sockets:
    """What clients may ask for over Socket.IO. Built last: it reads the journal and fills the rooms."""

    def __init__(
        self,
        transport: SocketServer,
        rooms: Rooms,
        journal: Journal,
        *,
        api_token: str | None,
        brake: TokenBrake | None = None,
    ) -> None:
        self._transport = transport
        self._rooms = rooms
        self._journal = journal
        self._api_token = api_token
        self._brake = brake or TokenBrake()
        self.server = transport.server
        self.server.on("connect", self._connect, namespace=NAMESPACE)
        self.server.on("disconnect", self._disconnect, namespace=NAMESPACE)
        self.server.on(SUBSCRIBE, self._subscribe, namespace=NAMESPACE)
        self.server.on(UNSUBSCRIBE, self._unsubscribe, namespace=NAMESPACE)

    def attach(self, app: web.Application) -> None:
        self.server.attach(app)

    def start(self) -> None:
        self._transport.start()

    async def close(self) -> None:
        """Close every client, so that the process can end at once."""
        tasks = [subscription.task for subscription in self._rooms.all() if subscription.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._transport.stop()

    # --- handlers: python-socketio calls them with whatever a client sent ----------------------------------------

    async def _connect(self, sid: str, environ: Any, auth: Any = None) -> None:
        # A client can send an event that is called "connect"; its payload never holds a real session.
        session = environ.get(SESSION) if isinstance(environ, dict) else None
        if not isinstance(session, Session):
            return
        if self._api_token is not None:
            self._check_token(session, auth.get("token") if isinstance(auth, dict) else None, self._api_token)
            session.keep()
        session.joined()
        self._rooms.admit(sid)

    def _check_token(self, session: Session, given: Any, token: str) -> None:
        try:
            if given is not None:
                self._brake.check(session.peer)
        except TooManyGuesses as error:
            data = {"code": error.code, "retry_after_seconds": error.retry_after_seconds}
            raise ConnectionRefusedError(error.message, data) from None
        if not isinstance(given, str) or not hmac.compare_digest(given.encode(errors="surrogatepass"), token.encode()):
            if given is not None:
                self._brake.wrong(session.peer)
            raise ConnectionRefusedError("wrong or missing token: send auth {token}", {"code": Unauthorized.code})

    async def _disconnect(self, sid: str, *_reason: Any) -> None:
        # A client can forge this event as well; then it is still connected, and nothing happens.
        if not self.server.manager.is_connected(sid, NAMESPACE):
            self._rooms.dismiss(sid)
            session = self._transport.session(sid)
            if session is not None:
                session.left()

    async def _subscribe(self, sid: str, data: Any = None, *_more: Any) -> SubscribeAnswer | SocketRefusal:
        try:
            job, after = await self._checked(data)
            subscription = Subscription(sid, self._transport.engine_sid(sid), job.job_id, after, self._replay)
            self._rooms.subscribe(subscription)
            if (session := self._transport.session(sid)) is not None:
                session.keep()
        except UnknownJob as error:
            unknown: UnknownJobError = {
                "job_id": data["job_id"],
                "error": error.message,
                "cause": "unknown_job",
                "code": error.code,
            }
            await self.server.emit(ERROR, unknown, to=sid, namespace=NAMESPACE)
            return refusals.acknowledgement(error)
        except RequestError as error:
            return refusals.acknowledgement(error)
        except StoreError as error:
            return refusals.acknowledgement(StoreUnavailable(str(error)))
        answer: Subscribed = {"job_id": job.job_id, "last_sequence": job.last_sequence, "state": job.state}
        # The acknowledgement goes out when this returns, and nothing of the replay may overtake it.
        compact = data.get("replay") == "compact"
        asyncio.get_running_loop().call_soon(self._begin, subscription, answer, compact)
        return {"success": True, **answer}

    async def _unsubscribe(self, sid: str, data: Any = None, *_more: Any) -> UnsubscribeAnswer | SocketRefusal:
        job_id = data.get("job_id") if isinstance(data, dict) else None
        subscription = self._rooms.find(sid, job_id) if isinstance(job_id, str) else None
        if subscription is None:
            return refusals.acknowledgement(NotFound("not subscribed to this job"))
        self._rooms.end(subscription)
        return {"success": True, "job_id": subscription.job_id}

    async def _checked(self, data: Any) -> tuple[Job, int]:
        if not isinstance(data, dict) or not isinstance(data.get("job_id"), str):
            raise InvalidRequest('job_id is missing: send {"job_id": "…"}')
        after = data.get("after", 0)
        if isinstance(after, bool) or not isinstance(after, int) or not 0 <= after <= AFTER_MAX:
            raise InvalidRequest("after must be an integer, 0 or more")
        if data.get("replay", "full") not in ("full", "compact"):
            raise InvalidRequest("replay must be full or compact")
        return await self._journal.check_after(data["job_id"], after), after

    # --- serving a subscription from the log ---------------------------------------------------------------------

    def _begin(self, subscription: Subscription, answer: Subscribed, compact: bool) -> None:
        if self._rooms.is_current(subscription):
            subscription.run(self._welcome(subscription, answer, compact))

    def _replay(self, subscription: Subscription) -> None:
        """A live subscription fell behind."""
        subscription.run(self._serve(subscription, compact=False))

    async def _welcome(self, subscription: Subscription, answer: Subscribed, compact: bool) -> None:
        await self.server.emit(SUBSCRIBED, answer, to=subscription.sid, namespace=NAMESPACE)
        await self._serve(subscription, compact=compact)

    async def _serve(self, subscription: Subscription, *, compact: bool) -> None:
        replay = Replay(subscription, journal=self._journal, rooms=self._rooms, transport=self._transport)
        try:
            await (replay.run_compact() if compact else replay.run())
        except StoreError:
            # Nothing is lost: the client comes back with the last sequence that it saw.
            logger.exception("replay of job %s to a client failed", subscription.job_id)
            await self.server.disconnect(subscription.sid, namespace=NAMESPACE)
