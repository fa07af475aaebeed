"""The endpoints of instances, one declaration each."""

from __future__ import annotations

from service.web import instance_answers as answers
from service.web.endpoint import Endpoint
from service.web.handlers import instances
from service.web.instance_requests import CheckRequest, RemovalRequest
from service.web.parameters import matching, part

JOB_LOCATION = "/resources/jobs/{job_id}"
INSTANCE = part(
    "instance",
    {"type": "string", "pattern": "^[^/]+$"},
    "user@host:port, as the jobs name it.",
    route="(?!check$)[^/]+",
)
CHECK_EXAMPLE = {"ssh_host": "203.0.113.7", "ssh_port": 44686, "ui_home": "/workspace/ComfyUI"}

INSTANCE_ENDPOINTS = (
    Endpoint(
        method="post",
        path="/instances/check",
        handler=instances.check_instance,
        summary="Whether an install could begin on an instance: a line for each thing that it needs",
        note="Its name, the port, the host key, the login, ComfyUI, the disk and the tools. Changes nothing there and "
        "remembers no host key.",
        answer=answers.CheckedInstance,
        body=CheckRequest,
        example=CHECK_EXAMPLE,
        errors=(400, 413, 415),
    ),
    Endpoint(
        method="get",
        path="/instances",
        handler=instances.list_instances,
        summary="The instances of the jobs, those of the newest jobs first",
        answer=answers.InstanceList,
    ),
    Endpoint(
        method="get",
        path="/instances/{instance}",
        handler=instances.show_instance,
        summary="One instance with its queue",
        note="`POST /resources/instances/{instance}/pause` and `/resume` are for all of its jobs.",
        answer=answers.InstanceDetail,
        parameters=(INSTANCE,),
        errors=(400, 404),
    ),
    Endpoint(
        method="get",
        path="/instances/{instance}/models",
        handler=instances.list_models,
        summary="What lies in the models folder of an instance now, and its disk",
        note="Asks the instance, at most for some seconds. Up to 20,000 files.",
        answer=answers.InstanceModels,
        parameters=(
            INSTANCE,
            matching(
                "ui_home",
                r"/[^\x00]{0,4095}",
                "must be an absolute path, like /workspace/ComfyUI",
                "Of ComfyUI; without it, that of the instance's newest job.",
            ),
        ),
        errors=(400, 404, 502),
    ),
    Endpoint(
        method="post",
        path="/instances/{instance}/removals",
        handler=instances.remove_models,
        summary="Remove files from the models folder of an instance",
        note="A job of its own, first in the instance's queue; each file is an event `file_removed`.",
        answer=answers.StartedRemoval,
        status=202,
        body=RemovalRequest,
        example={"ui_home": "/workspace/ComfyUI", "paths": ["loras/x.safetensors"]},
        parameters=(INSTANCE,),
        errors=(400, 413, 415),
        location=JOB_LOCATION,
    ),
)
