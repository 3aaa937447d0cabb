"""From a candidate's architecture to a network, and its costs before anything is trained (and without torch).

A candidate is anything with ``architecture`` (plain JSON); a task is what ``sources.describe`` says. The architecture's
last entry must give what the kind of task needs, such as one number for each class: no head is added, so that what the
person wrote is what is trained, counted and exported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from nas.errors import InvalidCandidate
from nas.train.kinds import OUTPUT_MEANING, Task, input_shape, kind_of, output_shape
from nas.train.layers import LAYERS, Layer, Links, assemble, chain, flops_of, parameters_of, read
from nas.train.layers.embedding import Embedding

if TYPE_CHECKING:
    from torch import nn

Table = Mapping[str, type[Layer]]  # the layers that an architecture may name


class HasArchitecture(Protocol):
    @property
    def architecture(self) -> Any: ...


def build(candidate: HasArchitecture, task: Task, layers: Table = LAYERS) -> nn.Sequential:
    """The network for inputs (batch, *input_shape), initialised from torch's global generator.

    Raises:
        InvalidCandidate: an entry is wrong, or can not follow the one before it; names the entry and the shapes.
    """
    return assemble(linked(candidate, task, layers))


def costs(candidate: HasArchitecture, task: Task, layers: Table = LAYERS) -> dict[str, int]:
    """{"parameters", "flops"} from closed forms, without allocating the network (flops: see layers/layer.py).

    Raises:
        InvalidCandidate: as ``build``.
    """
    links = linked(candidate, task, layers)
    return {"parameters": parameters_of(links), "flops": flops_of(links)}


def measured(candidate: HasArchitecture, task: Task, layers: Table = LAYERS) -> dict[str, int]:
    """``costs`` as torch itself counts them, in the network built on the meta device: what the formulas must equal.

    Raises:
        InvalidCandidate: as ``build``.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"), torch.no_grad():
        network = build(
            candidate, task, layers
        ).eval()  # outside of the count: a plugin's shapes are found by running it
        with FlopCounterMode(display=False) as counter:
            network(torch.empty(1, *input_shape(task)))
    return {"parameters": sum(p.numel() for p in network.parameters()), "flops": counter.get_total_flops()}


def shapes(candidate: HasArchitecture, task: Task, layers: Table = LAYERS) -> list[tuple[int, ...]]:
    """The shape of what comes in, and of what each entry of the architecture gives. Raises as ``build``."""
    return [input_shape(task), *(after for _, _, after in linked(candidate, task, layers))]


def linked(candidate: HasArchitecture, task: Task, layers: Table = LAYERS) -> Links:
    """The layers with the shapes between them. Raises InvalidCandidate as ``build``."""
    if not candidate.architecture:
        raise InvalidCandidate("architecture: there is no layer")
    entries = read(candidate.architecture, layers)
    for index, layer in enumerate(entries):
        if wrong := _wrong_reader(layer, index, task):
            raise InvalidCandidate(f"architecture.{index}.{layer.name}: {wrong}")
    links = chain(entries, input_shape(task), "architecture")
    last, _, after = links[-1]
    needed = output_shape(task)
    if after != needed:
        place = f"architecture.{len(links) - 1}.{last.name}"
        raise InvalidCandidate(
            f"{place}: ends in {after}, and the task needs {needed}, {OUTPUT_MEANING[kind_of(task)]}"
        )
    return links


def _wrong_reader(layer: Layer, index: int, task: Task) -> str:
    """What is wrong with a layer that reads items where there are none, or numbers where there are items."""
    are_items = index == 0 and "vocabulary" in task
    if layer.items and not are_items:
        return "reads items, and what comes are numbers"
    if are_items and not layer.items:
        return "what comes are items, which an embedding or hashed_embedding must turn into numbers first"
    if are_items and isinstance(layer, Embedding) and layer.vocabulary < task["vocabulary"]:
        return f"has {layer.vocabulary} rows, and the task has {task['vocabulary']} items (=task.vocabulary)"
    return ""
