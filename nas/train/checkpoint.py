"""A training that was paused, as a file: what goes on from it is, bit for bit, the training that never paused.

It holds all that training changes (fit.Training), where torch's generators stand, and what was decided on the device
(trial.Decided), so that nothing is measured twice. Tensors are kept with their strides: kernels sum in the order in
which numbers lie. A file that is damaged, or of another candidate, seed, configuration or version of the code, is as if
absent. No pickle: what is read is numbers and text.

Left out: going on with a GPU's training on a CPU, or the other way round. Their generators and sums differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import torch
from torch import Tensor

from nas.errors import DiskFailed
from nas.train import tensor_file
from nas.train.fit import Training
from nas.train.precision import Precision
from nas.train.trial import Decided

FILE = "checkpoint.safetensors"
_TENSOR = "$tensor"  # marks where one stands in the tree
Identity = Mapping[str, str]  # what a training is of, by what it is called: {"candidate": "9f3c...", "seed": "7", ...}


class NotUsable(Exception):
    """There is nothing to go on from; says why."""


@dataclass(frozen=True, eq=False, slots=True)
class Checkpoint:
    epoch: int  # ended ones
    peak_memory: float
    decided: Decided
    _tree: Mapping[str, Any]
    _tensors: dict[str, Tensor]

    def restore(self, training: Training, device: torch.device) -> None:
        """Put a training that has just begun, and torch's generators, where they stood. Once: the file's memory is let
        go of.
        """
        tree = _joined(self._tree, self._tensors, device)
        self._tensors.clear()
        training.load(tree["training"])
        torch.set_rng_state(tree["generators"]["cpu"])
        if device.type == "cuda":
            torch.cuda.set_rng_state(tree["generators"]["cuda"], device)


def write(
    folder: Path, identity: Identity, decided: Decided, training: Training, device: torch.device, peak_memory: float
) -> int:
    """The bytes written. Raises DiskFailed."""
    generators = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        generators["cuda"] = torch.cuda.get_rng_state(device)
    tensors: dict[str, Tensor] = {}
    tree = _parted({"training": training.save(), "generators": generators}, "", tensors)
    said = {
        "identity": dict(identity),
        "decided": asdict(decided),
        "epoch": training.epoch,
        "peak_memory": peak_memory,
        "tree": tree,
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DiskFailed(f"{folder}: {error.strerror or error}") from error
    return tensor_file.write(folder / FILE, tensors, {"checkpoint": orjson.dumps(said).decode()})


def read(folder: Path, identity: Identity) -> Checkpoint:
    """What was written there of the same training. Raises NotUsable."""
    try:
        tensors, metadata = tensor_file.read(folder / FILE)
        said = orjson.loads(metadata["checkpoint"])
        written = said["identity"]
        if other := [name for name in identity if written.get(name) != identity[name]]:
            raise NotUsable(f"the checkpoint is of another {' and '.join(other)}")
        return Checkpoint(said["epoch"], said["peak_memory"], _decided(**said["decided"]), said["tree"], tensors)
    except FileNotFoundError:
        raise NotUsable("there is no checkpoint") from None
    except OSError as error:
        raise NotUsable(f"the checkpoint can not be read: {error.strerror or error}") from error
    except (tensor_file.Damaged, KeyError, TypeError, ValueError) as error:
        raise NotUsable(f"the checkpoint is damaged: {error}") from error


@cache
def code() -> str:
    """A digest of what a training's bits depend on beside what it is of: our sources, and torch's version."""
    home = Path(__file__).parent
    digest = sha256(torch.__version__.encode())
    for path in sorted([*home.rglob("*.py"), home.parent / "seeds.py"]):
        digest.update(f"{path.relative_to(home.parent)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _decided(precision: Mapping[str, Any], **others: Any) -> Decided:
    return Decided(Precision(precision["name"], precision["reason"], tuple(precision["fallbacks"])), **others)


def _parted(tree: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """The tree as JSON, its tensors put into ``tensors`` by where they stood ("training.network.0.weight")."""
    if isinstance(tree, Tensor):
        tensors[name] = tree
        strides = torch.empty_like(tree, device="meta").stride()
        return {_TENSOR: name, "strides": strides, "host": tree.device.type == "cpu"}
    if isinstance(tree, Mapping):
        return {str(key): _parted(held, f"{name}.{key}".lstrip("."), tensors) for key, held in tree.items()}
    if isinstance(tree, list):
        return [_parted(held, f"{name}.{index}", tensors) for index, held in enumerate(tree)]
    return tree


def _joined(tree: Any, tensors: Mapping[str, Tensor], device: torch.device) -> Any:
    """What ``_parted`` was given; its keys are text. Tensors that were not on the CPU are on ``device``."""
    if isinstance(tree, Mapping):
        if _TENSOR in tree:
            held, where = tensors[tree[_TENSOR]], "cpu" if tree["host"] else device
            return torch.empty_strided(held.shape, tree["strides"], dtype=held.dtype, device=where).copy_(held)
        return {key: _joined(inner, tensors, device) for key, inner in tree.items()}
    if isinstance(tree, list):
        return [_joined(inner, tensors, device) for inner in tree]
    return tree
