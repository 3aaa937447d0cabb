"""Costs of a candidate before it is trained: depth by hand, memory against torch's allocations, latency tables."""

from __future__ import annotations

import random
import statistics
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from nas import documents, shipped
from nas.errors import InputError, InvalidCandidate
from nas.space import Candidate, Space
from nas.train import network
from nas.train.hyperparameters import chosen_optimizer, read_hyperparameters
from nas.train.layers import LAYERS, Layer, read, shape_after
from nas.train.optimizers import make
from nas.train.pricing import Pricing, kept_by, signature
from nas.train.settings import SGD, AdamW, Optimizer, TrainSettings

DIGITS = {"classes": 10, "channels": 1, "height": 8, "width": 8}
PLAIN = TrainSettings(optimizer=Optimizer(sgd=SGD(momentum=0.0)))


def candidate(*architecture: Any, **hyperparameters: Any) -> Candidate:
    entries = [entry if isinstance(entry, dict) else {entry: {}} for entry in architecture]
    return Candidate(entries, hyperparameters)


def priced(*architecture: Any, settings: TrainSettings = PLAIN, **hyperparameters: Any) -> dict[str, float]:
    return Pricing(DIGITS, settings)(candidate(*architecture, **hyperparameters))


LINEAR = {"linear": 10}


@pytest.mark.parametrize(
    ("layers", "depth"),
    [
        ([LINEAR], 1),
        ([{"conv": 4}, {"norm": "batch"}, {"activation": "relu"}, LINEAR], 2),  # norms learn, and are not counted
        ([{"residual": [{"conv": 1}, {"conv": 1}, {"conv": 1}]}, LINEAR], 4),
        ([{"residual": [{"max_pool": 2}, {"activation": "relu"}]}, {"residual": [{"conv": 7}]}, LINEAR], 2 + 1),
        ([{"residual": [{"max_pool": {"kernel": 2}}]}, LINEAR], 1 + 1),  # the shortcut's projection is the longer way
        ([{"skip": [{"conv": 2}, {"conv": 2}]}, LINEAR], 3),
        ([{"separable_conv": 4}, LINEAR], 3),
        ([{"bottleneck": 8}, {"bottleneck": 8}, LINEAR], 7),
        ([{"squeeze_excite": 1.0}, LINEAR], 3),
    ],
)  # fmt: skip
def test_depth_counts_convolutions_and_matrices_on_the_longest_way(layers: list[Any], depth: int) -> None:
    assert priced(*layers)["depth"] == depth


def test_depth_of_a_graph_is_that_of_its_longest_way() -> None:
    """Two ways from the input: two convolutions through node 1, one straight to node 2."""
    conv = [{"conv": 1}]
    nodes = [{"from": [0], "ops": [conv]}, {"from": [0, 1], "ops": [conv, conv]}]
    assert priced({"graph": {"nodes": nodes}}, LINEAR)["depth"] == 3
    nodes = [{"from": [0], "ops": [[]]}, {"from": [0, 1], "ops": [conv, []]}]
    assert priced({"graph": {"nodes": nodes}}, LINEAR)["depth"] == 2


def test_memory_of_one_matrix_by_hand() -> None:
    """P = 65 * 10; kept is the flattened input, 64 numbers; the largest tensor is the input, too."""
    parameters = 4 * 650
    batch = 32 * (4 * 64 + 2 * 4 * 64)
    assert priced("flatten", LINEAR, batch_size=32)["memory"] == 2 * parameters + batch
    assert priced("flatten", LINEAR, batch_size=32, optimizer="sgd")["memory"] == 3 * parameters + batch
    assert priced("flatten", LINEAR, batch_size=32, optimizer="adamw")["memory"] == 4 * parameters + batch
    adamw = TrainSettings(optimizer=Optimizer(adamw=AdamW()), batch_size=32)
    assert priced("flatten", LINEAR, settings=adamw)["memory"] == 4 * parameters + batch


def test_a_tensor_that_two_layers_keep_counts_once() -> None:
    """ReLU keeps its output, and the convolution after it keeps the same tensor as its input."""
    relu, conv = {"activation": "relu"}, {"conv": {"filters": 1, "kernel": 1}}
    without = priced(conv, LINEAR, batch_size=1000)["memory"]
    one = priced(conv, relu, LINEAR, batch_size=1000)["memory"]
    two = priced(conv, relu, conv, relu, LINEAR, batch_size=1000)["memory"]
    assert one == without
    assert two - one == 1000 * 4 * 64 + 4 * 2 * (1 + 1)


