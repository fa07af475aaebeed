"""Model files in the formats of this field, made from their names: small, well-formed, the same bytes every time."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import random
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath

SIZE_BYTES = 200_078
_ZIP_DATE = (2024, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """A file of the site. The suffix of ``name`` says its format; ``version`` changes the bytes, not the length."""

    name: str
    size_bytes: int = SIZE_BYTES
    version: int = 0

    def content(self) -> bytes:
        """Exactly ``size_bytes`` bytes."""
        return _content(self.name, self.size_bytes, self.version)

    def sha256(self) -> str:
        return hashlib.sha256(self.content()).hexdigest()


@lru_cache(maxsize=64)
def _content(name: str, size: int, version: int) -> bytes:
    make = _FORMATS.get(PurePosixPath(name).suffix.lower(), _safetensors)
    source = random.Random(f"{name}:{version}")
    content = make(size, source)
    assert len(content) == size, f"{name}: {len(content)} bytes instead of {size}"
    return content


def _filled(make: Callable[[bytes], bytes], size: int, source: random.Random) -> bytes:
    """A format whose overhead does not depend on its payload, filled up to the size."""
    overhead = len(make(source.randbytes(size))) - size
    return make(source.randbytes(size - overhead))


def _safetensors(size: int, source: random.Random) -> bytes:
    left = size - 8 - 128
    header = json.dumps({"weight": {"dtype": "U8", "shape": [left], "data_offsets": [0, left]}}).ljust(128)
    return struct.pack("<Q", 128) + header.encode() + source.randbytes(left)


def _zipped(folder: str) -> Callable[[int, random.Random], bytes]:
    def one(payload: bytes) -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name, data in (("data.pkl", pickle.dumps({"weight": 0}, protocol=2)), ("data/0", payload)):
                archive.writestr(zipfile.ZipInfo(f"{folder}/{name}", _ZIP_DATE), data)
        return file.getvalue()

    return lambda size, source: _filled(one, size, source)


def _pickled(size: int, source: random.Random) -> bytes:
    return _filled(lambda payload: pickle.dumps({"state_dict": payload}, protocol=4), size, source)


def _gguf(size: int, source: random.Random) -> bytes:
    """One key, one tensor of F32, its data aligned to 32 bytes."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    keys = text("general.architecture") + struct.pack("<I", 8) + text("test")
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + keys + text("weight") + struct.pack("<I", 1)
    start = -(-(len(head) + 8 + 4 + 8) // 32) * 32
    head += struct.pack("<QIQ", (size - start) // 4, 0, 0)
    return head.ljust(start, b"\0") + source.randbytes(size - start)


def _onnx(size: int, source: random.Random) -> bytes:
    """A ModelProto whose graph holds one initializer."""

    def varint(value: int) -> bytes:
        # Always five bytes, so that the overhead is the same for every payload.
        return bytes(((value >> (7 * n)) & 127) | (128 if n < 4 else 0) for n in range(5))

    def field(number: int, data: bytes) -> bytes:
        return bytes([number << 3 | 2]) + varint(len(data)) + data

    def model(payload: bytes) -> bytes:
        tensor = b"\x08" + varint(len(payload)) + b"\x10\x02" + field(8, b"weight") + field(9, payload)
        return b"\x08\x08" + field(2, b"tests") + field(7, field(2, b"graph") + field(5, tensor))

    return _filled(model, size, source)


def _text(size: int, source: random.Random) -> bytes:
    return "".join(f"{source.randrange(10**9)} a line of text\n" for _ in range(size // 16 + 1)).encode()[:size]


def _png(size: int, source: random.Random) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + source.randbytes(size - 8)


_FORMATS: dict[str, Callable[[int, random.Random], bytes]] = {
    ".safetensors": _safetensors,
    ".pth": _zipped("archive"),
    ".pt": _zipped("model"),
    ".bin": _zipped("pytorch_model"),
    ".zip": _zipped("files"),
    ".ckpt": _pickled,
    ".gguf": _gguf,
    ".onnx": _onnx,
    ".txt": _text,
    ".json": lambda size, source: json.dumps({"text": "x" * (size - 12)}).encode(),
    ".yaml": _text,
    ".py": _text,
    ".md": _text,
    ".png": _png,
}
