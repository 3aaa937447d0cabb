"""The layers that an architecture may name, and how its entries are read. See layer.py for how to add one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nas.train.layers.attention import Attention
from nas.train.layers.blocks import Residual, Skip, StochasticDepth
from nas.train.layers.composite import (
    Bottleneck,
    DenseBlock,
    DilatedConv,
    GroupedConv,
    InvertedResidual,
    SeparableConv,
)
from nas.train.layers.convolution import Conv, DepthwiseConv
from nas.train.layers.dense import Activation, Dropout, Flatten, Identity, Linear, Norm
from nas.train.layers.embedding import Embedding, HashedEmbedding
from nas.train.layers.experts import MixtureOfExperts
from nas.train.layers.features import BatchNorm, GroupNorm, LayerNorm, RmsNorm, Shuffle, SqueezeExcite
from nas.train.layers.feedforward import MlpBlock
from nas.train.layers.graph import Graph
from nas.train.layers.layer import (
    Layer,
    Links,
    Shape,
    assemble,
    chain,
    depth_of,
    flops_of,
    parameters_of,
    read_layers,
    shape_after,
)
from nas.train.layers.pooling import AvgPool, GlobalPool, MaxPool, Upsample
from nas.train.layers.recurrent import Gru, Lstm
from nas.train.layers.transformer import TransformerBlock

LAYERS: Mapping[str, type[Layer]] = {
    layer.name: layer
    for layer in (
        Activation,
        Attention,
        AvgPool,
        BatchNorm,
        Bottleneck,
        Conv,
        DenseBlock,
        DepthwiseConv,
        DilatedConv,
        Dropout,
        Embedding,
        Flatten,
        GlobalPool,
        Graph,
        GroupNorm,
        GroupedConv,
        Gru,
        HashedEmbedding,
        Identity,
        InvertedResidual,
        LayerNorm,
        Linear,
        Lstm,
        MaxPool,
        MixtureOfExperts,
        MlpBlock,
        Norm,
        Residual,
        RmsNorm,
        SeparableConv,
        Shuffle,
        Skip,
        SqueezeExcite,
        StochasticDepth,
        TransformerBlock,
        Upsample,
    )
}


def read(architecture: Any, layers: Mapping[str, type[Layer]] = LAYERS) -> tuple[Layer, ...]:
    """The layers of a candidate's architecture. Raises InvalidCandidate naming the entry (see read_layers)."""
    return read_layers(architecture, layers, "architecture")


__all__ = [
    "LAYERS",
    "Layer",
    "Links",
    "Shape",
    "assemble",
    "chain",
    "depth_of",
    "flops_of",
    "parameters_of",
    "read",
    "read_layers",
    "shape_after",
]
