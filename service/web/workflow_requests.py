"""The body of a request about a workflow."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from service.web.requests import Body

WORKFLOW_CHARACTERS_MAX = 1_000_000


class WorkflowRequest(Body):
    """The body of ``POST /workflows/inspect``: the JSON of a workflow, as a text."""

    workflow: Annotated[str, Field(min_length=2, max_length=WORKFLOW_CHARACTERS_MAX)]
