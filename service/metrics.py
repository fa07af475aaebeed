"""The figures for a monitoring system at ``/metrics``, in Prometheus' text form.

It has a registry of its own and no global state. The event store reports each commit, once; all other figures are
looked up at a scrape.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import func, select

from service.events.job import JobState
from service.store.append import Append
from service.store.cluster import Figures
from service.store.database import Database
from service.store.tables import events, jobs

SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
EVENTS_A_COMMIT = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 4_096)
# With more replays at once than this, only the lag of the first ones is looked up.
REPLAYS_MAX = 500


_GAUGES = {
    "owned_jobs": "Installs that this replica follows.",
    "lease_seconds_left": "How long this replica may still act without another renewal.",
    "news_lag_seconds": "Time since this replica last looked for what others appended.",
}
_COUNTERS = {
    "leases_lost": "Leases that this replica lost.",
    "takeovers": "Leases of others that ended and that this replica found.",
    "append_conflicts": "Appends that another writer was faster than; each was decided again.",
    "lost_replies": "Commits whose reply did not come; the log was asked.",
    "listener_reconnects": "Times that the connection broke on which this replica hears of what others append.",
}


class Metrics:
    """The event store calls ``committed`` after each commit; ``render`` answers a scrape.

    ``clients``: how many are connected. ``replaying``: of each subscription that is not live, its job and the last
    sequence that it was sent. ``cluster``: this replica among those that share the log.
    """

    def __init__(
        self,
        database: Database,
        *,
        version: str,
        clients: Callable[[], int],
        replaying: Callable[[], Sequence[tuple[str, int]]],
        cluster: Callable[[], Figures],
    ) -> None:
        self._database = database
        self._clients = clients
        self._replaying = replaying
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(_ClusterCollector(cluster))
        build = Gauge("installer_build_info", "The version of the service.", ["version"], registry=registry)
        build.labels(version).set(1)
        self._events = Counter("installer_events_appended", "Events appended to the log.", registry=registry)
        self._remote_bytes = Counter(
            "installer_remote_bytes", "Bytes of the instances' logs that were read and recorded.", registry=registry
        )
        self._commit_seconds = Histogram(
            "installer_commit_seconds", "Time of one commit of the log.", buckets=SECONDS, registry=registry
        )
        self._publish_seconds = Histogram(
            "installer_publish_seconds",
            "Time from a commit until its events are in the queues of all live clients.",
            buckets=SECONDS,
            registry=registry,
        )
        self._commit_events = Histogram(
            "installer_commit_events", "Events in one commit.", buckets=EVENTS_A_COMMIT, registry=registry
        )
        self._jobs = Gauge(
            "installer_jobs", "Jobs in the log, by state; of all replicas.", ["state"], registry=registry
        )
        self._queue_jobs = Gauge("installer_queue_jobs", "Jobs that wait for their instance.", registry=registry)
        self._queue_instances = Gauge("installer_queue_instances", "Instances that jobs wait for.", registry=registry)
        self._clients_connected = Gauge("installer_clients", "Connected Socket.IO clients.", registry=registry)
        self._clients_replaying = Gauge(
            "installer_replaying_subscriptions", "Subscriptions served from the log, not live.", registry=registry
        )
        self._replay_lag = Gauge(
            "installer_replay_lag_events", "Events the slowest replay still has to receive.", registry=registry
        )
        self._wal = Gauge("installer_wal_bytes", "Size of the database's write-ahead log.", registry=registry)

    def committed(self, appends: Sequence[Append], commit_seconds: float, publish_seconds: float) -> None:
        """Count one commit of the log, however many events it holds."""
        count = sum(len(append.events) for append in appends)
        self._events.inc(count)
        self._commit_events.observe(count)
        self._commit_seconds.observe(commit_seconds)
        self._publish_seconds.observe(publish_seconds)
        self._remote_bytes.inc(sum(map(_remote_bytes, appends)))

    async def render(self) -> bytes:
        """All figures as they are now. Raises StoreUnavailable."""
        states, queued, lag = await self._look_up()
        for state in JobState:
            self._jobs.labels(state.value).set(states.get(state.value, 0))
        self._queue_jobs.set(states.get(JobState.QUEUED.value, 0))
        self._queue_instances.set(queued)
        self._clients_connected.set(self._clients())
        self._clients_replaying.set(len(self._replaying()))
        self._replay_lag.set(lag)
        self._wal.set(self._database.wal_bytes())
        # It reads this process's files in /proc.
        return await asyncio.to_thread(generate_latest, self._registry)

    async def _look_up(self) -> tuple[dict[str, int], int, int]:
        """Jobs by state, instances with a queue, the lag of the slowest replay."""
        replaying = list(self._replaying())[:REPLAYS_MAX]
        by_state = select(jobs.c.state, func.count()).group_by(jobs.c.state)
        instances = select(func.count(jobs.c.instance_key.distinct())).where(jobs.c.state == JobState.QUEUED)
        ends = select(events.c.job_id, func.max(events.c.sequence)).where(
            events.c.job_id.in_({job_id for job_id, _ in replaying})
        )
        async with self._database.read() as connection:
            states = {str(state): int(count) for state, count in (await connection.execute(by_state)).all()}
            queued = int((await connection.execute(instances)).scalar_one())
            found = (await connection.execute(ends.group_by(events.c.job_id))).all() if replaying else []
        last = {str(job_id): int(sequence) for job_id, sequence in found}
        return states, queued, max((last.get(job_id, after) - after for job_id, after in replaying), default=0)


class _ClusterCollector(Collector):
    """Looks its figures up at each scrape."""

    def __init__(self, figures: Callable[[], Figures]) -> None:
        self._figures = figures

    def describe(self) -> Iterator[Metric]:
        """Nothing is looked up before the first scrape."""
        yield from ()

    def collect(self) -> Iterator[Metric]:
        figures = self._figures()
        for name, text in _GAUGES.items():
            yield GaugeMetricFamily(f"installer_{name}", text, value=getattr(figures, name))
        for name, text in _COUNTERS.items():
            yield CounterMetricFamily(f"installer_{name}", text, value=getattr(figures, name))


def _remote_bytes(append: Append) -> int:
    """How far this append advanced in the instance's logs; each phase has a log of its own, which begins at 0."""
    if append.before is None:
        return 0
    total = 0
    for before, after in zip(append.before.resources, append.after.resources, strict=True):
        if before is not after:
            moved = after.source_offset - before.source_offset
            total += moved if moved >= 0 else after.source_offset
    return total
