"""The endpoints of receivers, one declaration each."""

from __future__ import annotations

from service.web import receiver_answers as answers
from service.web.endpoint import Endpoint
from service.web.handlers import receivers
from service.web.parameters import part
from service.web.receiver_requests import ReceiverRequest

RECEIVER = part("receiver_id", {"type": "string", "pattern": "^[0-9a-f-]{36}$"}, "The receiver's id.")

RECEIVER_ENDPOINTS = (
    Endpoint(
        method="get",
        path="/receivers",
        handler=receivers.list_receivers,
        summary="Who is told how jobs end, and what each of them was told last",
        note="Never their secrets, nor what may be secret in their addresses.",
        answer=answers.ReceiverList,
    ),
    Endpoint(
        method="post",
        path="/receivers",
        handler=receivers.add_receiver,
        summary="Tell somebody how jobs end",
        note="A webhook gets a POST that is signed as Standard Webhooks has it; other addresses are Apprise's. Without "
        "`secret` the answer holds the one that the service made, this once.",
        answer=answers.AddedReceiver,
        status=201,
        body=ReceiverRequest,
        example={"url": "https://hooks.example/installs", "events": ["completed", "failed"]},
        errors=(400, 413, 415),
    ),
    Endpoint(
        method="delete",
        path="/receivers/{receiver_id}",
        handler=receivers.delete_receiver,
        summary="Tell a receiver nothing more",
        note="Nor what it has not been told yet. 409: the settings name it.",
        answer=answers.DeletedReceiver,
        parameters=(RECEIVER,),
        errors=(404, 409),
    ),
    Endpoint(
        method="post",
        path="/receivers/{receiver_id}/test",
        handler=receivers.check_receiver,
        summary="Send a receiver a test, and say how it went",
        answer=answers.TestedReceiver,
        parameters=(RECEIVER,),
        errors=(404,),
    ),
)