MAP, SEQUENCE = (4, 6, 6), (10, 8)
CONCATENATING = {"from": [0, 0], "ops": [[{"conv": 4}], [{"activation": "tanh"}]], "merge": "concat"}
ON_A_SUM = {"from": [0, 0], "ops": [[{"conv": 4}], [{"activation": "tanh"}]]}
RULED: list[tuple[tuple[int, ...], Any]] = [
    *((MAP, {"activation": name}) for name in ("relu", "relu6", "leaky_relu", "elu", "gelu", "silu", "mish")),
    *((MAP, {"activation": name}) for name in ("hardswish", "tanh", "sigmoid")),
    *((MAP, {"norm": kind}) for kind in ("batch", "layer", "group")),
    *((MAP, {name: {}}) for name in ("batch_norm", "group_norm", "layer_norm", "flatten")),
    (MAP, {"linear": 6}),
    (MAP, {"dropout": 0.5}),
    (MAP, {"conv": {"filters": 3, "stride": 2}}),
    (MAP, {"depthwise_conv": {"kernel": 3, "stride": 2}}),
    (MAP, {"max_pool": 2}),
    (MAP, {"avg_pool": 3}),
    (MAP, {"global_pool": "max"}),
    (MAP, {"upsample": 2}),
    (MAP, {"upsample": {"scale": 3, "mode": "bilinear"}}),
    (MAP, {"global_pool": "average"}),
    *((MAP, {name: {}}) for name in ("rms_norm", "shuffle", "identity")),
    (MAP, {"squeeze_excite": 0.5}),
    (MAP, {"graph": {"nodes": [CONCATENATING], "match": "project"}}),
    (MAP, {"graph": {"nodes": [ON_A_SUM, {"from": [0, 1], "op": [{"conv": 8}]}]}}),
    (MAP, {"squeeze_excite": {"ratio": 0.5, "gate": "hard_sigmoid"}}),
    ((9,), {"embedding": {"units": 4, "vocabulary": 5}}),
    ((9,), {"hashed_embedding": {"units": 4, "shared": 3}}),
    (SEQUENCE, {"rms_norm": {}}),
    (SEQUENCE, {"linear": 6}),
    (SEQUENCE, {"mlp_block": 2.0}),
    (SEQUENCE, {"gru": 32}),
    (SEQUENCE, {"lstm": {"units": 32, "bidirectional": True}}),
    (SEQUENCE, {"lstm": {"units": 32, "output": "last"}}),
    (SEQUENCE, {"attention": {"heads": 2}}),
    (SEQUENCE, {"transformer_block": {"heads": 2}}),
    (SEQUENCE, {"mixture_of_experts": {"experts": 4, "top_k": 1}}),
]
ROUGH = {"mixture_of_experts": 0.4, "gru": 0.2, "lstm": 0.2, "attention": 0.35, "transformer_block": 0.35}


def before_of(layer: Layer, shape: tuple[int, ...]) -> Any:
    return shape if layer.inputs_from() is None else (shape,)


@pytest.mark.parametrize(("shape", "layer"), RULED, ids=lambda value: str(value))
def test_what_is_kept_by_rule_is_what_autograd_keeps(shape: tuple[int, ...], layer: dict[str, Any]) -> None:
    """The rules stand for the measurement, which they only spare. What several cells keep is a rough rule."""
    (built,) = read([layer])
    before = before_of(built, shape)
    by_rule = kept_by([(built, before, shape_after(built, before))])
    saved: dict[int, torch.Tensor] = {}
    module, x = built.build(before).train(), torch.randn(8, *shape, requires_grad=not built.items)
    x = torch.randint(5, x.shape).float() if built.items else x
    own = {p.untyped_storage().data_ptr() for p in (*module.parameters(), *module.buffers())}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        return saved.setdefault(tensor.untyped_storage().data_ptr(), tensor)

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        y = module(x)
    ends = [tensor.untyped_storage().data_ptr() for tensor in (x, y)]
    name = next(iter(layer))
    if name not in ROUGH and name not in ("flatten", "identity"):  # whose output is its input
        assert (by_rule.first, by_rule.last) == (ends[0] in saved, ends[1] in saved)
    inside = sum(t.untyped_storage().nbytes() for key, t in saved.items() if key not in own and key not in ends)
    assert inside / 8 == pytest.approx(by_rule.within, abs=40, rel=ROUGH.get(name, 0.12))


