"""What a candidate costs, known before anything is trained: what constraints are decided by.

    parameters   numbers learned                      flops    forward, one sample, a multiply-add being 2
    depth        convolutions and matrix products on the longest way through, norms aside
    memory       bytes of training at the candidate's batch size, in fp32:

                 4 P (2 + s)  +  B (K + 2 T)          weights, gradients and s numbers of the optimizer for each of the
                                                      P parameters; K bytes for each of B samples are kept for the
                                                      backward pass, and gradients of two of the largest tensor, T

    latency      milliseconds, where the config has a `latency_table`: the sum over layers

What a layer keeps is a rule for each of ours, held against autograd by a test; a plugin's layer is run once on torch's
meta device, and autograd tells. What two neighbours both keep counts once. Left out of it: the process itself (some
300 MB with torch), the data set, workspaces of convolutions, and what bf16 saves.

**A latency table** is YAML, ``signature: milliseconds``; what a layer's signature is, an error names where one is
missing. It is the layer's name, its main setting, other settings that are not the defaults, and the input's shape:

    conv 32 kernel=5 @ 16x28x28: 0.31        measured for this layer at this shape
    conv 32 kernel=[1, 7] @ 16x28x28: 0.2    another kernel
    residual [conv 32, norm batch] @ 32x28x28: 0.4   a layer made of layers, whole; without its line, its parts' sum
    activation: 0.01                         whatever settings and shape a layer of this name has, if not listed above
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from math import prod
from typing import Any

from nas.errors import InputError
from nas.space import Candidate
from nas.train import network
from nas.train.hyperparameters import chosen_optimizer, chosen_regularisation, read_hyperparameters, require_suited
from nas.train.layers import LAYERS, Layer, Links, depth_of, flops_of, parameters_of
from nas.train.layers.attention import Attention
from nas.train.layers.blocks import Projection, StochasticDepth
from nas.train.layers.convolution import Conv, DepthwiseConv
from nas.train.layers.dense import Activation, Dropout, Flatten, Identity, Linear, Norm
from nas.train.layers.embedding import Embedding, HashedEmbedding
from nas.train.layers.experts import MixtureOfExperts
from nas.train.layers.features import BatchNorm, GroupNorm, LayerNorm, RmsNorm, Shuffle, SqueezeExcite
from nas.train.layers.feedforward import MlpBlock, hidden
from nas.train.layers.graph import Graph, plan
from nas.train.layers.pooling import AvgPool, GlobalPool, MaxPool, Upsample
from nas.train.layers.recurrent import Recurrent
from nas.train.layers.tokens import tokens
from nas.train.layers.transformer import TransformerBlock
from nas.train.settings import (
    LAMB,
    LARS,
    SGD,
    SMALLEST_FIT,
    AdamW,
    Muon,
    Optimizer,
    OptimizerSettings,
    RMSprop,
    TrainSettings,
)

BYTES = 4  # of fp32
INDEX = 8  # of the place where a maximum was
KEEP_OUTPUT = ("relu", "sigmoid", "tanh")  # activations; others keep their input
KEPT_BY_CELL = {"gru": 8, "lstm": 16}  # numbers for each unit and step, by torch's kernels for CPUs


@dataclass(frozen=True, slots=True)
class Pricing:
    """``pricing(candidate) -> {name: number}``, for one task and its training. See the module's docstring."""

    task: Mapping[str, Any]
    settings: TrainSettings
    latency_table: Mapping[str, float] | None = None
    layers: network.Table = field(default_factory=lambda: LAYERS)

    @property
    def names(self) -> tuple[str, ...]:
        latency = ("latency",) if self.latency_table is not None else ()
        return ("parameters", "flops", "memory", "depth", *latency)

    def __call__(self, candidate: Candidate) -> dict[str, float]:
        """Raises InvalidCandidate where it can not be trained, InputError where the latency table lacks a layer."""
        links = network.linked(candidate, self.task, self.layers)
        hyperparameters = read_hyperparameters(candidate.hyperparameters)
        optimizer = hyperparameters.optimizer or self.settings.optimizer
        chosen_optimizer(hyperparameters, self.settings.optimizer)  # refuses what is said twice
        require_suited(chosen_regularisation(hyperparameters, self.settings), self.task)
        found: dict[str, float] = {"parameters": parameters_of(links), "flops": flops_of(links)}
        batch = hyperparameters.batch_size or self.settings.batch_size
        found["memory"] = memory(links, SMALLEST_FIT if batch == "fit" else batch, optimizer)  # the least that it takes
        found["depth"] = depth_of(links)
        if self.latency_table is not None:
            found["latency"] = latency(links, self.latency_table)
        return found

    def unlisted(self, candidate: Candidate) -> set[str]:
        """The signatures of its layers that the latency table has no line for. Raises InvalidCandidate."""
        return set(_unlisted(network.linked(candidate, self.task, self.layers), self.latency_table or {}))


