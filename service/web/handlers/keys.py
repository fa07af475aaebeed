"""The keys for other sites, and the service's own SSH key."""

from __future__ import annotations

from service.errors import UnknownKey
from service.events.recorded_event import rfc3339
from service.keys import KEYS, SSH, KeyKind, check_key
from service.keys.ssh_key import fingerprint
from service.web.key_answers import ChangedKey, CheckedKey, DeletedKey, KeyList, KeyView, MadeSshKey, SshKeyView
from service.web.key_requests import KeyRequest
from service.web.services import Services

# Where a person gives the public key to an instance.
WHERE = [
    "Vast.ai, for instances that you rent from now on: https://cloud.vast.ai/manage-keys/, SSH Keys, New",
    "Vast.ai, for an instance that runs: its card on https://cloud.vast.ai/instances/, the key button, Add SSH key",
    "Any other machine: a line of ~/.ssh/authorized_keys of the user that the service logs in as",
]


async def list_keys(services: Services) -> KeyList:
    await services.keys.renew()
    return {"keys": [_view(services, kind) for kind in KEYS.values()], "ssh": _ssh_view(services)}


async def set_key(services: Services, *, name: str, body: KeyRequest) -> ChangedKey:
    await services.keys.set(name, body.value)
    view = _view(services, KEYS[name])
    message = "stored: it counts for what begins from now on"
    if view["source"] == "environment":
        message = f"stored, but {KEYS[name].setting} goes before it"
    return {"success": True, "message": message, **view}


async def delete_key(services: Services, *, name: str) -> DeletedKey:
    await services.keys.remove(name)
    message = "removed: installs that run keep what they were given"
    if services.keys.state(name).source == "environment":
        message = f"removed; {KEYS[name].setting} still counts"
    return {"success": True, "name": name, "message": message}


async def delete_ssh_key(services: Services) -> DeletedKey:
    await services.keys.remove(SSH)
    return {"success": True, "name": SSH, "message": "removed: instances that know it alone let nobody in any more"}


async def check(services: Services, *, name: str) -> CheckedKey:
    if name not in KEYS:
        raise UnknownKey(f'there is no key "{name}" that a site could check: the keys are {", ".join(KEYS)}')
    await services.keys.renew()
    if services.keys.value(name) is None:
        raise UnknownKey(services.keys.state(name).problem or f"no {KEYS[name].title} is set")
    found = await check_key(services.outbound, name, services.sites[name])
    return {"success": True, "name": name, "verdict": found.verdict, "message": found.message}


async def make_ssh_key(services: Services) -> MadeSshKey:
    await services.keys.make_ssh_key()
    return {"success": True, "message": "made: give its public half to your instances", **_ssh_view(services)}


def _view(services: Services, kind: KeyKind) -> KeyView:
    state = services.keys.state(kind.name)
    return {
        "name": kind.name,
        "title": kind.title,
        "use": kind.use,
        "setting": kind.setting,
        "page": kind.page,
        "set": services.keys.value(kind.name) is not None,
        "source": state.source,
        "stored": state.is_stored,
        "set_at": rfc3339(state.set_at_ms) if state.set_at_ms is not None else None,
        "problem": state.problem,
    }


def _ssh_view(services: Services) -> SshKeyView:
    state = services.keys.state(SSH)
    return {
        "set": state.public is not None,
        "public_key": state.public,
        "fingerprint": fingerprint(state.public) if state.public is not None else None,
        "set_at": rfc3339(state.set_at_ms) if state.set_at_ms is not None else None,
        "problem": state.problem,
        "where": WHERE,
    }