@pytest.mark.parametrize(("shape", "layer"), RULED, ids=lambda value: str(value))
def test_shapes_by_rule_are_those_that_the_module_gives(shape: tuple[int, ...], layer: dict[str, Any]) -> None:
    """A rule that disagreed with its module would make an impossible network look possible."""
    (built,) = read([layer])
    before = before_of(built, shape)
    output = built.build(before).eval()(torch.zeros(2, *shape))
    assert shape_after(built, before) == tuple(output.shape[1:])


def allocated(one: Candidate) -> int:
    """The most bytes that torch has allocated at once in three steps of training."""
    hyperparameters = read_hyperparameters(one.hyperparameters)
    chosen, _ = chosen_optimizer(hyperparameters, PLAIN.optimizer)
    batch = hyperparameters.batch_size or PLAIN.batch_size
    inputs, targets = torch.randn(batch, 1, 8, 8), torch.randint(0, 10, (batch,))
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        model = network.build(one, DIGITS)
        optimizer = make(chosen, model)
        for _ in range(3):
            optimizer.zero_grad(set_to_none=True)
            torch.nn.functional.cross_entropy(model(inputs), targets).backward()
            optimizer.step()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak


def test_memory_is_near_what_torch_allocates() -> None:
    """A limit that is twice off would rule out what fits, or let through what does not."""
    space = Space.read(documents.read(shipped.find("search_spaces", "digits_cnn")), DIGITS, layers=LAYERS)
    pricing = Pricing(DIGITS, PLAIN)
    found = [space.sample(random.Random(seed)).candidate for seed in range(8)]
    ratios = [pricing(one)["memory"] / allocated(one) for one in found]
    assert min(ratios) > 0.7
    assert max(ratios) < 1.5
    assert 0.9 < statistics.median(ratios) < 1.25


def test_what_can_not_be_trained_has_no_costs() -> None:
    with pytest.raises(InvalidCandidate, match=r"architecture\.1\.linear: ends in"):
        priced("flatten", {"linear": 7})
    with pytest.raises(InvalidCandidate, match="hyperparameters"):
        priced(LINEAR, batch_size=0)
    with pytest.raises(InvalidCandidate, match="say it once"):
        priced(LINEAR, learning_rate=0.1, optimizer={"sgd": {"learning_rate": 0.2}})


# Latency -------------------------------------------------------------------------------------------------------------

BLOCKS = candidate(
    {"conv": {"filters": 4, "kernel": 5}},
    {"residual": [{"conv": 4}, {"norm": "batch"}]},
    {"activation": "relu"},
    LINEAR,
)


def latency(table: dict[str, float]) -> float:
    return Pricing(DIGITS, PLAIN, table)(BLOCKS)["latency"]


def test_latency_is_the_sum_over_layers_and_what_is_listed_more_closely_wins() -> None:
    table = {
        "conv 4 kernel=5 @ 1x8x8": 1.0,
        "conv 4 @ 4x8x8": 2.0,
        "norm": 4.0,
        "activation": 8.0,
        "linear": 16.0,
    }
    assert latency(table) == 31.0
    assert latency({**table, "conv": 100.0, "linear 10 @ 4x8x8": 32.0}) == 47.0
    assert latency({**table, "residual [conv 4, norm batch] @ 4x8x8": 64.0}) == 1 + 64 + 8 + 16


def test_a_layer_that_the_table_lacks_is_named() -> None:
    with pytest.raises(InputError, match=r"no line for 'conv 4 @ 4x8x8', nor one for every 'conv'"):
        latency({"conv 4 kernel=5 @ 1x8x8": 1.0})


def test_only_a_latency_table_makes_latency_known() -> None:
    assert "latency" not in Pricing(DIGITS, PLAIN).names
    assert Pricing(DIGITS, PLAIN, {}).names[-1] == "latency"


def test_signatures_do_not_depend_on_how_a_layer_was_written() -> None:
    one = network.linked(candidate({"conv": 4}, LINEAR), DIGITS)[0]
    two = network.linked(candidate({"conv": {"filters": 4, "kernel": 3, "stride": 1}}, LINEAR), DIGITS)[0]
    assert signature(*one[:2]) == signature(*two[:2]) == "conv 4 @ 1x8x8"
    flat = network.linked(candidate({"conv": {"filters": 4, "kernel": [1, 7]}}, LINEAR), DIGITS)[0]
    assert signature(*flat[:2]) == "conv 4 kernel=[1, 7] @ 1x8x8"