# Memory --------------------------------------------------------------------------------------------------------------


def memory(links: Links, batch: int, optimizer: Optimizer) -> int:
    """Bytes, by the formula above."""
    states = remembered(optimizer.settings)
    kept = kept_by(links)
    whole = kept.within + _bytes(links[0][1]) * kept.first + _bytes(links[-1][2]) * kept.last
    largest = max(_bytes(shape) for _, before, after in links for shape in (before, after))
    return BYTES * parameters_of(links) * (2 + states) + round(batch * (whole + 2 * largest))


def remembered(chosen: OptimizerSettings) -> int:
    """Numbers that an optimizer keeps for each parameter. Muon's for its matrices: the others are few."""
    match chosen:
        case SGD(momentum=momentum) | LARS(momentum=momentum):
            return int(momentum > 0)
        case AdamW() | LAMB():
            return 2
        case Muon():
            return 1
        case RMSprop(momentum=momentum):
            return 1 + (momentum > 0)


@dataclass(frozen=True, slots=True)
class Kept:
    """What a layer or chain keeps for the backward pass: its input, its output, and bytes of a sample beside them."""

    first: bool
    last: bool
    within: float


def kept_by(links: Links) -> Kept:
    """A tensor between two layers counts once, whichever of them keeps it."""
    if not links:
        return Kept(False, False, 0.0)
    each = [_kept(layer, before, after) for layer, before, after in links]
    between = sum(
        _bytes(after)
        for (_, _, after), one, next_ in zip(links, each, each[1:], strict=False)
        if one.last or next_.first
    )
    return Kept(each[0].first, each[-1].last, sum(one.within for one in each) + between)


