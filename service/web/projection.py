"""The fields of a job in the API's answers: those of the projection's views, with what the API says beyond their types.

A projected field is named in events/job.py and nowhere here; a field stands here only if the API has a description or a
limit for it.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

# pydantic reads typing's own only from Python 3.12 on.
from typing_extensions import TypedDict

from service.events.job import RESOURCE_VIEW, RESULT_VIEW, SUMMARY_VIEW
from service.events.view import View

Time = Annotated[str, Field(json_schema_extra={"format": "date-time"}, description="RFC 3339 in UTC, milliseconds.")]
Count = Annotated[int, Field(ge=0)]

_JSON_TYPES: dict[Any, Any] = {datetime: Time, datetime | None: Time | None, tuple[str, ...]: list[str]}


def _fields(view: View, **narrower: Any) -> Any:
    """A TypedDict with the keys of the view. ``narrower``: the types of the keys about which the API says more."""
    types = {key: narrower.get(key, _JSON_TYPES.get(value, value)) for key, value in view.types.items()}
    return TypedDict("Fields", types)  # type: ignore[operator]


if TYPE_CHECKING:
    # The handlers pass on what a view gives: mypy needs to know none of its keys.
    class ResultFields(TypedDict): ...

    class ResourceFields(TypedDict): ...

    class SummaryFields(TypedDict): ...
else:
    ResultFields = _fields(RESULT_VIEW, attempt=Count)
    ResourceFields = _fields(RESOURCE_VIEW, attempt=Count, percent=Annotated[int, Field(ge=0, le=100)] | None)
    SummaryFields = _fields(
        SUMMARY_VIEW,
        link=Annotated[str | None, Field(description="While the job runs: connected or reconnecting.")],
        instance=Annotated[str, Field(description="user@host:port")],
        last_sequence=Count,
        installed=Count,
        total=Count,
    )
