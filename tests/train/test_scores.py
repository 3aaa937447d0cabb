"""Zero-cost scores: what their papers define, for every kind of task, and without a trace in the training."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nas.errors import InvalidCandidate
from nas.objective import Context
from nas.space import Candidate
from nas.train import DatasetTask, Trainer, TrainSettings, network, trainer
from nas.train.modules.attention import Everything, SelfAttention
from nas.train.modules.embedding import Rows
from nas.train.modules.features import Excite
from nas.train.scores.gradient import grad_norm
from nas.train.scores.naswot import naswot
from nas.train.scores.synflow import synflow
from nas.train.scores.undefined import Undefined
from nas.train.settings import ArraysTask, TextTask

ALL = ("synflow", "naswot", "grad_norm")
NETWORK: list[Any] = [
    {"conv": 8},
    {"norm": "batch"},
    {"activation": "relu"},
    {"global_pool": "average"},
    {"dropout": 0.2},
    {"linear": 10},
]


# What they are -------------------------------------------------------------------------------------------------------


def two_layers() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 3, bias=False), nn.ReLU(), nn.Linear(3, 2, bias=False))


def test_the_flow_of_two_layers_is_their_product() -> None:
    # R = 1'|W2||W1|1 flows through each layer (the conservation law of the paper), so the sum over both is 2 R.
    model = two_layers()
    first, second = (model[i].weight.detach().double().abs() for i in (0, 2))
    assert synflow(model, torch.randn(1, 4)) == pytest.approx(math.log(2 * float((second @ first).sum())), rel=1e-12)


def test_a_flow_passes_norms_activations_and_gates_as_if_they_were_not_there() -> None:
    # Spaces offer several activations and norms: a score that changed with them would compare these, not the wiring.
    plain = synflow(two_layers(), torch.randn(1, 4))
    first, _, second = two_layers()
    gate = Excite(nn.Sequential(nn.Linear(3, 3), nn.Sigmoid()))
    others = nn.Sequential(first, nn.BatchNorm1d(3), nn.Tanh(), nn.Dropout(0.9), gate, nn.LayerNorm(3), second)
    assert synflow(others.eval(), torch.randn(1, 4)) == pytest.approx(plain, rel=1e-12)


def test_an_embedding_is_the_linear_layer_of_its_items() -> None:
    torch.manual_seed(1)
    rows, last = Rows(5, 3), nn.Linear(3, 2, bias=False)
    weights, items = last.weight.detach().double().abs(), rows.rows.detach().double().abs()
    flow = float((weights @ items.sum(0)).sum()) * 7  # at seven positions
    found = synflow(nn.Sequential(rows, last), torch.zeros(1, 7, dtype=torch.int64))
    assert found == pytest.approx(math.log(2 * flow), rel=1e-12)


def test_attention_sees_alike_and_passes_what_it_sees() -> None:
    # Softmax of products that grow with depth would be NaN in a deep transformer without its norms.
    torch.manual_seed(1)
    attention = SelfAttention(4, 2, Everything(causal=True), rotary=0)
    with torch.no_grad():
        attention.qkv.weight.mul_(1e30)
    value, out = (w.detach().double().abs() for w in (attention.qkv.weight[8:], attention.out.weight))
    attention.qkv.bias = attention.out.bias = None
    flow = float((out @ value).sum()) * 3  # three positions, each a mean of equals
    found = synflow(nn.Sequential(attention), torch.zeros(1, 3, 4))
    assert found == pytest.approx(math.log(2 * flow), rel=1e-9)


def test_codes_that_differ_make_a_large_determinant() -> None:
    # Against the definition (equation 2), from codes written out; and samples that look alike score less.
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.GELU(), nn.Linear(5, 2))
    inputs = torch.randn(8, 4, generator=torch.Generator().manual_seed(1))
    inside = model[0](inputs)
    codes = torch.cat([inside > 0, model[2](F.relu(inside)) > 0], 1).numpy()
    agreeing = (codes[:, None] == codes[None]).sum(2) + np.eye(8)
    assert naswot(model, inputs) == pytest.approx(np.linalg.slogdet(agreeing)[1], rel=1e-9)
    assert naswot(model, inputs[:1].repeat(8, 1)) < naswot(model, inputs)


def test_the_gradients_length_is_summed_over_the_weights() -> None:
    model, inputs, labels = two_layers(), torch.randn(8, 4), torch.randint(0, 2, (8,))
    weights = [model[0].weight, model[2].weight]
    expected = torch.autograd.grad(F.cross_entropy(model(inputs), labels), weights)
    found = grad_norm(model, F.cross_entropy, inputs, labels)
    assert found == pytest.approx(float(sum(g.norm() for g in expected)), rel=1e-5)


def enormous() -> nn.Linear:
    layer = nn.Linear(4, 4)
    nn.init.constant_(layer.weight, 1e38)
    return layer


@pytest.mark.parametrize(
    ("score", "model", "why"),
    [
        (synflow, nn.Sequential(nn.LSTM(4, 3)), "the gates of LSTM are not linear"),
        (synflow, nn.Sequential(*(enormous() for _ in range(9))), "the flow through the network is inf"),
        (naswot, nn.Sequential(nn.Linear(4, 3)), "looks at activations, and there are none"),
    ],
    ids=["recurrent", "overflowing", "linear"],
)
def test_a_score_that_is_not_there_says_why(score: Any, model: nn.Module, why: str) -> None:
    # A made-up number would be ranked among real ones.
    with pytest.raises(Undefined, match=why):
        score(model, torch.randn(2, next(model.parameters()).shape[1]))


# In a trial ----------------------------------------------------------------------------------------------------------


def tried(architecture: list[Any], task: Any = None, seed: int = 1, **given: Any) -> tuple[dict[str, float], Any]:
    context = Context(0, seed)
    settings = TrainSettings(**{"epochs": 0, "scores": ALL, "batch_size": 64, **given})
    one = Trainer(settings, task or DatasetTask(dataset="digits"), seed=5)
    return one(Candidate(architecture, {}), context), context.notes


def test_a_training_with_scores_is_the_one_without() -> None:
    # Weights, statistics and random numbers: a score that left a trace would make the trials of two configs differ.
    random = torch.get_rng_state()
    scored, notes = tried(NETWORK, epochs=1)
    plain, _ = tried(NETWORK, epochs=1, scores=())
    assert {name: scored[name] for name in ("accuracy", "loss")} == {name: plain[name] for name in ("accuracy", "loss")}
    assert set(ALL) <= set(scored) and not set(ALL) & set(plain) and notes["score_seconds"] > 0
    assert torch.equal(torch.get_rng_state(), random)


def test_scores_are_of_the_seed_and_the_network() -> None:
    # Repeated elsewhere they must be the same, and a constant would be no score.
    first, _ = tried(NETWORK)
    assert tried(NETWORK)[0] == first
    other, deeper = tried(NETWORK, seed=2)[0], tried([*NETWORK[:3] * 2, *NETWORK[3:]])[0]
    assert all(first[name] != other[name] for name in ALL)
    assert all(first[name] < deeper[name] for name in ("synflow", "naswot"))


def test_without_epochs_there_are_scores_and_costs_alone() -> None:
    # A search on scores: thousands of candidates in the time of one training, and no accuracy that is none.
    metrics, notes = tried(NETWORK, scores="naswot")
    assert metrics.keys() == {"naswot", "parameters", "flops"} and "weight_norm" not in notes


@pytest.fixture
def tasks(tmp_path: Path) -> dict[str, Any]:
    random = np.random.default_rng(1)
    x, masks = random.normal(size=(80, 8, 8)).astype(np.float32), random.integers(0, 3, (80, 8, 8))
    np.savez(tmp_path / "masks.npz", x=x, y=masks)
    np.savez(tmp_path / "numbers.npz", x=random.normal(size=(80, 6)), y=random.normal(size=80))
    (tmp_path / "text.txt").write_text("".join(random.choice(list("abcd "), 1500)))
    return {
        "segmentation": ArraysTask(npz=str(tmp_path / "masks.npz"), kind="segmentation"),
        "regression": ArraysTask(npz=str(tmp_path / "numbers.npz"), kind="regression"),
        "text": TextTask(text=str(tmp_path / "text.txt"), length=8),
    }


EMBEDDED: dict[str, Any] = {"embedding": {"units": 8, "vocabulary": 5}}
TRANSFORMER: list[Any] = [EMBEDDED, {"transformer_block": {"heads": 2, "causal": True}}, {"linear": 5}]
KINDS: dict[str, tuple[list[Any], set[str]]] = {
    "segmentation": ([{"conv": 4}, {"activation": "silu"}, {"conv": {"filters": 3, "kernel": 1}}], set()),
    "regression": ([{"linear": 8}, {"mixture_of_experts": {"experts": 2, "hidden": 8}}, {"linear": 1}], {"naswot"}),
    "text": (TRANSFORMER, set()),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_task_has_them(kind: str, tasks: dict[str, Any]) -> None:
    # Pixels, numbers and texts: a config that asks for scores must not fail on the kinds that the papers did not try.
    architecture, lacking = KINDS[kind]
    metrics, notes = tried(architecture, tasks[kind])
    assert set(notes.get("undefined_scores", {})) == lacking
    assert all(math.isfinite(metrics[name]) for name in set(ALL) - lacking) and not lacking & metrics.keys()


def test_a_recurrent_network_is_told_apart_and_trained_all_the_same(tasks: dict[str, Any]) -> None:
    metrics, notes = tried([EMBEDDED, {"lstm": 8}, {"linear": 5}], tasks["text"], epochs=1)
    assert notes["undefined_scores"].keys() == {"synflow", "naswot"} and "grad_norm" in metrics and "loss" in metrics


def test_what_must_not_be_judged_has_no_scores_either(tasks: dict[str, Any]) -> None:
    # Searched for by scores alone, a network that looks into the future would be found out after the search.
    seeing = [EMBEDDED, {"transformer_block": {"heads": 2}}, {"linear": 5}]
    with pytest.raises(InvalidCandidate, match="depends on items that come later"):
        tried(seeing, tasks["text"])


def test_a_trial_that_goes_on_is_not_scored_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Trainer(TrainSettings(epochs=2, scores=ALL), DatasetTask(dataset="digits"), seed=5)
    first = one(Candidate(NETWORK, {}), Context(0, 1, until=1, folder=tmp_path))
    monkeypatch.setattr(trainer, "scored", None)
    second = one(Candidate(NETWORK, {}), Context(0, 1, saved=tmp_path))
    assert {name: second[name] for name in ALL} == {name: first[name] for name in ALL} and second["epochs"] == 2


def test_a_network_is_scored_as_it_would_begin_to_train() -> None:
    # Initial weights of the trial's own seed: scores of other weights would say nothing of this trial.
    torch.manual_seed(1)
    task = {"channels": 1, "height": 8, "width": 8, "classes": 10}
    built = network.build(Candidate(NETWORK, {}), task).eval()
    assert tried(NETWORK, scores=["synflow"])[0]["synflow"] == pytest.approx(synflow(built, torch.zeros(1, 1, 8, 8)))