@lru_cache(maxsize=1 << 16)
def _kept(layer: Layer, before: Any, after: Any) -> Kept:
    """By rule; of a plugin's layer, as autograd itself counts on the meta device."""
    match layer:
        case Conv() | DepthwiseConv() | AvgPool():
            return Kept(True, False, 0.0)
        case MaxPool() | GlobalPool(kind="max"):
            return Kept(True, False, float(INDEX * prod(after)))
        case GlobalPool() | Flatten() | Upsample() | Identity() | Shuffle():
            return Kept(False, False, 0.0)
        case Projection(norm=norm):
            return Kept(True, False, float(_bytes(after) * norm))
        case Embedding() | HashedEmbedding():  # rows, and of hashed ones signs
            return Kept(False, False, float(INDEX * before[0] * (1 + isinstance(layer, HashedEmbedding))))
        case SqueezeExcite(gate=gate):  # means, what is inside, and the gate (before its bend, too)
            numbers = before[0] * (2 if gate == "sigmoid" else 3) + layer.inside(before[0])
            return Kept(True, False, float(BYTES * numbers))
        case RmsNorm():
            return Kept(True, False, float(BYTES * tokens(before)[0] + _bytes(before)))
        case LayerNorm():
            return Kept(True, False, float(2 * BYTES * tokens(before)[0]))  # mean and deviation of each token
        case Recurrent(name=name, units=units, bidirectional=both):
            numbers = before[0] * (1 + both) * units * KEPT_BY_CELL[name]
            return Kept(True, layer.output == "all", float(BYTES * numbers))
        case Linear() | Norm() | BatchNorm() | GroupNorm():
            return Kept(layer != Norm(kind="none"), False, 0.0)
        case Activation(function=name):
            return Kept(name not in (*KEEP_OUTPUT, "identity"), name in KEEP_OUTPUT, 0.0)
        case Attention():
            length, width = tokens(before)
            return Kept(True, False, float(BYTES * length * 4 * width))  # queries, keys, values, what they give
        case TransformerBlock(mlp_ratio=ratio):
            length, width = tokens(before)
            return Kept(True, False, float(BYTES * length * (7 * width + 2 * hidden(width, ratio))))
        case MlpBlock(ratio=ratio):
            length, width = tokens(before)
            return Kept(True, False, float(BYTES * length * (width + 2 * hidden(width, ratio))))
        case MixtureOfExperts(experts=experts, top_k=top_k):
            length, width = tokens(before)
            numbers = width + experts + top_k * (width + 2 * layer.inside(width))
            return Kept(True, False, float(BYTES * length * numbers))
        case Dropout() | StochasticDepth():
            return Kept(False, False, float(_bytes(before) if isinstance(layer, Dropout) and layer.rate else 0))
    chains = [links for links in layer.chains(before) if links]
    if not chains:
        from nas.train.modules.kept import measured

        return Kept(*measured(layer, before, after))
    parts = [kept_by(links) for links in chains]
    ends = sum(_bytes(links[-1][2]) for links, part in zip(chains, parts, strict=True) if part.last)
    if isinstance(layer, Graph):
        ends += _merged_anew(layer, before)
    if len(chains) == 1 and chains[0][-1][2] == after:
        return parts[0]
    return Kept(any(part.first for part in parts), False, sum(part.within for part in parts) + ends)


def _merged_anew(graph: Graph, before: Any) -> int:
    """Bytes of sums and concatenations that are nobody's output, and which the operation upon them keeps."""
    ops = [node.op for node in plan(graph, before).nodes if node.op and len(node.sources) > 1]
    return sum(_bytes(op[0][1]) for op in ops if kept_by(op).first)


def _bytes(shape: Any) -> int:
    """Of one sample of one shape, or of several."""
    return BYTES * prod(shape) if not shape or isinstance(shape[0], int) else sum(map(_bytes, shape))


# Latency -------------------------------------------------------------------------------------------------------------


def latency(links: Links, table: Mapping[str, float]) -> float:
    """Milliseconds: the sum over layers. Raises InputError where the table lacks one."""
    return sum(_latency(layer, before, table) for layer, before, _ in links)


def _latency(layer: Layer, before: Any, table: Mapping[str, float]) -> float:
    listed = signature(layer, before)
    if listed in table:
        return table[listed]
    if chains := layer.chains(before):
        return sum(latency(links, table) for links in chains)
    if layer.name in table:
        return table[layer.name]
    raise InputError(no_line(listed))


def no_line(listed: str) -> str:
    """What is said of a layer that the table lacks."""
    return f"latency_table: there is no line for '{listed}', nor one for every '{listed.partition(' ')[0]}'"


def _unlisted(links: Links, table: Mapping[str, float]) -> Iterator[str]:
    for layer, before, _ in links:
        listed = signature(layer, before)
        if listed not in table and layer.chains(before):
            for inside in layer.chains(before):
                yield from _unlisted(inside, table)
        elif listed not in table and layer.name not in table:
            yield listed


def signature(layer: Layer, before: Any) -> str:
    """How the latency table names a layer for an input: ``conv 32 kernel=5 @ 16x28x28``."""
    shapes = [before] if layer.inputs_from() is None else before
    return f"{_words(layer)} @ {' '.join('x'.join(map(str, shape)) for shape in shapes)}"


def _words(layer: Layer) -> str:
    words = [layer.name]
    for setting, known in type(layer).model_fields.items():
        value = getattr(layer, setting)
        if setting == layer.main:
            words.insert(1, _word(value))
        elif value != known.get_default():
            words.append(f"{setting}={_word(value)}")
    return " ".join(words)


def _word(value: Any) -> str:
    if isinstance(value, Layer):
        return _words(value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(_word, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)
