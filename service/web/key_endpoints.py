"""The endpoints of keys, one declaration each."""

from __future__ import annotations

from service.keys import KEYS
from service.web import key_answers as answers
from service.web.endpoint import Endpoint
from service.web.handlers import keys
from service.web.key_requests import KeyRequest
from service.web.parameters import part

KEY = part("name", {"type": "string", "enum": list(KEYS)}, "Which key.", example="civitai", route="|".join(KEYS))
KEY_ENDPOINTS = (
    Endpoint(
        method="get",
        path="/keys",
        handler=keys.list_keys,
        summary="The keys for other sites: whether they are set, and from where",
        note="Never their values. A key of the environment goes before one that is stored.",
        answer=answers.KeyList,
    ),
    Endpoint(
        method="post",
        path="/keys/ssh",
        handler=keys.make_ssh_key,
        summary="Make an SSH key of the service's own",
        note="Its public half is in the answer, and in `GET /keys`; the private half is never shown. It is offered at "
        "logins after those that the service has anyway.",
        answer=answers.MadeSshKey,
        status=201,
        errors=(409,),
    ),
    Endpoint(
        method="delete",
        path="/keys/ssh",
        handler=keys.delete_ssh_key,
        summary="Remove the SSH key of the service's own",
        note="It cannot be brought back.",
        answer=answers.DeletedKey,
        errors=(404,),
    ),
    Endpoint(
        method="put",
        path="/keys/{name}",
        handler=keys.set_key,
        summary="Set a key, in place of the one that is stored",
        note="It is kept encrypted, is never shown again, and counts for what begins from now on.",
        answer=answers.ChangedKey,
        body=KeyRequest,
        example={"value": "0123456789abcdef0123456789abcdef"},
        parameters=(KEY,),
        errors=(400, 404, 413, 415),
    ),
    Endpoint(
        method="delete",
        path="/keys/{name}",
        handler=keys.delete_key,
        summary="Remove a stored key",
        note="Installs that run keep what they were given.",
        answer=answers.DeletedKey,
        parameters=(KEY,),
        errors=(404,),
    ),
    Endpoint(
        method="post",
        path="/keys/{name}/check",
        handler=keys.check,
        summary="Ask a key's site whether it accepts the key",
        answer=answers.CheckedKey,
        parameters=(KEY,),
        errors=(404,),
    ),
)
