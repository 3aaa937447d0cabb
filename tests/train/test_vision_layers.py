"""The layers of vision, held against torch's own parts, against closed forms, and against published networks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.errors import InvalidCandidate
from nas.train.layers import LAYERS, read
from nas.train.layers.layer import Shape, shape_after
from nas.train.network import costs

MAP = (6, 9, 7)
SHAPES: list[Shape] = [MAP, (6,), (5, 6)]  # a map, a vector, a sequence


def module(entry: Any, shape: Shape = MAP) -> nn.Module:
    torch.manual_seed(0)
    return read([entry])[0].build(shape)


def sample(shape: Shape = MAP, count: int = 4) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(1))


def same(ours: Tensor, plain: Tensor) -> bool:
    return ours.shape == plain.shape and torch.allclose(ours, plain, atol=1e-5)


VISION = {
    "batch_norm": {},
    "bottleneck": {"filters": 8, "stride": 2},
    "dense_block": {"depth": 2, "growth": 4},
    "dilated_conv": {},
    "group_norm": 2,
    "grouped_conv": {"filters": 4},
    "inverted_residual": {"expand": 3, "squeeze_excite": True},
    "layer_norm": {},
    "rms_norm": {},
    "separable_conv": {"filters": 4},
    "shuffle": 2,
    "skip": [{"max_pool": 2}, {"conv": 4}, {"upsample": 2}],
    "squeeze_excite": 1.0,
    "stochastic_depth": 0.3,
    "upsample": 2,
}


@pytest.mark.parametrize("name", VISION)
def test_gradients_reach_input_and_every_parameter(name: str) -> None:
    # A branch that is built, counted and never used would be paid for and never trained.
    layer = module({name: VISION[name]})
    given = sample().requires_grad_()
    out = layer.train()(given)
    assert out.shape[1:] == shape_after(read([{name: VISION[name]}])[0], MAP)
    (out * sample(tuple(out.shape[1:]))).sum().backward()
    assert given.grad is not None and given.grad.abs().sum() > 0
    assert all(p.grad is not None and p.grad.isfinite().all() for p in layer.parameters())
    assert all(p.grad.abs().sum() > 0 for p in layer.parameters() if p.ndim > 1)


# Convolutions --------------------------------------------------------------------------------------------------------


def convolutions(layer: nn.Module) -> list[nn.Conv2d]:
    return [part for part in layer.modules() if isinstance(part, nn.Conv2d)]


def test_dilated_and_grouped_are_torchs() -> None:
    (conv,) = convolutions(layer := module({"dilated_conv": {"filters": 4, "dilation": 3, "stride": 2}}))
    assert same(layer(sample()), F.conv2d(sample(), conv.weight, conv.bias, stride=2, padding=3, dilation=3))
    (conv,) = convolutions(layer := module({"grouped_conv": {"filters": 9, "groups": 3}}))
    parts = [
        F.conv2d(x, w, b, padding=1)
        for x, w, b in zip(sample().split(2, 1), conv.weight.split(3), conv.bias.split(3), strict=True)
    ]
    assert same(layer(sample()), torch.cat(parts, 1))


def test_separable_is_depthwise_then_pointwise() -> None:
    depthwise, pointwise = convolutions(layer := module({"separable_conv": {"filters": 4, "kernel": 5}}))
    each = [F.conv2d(sample()[:, c : c + 1], depthwise.weight[c : c + 1], padding=2) for c in range(6)]
    assert same(layer(sample()), F.conv2d(torch.cat(each, 1), pointwise.weight, pointwise.bias))


# Blocks --------------------------------------------------------------------------------------------------------------


def norm(x: Tensor) -> Tensor:
    """Batch norm of a fresh layer that is training: scale 1, shift 0."""
    return F.batch_norm(x, None, None, training=True)


def test_inverted_residual_by_hand() -> None:
    # Sandler et al. 2018, table 1, with Hu et al.'s gate: the order of its parts is the block.
    layer = module({"inverted_residual": {"expand": 2, "squeeze_excite": 0.5, "activation": "hardswish"}}).train()
    widen, depthwise, squeeze, excite, project = convolutions(layer)
    x = F.hardswish(norm(F.conv2d(sample(), widen.weight)))
    x = F.hardswish(norm(F.conv2d(x, depthwise.weight, padding=1, groups=12)))
    gate = F.conv2d(x.mean((2, 3), keepdim=True), squeeze.weight, squeeze.bias).relu()
    x = x * F.hardsigmoid(F.conv2d(gate, excite.weight, excite.bias))
    assert same(layer(sample()), sample() + norm(F.conv2d(x, project.weight)))
    assert squeeze.weight.shape == (6, 12, 1, 1)
    strided = module({"inverted_residual": {"expand": 1, "stride": 2}}).train()
    depthwise, project = convolutions(strided)  # nothing to widen, and nothing to add
    x = F.relu6(norm(F.conv2d(sample(), depthwise.weight, stride=2, padding=1, groups=6)))
    assert same(strided(sample()), norm(F.conv2d(x, project.weight)))


def test_bottleneck_by_hand() -> None:
    layer = module({"bottleneck": {"filters": 8, "stride": 2}}).train()
    first, middle, last, shortcut = convolutions(layer)
    x = norm(F.conv2d(sample(), first.weight)).relu()
    x = norm(F.conv2d(x, middle.weight, stride=2, padding=1)).relu()
    x = norm(F.conv2d(x, last.weight))
    assert same(layer(sample()), (x + norm(F.conv2d(sample(), shortcut.weight, stride=2))).relu())


def test_dense_block_by_hand() -> None:
    layer = module({"dense_block": {"depth": 2, "growth": 4, "bottleneck": False}}).train()
    first, second = convolutions(layer)
    x = torch.cat([sample(), F.conv2d(norm(sample()).relu(), first.weight, padding=1)], 1)
    x = torch.cat([x, F.conv2d(norm(x).relu(), second.weight, padding=1)], 1)
    assert same(layer(sample()), x)


def test_skip_puts_its_output_beside_its_input() -> None:
    # 9x7 is halved to 5x4 and doubled to 10x8: a U-Net of odd sizes would not fit without the crop.
    layer = module({"skip": [{"max_pool": 2}, {"upsample": 2}]})
    pooled = F.max_pool2d(F.pad(sample(), (0, 1, 0, 1), value=float("-inf")), 2)
    doubled = pooled.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert same(layer(sample()), torch.cat([sample(), doubled[:, :, :9, :7]], 1))
    assert same(module({"skip": []})(sample()), torch.cat([sample(), sample()], 1))
    assert module({"skip": [{"linear": 3}]}, (5, 6))(sample((5, 6))).shape == (4, 5, 9)


def test_stochastic_depth_drops_whole_samples() -> None:
    # Huang et al. 2016: per sample, not per number; and the expectation stays, so that nothing is scaled afterwards.
    layer = module({"residual": {"layers": [{"activation": "identity"}], "stochastic_depth": 0.25}}).train()
    ones = torch.ones(20_000, 2, 1, 1)
    out = layer(ones)
    assert same(out[:, 0], out[:, 1])
    dropped = (out[:, 0] == 1).double().mean().item()
    assert dropped == pytest.approx(0.25, abs=0.013)  # four standard errors
    assert out[:, 0].unique().tolist() == pytest.approx([1, 1 + 1 / 0.75])
    assert torch.equal(layer.eval()(ones), 2 * ones)
    inside = module({"residual": [{"activation": "identity"}, {"stochastic_depth": 0.25}]}).train()
    assert inside(ones)[:, 0].unique().tolist() == pytest.approx([1, 1 + 1 / 0.75])


# Features ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_norms_are_torchs_on_every_shape(shape: Shape) -> None:
    # A sequence's features lie last and a map's first: normed along the wrong axis, it would train, only worse.
    given = sample(shape) * 3 + 1
    last = given.movedim(1, -1) if len(shape) == 3 else given  # (..., features)

    def back(x: Tensor) -> Tensor:
        return x.movedim(-1, 1) if len(shape) == 3 else x

    mean, spread = last.reshape(-1, 6).mean(0), last.reshape(-1, 6).var(0, unbiased=False)
    assert same(module("batch_norm", shape).train()(given), back((last - mean) / (spread + 1e-5).sqrt()))
    assert same(module("layer_norm", shape)(given), back(F.layer_norm(last, (6,))))
    rms = last.square().mean(-1, keepdim=True).add(torch.finfo(torch.float32).eps).sqrt()
    assert same(module("rms_norm", shape)(given), back(last / rms))
    by_sample = given.flatten(0, 1) if len(shape) == 2 else given
    assert same(module({"group_norm": 3}, shape)(given), F.group_norm(by_sample, 3).view_as(given))
    assert module({"group_norm": 4}, shape)(given).shape == given.shape  # 4 does not divide 6: 2 groups


def test_no_group_is_of_one_number() -> None:
    # Each number would be normed by itself to zero: a network that knows nothing of its input.
    narrow = sample((6,))
    assert same(module({"group_norm": 6}, (6,))(narrow), F.group_norm(narrow, 3))
    assert same(module({"norm": "group"}, (4, 1, 1))(sample((4, 1, 1))), F.group_norm(sample((4, 1, 1)), 2))
    with pytest.raises(InvalidCandidate, match="always zero"):
        module({"norm": "layer"}, (1, 1, 1))


def test_shuffle_is_torchs_and_mixes_groups() -> None:
    assert torch.equal(module({"shuffle": 3})(sample()), nn.ChannelShuffle(3)(sample()))
    with pytest.raises(InvalidCandidate, match="6 channels do not divide into 4 groups"):
        shape_after(read([{"shuffle": 4}])[0], MAP)


def test_squeeze_excite_gates_channels() -> None:
    layer = module({"squeeze_excite": {"ratio": 0.5}})
    squeeze, excite = convolutions(layer)
    inside = (sample().mean((2, 3)) @ squeeze.weight.flatten(1).T + squeeze.bias).relu()
    gate = (inside @ excite.weight.flatten(1).T + excite.bias).sigmoid()
    assert same(layer(sample()), sample() * gate[:, :, None, None])


def test_upsample_is_torchs() -> None:
    assert torch.equal(module({"upsample": 3})(sample()), F.interpolate(sample(), scale_factor=3))
    smooth = module({"upsample": {"mode": "bilinear"}})(sample())
    assert same(smooth, F.interpolate(sample(), scale_factor=2, mode="bilinear", align_corners=False))


# Published networks --------------------------------------------------------------------------------------------------


def conv_norm_act(filters: int, kernel: int, stride: int, activation: str) -> list[Any]:
    return [
        {"conv": {"filters": filters, "kernel": kernel, "stride": stride, "bias": False}},
        {"norm": "batch"},
        {"activation": activation},
    ]


HEAD = [{"global_pool": "average"}, {"linear": 1000}]


def resnet50() -> list[Any]:
    stages = [(256, 3, 1), (512, 4, 2), (1024, 6, 2), (2048, 3, 2)]
    blocks = [
        {"bottleneck": {"filters": filters, "stride": stride if i == 0 else 1}}
        for filters, depth, stride in stages
        for i in range(depth)
    ]
    return [*conv_norm_act(64, 7, 2, "relu"), {"max_pool": {"kernel": 3, "stride": 2}}, *blocks, *HEAD]


def densenet121() -> list[Any]:
    middle: list[Any] = []
    channels = 64
    for depth in (6, 12, 24, 16):
        channels += 32 * depth
        middle += [{"dense_block": {"depth": depth, "growth": 32}}, {"norm": "batch"}, {"activation": "relu"}]
        if depth != 16:
            channels //= 2
            middle += [{"conv": {"filters": channels, "kernel": 1, "bias": False}}, {"avg_pool": 2}]
    return [*conv_norm_act(64, 7, 2, "relu"), {"max_pool": {"kernel": 3, "stride": 2}}, *middle, *HEAD]


def mobilenet_v2() -> list[Any]:
    rows = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    blocks = [
        {"inverted_residual": {"expand": expand, "filters": filters, "stride": stride if i == 0 else 1}}
        for expand, filters, depth, stride in rows
        for i in range(depth)
    ]
    return [*conv_norm_act(32, 3, 2, "relu6"), *blocks, *conv_norm_act(1280, 1, 1, "relu6"), *HEAD]


# Parameters and multiply-adds of torchvision's own networks at 224x224 (torchvision.models, the weights' metadata).
PUBLISHED = [(resnet50, 25_557_032, 4.089), (densenet121, 7_978_856, 2.834), (mobilenet_v2, 3_504_872, 0.301)]


@pytest.mark.parametrize(("network", "parameters", "giga_multiply_adds"), PUBLISHED)
def test_published_networks_are_a_list_of_blocks(network: Any, parameters: int, giga_multiply_adds: float) -> None:
    # The blocks are what their papers call so if the papers' networks come out of them, to the last parameter.
    task = {"channels": 3, "height": 224, "width": 224, "classes": 1000}
    found = costs(SimpleNamespace(architecture=network()), task)
    assert found["parameters"] == parameters
    assert found["flops"] / 2e9 == pytest.approx(giga_multiply_adds, abs=6e-4)


WRONG = [
    ({"inverted_residual": {}}, MAP, "inverted_residual: the setting 'expand' is missing"),
    ({"inverted_residual": {"expand": 0}}, MAP, "inverted_residual.expand: 0: input should be greater than 0"),
    ({"bottleneck": {"filters": 8, "groups": 4}}, MAP, "2 channels and 2 filters do not both divide into 4 groups"),
    ({"dense_block": 2}, (6,), r"a map \(channels, height, width\) is needed"),
    ({"skip": [{"max_pool": 2}]}, MAP, r"\(6, 9, 7\) goes in and \(6, 5, 4\) comes back"),
    ({"skip": [{"flatten": {}}]}, MAP, r"\(6, 9, 7\) goes in and \(378,\) comes back"),
    ({"stochastic_depth": 1.0}, MAP, "stochastic_depth.rate: 1.0: input should be less than 1"),
    ({"upsample": 2}, (6,), "a map"),
]


@pytest.mark.parametrize(("entry", "shape", "message"), WRONG, ids=[str(entry)[:40] for entry, *_ in WRONG])
def test_impossible_layers_say_why(entry: Any, shape: Shape, message: str) -> None:
    with pytest.raises(InvalidCandidate, match=message):
        shape_after(read([entry])[0], shape)


def test_every_vision_layer_is_known() -> None:
    assert VISION.keys() <= LAYERS.keys()
