"""A job as rows and back: one row of jobs, and one of job_resources for each resource.

The tables define the columns; this module says which of them an event can change. A field that is not named
in one of the lists below is written with every change of its row: that may be too often, but is never wrong.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from sqlalchemy import Row

from service.events.event_types import JobQueued
from service.events.job import Job, JobState, ResourceProgress, ResourceState
from service.store.places import ordinal
from service.store.tables import job_resources, jobs

JOB_COLUMNS = tuple(column.name for column in jobs.columns)
RESOURCE_COLUMNS = tuple(column.name for column in job_resources.columns)

# The event `job_queued` fixes these, except the two that a control can change.
_QUEUED = {field.name for field in fields(JobQueued)} - {"place", "bandwidth_limit"}
# Housekeeping alone writes the time of the thinning, and whoever becomes the owner the last two.
_FIXED_IN_JOB = {*_QUEUED, "number", "job_id", "instance_key", "created_at_ms", "thinned_at_ms", "owner", "epoch"}
JOB_CHANGES = tuple(name for name in JOB_COLUMNS if name not in _FIXED_IN_JOB)

_FIXED_IN_RESOURCE = {"job_id", "number", "resource", "dependencies", "size_bytes"}
# Changed where an attempt, or a phase of it, begins or ends. A line of output can change all other columns.
ATTEMPT_CHANGES = (
    "title",
    "state",
    "phase",
    "attempt",
    "bandwidth",
    "card_sha256",
    "started_at_ms",
    "ended_at_ms",
    "retry_at_ms",
    "verified",
    "cause",
    "error",
    "hint",
    "exit_code",
    "seconds",
)
PROGRESS_CHANGES = tuple(
    name for name in RESOURCE_COLUMNS if name not in _FIXED_IN_RESOURCE and name not in ATTEMPT_CHANGES
)


def job_row(job: Job) -> dict[str, Any]:
    """The row of this job. ``number``: of its place, which is right until it is moved."""
    made = {"number": ordinal(job.place), "removes": json.dumps(job.removes)}
    return {name: made[name] if name in made else getattr(job, name) for name in JOB_COLUMNS}


def resource_rows(job: Job) -> list[dict[str, Any]]:
    """The rows of the job's resources."""
    return [
        {
            "job_id": job.job_id,
            **resource._asdict(),
            "dependencies": json.dumps(resource.dependencies),
        }
        for resource in job.resources
    ]


def job_of(row: Row[Any], resources: Iterable[Row[Any]]) -> Job:
    """The job from its row, which must have ``last_sequence`` and ``last_at_ms`` as well, and from the rows of its
    resources in order."""
    values = {name: value for name, value in row._mapping.items() if name in Job._fields}
    values["state"] = JobState(values["state"])
    values["removes"] = tuple(json.loads(values["removes"]))
    return Job(**values, resources=tuple(_resource_of(resource) for resource in resources))


def _resource_of(row: Row[Any]) -> ResourceProgress:
    values = {name: value for name, value in row._mapping.items() if name != "job_id"}
    values["state"] = ResourceState(values["state"])
    values["dependencies"] = tuple(json.loads(values["dependencies"]))
    return ResourceProgress(**values)
