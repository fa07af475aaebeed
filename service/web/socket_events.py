"""The Socket.IO interface: the namespace, what a client sends and is answered, and what each event is called."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from pydantic import Field

# pydantic reads typing's own only from Python 3.12 on.
from typing_extensions import TypedDict

from service.events import event_types as types
from service.events.job import JobState
from service.web.answers import CODES

NAMESPACE = "/resources"

AFTER_MAX = 2**53 - 1
COMPACT = "compact: all but what tools printed, with the last progress of each resource and stage."

SUBSCRIBE = "subscribe_install"
UNSUBSCRIBE = "unsubscribe_install"

PROGRESS = "resource_install_progress"
OUTPUT = "resource_install_output"
COMPLETE = "resource_install_complete"
ERROR = "resource_install_error"
# Every event without a name of its own in the table below.
STATUS = "resource_install_status"
EVENT_NAMES = {
    types.StageStart.type: PROGRESS,
    types.Progress.type: PROGRESS,
    types.StageComplete.type: PROGRESS,
    types.JobCompleted.type: COMPLETE,
    types.JobFailed.type: ERROR,
    types.JobCancelled.type: ERROR,
    types.Output.type: OUTPUT,
}

# To one client about its subscription; these are not events of the job.
SUBSCRIBED = "subscribed"
SKIPPED = "resource_install_skipped"


def name_of(event_type: str) -> str:
    """The Socket.IO event that carries events of this type."""
    return EVENT_NAMES.get(event_type, STATUS)


# What clients send, and what they are answered; the events themselves are described in events/event_types.py.


class SubscribeRequest(TypedDict):
    """``after``: the last sequence that the client has seen; without it everything comes."""

    job_id: str
    after: NotRequired[Annotated[int, Field(ge=0, le=AFTER_MAX)]]
    replay: NotRequired[Annotated[Literal["full", "compact"], Field(description=COMPACT)]]


class UnsubscribeRequest(TypedDict):
    job_id: str


class Subscribed(TypedDict):
    """The subscription begins: the history up to ``last_sequence`` follows, then each new event."""

    job_id: str
    last_sequence: Annotated[int, Field(ge=0)]
    state: JobState


class SubscribeAnswer(Subscribed):
    """The acknowledgement; it is sent before the history."""

    success: Literal[True]


class UnsubscribeAnswer(TypedDict):
    success: Literal[True]
    job_id: str


class SocketRefusal(TypedDict):
    """The acknowledgement of a refused request: a refusal over HTTP without its list of wrong fields."""

    success: Literal[False]
    message: str
    code: Annotated[str, Field(description="For a program: a word that stays. Words may be added.", examples=CODES)]
    retry_after_seconds: NotRequired[Annotated[int, Field(description="Where waiting helps: how long.")]]


class Skipped(TypedDict):
    """Before a compact history: the sequences that it leaves out, as [first, last]."""

    job_id: str
    skipped: list[Annotated[list[int], Field(min_length=2, max_length=2)]]


class UnknownJobError(TypedDict):
    """To the client that subscribed to a job which does not exist; without a sequence, since no job has this event."""

    job_id: str
    error: str
    cause: Literal["unknown_job"]
    code: str
