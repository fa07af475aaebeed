"""The endpoints of workflows and of the catalogue, one declaration each."""

from __future__ import annotations

from service.web import workflow_answers as answers
from service.web.endpoint import Endpoint
from service.web.handlers import workflows
from service.web.parameters import number, text
from service.web.workflow_requests import WorkflowRequest

WORKFLOW_EXAMPLE = (
    '{"nodes": [{"type": "LoraLoader", "widgets_values": ["detail.safetensors", 1, 1], "properties": {"models": '
    '[{"name": "detail.safetensors", "url": "https://huggingface.co/o/r/resolve/main/detail.safetensors", '
    '"directory": "loras"}]}}]}'
)

WORKFLOW_ENDPOINTS = (
    Endpoint(
        method="post",
        path="/workflows/inspect",
        handler=workflows.inspect_workflow,
        summary="The models that a workflow of ComfyUI needs: which are in the library, and where the others come from",
        note="Its JSON as a text: as ComfyUI saves it, or in the form of its API. Nothing is written or fetched.",
        answer=answers.InspectedWorkflow,
        body=WorkflowRequest,
        example={"workflow": WORKFLOW_EXAMPLE},
        errors=(400, 413, 415),
    ),
    Endpoint(
        method="get",
        path="/catalogue",
        handler=workflows.search_catalogue,
        summary="Models of the catalogue, in the form of ComfyUI-Manager's model-list.json",
        note="Empty until it is read: `POST /catalogue/refresh`.",
        answer=answers.CataloguePage,
        parameters=(
            text("search", "Only entries in which all of these words stand."),
            number("limit", 1, 500, 50, "Entries."),
        ),
        errors=(400,),
    ),
    Endpoint(
        method="post",
        path="/catalogue/refresh",
        handler=workflows.refresh_catalogue,
        summary="Read the catalogue anew from its file or address (INSTALLER_CATALOGUE)",
        answer=answers.CataloguePage,
        errors=(400, 502),
    ),
)
