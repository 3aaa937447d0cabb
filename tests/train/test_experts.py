"""Mixture of experts: routing, capacity and the balancing loss, held against a dense computation written out here."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from nas.train.layers import read
from nas.train.modules.auxiliary import auxiliaries

WIDTH = 6


def mixture(**settings: Any) -> Any:
    """The module of a mixture over sequences of any length; the mixture itself is ``.body.body``."""
    torch.manual_seed(1)
    module = read([{"mixture_of_experts": {"hidden": 5, **settings}}])[0].build((7, WIDTH))
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "norm" in name:
                parameter.copy_(torch.randn_like(parameter))
    return module


def dense(module: Any, x: Tensor, *, capacity: float | None) -> tuple[Tensor, Tensor, int]:
    """Every expert applied to every token, then what the rules leave of it; the balancing loss; what overflowed.

    Token by token in plain loops, in the order of positions, so that it shares no code and no trick with the layer.
    """
    settings = module.body.body.settings
    normed = module.norm(x)
    samples, positions, _ = x.shape
    router, experts = module.body.body.router, module.body.body.experts
    gates = torch.softmax(normed @ router.weight.T, -1)
    everything = torch.stack([expert(normed) for expert in experts])  # (experts, samples, positions, width)
    k, number = settings.top_k, settings.experts
    room = math.inf if capacity is None else math.ceil(capacity * samples * positions * k / number)
    taken, assigned, overflow = [0] * number, torch.zeros(number), 0
    importance = [torch.zeros(()) for _ in range(number)]
    total = torch.zeros_like(x)
    for position in range(positions):
        for sample in range(samples):
            gate = gates[sample, position]
            best = sorted(range(number), key=lambda e: -gate[e].item())[:k]
            sum_of_gates = sum(gate[e] for e in best) if k > 1 else 1.0
            for e in best:
                assigned[e] += 1
                share = gate[e] / sum_of_gates
                importance[e] = importance[e] + share
                if taken[e] < room:
                    taken[e] += 1
                    part = torch.zeros_like(x)
                    part[sample, position] = 1
                    total = total + part * share * everything[e, sample, position]
                else:
                    overflow += 1
    if settings.balancing == "switch":
        loss = number * sum(assigned[e] / assigned.sum() * gates[..., e].mean() for e in range(number))
    else:
        held = torch.stack(importance)
        loss = ((held - held.mean()) ** 2).mean() / held.mean() ** 2
    return x + total, settings.balance * loss, overflow


CASES = [
    {"experts": 4, "top_k": 1},
    {"experts": 4, "top_k": 2},
    {"experts": 4, "top_k": 3, "capacity": 0.6},
    {"experts": 4, "top_k": 1, "capacity": 0.4},
    {"experts": 3, "top_k": 2, "capacity": 0.5, "balancing": "importance"},
    {"experts": 1},
    {"experts": 2, "top_k": 2},
]


@pytest.mark.parametrize("settings", CASES, ids=str)
def test_outputs_loss_and_gradients_are_those_of_the_dense_computation(settings: dict[str, Any]) -> None:
    # Tokens that come back to the wrong place, gates that lose their gradient, a full expert that takes one more:
    # each of these still trains, and looks like a mixture that is not worth its price.
    module = mixture(balance=0.7, **settings).train()
    x = torch.randn(5, 7, WIDTH, requires_grad=True)
    weights = [x, *module.parameters()]
    found = module(x)
    (mixed,) = auxiliaries(module).values()
    assert mixed.auxiliary_loss is not None
    expected, loss, overflow = dense(module, x, capacity=module.body.body.settings.capacity)
    assert torch.allclose(found, expected, atol=1e-5)
    assert torch.allclose(mixed.auxiliary_loss, loss, atol=1e-6)
    seen = mixed.observed()
    assert seen["overflow"] == pytest.approx(overflow / (35 * module.body.body.settings.top_k), abs=1e-4)
    assert sum(seen["use"]) == pytest.approx(1, abs=1e-3)
    target = torch.randn_like(x)
    for objective in (lambda y, extra: ((y - target) ** 2).mean() + extra, lambda y, extra: extra + 0 * y.sum()):
        mine = torch.autograd.grad(objective(found, mixed.auxiliary_loss), weights, retain_graph=True)
        theirs = torch.autograd.grad(objective(expected, loss), weights, retain_graph=True)
        assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(mine, theirs, strict=True))


def test_overflow_happens_in_these_cases() -> None:
    # A reference that is never full would not test capacity.
    module = mixture(experts=4, top_k=1, capacity=0.4).train()
    module(torch.randn(5, 7, WIDTH))
    assert auxiliaries(module)["body.body"].observed()["overflow"] > 0.2


@pytest.mark.parametrize("settings", CASES, ids=str)
def test_in_evaluation_everything_fits(settings: dict[str, Any]) -> None:
    # What a network says of an image must not depend on which others stand beside it.
    module = mixture(**settings).eval()
    x = torch.randn(5, 7, WIDTH)
    assert torch.allclose(module(x), dense(module, x, capacity=None)[0], atol=1e-5)
    assert torch.allclose(module(x)[:1], module(x[:1]), atol=1e-6)


@pytest.mark.parametrize("shape", [(WIDTH,), (4, WIDTH), (WIDTH, 3, 2)])
def test_vectors_sequences_and_maps_are_tokens(shape: tuple[int, ...]) -> None:
    # DESIGN's own example puts it among convolutions; a table's rows are tokens of their batch.
    layer = read([{"mixture_of_experts": {"experts": 4, "top_k": 2}}])[0]
    module: Any = layer.build(shape).train()
    x = torch.randn(9, *shape)
    found = module(x)
    assert found.shape == x.shape
    tokens = x.flatten(2).transpose(1, 2) if x.ndim == 4 else x if x.ndim == 3 else x[:, None]
    expected, _, _ = dense_of_tokens(module, tokens)
    same = expected.transpose(1, 2).reshape(x.shape) if x.ndim == 4 else expected.reshape(x.shape)
    assert torch.allclose(found, same, atol=1e-5)


def dense_of_tokens(module: Any, tokens: Tensor) -> tuple[Tensor, Tensor, int]:
    return dense(module, tokens, capacity=module.body.body.settings.capacity)


@pytest.mark.parametrize("balancing", ["switch", "importance"])
def test_the_loss_is_least_when_all_experts_are_used_alike(balancing: str) -> None:
    # Fedus et al.: 1 (times the weight) when uniform, `experts` when one takes all. Shazeer et al.: 0, and experts - 1.
    module = mixture(experts=4, top_k=1, balance=1.0, balancing=balancing).train()
    mixed = module.body.body
    x = torch.randn(50, 7, WIDTH)
    with torch.no_grad():
        mixed.router.weight.zero_()
        mixed.router.weight[0] = 100 * module.norm(torch.zeros(1, 1, WIDTH))[0, 0]  # a direction that nearly all share
        module.norm.body.weight.zero_()
        module(x)
        assert float(mixed.auxiliary_loss) == pytest.approx(4 if balancing == "switch" else 3, abs=1e-3)
        mixed.forget()
        mixed.router.weight.copy_(torch.eye(WIDTH)[:4])
        module.norm.body.weight.fill_(1)
        module.norm.body.bias.zero_()
        module(x)
        assert float(mixed.auxiliary_loss) < (1.1 if balancing == "switch" else 0.05)


def test_the_loss_balances() -> None:
    # The loss has one purpose: without it a router that begins lopsided stays so.
    def most_used(balance: float) -> float:
        module = mixture(experts=4, top_k=1, balance=balance, capacity=4.0).train()
        mixed = module.body.body
        with torch.no_grad():
            mixed.router.weight[0] += 2 * module.norm.body.bias  # a head start for the first
        optimizer = torch.optim.Adam(module.parameters(), 1e-2)
        x = torch.randn(64, 7, WIDTH)
        for _ in range(100):
            mixed.forget()
            y = module(x)
            optimizer.zero_grad()
            ((y - x.tanh()) ** 2).mean().add(mixed.auxiliary_loss).backward()
            optimizer.step()
        return float(max(mixed.observed()["use"]))

    assert most_used(1.0) < 0.4 < 0.6 < most_used(0.0)


def test_it_is_the_same_bit_for_bit() -> None:
    # A repeated attempt must be the same trial.
    x = torch.randn(5, 7, WIDTH)

    def gradients() -> list[Tensor]:
        module = mixture(experts=4, top_k=2)
        module(x).square().sum().backward()
        return [p.grad for p in module.parameters()]

    assert all(torch.equal(a, b) for a, b in zip(gradients(), gradients(), strict=True))
