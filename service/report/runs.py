"""The runs of tools as a table: what each loaded, from where, how it ended, how long it took."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from service.events.recorded_event import RecordedEvent
from service.events.runs import base_name

RUNS_MAX = 500

Data = dict[str, Any]


@dataclass(slots=True)
class Run:
    """One run; what its end says is None while it has none."""

    resource: str
    attempt: int
    number: int
    tool: str
    file: str | None
    address: str | None
    is_judged: bool
    sequence: int
    started_ms: int
    status: int | None = None
    bytes: int | None = None
    seconds: float | None = None

    @property
    def what(self) -> str:
        return f"{self.tool} {self.file}" if self.file else self.tool

    def to_dict(self) -> Data:
        return {
            "resource": self.resource,
            "attempt": self.attempt,
            "run": self.number,
            "tool": self.tool,
            "file": self.file,
            "address": self.address,
            "judged": self.is_judged,
            "status": self.status,
            "bytes": self.bytes,
            "seconds": self.seconds,
            "sequence": self.sequence,
        }


class Runs:
    """``begin`` and ``end`` runs in the order of their events. Beyond RUNS_MAX they are not kept."""

    def __init__(self) -> None:
        self._runs: dict[tuple[str, int, int], Run] = {}

    def begin(self, recorded: RecordedEvent, data: Data) -> Run | None:
        key = _key(recorded, data)
        if len(self._runs) >= RUNS_MAX:
            return None
        destination = data.get("destination")
        run = self._runs[key] = Run(
            *key,
            tool=data["tool"],
            file=(base_name(destination) or None) if destination else None,
            address=data.get("address"),
            is_judged=data.get("judged", True),
            sequence=recorded.sequence,
            started_ms=recorded.at_ms,
        )
        return run

    def end(self, recorded: RecordedEvent, data: Data) -> Run | None:
        run = self._runs.get(_key(recorded, data))
        if run is not None:
            run.status, run.bytes = data["exit_code"], data.get("bytes")
            run.seconds = round((recorded.at_ms - run.started_ms) / 1000, 3)
        return run

    def to_list(self) -> list[Data]:
        return [run.to_dict() for run in self._runs.values()]


def _key(recorded: RecordedEvent, data: Data) -> tuple[str, int, int]:
    return recorded.resource or "", recorded.attempt or 1, data["run"]
