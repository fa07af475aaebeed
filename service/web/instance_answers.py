"""The answers about instances."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

# pydantic reads typing's own only from Python 3.12 on.
from typing_extensions import TypedDict

from service.web.answers import JobSummary
from service.web.projection import Count, Time


class CheckLine(TypedDict):
    """One thing that an install needs."""

    check: Literal["name", "port", "host_key", "login", "comfyui", "disk", "tools"]
    state: Annotated[
        Literal["ok", "warning", "failed", "skipped"],
        Field(description="skipped: what comes before it has to be right first."),
    ]
    text: Annotated[str, Field(description="What was found, and the way out.")]


class CheckedInstance(TypedDict):
    success: Literal[True]
    ok: Annotated[bool, Field(description="Whether an install could begin.")]
    instance: str
    lines: list[CheckLine]
    host_key_sha256: Annotated[str | None, Field(description="The key that the instance showed.")]
    ui_homes: Annotated[list[str], Field(description="Where a ComfyUI was found, if not at ui_home.")]
    public_key: Annotated[
        str | None, Field(description="If the instance refuses the key: the service's own, to give to it.")
    ]
    where: Annotated[list[str], Field(description="Where that public key goes.")]


class InstanceView(TypedDict):
    """An instance, as the jobs name it."""

    instance: Annotated[str, Field(description="user@host:port")]
    ssh_host: str
    ssh_port: int
    ssh_user: str
    ui_home: Annotated[str, Field(description="Of its newest job.")]
    jobs: Count
    active: Annotated[int, Field(ge=0, description="Jobs that have not ended.")]
    last_job_at: Time


class InstanceList(TypedDict):
    instances: list[InstanceView]


class InstanceDetail(InstanceView):
    recent: Annotated[list[JobSummary], Field(description="Its newest jobs, those that have not ended first.")]


class DiskView(TypedDict):
    """Bytes."""

    total: int
    free: int


class ModelFileView(TypedDict):
    """A file below models/."""

    path: Annotated[str, Field(description="Below models/.")]
    size: int
    modified_at: Time | None
    kind: Annotated[
        Literal["model", "half", "text", "empty", "broken_link", "other"],
        Field(description="half: a download left it; text: it has a model's name and is none; other: no model's name."),
    ]
    card: Annotated[str | None, Field(description="The card of the library that left it, where that is known.")]
    removable: Annotated[bool, Field(description="false: its name is not valid text, so no request can name it.")]


class InstanceModels(TypedDict):
    """What lies in the models folder now."""

    instance: str
    ui_home: str
    missing: Annotated[bool, Field(description="There is no folder models below ui_home.")]
    cut: Annotated[bool, Field(description="There are more files than these.")]
    disk: DiskView | None
    files: list[ModelFileView]
    seconds: Annotated[float, Field(ge=0, description="How long the instance was asked.")]


class StartedRemoval(TypedDict):
    success: Literal[True]
    job_id: str
    message: str
    count: Annotated[int, Field(ge=1)]
