"""The body of a request that sets a key. No refusal repeats the value."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, WithJsonSchema

from service.web.requests import Body

VALUE_PATTERN = r"[!-~]{16,512}"


def _value(value: str) -> str:
    if not re.fullmatch(VALUE_PATTERN, value):
        raise ValueError("a key has 16 to 512 letters, digits and signs, without spaces: copy all of it")
    return value


_VALUE_SCHEMA = {"type": "string", "pattern": f"^{VALUE_PATTERN}$", "writeOnly": True}


class KeyRequest(Body):
    """The body of ``PUT /keys/{name}``."""

    value: Annotated[str, AfterValidator(_value), WithJsonSchema(_VALUE_SCHEMA)]
