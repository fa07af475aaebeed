"""The endpoints of the user's instances at Vast.ai, one declaration each."""

from __future__ import annotations

from service.web import vast_answers as answers
from service.web.endpoint import Endpoint
from service.web.handlers import vast
from service.web.parameters import part

NUMBER = part("id", {"type": "string", "pattern": "^[0-9]{1,12}$"}, "As Vast.ai numbers it.", route="[0-9]{1,12}")
ONLY_IF = "Only with `INSTALLER_VAST_ALLOW_STOP=true`; 403 otherwise."

VAST_ENDPOINTS = (
    Endpoint(
        method="get",
        path="/vast/instances",
        handler=vast.list_rented,
        summary="Your instances at Vast.ai, with the address that an install needs",
        note="Needs the key `vast`. The instance's own address goes before that of Vast.ai's proxy.",
        answer=answers.RentedInstances,
        errors=(400, 502),
    ),
    Endpoint(
        method="post",
        path="/vast/instances/{id}/stop",
        handler=vast.stop_rented,
        summary="Stop an instance at Vast.ai: its data stays",
        note=ONLY_IF,
        answer=answers.ChangedRental,
        parameters=(NUMBER,),
        errors=(400, 404, 502),
    ),
    Endpoint(
        method="delete",
        path="/vast/instances/{id}",
        handler=vast.destroy_rented,
        summary="Destroy an instance at Vast.ai with all of its data",
        note=ONLY_IF,
        answer=answers.ChangedRental,
        parameters=(NUMBER,),
        errors=(400, 404, 502),
    ),
)
