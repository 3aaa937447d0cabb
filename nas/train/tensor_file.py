"""Tensors and text in one file of the safetensors format, with a digest over all of it.

Eight bytes say how long the header is (little-endian), the header is JSON, the rest are the tensors' bytes:

    {"__metadata__": {"tree": "...", "sha256": "..."}, "network.0.weight": {"dtype": "F32", "shape": [8, 3], ...}, ...}

Any reader of safetensors opens it. The package of that name is left out: it knows no digest, so that a changed number
would be believed, and it gathers a file in memory before it writes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

import orjson
import torch
from torch import Tensor

_NAMES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
_TYPES = {name: dtype for dtype, name in _NAMES.items()}
_DIGEST = "sha256"


class Damaged(ValueError):
    """The bytes are not those of a file that was written here."""


def parts(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> list[bytes | memoryview]:
    """What stands in the file, one after another. Tensors on the CPU are not copied.

    Raises:
        TypeError: a tensor's type is none of the format's.
    """
    entries: dict[str, Any] = {}
    data: list[memoryview] = []
    end = 0
    # The widest first, so that each stands at a multiple of its width.
    for name, tensor in sorted(tensors.items(), key=lambda named: (-named[1].element_size(), named[0])):
        if tensor.dtype not in _NAMES:
            raise TypeError(f"{name} is of type {tensor.dtype}, which a safetensors file does not hold")
        raw = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data
        begin, end = end, end + raw.nbytes
        shape = list(tensor.shape)
        entries[name] = {"dtype": _NAMES[tensor.dtype], "shape": shape, "data_offsets": [begin, end]}
        data.append(raw)
    sealed = {**metadata, _DIGEST: _digest(entries, metadata, data)}
    header = orjson.dumps({"__metadata__": sealed, **entries})
    header += b" " * (-len(header) % 8)
    return [len(header).to_bytes(8, "little"), header, *data]


def read(data: bytearray) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors, whose memory is ``data``, and text. Raises Damaged."""
    begin = 8 + int.from_bytes(data[:8], "little")
    try:
        entries = orjson.loads(bytes(data[8:begin]))
        metadata = entries.pop("__metadata__")
        digest = metadata.pop(_DIGEST)
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise Damaged("its header is no header") from error
    body = memoryview(data)[begin:]
    if digest != _digest(entries, metadata, [body]):
        raise Damaged("its digest is not that of what it holds")
    return {name: _tensor(body, **entry) for name, entry in entries.items()}, metadata


def _tensor(body: memoryview, dtype: str, shape: list[int], data_offsets: list[int]) -> Tensor:
    begin, end = data_offsets
    kind = _TYPES[dtype]
    return torch.frombuffer(body[begin:end], dtype=kind).view(shape) if end > begin else torch.empty(shape, dtype=kind)


def _digest(entries: Any, metadata: Any, data: Iterable[memoryview]) -> str:
    digest = sha256(orjson.dumps([entries, metadata]))
    for part in data:
        digest.update(part)
    return digest.hexdigest()
