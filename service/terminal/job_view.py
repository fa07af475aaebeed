"""What a terminal shows of a job: the state of its resources, folded from the events. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from service.terminal.text import byte_count, duration, harmless, speed, words

if TYPE_CHECKING:
    from service.terminal.client import Event

EXIT_STATUS = {"job_completed": 0, "job_failed": 1, "job_cancelled": 3}


@dataclass(slots=True)
class ResourceView:
    """One resource. ``percent``: of the current stage."""

    title: str
    state: str = "waiting"
    stage: str | None = None
    percent: float = 0.0
    downloaded: int | None = None
    total: int | None = None
    rate: float | None = None
    eta: float | None = None

    @property
    def facts(self) -> str:
        """``6.2 of 12 MB, 1.5 MB/s, 4.1 s left``"""
        if self.state != "running":
            return self.state
        amount = byte_count(self.downloaded)
        if amount and self.total is not None:
            amount = f"{amount} of {byte_count(self.total)}"
        left = "" if self.eta is None else f"{duration(self.eta)} left"
        stage = "" if self.stage is None else words(self.stage)
        return ", ".join(part for part in (stage, amount, speed(self.rate), left) if part)


@dataclass(slots=True)
class JobView:
    """``apply`` the events in order. ``sentence`` is the line for an event that a person reads; None for a mere bar."""

    resources: dict[str, ResourceView] = field(default_factory=dict)
    ended: str | None = None

    def apply(self, event: Event) -> None:
        resource = self.resources.get(event.get("resource", ""))
        kind = event["type"]
        if kind == "job_queued":
            for entry in event["resources"]:
                self.resources[entry["resource"]] = ResourceView(harmless(entry["title"]))
        elif kind in EXIT_STATUS:
            self.ended = kind
        elif resource is not None:
            _apply(resource, event)

    def sentence(self, event: Event) -> str | None:
        of_removal = _OF_REMOVALS if event.get("total") == 0 else {}
        sentence = of_removal.get(event["type"]) or _SENTENCES.get(event["type"])
        if sentence is None:
            return None
        resource = self.resources.get(event.get("resource", ""))
        detail = _detail(event)
        return sentence + (f" {resource.title}" if resource is not None else "") + (f": {detail}" if detail else "")


def _apply(resource: ResourceView, event: Event) -> None:
    kind = event["type"]
    if kind == "resource_started":
        resource.state, resource.stage, resource.percent = "running", None, 0.0
        resource.downloaded = resource.total = resource.rate = resource.eta = None
    elif kind == "progress":
        resource.stage, resource.percent = event["stage"], event["percent"] or 0
        resource.downloaded, resource.total = event["downloaded_bytes"], event["total_bytes"]
        resource.rate, resource.eta = event["bytes_per_second"], event["resource_eta_seconds"]
    elif kind == "resource_retry_scheduled":
        resource.state = "waiting to retry"
    elif kind in _OUTCOMES:
        resource.state = _OUTCOMES[kind]
        if kind == "resource_installed":
            resource.percent = 100.0
        elif kind == "resource_failed":
            resource.state = f"failed ({words(event['cause'])})"


# A job without resources removes files.
_OF_REMOVALS = {"job_completed": "the files are removed", "job_failed": "something stays"}
_OUTCOMES = {"resource_installed": "installed", "resource_failed": "failed", "resource_cancelled": "cancelled"}
_SENTENCES = {
    "job_queued": "accepted",
    "queue_position_changed": "place in the queue",
    "job_moved": "moved in the queue",
    "job_started": "connecting to the instance",
    "connecting": "not connected yet",
    "job_paused": "paused",
    "job_resumed": "resumed",
    "cancel_requested": "cancelling",
    "limits_changed": "bandwidth limit",
    "host_key_accepted": "new host key remembered",
    "resource_started": "downloading",
    "run_ended": "run ended",
    "file_kept": "already there and whole",
    "file_removed": "removed",
    "resource_warning": "warning",
    "link_lost": "the service lost its connection to the instance; the install continues there",
    "job_reattached": "the service is connected to the instance again",
    "job_taken_over": "another replica of the service looks after the job now",
    "verification_started": "verifying",
    "resource_verified": "checked",
    "resource_stalled": "stalled",
    "resource_retry_scheduled": "will retry",
    "resource_installed": "installed",
    "resource_failed": "failed",
    "resource_cancelled": "cancelled",
    "event_damaged": "this event is damaged in the service's log",
    "job_completed": "everything is installed",
    "job_failed": "the install failed",
    "job_cancelled": "the install was cancelled",
}


def _detail(event: Event) -> str:
    kind = event["type"]
    detail: Any = ""
    if kind == "queue_position_changed":
        detail = event["queue_position"]
    elif kind == "limits_changed":
        detail = speed(event["bandwidth_limit"]) or "none"
    elif kind == "connecting":
        detail = f"{event['text']}; next try in {duration(event['next_seconds'])}"
    elif kind == "host_key_accepted":
        detail = event["host_key_sha256"]
    elif kind == "run_ended":
        detail = f"{event['destination'] or 'no file'}, exit status {event['exit_code']}"
    elif kind in ("file_kept", "file_removed"):
        detail = event["path"]
    elif kind == "resource_warning":
        detail = event["text"]
    elif kind == "resource_verified":
        against = event["held_against"]
        detail = f"{event['file']}, {event['result']}" + (f" against {against}" if against else "")
    elif kind == "resource_retry_scheduled":
        after = f"after {words(event['cause'])}"
        detail = f"attempt {event['next_attempt']} in {duration(event['delay_seconds'])}, {after}"
    elif kind == "resource_installed":
        detail = duration(event["seconds"])
    elif kind in ("resource_failed", "job_failed"):
        detail = f"{words(event['cause'])}: {event['error']}"
    return harmless(detail)
