"""The picture of a card, fetched by the service: a page that loaded it itself would tell its host who looks at what,
and may not (see web/pages.py)."""

from __future__ import annotations

import base64

from service.errors import OutboundError
from service.outbound import Outbound

PICTURE_BYTES_MAX = 2 << 20
_KINDS = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)


async def read_picture(outbound: Outbound, address: str) -> str:
    """As a data: address. By its first bytes it is a picture; what the site calls it does not count. Raises
    AddressRefused, OutboundError."""
    answer = await outbound.fetch(address, bytes_max=PICTURE_BYTES_MAX)
    if answer.status != 200:
        raise OutboundError(f"the picture cannot be loaded: its site answered with the status {answer.status}")
    kind = kind_of(answer.body)
    if kind is None:
        raise OutboundError("the card's image is not a picture: only PNG, JPEG, GIF, WebP and AVIF are shown")
    return f"data:{kind};base64,{base64.b64encode(answer.body).decode()}"


def kind_of(body: bytes) -> str | None:
    if body[:4] == b"RIFF" and body[8:12] == b"WEBP":
        return "image/webp"
    if body[4:12] in (b"ftypavif", b"ftypavis"):
        return "image/avif"
    return next((kind for magic, kind in _KINDS if body.startswith(magic)), None)
