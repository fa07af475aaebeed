"""The names of the Socket.IO interface: the namespace, what a client sends, and what each event is called."""

from __future__ import annotations

from service.events import event_types as types

NAMESPACE = "/resources"

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
