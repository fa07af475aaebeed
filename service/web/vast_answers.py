"""The answers about the user's instances at Vast.ai."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

# pydantic reads typing's own only from Python 3.12 on.
from typing_extensions import TypedDict


class RentedInstance(TypedDict):
    """An instance of the user's at Vast.ai."""

    id: int
    label: str | None
    gpu: str | None
    gpu_count: int | None
    status: Annotated[str, Field(description="As Vast.ai calls it: running, stopped, loading, exited, …")]
    dollars_per_hour: float | None
    disk_total: Annotated[int | None, Field(description="Bytes.")]
    disk_used: Annotated[int | None, Field(description="Bytes.")]
    ssh_host: Annotated[str | None, Field(description="null: it has no address yet.")]
    ssh_port: int | None
    ssh_user: str
    way: Annotated[
        Literal["direct", "proxy"] | None, Field(description="To the instance itself, or through Vast.ai's proxy.")
    ]
    active: Annotated[int, Field(ge=0, description="Jobs for this address that have not ended.")]


class RentedInstances(TypedDict):
    instances: list[RentedInstance]
    may_stop: Annotated[bool, Field(description="Whether this service stops and destroys instances.")]


class ChangedRental(TypedDict):
    success: Literal[True]
    id: int
    message: str
