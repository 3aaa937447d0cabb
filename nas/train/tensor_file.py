"""Tensors and text in one file of the safetensors format, with a digest over all of it.

The format itself knows none, so that a changed number would be believed.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from nas import durable

_DIGEST = "sha256"


class Damaged(ValueError):
    """The file is not one that was written here."""


def write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> int:
    """The bytes written, whole or not at all. Raises DiskFailed."""
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    data = safetensors.torch.save(held, {**metadata, _DIGEST: _digest(held, metadata)})
    durable.write_whole(path, data)
    return len(data)


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors, on the CPU, and text. Raises OSError, Damaged."""
    try:
        with safetensors.safe_open(path, "pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no mapping)
    except safetensors.SafetensorError as error:
        raise Damaged(f"it is no file of tensors ({error})") from error
    if metadata.pop(_DIGEST, None) != _digest(tensors, metadata):
        raise Damaged("its digest is not that of what it holds")
    return tensors, metadata


def _digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    digest = sha256(repr(sorted(metadata.items())).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
