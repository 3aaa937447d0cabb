"""Optimizers and the course of the learning rate."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from nas.train import optimizers, settings

reference = pytest.importorskip("pytorch_optimizer", reason="the reference for LARS and LAMB; a test dependency")


def ten_steps(network: nn.Module, optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    """Ten steps on a fixed problem, with a learning rate that changes as it does in training."""
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn(64, 3, 6, 6, generator=generator)
    labels = torch.randint(0, 5, (64,), generator=generator)
    for step in range(10):
        for group in optimizer.param_groups:
            group["lr"] = 0.05 * (step + 1)
        loss = nn.functional.cross_entropy(network(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return [p.detach() for p in network.parameters()]


def small_network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5))


def assert_close(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> None:
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.allclose(mine, other, rtol=1e-6, atol=1e-6)


def test_ten_steps_of_lars_match_the_reference() -> None:
    # A wrong trust ratio still trains, only worse: nothing but a reference would show it.
    network, other = small_network(), small_network()
    chosen = settings.LARS(learning_rate=0.05, momentum=0.9, trust_coefficient=0.02, weight_decay=0.01)
    theirs = reference.LARS(other.parameters(), lr=0.05, momentum=0.9, trust_coefficient=0.02, weight_decay=0.01)
    assert_close(ten_steps(network, optimizers.make(chosen, network)), ten_steps(other, theirs))


def test_ten_steps_of_lamb_match_the_reference() -> None:
    # The reference's group option `adam` is our `layer_wise: False`; its `adam_debias` leaves out a bias correction.
    network, other = small_network(), small_network()
    chosen = settings.LAMB(learning_rate=0.05, beta1=0.9, beta2=0.99, weight_decay=0.01)
    groups = [
        {"params": [p for p in other.parameters() if p.ndim > 1], "weight_decay": 0.01, "adam": False},
        {"params": [p for p in other.parameters() if p.ndim <= 1], "weight_decay": 0.0, "adam": True},
    ]
    theirs = reference.Lamb(groups, lr=0.05, betas=(0.9, 0.99), weight_decouple=False, adam_debias=True)
    assert_close(ten_steps(network, optimizers.make(chosen, network)), ten_steps(other, theirs))


@pytest.mark.parametrize(
    "kind",
    [settings.SGD, settings.AdamW, settings.LARS, settings.LAMB, settings.Muon, settings.RMSprop],
)
def test_weight_decay_spares_biases_and_norms(kind: type) -> None:
    # Decaying a norm's scale changes the function that is learned; the papers' settings assume it is not done.
    network = small_network()
    before = copy.deepcopy(list(network.parameters()))
    optimizer = optimizers.make(kind(learning_rate=0.1, weight_decay=0.5), network)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for old, new in zip(before, network.parameters(), strict=True):
        assert torch.equal(old, new) == (new.ndim <= 1)


def test_learning_rate_rises_then_falls_as_a_cosine() -> None:
    # A rise that starts at 0 wastes a step; one that jumps loses the point of warming up.
    course = [optimizers.course(step, 4, 12) for step in range(12)]
    assert course[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert course[4:] == pytest.approx([0.5 * (1 + math.cos(math.pi * k / 8)) for k in range(8)])
    assert optimizers.course(0, 0, 1) == 1.0


def test_learning_rate_scales_with_the_batch() -> None:
    # The rate in a config is meant for 256 images: searched batch sizes would otherwise need rates of their own.
    assert optimizers.scaled(0.1, 1024, "none") == 0.1
    assert optimizers.scaled(0.1, 1024, "linear") == pytest.approx(0.4)
    assert optimizers.scaled(0.1, 1024, "sqrt") == pytest.approx(0.2)


def test_an_orthogonalised_matrix_has_the_polynomial_of_its_singular_values() -> None:
    # By hand: U S V^T becomes U p(p(p(p(p(S))))) V^T. A wrong coefficient still trains, only worse.
    torch.manual_seed(2)
    for shape in ((4, 9), (9, 4)):
        matrix = torch.randn(shape, dtype=torch.float64)
        u, s, vt = torch.linalg.svd(matrix, full_matrices=False)
        s = s / matrix.norm()
        for _ in range(5):
            s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
        assert torch.allclose(optimizers.orthogonalised(matrix), u @ torch.diag(s) @ vt, atol=1e-12)


def test_muon_moves_matrices_as_torch_does_and_the_rest_as_adamw() -> None:
    # torch's takes matrices alone and rounds to bf16: alike to a few in a hundred of a step, which no wrong momentum,
    # scale or decay is. The head, biases and norms are torch's AdamW to the bit's neighbourhood.
    def matrices() -> nn.Module:
        torch.manual_seed(1)
        return nn.Sequential(nn.Flatten(), nn.Linear(108, 24), nn.LayerNorm(24), nn.ReLU(), nn.Linear(24, 5))

    ours, theirs = matrices(), matrices()
    chosen = settings.Muon(learning_rate=0.02, weight_decay=0.1)
    muon = optimizers.make(chosen, ours)
    hidden, (head, *others) = theirs[1].weight, (theirs[4].weight, theirs[1].bias, *theirs[2].parameters())
    others.append(theirs[4].bias)
    groups = [{"params": [head], "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    torchs = torch.optim.Muon([hidden], 0.02, 0.1, adjust_lr_fn="match_rms_adamw")
    adam = torch.optim.AdamW(groups, 0.02)
    start = hidden.detach().clone()
    for step in range(4):
        generator = torch.Generator().manual_seed(step)
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            mine.grad = torch.randn(mine.shape, generator=generator)
            other.grad = mine.grad.clone()
        for optimizer in (muon, torchs, adam):
            optimizer.step()
    assert (ours[1].weight - hidden).norm() < 0.03 * (hidden - start).norm()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert other is hidden or torch.allclose(mine, other, rtol=1e-5, atol=1e-6)


def test_muon_takes_filters_as_matrices_and_leaves_the_head_to_adam() -> None:
    # Filters are most of what is searched here; the head and depthwise filters are no hidden matrices.
    torch.manual_seed(1)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False), nn.Conv2d(4, 4, 3, groups=4, bias=False), nn.Flatten(), nn.Linear(16, 5)
    )
    optimizer = optimizers.make(settings.Muon(learning_rate=0.01, weight_decay=0.0), network)
    orthogonal = [[tuple(p.shape) for p in group["params"]] for group in optimizer.param_groups if group["orthogonal"]]
    assert orthogonal == [[(4, 3, 3, 3)]]
    before = network[0].weight.detach().clone()
    network[0].weight.grad = torch.randn(4, 3, 3, 3)
    optimizer.step()
    singular = torch.linalg.svdvals((network[0].weight - before).flatten(1).detach() / (0.01 * 0.2 * math.sqrt(27)))
    assert singular.min() > 0.6 and singular.max() < 1.25  # where Jordan's polynomial leads


def test_ten_steps_of_rmsprop_match_torch() -> None:
    # Settings that reach the wrong argument of torch's would be searched for nothing.
    network, other = small_network(), small_network()
    chosen = settings.RMSprop(learning_rate=0.05, smoothing=0.9, momentum=0.5, weight_decay=0.0)
    theirs = torch.optim.RMSprop(other.parameters(), 0.05, alpha=0.9, momentum=0.5)
    assert_close(ten_steps(network, optimizers.make(chosen, network)), ten_steps(other, theirs))


def test_the_weight_norm_leaves_biases_and_norms_out() -> None:
    # By it the winners of SGD and of Adam are told apart.
    network = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2), nn.Linear(2, 1))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(2.0)
    assert optimizers.weight_norm(network) == pytest.approx(math.sqrt(6 * 4))
